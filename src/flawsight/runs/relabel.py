"""Another threshold for a run: verdicts, disagreements and regions anew, without the model.

A row gets what a new run with that threshold would give it, to the bit: regions are drawn from the
run's `map_layers` and `token_maps`. Only its words stay as they are: with `explain` "defective", an
image may be called defective now that the model was not asked about, or good that it was.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import RunFolderError
from ..frame import Frame, frame_of, masked
from ..inspection import FloatArray, RegionRule
from ..mllm.contradiction import disagreements
from ..real.regions import in_photo
from ..roi import Roi
from ..settings import DRAWING, Settings
from .good_photos import read_pictures
from .read import Row, read_array, read_description

# Of run.json, what a run can be given anew; besides DRAWING of its settings.
_VERDICT = ("threshold", "calibration", "false_alarm_rate")


def with_verdicts_of(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return run.json `old` with what verdicts and regions in `new` depend on."""
    settings, others = old.get("settings"), new.get("settings")
    if not isinstance(settings, dict) or not isinstance(others, dict):
        return old
    drawing = {name: others[name] for name in DRAWING if name in others}
    verdict = {name: new[name] for name in _VERDICT if name in new}
    return old | verdict | {"settings": settings | drawing}


def rows_by_threshold(folder: Path, rows: Sequence[Row], threshold: float) -> list[Row]:
    """Return the rows of a run as if its threshold were another one; the run stays as it is.

    Args:
        folder: of the run.
        rows: its rows; those with an error are returned unchanged.
        threshold: an image is defective iff its pred_score is above it. Regions are drawn by the
            run's settings, not by its calibration.

    Raises:
        RunFolderError: if the threshold is no score, an image has none, or regions cannot be drawn.
    """
    about = read_description(folder)
    low, high = (0.0, 1.0) if "settings" in about else (-math.inf, math.inf)
    if not (math.isfinite(threshold) and low <= threshold <= high):
        raise RunFolderError(f"threshold is {threshold}; it must be in [0, 1].")
    return relabelled(folder, rows, about | {"threshold": threshold, "calibration": None}, about)


def relabelled(
    folder: Path, rows: Sequence[Row], about: dict[str, Any], old: dict[str, Any]
) -> list[Row]:
    """Return the rows of a run by the threshold, calibration and settings in `about`.

    Args:
        folder: of the run.
        rows: those that fit already, and those with an error, are returned unchanged.
        about: run.json; without a threshold, as of another program, all rows fit.
        old: run.json so far, for rows of earlier versions, which do not tell what drew them.

    Raises:
        RunFolderError: if an image has no score, or its regions cannot be drawn.
    """
    if "threshold" not in about:
        return list(rows)
    earlier = replace(_rule(old), of_good=True)
    return [
        row if row.get("error") is not None else _relabelled(folder, row, about, earlier)
        for row in rows
    ]


def _rule(about: dict[str, Any]) -> RegionRule:
    settings = about.get("settings") or {}
    threshold, peak, of_good = (settings.get(name, getattr(Settings, name)) for name in DRAWING)
    calibrated = (about.get("calibration") or {}).get("region_threshold")
    rule = RegionRule(threshold, peak, of_good)
    return rule if calibrated is None else replace(rule, threshold=calibrated, calibrated=True)


def _relabelled(folder: Path, row: Row, about: dict[str, Any], earlier: RegionRule) -> Row:
    threshold, rule = about["threshold"], _rule(about)
    score, answer = row.get("pred_score"), row.get("answer")
    if threshold is None:
        label = answer == "Yes" if answer in ("Yes", "No") else row.get("pred_label")
    elif score is None:
        raise RunFolderError(f"{folder} has no score of {row['image']} for a threshold.")
    else:
        label = score > threshold
    turned = label != row.get("pred_label")
    row = row | {"pred_label": label}
    if turned and "disagreements" in row:
        pairs = disagreements(bool(label), answer, str(row.get("explanation") or ""))
        contradiction = None if answer is None else bool(pairs)
        row |= {"contradiction": contradiction, "disagreements": list(pairs)}
    if "regions" in row:
        drawn = row.get("region_rule") or vars(earlier)
        if not turned and "region_rule" not in row and drawn == vars(replace(rule, of_good=True)):
            return row  # of an earlier version, as it is
        row |= {"region_rule": vars(rule)}
        if turned or (drawn | ({"of_good": rule.of_good} if label else {})) != vars(rule):
            row |= {"regions": _regions(folder, row, rule, about)}
    return row


def _regions(
    folder: Path, row: Row, rule: RegionRule, about: dict[str, Any]
) -> list[dict[str, Any]]:
    from ..localize import draw_regions, with_good_places

    if not row["pred_label"] and not rule.of_good:
        return []
    if "token_maps" not in row:
        raise RunFolderError(
            f"{folder} has no token maps of {row['image']}, so its regions cannot be drawn again; "
            "inspect it again into a new run folder."
        )
    frame = _frame(row, about)
    unfiltered = masked(_unfiltered(folder, row), frame)
    regions = draw_regions(
        bool(row["pred_label"]),
        unfiltered,
        read_array(folder, row, "token_maps"),
        str(row.get("explanation") or ""),
        [(token["start"], token["end"]) for token in row["tokens"]],
        rule,
    )
    if "nearest_good" in row:
        nearest = read_array(folder, row, "nearest_good")
        pictures = read_pictures(folder, about, nearest)
        regions = with_good_places(regions, unfiltered, nearest, tuple(pictures))
    return [region.to_json() for region in in_photo(regions, frame)]


def _frame(row: Row, about: dict[str, Any]) -> Frame | None:
    """Return where the region of interest of a row lies."""
    roi = (about.get("settings") or {}).get("roi")
    if roi is None or "roi" not in row:
        return None
    height, width = row["roi"]["image_size"]
    return frame_of(Roi.parse(roi), (height, width))


def _unfiltered(folder: Path, row: Row) -> FloatArray:
    """Return the map before the guided filter; of a run without layers, the one that is stored."""
    from ..refine.map_layers import map_of_layers

    if "map_layers" not in row:
        return read_array(folder, row, "anomaly_map")
    try:
        return map_of_layers(read_array(folder, row, "map_layers"))
    except ValueError as error:
        raise RunFolderError(f"{folder / row['map_layers']} is damaged: {error}.") from error
