"""Whatever happens to a file or a row of the store, it is named and logged, and costs no other."""

import io
import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flawsight.errors import StoreError
from flawsight.serve.app import create_app
from flawsight.serve.limits import Limits
from flawsight.serve.open_database import DATABASE
from flawsight.serve.review_labels import write_labels
from flawsight.serve.schemas import InspectionsBody
from flawsight.serve.store import Query, Store
from flawsight.serve.stored_files import Files
from helpers.damage import VALUES, damage
from helpers.serving import BATCH, inspect_batch, picture

HOME = "http://127.0.0.1"
FILES = ("photo.jpg", "thumb.jpg", "map.png", "map.npz", "overlay.png", "view", "photo")
FEW = settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def client_of(folder: Path) -> TestClient:
    app = create_app(inspect_batch, BATCH, Store(str(folder)), Limits(rate=0))
    return TestClient(app, base_url=HOME, raise_server_exceptions=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of three reviewed inspections, closed."""
    folder = tmp_path_factory.mktemp("made") / "store"
    with client_of(folder) as client:
        for width in (20, 22, 24):
            body = client.post("/v1/inspect", files={"images": picture(width)}).json()
            id = body["results"][0]["id"]
            client.put(f"/v1/inspections/{id}/review", json={"verdict": "right"})
    return folder


@pytest.fixture(scope="module")
def served(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Path]]:
    folder = tmp_path_factory.mktemp("served") / "store"
    shutil.copytree(made, folder)
    with client_of(folder) as client:
        yield client, folder


def ids_of(folder: Path) -> list[str]:
    """Return the ids, oldest first."""
    with closing(sqlite3.connect(folder / DATABASE)) as database:
        return [id for (id,) in database.execute("SELECT id FROM inspections ORDER BY id")]


def answered(answer: Any, id: str, log: str) -> bool:
    """Check that an answer is whole, or names the inspection; return whether it is whole."""
    if answer.status_code == 200:
        return True
    assert (answer.status_code, answer.json()["error"]["kind"]) == (503, "StoreError"), answer.text
    assert id in answer.json()["error"]["message"]
    assert id in log or "gone" in answer.json()["error"]["message"]
    return False


def sound(client: Any, id: str) -> None:
    """Check that an inspection is served whole."""
    for path in ("", *(f"/{name}" for name in FILES)):
        assert client.get(f"/v1/inspections/{id}{path}").status_code == 200, path
    assert client.put(f"/v1/inspections/{id}/review", json={"verdict": "right"}).status_code == 200


def ask_all(client: Any, id: str, caplog: pytest.LogCaptureFixture) -> None:
    for path in ("", *(f"/{name}" for name in FILES)):
        answered(client.get(f"/v1/inspections/{id}{path}"), id, caplog.text)


@FEW
@given(data=st.data(), name=st.sampled_from(["photo", "arrays.npz"]))
def test_a_damaged_file(
    served: tuple[Any, Path], caplog: pytest.LogCaptureFixture, data: st.DataObject, name: str
) -> None:
    client, folder = served
    caplog.clear()
    other, id, _ = ids_of(folder)
    file = Files(folder / "files").folder(id) / name
    content = file.read_bytes()
    try:
        if data.draw(st.booleans(), label="swapped"):
            swapped = file.with_name("photo" if name != "photo" else "arrays.npz")
            file.write_bytes(data.draw(st.sampled_from([swapped.read_bytes(), b"", b"{}"])))
        else:
            damage(data, file)
        ask_all(client, id, caplog)
        assert len(client.get("/v1/inspections").json()["inspections"]) == 3
    finally:
        file.write_bytes(content)
    sound(client, other)


ARRAYS = st.sampled_from(
    [
        np.zeros((0, 0)), np.zeros(4), np.zeros((2, 2, 2)), np.full((2, 2), np.nan),
        np.full((2, 2), np.inf), np.zeros((3, 3), complex), np.array("text"), np.array(1.0),
        np.zeros((2, 2), "datetime64[s]"), np.full((2, 2), 1e30), np.zeros((3, 5, 0)),
    ]
)  # fmt: skip


@FEW
@given(arrays=st.dictionaries(st.sampled_from(["anomaly_map", "token_maps", "x"]), ARRAYS))
def test_arrays_of_other_shapes_and_types(
    served: tuple[Any, Path], caplog: pytest.LogCaptureFixture, arrays: dict[str, Any]
) -> None:
    client, folder = served
    caplog.clear()
    id = ids_of(folder)[1]
    file = Files(folder / "files").folder(id) / "arrays.npz"
    content, put = file.read_bytes(), io.BytesIO()
    np.savez(put, **arrays)
    try:
        file.write_bytes(put.getvalue())
        ask_all(client, id, caplog)
    finally:
        file.write_bytes(content)


COLUMNS = {
    "created_ms": [2**62, -(2**62), "soon", b"\xff", 1.5],
    "name": [b"\xff\xfe", bytearray(b"\xff"), 7, "\0", "../../x", "a\r\nb"],
    "product": [b"\xff", 7, "a\r\nb"],
    "photo_format": ["", "../x", b"\xff", 3, "a\r\nX-Evil: b"],
    "pred_label": ["yes", b"\xff", 17],
    "pred_score": ["high", b"\xff", 1e999, -3],
    "true_label": ["yes", b"\xff", 17],
    "reviewed_ms": ["soon", b"\xff", 2**62],
    "content": [
        "", "{", "null", "[]", "3", b"\xff\xfe", b'{"a": "\xff"}', bytearray(b"{}"),
        "NaN", '{"image_size": [1]}', "[" * 100_000,
        '{"id": "x"}', '{"image_size": [NaN, 2]}', "9" * 5000, '"\\ud800"',
    ],
}  # fmt: skip


def damaged_row(
    served: tuple[Any, Path], out: Path, caplog: pytest.LogCaptureFixture, column: str, value: Any
) -> None:
    """Check that a damaged column of one row is named, logged, and costs no other row."""
    caplog.clear()
    client, folder = served
    first, id, last = ids_of(folder)
    with closing(sqlite3.connect(folder / DATABASE, isolation_level=None)) as database:
        columns = list(COLUMNS)
        row = database.execute(
            f"SELECT {', '.join(columns)} FROM inspections WHERE id = ?", (id,)
        ).fetchone()
        try:
            # Flipped bytes are still text to SQLite, though not UTF-8.
            put = "CAST(? AS TEXT)" if isinstance(value, bytes) else "?"
            database.execute(f"UPDATE inspections SET {column} = {put} WHERE id = ?", (value, id))
            ask_all(client, id, caplog)
            review = client.put(f"/v1/inspections/{id}/review", json={"verdict": "right"})
            answered(review, id, caplog.text)
            listed = client.get("/v1/inspections")
            assert listed.status_code == 200
            page = InspectionsBody.model_validate(listed.json())
            there = {one.id for one in page.inspections}
            assert {first, last} <= there
            assert {id} == {*page.damaged} or id in there
            assert not page.damaged or id in caplog.text
            counts = write_labels(client.app.state.service.store, out)
            assert counts.good + counts.bad + counts.damaged == 3
            assert counts.damaged <= 1
        finally:
            marks = ", ".join(f"{name} = ?" for name in columns)
            database.execute(f"UPDATE inspections SET {marks} WHERE id = ?", (*row, id))


@pytest.mark.parametrize("column", COLUMNS)
def test_a_damaged_column(
    served: tuple[Any, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture, column: str
) -> None:
    for value in COLUMNS[column]:
        damaged_row(served, tmp_path / "out", caplog, column, value)


@FEW
@given(data=st.data())
def test_content_of_other_types(
    served: tuple[Any, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture, data: st.DataObject
) -> None:
    folder = served[1]
    with closing(sqlite3.connect(folder / DATABASE)) as database:
        (text,) = database.execute(
            "SELECT content FROM inspections WHERE id = ?", (ids_of(folder)[1],)
        ).fetchone()
    content = json.loads(text)
    key = data.draw(st.sampled_from(sorted(content)))
    sizes = st.sampled_from([[10**9, 10**9], [0, 0], [-1, 5], [float("nan"), 2], ["a", "b"]])
    content[key] = data.draw(sizes if key == "image_size" else VALUES)
    damaged_row(served, tmp_path / "out", caplog, "content", json.dumps(content))


@pytest.mark.parametrize("value", ["zz", "", "f" * 32, "/etc", "../" * 8, b"\xff", "é" * 32])
def test_a_damaged_id_stops_nobody_and_names_no_folder(
    made: Path, tmp_path: Path, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "store"
    shutil.copytree(made, folder)
    _, id, last = ids_of(folder)
    with closing(sqlite3.connect(folder / DATABASE, isolation_level=None)) as database:
        database.execute("UPDATE inspections SET id = ?, true_label = NULL WHERE id = ?",
                         (value, id))  # fmt: skip
    removed: list[str] = []
    monkeypatch.setattr(
        "flawsight.serve.stored_files.Files.remove", lambda _, id: removed.append(id)
    )
    with client_of(folder) as client:
        assert client.post("/v1/inspect", files={"images": picture(26)}).status_code == 200
        sound(client, last)
        listed = client.get("/v1/inspections").json()
        assert [one["image_size"][1] for one in listed["inspections"] if one["id"] != value] == [
            26, 24, 20]  # fmt: skip
        client.app.state.service.store.prune(0)  # type: ignore[attr-defined]
    assert not {*removed} & {"/etc", "../" * 8, "zz", "", "é" * 32}
    assert write_labels(Store(str(folder)), tmp_path / "out").damaged == 0


@FEW
@given(data=st.data())
def test_a_damaged_database(made: Path, tmp_path: Path, data: st.DataObject) -> None:
    """It opens and answers, or is refused at the start, or answers with what is wrong."""
    folder = tmp_path / "store"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(made, folder)
    ids = ids_of(folder)
    for rest in folder.glob(f"{DATABASE}-*"):
        rest.unlink()
    damage(data, folder / DATABASE)
    try:
        client = client_of(folder)
    except StoreError:
        return
    with client:
        answers = [client.get("/v1/inspections"), client.get("/readyz"),
                   client.post("/v1/inspect", files={"images": picture(26)})]  # fmt: skip
        for id in ids:
            answers += [client.get(f"/v1/inspections/{id}{path}") for path in ("", "/view")]
        for answer in answers:
            assert answer.status_code in (200, 404, 503), answer.text
            assert answer.status_code == 200 or answer.json()["error"]["message"]


def test_what_is_not_damaged_is_whole(served: tuple[Any, Path]) -> None:
    client, folder = served
    for id in ids_of(folder):
        sound(client, id)
    assert client.get("/v1/inspections").json()["damaged"] == []
    assert len(Store(str(folder)).search(Query())) == 3
