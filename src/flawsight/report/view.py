"""One inspection as the viewer takes it: JSON, with maps as small grids of bytes.

`view_of` makes the view that `static/viewer.js` shows in the report and in the service. A grid is
{"rows", "cols", "data"}: uint8 in base64, row by row from the top left, 255 for 1.0.

    id              identifies the image on the page, [A-Za-z0-9_-]
    name, path      file name and full path, for display only
    image_size      [height, width] of the original in pixels
    photo           URL of the photo, of any size; null if there is none
    photo_has_map   true if the map is painted into the photo, because the original is gone
    pred_label      true for defective; null if unknown
    pred_score      P(Yes) in [0, 1]; null if unknown
    label           true label, true for defective; null if unknown
    answer          the model's answer to the whole image, "Yes" or "No"; null if there is none
    unasked         why there is no reasoning, in a sentence; "" if the model was asked
    evidence        what speaks for a defect, in [0, 1]: words, crops, reference; may be empty
    disagreements   pairs of verdict, answer and reasoning that disagree, like "verdict/answer"
    warning         the same in a sentence, and what is wrong with the photo; "" if nothing is
    photo_warned    true if anything is wrong with the photo
    explanation     the reasoning
    map             grid of the anomaly map; null if there is none
    tokens          of the explanation: start, end (characters), S_T, S_I, weight, selected, and
                    peak: its largest attention in units of the image's mean, null without a map
    token_maps      one grid per token, concatenated in "data", on the scale of the anomaly map;
                    null if they were not saved
    regions         suspect regions, highest score first: box [left, top, width, height] in pixels
                    of the original, area as a share of the image, score, phrases ("" if none
                    attends to it), tokens: indices of their tokens, and good: null without a
                    reference, else the place that it should look like: photo, a key of pictures,
                    and box in pixels of that picture
    pictures        URLs of good photos' pictures by the photos' names; null if the page has them
    region_rule     what drew them: threshold and peak of the map, of_good and calibrated, see
                    `RegionRule`; null if unknown
    map_peak        largest value of the map that they were drawn in, before the guided filter; null
                    if unknown
    sink_share      share of the selected tokens' attention on sinks; null if unknown
    scale           colours of the map: [value, [r, g, b], opacity], rising
"""

import base64
import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..frame import grid_in_whole
from ..inspection import FloatArray
from ..io.overlay import SCALE
from ..mllm.contradiction import disagreement_sentence
from ..real.anomaly_map import to_fixed_scale
from ..runs.unasked import unasked_sentence

# Finer than any grid of image tokens in use.
MAP_SIDE = 48
FORCED = "The response gave no Yes or No: the answer is the likelier of the two after it."
View = dict[str, Any]


def summary_of(row: dict[str, Any], identifier: str, thumb: str | None, label: bool | None) -> View:
    """Return what the gallery shows and searches of an image.

    The row is of `inspections.jsonl`, or `Inspection.to_json()`; it has "error" if the image
    failed. `thumb` is the URL of a small image.
    """
    path = row["image"] or ""
    # Other detectors only flag that the reasoning contradicts the verdict.
    flagged = ["verdict/reasoning"] if row.get("contradiction") else []
    pairs = row.get("disagreements", flagged)
    notes = [
        disagreement_sentence(pairs, bool(row.get("pred_label")), str(row.get("answer"))),
        FORCED if row.get("answer_forced") else "",
        *map(str, row.get("warnings") or ()),
    ]
    return {
        "id": identifier,
        "name": PurePath(path).name,
        "path": path,
        "pred_label": row.get("pred_label"),
        "pred_score": row.get("pred_score"),
        "answer": row.get("answer"),
        "unasked": unasked_sentence(row),
        "disagreements": pairs,
        "answer_forced": bool(row.get("answer_forced")),
        "photo_warned": bool(row.get("warnings")),
        "warning": " ".join(filter(None, notes)),
        "explanation": row.get("explanation") or "",
        "label": label,
        "thumb": thumb,
        "error": row.get("error"),
    }


def view_of(
    row: dict[str, Any],
    identifier: str,
    photo: str | None,
    anomaly_map: FloatArray | None,
    token_maps: FloatArray | None,
    *,
    label: bool | None = None,
    photo_has_map: bool = False,
    pictures: Mapping[str, str] | None = None,
) -> View:
    """Return the view of one inspection; see the module.

    Args:
        row: of `inspections.jsonl`, or `Inspection.to_json()`.
        identifier: `id` of the view.
        photo: its URL.
        anomaly_map: (height, width); values outside [0, 1] are clipped.
        token_maps: (R, grid_h, grid_w) attention of the row's R tokens, over its "roi" if any.
        label, photo_has_map, pictures: fields of the view.
    """
    summary = summary_of(row, identifier, None, label)
    peaks: list[float | None] = [None] * len(row.get("tokens", ()))
    if token_maps is not None and token_maps.size:
        attention = token_maps.astype(np.float32)
        means = attention.mean((1, 2)).clip(min=np.finfo(np.float32).tiny)
        peaks = [round(float(peak), 2) for peak in attention.max((1, 2)) / means]
        token_maps = np.stack([to_fixed_scale(torch.from_numpy(one)).numpy() for one in attention])
        if roi := row.get("roi"):
            token_maps = grid_in_whole(token_maps, tuple(roi["box"]), tuple(roi["image_size"]))
    else:
        token_maps = None
    return {name: summary[name] for name in summary if name not in ("thumb", "error")} | {
        "image_size": row.get("image_size"),
        "photo": photo,
        "photo_has_map": photo_has_map,
        "map": None if anomaly_map is None else _grid(_shrink(anomaly_map)),
        "tokens": [
            {name: token[name] for name in ("start", "end", "S_T", "S_I", "selected", "weight")}
            | {"peak": peak}
            for token, peak in zip(row.get("tokens", ()), peaks, strict=True)
        ],
        "token_maps": None if token_maps is None else _grid(token_maps),
        "regions": [
            {name: region[name] for name in ("box", "score", "phrases", "tokens")}
            | {"area": region["area"] / math.prod(row["image_size"]), "good": region.get("good")}
            for region in row.get("regions") or ()
        ],
        "pictures": None if pictures is None else dict(pictures),
        "region_rule": row.get("region_rule"),
        "map_peak": row.get("map_peak"),
        "sink_share": row.get("sink_share"),
        "evidence": row.get("evidence") or {},
        "scale": SCALE,
    }


def _shrink(values: FloatArray) -> FloatArray:
    height, width = values.shape
    scale = min(1.0, MAP_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    image = Image.fromarray(values.astype(np.float32))
    return np.asarray(image.resize(size, Image.Resampling.BOX))


def _grid(values: FloatArray) -> View:
    rows, cols = values.shape[-2:]
    levels = (np.nan_to_num(values).clip(0, 1) * 255).round().astype(np.uint8)
    return {"rows": rows, "cols": cols, "data": base64.b64encode(levels.tobytes()).decode()}
