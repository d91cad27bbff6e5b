"""`flawsight inspect`."""

import signal
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import Progress

from ..errors import SettingsError
from .shell import console, explained, progress_columns


def inspect(
    paths: Annotated[
        list[str], typer.Argument(help="Image files, folders (searched deeply), globs.")
    ],
    out: Annotated[
        Path, typer.Option(help="Run folder; an unfinished run in it is continued.")
    ] = Path("flawsight-run"),
    model: Annotated[
        str | None,
        typer.Option(help="Qwen2.5-VL folder or hub name. Default: the bundled small model."),
    ] = None,
    adapter: Annotated[str | None, typer.Option(help="LoRA adapter, folder or hub name.")] = None,
    preset: Annotated[str, typer.Option(help="Settings: paper or default.")] = "default",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Override a setting; may be repeated."),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images generated for at once.")] = 8,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, mps. Default: the best.")] = None,
    dtype: Annotated[
        str | None,
        typer.Option(help="float32, bfloat16, float16. Default: float32 on a CPU, else bfloat16."),
    ] = None,
    attention: Annotated[str, typer.Option(help="sdpa or flash_attention_2.")] = "sdpa",
    seed: Annotated[int, typer.Option(help="Of sampling, with --set temperature=…")] = 0,
    threshold: Annotated[
        float | None,
        typer.Option(help="Defective is a score above it, in place of the model's Yes."),
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Threshold of flawsight calibrate; --threshold wins.")
    ] = None,
    category: Annotated[
        str | None, typer.Option(help="Whose threshold the calibration gives. Default: of all.")
    ] = None,
    quiet: Annotated[bool, typer.Option(help="No line for each image.")] = False,
) -> None:
    """Inspect photos: verdicts, heat maps, reasons and a report.

    Examples:

        flawsight inspect photos/

        flawsight inspect 'line3/**/*.png' --out runs/line3 --batch-size 16

        flawsight inspect part.jpg --model Qwen/Qwen2.5-VL-7B-Instruct --preset paper

    Running the same command again inspects only what is missing.
    """
    with explained():
        failed = _inspect(
            paths, out, model, adapter, parse_settings(preset, set_ or [], seed), batch_size, quiet,
            {"device": device, "dtype": dtype, "attention": attention, "threshold": threshold},
            calibration, category,
        )  # fmt: skip
    raise typer.Exit(1 if failed else 0)


def parse_settings(preset_name: str, overrides: list[str], seed: int) -> Any:
    """Return the settings of a preset with NAME=VALUE overrides.

    Raises:
        SettingsError: for an unknown preset or name, or a value that it cannot take.
    """
    from ..settings import Settings, parse_override, preset

    values = preset(preset_name).to_json() | {"seed": seed}
    return Settings.from_json(values | dict(parse_override(text) for text in overrides))


def _inspect(
    paths: list[str],
    out: Path,
    model: str | None,
    adapter: str | None,
    settings: Any,
    batch_size: int,
    quiet: bool,
    load_options: dict[str, Any],
    calibration: Path | None,
    category: str | None,
) -> int:
    """Inspect and report; return how many images failed."""
    from ..data.images import find_images

    if category is not None and calibration is None:
        raise SettingsError("--category chooses a threshold of --calibration FILE; give that too.")
    images = find_images(paths)
    with console.status("Loading the model …"):
        from ..inspector import Inspector
        from ..mllm.contradiction import telling_sentence
        from ..report.html import write_report
        from ..run_folder import RunFolder, describe, inspect_into, read_rows

        inspector = Inspector.from_pretrained(
            model, settings=settings, batch_size=batch_size, adapter=adapter, **load_options
        )
        if calibration is not None and inspector.threshold is None:
            from ..evaluate.calibrate import load_calibration

            calibrated = load_calibration(calibration)
            calibrated.check(inspector.mllm.sha256, inspector.settings.to_json())
            inspector.threshold = calibrated.threshold(category)
            if (above := calibrated.region_threshold(category)) is not None:
                inspector.settings = replace(inspector.settings, region_threshold=above)
        run = RunFolder(out, describe(inspector))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    wanted = {str(image) for image in images}
    done = len(wanted & run.finished)
    try:
        with Progress(*progress_columns("Inspecting"), console=console, transient=True) as progress:
            say = partial(progress.console.print, soft_wrap=True, highlight=False)
            bar = progress.add_task("", total=len(images), completed=done)

            def on_row(row: dict[str, Any]) -> None:
                progress.advance(bar)
                if quiet:
                    return
                name = escape(Path(row["image"]).name)
                if "error" in row:
                    say(f"[red]failed   [/]         {name}  {escape(row['error'])}")
                    return
                verdict = "[red]DEFECTIVE[/]" if row["pred_label"] else "[green]good     [/]"
                sentence = escape(telling_sentence(row["explanation"], row["answer"]))
                note = " [yellow](contradiction)[/]" if row["contradiction"] else ""
                say(f"{verdict}  {row['pred_score']:.3f}  {name}  {sentence}{note}")

            inspect_into(run, inspector, images, on_row)
    finally:
        report = write_report(out)
    rows = [row for row in read_rows(out) if row["image"] in wanted]
    failed = sum("error" in row for row in rows)
    defective = sum(row.get("pred_label", False) for row in rows)
    console.print(
        f"{len(rows)} images: {defective} defective, {len(rows) - failed - defective} good, "
        f"{failed} failed{f' ({done} were done before)' if done else ''}."
    )
    console.print(f"Report: {report}", soft_wrap=True)
    return failed
