"""What a notebook shows of results: the page in its frame, files, figures, lists with a failure."""

import html
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from flawsight import Inspection, Inspections, Inspector
from flawsight.errors import ImageError, MissingExtraError, SettingsError
from flawsight.io.overlay import draw_overlay
from helpers.browsing import NEEDS_CHROMIUM, opened
from helpers.bundled import FEW
from helpers.report_pages import Page
from helpers.serving import stand_in


@pytest.fixture(scope="module")
def inspector() -> Inspector:
    return Inspector.from_pretrained(device="cpu", settings=FEW)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photos/part.png"
    path.parent.mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def one(photo: Path) -> Inspection:
    with Image.open(photo) as image:
        made = stand_in(image)
    steep = np.linspace(0, 1, 48 * 64, dtype=np.float32).reshape(48, 64)
    return replace(made, image=str(photo), anomaly_map=steep, explanation="A scratch.")


@pytest.fixture
def several(one: Inspection, tmp_path: Path) -> Inspections:
    other = tmp_path / "more/part.png"
    other.parent.mkdir()
    Image.open(one.image or "").save(other)
    gone = replace(one, image=str(tmp_path / "more/gone.png"))
    return Inspections([one, ImageError("x.png is <b>no</b> image"), replace(one, image=str(other)),
                        gone])  # fmt: skip


def framed(shown: Inspection | Inspections) -> str:
    """Return the page in the frame that a notebook gets."""
    (page,) = re.findall(r'^<iframe srcdoc="([^"]*)"', shown._repr_html_())
    return html.unescape(page)


def test_a_photo_in_memory_is_shown_and_a_failed_one_costs_no_other(
    inspector: Inspector, photo: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    with Image.open(photo) as image:
        image.load()
    found = inspector([photo, tmp_path / "broken.png", image])
    first, broken, last = found
    assert isinstance(found, Inspections)
    assert isinstance(broken, ImageError)
    assert isinstance(first, Inspection)
    assert isinstance(last, Inspection)
    assert last.pred_score == pytest.approx(first.pred_score, abs=1e-4)
    assert first.photo is None
    np.testing.assert_array_equal(np.asarray(last.photo), np.asarray(image))
    assert framed(found).count('"photo": "data:image/jpeg') == 2
    with pytest.raises(ImageError):
        inspector(tmp_path / "broken.png")
    assert repr(inspector) == "Inspector('default' on cpu, threshold 0.500)"


def test_the_page_holds_all_and_opens_a_single_one(
    one: Inspection, several: Inspections, tmp_path: Path
) -> None:
    page = Page(one.save(tmp_path / "one.html"))
    assert page.json["run"]["about"]["open"] == page.json["run"]["items"][0]["id"]
    view = page.json["view-photo-1"]
    assert (view["explanation"], view["pred_score"]) == (one.explanation, one.pred_score)
    assert view["photo"].startswith("data:image/jpeg;base64,")
    page = Page(several.save(tmp_path / "all.html"))
    items = page.json["run"]["items"]
    assert page.json["run"]["about"]["open"] is None
    assert [item["error"] for item in items] == [None, "x.png is <b>no</b> image", None, None]
    assert items[3]["thumb"] is None  # the file is gone
    assert len({item["name"] for item in items}) == 4
    sources = [values["src"] for _, values in page.elements if "src" in values]
    assert sources == []


def test_files(one: Inspection, several: Inspections, tmp_path: Path) -> None:
    overlay = draw_overlay(Image.open(one.image or "").convert("RGB"), one.anomaly_map)
    with Image.open(one.save(tmp_path / "one.png")) as image:
        np.testing.assert_array_equal(np.asarray(image), np.asarray(overlay))
    with np.load(one.save(str(tmp_path / "one.npz"))) as arrays:
        np.testing.assert_array_equal(arrays["anomaly_map"], one.anomaly_map)
        np.testing.assert_array_equal(arrays["token_maps"], one.token_maps)
    assert json.loads(one.save(tmp_path / "one.json").read_text()) == json.loads(
        json.dumps(one.to_json())
    )
    rows = json.loads(several.save(tmp_path / "all.json").read_text())
    assert [row.get("error") for row in rows] == [None, "x.png is <b>no</b> image", None, None]
    for shown, name in ((one, "one.txt"), (several, "all.png"), (one, "nowhere/one.html")):
        with pytest.raises(SettingsError, match="Cannot write"):
            shown.save(tmp_path / name)
    with pytest.raises(ImageError):
        replace(one, image=None).save(tmp_path / "two.png")


def test_a_figure(one: Inspection, several: Inspections, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed").use("Agg")
    (panel,) = one.plot().axes
    assert panel.get_title() == f"part.png: defective, {one.pred_score:.3f}"
    assert panel.images[0].get_extent() == [0, 64, 48, 0]
    assert len([panel for panel in Inspections(several[:3]).plot().axes if panel.images]) == 2
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"flawsight\[bench\]"):
        one.plot()


def test_it_is_shown_by_the_notebook_or_a_browser(
    one: Inspection, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    monkeypatch.setattr("webbrowser.open", seen.append)
    one.show()
    path = Path(seen.pop().removeprefix("file://"))
    assert path.read_text().startswith("<!doctype html>")
    path.unlink()
    notebook = SimpleNamespace(
        get_ipython=lambda: "a shell", display=SimpleNamespace(display=seen.append)
    )
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    one.show()
    assert seen == [one]


@pytest.fixture
def notebook(browser: Any, one: Inspection, several: Inspections, tmp_path: Path) -> Iterator[Any]:
    path = tmp_path / "notebook.html"
    path.write_text(f"<!doctype html><title>n</title>{one._repr_html_()}{several._repr_html_()}")
    yield from opened(browser, path.as_uri(), ("file:", "data:", "about:"))


class TestInAFrame:
    """Links of a srcdoc would lead to the page around it, and so out of the frame."""

    pytestmark = NEEDS_CHROMIUM

    def test_a_single_one_is_open_and_words_show_their_attention(self, notebook: Any) -> None:
        frame = notebook.frame_locator("iframe").nth(0)
        frame.locator(".fs-view").wait_for()
        assert frame.locator(".fs-word").count() == 1
        frame.locator(".fs-word").hover()
        assert frame.locator("h1").inner_text() == "1 of 1 images look defective"

    def test_a_list_is_a_gallery_whose_cards_open(self, notebook: Any) -> None:
        frame = notebook.frame_locator("iframe").nth(1)
        assert frame.locator(".fs-card").count() == 4
        assert frame.locator(".fs-view").count() == 0
        frame.locator(".fs-card a").first.click()
        frame.locator(".fs-view").wait_for()
        frame.locator("[data-step='0']").click()
        frame.locator(".fs-browse").wait_for()
        assert len(notebook.frames) == 3
