"""`flawsight train`."""

import inspect as python_inspect
import signal
from collections.abc import Callable
from dataclasses import Field, fields
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from ..cgro.train_settings import TRAIN_PRESETS, TrainSettings
from ..errors import MissingExtraError, SettingsError
from ..settings import Settings, parse_override
from . import options
from .shell import console, explained, progress_bar, say, warn
from .train_output import balance_line, few_images, show_candidates, step_line, summary


def _with_a_flag_for_every_setting(command: Callable[..., None]) -> Callable[..., None]:
    """Add one option per field of TrainSettings; None leaves the preset's value."""
    shown = python_inspect.signature(command)
    own = [p for p in shown.parameters.values() if p.kind is not p.VAR_KEYWORD]
    flags = [
        python_inspect.Parameter(
            setting.name,
            python_inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                _flag_type(setting) | None,
                typer.Option(
                    help=f"{setting.metadata['help'].removesuffix('.')}. {_default(setting)}.",
                    show_default=False,
                    rich_help_panel="Settings",
                ),
            ],
        )
        for setting in fields(TrainSettings)
    ]
    command.__signature__ = shown.replace(parameters=[*own, *flags])  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in [*own, *flags]} | {"return": None}
    return command


def _flag_type(setting: Field[Any]) -> Any:
    return setting.type if setting.type in (bool, int, float, float | None) else str


def _default(setting: Field[Any]) -> str:
    """Return the default under the default preset and, if it differs, under the paper's."""
    ours, paper = (
        _shown(getattr(TRAIN_PRESETS[name].settings, setting.name))
        for name in ("default-model", "paper-7b")
    )
    return f"Default: {ours}" if ours == paper else f"Default: {ours}; paper presets: {paper}"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "that of the data" if value is None else f"{value}"


@_with_a_flag_for_every_setting
def train(
    *,
    data: Annotated[
        list[str],
        typer.Option(
            help="Labelled images: known data set, meta.json, CSV or JSONL, or folder with good/ "
            "and bad/ or laid out like MVTec-AD; repeatable."
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder of the run; an unfinished training in it is resumed.")
    ] = Path("flawsight-training"),
    preset: Annotated[
        str, typer.Option(help=f"Preset to start from: {', '.join(TRAIN_PRESETS)}.")
    ] = "default-model",
    model: Annotated[
        str | None,
        typer.Option(
            help="Folder or hub name of a Qwen2.5-VL or Qwen3-VL model. Default: the preset's."
        ),
    ] = None,
    adapter: Annotated[
        str | None,
        typer.Option(
            help="Folder or hub name of a LoRA adapter to train further; it keeps its rank, alpha "
            "and layers. Default: a new one."
        ),
    ] = None,
    set_: options.Overrides = None,
    bit_depth: options.BitDepth = None,
    prompt_photo: options.PromptPhotos = None,
    validation: Annotated[
        list[str] | None,
        typer.Option(help="Labelled images to validate with, given as for --data; repeatable."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Sample a few candidates, show their rewards, stop.")
    ] = False,
    tracker: Annotated[
        list[str] | None,
        typer.Option(
            help="Tracker to log to: tensorboard, wandb or none; repeatable. Default: all of them "
            "that are installed."
        ),
    ] = None,
    cpu: Annotated[
        bool, typer.Option("--cpu", help="Train on the CPU even if there is a GPU.")
    ] = False,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="Data type of the frozen weights: float32 or bfloat16. Default: float32 on a CPU, "
            "else bfloat16."
        ),
    ] = None,
    attention: options.Attention = "sdpa",
    generator: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Base URL of a vLLM server of the base model that samples the candidates. "
            "Default: sample here.",
        ),
    ] = None,
    push_to_hub: options.PushToHub = None,
    **settings: Any,
) -> None:
    """Train a LoRA adapter with image-level labels: CGRO, or its baseline R1.

    Examples:

        flawsight train --data photos/line3 --dry-run

        flawsight train --data photos/line3 --out runs/line3 --steps 300

        flawsight inspect photos/new --adapter runs/line3/best

        flawsight train --data photos/line3 --out runs/line3 --push-to-hub acme/line3-adapter

        accelerate launch --num-processes 4 -m flawsight train --data mix.jsonl --preset paper-7b

    Rerun the same command to resume.
    """
    with explained():
        given = {name: value for name, value in settings.items() if value is not None}
        model, inspection, chosen = _read_settings(
            preset, model, adapter, options.with_bit_depth(set_, bit_depth), given
        )
        specs = [*data, *(validation or [])]
        photos = options.read_photos(prompt_photo, inspection.bit_depth)
        with console.status("Loading …"):
            try:
                from ..cgro.trainer import TRACKERS, make_accelerator
                from ..cgro.training_data import check_readable, read_training_data
            except ModuleNotFoundError as error:
                if error.name != "accelerate":
                    raise
                raise MissingExtraError("accelerate", "train") from error
            from ..mllm.load import load_mllm

            if tracker is None:
                tracker = [] if dry_run else [n for n, installed in TRACKERS.items() if installed()]
            trackers = [name for name in tracker if name != "none"]
            accelerator = make_accelerator(chosen, out, cpu, trackers)
            console.quiet = not accelerator.is_main_process
            if accelerator.is_main_process and not dry_run:
                options.check_push(push_to_hub)
            found = read_training_data(
                data, validation or [], chosen.validation_share, chosen.validation_images,
                chosen.seed,
            )  # fmt: skip
        warn(found.notes)
        say(balance_line(found.balance(), chosen))
        few_images(found.balance()["validation"])
        images = [*found.train, *found.validation]
        if accelerator.is_main_process:
            with progress_bar("Reading", len(images)) as move:
                warned = check_readable(images, lambda: move(advance=1), inspection.bit_depth)
            if warned:
                say(f"{len(warned)} photos have warnings, like {escape(warned[0])}")
        accelerator.wait_for_everyone()
        with console.status("Loading the model …"):
            # With several processes on a CPU, accelerate calls it "cpu:0".
            on = "cpu" if accelerator.device.type == "cpu" else str(accelerator.device)
            loading: dict[str, Any] = {"device": on, "dtype": dtype, "attention": attention}
            mllm = load_mllm(model, adapter=adapter, **loading)
        served = None
        if generator is not None:
            from ..endpoint.generator import ServedGenerator

            served = ServedGenerator(generator, "the adapter")
        if dry_run:
            show_candidates(mllm, inspection, chosen, found, accelerator, photos)
            return
        better = _train(mllm, inspection, chosen, found, out, accelerator, specs, served, photos)
        base = "" if model is None else f" --model {model}"
        base += "".join(f" --prompt-photo {path}" for path in prompt_photo or ())
        intent = "Try it" if better else "To inspect with it all the same"
        say(f"{intent}: flawsight inspect PHOTOS{base} --adapter {out / 'best'}")
        if push_to_hub is not None and accelerator.is_main_process:
            from ..cgro.push_adapter import push_adapter

            again = "run the same command again."
            with options.keeping(out / "best", again), console.status("Uploading …"):
                url = push_adapter(out / "best", push_to_hub)
            say(f"Uploaded: {escape(url)}")


