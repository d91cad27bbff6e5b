"""The store, on SQLite and on a real PostgreSQL: rows, files, search, reviews, faults."""

import errno
import io
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

from flawsight.cgro.training_data import read_training_data
from flawsight.errors import MissingExtraError, StoreError
from flawsight.io.images import open_image
from flawsight.real.anomaly_map import upsample
from flawsight.refine.guided_filter import guided_filter
from flawsight.serve.app import create_app
from flawsight.serve.database import Base, made_with
from flawsight.serve.limits import Limits
from flawsight.serve.review_labels import LabelCounts, write_labels
from flawsight.serve.saved_thresholds import SavedThresholds
from flawsight.serve.store import NewInspection, Query, Store
from flawsight.serve.stored_files import SWEEP_AGE
from flawsight.serve.stored_maps import resize_map, shrink_map
from flawsight.serve.stored_products import (
    ProductCounts,
    ThresholdEffect,
    product_counts,
    threshold_effect,
)
from flawsight.serve.stored_scores import (
    busiest,
    first_of,
    like_the_newest,
    scores_of,
    whole_since,
)
from helpers.serving import BATCH, inspect_batch, not_ready, picture, stand_in

FIXTURES = Path(__file__).parents[1] / "fixtures"
HOME = "http://127.0.0.1"


