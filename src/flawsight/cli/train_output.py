"""What `flawsight train` prints."""

import math
from typing import Any

from rich.markup import escape
from rich.table import Table

from ..cgro.train_settings import TrainSettings
from ..settings import Settings
from .shell import console, errors, say

_DRY_RUN_IMAGES = 4


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
        parts.append(
            f"[bold]validation AUROC {row['validation_image_auroc']:.3f}, balanced accuracy "
            f"{row['validation_balanced_accuracy']:.3f}[/]"
        )
    return "  ".join(parts)


def show_candidates(
    mllm: Any, inspection: Settings, settings: TrainSettings, found: Any, accelerator: Any
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
        candidates = dry_run(mllm, inspection, settings, images, accelerator)
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
