"""A region beside its place in a good photo, in a real Chromium: pointing, focus, what is drawn."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flawsight.report.reference_page import write_reference_page
from flawsight.report.write_report import write_report
from flawsight.runs.good_photos import picture_file
from helpers.browsing import NEEDS_CHROMIUM, check_access, opened
from helpers.compared_runs import NAMES, PICTURE, SIZE, make_compared_run, reference

pytestmark = NEEDS_CHROMIUM
OWN = ("file:", "data:")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compared")
    make_compared_run(folder / "run", folder / "photos")
    return folder / "run"


@pytest.fixture(params=[True, False], ids=["one-file", "folder"])
def page(browser: Any, run: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    address = write_report(run, one_file=request.param).as_uri()
    for page in opened(browser, address, OWN):
        page.wait_for_selector(".fs-card")
        page.one_file = request.param
        yield page


def open_photo(page: Any, name: str) -> None:
    page.locator(".fs-card a", has_text=name).click()
    page.wait_for_selector(".fs-view")


def colours(page: Any) -> list[list[int]]:
    """The colour in the middle of both pieces; the frame is around it."""
    return page.evaluate(
        """() => [...document.querySelectorAll(".fs-compare canvas")].map((canvas) =>
          [...canvas.getContext("2d")
            .getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data].slice(0, 2))"""
    )


def test_the_first_region_is_compared_at_once(page: Any) -> None:
    open_photo(page, "0.png")
    page.wait_for_selector('.fs-compare canvas[aria-label^="Region 1"]')
    captions = page.locator(".fs-compare figcaption").all_inner_texts()
    assert captions == ["Region 1 in this photo", "What it should look like: b.png"]
    labels = [c.get_attribute("aria-label") for c in page.locator(".fs-compare canvas").all()]
    assert labels == ["Region 1 in this photo", f"What region 1 should look like, in {NAMES[1]}"]
    if not page.one_file:
        return  # of a file's pixels a page may not read
    # Red and green tell x and y. The region is around (55, 25), and its place around (80, 40).
    own, good = colours(page)
    (height, width), (rows, columns) = SIZE, PICTURE
    assert own == pytest.approx([255 * 55 / width, 255 * 25 / height], abs=8)
    assert good == pytest.approx([255 * 80 / columns, 255 * 40 / rows], abs=8)


def test_regions_are_chosen_by_pointer_and_keyboard(page: Any) -> None:
    open_photo(page, "0.png")
    page.wait_for_selector('.fs-compare canvas[aria-label^="Region 1"]')
    second = {"box": [0, 0, 10, 10], "score": 0.5, "area": 0.02, "phrases": "", "tokens": [],
              "good": {"photo": NAMES[1], "box": [0, 0, 24, 24]}}  # fmt: skip
    page.evaluate(
        """([second, pictures]) => {
          const f = globalThis.flawsight;
          const region = { ...second, box: [48, 18, 14, 14],
                           good: { photo: Object.keys(pictures)[0], box: [68, 28, 24, 24] } };
          const view = { id: "x", name: "x", path: "x", image_size: [60, 80], pred_label: true,
            tokens: [], token_maps: null, map: null, scale: [[0, [0, 0, 0], 0], [1, [0, 0, 0], 1]],
            explanation: "", evidence: {}, unasked: "", photo: Object.values(pictures)[0],
            pictures, regions: [region, second] };
          document.querySelector(".fs-detail").replaceChildren(f.inspectionView(view));
        }""",
        [second, {NAMES[1]: page.evaluate("flawsight.pictures")[NAMES[1]]}],
    )

    def shown(number: int) -> None:
        page.wait_for_selector(f'.fs-compare canvas[aria-label^="Region {number}"]')

    shown(1)
    buttons = page.locator(".fs-region")
    buttons.nth(1).hover()
    shown(2)
    buttons.nth(0).focus()
    shown(1)
    buttons.nth(1).focus()
    shown(2)
    assert page.locator(".fs-box").is_visible()
    frame = page.locator(".fs-frame")
    size = frame.bounding_box()
    frame.hover(position={"x": size["width"] * 55 / 80, "y": size["height"] * 25 / 60})
    shown(1)
    frame.hover(position={"x": 5, "y": 5})
    shown(2)


def test_an_image_without_words_says_why(page: Any) -> None:
    open_photo(page, "2.png")
    assert "Not asked: the reference calls it good." in page.locator(".fs-reasoning").inner_text()
    assert page.locator(".fs-word").count() == 0
    assert page.locator(".fs-compare").count() == 0
    evidence = page.locator(".fs-evidence").inner_text()
    assert "Distance from the good photos" in evidence
    assert "The map shows that distance alone." in evidence
    assert "Answer to the photo" not in evidence
    page.keyboard.press("Escape")
    open_photo(page, "0.png")
    evidence = page.locator(".fs-evidence").inner_text()
    assert "Answer to the photo" in evidence
    assert "The map is that distance times the attention of the words." in evidence


def test_a_picture_that_is_gone_leaves_the_rest(browser: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"
    make_compared_run(run, tmp_path / "photos")
    (run / picture_file(NAMES[1])).write_bytes(b"\x89PNG damaged")
    address = write_report(run, one_file=False).as_uri()
    for page in opened(browser, address, OWN):
        open_photo(page, "0.png")
        page.wait_for_selector(".fs-compare", state="hidden")
        assert page.locator(".fs-region").count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_no_serious_fault(
    browser: Any, run: Path, tmp_path: Path, scheme: str, width: int
) -> None:
    learned = tmp_path / "reference.html"
    write_reference_page(reference(), learned, [NAMES[0]])
    options = {"color_scheme": scheme, "viewport": {"width": width, "height": 844}}
    for address in (write_report(run, one_file=True), learned):
        for page in opened(browser, address.as_uri(), OWN, bypass_csp=True, **options):
            if page.locator("#report").count():
                open_photo(page, "0.png")
                page.wait_for_selector('.fs-compare canvas[aria-label^="Region 1"]')
            check_access(page)


def test_the_page_of_a_reference_asks_for_nothing(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "reference.html"
    write_reference_page(reference(), path, [NAMES[0]])
    for page in opened(browser, path.as_uri(), OWN):
        assert page.locator(".fs-card").count() == 2
        sizes = page.evaluate(
            "[...document.images].map((image) => [image.naturalHeight, image.naturalWidth])"
        )
        assert sizes == [list(PICTURE)] * 4
        assert page.locator(".fs-tag").inner_text() == "unlike the others"
