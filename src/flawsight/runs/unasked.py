"""Rows of images that the model only looked at: they have a verdict, and no words."""

from typing import Any


def is_unasked(row: dict[str, Any]) -> bool:
    """Return whether the model was not asked about the image of a row (setting `explain`)."""
    return row.get("answer") is None and "reference" in (row.get("evidence") or {})


def unasked_sentence(row: dict[str, Any]) -> str:
    """Say in words why a row has no reasoning; "" if the model was asked, or if it is unknown."""
    if not is_unasked(row):
        return ""
    return f"Not asked: the reference calls it {'defective' if row['pred_label'] else 'good'}."
