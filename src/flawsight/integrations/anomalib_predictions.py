"""Predictions of anomalib 2 → a folder for `run:FOLDER`."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps

from ..errors import DetectorError, ImageError
from ..inspection import FloatArray
from ..io.files import slug, write_atomically


def save_predictions(batches: Iterable[Any], folder: Path) -> None:
    """Write what anomalib's `Engine.predict` returns as a folder for `run:FOLDER`.

    Args:
        batches: with image_path, a list of B paths, and each of these or None: pred_score (B,) or
            (B, 1), pred_label (B,), anomaly_map (B, h, w) or (B, 1, h, w), explanation, a list of
            B texts. A map covers its whole image, to which it is resized bilinearly and with which
            it is turned upright; the image file must still exist.
        folder: made if it does not exist.

    Raises:
        ImageError: if an image of a map cannot be read.
        DetectorError: if a batch names no images.
    """
    (folder / "maps").mkdir(parents=True, exist_ok=True)
    lines = []
    for batch in batches:
        if getattr(batch, "image_path", None) is None:
            raise DetectorError("A batch has no image_path; predict on images from files.")
        for index, path in enumerate(batch.image_path):
            image = str(Path(path).absolute())
            row: dict[str, Any] = {"image": image}
            for field, kind in (("pred_score", float), ("pred_label", bool), ("explanation", str)):
                values = getattr(batch, field, None)
                if values is not None:
                    row[field] = kind(values[index])
            maps = getattr(batch, "anomaly_map", None)
            if maps is not None:
                anomaly_map = maps[index].detach().float().cpu().numpy()
                row["anomaly_map"] = f"maps/{slug(image)}.npy"
                fitted = _fit(anomaly_map.reshape(anomaly_map.shape[-2:]), image)
                np.save(folder / row["anomaly_map"], fitted)
            lines.append(json.dumps(row) + "\n")
    write_atomically(folder / "predictions.jsonl", "".join(lines).encode())


def _fit(anomaly_map: FloatArray, image: str) -> FloatArray:
    """Resize a map (h, w) of the stored image, and turn it to the upright (height, width)."""
    try:
        with Image.open(image) as file:
            stored = Image.fromarray(anomaly_map).resize(file.size, Image.Resampling.BILINEAR)
            stored.getexif()[ExifTags.Base.Orientation] = file.getexif().get(
                ExifTags.Base.Orientation, 1
            )
    except Exception as error:  # a damaged file makes Pillow raise nearly anything
        raise ImageError(f"Cannot read {image}: {error}") from error
    return np.asarray(ImageOps.exif_transpose(stored))
