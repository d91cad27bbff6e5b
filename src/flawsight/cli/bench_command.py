"""`flawsight bench`."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from ..errors import FlawsightError, RunFolderError, SettingsError
from . import options
from .curve_output import curves_of, report_curves
from .shell import console, errors, explained, print_json, progress_bar, say, say_warned, warn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL.Image import Image

    from ..data.dataset import Dataset
    from ..evaluate.detectors.few_shot import GoodPhotos
    from ..evaluate.detectors.protocol import Detector, Learner


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
            help="Detector: KIND[:ARGUMENT][,NAME=VALUE…] of kind flawsight, vlm, openai, run or "
            "texture; repeatable. Default: flawsight, the bundled model."
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
    learning_curve: Annotated[
        str | None,
        typer.Option(
            metavar="COUNTS",
            help="Numbers of good photos of train/good to learn from, like 1,2,4,8,16,all: runs "
            "each --detector with each of them.",
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, help="Draws of each number of photos of --learning-curve.")
    ] = 5,
    split: Annotated[
        str, typer.Option(help="Split of the data sets: train, validation or test.")
    ] = "test",
    data_root: options.DataRoot = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Largest number of images per category and class.")
    ] = None,
    batch_size: options.BatchSize = 8,
    bit_depth: options.BitDepth = None,
    roi: options.Roi = None,
    prompt_photo: options.PromptPhotos = None,
    pixel_threshold: Annotated[
        float, typer.Option(help="Map value from which a pixel is marked, for pixel ACC.")
    ] = 0.5,
    resamples: Annotated[
        int, typer.Option(min=1, help="Number of bootstrap resamples for the intervals.")
    ] = 1000,
    sbert: Annotated[
        str | None, typer.Option(help="Sentence-transformers model that computes SBERT.")
    ] = None,
    published: Annotated[
        bool,
        typer.Option(
            "--published",
            help="Show published values, too. Default: only for published data sets.",
        ),
    ] = False,
    protocol: Annotated[
        str,
        typer.Option(help="Protocol: detection, or mmad, the multiple-choice questions of MMAD."),
    ] = "detection",
    shots: Annotated[
        int, typer.Option(min=0, help="Number of good photos before each image, with mmad.")
    ] = 1,
    templates: Annotated[
        str, typer.Option(help="Good photos with mmad: random or similar, as mmad.json lists them.")
    ] = "random",
    json_: options.Json = False,
) -> None:
    """Compare detectors on labelled photos, and write tables with confidence intervals.

    Examples:

        flawsight bench --data photos/line3 --out runs/line3

        flawsight bench --data MVTec-AD --data WFDD --detector flawsight:Qwen/Qwen2.5-VL-7B-Instruct,preset=paper --out runs/7b

        flawsight bench --data photos/line3 --detector flawsight:reference=16,seed=3

        flawsight bench --data photos/line3 --learning-curve 1,2,4,8,16,all --seeds 5

        flawsight bench --from runs/7b

        flawsight bench --protocol mmad --data /data/MMAD --detector vlm:Qwen/Qwen2.5-VL-7B-Instruct --out runs/mmad

    Rerun the same command to resume. Exit code 1: images failed, or a detector stopped early.
    """  # noqa: E501
    from ..evaluate.plots import new_figure
    from ..io.files import check_writable
    from ..metrics.text_overlap import rouge_scorer, sentence_encoder

    if protocol != "detection":
        with explained(json_):
            if protocol != "mmad":
                raise SettingsError(f"Unknown --protocol {protocol!r}; use detection or mmad.")
            if ablation or roi is not None:
                one = "--ablation" if ablation else "--roi"
                raise SettingsError(f"{one} is of the protocol detection; leave one out.")
            from .mmad_bench import ask_questions, open_questions, report_mmad

            complete = True
            if from_ is None:
                questions = open_questions(data, shots, templates, data_root, limit)
                complete = ask_questions(out, questions, detector, batch_size, bit_depth)
            complete &= report_mmad(from_ or out)
            if json_:
                print_json({"folder": from_ or out, "complete": complete})
        raise typer.Exit(0 if complete else 1)
    with explained(json_):
        complete = True
        if sbert is not None:
            sentence_encoder(sbert)  # if it is missing, better now than after the last image
        if from_ is not None:
            out = from_
        elif not data:
            raise SettingsError("Name at least one data set: --data PATH, or --from RUN.")
        else:
            from ..data.coco_annotations import polygon_codec
            from ..data.open import open_datasets
            from ..data.unused import left_out_line
            from ..evaluate.ablation import ablation_specs
            from ..evaluate.detectors.few_shot import good_photos

            check_writable(out / "tables.md")
            whole = [dataset for spec in data for dataset in open_datasets(spec, data_root)]
            good = {dataset.name: good_photos(dataset) for dataset in whole}
            datasets = [dataset.split(split) for dataset in whole]
            warn(map(left_out_line, datasets))
            if limit is not None:
                datasets = [dataset.limited(limit) for dataset in datasets]
            if any(sample.polygons for dataset in datasets for sample in dataset.samples):
                polygon_codec()  # if it is missing, better now than after the last image
            if any(sample.reference for dataset in datasets for sample in dataset.samples):
                rouge_scorer()  # likewise
            if ablation or learning_curve is not None:
                new_figure(1, 1)
            if ablation:
                detector = ablation_specs(model, r1, cgro)
            region = options.roi_setting(roi)
            prompt_photos = options.read_photos(prompt_photo, bit_depth, region)
            curve = None if learning_curve is None else (learning_curve, seeds)
            complete = _run(
                out, datasets, good, detector or ["flawsight"], batch_size, bit_depth,
                prompt_photos, curve, region,
            )  # fmt: skip
        summary = _report(out, resamples, pixel_threshold, sbert, published)
        complete &= not any(one["failed"] or one["missing"] for one in summary.get("counts", ()))
        if json_:
            print_json({"folder": out, "complete": complete} | summary)
    raise typer.Exit(0 if complete else 1)


def _run(
    out: Path,
    datasets: "list[Dataset]",
    good: "Mapping[str, GoodPhotos]",
    detectors: list[str],
    batch_size: int,
    bit_depth: int | None,
    prompt_photos: "Sequence[Image]",
    curve: tuple[str, int] | None,
    roi: str | None,
) -> bool:
    """Run every detector on every data set; return whether each got to the end."""
    from ..evaluate.bench import check_names
    from ..evaluate.detectors.few_shot import check_good
    from ..evaluate.detectors.spec import learns, needs_model, open_detector, parse_spec
    from ..evaluate.learning_curve import FOLDER

    specs = [parse_spec(text, bit_depth, prompt_photos, roi) for text in detectors]
    if prompt_photos and all(spec.kind != "flawsight" for spec in specs):
        raise SettingsError("--prompt-photo is for detectors of kind flawsight; there is none.")
    if roi is not None and all(spec.kind != "flawsight" for spec in specs):
        raise SettingsError("--roi is for detectors of kind flawsight; there is none.")
    if curve is not None:
        specs, out = curves_of(specs, *curve, good), out / FOLDER
    check_names([d.name for d in datasets], [s.name for s in specs])
    complete = True
    # What needs no model is opened first: its errors are those of a typing mistake.
    ready = [None if needs_model(spec) else open_detector(spec, out, batch_size) for spec in specs]
    if any(map(learns, specs)):
        for dataset in datasets:
            check_good(dataset, good[dataset.name])
    for spec in specs:
        warn(_few(spec.options.get("reference"), dataset, good) for dataset in datasets)
    for spec, opened in zip(specs, ready, strict=True):
        if opened is None:
            with console.status(f"Loading {escape(spec.name)} …"):
                opened = open_detector(spec, out, batch_size)
        for dataset in datasets:
            complete &= _run_one(out, dataset, opened, good[dataset.name])
    return complete


def _few(count: Any, dataset: "Dataset", good: "Mapping[str, GoodPhotos]") -> str | None:
    """Return a sentence on the categories that have fewer good photos than are to be drawn."""
    counts = {name: len(good[dataset.name][name]) for name in dataset.categories}
    few = {name: found for name, found in counts.items() if type(count) is int and found < count}
    if not few:
        return None
    shown = ", ".join(f"{found} of {name}" for name, found in [*few.items()][:3])
    return (
        f"{dataset.name} has fewer than {count} photos in train/good ({shown}"
        f"{', …' if len(few) > 3 else ''}); all of them are learned."
    )


def _run_one(
    out: Path, dataset: "Dataset", opened: "Detector | Learner", good: "GoodPhotos"
) -> bool:
    from ..evaluate.bench import run_detector
    from ..evaluate.detectors.protocol import Learner

    detector: Detector | Learner = opened
    title = f"{escape(dataset.name)} · {escape(detector.name)}"
    with progress_bar(title, len(dataset.samples)) as move:
        try:
            if isinstance(detector, Learner):
                detector = detector.learned(dataset, good)
            run = run_detector(out, dataset, detector, lambda row: move(advance=1))
        except RunFolderError:
            raise
        except FlawsightError as error:
            say(f"[bold red]{title}:[/] {escape(str(error))}", errors)
            return False
    say_warned(run.rows().values())
    return True


def _report(
    out: Path, resamples: int, pixel_threshold: float, sbert: str | None, published: bool
) -> dict[str, Any]:
    """Make the tables and print the results; return them, but for those of learning curves."""
    from ..evaluate.bench import holds_bench, read_detector_runs
    from ..evaluate.confusion import read_verdicts
    from ..evaluate.plots import draw_sweeps
    from ..evaluate.published import published_values
    from ..evaluate.score_run import score_run
    from ..evaluate.summary import NAMED, is_published, suggestions, summary_table
    from ..evaluate.table_formats import terminal_tables, write_tables
    from ..evaluate.tables import all_tables
    from ..report.write_report import write_report

    score = partial(
        score_run, resamples=resamples, pixel_threshold=pixel_threshold, sbert_model=sbert
    )
    if report_curves(out, partial(score, resamples=1)) and not holds_bench(out):
        return {}
    values, counts = [], []
    runs = read_detector_runs(out)
    theirs = {run.dataset for run in runs if is_published(run.dataset, run.root)}
    known = published_values() if published or theirs else ()
    with console.status("Scoring …"):
        for run in runs:
            of_run, counts_of_run = score(run)
            values += of_run
            counts += counts_of_run
        written = write_tables(out, values, counts, known) + draw_sweeps(values, out)
        verdicts = [read_verdicts(run) for run in runs]
    for table in terminal_tables([summary_table(verdicts, values)]):
        console.print(table)
    for line in suggestions(verdicts, counts):
        say(escape(line))
    for run in [run for run in runs if run.dataset not in theirs][:NAMED]:
        with console.status("Writing the report …"):
            labels = {str(sample.image): bool(sample.label) for sample in run.samples}
            path = write_report(run.folder, labels)
        say(f"Report: {escape(str(path))}")
    if known:
        for table in terminal_tables(all_tables(values, counts, known)):
            console.print(table)
    say(f"All tables: {', '.join(escape(str(path)) for path in written)}")
    return {
        "tables": written,
        "metrics": [asdict(value) for value in values if value.group == "pooled"],
        "counts": [asdict(one) for one in counts if one.group == "pooled"],
        "verdicts": [
            {"dataset": one.run.dataset, "detector": one.run.detector, **asdict(one.now)}
            | {"suggested_threshold": one.suggested}
            for one in verdicts
        ],
    }
