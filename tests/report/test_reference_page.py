"""The page of what was learned: order, scores, rate, odd ones, and names that are markup."""

import base64
import io
import re
from collections.abc import Collection
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from flawsight.errors import LearnError
from flawsight.io.overlay import draw_overlay
from flawsight.reference.memory import GoodPhoto, Reference
from flawsight.report import reference_page
from flawsight.report.reference_page import map_of_photo, write_reference_page
from helpers.compared_runs import picture, reference


class Text(HTMLParser):
    """Tags, pictures and text of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.urls: list[str] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.urls += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += f" {data}"


def of_photos(count: int) -> Reference:
    """A reference whose photos lie farther and farther from the others, in mixed order."""
    known = reference()
    photos = [
        replace(
            known.photos[0],
            name=f"{index:02}.png",
            distances=torch.full((12, 16), 1 + 0.1 * (7 * index % count)),
        )
        for index in range(count)
    ]
    return replace(known, photos=tuple(photos))


def page_of(known: Reference, folder: Path, outliers: Collection[str] = ()) -> Text:
    path = folder / "a.reference.html"
    write_reference_page(known, path, outliers)
    return Text(path)


def names_of(page: Text) -> list[str]:
    return re.findall(r"\b\d\d\.png(?=\s+0\.\d{3})", page.text)


def test_photos_come_by_score_and_odd_ones_first(tmp_path: Path) -> None:
    known = of_photos(16)
    ranked = [known.photos[index].name for index in np.argsort(known.scores)[::-1]]
    assert names_of(page_of(known, tmp_path)) == ranked
    page = page_of(known, tmp_path, [ranked[5], ranked[2]])
    odd = [ranked[2], ranked[5]]
    assert names_of(page) == odd + [name for name in ranked if name not in odd]
    assert f"Unlike the others: {ranked[2]}, {ranked[5]}." in page.text
    assert page.text.count("unlike the others") == 2
    for score in known.scores:
        assert f"{score:.3f}" in page.text


def test_the_rate_is_that_of_the_reference(tmp_path: Path) -> None:
    few = page_of(of_photos(16), tmp_path)
    assert f"above the score {max(of_photos(16).scores):.3f}" in few.text
    assert "at most 5.9 % are called defective" in few.text  # 1 of 17
    assert "16 photos cannot promise less" in few.text
    many = page_of(of_photos(120), tmp_path)
    assert "at most 1.0 % are called defective" in many.text
    assert "cannot promise less" not in many.text
    assert f"above the score {of_photos(120).threshold():.3f}" in many.text


def test_of_many_photos_some_are_shown(tmp_path: Path) -> None:
    known = of_photos(90)
    page = page_of(known, tmp_path)
    assert len(names_of(page)) == reference_page.MOST
    assert "60 of 90 photos" in page.text
    assert page.tags.count("rect") == 90  # the score of each
    assert len(page.urls) == 2 * reference_page.MOST


def test_one_photo_promises_nothing(tmp_path: Path) -> None:
    page = page_of(of_photos(1), tmp_path)
    assert "One photo cannot be compared with others" in page.text
    assert "svg" not in page.tags
    assert len(page.urls) == 2


def test_a_map_is_of_the_distances_in_units_of_the_usual_one(tmp_path: Path) -> None:
    known = of_photos(3)
    distances = torch.full((12, 16), 1.1)
    distances[2, 3] = 4.4
    photos = (*known.photos[:2], replace(known.photos[2], distances=distances))
    known = replace(known, photos=photos)
    found = map_of_photo(known, photos[2], (12, 16))
    expected = distances.numpy() / known.usual
    np.testing.assert_allclose(found, expected / (expected + 4), rtol=1e-5)
    page = page_of(known, tmp_path)
    shown = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))), np.float32)
        for url in page.urls
    ]
    # The photo of the highest score, and its map over it.
    overlay = np.asarray(draw_overlay(picture(1), map_of_photo(known, photos[2], (96, 128))))
    assert np.abs(shown[0] - np.asarray(picture(1), np.float32)).mean() < 3
    assert np.abs(shown[1] - overlay).mean() < 3
    assert np.abs(shown[0] - overlay).mean() > np.abs(shown[1] - overlay).mean()


def test_nothing_named_becomes_markup_and_nothing_is_asked_for(tmp_path: Path) -> None:
    known = of_photos(4)
    hostile = ["</title><script>alert(1)</script>", '"><img src=x onerror=alert(2)>', "\udcff.png"]
    named = [replace(p, name=name) for p, name in zip(known.photos, hostile, strict=False)]
    page = page_of(replace(known, photos=(*named, known.photos[3])), tmp_path, hostile)
    honest = page_of(known, tmp_path, [photo.name for photo in known.photos[:3]])
    assert page.tags == honest.tags
    assert "script" not in page.tags
    assert all(url.startswith("data:image/jpeg;base64,") for url in page.urls)


def test_what_cannot_be_shown_or_written_is_named(tmp_path: Path) -> None:
    known = of_photos(2)
    damaged = GoodPhoto("bad.png", b"\x89PNG", known.photos[0].distances)
    with pytest.raises(LearnError, match=r"picture of bad\.png is damaged"):
        page_of(replace(known, photos=(known.photos[0], damaged)), tmp_path)
    with pytest.raises(LearnError, match="Cannot write"):
        write_reference_page(known, tmp_path / "no folder" / "a.html")
