"""`flawsight calibrate`."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from ..errors import MissingExtraError
from . import options
from .shell import console, explained, print_json, progress_bar, say, say_left_out, say_warned


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
        bool, typer.Option("--by-category", help="Find a threshold for each category, too.")
    ] = False,
    out: Annotated[
        Path, typer.Option(help="File to write; its histogram gets the same name with .png.")
    ] = Path("calibration.json"),
    model: options.Model = None,
    adapter: options.Adapter = None,
    prior: options.Prior = None,
    prompt_photo: options.PromptPhotos = None,
    reference: options.Reference = None,
    preset: options.Preset = "default",
    set_: options.Overrides = None,
    bit_depth: options.BitDepth = None,
    roi: options.Roi = None,
    batch_size: options.BatchSize = 8,
    device: options.Device = None,
    dtype: options.Dtype = None,
    attention: options.Attention = "sdpa",
    seed: options.Seed = 0,
    json_: options.Json = False,
) -> None:
    """Find the threshold that keeps false alarms below a rate, from good parts alone.

    Examples:

        flawsight calibrate photos/good --false-alarm-rate 0.01

        flawsight inspect photos/new --calibration calibration.json

        flawsight calibrate photos/more-good --reference line3.reference --false-alarm-rate 0.01

    Photos are inspected into a run folder next to the calibration, with the given model and
    settings. A rate of 0.05 needs 19 images, 0.01 needs 99.
    """
    with explained(json_):
        from ..calibration import POOLED, calibrate, check_counts
        from ..evaluate.plots import draw_histogram
        from ..io.files import check_writable
        from ..io.find_images import search_images
        from ..runs.normal_scores import category_of_path, read_normal_scores
        from ..runs.place import check_place

        check_writable(out)
        settings = options.parse_settings(preset, set_, seed, bit_depth, roi=roi)
        good = options.read_photos(prompt_photo, settings.bit_depth, settings.roi)
        known = options.load_reference(reference)
        run, images = source, None
        if not (source / "run.json").exists():
            found = search_images([source])
            run, images = out.with_name(f"{out.stem}-run"), found.images
            say_left_out(found.left_out)
            counts = Counter(category_of_path(image) for image in images)
            check_counts(counts, false_alarm_rate, by_category)
            check_place(run)
            with console.status("Loading the model …"):
                from ..inspector import Inspector
                from ..runs.batch import inspect_into
                from ..runs.describe import describe
                from ..runs.folder import RunFolder
                from ..runs.read import read_rows

                inspector = Inspector.from_pretrained(
                    model, settings=settings, adapter=adapter,
                    batch_size=batch_size, device=device, dtype=dtype, attention=attention,
                    prior=prior, prompt_photos=good, reference=known,
                )  # fmt: skip
                folder = RunFolder(run, describe(inspector), images=images)
            done = len(set(map(str, images)) & folder.finished)
            with progress_bar("Inspecting", len(images), done) as move:
                inspect_into(folder, inspector, images, lambda row: move(advance=1))
            wanted = set(map(str, images))
            say_warned(row for row in read_rows(run) if row["image"] in wanted)
        scores = read_normal_scores(run, images)
        calibration = calibrate(scores, false_alarm_rate, by_category)
        calibration.save(out)
        for name, threshold in calibration.thresholds.items():
            say(
                f"{escape(name)}: threshold {threshold:.3g} from {calibration.counts[name]} normal "
                "images"
            )
        if scores.skipped:
            say(f"{scores.skipped} images failed and were left out.")
        say(f"Calibration: {escape(str(out))}")
        if json_:
            print_json(
                {
                    "calibration": out,
                    "false_alarm_rate": false_alarm_rate,
                    "thresholds": calibration.thresholds,
                    "images": calibration.counts,
                    "failed": scores.skipped,
                }
            )
        try:
            picture = out.with_name(f"{out.name}.png")
            threshold = calibration.thresholds[POOLED]
            draw_histogram(picture, scores.pooled, threshold, false_alarm_rate)
            say(f"Histogram: {escape(str(picture))}")
        except MissingExtraError as error:
            say(f"No histogram. {escape(str(error))}")
