"""`flawsight doctor`."""

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.markup import escape

from ..errors import SettingsError
from . import options
from .shell import console, explained, print_json, say, say_left_out

_WORDS = {True: "[green]ok[/]    ", False: "[bold red]FAILED[/]", None: "[cyan]note[/]  "}


def doctor(
    photos: Annotated[
        list[str] | None,
        typer.Argument(
            help="Image files, globs and folders; a few photos of yours. Default: 8 rendered ones.",
            show_default=False,
        ),
    ] = None,
    model: options.Model = None,
    adapter: options.Adapter = None,
    preset: options.Preset = "default",
    set_: options.Overrides = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    attention: options.Attention = "sdpa",
    prompt_photo: options.PromptPhotos = None,
    train: Annotated[
        bool, typer.Option("--train", help="Check one step of training, too.")
    ] = False,
    json_: options.Json = False,
) -> None:
    """Check whether a model works on this machine: tokens, attention, P(Yes), memory, training.

    Examples:

        flawsight doctor

        flawsight doctor --model Qwen/Qwen2.5-VL-7B-Instruct --preset paper photos/

        flawsight doctor --model my/checkpoint --train --json > doctor.json

    One line per check: ok, FAILED, or note for what only informs. Exit code 1: a check failed.
    """
    with explained(json_), ExitStack() as stack:
        if train and adapter is not None:
            raise SettingsError("--train checks a training of the model itself: omit --adapter.")
        settings = options.parse_settings(preset, set_)
        with console.status("Loading the model …"):
            from ..doctor.examine import examine, render_photos
            from ..inspector import Inspector
            from ..io.find_images import search_images
            from ..runs.describe import describe, versions

            if photos:
                found = search_images(photos)
                paths = list(found.images)
                say_left_out(found.left_out)
            else:
                paths = render_photos(Path(stack.enter_context(TemporaryDirectory())))
            inspector = Inspector.from_pretrained(
                model, settings=settings, adapter=adapter, device=device, dtype=dtype,
                attention=attention, prompt_photos=prompt_photo or (),
            )  # fmt: skip
        about = describe(inspector)["model"]
        of = "photos" if photos else "rendered photos"
        say(
            f"{escape(about['name'])} in {about['dtype']} on {about['device']}, "
            f"{about['attention']}, preset {preset}, {len(paths)} {of}"
        )
        findings = []
        with console.status("Checking …"):
            for finding in examine(inspector, paths, train):
                findings.append(finding)
                say(f"{_WORDS[finding.ok]} {finding.name:16} {escape(finding.message)}")
        failed = sum(finding.ok is False for finding in findings)
        held = sum(finding.ok is True for finding in findings)
        say(f"{held} checks hold, {failed} failed.")
        if json_:
            listed = [finding.to_json() for finding in findings]
            print_json(
                {
                    "ok": not failed, "findings": listed, "model": about,
                    "settings": settings.to_json(), "versions": versions(),
                    "photos": [path.name for path in paths],
                }
            )  # fmt: skip
    raise typer.Exit(int(failed > 0))
