"""What a row must be. A damaged one costs its own image, and no other."""

import json
import math
import re
from collections.abc import Callable
from typing import Any

from ..mllm.contradiction import disagreements

Row = dict[str, Any]
Rule = Callable[[Any], bool]
DAMAGED = "This row is damaged"
_LARGEST = 10**9  # pixels of an image
_OUTSIDE = re.compile(r"[\\/]|[A-Za-z]:|(.*[\\/])?\.\.([\\/]|$)")


def parse_row(line: str) -> Row | None:
    """Return the row of a line; None if it is no JSON object, or names no image.

    If a field is damaged, the row has only its image and an "error" that names the field.
    """
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or not is_name(row.get("image")):
        return None
    row = upgraded_row(row)
    wrong = next((name for name, rule in _RULES.items() if name in row and not rule(row[name])), "")
    if not wrong and "error" not in row:
        wrong = _missing(row)
    if wrong:
        error = f"{DAMAGED}: its {wrong} is missing or wrong. Inspect the image again."
        return {"image": row["image"], "error": error}
    return row


def upgraded_row(row: Row) -> Row:
    """Bring a row to today's fields and return it. Those of 0.1 are read for one release."""
    for field, old, new in (("tokens", "kept", "selected"), ("regions", "words", "phrases")):
        parts = row.get(field)
        for part in parts if isinstance(parts, list) else ():
            if isinstance(part, dict) and old in part:
                part[new] = part.pop(old)
    verdict, answer = row.get("pred_label"), row.get("answer")
    if "disagreements" not in row and isinstance(verdict, bool) and answer in ("Yes", "No"):
        pairs = disagreements(verdict, answer, str(row.get("explanation") or ""))
        row |= {"contradiction": bool(pairs), "disagreements": list(pairs)}
    return row


def _missing(row: Row) -> str:
    """Return a field that a row lacks, or that does not fit the others; "" if there is none."""
    if "pred_label" not in row and "pred_score" not in row:
        return "pred_label"
    regions = row.get("regions") or ()
    if regions and "image_size" not in row:
        return "image_size"
    pixels = math.prod(row.get("image_size", ()))
    if any("counts" in region and sum(region["counts"]) != pixels for region in regions):
        return "regions"
    return ""


def is_name(value: Any) -> bool:
    """Return whether a value can be the name of a file."""
    try:
        return isinstance(value, str) and value != "" and b"\0" not in _encoded(value)
    except UnicodeEncodeError:
        return False


def _encoded(name: str) -> bytes:
    return name.encode(errors="surrogateescape")


def _is_path(value: Any) -> bool:
    return is_name(value) and not _OUTSIDE.match(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and abs(value) < 1e300


def _is_count(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, int) and 0 <= value <= _LARGEST


def _is_integer(value: Any) -> bool:
    return isinstance(value, int)


def _or_none(rule: Rule) -> Rule:
    return lambda value: value is None or rule(value)


def _list_of(rule: Rule, length: int | None = None) -> Rule:
    return lambda value: (
        isinstance(value, list) and length in (None, len(value)) and all(map(rule, value))
    )


def _object(needed: dict[str, Rule], more: dict[str, Rule] | None = None) -> Rule:
    return lambda value: (
        isinstance(value, dict)
        and all(name in value and rule(value[name]) for name, rule in needed.items())
        and all(rule(value[name]) for name, rule in (more or {}).items() if name in value)
    )


def is_size(value: Any) -> bool:
    """Return whether a value is the (height, width) of an image."""
    return _list_of(_is_count, 2)(value) and 0 < math.prod(value) <= _LARGEST


def _is_stamp(value: Any) -> bool:
    needed: dict[str, Rule] = {"bytes": _is_integer, "crc32": _is_text}
    times: dict[str, Rule] = dict.fromkeys(("modified_ns", "changed_ns"), _is_integer)
    return _object(needed, times)(value) and value.keys() <= needed.keys() | times.keys()


def _is_evidence(value: Any) -> bool:
    """Whether it is an object of shares by the names of their sources."""
    return isinstance(value, dict) and all(
        _is_number(share) and 0 <= share <= 1 for share in value.values()
    )


_TOKEN: dict[str, Rule] = {
    "start": _is_count, "end": _is_count, "S_T": _is_number, "S_I": _is_number,
    "selected": _is_flag, "weight": _is_number,
}  # fmt: skip
_GOOD: dict[str, Rule] = {"photo": is_name, "box": _list_of(_is_count, 4)}
_REGION: dict[str, Rule] = {
    "box": _list_of(_is_count, 4), "area": _is_count, "score": _is_number, "phrases": _is_text,
    "tokens": _list_of(_is_count),
}  # fmt: skip
_PAIRS = {"verdict/answer", "verdict/reasoning", "answer/reasoning"}
_RULES: dict[str, Rule] = {
    "error": _is_text,
    "image_size": is_size,
    "pred_label": _or_none(_is_flag),
    "pred_score": _or_none(_is_number),
    "answer": _or_none(_is_text),
    "answer_forced": _is_flag,
    "explanation": _or_none(_is_text),
    "contradiction": _or_none(_is_flag),
    "disagreements": _list_of(lambda pair: isinstance(pair, str) and pair in _PAIRS),
    "tokens": _list_of(_object(_TOKEN)),
    "regions": _list_of(
        _object(_REGION, {"counts": _list_of(_is_count), "good": _or_none(_object(_GOOD))})
    ),
    "map_peak": _or_none(_is_number),
    "sink_share": _or_none(_is_number),
    "seconds": _or_none(_is_number),
    "evidence": _is_evidence,
    "anomaly_map": _is_path,
    "token_maps": _is_path,
    "map_layers": _is_path,
    "nearest_good": _is_path,
    "overlay": _is_path,
    "photo": _is_path,
    "file": _is_stamp,
    "roi": _object({"box": _list_of(_is_count, 4), "image_size": is_size}),
    "source": is_name,
}
