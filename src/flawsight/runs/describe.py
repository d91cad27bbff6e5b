"""What all rows of a run share, and whether two runs are the same."""

import json
import platform
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..errors import RunFolderError
from ..inspector import Inspector
from ..settings import Settings, upgraded

FORMAT = 2
# What may differ between two parts of one run.
_FREE = {
    "format", "created", "versions", "model.name", "model.device", "model.attention",
    "generator.url",
}  # fmt: skip


def describe(inspector: Inspector) -> dict[str, Any]:
    """Return what all inspections of an inspector share."""
    generator = inspector.generator
    served = {"url": generator.base_url, "model": generator.model} if generator else {}
    return {
        "model": {
            "name": inspector.mllm.name,
            "sha256": inspector.mllm.sha256,
            "dtype": str(inspector.mllm.model.dtype).removeprefix("torch."),
            "device": str(inspector.mllm.device),
            "attention": inspector.mllm.attention,
        },
        "settings": inspector.settings.to_json(),
        "prior_sha256": None if inspector.prior is None else inspector.prior.sha256,
        "threshold": inspector.threshold,
        "generator": served,
    }


def about_run(about: dict[str, Any]) -> dict[str, Any]:
    """Return what run.json holds."""
    return {
        "format": FORMAT,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **about,
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on."""
    packages = ("flawsight", "torch", "transformers", "peft", "numpy", "pillow")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def check_same(
    folder: Path, old: dict[str, Any], new: dict[str, Any], **defaults: dict[str, Any]
) -> None:
    """Compare the description that a folder holds with that of the run that would go on in it.

    Args:
        folder: of the run.
        old: what its run.json holds.
        new: what it would hold if it were made now.
        defaults: by part, what counts if a description does not say: it is older than the
            setting. For "settings", those of `Settings` unless given.

    Raises:
        RunFolderError: naming what differs.
    """
    if old.get("format") == 1:
        old = old | {"settings": upgraded(old.get("settings", {}))}
        new = {name: value for name, value in new.items() if name != "prior_sha256"}
    known = dict(_leaves({"settings": Settings().to_json()} | defaults))
    before, now = (known | dict(_leaves(json.loads(json.dumps(about)))) for about in (old, new))
    if changed := sorted(key for key in before | now if before.get(key) != now.get(key)):
        made_with = ", ".join(f"{key} {before.get(key)}" for key in changed[:3])
        raise RunFolderError(
            f"{folder} was made with another model or other settings ({made_with}"
            f"{', …' if len(changed) > 3 else ''}); choose another --out."
        )


def _leaves(about: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted names and values of what must be the same throughout a run."""
    for name, value in about.items():
        if path + name in _FREE:
            continue
        if isinstance(value, dict):
            yield from _leaves(value, f"{path}{name}.")
        else:
            yield path + name, value