@pytest.fixture(params=["sqlite", "postgresql"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """A new database and a folder for files."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/x.db", tmp_path / "files"
    return request.getfixturevalue("postgres").new_database(), tmp_path / "files"


@pytest.fixture
def store(location: tuple[str, Path]) -> Iterator[Store]:
    opened = Store(*location)
    yield opened
    opened.close()


def new(width: int = 20, **more: Any) -> NewInspection:
    photo = picture(width)
    inspection = stand_in(open_image(photo))
    values = NewInspection(
        photo=photo,
        photo_format="PNG",
        name="a.png",
        product=None,
        content=inspection.to_json(),
        arrays={"anomaly_map": inspection.anomaly_map, "token_maps": inspection.token_maps},
    )
    return replace(values, **more)


def test_what_is_added_is_there(store: Store) -> None:
    row, other = store.add([new(20, product="bolt"), new(21)])
    found = store.get(row.id)
    assert found is not None
    assert (found.product, found.pred_label, found.pred_score) == ("bolt", True, 0.2)
    assert found.content["explanation"] == "A <b>dark</b> scratch\N{REPLACEMENT CHARACTER}."
    assert found.content["tokens"][0]["weight"] == 1.0
    assert store.get(other.id) is not None
    assert store.get("0" * 32) is None
    folder = store.files.folder(row.id)
    assert (folder / "photo").read_bytes() == picture(20)
    with np.load(folder / "arrays.npz") as arrays:
        assert arrays["anomaly_map"].shape == (16, 20)
        assert arrays["anomaly_map"].dtype == np.float16
        assert (arrays["token_maps"] == 1).all()


def test_search(store: Store) -> None:
    rows = [store.add([new(20 + i, product=f"p{i % 2}")])[0] for i in range(6)]
    ids = [row.id for row in rows]

    def found(**query: Any) -> set[int]:
        return {ids.index(row.id) for row in store.search(Query(**query))}

    assert found() == set(range(6))
    assert found(defective=True) == {0, 2, 4}
    assert found(defective=False) == {1, 3, 5}
    assert found(min_score=0.22, max_score=0.24) == {2, 3, 4}
    assert found(product="p1", min_score=0.22) == {3, 5}
    assert found(product="none") == set()
    assert found(until_ms=0) == set()
    assert found(since_ms=rows[0].created_ms) == set(range(6))
    assert found(since_ms=rows[-1].created_ms + 1) == set()
    store.review(ids[1], False)
    assert found(reviewed=True) == {1}
    assert found(reviewed=False) == {0, 2, 3, 4, 5}
    pages, before = [], None
    while page := store.search(Query(limit=4, before=before)):
        pages.append([row.id for row in page])
        before = page[-1].id
    assert [len(page) for page in pages] == [4, 2]
    assert sorted(pages[0] + pages[1], reverse=True) == pages[0] + pages[1]


def test_a_page_of_large_inspections_ends_early(store: Store) -> None:
    """Counted in bytes of JSON; one above the bound comes alone."""
    numbers = [10, 400, 10, 10, 10, 2000, 10, 10]
    content = new().content
    (size,) = {len(json.dumps(content | {"x": "1" * 1000}))}
    for number in numbers:
        store.add([new(content=content | {"x": "1" * (number * 100)})])

    def pages(most: int, **query: Any) -> list[list[int]]:
        found: list[list[int]] = []
        before = None
        while True:
            page = store.page(Query(before=before, **query), most)
            found.append([len(row.content["x"]) // 100 for row in page.rows])
            before = page.next
            if before is None:
                return found

    assert pages(10**9) == [numbers[::-1]]
    assert pages(10**9, limit=3) == [[10, 10, 2000], [10, 10, 10], [400, 10]]
    assert pages(2 * size) == [[10, 10], [2000], [10, 10], [10], [400], [10]]
    assert pages(2 * size - 1) == [[number] for number in numbers[::-1]]
    assert pages(10**9, limit=8) == [numbers[::-1], []]
    assert pages(1, product="none") == [[]]


def test_a_page_takes_its_share_of_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """500 inspections with large regions: each page is bounded, and all are found by `next`."""
    limits = Limits(rate=0, page_bytes=100_000)
    store = Store(str(tmp_path))
    region = {"counts": list(range(5_000)), "image_size": [16, 20]}
    store.add([new(content=new().content | {"regions": [region]}) for _ in range(20)])
    with TestClient(create_app(inspect_batch, BATCH, store, limits), HOME) as client:
        ids, before = [], ""
        while True:
            answer = client.get(f"/v1/inspections?limit=500{before}")
            body = answer.json()
            assert len(answer.content) < limits.page_bytes
            ids += [one["id"] for one in body["inspections"]]
            assert body["inspections"][0]["regions"] == [region]
            if body["next"] is None:
                break
            before = f"&before={body['next']}"
        assert ids == [row.id for row in store.search(Query())]
        monkeypatch.setattr(client.app.state.service.held, "_total", 1000)  # type: ignore[attr-defined]
        assert client.get("/v1/inspections").status_code == 413


def test_review(store: Store) -> None:
    row = store.add([new(20)])[0]
    assert row.pred_label
    for right, truth in ((True, True), (False, False), (True, True)):
        reviewed = store.review(row.id, right)
        assert reviewed is not None
        assert (reviewed.true_label, reviewed.pred_label) == (truth, True)
        assert reviewed.reviewed_ms
    assert store.review("0" * 32, True) is None


def test_either_database_answers_what_the_page_asks(store: Store) -> None:
    def made(width: int, product: str | None, **more: Any) -> str:
        content = new(width).content | {"model_sha256": "m", "threshold": 0.3} | more
        return store.add([new(width, product=product, content=content)])[0].id

    # The stand-in scores by the width, in percent, and calls the even ones defective.
    ids = {width: made(width, "bolt") for width in (20, 31, 38)}
    ids |= {52: made(52, None), 61: made(61, None, threshold=None)}
    order = [ids[width] for width in (31, 38, 20, 61, 52)]
    found = Query(uncertain_first=True)
    assert [row.id for row in store.search(found)] == order
    assert [row.id for row in store.page(replace(found, limit=2), 10**9).rows] == order[:2]
    assert {row.id for row in store.search(Query(contradiction=True))} == {ids[31], ids[61]}
    for width, right in ((20, False), (31, False), (38, True)):
        store.review(ids[width], right)
    back = store.unreview(ids[38])
    assert back is not None
    assert (back.true_label, back.reviewed_ms) == (None, None)
    assert store.unreview("0" * 32) is None
    assert product_counts(store) == [
        ProductCounts("bolt", 3, good=1, defective=1), ProductCounts(None, 2, 0, 0)
    ]  # fmt: skip
    scale = made_with({"model_sha256": "m"})
    assert threshold_effect(store, "bolt", scale, 0.35) == ThresholdEffect(
        inspections=3, defective_before=2, defective_after=1, good=1, defective=1,
        false_alarms_before=1, false_alarms_after=0, missed_before=1, missed_after=1,
    )  # fmt: skip
    assert threshold_effect(store, None, "other", 0.5).inspections == 0

    saved = SavedThresholds(store)
    for product, threshold in (("bolt", 0.4), (None, 0.5), ("bolt", 0.6), (None, None)):
        saved.save(product, threshold, scale)
    again = SavedThresholds(store)
    again.read()
    assert [again.of(product, scale) for product in ("bolt", None)] == [0.6, None]

    end = store.search(Query(limit=1))[0].created_ms + 1
    assert busiest(store, 0, end, 5) == ["bolt", None]
    assert (busiest(store, 0, end, 1), busiest(store, end, end + 1, 5)) == (["bolt"], [])
    for product, scores in (("bolt", [0.2, 0.31, 0.38]), (None, [0.61])):
        alike = like_the_newest(store, product, end)
        assert alike is not None
        since = first_of(store, alike, 0)
        assert since is not None
        rows = scores_of(store, alike, since, end, 10)
        assert [row.pred_score for row in rows] == scores
        assert rows[0].created_ms == since
    assert like_the_newest(store, "none", end) is None
    oldest = store.search(Query(reviewed=False))[-1].created_ms
    assert (whole_since(store, 4), whole_since(store, 3)) == (0, oldest)


def test_prune_keeps_the_newest_and_the_reviewed(store: Store) -> None:
    ids = [store.add([new(20)])[0].id for _ in range(5)]
    ids.sort()
    store.review(ids[0], True)
    assert store.prune(3) == 1
    assert {row.id for row in store.search(Query())} == {ids[0], *ids[2:]}
    assert [store.files.folder(id).exists() for id in ids] == [True, False, True, True, True]
    assert store.prune(3) == 0


def test_reviewed_inspections_push_no_new_one_out(store: Store) -> None:
    ids = sorted(store.add([new(20)])[0].id for _ in range(14))
    for id in ids[:6]:
        store.review(id, True)
    newest = store.add([new(20)])[0].id
    assert store.prune(4) == 5
    left = {row.id for row in store.search(Query())}
    assert left == {*ids[:6], *ids[-3:], newest}


def test_the_order_is_that_of_insertion_whatever_the_clock_says(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{number}.png" for number in range(6)]
    hours = iter([0, 5, -72, -71, 0, 0])
    now = time.time_ns()
    for name in names:
        monkeypatch.setattr(
            "flawsight.serve.store.time.time_ns", lambda: now + next(hours) * 3600 * 10**9
        )
        store.add([replace(new(), name=name)])
    monkeypatch.undo()
    more = store.add([replace(new(), name=name) for name in ("6.png", "7.png")])
    names += [row.name for row in more]
    found = store.search(Query())
    assert [row.name for row in found] == names[::-1]
    page = store.search(Query(before=found[2].id, limit=2))
    assert [row.name for row in page] == ["4.png", "3.png"]
    assert [row.created_ms for row in found[4:]] == [
        (now + hour * 3600 * 10**9) // 10**6 for hour in (-71, -72, 5, 0)
    ]
    assert store.prune(keep=3) == 5
    assert [row.name for row in store.search(Query())] == ["7.png", "6.png", "5.png"]


def test_old_files_without_a_row_are_swept(store: Store) -> None:
    row = store.add([new()])[0]
    arrays = {"anomaly_map": np.zeros((2, 2), np.float32)}
    store.files.write("a" * 32, b"old", arrays)
    store.files.write("b" * 32, b"young", arrays)
    unfinished = store.files.folder("c" * 32)
    unfinished.mkdir(parents=True)
    old = time.time() - SWEEP_AGE - 1
    for folder in (store.files.folder(row.id), store.files.folder("a" * 32), unfinished):
        os.utime(folder, (old, old))
    assert store.sweep() == 2
    there = [store.files.folder(id).exists() for id in (row.id, "a" * 32, "b" * 32)]
    assert there == [True, False, True]
    assert not unfinished.exists()


def test_migrations_make_what_the_code_expects(store: Store, location: tuple[str, Path]) -> None:
    url = make_url(location[0])
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    engine = create_engine(url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    engine.dispose()
    Store(*location).close()  # a second time changes nothing


def test_labels_are_a_data_set_to_train_on(store: Store, tmp_path: Path) -> None:
    for width in range(20, 28):
        row = store.add([new(width, product="bolt")])[0]
        if width != 27:
            store.review(row.id, width % 4 < 2)
    out = tmp_path / "out"
    # Even ones were called defective; of 20, 21, 24, 25 that is right.
    assert write_labels(store, out) == LabelCounts(good=4, bad=3, added=7, moved=0)
    photos = {path.read_bytes(): path.parent.name for path in out.glob("*/*.png")}
    truth = {20: "bad", 21: "good", 22: "good", 23: "bad", 24: "bad", 25: "good", 26: "good"}
    assert photos == {picture(width): label for width, label in truth.items()}
    data = read_training_data([str(out)], [], 0.2, 8, 0)
    assert len(data.train) + len(data.validation) == 7
    with pytest.raises(StoreError, match="another OUT"):
        write_labels(store, store.files.root)
    with pytest.raises(StoreError, match="no reviewed"):
        write_labels(store, tmp_path / "other", product="nut")


def test_later_reviews_are_added_and_changed_labels_move(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def reviewed(name: str | None, width: int, bad: bool) -> str:
        row = store.add([new(width, name=name)])[0]
        store.review(row.id, row.pred_label == bad)
        return row.id

    def held() -> dict[str, bytes]:
        return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}

    first = reviewed("line 3/Böden.PNG", 20, bad=True)
    write_labels(store, out)
    assert held() == {"bad/Böden.PNG": picture(20)}
    other = reviewed("Böden.PNG", 21, bad=True)  # another photo of that name
    reviewed("again.png", 20, bad=True)  # the same photo once more
    (out / "good").mkdir()
    (out / "good/Böden.PNG").write_bytes(b"the user's own")
    assert write_labels(store, out) == LabelCounts(good=0, bad=2, added=1, moved=0)
    assert {"bad/Böden.PNG", f"bad/Böden-{other}.PNG", "good/Böden.PNG"} == held().keys()
    row = store.get(first)
    assert row is not None
    time.sleep(0.002)  # reviews are ordered by their milliseconds
    store.review(first, not row.pred_label)  # the last review of the photo that is there twice
    assert write_labels(store, out) == LabelCounts(good=1, bad=1, added=0, moved=1)
    assert held() == {
        "good/Böden.PNG": b"the user's own",
        f"good/Böden-{held_id(out, picture(20))}.PNG": picture(20),
        f"bad/Böden-{other}.PNG": picture(21),
    }
    before = held()
    assert write_labels(store, out).added == 0
    assert held() == before


def held_id(out: Path, photo: bytes) -> str:
    (path,) = (path for path in out.glob("*/*-*") if path.read_bytes() == photo)
    return path.stem.partition("-")[2]


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("../../etc/passwd", "passwd"), ("C:\\photos\\a.PNG", "a"), (".hidden.png", "hidden"),
        ("a<b>:\n.png", "a-b-"), ("ü" * 300 + ".png", "ü" * 50), ("noon.2026", "noon.2026"),
        ("..", ""), ("", ""), (None, ""),
    ],
)  # fmt: skip
def test_names_of_clients_stay_in_the_folder(tmp_path: Path, name: str | None, stem: str) -> None:
    store = Store(str(tmp_path / "store"))
    row = store.add([new(name=name)])[0]
    store.review(row.id, True)
    write_labels(store, tmp_path / "out")
    (path,) = (path for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert path.parent.parent == tmp_path / "out"
    assert path.stem == (stem or row.id)
    assert path.suffix.lower() == ".png"
    store.close()


def test_a_full_disk_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match="No space left"):
            store.add([new()])
    assert store.search(Query()) == []
    assert [path for path in store.files.root.rglob("*") if path.is_file()] == []
    store.add([new()])


@pytest.fixture
def served(tmp_path: Path) -> Iterator[TestClient]:
    app = create_app(inspect_batch, BATCH, Store(str(tmp_path / "store")), Limits(rate=0))
    with TestClient(app, base_url=HOME) as client:
        assert client.get("/readyz").status_code == 200
        yield client


@pytest.mark.parametrize("what", ["flawsight.db*", "files", "."])
def test_a_store_deleted_under_the_service_is_gone(
    served: TestClient, tmp_path: Path, what: str
) -> None:
    acknowledged = served.post("/v1/inspect", files={"images": picture(20)})
    assert acknowledged.status_code == 200
    for path in (
        list((tmp_path / "store").glob(what)) if "*" in what else [tmp_path / "store" / what]
    ):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    not_ready(served, "gone")
    # Another one in its place is another store.
    Store(str(tmp_path / "store")).close()
    not_ready(served, "gone")
    assert served.get("/healthz").status_code == 200


def test_a_locked_database_is_named(
    served: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flawsight.serve.open_database.LOCK_SECONDS", 0)
    served.app.state.service.store.close()  # type: ignore[attr-defined]  # new connections
    with closing(sqlite3.connect(tmp_path / "store/flawsight.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        not_ready(served, "locked")
        other.execute("ROLLBACK")
    assert served.get("/readyz").status_code == 200


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_named(
    served: TestClient, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        not_ready(served, "full")
    assert served.get("/readyz").status_code == 200


def test_readyz_leaves_nothing(served: TestClient, tmp_path: Path) -> None:
    before = sorted((tmp_path / "store/files").rglob("*"))
    for _ in range(3):
        assert served.get("/readyz").status_code == 200
    assert served.get("/v1/inspections").json()["inspections"] == []
    assert sorted((tmp_path / "store/files").rglob("*")) == before


@pytest.mark.parametrize("name", ["arrays.npz", "photo"])
@pytest.mark.parametrize("damage", ["cut", "mutated", "emptied", "gone"])
def test_damaged_files_are_named(
    served: TestClient, caplog: pytest.LogCaptureFixture, name: str, damage: str
) -> None:
    body = served.post("/v1/inspect", files={"images": picture(20)}).json()
    id = body["results"][0]["id"]
    file = served.app.state.service.store.files.folder(id) / name  # type: ignore[attr-defined]
    content = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        half = len(content) // 2
        file.write_bytes(
            {"cut": content[:half], "mutated": b"x" * half + content[half:], "emptied": b""}[damage]
        )
    of_it = ["map.png", "map.npz", "view"] if name == "arrays.npz" else ["photo.jpg"]
    for what in (*of_it, "overlay.png", "thumb.jpg"):
        answer = served.get(f"/v1/inspections/{id}/{what}")
        assert (answer.status_code, answer.json()["error"]["kind"]) == (503, "StoreError"), what
        assert id in answer.json()["error"]["message"]
    assert damage == "gone" or id in caplog.text
    assert served.get(f"/v1/inspections/{id}").status_code == 200


def test_photos_without_any_row_are_not_swept(store: Store) -> None:
    """The database was lost; the photos are all that is left."""
    store.files.write("a" * 32, b"old", {"anomaly_map": np.zeros((2, 2), np.float32)})
    old = time.time() - SWEEP_AGE - 1
    os.utime(store.files.folder("a" * 32), (old, old))
    assert store.sweep() == 0
    assert store.files.folder("a" * 32).exists()


@given(
    rows=st.integers(1, 20), cols=st.integers(1, 20), height=st.integers(20, 90),
    width=st.integers(20, 90), seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_a_map_that_version_0_1_stored_as_its_grid_is_read(
    rows: int, cols: int, height: int, width: int, seed: int
) -> None:
    grid = torch.rand(rows, cols, generator=torch.Generator().manual_seed(seed))
    anomaly_map = upsample(grid, (height, width)).numpy()
    np.testing.assert_allclose(resize_map(grid.numpy(), (height, width)), anomaly_map, atol=1e-4)


def test_a_map_is_stored_to_a_thousandth() -> None:
    anomaly_map = np.random.default_rng(0).random((30, 40)).astype(np.float32)
    stored = shrink_map(anomaly_map)
    assert (stored * 1024 % 1 == 0).all()
    np.testing.assert_allclose(resize_map(stored, (30, 40)), anomaly_map, atol=1 / 2048)


def test_a_large_photos_map_is_stored_small() -> None:
    rng = np.random.default_rng(0)
    photo = rng.random((24, 32)).repeat(16, 0).repeat(16, 1).astype(np.float32)
    coarse = upsample(torch.from_numpy(rng.random((5, 7), np.float32)), (1500, 2000)).numpy()
    anomaly_map = guided_filter(coarse, photo, 35)
    stored = shrink_map(anomaly_map)
    assert stored.shape == (384, 512)
    difference = np.abs(resize_map(stored, (1500, 2000)) - anomaly_map)
    assert difference.max() < 0.02
    assert difference.mean() < 1e-3


@pytest.fixture
def old_store(tmp_path: Path) -> Path:
    """A copy of the store that version 0.1 wrote: one reviewed inspection, with regions."""
    return Path(shutil.copytree(FIXTURES / "version-0.1/store", tmp_path / "old"))


def test_a_store_of_version_0_1_is_read_under_todays_names(old_store: Path) -> None:
    store = Store(str(old_store))
    with TestClient(create_app(inspect_batch, BATCH, store, Limits(rate=0)), HOME) as client:
        (listed,) = client.get("/v1/inspections").json()["inspections"]
        url = f"/v1/inspections/{listed['id']}"
        assert client.get(url).json() == listed
        assert listed["tokens"]
        assert not any("kept" in token for token in listed["tokens"])
        assert {token["selected"] for token in listed["tokens"]} <= {True, False}
        assert listed["regions"]
        assert not any("words" in region for region in listed["regions"])
        said = [region["phrases"] for region in listed["regions"]]

        view = client.get(f"{url}/view").json()
        assert view["map"]["data"]
        assert [token["selected"] for token in view["tokens"]] == [
            token["selected"] for token in listed["tokens"]
        ]
        assert [region["phrases"] for region in view["regions"]] == said

        height, width = listed["image_size"]
        for file in ("map.png", "overlay.png", "photo.jpg"):
            picture = Image.open(io.BytesIO(client.get(f"{url}/{file}").content))
            assert picture.size == (width, height)
        with np.load(io.BytesIO(client.get(f"{url}/map.npz").content)) as arrays:
            assert arrays["anomaly_map"].shape == (height, width)
            assert len(arrays["token_maps"]) == len(listed["tokens"])

        reviewed = client.put(f"{url}/review", json={"verdict": "right"}).json()
        assert reviewed["tokens"] == listed["tokens"]


def test_the_reviewed_photos_of_a_store_of_version_0_1_are_exported(
    old_store: Path, tmp_path: Path
) -> None:
    store = Store(str(old_store))
    (row,) = store.reviewed()
    counts = write_labels(store, tmp_path / "out")
    assert (counts.good, counts.bad) == (int(not row.true_label), int(bool(row.true_label)))
    (exported,) = (tmp_path / "out").glob("*/*.jpg")
    assert exported.read_bytes() == (store.files.folder(row.id) / "photo").read_bytes()
    store.close()


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("postgresql://x@127.0.0.1:1/y", "files DIR"),
        ("nonsense://x", "not supported|files DIR"),
        ("://", "not a database URL"),
    ],
)
def test_a_place_that_is_none(location: str, says: str) -> None:
    with pytest.raises(StoreError, match=says):
        Store(location)


def test_errors_say_no_password(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as error:
        Store("postgresql://x:very-secret@127.0.0.1:1/y", tmp_path)
    assert "very-secret" not in str(error.value)
    with pytest.raises((StoreError, MissingExtraError)):
        Store("oracle://x@127.0.0.1:1/y", tmp_path)


def test_a_folder_as_place(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "made" / "here"))
    assert (tmp_path / "made/here/flawsight.db").is_file()
    assert store.files.root == tmp_path / "made/here/files"
    store.close()
