"""The actor without Ray: it writes a run folder that everything reads, and refuses another run."""

from pathlib import Path

import numpy as np
import pytest

from flawsight.errors import RunFolderError
from flawsight.io.find_images import find_images
from flawsight.runs.cluster import ImageInspector, fetch
from flawsight.runs.read import read_array, read_description, read_rows
from flawsight.settings import PRESETS

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
    actor = ImageInspector(out=str(out), settings=PRESETS["paper"], **options)
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
    assert read_description(out)["settings"] == PRESETS["paper"].to_json()
    ImageInspector(out=str(out), settings=PRESETS["paper"], **options)
    with pytest.raises(RunFolderError, match="other settings"):
        ImageInspector(out=str(out), settings=PRESETS["default"], **options)
