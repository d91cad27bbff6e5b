"""The model card of an adapter: data, settings, versions and validations."""

import json
from collections.abc import Sequence
from typing import Any


def model_card(about: dict[str, Any], step: int, validations: Sequence[dict[str, float]]) -> str:
    """Return the README.md, with the Hugging Face hub's front matter, after `step` updates.

    `about` is from `describe_training`, `validations` are those of the run so far.
    """
    base, settings, data = about["model"]["name"], about["settings"], about["data"]
    on_hub = base.count("/") == 1 and not base.startswith((".", "/"))
    hub_base = f"base_model: {base}\n" if on_hub else ""
    option = "" if base == "default" else f" --model {base}"
    shown = ""
    if photos := about.get("prompt_photos_sha256"):
        option += " --prompt-photo GOOD"
        shown = "Its prompts show photos of good parts before each image (sha256 of their pixels "
        shown += f"{photos[:12]}…): inspect with the same ones. "
    rewards = {"cgro": "CGRO (R_fmt, R_acc and R_cons)", "r1": "R1 (R_fmt and R_acc)"}
    rows = "\n".join(
        f"| {row['step']:.0f} | {auroc_with_interval(row)} | {row['balanced_accuracy']:.3f} | "
        f"{row['answered']:.1%} | {row['contradictions']:.1%} |"
        for row in validations
    )
    counts = "\n".join(
        f"| {part} | {count['normal']} | {count['defective']} |"
        for part, count in data["balance"].items()
    )
    origin = {name: about[name] for name in ("model", "settings", "inspection", "versions")}
    validated, continued = data["balance"]["validation"], ""
    if start := about.get("adapter"):
        continued = f"It continues the adapter {start['name']} (sha256 {start['sha256'][:12]}…). "
    return f"""---
tags: [anomaly-detection, visual-inspection, flawsight]
{hub_base}library_name: peft
---
# Adapter for {base}

Trained by flawsight with {rewards[settings["reward"]]} for {step} of \
{settings["steps"]} steps, from image-level labels only. \
{continued}{shown}No masks or texts were used.

    flawsight inspect photos/{option} --adapter PATH

## Validation

On {validated["normal"]} normal and {validated["defective"]} defective images kept from the \
training, with 95 % intervals. The best step was chosen on them, so an unbiased result needs \
another test set.

| step | image AUROC | balanced accuracy | answered | contradictions |
|---|---|---|---|---|
{rows}

## Data

{", ".join(data["sources"])} (sha256 of the list {data["sha256"][:12]}…)

| part | normal | defective |
|---|---|---|
{counts}

## Settings and versions

```json
{json.dumps(origin, indent=2)}
```
"""


def auroc_with_interval(row: dict[str, float]) -> str:
    """Return a validation's image AUROC; those of version 0.1 have no interval."""
    if "image_auroc_low" not in row:
        return f"{row['image_auroc']:.3f}"
    return f"{row['image_auroc']:.3f} [{row['image_auroc_low']:.2f}, {row['image_auroc_high']:.2f}]"
