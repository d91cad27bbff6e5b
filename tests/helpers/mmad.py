"""MMAD's published layout, small: images of two data sets, their questions and templates."""

import json
from pathlib import Path
from typing import Any

from helpers.checkpoints import photo

YES_NO = {"A": "Yes.", "B": "No."}
PLACES = {"A": "Upper left.", "B": "Upper right.", "C": "Lower left.", "D": "Centre."}
KEYS = [
    "DS-MVTec/bottle/image/broken_large/000.png",
    "DS-MVTec/bottle/image/good/001.png",
    "VisA/candle/test/bad/002.png",
    "VisA/candle/test/good/003.png",
]


def question(kind: str, answer: str, options: dict[str, str], text: str = "What?") -> Any:
    """Return a question as mmad.json has it."""
    fields = {"Question": text, "Answer": answer, "Options": options, "type": kind}
    return fields | {"annotation": True}


def entry(key: str, **changes: Any) -> Any:
    """Return the entry of an image; a defective one is asked where the defect is, too."""
    product = "/".join(key.split("/")[:2]).replace("DS-MVTec", "MVTec-AD")
    good = "/good/" in key
    asked = [question("Anomaly Detection", "B" if good else "A", YES_NO, "Is there a defect?")]
    if not good:
        asked.append(question("Defect Localization", "D", PLACES, "Where is the defect?"))
    asked.append(question("Object Structure", "C", PLACES, "Where is the label?"))
    return {
        "image_path": "/".join(key.split("/")[2:]),
        "conversation": asked,
        "mask_path": "not/there.png",
        "random_templates": [f"{product}/train/good/{index}.png" for index in (0, 1)],
        "similar_templates": [f"{product}/train/good/{index}.png" for index in (1, 0)],
    } | changes


def write_mmad(root: Path, entries: dict[str, Any] | None = None) -> Path:
    """Write mmad.json and its images, each another one, and return their folder."""
    entries = {key: entry(key) for key in KEYS} if entries is None else entries
    names = {name for e in entries.values() for name in e["random_templates"]} | set(entries)
    for seed, name in enumerate(sorted(names)):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        photo(48, 64, seed=seed).save(path)
    (root / "mmad.json").write_text(json.dumps(entries))
    return root
