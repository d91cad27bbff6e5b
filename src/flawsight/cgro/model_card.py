"""The model card that goes with an adapter: data, settings, versions and what was measured."""

import json
from collections.abc import Sequence
from typing import Any


def model_card(
    about: dict[str, Any], step: int, validations: Sequence[dict[str, float]], adapter: bool
) -> str:
    """Write a README.md with the front matter of the Hugging Face hub.

    Args:
        about: the run's description, see `trainer.describe_training`.
        step: after which the weights are.
        validations: of the run so far.
        adapter: False for a whole model.
    """
    base, settings, data = about["model"]["name"], about["settings"], about["data"]
    hub_name = base if base.count("/") == 1 and not base.startswith((".", "/")) else None
    front = ["---", "tags: [anomaly-detection, visual-inspection, flawsight]"]
    front += [f"base_model: {hub_name}"] if hub_name else []
    front += ["library_name: peft"] if adapter else ["library_name: transformers"]
    method = (
        "CGRO (R_fmt, R_acc and R_cons)" if settings["reward"] == "cgro" else "R1 (R_fmt and R_acc)"
    )
    use = (
        f"    flawsight inspect photos/ --model {base} --adapter PATH\n"
        if base != "default" and adapter
        else f"    flawsight inspect photos/ --{'adapter' if adapter else 'model'} PATH\n"
    )
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
        f"# {'Adapter for' if adapter else 'Model trained from'} {base}",
        "",
        f"Trained by flawsight with {method} for {step} of {settings['steps']} steps, from "
        "image-level labels only: no masks, no texts.",
        "",
        use,
        "## Validation",
        "",
        "On images kept from the training, which chose the best step: a later test set is needed "
        "for an unbiased figure.",
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
