"""Tasks of Label Studio, exported as JSON → the data set of what their reviewers say.

The verdict is the choice good or defective, as in the interface that `flawsight export` writes;
without one, a brush means a defect. Tasks without a review are left out.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import numpy as np

from ..errors import DatasetError
from ..real.regions import run_lengths
from .brush_rle import decode_rle
from .dataset import Dataset, RunLengths, Sample, UnusedFile
from .layouts import check_files, sort_samples
from .lists import label_of

_ROOT = "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT"


def read_tasks(path: Path, name: str) -> list[Dataset]:
    """Read a file of tasks.

    A photo is the file that `flawsight export` wrote into its task, else that of Label Studio's URL
    below $LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT or the file's folder. Of several reviews, the last
    one that is not skipped counts.

    Raises:
        DatasetError: if the file is damaged, no task is reviewed, or a photo is missing.
    """
    samples, unused = [], []
    try:
        for task in json.loads(path.read_text(encoding="utf-8")):
            image, results = _image(path.parent, task["data"]), _reviewed(task)
            label = _label(results)
            if label is None:
                unused.append(UnusedFile(image, "not read", "not reviewed"))
            else:
                samples.append(_sample(image, label, results, name))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise DatasetError(
            f"{path} is no list of tasks as Label Studio exports it as JSON: {error!r}"
        ) from error
    if not samples:
        raise DatasetError(f"No task in {path} has a verdict of a reviewer; review some first.")
    check_files(path, samples)
    return [Dataset(name, path.parent, sort_samples(samples), tuple(unused))]


def _image(folder: Path, data: Mapping[str, Any]) -> Path:
    if photo := data.get("photo"):
        return Path(photo)
    given = parse_qs(urlparse(data["image"]).query, errors="surrogateescape").get("d")
    root = os.environ.get(_ROOT)
    return Path(root or folder) / (given[0] if given else str(data["image"]))


def _reviewed(task: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the results of the last review; none if there is none."""
    made = [one for one in task.get("annotations", ()) if not one.get("was_cancelled")]
    last = max(made, key=lambda one: str(one.get("updated_at") or ""), default=None)
    return [] if last is None else list(last["result"])


def _label(results: Sequence[Mapping[str, Any]]) -> int | None:
    chosen = [one["value"]["choices"][0] for one in results if one["type"] == "choices"]
    labels = [label for label in map(label_of, chosen) if label is not None]
    if labels:
        return labels[-1]
    return 1 if any(one["type"] == "brushlabels" for one in results) else None


def _sample(image: Path, label: int, results: Sequence[Mapping[str, Any]], name: str) -> Sample:
    """Return a sample; its pixels are known if all its marks are brushes."""
    marks = [one for one in results if one["type"] not in ("choices", "textarea")]
    known = label and marks and all(one["type"] == "brushlabels" for one in marks)
    size: tuple[int, int] | None = None
    runs: tuple[RunLengths, ...] = ()
    if known:
        size = int(marks[0]["original_height"]), int(marks[0]["original_width"])
        masks = [decode_rle(one["value"]["rle"], size) for one in marks]
        runs = (run_lengths(np.logical_or.reduce(masks), 0, size[0] * size[1]),)
    return Sample(
        image, label, name, "test", "bad" if label else "good", run_lengths=runs,
        annotated_size=size,
    )  # fmt: skip
