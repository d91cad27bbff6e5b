"""`flawsight calibrate`."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import Progress

from ..errors import MissingExtraError
from . import options
from .shell import console, explained, progress_columns


def calibrate(
    source: Annotated[
        Path,
        typer.Argument(
            help="Run folder of good parts (also of a bench), or folder of their photos."
        ),
    ],
    false_alarm_rate: Annotated[
        float, typer.Option(help="Share of good parts that may be called defective, like 0.01.")
    ],
    by_category: Annotated[
        bool, typer.Option("--by-category", help="One threshold more for each category.")
    ] = False,
    out: Annotated[
        Path, typer.Option(help="File to write; a histogram is drawn beside it.")
    ] = Path("calibration.json"),
    model: Annotated[
        str | None, typer.Option(help="Of photos: folder or hub name. Default: the bundled model.")
    ] = None,
    adapter: Annotated[str | None, typer.Option(help="Of photos: LoRA adapter.")] = None,
    preset: Annotated[str, typer.Option(help="Of photos: paper or default.")] = "default",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Of photos: override a setting."),
    ] = None,
    batch_size: options.BatchSize = 8,
    device: options.Device = None,
    dtype: options.Dtype = None,
    attention: options.Attention = "sdpa",
    seed: Annotated[int, typer.Option(help="Of sampling, with --set temperature=…")] = 0,
) -> None:
    """Find the threshold that keeps false alarms below a rate, from good parts alone.

    Examples:

        flawsight calibrate photos/good --false-alarm-rate 0.01

        flawsight inspect photos/new --calibration calibration.json

    Photos are inspected into a run folder beside the calibration. A rate a needs ⌈1/a⌉ − 1 images.
    """
    with explained():
        from ..calibration import POOLED, calibrate, save_calibration
        from ..evaluate.plots import draw_histogram
        from ..runs.normal_scores import read_normal_scores

        if (source / "run.json").exists():
            scores = read_normal_scores(source)
        else:
            run = out.with_name(f"{out.stem}-run")
            load_options = {"device": device, "dtype": dtype, "attention": attention}
            images = _inspect_photos(
                source, run, model, batch_size, options.parse_settings(preset, set_ or [], seed),
                {"adapter": adapter, **load_options},
            )  # fmt: skip
            scores = read_normal_scores(run, images)
        calibration = calibrate(scores, false_alarm_rate, by_category)
        save_calibration(calibration, out)
        for name, threshold in calibration.thresholds.items():
            console.print(
                f"{escape(name)}: threshold {threshold:.6g} from {calibration.counts[name]} normal "
                "images",
                highlight=False,
                soft_wrap=True,
            )
        if scores.skipped:
            console.print(f"{scores.skipped} images failed and were left out.")
        console.print(f"Calibration: {escape(str(out))}", soft_wrap=True)
        try:
            picture = out.with_name(f"{out.name}.png")
            threshold = calibration.thresholds[POOLED]
            draw_histogram(picture, scores.pooled, threshold, false_alarm_rate)
            console.print(f"Histogram: {escape(str(picture))}", soft_wrap=True)
        except MissingExtraError as error:
            console.print(f"No histogram. {escape(str(error))}", soft_wrap=True)


def _inspect_photos(
    source: Path,
    run_folder: Path,
    model: str | None,
    batch_size: int,
    settings: Any,
    load_options: dict[str, Any],
) -> list[Path]:
    """Inspect photos into a run folder, going on with what it holds; return their paths."""
    from ..io.images import find_images

    images = find_images([source])
    with console.status("Loading the model …"):
        from ..inspector import Inspector
        from ..runs.batch import inspect_into
        from ..runs.describe import describe
        from ..runs.folder import RunFolder

        inspector = Inspector.from_pretrained(
            model, settings=settings, batch_size=batch_size, **load_options
        )
        run = RunFolder(run_folder, describe(inspector))
    done = len({str(image) for image in images} & run.finished)
    with Progress(*progress_columns("Inspecting"), console=console, transient=True) as progress:
        bar = progress.add_task("", total=len(images), completed=done)
        inspect_into(run, inspector, images, lambda row: progress.advance(bar))
    return images
