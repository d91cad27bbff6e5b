"""The report in a real Chromium: words and their regions, sliders, gallery, keyboard, access."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flawsight.report.write_report import write_report
from helpers.browsing import NEEDS_CHROMIUM, check_access, opened
from helpers.made_runs import GRID, make_run

pytestmark = NEEDS_CHROMIUM
OWN = ("file:", "data:")
SCORES = [0.95, 0.9, 0.85, 0.6, 0.45, 0.3, 0.2, 0.1, 0.05]


# In one file, or with its pictures and maps beside it: the same page otherwise.
BOTH = pytest.mark.parametrize("report", [True, False], ids=["one-file", "folder"], indirect=True)


@pytest.fixture(scope="module")
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("run")
    truth = make_run(folder, SCORES, overruled=4)
    return write_report(folder, truth, one_file=getattr(request, "param", True)).as_uri()


@pytest.fixture
def page(browser: Any, report: str) -> Iterator[Any]:
    """The report, opened from the disk; an error or a request elsewhere fails the test."""
    for page in opened(browser, report, OWN):
        page.wait_for_selector(".fs-card")
        yield page


def names(page: Any) -> list[str]:
    return page.locator(".fs-card .fs-name").all_inner_texts()


def open_first(page: Any) -> Any:
    page.locator(".fs-card a").first.click()
    page.wait_for_selector(".fs-view")
    return page.locator(".fs-word")


def opacity(page: Any) -> np.ndarray:
    """(6, 8) alpha of the drawn map in the middle of each cell of the grid."""
    rows, cols = GRID
    return np.array(
        page.evaluate(
            """([rows, cols]) => {
              const canvas = document.querySelector(".fs-map");
              const context = canvas.getContext("2d");
              return Array.from({length: rows}, (_, y) => Array.from({length: cols}, (_, x) =>
                context.getImageData((x + .5) * canvas.width / cols,
                                     (y + .5) * canvas.height / rows, 1, 1).data[3]));
            }""",
            [rows, cols],
        )
    )


@BOTH
def test_pointing_at_a_word_shows_its_attention(page: Any) -> None:
    words = open_first(page)
    assert words.all_inner_texts() == [
        "There",
        "is",
        "a",
        "scratch",
        ",",
        "upper",
        "-",
        "left",
        ".",
    ]
    whole = opacity(page)
    for word, brightest in [("scratch", (0, 0)), ("upper", (0, 7)), ("There", (5, 0))]:
        page.get_by_role("button", name=word, exact=True).hover()
        drawn = opacity(page)
        assert np.unravel_index(drawn.argmin(), drawn.shape) == brightest
        status = page.locator(".fs-view .fs-status").inner_text()
        assert f"“{word}”: attention peaks in the" in status
    page.get_by_role("heading", name="Reasoning").hover()
    assert (opacity(page) == whole).all()
    assert whole.argmax() == 0


def test_a_words_map_is_of_densities(page: Any) -> None:
    """Of 16 and 0, and as many again: 8 and 0. A density d shows as d / (d + 4), stretched."""
    values, half = page.evaluate(
        """() => {
          const maps = { rows: 1, cols: 2, cells: [204, 0, 0, 0] };
          const { values, shown } = globalThis.flawsight.mapOfWord(maps, { indices: [0, 1] });
          return [[...values], shown(4)];
        }"""
    )
    assert values == pytest.approx([8, 0], rel=0.02)
    assert half == pytest.approx((4 / 8) / (8 / 12), rel=0.01)


def test_selected_words_stand_out_and_scores_come_on_demand(page: Any) -> None:
    words = open_first(page)
    marked = [w.inner_text() for w in words.all() if "fs-selected" in w.get_attribute("class")]
    assert marked == ["scratch", "upper", "left"]
    assert not page.locator(".fs-facts").inner_text()
    words.nth(3).hover()
    facts = page.locator(".fs-facts").inner_text().split()
    assert facts == ["S_T", "0.40", "S_I", "0.50", "Weight", "0.90", "In", "the", "map", "selected"]
    page.get_by_text("All words and their scores").click()
    page.wait_for_selector(".fs-all tbody")
    assert page.locator(".fs-all tbody tr").count() == 9


def test_a_click_pins_a_word_and_the_photo_points_back(page: Any) -> None:
    words = open_first(page)
    words.nth(5).click()
    page.get_by_role("heading", name="Reasoning").hover()
    assert page.locator(".fs-map").get_attribute("data-shows") == "upper"
    words.nth(5).click()
    page.get_by_role("heading", name="Reasoning").hover()
    assert page.locator(".fs-map").get_attribute("data-shows") == "map"
    box = page.locator(".fs-frame").bounding_box()
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    looked = [word.evaluate("e => e.style.getPropertyValue('--here')") for word in words.all()]
    assert max(range(len(looked)), key=lambda i: float(looked[i])) == 3


@BOTH
def test_the_sliders_fade_the_map_and_cut_it(page: Any) -> None:
    open_first(page)
    whole = opacity(page)
    fade = page.get_by_label("Map opacity")
    fade.fill("0.5")
    np.testing.assert_allclose(opacity(page), whole / 2, atol=1)
    fade.fill("1")
    page.get_by_label("Only values above").fill("0.95")
    assert not opacity(page).any()


@BOTH
def test_the_gallery_filters_sorts_and_searches(page: Any) -> None:
    assert page.locator(".fs-card .fs-tag.fs-wrong").first.inner_text() == "missed"
    # What was missed, the surest verdict first, then false alarms.
    assert names(page)[:3] == ["a/0008.png", "b/0005.png", "a/0002.png"]
    page.get_by_label("Order").select_option("high")
    assert names(page) == [f"{'ab'[i % 2]}/{i:04}.png" for i in range(len(SCORES))]
    page.get_by_role("button", name="Good").click()
    assert len(names(page)) == 5
    page.get_by_label("Search").fill("a/00")
    assert names(page) == ["a/0004.png", "a/0006.png", "a/0008.png"]
    page.get_by_label("Search").fill("no such")
    assert "0 of 9" in page.locator(".fs-count").inner_text()


def test_the_threshold_tells_what_it_would_change(page: Any) -> None:
    table = page.locator(".fs-matrix tbody")
    assert table.locator("strong").all_inner_texts() == ["3", "2", "1", "3"]
    page.get_by_label("Try a threshold").fill("0.99")
    assert table.locator("strong").all_inner_texts() == ["0", "5", "0", "4"]
    assert "0 of 9 predicted defective" in page.locator(".fs-plot .fs-status").inner_text()


def test_a_mistake_is_said(page: Any) -> None:
    open_first(page)
    assert page.get_by_text("wrong: the part is defective").is_visible()


def test_what_disagrees_is_said(page: Any) -> None:
    page.get_by_role("button", name="answer ≠ reasoning").click()
    assert len(names(page)) == 4
    page.get_by_role("button", name="verdict ≠ answer").click()
    assert names(page) == ["a/0004.png"]
    tags = page.locator(".fs-card .fs-tag").all_inner_texts()
    assert tags[-2:] == ["verdict ≠ answer", "verdict ≠ reasoning"]
    open_first(page)
    assert page.locator(".fs-warning").all_inner_texts() == [
        "The verdict is good, but the model answered Yes and the reasoning describes a defect."
    ]


@BOTH
def test_everything_works_from_the_keyboard(page: Any) -> None:
    def focused(expression: str) -> Any:
        return page.evaluate(f"(e => {expression})(document.activeElement)")

    for _ in range(40):
        page.keyboard.press("Tab")
        if focused("e.matches('.fs-card a')"):
            break
    card = focused("e.dataset.id")
    page.keyboard.press("Enter")
    page.wait_for_selector(".fs-view")
    assert focused("e.matches('h2')")
    for _ in range(20):
        page.keyboard.press("Tab")
        if focused("e.matches('.fs-word')"):
            break
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert focused("e.textContent") == "scratch"
    assert opacity(page).argmin() == 0
    page.keyboard.press("Enter")
    assert focused("e.getAttribute('aria-pressed')") == "true"
    page.keyboard.press("End")
    assert focused("e.textContent") == "."
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    assert focused("e.textContent") == "."
    page.keyboard.press("Escape")
    page.wait_for_selector(".fs-card")
    assert focused("e.dataset.id") == card
    page.keyboard.press("Enter")
    page.wait_for_selector(".fs-view")
    first = page.locator("h2").inner_text()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("name => document.querySelector('h2').textContent !== name", arg=first)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_no_serious_fault(browser: Any, report: str, scheme: str, width: int) -> None:
    size = {"width": width, "height": 844}
    # The page's own policy would keep axe out.
    for page in opened(browser, report, OWN, color_scheme=scheme, viewport=size, bypass_csp=True):
        page.wait_for_selector(".fs-card")
        for _ in range(2):
            check_access(page)
            if page.locator(".fs-card").first.is_visible():
                open_first(page).nth(3).click()


def test_two_thousand_images_open_at_once(browser: Any, tmp_path: Path) -> None:
    scores = np.random.default_rng(0).random(2000).round(4).tolist()
    path = write_report(tmp_path, make_run(tmp_path, scores))
    for page in opened(browser, path.as_uri(), OWN):
        taken = []
        for _ in range(3):  # other work on the machine may slow one of them
            page.reload()
            page.wait_for_selector(".fs-card")
            taken.append(page.evaluate("performance.now()") / 1000)
        seconds = min(taken)
        assert seconds < 2
        assert page.locator(".fs-card").count() < 200
        assert page.evaluate("document.querySelectorAll('*').length") < 2500
        for _ in range(3):
            page.mouse.wheel(0, 20000)
            page.wait_for_timeout(200)
        assert page.locator(".fs-card").count() > 48
        page.get_by_label("Search").fill("1999.png")
        assert names(page) == ["b/1999.png"]
        open_first(page)
        print(f"opened in {seconds:.2f} s, {path.stat().st_size / 1e6:.1f} MB")
