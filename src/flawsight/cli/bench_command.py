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
        typer.Option(help="Data set: a known name, NAME=PATH, a folder, meta.json, CSV or JSONL."),
    ] = None,
    detector: Annotated[
        list[str] | None,
        typer.Option(
            help="KIND[:ARGUMENT][,NAME=VALUE…] with the kinds flawsight, vlm, openai, run and "
            "texture. Default: flawsight, the bundled model."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the bench; what it holds is kept.")] = Path(
        "flawsight-bench"
    ),
    from_: Annotated[
        Path | None,
        typer.Option("--from", help="Only make the tables again, of this bench, without a model."),
    ] = None,
    ablation: Annotated[
        bool, typer.Option("--ablation", help="The paper's ablations instead of --detector.")
    ] = False,
    model: Annotated[str | None, typer.Option(help="Of the ablation: the base model.")] = None,
    r1: Annotated[str | None, typer.Option(help="Of the ablation: adapter trained by R1.")] = None,
    cgro: Annotated[
        str | None, typer.Option(help="Of the ablation: adapter trained by CGRO.")
    ] = None,
    split: Annotated[str, typer.Option(help="Part of the data sets: test, train, …")] = "test",
    data_root: Annotated[
        Path | None, typer.Option(help="Where known data sets lie; else $FLAWSIGHT_DATA.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many images of a category and class.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images generated for at once.")] = 8,
    pixel_threshold: Annotated[float, typer.Option(help="Of pixel ACC.")] = 0.5,
    resamples: Annotated[int, typer.Option(min=1, help="Of the bootstrap intervals.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    sbert: Annotated[
        str | None, typer.Option(help="Sentence-transformers model; then SBERT is computed.")
    ] = None,
) -> None:
    """Compare detectors on data sets: the paper's tables, resumable, with uncertainty.

    Examples:

        flawsight bench --data photos/line3 --out runs/line3

        flawsight bench --data MVTec-AD --data WFDD --detector flawsight:Qwen/Qwen2.5-VL-7B-Instruct,preset=paper --out runs/7b

        flawsight bench --from runs/7b

    Exit code 1: some images failed, or a detector gave up; the tables say which.
    """  # noqa: E501
    with explained():
        if from_ is None:
            if not data:
                raise SettingsError("Name at least one data set: --data PATH, or --from RUN.")
            complete = _run(
                data, detector or ["flawsight"], out, split, data_root, limit, batch_size,
                (model, r1, cgro) if ablation else None,
            )  # fmt: skip
        else:
            out, complete = from_, True
        sound = _report(out, resamples, seed, pixel_threshold, sbert)
    raise typer.Exit(0 if complete and sound else 1)


def _run(
    data: list[str],
    detectors: list[str],
    out: Path,
    split: str,
    data_root: Path | None,
    limit: int | None,
    batch_size: int,
    ablated: tuple[str | None, str | None, str | None] | None,
) -> bool:
    """Fill the grid; return whether every detector went through."""
    from ..data.open import open_datasets
    from ..evaluate.bench import check_names, run_cell
    from ..evaluate.detectors.spec import open_detector, parse_spec

    datasets = [d.split(split) for spec in data for d in open_datasets(spec, data_root)]
    if limit is not None:
        datasets = [dataset.limited(limit) for dataset in datasets]
    if ablated is not None:
        from ..evaluate.ablation import ablation_specs

        detectors = ablation_specs(*ablated)
    specs = [parse_spec(text) for text in detectors]
    check_names([d.name for d in datasets], [s.name for s in specs])
    complete = True
    for spec in specs:
        with console.status(f"Loading {escape(spec.name)} …"):
            opened = open_detector(spec, out / "traces", out / "answers", batch_size)
        for dataset in datasets:
            title = f"{escape(dataset.name)} · {escape(spec.name)}"
            with Progress(*progress_columns(title), console=console, transient=True) as progress:
                bar = progress.add_task("", total=len(dataset.samples))

                def on_row(_row: dict[str, Any], progress: Any = progress, bar: Any = bar) -> None:
                    progress.advance(bar)

                try:
                    run_cell(out, dataset, opened, on_row)
                except RunFolderError:
                    raise
                except FlawsightError as error:
                    errors.print(f"[bold red]{title}:[/] {escape(str(error))}", soft_wrap=True)
                    complete = False
    return complete


def _report(
    out: Path, resamples: int, seed: int, pixel_threshold: float, sbert: str | None
) -> bool:
    """Make the tables; return whether no image failed."""
    from ..evaluate.bench import read_cells
    from ..evaluate.plots import draw_sweeps
    from ..evaluate.score_run import score_cell
    from ..evaluate.table_formats import terminal_tables, write_tables

    figures, tallies = [], []
    with console.status("Scoring …"):
        for cell in read_cells(out):
            scored, counted = score_cell(
                cell,
                resamples=resamples,
                seed=seed,
                pixel_threshold=pixel_threshold,
                sbert_model=sbert,
            )
            figures += scored
            tallies += counted
        written = write_tables(out, figures, tallies) + draw_sweeps(figures, out)
    for table in terminal_tables(figures, tallies):
        console.print(table)
    for path in written:
        console.print(f"Written: {path}", soft_wrap=True)
    return not any(tally.failed or tally.missing for tally in tallies)
