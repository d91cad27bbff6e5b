"""`flawsight train`."""

import inspect as python_inspect
import signal
from collections.abc import Callable
from dataclasses import Field, fields
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from ..cgro.train_settings import TRAIN_PRESETS, TrainSettings, read_config
from ..errors import MissingExtraError, SettingsError
from ..settings import Settings, parse_override
from .shell import console, explained, progress_columns
from .train_output import balance_line, show_candidates, step_line


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
                    help=f"{setting.metadata['help'].removesuffix('.')} {_default(setting)}.",
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


def _default(setting: Field[Any]) -> str:
    """Return the default under the default preset and, if it differs, under the paper's."""
    ours, paper = (
        _shown(getattr(TRAIN_PRESETS[name].settings, setting.name))
        for name in ("default-model", "paper-7b")
    )
    return f"(default {ours})" if ours == paper else f"(default {ours}, paper presets {paper})"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "that of the data" if value is None else f"{value}"


def _flag_type(setting: Field[Any]) -> Any:
    kinds = {bool: bool, int: int, float: float, float | None: float}
    return kinds.get(setting.type, str)  # type: ignore[arg-type]


@_with_a_flag_for_every_setting
def train(
    *,
    data: Annotated[
        list[str],
        typer.Option(
            help="Labelled images: a folder with good/ and bad/ or laid out like MVTec-AD, a "
            "meta.json, CSV or JSONL, or a known data set; may be repeated."
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
        typer.Option(help="Qwen2.5-VL folder or hub name (default: the preset's)."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="YAML file with the settings below, and under inspection: those of --set."
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Inspection setting to override, like max_new_tokens or image_tokens; may be "
            "repeated.",
        ),
    ] = None,
    validation: Annotated[
        list[str] | None,
        typer.Option(
            help="Labelled images to validate with, given as for --data; may be repeated."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Sample a few candidates, show their rewards, stop.")
    ] = False,
    tracker: Annotated[
        list[str] | None,
        typer.Option(
            help="Tracker to log to: tensorboard, wandb or none (default: all installed); may be "
            "repeated."
        ),
    ] = None,
    cpu: Annotated[
        bool, typer.Option("--cpu", help="Train on the CPU even if there is a GPU.")
    ] = False,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="Data type of the frozen weights: float32 or bfloat16 (default: float32 on a "
            "CPU, else bfloat16)."
        ),
    ] = None,
    attention: Annotated[
        str, typer.Option(help="Attention implementation: sdpa or flash_attention_2.")
    ] = "sdpa",
    generator: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Base URL of a vLLM server of the base model that samples the candidates "
            "(default: sample here).",
        ),
    ] = None,
    **settings: Any,
) -> None:
    """Train a LoRA adapter with image-level labels: CGRO, or its baseline R1.

    Examples:

        flawsight train --data photos/line3 --dry-run

        flawsight train --data photos/line3 --out runs/line3 --steps 300

        flawsight inspect photos/new --adapter runs/line3/best

        accelerate launch --num-processes 4 -m flawsight train --data mix.jsonl --preset paper-7b

    Rerun the same command to resume.
    """
    with explained():
        given = {name: value for name, value in settings.items() if value is not None}
        if preset not in TRAIN_PRESETS:
            raise SettingsError(
                f"There is no preset {preset!r}; choose one of {', '.join(TRAIN_PRESETS)}."
            )
        start = TRAIN_PRESETS[preset]
        written = read_config(config) if config else {}
        of_inspection = written.pop("inspection", {}) | dict(map(parse_override, set_ or []))
        _train(
            data,
            validation or [],
            out,
            start.model if model is None else model,
            Settings.from_json(start.inspection.to_json() | of_inspection),
            start.settings.changed(written | given),
            dry_run,
            tracker,
            cpu,
            dtype,
            attention,
            generator,
        )


def _train(
    specs: list[str],
    validation: list[str],
    out: Path,
    model: str | None,
    inspection: Settings,
    settings: TrainSettings,
    dry_run: bool,
    trackers: list[str] | None,
    cpu: bool,
    dtype: str | None,
    attention: Any,
    generator: str | None,
) -> None:
    with console.status("Loading …"):
        try:
            from ..cgro.trainer import TRACKERS, make_accelerator, train
            from ..cgro.training_data import check_readable, read_training_data
        except ModuleNotFoundError as error:
            if error.name != "accelerate":
                raise
            raise MissingExtraError("accelerate", "train") from error
        from ..mllm.load import load_mllm

        if trackers is None:
            trackers = [] if dry_run else [n for n, installed in TRACKERS.items() if installed()]
        trackers = [name for name in trackers if name != "none"]
        accelerator = make_accelerator(settings, out, cpu, trackers)
        console.quiet = not accelerator.is_main_process
        found = read_training_data(
            specs, validation, settings.validation_share, settings.validation_images, settings.seed
        )
    console.print(balance_line(found.balance(), settings))
    images = [*found.train, *found.validation]
    if accelerator.is_main_process:
        with Progress(*progress_columns("Reading"), console=console, transient=True) as progress:
            bar = progress.add_task("", total=len(images))
            check_readable(images, lambda: progress.advance(bar))
    accelerator.wait_for_everyone()
    with console.status("Loading the model …"):
        # With several processes on a CPU, accelerate calls it "cpu:0".
        on = "cpu" if accelerator.device.type == "cpu" else str(accelerator.device)
        mllm = load_mllm(model, device=on, dtype=dtype, attention=attention)
    served = None
    if generator is not None:
        from ..endpoint.generator import ServedGenerator

        served = ServedGenerator(generator, "the adapter")
    if dry_run:
        show_candidates(mllm, inspection, settings, found, accelerator)
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with Progress(*progress_columns("Training"), console=console, transient=True) as progress:
        bar = progress.add_task("", total=settings.steps)

        def on_step(step: int, row: dict[str, float]) -> None:
            if progress.tasks[bar].completed == 0 and step > 1:  # resumed: correct the ETA
                progress.reset(bar, completed=step, total=settings.steps)
            progress.update(bar, completed=step)
            progress.console.print(step_line(step, row), highlight=False, soft_wrap=True)

        validations = train(
            mllm, inspection, settings, found, out, accelerator, [*specs, *validation], on_step,
            served,
        )  # fmt: skip
    before, after = validations[0], validations[1:]
    best = max(after, key=lambda row: (row["image_auroc"], row["balanced_accuracy"]))
    console.print(
        f"Image AUROC on {len(found.validation)} validation images: {before['image_auroc']:.3f} "
        f"before, {best['image_auroc']:.3f} at best (step {best['step']:.0f}); balanced accuracy "
        f"{before['balanced_accuracy']:.3f} and {best['balanced_accuracy']:.3f}."
    )
    if best["image_auroc"] <= before["image_auroc"]:
        console.print("[yellow]No step was better than the model before training.[/]")
    base = "" if model is None else f" --model {model}"
    console.print(
        f"Try it: flawsight inspect PHOTOS{base} --adapter {out / 'best'}", soft_wrap=True
    )
