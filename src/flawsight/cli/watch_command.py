"""`flawsight watch`."""

import signal
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from . import options
from .shell import console, explained, print_json, say
from .watch_view import watch_view


def watch(
    folder: Annotated[
        Path,
        typer.Argument(help="Folder that photos come into, with its subfolders."),
    ],
    out: Annotated[Path, typer.Option(help="Run folder; a run in it is continued.")] = Path(
        "flawsight-watch"
    ),
    reference: options.Reference = None,
    calibration: options.CalibrationFile = None,
    category: options.Category = None,
    threshold: options.Threshold = None,
    false_alarm_rate: options.FalseAlarmRate = None,
    explain: options.Explain = None,
    move_to: Annotated[
        Path | None,
        typer.Option(
            help="Folder to move inspected photos to, into its good/ and defective/. Default: "
            "photos stay."
        ),
    ] = None,
    on_defective: Annotated[
        str | None,
        typer.Option(
            metavar="COMMAND|URL",
            help="Command that gets the JSON of each defective photo as its input, or URL it is "
            "sent to: http, https, mqtt or mqtts. Default: none.",
        ),
    ] = None,
    poll: Annotated[
        float | None,
        typer.Option(
            min=0.02,
            help="Seconds between two looks at the folder. Default: when the system tells of a "
            "change, or 0.2 on network shares and without flawsight[watch].",
        ),
    ] = None,
    settle: Annotated[
        float,
        typer.Option(min=0.0, help="Seconds for which a file must not change before it is read."),
    ] = 0.4,
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
    quiet: Annotated[bool, typer.Option(help="Do not print a line for each photo.")] = False,
    json_: options.Json = False,
) -> None:
    """Inspect each photo that comes into a folder, until Ctrl-C or SIGTERM.

    Examples:

        flawsight watch /srv/line3 --reference line3.reference --out runs/line3

        flawsight watch /srv/line3 --move-to /srv/inspected --on-defective http://plc.example/reject

        flawsight watch //nas/line3 --poll 0.5 --on-defective 'python stop_line.py'

    A photo is inspected once it is complete. Start the same command again to go on; no photo gets
    a second verdict. More in docs/watch.md.
    """
    with explained(json_):
        from ..runs.place import check_place
        from ..watch.hooks import open_hook
        from ..watch.scan_folder import check_folders

        check_folders(folder, out, move_to)
        check_place(out)
        hook = None if on_defective is None else open_hook(on_defective)
        settings = options.parse_settings(preset, set_, seed, bit_depth, explain, roi)
        known = options.load_reference(reference)
        given: dict[str, Any] = {
            "model": model, "adapter": adapter, "device": device, "dtype": dtype,
            "attention": attention, "settings": settings, "batch_size": batch_size,
            "prompt_photos": options.read_photos(prompt_photo, settings.bit_depth, settings.roi),
            "threshold": threshold, "category": category, "prior": prior, "reference": known,
            "false_alarm_rate": false_alarm_rate,
            "calibration": options.load_calibration(calibration, category),
        }  # fmt: skip
        with console.status("Loading the model …"):
            from ..inspector import Inspector
            from ..runs.describe import describe
            from ..runs.folder import RunFolder
            from ..watch.watch_folder import Plan
            from ..watch.watch_folder import watch as watch_folder
            from ..watch.watch_status import WatchStatus

            inspector = Inspector.from_pretrained(**given)
            run = RunFolder(out, describe(inspector))
        plan = Plan(folder.absolute(), move_to, hook, poll, settle)
        stop, status = _StopOnSignal(), WatchStatus()
        if not console.is_terminal:
            say(f"Watching {escape(str(folder))}.")
        with watch_view(status, str(folder), quiet) as on_row:
            report = watch_folder(plan, run, inspector, stop, on_row, status)
        say(
            f"{status.done} images: {status.defective} defective, {status.good} good, "
            f"{status.failed} failed ({status.before} were done before)."
        )
        if status.unsent:
            say(f"{status.unsent} defective photos are to be delivered at the next start.")
        if status.given_up:
            say(f"[yellow]{status.given_up} defective photos were refused and never reported.[/]")
        say(f"Report: {escape(str(report))}")
        if json_:
            print_json(
                {
                    "run": out, "report": report, "images": status.done, "good": status.good,
                    "defective": status.defective, "failed": status.failed,
                    "done_before": status.before, "undelivered": status.unsent,
                    "given_up": status.given_up,
                    "median_delay_seconds": status.usual_delay,
                }
            )  # fmt: skip


class _StopOnSignal:
    """Whether to stop: after the first SIGINT or SIGTERM. The second one interrupts."""

    def __init__(self) -> None:
        self._stopped = False
        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, self._stop)

    def _stop(self, number: int, frame: object) -> None:
        self._stopped = True
        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, signal.default_int_handler)

    def __call__(self) -> bool:
        return self._stopped
