"""`flawsight inspect`."""

import os
import signal
from contextlib import nullcontext
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from ..errors import SettingsError
from ..io.files import short_names
from . import options
from .inspect_output import count_rows, line_of, say_counts
from .shell import (
    console,
    explained,
    names_of,
    print_json,
    progress_bar,
    say,
    say_left_out,
    say_warned,
)


class Engine(StrEnum):
    """Where the images are inspected."""

    HERE = "here"
    RAY = "ray"


def inspect(
    paths: Annotated[
        list[str],
        typer.Argument(
            help="Image files, globs and folders (with their subfolders, except ground_truth/)."
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option(
            help="Run folder; an unfinished run in it is resumed. Default: flawsight-run, or "
            "flawsight-run-2, … for other photos."
        ),
    ] = None,
    model: options.Model = None,
    adapter: options.Adapter = None,
    preset: options.Preset = "default",
    set_: options.Overrides = None,
    bit_depth: options.BitDepth = None,
    roi: options.Roi = None,
    batch_size: options.MaxBatchSize = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    attention: options.Attention = "sdpa",
    seed: options.Seed = 0,
    prior: options.Prior = None,
    prompt_photo: options.PromptPhotos = None,
    reference_prompt: Annotated[
        int,
        typer.Option(
            min=0,
            help="How many photos of the reference to show the model before each photo, the most "
            "typical first.",
        ),
    ] = 0,
    reference: options.Reference = None,
    explain: options.Explain = None,
    false_alarm_rate: options.FalseAlarmRate = None,
    threshold: options.Threshold = None,
    calibration: options.CalibrationFile = None,
    category: options.Category = None,
    generator: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Base URL of an OpenAI-compatible server that writes the responses, like "
            "http://localhost:8000/v1; --model then only gives the attention.",
        ),
    ] = None,
    generator_model: Annotated[
        str | None, typer.Option(help="Name of the model on that server. Default: as --model.")
    ] = None,
    engine: Annotated[
        Engine, typer.Option(help="Engine: on this machine (here) or on a Ray cluster (ray).")
    ] = Engine.HERE,
    address: Annotated[
        str | None,
        typer.Option(
            help="Address of the Ray cluster: auto or ray://head:10001. Default: a new one here."
        ),
    ] = None,
    actors: Annotated[
        int | None,
        typer.Option(min=1, help="Copies of the model on the cluster. Default: one per GPU."),
    ] = None,
    quiet: Annotated[bool, typer.Option(help="Do not print a line for each image.")] = False,
    json_: options.Json = False,
) -> None:
    """Inspect photos: verdicts, heat maps, reasons and a report.

    Examples:

        flawsight inspect photos/

        flawsight inspect 'line3/**/*.png' --out runs/line3 --batch-size 16

        flawsight inspect photos/ --reference line3.reference --explain defective

        flawsight inspect part.jpg --model Qwen/Qwen2.5-VL-7B-Instruct --preset paper

        accelerate launch --num-processes 4 -m flawsight inspect photos/ --out runs/today

        flawsight inspect s3://line3/today --out s3://line3/run --engine ray --address auto

    Rerun the same command to resume. With another --threshold or --calibration, what is done gets
    new verdicts without the model.
    """
    with explained(json_):
        settings = options.parse_settings(preset, set_, seed, bit_depth, explain, roi)
        known = options.load_reference(reference)
        if reference_prompt and known is None:
            raise SettingsError("--reference-prompt needs a --reference, whose photos it shows.")
        shown = known.typical(reference_prompt) if known else ()
        inspector_options = {
            "model": model, "adapter": adapter, "device": device, "dtype": dtype,
            "attention": attention, "settings": settings,
            "prompt_photos": options.read_photos(
                prompt_photo, settings.bit_depth, settings.roi
            ) + shown,
            "batch_size": batch_size, "threshold": threshold, "category": category,
            "prior": prior, "reference": known,
            "false_alarm_rate": false_alarm_rate,
            "calibration": options.load_calibration(calibration, category),
            "generator": _served(generator, generator_model, model),
        }  # fmt: skip
        if engine is Engine.RAY:
            from ..runs.cluster import inspect_on_ray

            if out is None:
                raise SettingsError("--engine ray needs a run folder: --out FOLDER.")
            rows = list(
                inspect_on_ray(paths, out, inspector_options, address=address, actors=actors)
            )
            summary: dict[str, Any] = count_rows(rows)
            say_counts(summary, inspector_options["reference"])
            say_warned(rows)
            if "://" not in out:
                say(f"For a report: flawsight report {out}")
            if json_:
                print_json({"run": out} | summary)
        else:
            if address is not None or actors is not None:
                raise SettingsError("--address and --actors belong to --engine ray.")
            summary = _inspect(paths, out, inspector_options, quiet)
            if json_ and not console.quiet:
                print_json(summary)
    raise typer.Exit(1 if summary["failed"] else 0)


