"""`flawsight train`."""

import inspect as python_inspect
import math
import signal
from collections.abc import Callable
from dataclasses import Field, fields
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from ..cgro.train_settings import TRAIN_PRESETS, TrainSettings, read_config
from ..errors import MissingExtraError, SettingsError
from ..settings import Settings, parse_override
from .shell import console, errors, explained, progress_columns

_DRY_RUN_IMAGES = 4


def _with_a_flag_for_every_setting(command: Callable[..., None]) -> Callable[..., None]:
    """Let typer see one option more for each field of TrainSettings; None leaves it as it is."""
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
                    help=setting.metadata["help"],
                    show_default=False,
                    rich_help_panel="Settings, by default the preset's",
                ),
            ],
        )
        for setting in fields(TrainSettings)
    ]
    command.__signature__ = shown.replace(parameters=[*own, *flags])  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in [*own, *flags]} | {"return": None}
    return command


def _flag_type(setting: Field[Any]) -> Any:
    kinds = {bool: bool, int: int, float: float, float | None: float}
    return kinds.get(setting.type, str)  # type: ignore[arg-type]


@_with_a_flag_for_every_setting
def train(
    *,
    data: Annotated[
        list[str],
        typer.Option(
            help="Images with labels: a folder with good/ and bad/ or laid out like MVTec-AD, a "
            "meta.json, CSV or JSONL, or a known data set. May be repeated."
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder of the run; an unfinished training in it is continued.")
    ] = Path("flawsight-training"),
    preset: Annotated[
        str, typer.Option(help=f"Settings to begin with: {', '.join(TRAIN_PRESETS)}.")
    ] = "default-model",
    model: Annotated[
        str | None,
        typer.Option(help="Qwen2.5-VL folder or hub name. Default: that of the preset."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="YAML file of settings, by the names below; inspection: holds --set's."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Override a setting of the inspection, like max_new_tokens, image_tokens, alpha.",
        ),
    ] = None,
    validation: Annotated[
        list[str] | None,
        typer.Option(help="Images to validate with, named as for --data. May be repeated."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only sample a few candidates and show their rewards.")
    ] = False,
    tracker: Annotated[
        list[str] | None,
        typer.Option(help="tensorboard, wandb, none. Default: those installed. May be repeated."),
    ] = None,
    cpu: Annotated[bool, typer.Option("--cpu", help="Do not use a GPU.")] = False,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="Of the frozen weights: float32, bfloat16. Default: float32 on a CPU or where "
            "all weights train, else bfloat16."
        ),
    ] = None,
    attention: Annotated[str, typer.Option(help="sdpa or flash_attention_2.")] = "sdpa",
    generator: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="vLLM server of the base model that samples the candidates, with the adapter "
            "that it is sent before each step. Default: the model samples here.",
        ),
    ] = None,
    **settings: Any,
) -> None:
    """Train a model with labels of whole images alone: CGRO, or its baseline R1.

    Examples:

        flawsight train --data photos/line3 --dry-run

        flawsight train --data photos/line3 --out runs/line3 --steps 300

        flawsight inspect photos/new --adapter runs/line3/best

        accelerate launch --num-processes 4 -m flawsight train --data mix.jsonl --preset paper-7b

    Running the same command again goes on where a training stopped.
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
    console.print(_balance(found.balance(), settings))
    images = [*found.train, *found.validation]
    if accelerator.is_main_process:
        with Progress(*progress_columns("Reading"), console=console, transient=True) as progress:
            bar = progress.add_task("", total=len(images))
            check_readable(images, lambda: progress.advance(bar))
    accelerator.wait_for_everyone()
    with console.status("Loading the model …"):
        if dtype is None and settings.trainable == "full":
            dtype = "float32"  # an update of 1e-5 is lost in bfloat16
        # Of the CPU of several processes accelerate says "cpu:0".
        on = "cpu" if accelerator.device.type == "cpu" else str(accelerator.device)
        mllm = load_mllm(model, device=on, dtype=dtype, attention=attention)
    served = None
    if generator is not None:
        from ..endpoint.generator import ServedGenerator

        served = ServedGenerator(generator, "the adapter")
    if dry_run:
        _show_candidates(mllm, inspection, settings, found, accelerator)
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with Progress(*progress_columns("Training"), console=console, transient=True) as progress:
        bar = progress.add_task("", total=settings.steps)

        def on_step(step: int, row: dict[str, float]) -> None:
            if progress.tasks[bar].completed == 0 and step > 1:  # a resumed one: for the ETA
                progress.reset(bar, completed=step, total=settings.steps)
            progress.update(bar, completed=step)
            progress.console.print(_line(step, row), highlight=False, soft_wrap=True)

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
        console.print("[yellow]No step was better than the model before the training.[/]")
    kind = "--adapter" if settings.trainable == "lora" else "--model"
    base = f" --model {model}" if model is not None and settings.trainable == "lora" else ""
    console.print(f"Try it: flawsight inspect PHOTOS{base} {kind} {out / 'best'}", soft_wrap=True)


def _balance(counts: dict[str, dict[str, int]], settings: TrainSettings) -> str:
    parts = [
        f"{part}: {count['normal']} normal and {count['defective']} defective images"
        for part, count in counts.items()
    ]
    share = settings.defective_share
    drawn = "as they are" if share is None else f"{share:.0%} of them defective"
    return f"{'; '.join(parts)}. Training images are drawn {drawn}."


def _line(step: int, row: dict[str, float]) -> str:
    """One step in one line: what matters most while one watches."""
    parts = [f"step {step}"]
    if "loss" in row:
        parts.append(
            f"reward {row['reward_mean']:.2f} ± {row['reward_spread']:.2f} (format "
            f"{row['format_mean']:.2f}, accuracy {row['accuracy_mean']:.2f}, consistency "
            f"{row['consistency_mean']:.2f})"
        )
        found = [f"{n} {row[n]:.2f}" for n in ("J_defective", "J_normal") if n in row]
        parts += [", ".join(found)] if found else []
        parts.append(
            f"uniform {row['uniform_groups']:.0%}, length {row['length']:.0f}, entropy "
            f"{row['entropy']:.2f}, KL {row['kl']:.4f}"
        )
    if "validation_image_auroc" in row:
        parts.append(
            f"[bold]validation AUROC {row['validation_image_auroc']:.3f}, balanced accuracy "
            f"{row['validation_balanced_accuracy']:.3f}[/]"
        )
    return "  ".join(parts)


def _show_candidates(
    mllm: Any, inspection: Settings, settings: TrainSettings, found: Any, accelerator: Any
) -> None:
    """Print the reward table, and warn of a model that cannot be taught by these rewards."""
    from ..cgro.dry_run import dry_run

    half = _DRY_RUN_IMAGES // 2
    images = [
        image
        for label in (True, False)
        for image in [i for i in found.train if i.label == label][:half]
    ]
    with console.status("Sampling …"):
        candidates = dry_run(mllm, inspection, settings, images, accelerator)
    _print_rewards(candidates, settings.reward == "cgro")
    rewards = [candidate.score for candidate in candidates]
    groups = [
        {score.total for score in rewards[start : start + settings.candidates]}
        for start in range(0, len(rewards), settings.candidates)
    ]
    uniform = sum(len(group) == 1 for group in groups)
    console.print(f"{uniform} of {len(groups)} images have candidates that all earn the same.")
    if not any(score.format for score in rewards):
        errors.print(
            "[bold yellow]Warning:[/] the model never wrote <think>…</think><answer>Yes|No"
            "</answer>. Where no candidate earns R_fmt it cannot be learned: raise max_new_tokens "
            "if the texts are cut off, or fine-tune the model on a few responses of that form "
            "first.",
            soft_wrap=True,
        )
    elif uniform == len(groups):
        errors.print(
            "[bold yellow]Warning:[/] there is nothing to learn where all candidates earn the "
            "same: raise temperature or candidates, or change δ1 and δ2.",
            soft_wrap=True,
        )
    for label, word in ((True, "defective"), (False, "normal")):
        own = [c.score for c in candidates if c.label == label]
        found = sorted(s.agreement for s in own if not math.isnan(s.agreement))
        if settings.reward == "cgro" and found and len({s.consistency for s in own}) == 1:
            delta = "delta_anomalous (δ1)" if label else "delta_normal (δ2)"
            errors.print(
                f"[bold yellow]Warning:[/] R_cons tells the candidates of {word} images not apart:"
                f" J lies between {found[0]:.2f} and {found[-1]:.2f}. A {delta} near the median, "
                f"{found[len(found) // 2]:.2f}, would.",
                soft_wrap=True,
            )


def _print_rewards(candidates: Any, with_J: bool) -> None:
    """Print one line a candidate, its text below its rewards."""
    table = Table("R_fmt", "R_acc", *["R_cons", "J"] * with_J, "text", show_lines=True)
    image = None
    for candidate in candidates:
        if candidate.image != image:
            image = candidate.image
            kind = "defective" if candidate.label else "normal"
            blanks = [""] * (len(table.columns) - 1)
            table.add_row(*blanks, f"[bold]{escape(image.name)}, {kind}[/]")
        score = candidate.score
        J = "–" if math.isnan(score.agreement) else f"{score.agreement:.2f}"
        kept = escape(f"kept: {', '.join(candidate.kept)}\n") if candidate.kept else ""
        table.add_row(
            f"{score.format:.0f}",
            f"{score.accuracy:.0f}",
            *[f"{score.consistency:.0f}", J] * with_J,
            f"[dim]{kept}[/]{escape(candidate.text)}",
        )
    console.print(table)
