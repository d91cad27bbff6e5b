"""The description of a run, and whether two runs are the same."""

import json
import platform
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..calibration import EARLIER_HASH
from ..errors import RunFolderError
from ..inspector import Inspector
from ..settings import Settings, shown_value, upgraded

FORMAT = 2
# Fields that may differ when a run is resumed.
_FREE = {
    "format", "created", "versions", "model.name", "model.device", "model.attention",
    "generator.url", "adapter.name", "good_pictures",
}  # fmt: skip


def describe(inspector: Inspector) -> dict[str, Any]:
    """Return the model, settings and inputs that all inspections of an inspector share."""
    generator = inspector.generator
    served = {"url": generator.base_url, "model": generator.model} if generator else {}
    calibration, photos = inspector.calibration, inspector.prompt_photos_sha256
    pictures = good_pictures(inspector)
    return {
        "model": {
            "name": inspector.mllm.name,
            "sha256": inspector.mllm.sha256,
            "dtype": str(inspector.mllm.model.dtype).removeprefix("torch."),
            "device": str(inspector.mllm.device),
            "attention": inspector.mllm.attention,
        },
        "settings": inspector.given_settings.to_json(),
        "prior_sha256": None if inspector.prior is None else inspector.prior.sha256,
        "reference_sha256": None if inspector.reference is None else inspector.reference.sha256,
        **({"prompt_photos_sha256": photos} if photos else {}),
        **({"good_pictures": pictures} if pictures else {}),
        "false_alarm_rate": inspector.false_alarm_rate,
        "threshold": inspector.threshold,
        "calibration": None
        if calibration is None
        else {
            "created": calibration.created,
            "false_alarm_rate": calibration.false_alarm_rate,
            "category": inspector.category,
            "region_threshold": calibration.region_threshold(inspector.category),
        },
        "generator": served,
    }


def good_pictures(inspector: Inspector) -> list[dict[str, Any]]:
    """Return the pictures of an inspector's reference, as run.json holds them."""
    patches = inspector.good_patches
    pictures = () if patches is None else patches.pictures
    return [{"name": one.name, "size": list(one.size)} for one in pictures]


def about_run(about: dict[str, Any]) -> dict[str, Any]:
    """Return the content of run.json."""
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
    """Refuse to resume a run with another model or other settings.

    Args:
        folder: of the run.
        old: its run.json, maybe of version 0.1.
        new: the run.json that would be written now.
        defaults: by section of run.json, the values of fields that a description lacks because
            they are younger than it. For "settings", those of `Settings` unless given.

    Raises:
        RunFolderError: naming what differs.
    """
    if old.get("format") == 1:  # version 0.1, read for one release
        old = old | {"settings": upgraded(old.get("settings") or {})}
    if "prior_sha256" not in old:  # version 0.1, and trainings, did not record it
        new = {name: value for name, value in new.items() if name != "prior_sha256"}
    known = dict(_leaves({"settings": Settings().to_json()} | defaults))
    before, now = (known | dict(_leaves(json.loads(json.dumps(about)))) for about in (old, new))
    if changed := sorted(key for key in before | now if before.get(key) != now.get(key)):
        shown = "; ".join(
            f"{key} {shown_value(before.get(key))}, now {shown_value(now.get(key))}"
            for key in changed[:3]
        )
        raise RunFolderError(
            f"{folder} was made with another model or other settings ({shown}"
            f"{'; …' if len(changed) > 3 else ''})"
            f"{EARLIER_HASH if old.get('format') == 1 and 'model.sha256' in changed else ''}; "
            "choose another --out."
        )


def _leaves(about: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted names and values of the fields that must be the same throughout a run."""
    for name, value in about.items():
        if path + name in _FREE:
            continue
        if isinstance(value, dict):
            yield from _leaves(value, f"{path}{name}.")
        else:
            yield path + name, value