def _inspect(
    paths: list[str],
    given_out: str | None,
    inspector_options: dict[str, Any],
    quiet: bool,
) -> dict[str, Any]:
    """Inspect and report; return the summary."""
    from ..io.find_images import search_images
    from ..runs.default_folder import NAME, default_folder
    from ..runs.place import check_place

    # Before the processes join, which is when all have come this far: none has written yet.
    found = search_images(paths)
    images = found.images
    out = default_folder(images) if given_out is None else Path(given_out)
    processes = _join_processes(inspector_options)
    main = processes is None or processes.is_main_process
    console.quiet = not main
    if main:
        check_place(out)
    if given_out is None and out.name != NAME:
        say(f"{NAME} holds other photos. The run folder is {out}.")
    with console.status("Loading the model …"):
        from ..inspector import Inspector
        from ..report.write_report import write_report
        from ..runs.batch import inspect_into
        from ..runs.describe import describe
        from ..runs.folder import RunFolder
        from ..runs.read import read_rows

        inspector = Inspector.from_pretrained(**inspector_options)
        rank, count = (processes.process_index, processes.num_processes) if processes else (0, 1)
        with processes.main_process_first() if processes else nullcontext():
            run = RunFolder(out, describe(inspector), rank, images)
        if processes is not None:
            processes.wait_for_everyone()  # none writes before all have opened the run
    if run.relabelled:
        say(f"{run.relabelled} images in {out} have new verdicts or regions; no model was asked.")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    wanted = dict(zip(map(str, images), short_names(images), strict=True))
    done = len(wanted.keys() & run.finished)
    try:
        total = done + -(-(len(images) - done) // count)
        with progress_bar("Inspecting", total, done) as move:

            def on_row(row: dict[str, Any]) -> None:
                move(advance=1)
                if not quiet:
                    say(line_of(row, wanted.get(row["image"])))

            inspect_into(run, inspector, images, on_row, rank, count)
        if processes is not None:
            processes.wait_for_everyone()
            if main:
                run.merge(images)
            processes.wait_for_everyone()
            # Gloo aborts a process whose peer exits while it still listens to it.
            processes.destroy_process_group()
    finally:
        report = write_report(out) if main else None
    rows = [row for row in read_rows(out) if row["image"] in wanted]
    counts = count_rows(rows, done)
    say_counts(counts, inspector.reference)
    say_warned(rows)
    say_left_out(found.left_out)
    if run.damaged:
        say(f"{run.damaged} damaged rows were dropped; those of the given photos are made again.")
    if run.replaced:
        photos = "1 photo" if len(run.replaced) == 1 else f"{len(run.replaced)} photos"
        say(f"{photos} had been replaced since: {names_of(run.replaced)}; inspected again.")
    say(f"Report: {escape(str(report))}")
    left_out = {reason: list(files) for reason, files in found.left_out.items()}
    return {"run": out, "report": report, **counts, "left_out": left_out}


def _served(url: str | None, name: str | None, model: str | None) -> Any:
    """Return the server that writes the responses, if one does."""
    if url is None:
        if name is not None:
            raise SettingsError("--generator-model names a model of --generator URL; give that.")
        return None
    name = model if name is None else name
    if name is None:
        raise SettingsError("Give the name of the model on the server: --generator-model NAME.")
    from ..endpoint.generator import ServedGenerator

    return ServedGenerator(url, name)


def _join_processes(inspector_options: dict[str, Any]) -> Any:
    """Join the processes of `accelerate launch` or torchrun, each with a device of its own."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return None
    from accelerate import PartialState

    # The others wait for the slowest process, however long it takes.
    state = PartialState(cpu=inspector_options["device"] == "cpu", timeout=timedelta(days=365))
    if inspector_options["device"] is None:
        # For a CPU, accelerate says "cpu:0".
        inspector_options["device"] = "cpu" if state.device.type == "cpu" else str(state.device)
    return state
