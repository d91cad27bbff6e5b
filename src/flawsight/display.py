"""What a notebook shows of results.

Drawing is in report/, above all of this; it is loaded only when something is drawn.
"""

from importlib import import_module
from pathlib import Path
from typing import Any


class Displayed:
    """Results that a notebook draws: one `Inspection`, or the `Inspections` of a list."""

    def _repr_html_(self) -> str:
        """Return the report of these results for a notebook; it needs no network."""
        html: str = _drawing().frame_of(self)
        return html

    def show(self) -> None:
        """Show the report in the notebook, or else in a browser."""
        _drawing().show(self)

    def save(self, path: str | Path) -> Path:
        """Write the report, or one image with its map, and return the path.

        Args:
            path: its suffix says what is written: .html the report, .json the rows of
                `inspections.jsonl`, and of one inspection .png or .jpg the map over the photo, .npz
                `anomaly_map` and `token_maps`.

        Raises:
            ImageError: if the photo is gone, which .png and .jpg need.
            SettingsError: if the suffix is another one, or the file cannot be written.
        """
        _drawing().save(self, Path(path))
        return Path(path)

    def plot(self) -> Any:
        """Return a matplotlib figure: each photo with its map, regions and verdict.

        Raises:
            MissingExtraError: without matplotlib.
        """
        return _drawing().plot(self)


def _drawing() -> Any:
    return import_module(".report.notebook", __package__)
