"""`flawsight bench`."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import Progress

from ..errors import FlawsightError, RunFolderError, SettingsError
from .shell import console, errors, explained, progress_columns


def bench(
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="Data set: known name, NAME=PATH, folder, meta.json, CSV or JSONL; repeatable."
        ),
    ] = None,
    detector: Annotated[
        list[str] | None,
        typer.Option(
            help="KIND[:ARGUMENT][,NAME=VALUE…] of kind flawsight, vlm, openai, run or texture; "
            "repeatable. Default: flawsight, the bundled model."
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder of the bench; finished images in it are kept.")
    ] = Path("flawsight-bench"),
    from_: Annotated[
        Path | None,
        typer.Option("--from", help="Bench folder whose tables to remake, without a model."),
    ] = None,
    ablation: Annotated[
        bool, typer.Option("--ablation", help="Run the paper's ablations instead of --detector.")
    ] = False,
    model: Annotated[
        str | None, typer.Option(help="Base model of the ablation. Default: the bundled model.")
    ] = None,
    r1: Annotated[
        str | None, typer.Option(help="Adapter of the ablation, trained without R_cons.")
    ] = None,
    cgro: Annotated[
        str | None, typer.Option(help="Adapter of the ablation, trained by CGRO.")
    ] = None,
    split: Annotated[
        str, typer.Option(help="Split of the data sets, like test or train.")
    ] = "test",
    data_root: Annotated[
        Path | None, typer.Option(help="Folder of known data sets. Default: $FLAWSIGHT_DATA.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Most images per category and class. Default: all.")
    ] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Images at once, of detectors that run a model here.")
    ] = 8,
    pixel_threshold: Annotated[
        float, typer.Option(help="Map value from which a pixel is marked, for pixel ACC.")
    ] = 0.5,
    resamples: Annotated[
        int, typer.Option(min=1, help="Number of bootstrap resamples for the intervals.")
    ] = 1000,
    sbert: Annotated[
        str | None, typer.Option(help="Sentence-transformers model that computes SBERT.")
    ] = None,
) -> None:
    """Compare detectors on data sets and write the paper's tables, with confidence intervals.

    Examples:

        flawsight bench --data photos/line3 --out runs/line3

        flawsight bench --data MVTec-AD --data WFDD --detector flawsight:Qwen/Qwen2.5-VL-7B-Instruct,preset=paper --out runs/7b

        flawsight bench --from runs/7b

    Rerun the same command to resume. Exit code 1: images failed, or a detector stopped early.
    """  # noqa: E501
    with explained():
        if from_ is None:
            if not data:
                raise SettingsError("Name at least one data set: --data PATH, or --from RUN.")
            if ablation:
                from ..evaluate.ablation import ablation_specs

                detector = ablation_specs(model, r1, cgro)
            detector = detector or ["flawsight"]
            complete = _run(data, detector, out, split, data_root, limit, batch_size)
        else:
            out, complete = from_, True
        sound = _report(out, resamples, pixel_threshold, sbert)
    raise typer.Exit(0 if complete and sound else 1)


def _run(
    data: list[str],
    detectors: list[str],
    out: Path,
    split: str,
    data_root: Path | None,
    limit: int | None,
    batch_size: int,
) -> bool:
    """Run every detector on every data set; return whether each got to the end."""
    from ..data.open import open_datasets
    from ..evaluate.bench import check_names, run_detector
    from ..evaluate.detectors.spec import open_detector, parse_spec

    datasets = [d.split(split) for spec in data for d in open_datasets(spec, data_root)]
    if limit is not None:
        datasets = [dataset.limited(limit) for dataset in datasets]
    specs = [parse_spec(text) for text in detectors]
    check_names([d.name for d in datasets], [s.name for s in specs])
    complete = True
    for spec in specs:
        with console.status(f"Loading {escape(spec.name)} …"):
            opened = open_detector(spec, out, batch_size)
        for dataset in datasets:
            title = f"{escape(dataset.name)} · {escape(spec.name)}"
            with Progress(*progress_columns(title), console=console, transient=True) as progress:
                bar = progress.add_task("", total=len(dataset.samples))

                def on_row(_row: dict[str, Any], progress: Any = progress, bar: Any = bar) -> None:
                    progress.advance(bar)

                try:
                    run_detector(out, dataset, opened, on_row)
                except RunFolderError:
                    raise
                except FlawsightError as error:
                    errors.print(f"[bold red]{title}:[/] {escape(str(error))}", soft_wrap=True)
                    complete = False
    return complete


def _report(out: Path, resamples: int, pixel_threshold: float, sbert: str | None) -> bool:
    """Make the tables; return whether no image failed."""
    from ..evaluate.bench import read_detector_runs
    from ..evaluate.plots import draw_sweeps
    from ..evaluate.score_run import score_run
    from ..evaluate.table_formats import terminal_tables, write_tables
    from ..evaluate.tables import all_tables

    values, counts = [], []
    with console.status("Scoring …"):
        for run in read_detector_runs(out):
            of_run, counts_of_run = score_run(
                run, resamples=resamples, pixel_threshold=pixel_threshold, sbert_model=sbert
            )
            values += of_run
            counts += counts_of_run
        written = write_tables(out, values, counts) + draw_sweeps(values, out)
    for table in terminal_tables(all_tables(values, counts)):
        console.print(table)
    for path in written:
        console.print(f"Written: {path}", soft_wrap=True)
    return not any(one.failed or one.missing for one in counts)
