"""A reference → the Hugging Face hub, with a model card."""

import json

import yaml

from .. import __version__
from ..io.hub import push_files
from .memory import Reference
from .stored import ON_HUB

_TAGS = ["anomaly-detection", "visual-inspection", "few-shot", "flawsight"]


def push_reference(reference: Reference, name: str) -> str:
    """Upload a reference, which holds its photos, with a model card.

    Args:
        reference: of `learn`.
        name: OWNER/NAME of the repository; it is made, and private, if there is none.

    Returns:
        The repository's URL. `Reference.from_pretrained(name)` reads it.

    Raises:
        HubError: if the hub cannot be reached or refuses it.
    """
    return push_files(name, {ON_HUB: reference.to_bytes()}, reference_card(reference, name))


def reference_card(reference: Reference, name: str) -> str:
    """Return the README.md of a repository, with the hub's front matter.

    Args:
        reference: to describe.
        name: OWNER/NAME of the repository.
    """
    matter = yaml.safe_dump({"tags": _TAGS, "library_name": "flawsight"}, sort_keys=False)
    made_with = {
        "model_sha256": reference.model_sha256,
        "reference_sha256": reference.sha256,
        "blocks": list(reference.blocks),
        "settings": reference.settings,
        "flawsight": __version__,
    }
    return f"""---
{matter}---
# Reference of {len(reference.photos)} good photos

What good parts of one product look like to a model's vision encoder: {len(reference.vectors)} \
patch vectors, made by `flawsight learn`. It holds the photos, too, at the size that the model \
sees.

    flawsight inspect photos/ --reference {name}

## Validation

{_validation(reference)}

## Settings and hashes

An inspection needs the model with this hash and these settings.

```json
{json.dumps(made_with, indent=2)}
```

## Licence

None is set. Before you share it, add `license:` to the head of this page; it shows your product.
"""


def _validation(reference: Reference) -> str:
    """Return what the photos promise, each compared with the others."""
    scores = sorted(reference.scores)
    if not scores:
        return "One photo promises no rate of false alarms; the threshold is 0.5."
    return f"""Each photo is compared with the others. No defective photo was used.

| good photos | median score | highest score | threshold | promised rate of false alarms |
|---|---|---|---|---|
| {len(scores)} | {scores[len(scores) // 2]:.3f} | {scores[-1]:.3f} | \
{reference.threshold():.3f} | {reference.lowest_rate:.1%} |"""
