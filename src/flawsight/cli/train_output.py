"""What `flawsight train` prints."""

import math
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from ..cgro.train_settings import TrainSettings
from ..settings import Settings
from .shell import console, errors, say

_DRY_RUN_IMAGES = 4
_SHOWN_RESPONSES = 3


def balance_line(counts: dict[str, dict[str, int]], settings: TrainSettings) -> str:
    """Say how many images of each class there are, and in what proportion they are drawn."""
    parts = [
        f"{part}: {count['normal']} normal and {count['defective']} defective images"
        for part, count in counts.items()
    ]
    share = settings.defective_share
    drawn = "" if share is None else f" Of the training images drawn, {share:.0%} are defective."
    return f"{'; '.join(parts)}.{drawn}"


def step_line(step: int, row: dict[str, float]) -> str:
    """Return the main metrics of a step as one line."""
    parts = [f"step {step}"]
    if "loss" in row:
        parts.append(
            f"reward {row['reward_mean']:.2f} ± {row['reward_std']:.2f} (format "
            f"{row['format_mean']:.2f}, accuracy {row['accuracy_mean']:.2f}, consistency "
            f"{row['consistency_mean']:.2f})"
        )
        found = [f"{n} {row[n]:.2f}" for n in ("J_defective", "J_normal") if n in row]
        parts += [", ".join(found)] if found else []
        parts.append(
            f"zero-variance groups {row['zero_variance_groups']:.0%}, length {row['length']:.0f}, "
            f"entropy {row['entropy']:.2f}, KL {row['kl']:.4f}"
        )
    if "validation_image_auroc" in row:
        low, high = (row[f"validation_image_auroc_{end}"] for end in ("low", "high"))
        parts.append(
            f"[bold]validation AUROC {row['validation_image_auroc']:.3f} "
            f"({low:.2f} to {high:.2f}), balanced accuracy "
            f"{row['validation_balanced_accuracy']:.3f}[/]"
        )
    return "  ".join(parts)


def few_images(counts: dict[str, int]) -> None:
    """Warn if there are too few validation images to tell whether a training gains anything."""
    from ..cgro.best_step import FEW_IMAGES

    if min(counts.values()) < FEW_IMAGES:
        say(
            f"[bold yellow]Warning:[/] {counts['normal']} normal and {counts['defective']} "
            "defective validation images can hardly tell a gain from chance, and intervals are "
            f"too narrow. Give at least {FEW_IMAGES} of each, better 50: --validation or "
            "--validation-share.",
            errors,
        )


def summary(out: Path, validations: Sequence[dict[str, float]], counts: dict[str, int]) -> bool:
    """Say what a training gained and how it changed the language; return whether it gained."""
    from ..cgro.best_step import gain
    from ..cgro.model_card import auroc_with_interval
    from ..cgro.trainer import best_row
    from ..cgro.validation import read_outcomes

    before, best = validations[0], best_row(out, validations)
    say(
        f"Image AUROC on {sum(counts.values())} validation images: "
        f"{escape(auroc_with_interval(before))} before, {escape(auroc_with_interval(best))} at "
        f"best (step {best['step']:.0f}); balanced accuracy {before['balanced_accuracy']:.3f} and "
        f"{best['balanced_accuracy']:.3f}."
    )
    responses = [read_outcomes(out, int(row["step"])) for row in (before, best)]
    better = best["image_auroc"] > before["image_auroc"]
    if not better:
        say("[yellow]No step was better than the model before training. Add images or steps.[/]")
    elif all(responses):
        found = gain(*responses)
        sure = found.low > 0
        say(
            f"Gain {found.value:+.3f}, 95 % interval {found.low:+.2f} to {found.high:+.2f}."
            + ("" if sure else " [yellow]It may be chance: validate on more images.[/]")
        )
    if all(responses):
        _print_responses(*responses)
    few_images(counts)
    return better


def _print_responses(before: Sequence[Any], after: Sequence[Any]) -> None:
    """Print what a few images' responses were and are, defective and normal ones in turn."""
    pairs = list(zip(before, after, strict=True))
    classes = [[pair for pair in pairs if pair[0].label == label] for label in (True, False)]
    in_turn = [pair for both in zip_longest(*classes) for pair in both if pair is not None]
    for old, new in in_turn[:_SHOWN_RESPONSES]:
        kind = "defective" if old.label else "normal"
        say(f"[bold]{escape(Path(old.image).name)}, {kind}[/]")
        say(f"  before: {escape(old.text)}\n  best: {escape(new.text)}")


def show_candidates(
    mllm: Any,
    inspection: Settings,
    settings: TrainSettings,
    found: Any,
    accelerator: Any,
    photos: Any,
) -> None:
    """Print the reward table, and warn if a model cannot learn from these rewards."""
    from ..cgro.dry_run import dry_run

    half = _DRY_RUN_IMAGES // 2
    images = [
        image
        for label in (True, False)
        for image in [i for i in found.train if i.label == label][:half]
    ]
    with console.status("Sampling …"):
        candidates = dry_run(mllm, inspection, settings, images, accelerator, photos)
    _print_rewards(candidates, settings.reward == "cgro")
    rewards = [candidate.score for candidate in candidates]
    groups = [
        {score.total for score in rewards[start : start + settings.candidates]}
        for start in range(0, len(rewards), settings.candidates)
    ]
    zero_variance = sum(len(group) == 1 for group in groups)
    say(f"{zero_variance} of {len(groups)} images have candidates that all earn the same.")
    if not any(score.format for score in rewards):
        say(
            "[bold yellow]Warning:[/] the model never wrote <think>…</think><answer>Yes|No"
            "</answer>. It cannot learn a reward that no candidate earns. Raise max_new_tokens if "
            "the responses are cut off, or first fine-tune the model on a few responses of that "
            "form.",
            errors,
        )
    elif zero_variance == len(groups):
        say(
            "[bold yellow]Warning:[/] all candidates earn the same, so there is nothing to learn. "
            "Raise temperature or candidates, or change δ1 and δ2.",
            errors,
        )
    for label, word in ((True, "defective"), (False, "normal")):
        own = [c.score for c in candidates if c.label == label]
        found = sorted(s.agreement for s in own if not math.isnan(s.agreement))
        if settings.reward == "cgro" and found and len({s.consistency for s in own}) == 1:
            delta = "delta_anomalous (δ1)" if label else "delta_normal (δ2)"
            say(
                f"[bold yellow]Warning:[/] all candidates of {word} images earn the same R_cons. "
                f"Their J is {found[0]:.2f} to {found[-1]:.2f}. Set {delta} near the median, "
                f"{found[len(found) // 2]:.2f}.",
                errors,
            )


def _print_rewards(candidates: Any, with_J: bool) -> None:
    """Print the rewards of each candidate, and its text."""
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
        compared = f"compared: {', '.join(candidate.compared)}\n" if candidate.compared else ""
        table.add_row(
            f"{score.format:.0f}",
            f"{score.accuracy:.0f}",
            *[f"{score.consistency:.0f}", J] * with_J,
            f"[dim]{escape(compared)}[/]{escape(candidate.text)}",
        )
    console.print(table)
