"""The actor without Ray: it writes a run folder that everything reads, and refuses another run."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flawsight.errors import RunFolderError
from flawsight.inspector import Inspector
from flawsight.io.file_stamp import stamp_of_bytes, was_replaced
from flawsight.io.find_images import find_images
from flawsight.runs.cluster import ImageInspector, fetch
from flawsight.runs.parquet import StorageFolder, drop_rows, read_parquet_rows, rows_table
from flawsight.runs.read import read_array, read_description, read_rows
from flawsight.settings import PRESETS
from helpers.bundled import FEW_PAPER
from helpers.good_parts import part

parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
SAMPLES = Path(__file__).parents[2] / "samples"


def test_the_actor_writes_a_run_that_is_read_and_refuses_another(tmp_path: Path) -> None:
    names = [str(path) for path in find_images([SAMPLES])[:2]] + [str(tmp_path / "gone.png")]
    fetched = list(fetch({"path": names}))
    batch = {
        key: np.array([one[key][0] for one in fetched], dtype=object)
        for key in ("path", "bytes", "error")
    }
    options = {"device": "cpu", "batch_size": 2}
    out = tmp_path / "run"
    actor = ImageInspector(out=str(out), settings=FEW_PAPER, **options)
    table = actor(batch)
    (out / "rows").mkdir()
    parquet.write_table(table, out / "rows/0.parquet")
    assert table.column("image").to_pylist() == names
    rows = {row["image"]: row for row in read_rows(out)}
    assert set(rows) == set(names)
    assert rows[names[2]]["error"].startswith(f"ImageError: Cannot read {names[2]}")
    for name, outcome in zip(
        names[:2], actor.inspector.inspect_batch([Path(n) for n in names[:2]]), strict=True
    ):
        if isinstance(outcome, Exception):
            assert "error" in rows[name]
        else:
            found = read_array(out, rows[name], "anomaly_map")
            np.testing.assert_allclose(found, outcome.anomaly_map, atol=1e-3)
            assert not was_replaced(rows[name], name)
    assert read_description(out)["settings"] == FEW_PAPER.to_json()
    ImageInspector(out=str(out), settings=FEW_PAPER, **options)
    with pytest.raises(RunFolderError, match="other settings"):
        ImageInspector(out=str(out), settings=PRESETS["default"], **options)


def test_the_actor_compares_with_a_reference(tmp_path: Path) -> None:
    settings = replace(PRESETS["default"], image_tokens=64)
    taught = Inspector.from_pretrained(device="cpu", settings=settings).learn(
        [part(seed) for seed in range(3)]
    )
    actor = ImageInspector(
        out=str(tmp_path / "run"), settings=replace(settings, explain="never"), device="cpu",
        reference=pickle.loads(pickle.dumps(taught.reference)),
    )  # fmt: skip
    pixels = np.empty(2, dtype=object)
    pixels[:] = [np.asarray(part(8)), np.asarray(part(9, spot=True))]
    table = actor({"path": np.array(["a", "b"]), "image": pixels})
    assert table.column("answer").to_pylist() == [None, None]
    good, bad = table.column("pred_score").to_pylist()
    assert good < bad
    assert table.column("pred_label").to_pylist()[1]
    assert taught.reference is not None
    described = read_description(tmp_path / "run")
    assert described["reference_sha256"] == taught.reference.sha256


def test_the_rows_of_replaced_files_are_dropped_from_parquet(tmp_path: Path) -> None:
    photos = [tmp_path / f"{name}.png" for name in "abc"]
    rows = []
    for photo in photos:
        photo.write_bytes(b"before")
        stamp = stamp_of_bytes(b"before", photo.stat().st_mtime_ns)
        rows.append({"image": str(photo), "pred_score": 0.5, "file": stamp.to_json()})
    (tmp_path / "run/rows").mkdir(parents=True)
    for number, some in enumerate((rows[:2], rows[2:])):
        parquet.write_table(rows_table(some), tmp_path / f"run/rows/{number}.parquet")
    folder = StorageFolder(str(tmp_path / "run"))
    assert not any(map(was_replaced, rows, photos))
    photos[1].write_bytes(b"after!")
    assert [was_replaced(row, photo) for row, photo in zip(rows, photos, strict=True)] == [
        False, True, False,
    ]  # fmt: skip
    drop_rows(folder, {str(photos[1])})
    assert list(read_parquet_rows(folder)) == [rows[0], rows[2]]


def test_a_name_that_is_no_text_is_a_row(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    row = {"image": "/photos/\udcff.png", "pred_score": 0.5}
    parquet.write_table(rows_table([row]), tmp_path / "rows/0.parquet")
    assert read_rows(tmp_path) == [row]
