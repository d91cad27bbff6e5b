"""Run folders made without a model, with known attention per word."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from flawsight.mllm.contradiction import disagreements
from flawsight.runs.folder import RunFolder

GRID = (6, 8)
TEXT = "There is a scratch, upper-left."
# Word → its tokens as (text, cell it attends to, selected).
TOKENS = [
    ("There", (5, 0), False),
    (" is", (5, 7), False),
    (" a", (3, 4), False),
    (" scr", (0, 0), True),
    ("atch", (0, 0), True),
    (",", (5, 4), False),
    (" upper", (0, 7), True),
    ("-", (2, 2), False),
    ("left", (0, 1), True),
    (".", (3, 3), False),
]


def token_maps() -> np.ndarray:
    """(R, 6, 8): each token attends 30 times as much to its cell as to the others."""
    maps = np.ones((len(TOKENS), *GRID), dtype=np.float32)
    for one, (_, cell, _) in zip(maps, TOKENS, strict=True):
        one[cell] = 30
    return maps / maps.sum((1, 2), keepdims=True)


def token_rows() -> list[dict]:
    rows, at = [], 0
    for index, (text, _, selected) in enumerate(TOKENS):
        scores = {
            "S_T": index / 10,
            "S_I": 0.5,
            "selected": selected,
            "weight": 0.9 if selected else 0.0,
        }
        rows.append({"text": text, "start": at, "end": at + len(text)} | scores)
        at += len(text)
    assert "".join(text for text, _, _ in TOKENS) == TEXT
    return rows


def make_run(
    folder: Path, scores: list[float], overruled: int | None = None, **changes: object
) -> dict[str, bool]:
    """Write a run of one image per score, defective above 0.5, and return the true labels.

    Every third verdict is wrong. For number `overruled`, the model's answer is the opposite of the
    verdict. The reasoning always describes a defect. The images share their files, so a run of
    thousands is written in seconds.
    """
    run = RunFolder(folder, {"model": {"name": "made up", "sha256": "0" * 64}, "threshold": None})
    Image.new("RGB", (80, 60), (120, 140, 160)).save(folder / "photos/shared.jpg")
    anomaly_map = np.full((60, 80), 0.2, dtype=np.float32)
    anomaly_map[:10, :10] = 0.9
    row = {
        "image_size": [60, 80],
        "explanation": TEXT,
        "tokens": token_rows(),
        "seconds": 0.1,
        "photo": "photos/shared.jpg",
    }
    arrays = {"anomaly_map": anomaly_map, "token_maps": token_maps()}
    images = [f"/line/{'ab'[index % 2]}/{index:04}.png" for index in range(len(scores))]
    verdicts = [score > 0.5 for score in scores]
    own = [
        {
            "image": image,
            "pred_score": score,
            "pred_label": verdict,
            "answer": (answer := "Yes" if verdict != (index == overruled) else "No"),
            "disagreements": (pairs := disagreements(verdict, answer, TEXT)),
            "contradiction": bool(pairs),
        }
        for index, (image, score, verdict) in enumerate(zip(images, scores, verdicts, strict=True))
    ]
    shared = run.add_row(row | own[0] | changes, arrays)
    with (folder / "inspections.jsonl").open("a") as file:
        for more in own[1:]:
            file.write(json.dumps(shared | more) + "\n")
    return {
        image: verdict != (index % 3 == 2)
        for index, (image, verdict) in enumerate(zip(images, verdicts, strict=True))
    }
