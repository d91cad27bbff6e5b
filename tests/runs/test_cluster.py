"""A real Ray on this machine: two actors do what one process does, and one may die."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from flawsight.cli import app
from flawsight.inspector import Inspector
from flawsight.io.find_images import find_images
from flawsight.report.write_report import write_report
from flawsight.runs.batch import inspect_into
from flawsight.runs.cluster import ImageInspector, fetch
from flawsight.runs.describe import describe
from flawsight.runs.folder import RunFolder
from flawsight.runs.read import read_rows
from flawsight.settings import PRESETS
from flawsight_surfaces import render_pair

ray = pytest.importorskip("ray", reason="needs ray: pip install 'flawsight[ray]'")
ray_data = pytest.importorskip("ray.data", reason="needs ray[data]: pip install 'flawsight[ray]'")
BATCH = 4


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(6)
    folder = tmp_path_factory.mktemp("cluster") / "photos"
    folder.mkdir()
    for index in range(10):
        for side, sample in enumerate(render_pair(rng, [(96, 96), (64, 120)][index % 2])):
            Image.fromarray(sample.image).save(folder / f"{2 * index + side:02}.png")
    (folder / "05-broken.png").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def expected(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process."""
    run = tmp_path_factory.mktemp("one") / "run"
    inspector = Inspector.from_pretrained(device="cpu", batch_size=BATCH)
    inspect_into(RunFolder(run, describe(inspector)), inspector, find_images([photos]))
    return run


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    # Reading and writing want processors of their own beside the two actors'.
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def assert_same(found: Path, expected: Path) -> None:
    """Within what other neighbours in a batch may change."""
    rows = {row["image"]: row for row in read_rows(found)}
    others = {row["image"]: row for row in read_rows(expected)}
    assert len(read_rows(found)) == len(rows)
    assert rows.keys() == others.keys()
    for image, row in rows.items():
        other = others[image]
        assert ("error" in row) == ("error" in other)
        if "error" in row:
            continue
        assert row["explanation"] == other["explanation"]
        assert row["pred_label"] == other["pred_label"]
        assert row["pred_score"] == pytest.approx(other["pred_score"], abs=1e-4)
        for name in ("anomaly_map", "token_maps"):
            with np.load(found / row[name]) as one, np.load(expected / other[name]) as two:
                np.testing.assert_allclose(one[name], two[name], atol=2e-3)


def mortal() -> type[ImageInspector]:
    """Made in a function, for the workers, which cannot import this file, to get it by value."""

    class Mortal(ImageInspector):
        """Kills its process at the second batch that any of them gets."""

        def __init__(self, fuse: str, **options: Any) -> None:
            super().__init__(**options)
            self._fuse = Path(fuse)

        def __call__(self, batch: dict[str, Any]) -> Any:
            calls = len(list(self._fuse.iterdir()))
            (self._fuse / f"{os.getpid()}-{calls}").touch()
            if calls == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().__call__(batch)

    return Mortal


@pytest.mark.usefixtures("cluster")
def test_a_killed_actor_in_a_pipeline_of_one_s_own_costs_no_row(
    photos: Path, expected: Path, tmp_path: Path
) -> None:
    fuse, out = tmp_path / "fuse", tmp_path / "run"
    fuse.mkdir()
    paths = [{"path": str(path)} for path in find_images([photos])]
    images = ray_data.from_items(paths, override_num_blocks=6).map_batches(
        fetch, batch_format="numpy"
    )
    images.map_batches(
        mortal(),
        fn_constructor_kwargs={
            "fuse": str(fuse), "out": str(out), "device": "cpu", "batch_size": BATCH,
            "settings": PRESETS["default"],
        },
        batch_size=BATCH,
        batch_format="numpy",
        num_cpus=1,
        compute=ray_data.ActorPoolStrategy(size=2),
    ).write_parquet(str(out / "rows"))  # fmt: skip
    pids = {path.name.split("-")[0] for path in fuse.iterdir()}
    assert len(pids) >= 2, "the dead one, and who did its work"
    assert_same(out, expected)


@pytest.mark.usefixtures("cluster")
def test_the_command_goes_on_where_it_stopped(photos: Path, expected: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    options = [
        "--engine", "ray", "--actors", "1", "--out", str(out), "--device", "cpu",
        "--batch-size", str(BATCH),
    ]  # fmt: skip
    some = [str(path) for path in sorted(photos.iterdir())[:7]]
    result = CliRunner().invoke(app, ["inspect", *some, *options])
    assert result.exit_code == 1, result.output
    assert "7 images" in result.output
    first = {path: path.stat().st_mtime_ns for path in (out / "maps").iterdir()}
    # What a kill in the middle of a write leaves.
    (out / "rows/torn.parquet").write_bytes(b"PAR1 and no end")
    result = CliRunner().invoke(app, ["inspect", str(photos), *options])
    assert result.exit_code == 1, result.output
    assert "21 images" in result.output
    assert "1 failed" in result.output
    assert all(path.stat().st_mtime_ns == made for path, made in first.items())
    assert not (out / "rows/torn.parquet").exists()
    assert_same(out, expected)
    assert "html" in write_report(out).name
    about, other = (json.loads((run / "run.json").read_text()) for run in (out, expected))
    assert about["model"] == other["model"]
    assert about["settings"] == other["settings"]
    with (photos / "new.png").open("wb") as new:
        new.write((photos / "00.png").read_bytes())
    refused = CliRunner().invoke(app, ["inspect", str(photos), *options, "--preset", "paper"])
    (photos / "new.png").unlink()
    assert refused.exit_code == 2, refused.output
    assert "other settings" in refused.output


@pytest.mark.usefixtures("cluster")
def test_the_benchmark_measures_memory_and_pace(tmp_path: Path) -> None:
    from soak import make_photos, soak_on_ray

    photos = make_photos(tmp_path / "photos", 8)
    found = soak_on_ray(photos, tmp_path / "run", BATCH, image_tokens=225, actors=1)
    assert found["failed"] < 4  # the bundled model has no answer for some
    assert found["images_per_second"] > 0
    assert found["bytes_per_image"]["maps"] > 100
    assert all(mib > 100 for mib in found["mib"])
