"""The model card of an adapter: data, settings, versions and validations."""

import json
from collections.abc import Sequence
from typing import Any


def model_card(about: dict[str, Any], step: int, validations: Sequence[dict[str, float]]) -> str:
    """Return a README.md with the front matter of the Hugging Face hub.

    Args:
        about: the run's description, see `describe_training`.
        step: number of updates of the weights.
        validations: of the run so far.
    """
    base, settings, data = about["model"]["name"], about["settings"], about["data"]
    hub_name = base if base.count("/") == 1 and not base.startswith((".", "/")) else None
    front = ["---", "tags: [anomaly-detection, visual-inspection, flawsight]"]
    front += [f"base_model: {hub_name}"] if hub_name else []
    front += ["library_name: peft"]
    method = (
        "CGRO (R_fmt, R_acc and R_cons)" if settings["reward"] == "cgro" else "R1 (R_fmt and R_acc)"
    )
    of_base = "" if base == "default" else f" --model {base}"
    rows = [
        f"| {row['step']:.0f} | {row['image_auroc']:.3f} | {row['balanced_accuracy']:.3f} | "
        f"{row['answered']:.1%} | {row['contradictions']:.1%} |"
        for row in validations
    ]
    counted = [
        f"| {part} | {count['normal']} | {count['defective']} |"
        for part, count in data["balance"].items()
    ]
    lines = [
        *front,
        "---",
        f"# Adapter for {base}",
        "",
        f"Trained by flawsight with {method} for {step} of {settings['steps']} steps, from "
        "image-level labels only. No masks or texts were used.",
        "",
        f"    flawsight inspect photos/{of_base} --adapter PATH\n",
        "## Validation",
        "",
        "On images kept from the training. The best step was chosen on them, so an unbiased "
        "result needs another test set.",
        "",
        "| step | image AUROC | balanced accuracy | answered | contradictions |",
        "|---|---|---|---|---|",
        *rows,
        "",
        "## Data",
        "",
        f"{', '.join(data['sources'])} (sha256 of the list {data['sha256'][:12]}…)",
        "",
        "| part | normal | defective |",
        "|---|---|---|",
        *counted,
        "",
        "## Settings and versions",
        "",
        "```json",
        json.dumps({key: about[key] for key in ("model", "settings", "inspection", "versions")},
                   indent=2),
        "```",
        "",
    ]  # fmt: skip
    return "\n".join(lines)