def _read_settings(
    preset: str,
    model: str | None,
    adapter: str | None,
    overrides: list[str] | None,
    given: dict[str, Any],
) -> tuple[str | None, Settings, TrainSettings]:
    """Return the model and settings: of preset, adapter and flags; later ones win.

    Raises:
        ModelError: if there is no such adapter.
        SettingsError: for an unknown preset or name, or a value that it cannot take.
    """
    if preset not in TRAIN_PRESETS:
        raise SettingsError(
            f"There is no preset {preset!r}; choose one of {', '.join(TRAIN_PRESETS)}."
        )
    start = TRAIN_PRESETS[preset]
    of_adapter = {}
    if adapter is not None:
        from ..cgro.checkpoint import lora_settings

        of_adapter = lora_settings(adapter)
    of_inspection = dict(map(parse_override, overrides or []))
    inspection = Settings.from_json(start.inspection.to_json() | of_inspection)
    if inspection.roi is not None:
        raise SettingsError("Training reads whole photos; leave roi out, or cut the photos.")
    return (
        start.model if model is None else model,
        inspection,
        start.settings.changed(of_adapter | given),
    )


def _train(
    mllm: Any,
    inspection: Settings,
    settings: TrainSettings,
    found: Any,
    out: Path,
    accelerator: Any,
    specs: list[str],
    served: Any,
    photos: Any,
) -> bool:
    """Train with a progress bar, and say what it gained; return whether it gained anything."""
    from ..cgro.trainer import train

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with progress_bar("Training", settings.steps) as move:

        def on_step(step: int, row: dict[str, float]) -> None:
            move(completed=step)
            say(step_line(step, row))

        validations = train(
            mllm, inspection, settings, found, out, accelerator, specs, on_step, served, photos
        )
    return summary(out, validations, found.balance()["validation"])
