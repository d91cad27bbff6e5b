"""The report of a run with a reference: good places, evidence, and images without words."""

import base64
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from flawsight.io.files import slug
from flawsight.report.view import view_of
from flawsight.report.write_report import VIEWS, write_report
from flawsight.runs.good_photos import picture_file
from flawsight.runs.read import read_rows
from helpers.compared_runs import NAMES, PICTURE, make_compared_run
from helpers.report_pages import Page


@pytest.fixture
def run(tmp_path: Path) -> Path:
    make_compared_run(tmp_path / "run", tmp_path / "photos")
    return tmp_path / "run"


def views(run: Path, one_file: bool) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The page's own data, and the views in the order of the rows."""
    page = Page(write_report(run, one_file=one_file))
    ids = [item["id"] for item in page.json["run"]["items"]]
    if one_file:
        return page.json["run"], [page.json[f"view-{id}"] for id in ids]
    scripts = [(run / VIEWS / f"{id}.js").read_text() for id in ids]
    return page.json["run"], [
        json.loads(one.removeprefix("flawsight.receive(").removesuffix(");\n")) for one in scripts
    ]


@pytest.mark.parametrize("one_file", [True, False])
def test_a_view_tells_what_its_row_tells(one_file: bool, run: Path) -> None:
    rows = read_rows(run)
    data, shown = views(run, one_file)
    for row, view in zip(rows, shown, strict=True):
        assert view["evidence"] == row["evidence"]
        goods = [region["good"] for region in row["regions"]]
        assert [region["good"] for region in view["regions"]] == goods
        assert view["pictures"] is None  # the page has them
    assert [view["unasked"] for view in shown] == [
        "",
        "Not asked: the reference calls it defective.",
        "Not asked: the reference calls it good.",
    ]
    assert [view["token_maps"] is None for view in shown] == [False, True, True]
    assert [item["disagreements"] for item in data["items"]] == [[], [], []]


@pytest.mark.parametrize("one_file", [True, False])
def test_only_pictures_that_are_shown_are_in_the_page(one_file: bool, run: Path) -> None:
    data, _ = views(run, one_file)
    assert list(data["pictures"]) == [NAMES[1]]
    url = data["pictures"][NAMES[1]]
    if one_file:
        kind, _, content = url.partition(",")
        assert kind == "data:image/jpeg;base64"
        with Image.open(io.BytesIO(base64.b64decode(content))) as image:
            assert (image.height, image.width) == PICTURE
    else:
        assert url == picture_file(NAMES[1])
        assert (run / url).is_file()


def test_pictures_are_named_by_us(run: Path) -> None:
    """A name like ../x.png is no path."""
    assert sorted(path.name for path in (run / "reference").iterdir()) == sorted(
        f"{slug(name)}.png" for name in NAMES
    )


@pytest.mark.parametrize("one_file", [True, False])
@pytest.mark.parametrize("how", ["deleted", "damaged", "a link out of the run"])
def test_a_picture_that_is_gone_costs_no_result(how: str, one_file: bool, run: Path) -> None:
    picture = run / picture_file(NAMES[1])
    outside = run.parent / "secret.png"
    picture.rename(outside)
    if how == "damaged":
        picture.write_bytes(outside.read_bytes()[:90])
    elif how == "a link out of the run":
        os.symlink(outside, picture)
    data, shown = views(run, one_file)
    assert data["pictures"] == {} or (how == "damaged" and not one_file)
    assert all(item["error"] is None for item in data["items"])
    assert len(shown) == 3


def test_a_row_of_an_earlier_version_has_no_place(run: Path) -> None:
    row = read_rows(run)[0]
    old = {name: value for name, value in row.items() if name not in ("evidence", "nearest_good")}
    old["regions"] = [{k: v for k, v in one.items() if k != "good"} for one in row["regions"]]
    view = view_of(old, "a", None, None, None)
    assert (view["evidence"], view["unasked"]) == ({}, "")
    assert [region["good"] for region in view["regions"]] == [None]


def test_a_view_can_bring_its_pictures(run: Path) -> None:
    """As the service's does, whose page has none."""
    url = {NAMES[1]: "v1/pictures/1.png"}
    assert view_of(read_rows(run)[0], "a", None, None, None, pictures=url)["pictures"] == url
