"""The model card of an adapter: data, settings, versions and validations."""

import json
import math
from collections.abc import Sequence
from typing import Any

import yaml

_TAGS = ["anomaly-detection", "visual-inspection", "flawsight"]
# Our metrics, by their names on the hub.
_METRICS = {"image_auroc": "roc_auc", "balanced_accuracy": "balanced_accuracy"}


def model_card(about: dict[str, Any], step: int, validations: Sequence[dict[str, float]]) -> str:
    """Return the README.md, with the Hugging Face hub's front matter, after `step` updates.

    `about` is from `describe_training`, `validations` are those of the run so far.
    """
    base, settings, data = about["model"]["name"], about["settings"], about["data"]
    on_hub = base.count("/") == 1 and not base.startswith((".", "/"))
    matter: dict[str, Any] = {"tags": _TAGS, "library_name": "peft"}
    matter |= {"base_model": base} if on_hub else {}
    if validations:
        matter["model-index"] = [_results(base, validations[-1])]
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
{yaml.safe_dump(matter, sort_keys=False)}---
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

## Licence

None is set. Before you share it, add `license:` to the head of this page; the licences of the \
model and of the images bind you, too.
"""


def _results(base: str, row: dict[str, float]) -> dict[str, Any]:
    """Return a validation as an entry of the hub's model-index."""
    return {
        "name": f"Adapter for {base}",
        "results": [
            {
                "task": {"type": "image-classification", "name": "Anomaly detection"},
                "dataset": {
                    "type": "private",
                    "name": "Images kept from the training, on which the best step was chosen",
                },
                "metrics": [
                    {
                        "type": of_hub,
                        "name": f"{name} after {row['step']:.0f} steps",
                        "value": round(float(row[name]), 4),
                    }
                    for name, of_hub in _METRICS.items()
                    if math.isfinite(row[name])
                ],
            }
        ],
    }


def auroc_with_interval(row: dict[str, float]) -> str:
    """Return a validation's image AUROC; those of version 0.1 have no interval."""
    if "image_auroc_low" not in row:
        return f"{row['image_auroc']:.3f}"
    return f"{row['image_auroc']:.3f} [{row['image_auroc_low']:.2f}, {row['image_auroc_high']:.2f}]"
