"""Reference → one HTML page that opens offline: what was learned, and from which photos."""

import io
from collections.abc import Collection
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path, PurePath

from jinja2 import Environment, PackageLoader
from markupsafe import Markup
from PIL import Image

from ..errors import LearnError
from ..inspection import FloatArray
from ..io.files import write_atomically
from ..io.overlay import draw_overlay, encode_jpeg
from ..real.anomaly_map import HALF, upsample
from ..reference.memory import Reference
from ..reference.stored import GoodPhoto
from .write_report import data_url, policy_hash

# Photos that are shown at most, the odd ones and those of the highest scores.
MOST = 60
SIDE = 320  # pixels of a picture's longer side


@dataclass(frozen=True)
class Card:
    """What the page shows of a photo: URLs of it and of its map over it; no score if it is alone.

    `odd` is true for one that is unlike the others.
    """

    name: str
    path: str
    score: float | None
    odd: bool
    photo: str
    overlay: str


def write_reference_page(
    reference: Reference, path: str | Path, outliers: Collection[str] = ()
) -> None:
    """Write a page with the photos of a reference, how each compares with the others, and the rate.

    Args:
        reference: of good photos.
        path: of the page.
        outliers: names of the photos that are unlike the others.

    Raises:
        LearnError: if a picture is damaged, or the page cannot be written.
    """
    scores: list[float | None] = [*reference.scores] or [None]
    pairs = sorted(
        zip(reference.photos, scores, strict=True),
        key=lambda pair: (pair[0].name not in outliers, -(pair[1] or 0)),
    )
    cards = [_card(reference, photo, score, outliers) for photo, score in pairs[:MOST]]
    style = (files("flawsight.report") / "static" / "viewer.css").read_text(encoding="utf-8")
    environment = Environment(loader=PackageLoader("flawsight.report"), autoescape=True)
    alone = len(scores) < 2
    page = environment.get_template("reference.html").render(
        cards=cards,
        count=len(scores),
        outliers=[card for card in cards if card.odd],
        scores=[score for score in scores if score is not None],
        threshold=None if alone else reference.threshold(),
        rate=None if alone else reference.lowest_rate,
        model=reference.model_sha256[:12],
        settings=reference.settings,
        style=Markup(style),
        style_hash=policy_hash(style),
    )
    try:
        write_atomically(Path(path), page.encode())
    except OSError as error:
        raise LearnError(f"Cannot write {path}: {error.strerror or error}.") from error


def _card(
    reference: Reference, photo: GoodPhoto, score: float | None, outliers: Collection[str]
) -> Card:
    try:
        with Image.open(io.BytesIO(photo.picture)) as image:
            picture = image.convert("RGB")
    except Exception as error:  # a damaged file makes Pillow raise nearly anything
        raise LearnError(
            f"The picture of {photo.name} is damaged ({error}); learn the photos again."
        ) from error
    picture.thumbnail((SIDE, SIDE))
    overlay = draw_overlay(picture, map_of_photo(reference, photo, (picture.height, picture.width)))
    # Names need not be valid text.
    path = photo.name.encode(errors="backslashreplace").decode()
    return Card(
        name=PurePath(path).name or path,
        path=path,
        score=score,
        odd=photo.name in outliers,
        photo=data_url(encode_jpeg(picture, SIDE)),
        overlay=data_url(encode_jpeg(overlay, SIDE)),
    )


def map_of_photo(reference: Reference, photo: GoodPhoto, size: tuple[int, int]) -> FloatArray:
    """Return the map of a photo in comparison with the others, (height, width) in [0, 1).

    It is on the scale of all maps: where patches lie as far as good ones usually do, it has 0.2.
    """
    density = upsample(photo.distances.float().nan_to_num() / max(reference.usual, 1e-30), size)
    anomaly_map: FloatArray = (density / (density + HALF)).numpy()
    return anomaly_map
