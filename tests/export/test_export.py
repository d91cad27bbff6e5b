"""Every export, opened by the program it is for where that is installed, against the run folder."""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from scipy.ndimage import binary_fill_holes, label

from flawsight.data.brush_rle import encode_rle
from flawsight.errors import ExportError, MissingExtraError
from flawsight.export.csv_table import COLUMNS
from flawsight.export.export_regions import MAP_THRESHOLD, regions_with_phrases
from flawsight.export.items import Item
from flawsight.export.pascal_voc import PALETTE
from flawsight.export.region_outline import outline_of
from flawsight.export.write_export import FORMATS, Exported, export
from flawsight.io.overlay import draw_overlay
from flawsight.real.regions import mask_of, regions_of
from flawsight.runs.folder import RunFolder
from flawsight.runs.parquet import rows_table
from flawsight.runs.read import Row, read_rows
from helpers.command_line import flawsight

SIZES = {"a/bad.png": (40, 60), "a/good one.jpg": (30, 20), "b/bad.jpg": (24, 24)}


def blobs(size: tuple[int, int], seed: int) -> np.ndarray[Any, Any]:
    """Return a map with some regions above the threshold, in values that half precision holds."""
    grid = np.random.default_rng(seed).random((6, 6), dtype=np.float32) ** 3
    big = Image.fromarray(grid).resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(big).astype(np.float16).astype(np.float32)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "the photos"
    for number, (name, (height, width)) in enumerate(SIZES.items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 255, (height, width, 3), np.uint8)
        exif = Image.Exif()
        if name == "b/bad.jpg":
            exif[0x0112] = 6
        Image.fromarray(pixels).save(path, exif=exif)
    return folder


@pytest.fixture
def run(photos: Path, tmp_path: Path) -> Path:
    """A run with three results and a failure."""
    folder = RunFolder(tmp_path / "run", {"model": {"name": "m"}})
    for number, (name, size) in enumerate(SIZES.items()):
        row = {
            "image": str(photos / name),
            "image_size": list(size),
            "pred_label": "bad" in name,
            "pred_score": 0.25 + number / 4,
            "answer": "Yes" if "bad" in name else "No",
            "explanation": 'A "dent", é <b>\nin the corner' if number == 0 else "",
            "contradiction": False,
            "seconds": 0.5,
        }
        folder.add_row(row, {"anomaly_map": blobs(size, number)})
    folder.add_error(str(photos / "broken.png"), ExportError("no image"))
    return folder.folder


def results(run: Path) -> Iterator[tuple[Row, np.ndarray[Any, Any]]]:
    """Yield the rows of a run with their maps."""
    for row in read_rows(run):
        if "error" not in row:
            with np.load(run / row["anomaly_map"]) as arrays:
                yield row, arrays["anomaly_map"].astype(np.float32)


def change(run: Path, *rows: Row) -> None:
    (run / "inspections.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


# --- Regions


@given(
    values=hnp.arrays(np.float32, (7, 9), elements=st.sampled_from([0.0, 0.25, 0.5, 1.0])),
    threshold=st.sampled_from([0.0, 0.25, 0.4]),
)
def test_regions_are_the_mask_in_parts_that_do_not_touch(
    values: np.ndarray[Any, Any], threshold: float
) -> None:
    regions = list(regions_of(values, threshold))
    total = sum((region.mask.astype(int) for region in regions), np.zeros(values.shape, int))
    np.testing.assert_array_equal(total, values > threshold)
    for region in regions:
        left, top, width, height = region.box
        rows, columns = np.nonzero(region.mask)
        assert (left, top) == (columns.min(), rows.min())
        assert (width, height) == (np.ptp(columns) + 1, np.ptp(rows) + 1)
        assert region.area == len(rows)
        assert region.score == values[region.mask].max()
        # grown by a pixel all around, it meets no other region
        padded = np.pad(region.mask, 1)
        grown = np.zeros_like(padded)
        for down in (-1, 0, 1):
            for right in (-1, 0, 1):
                grown |= np.roll(padded, (down, right), (0, 1))
        np.testing.assert_array_equal(grown[1:-1, 1:-1] & (total > 0), region.mask)


def test_a_mask_is_what_the_overlay_colours() -> None:
    values = np.linspace(0, 1, 500, dtype=np.float32)[None].repeat(2, axis=0)
    photo = Image.new("RGB", (500, 2), (120, 130, 140))
    coloured = (np.asarray(draw_overlay(photo, values)) != (120, 130, 140)).any(axis=-1)
    mask = mask_of(values, MAP_THRESHOLD)
    assert not coloured[~mask].any()
    # the faintest colour is rounded away
    assert np.count_nonzero(coloured != mask) <= 4


# --- Formats


def test_csv(run: Path, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    exported = export(run, "csv", tmp_path / "out.csv")
    assert (exported.images, [reason for _, reason in exported.left_out]) == (
        3,
        ["ExportError: no image"],
    )
    table = pandas.read_csv(exported.path)
    assert tuple(table.columns) == COLUMNS
    for found, row in zip(table.to_dict("records"), read_rows(run), strict=True):
        assert found["image"] == row["image"]
        if "error" in row:
            assert found["error"] == row["error"]
            continue
        assert found["pred_label"] is row["pred_label"]
        assert found["pred_score"] == row["pred_score"]
        assert (found["height"], found["width"]) == tuple(row["image_size"])
        assert row["explanation"] == ("" if pandas.isna(found["explanation"]) else
                                      found["explanation"])  # fmt: skip
        assert (run / found["anomaly_map"]).is_file()
        assert pandas.isna(found["disagreements"]) == (not row["disagreements"])
    change(run, read_rows(run)[0] | {"disagreements": ["verdict/answer", "verdict/reasoning"]})
    (found,) = pandas.read_csv(export(run, "csv", tmp_path / "one.csv").path).to_dict("records")
    assert found["disagreements"] == "verdict/answer, verdict/reasoning"
    change(run, read_rows(run)[0] | {"warnings": ["It is small.", "It is dark."]})
    (found,) = pandas.read_csv(export(run, "csv", tmp_path / "warned.csv").path).to_dict("records")
    assert found["warnings"] == "It is small. It is dark."


def test_coco(run: Path, tmp_path: Path) -> None:
    coco_module = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
    coco = coco_module.COCO(str(export(run, "coco", tmp_path / "out.json").path))
    assert coco.loadCats(coco.getCatIds()) == [{"id": 1, "name": "defect"}]
    found = {image["file_name"]: image for image in coco.loadImgs(coco.getImgIds())}
    assert set(found) == set(SIZES)
    annotated = 0
    for (row, anomaly_map), name in zip(results(run), SIZES, strict=True):
        image = found[name]
        assert (image["height"], image["width"]) == anomaly_map.shape
        assert [image[k] for k in ("pred_label", "pred_score", "explanation")] == [
            row[k] for k in ("pred_label", "pred_score", "explanation")
        ]
        mask = np.zeros(anomaly_map.shape, bool)
        for annotation in coco.loadAnns(coco.getAnnIds(imgIds=image["id"])):
            part = coco.annToMask(annotation).astype(bool)
            rows, columns = np.nonzero(part)
            assert annotation["area"] == len(rows)
            assert annotation["bbox"] == [
                columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1,
            ]  # fmt: skip
            assert annotation["score"] == anomaly_map[part].max()
            mask |= part
            annotated += 1
        marked = (anomaly_map > np.float32(MAP_THRESHOLD)) & row["pred_label"]
        np.testing.assert_array_equal(mask, marked)
    assert annotated
    # what evaluation reads: the annotations as results
    detections = coco.loadRes(coco.dataset["annotations"])
    assert len(detections.getAnnIds()) == annotated


def test_masks(run: Path, tmp_path: Path) -> None:
    out = export(run, "masks", tmp_path / "out", map_threshold=0.5).path
    for (_, anomaly_map), name in zip(results(run), SIZES, strict=True):
        with Image.open(out / f"{name}.png") as file:
            assert file.mode == "L"
            np.testing.assert_array_equal(np.asarray(file), 255 * (anomaly_map > 0.5))
    assert len(list(out.rglob("*.png"))) == 3


def test_label_studio(run: Path, photos: Path, tmp_path: Path) -> None:
    sdk = pytest.importorskip(
        "label_studio_sdk.label_interface", reason="label-studio-sdk is not installed"
    )
    from label_studio_sdk.converter.brush import decode_rle

    out = export(run, "labelstudio", tmp_path / "out").path
    interface = sdk.LabelInterface((out / "interface.xml").read_text())
    interface.validate()
    tasks = json.loads((out / "tasks.json").read_text())
    for (row, anomaly_map), name, task in zip(results(run), SIZES, tasks, strict=True):
        assert interface.validate_task({"data": task["data"]})
        (prediction,) = task["predictions"]
        assert interface.validate_prediction(prediction, return_errors=True) == []
        url = f"/data/local-files/?d=the%20photos/{name.replace(' ', '%20')}"
        assert task["data"] == {
            "image": url, "explanation": row["explanation"], "photo": str(photos / name),
        }  # fmt: skip
        assert prediction["score"] == row["pred_score"]
        verdict, *brushes = prediction["result"]
        assert verdict["value"] == {"choices": ["defective" if row["pred_label"] else "good"]}
        mask = np.zeros(anomaly_map.shape, bool)
        for brush in brushes:
            shape = brush["original_height"], brush["original_width"]
            pixels = decode_rle(brush["value"]["rle"]).reshape(*shape, 4)
            assert set(np.unique(pixels)) <= {0, 255}
            mask |= pixels[:, :, 3] > 0
        marked = (anomaly_map > np.float32(MAP_THRESHOLD)) & row["pred_label"]
        np.testing.assert_array_equal(mask, marked)


def decode_brush(rle: list[int]) -> list[int]:
    """Label Studio's RLE read bit by bit, after the description of thi.ng/rle-pack."""
    bits = iter("".join(f"{byte:08b}" for byte in rle))

    def read(count: int) -> int:
        return int("".join(next(bits) for _ in range(count)), 2)

    total, word = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < total:
        repeated = read(1)
        count = read(sizes[read(2)]) + 1
        values += [read(word)] * count if repeated else [read(word) for _ in range(count)]
    return values


@settings(max_examples=60)
@given(mask=hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)))
def test_label_studios_code_keeps_a_mask(mask: np.ndarray[Any, Any]) -> None:
    assert decode_brush(encode_rle(mask)) == np.repeat(mask.ravel() * 255, 4).tolist()


def test_label_studios_code_keeps_long_runs() -> None:
    mask = np.zeros((300, 400), bool)
    mask[150:] = True
    assert decode_brush(encode_rle(mask)) == np.repeat(mask.ravel() * 255, 4).tolist()


def test_fiftyone(run: Path, photos: Path, tmp_path: Path) -> None:
    """Its own importer reads the folder; no MongoDB, which a whole dataset needs, is started."""
    fo = pytest.importorskip("fiftyone", reason="fiftyone is not installed")
    importers = pytest.importorskip("fiftyone.utils.data")
    out = export(run, "fiftyone", tmp_path / "out").path
    # What FiftyOneDataset's importer hands a folder without a database version to.
    importer = importers.LegacyFiftyOneDatasetImporter(str(out))
    with importer:
        samples = list(importer)
        assert importer.get_dataset_info()["mask_targets"] == {"mask": {"255": "defect"}}
    for (row, anomaly_map), name, sample in zip(results(run), SIZES, samples, strict=True):
        assert Path(sample.filepath) == photos / name
        assert isinstance(sample.prediction, fo.Classification)
        assert sample.prediction.label == ("defective" if row["pred_label"] else "good")
        assert sample.pred_score == row["pred_score"]
        assert sample.explanation == row["explanation"]
        np.testing.assert_array_equal(
            sample.mask.get_mask(), 255 * (anomaly_map > np.float32(MAP_THRESHOLD))
        )
        np.testing.assert_allclose(sample.heatmap.get_map() / 255, anomaly_map, atol=1 / 509)


def test_anomalib(run: Path, tmp_path: Path) -> None:
    data = pytest.importorskip("anomalib.data", reason="anomalib is not installed")
    out = export(run, "anomalib", tmp_path / "out").path
    folder = data.Folder(
        "ours", "normal", root=out, abnormal_dir="abnormal", mask_dir="masks",
        test_split_mode="from_dir", val_split_mode="same_as_test", num_workers=0,
    )  # fmt: skip
    folder.setup()
    assert len(folder.train_data) == 1
    found = {
        tuple(i.image.shape[-2:]): np.asarray(i.gt_mask) for i in folder.test_data if i.gt_label
    }
    expected = {m.shape: m > np.float32(MAP_THRESHOLD) for r, m in results(run) if r["pred_label"]}
    assert set(found) == set(expected)
    for size, mask in expected.items():
        np.testing.assert_array_equal(found[size], mask)


def test_photos_for_anomalib_are_sorted_and_upright(
    run: Path, photos: Path, tmp_path: Path
) -> None:
    out = export(run, "anomalib", tmp_path / "out").path
    normal, abnormal, masks = (sorted((out / n).iterdir()) for n in ("normal", "abnormal", "masks"))
    assert normal[0].read_bytes() == (photos / "a/good one.jpg").read_bytes()
    assert [path.stem for path in abnormal] == [path.stem for path in masks]
    assert sorted(path.suffix for path in abnormal) == [".png", ".png"]
    turned = next(p for p in abnormal if p.read_bytes() != (photos / "a/bad.png").read_bytes())
    with Image.open(photos / "b/bad.jpg") as stored, Image.open(turned) as upright:
        np.testing.assert_array_equal(np.asarray(upright), np.rot90(np.asarray(stored), -1))


def filled(corners: list[tuple[float, float]], size: tuple[int, int]) -> np.ndarray[Any, Any]:
    """Return the pixels whose centre an outline along the edges of pixels goes around."""
    crossed = np.zeros(size, int)
    for (x, y), (other, end) in zip(corners, [*corners[1:], corners[0]], strict=True):
        assert (x == other) != (y == end)
        if x == other:
            crossed[round(min(y, end)) : round(max(y, end)), round(x) :] += 1
    return crossed % 2 == 1


@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)))
def test_an_outline_goes_around_a_region_and_its_holes(mask: np.ndarray[Any, Any]) -> None:
    labels, count = label(mask, np.ones((3, 3)))
    for number in range(1, count + 1):
        region = labels == number
        np.testing.assert_array_equal(
            filled(outline_of(region), region.shape), binary_fill_holes(region)
        )


def regions_in_export(run: Path) -> dict[tuple[int, ...], list[np.ndarray[Any, Any]]]:
    """Return the masks of each photo's regions, holes filled, by the photo's size."""
    found = {}
    for row, anomaly_map in results(run):
        mask = (anomaly_map > np.float32(MAP_THRESHOLD)) & row["pred_label"]
        labels, count = label(mask, np.ones((3, 3)))
        found[mask.shape] = [labels == number for number in range(1, count + 1)]
    return found


@pytest.mark.parametrize("to", ["yolo", "yolo-boxes"])
def test_yolo(to: str, run: Path, tmp_path: Path) -> None:
    out = export(run, to, tmp_path / "out").path
    about = yaml.safe_load((out / "data.yaml").read_text())
    assert about == {"train": "images", "val": "images", "names": {0: "defect"}}
    files = sorted((out / "images").iterdir())
    assert len(files) == 3
    expected = regions_in_export(run)
    for file in files:
        with Image.open(file) as image:
            assert image.getexif().get(0x0112, 1) == 1
            size = image.height, image.width
        lines = (out / "labels" / f"{file.stem}.txt").read_text().splitlines()
        for line, region in zip(lines, expected.pop(size), strict=True):
            kind, *shares = line.split()
            assert kind == "0"
            pairs = np.array(shares, float).reshape(-1, 2) * size[::-1]
            rows, columns = np.nonzero(region)
            if to == "yolo":
                corners = [(x, y) for x, y in pairs.round(3).tolist()]
                np.testing.assert_array_equal(filled(corners, size), binary_fill_holes(region))
            else:
                low, high = pairs[0] - pairs[1] / 2, pairs[0] + pairs[1] / 2
                np.testing.assert_allclose(low, [columns.min(), rows.min()], atol=1e-3)
                np.testing.assert_allclose(high, [columns.max() + 1, rows.max() + 1], atol=1e-3)
    assert not expected


@pytest.mark.parametrize("to", ["yolo", "yolo-boxes"])
def test_ultralytics_reads_yolo(to: str, run: Path, tmp_path: Path) -> None:
    ultralytics = pytest.importorskip("ultralytics.data", reason="ultralytics is not installed")
    from ultralytics.data.utils import check_det_dataset

    out = export(run, to, tmp_path / "out").path
    about = check_det_dataset(str(out / "data.yaml"), autodownload=False)
    task = "segment" if to == "yolo" else "detect"
    data = ultralytics.YOLODataset(img_path=about["train"], data=about, task=task, augment=False)
    expected = {size: len(regions) for size, regions in regions_in_export(run).items()}
    assert {tuple(one["shape"]): len(one["cls"]) for one in data.labels} == expected


def test_pascal_voc(run: Path, tmp_path: Path) -> None:
    out = export(run, "voc", tmp_path / "out").path
    assert PALETTE[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]
    assert PALETTE[-3:] == [224, 224, 192]
    names = (out / "ImageSets/Main/trainval.txt").read_text().split()
    assert names == (out / "ImageSets/Segmentation/trainval.txt").read_text().split()
    assert len(names) == 3
    expected = regions_in_export(run)
    for name in names:
        root = ElementTree.parse(out / f"Annotations/{name}.xml").getroot()
        with Image.open(out / "JPEGImages" / root.findtext("filename", "")) as image:
            assert image.format == "JPEG"
            assert image.getexif().get(0x0112, 1) == 1
            size = image.height, image.width
        assert [root.findtext(f"size/{side}") for side in ("height", "width", "depth")] == [
            *map(str, size), "3",
        ]  # fmt: skip
        with Image.open(out / f"SegmentationObject/{name}.png") as image:
            assert (image.mode, image.getpalette()[:6]) == ("P", [0, 0, 0, 128, 0, 0])
            objects = np.asarray(image)
        with Image.open(out / f"SegmentationClass/{name}.png") as image:
            np.testing.assert_array_equal(np.asarray(image), objects > 0)
        found = root.findall("object")
        for number, (one, region) in enumerate(zip(found, expected.pop(size), strict=True), 1):
            np.testing.assert_array_equal(objects == number, region)
            rows, columns = np.nonzero(region)
            assert one.findtext("name") == "defect"
            assert [
                one.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")
            ] == [str(side + 1) for side in (columns.min(), rows.min(), columns.max(), rows.max())]
    assert not expected


def test_torchvision_reads_pascal_voc(run: Path, tmp_path: Path) -> None:
    data = pytest.importorskip("torchvision.datasets", reason="torchvision is not installed")
    export(run, "voc", tmp_path / "VOCdevkit/VOC2012")
    detection = data.VOCDetection(tmp_path, image_set="trainval")
    segmentation = data.VOCSegmentation(tmp_path, image_set="trainval")
    expected = regions_in_export(run)
    for (image, about), (_, mask) in zip(detection, segmentation, strict=True):
        regions = expected.pop(image.size[::-1])
        assert len(about["annotation"].get("object", [])) == len(regions)
        np.testing.assert_array_equal(
            np.asarray(mask), sum(regions, np.zeros(mask.size[::-1], int))
        )
    assert not expected


@given(hnp.arrays(np.float32, (12, 16), elements=st.sampled_from([0.0, 0.25, 0.5, 1.0])))
@settings(max_examples=30)
def test_regions_are_the_runs_own_unless_a_threshold_is_given(
    tmp_path_factory: pytest.TempPathFactory, anomaly_map: np.ndarray[Any, Any]
) -> None:
    folder = tmp_path_factory.mktemp("run")
    np.savez(folder / "map.npz", anomaly_map=anomaly_map)
    found = [replace(one, phrases="a dent") for one in regions_of(anomaly_map, 0.4) if one.area > 2]
    row = {"anomaly_map": "map.npz", "regions": [one.to_json() for one in found]}
    item = Item("", folder, "", None, True, 0.5, "", row, folder)
    assert list(regions_with_phrases(item, None)) == found
    of_mask = list(regions_with_phrases(item, 0.4))
    assert [one.counts for one in of_mask] == [o.counts for o in regions_of(anomaly_map, 0.4)]
    assert [one.phrases for one in of_mask] == ["a dent" if one.area > 2 else "" for one in of_mask]


@pytest.mark.parametrize("to", FORMATS)
def test_a_run_of_a_cluster_is_exported_like_any_other(
    to: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray leaves run.json and rows/*.parquet, and no inspections.jsonl."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    if to == "coco":
        pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    before = export(run, to, tmp_path / "before")
    rows = read_rows(run)
    (run / "inspections.jsonl").unlink()
    (run / "rows").mkdir()
    for number in range(2):
        parquet.write_table(rows_table(rows[2 * number :][:2]), run / f"rows/{number}.parquet")
    monkeypatch.setitem(sys.modules, "ray", None)
    after = export(run, to, tmp_path / "after")
    assert after.images == before.images == 3
    assert after.left_out == before.left_out
    assert contents(after.path) == contents(before.path)
    monkeypatch.setitem(sys.modules, "pyarrow.fs", None)
    with pytest.raises(MissingExtraError, match=r"pyarrow: pip install 'flawsight\[ray\]'"):
        export(run, to, tmp_path / "never")


def contents(path: Path) -> dict[Path, bytes]:
    """Return the files below a folder by their relative path, or a file by itself."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return {file.relative_to(path): file.read_bytes() for file in files}


# --- What goes wrong


@pytest.mark.parametrize("to", FORMATS)
def test_a_broken_row_is_left_out_and_named(to: str, run: Path, tmp_path: Path) -> None:
    rows = read_rows(run)
    (run / rows[0]["anomaly_map"]).write_bytes(b"PK\3\4 torn")
    weird = {"pred_label": "no", "image_size": 3, "anomaly_map": 5, "explanation": ["a"]}
    nan = {"pred_score": float("nan")}
    change(run, *rows, rows[1] | weird | {"image": "a"}, rows[1] | nan | {"image": "b"})
    with (run / "inspections.jsonl").open("a") as file:
        file.write('{"image"\n[1]\n{"image": ""}\n{"image": "torn')
    exported = export(run, to, tmp_path / "out")
    broken_map = to != "csv"
    assert exported.images == 3 - broken_map
    assert len(exported.left_out) == 7 + broken_map
    assert ("Cannot read the anomaly map" in str(exported.left_out)) == broken_map


@pytest.mark.parametrize("to", FORMATS)
def test_a_name_that_is_no_unicode_is_exported(to: str, run: Path, photos: Path) -> None:
    row = read_rows(run)[0]
    odd = photos / os.fsdecode(b"caf\xe9.png")
    shutil.copy(row["image"], odd)
    change(run, row | {"image": str(odd)})
    assert export(run, to).images == 1


@pytest.mark.parametrize("to", ["fiftyone", "anomalib", "yolo", "yolo-boxes", "voc"])
def test_moved_photos_are_found_by_their_new_folder(
    to: str, run: Path, photos: Path, tmp_path: Path
) -> None:
    shutil.move(photos, tmp_path / "moved")
    with pytest.raises(ExportError, match="--photos FOLDER"):
        export(run, to, tmp_path / "out")
    assert not list(tmp_path.glob("*out*"))
    assert export(run, to, tmp_path / "out", photos=tmp_path / "moved").images == 3


@pytest.mark.parametrize("to", ["coco", "masks", "anomalib", "yolo", "voc"])
def test_a_run_without_maps_says_which_formats_there_are(to: str, run: Path) -> None:
    change(run, *({k: v for k, v in row.items() if k != "anomaly_map"} for row in read_rows(run)))
    if to == "anomalib":
        assert export(run, to).images == 1  # the good one needs no mask
    else:
        with pytest.raises(ExportError, match="no anomaly map of it; --to csv"):
            export(run, to)


@pytest.mark.parametrize("to", ["csv", "labelstudio", "fiftyone"])
def test_scores_alone_are_exported(to: str, run: Path) -> None:
    """A bench's detector may give neither verdict, nor words, nor map."""
    change(run, *({"image": row["image"], "pred_score": -3.5, "pred_label": None,
                   "explanation": None} for row in read_rows(run)[:3]))  # fmt: skip
    assert export(run, to).images == 3


def test_a_missing_package_is_named_with_its_extra(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(MissingExtraError, match=r"pycocotools: pip install 'flawsight\[export\]'"):
        export(run, "coco")
    assert not list((run / "export").iterdir())


def test_no_run_and_an_empty_one_are_told_apart(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="give the --out of inspect"):
        export(tmp_path / "nowhere", "csv")
    shutil.copytree(run, tmp_path / "bench/set/texture")
    with pytest.raises(ExportError, match=r"like .*bench/set/texture"):
        export(tmp_path / "bench", "csv")
    change(run)
    with pytest.raises(ExportError, match="holds no image yet"):
        export(run, "csv")


def test_a_file_is_replaced_but_a_folder_never(run: Path, tmp_path: Path) -> None:
    first: Exported = export(run, "csv")
    before = first.path.read_bytes()
    first.path.write_text("old")
    assert export(run, "csv").path.read_bytes() == before
    out = export(run, "masks").path
    with pytest.raises(ExportError, match="remove it, or choose another"):
        export(run, "masks")
    assert len(list(out.rglob("*.png"))) == 3
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match="Cannot write"):
        export(run, "csv", tmp_path / "file/out.csv")


def test_the_command_tells_what_it_left_out(run: Path, tmp_path: Path) -> None:
    code, output = flawsight("export", run, "--to", "masks", "--out", tmp_path / "out")
    assert code == 1
    assert f"3 images: {tmp_path / 'out'}" in output
    assert "left out" in output
    assert "broken.png" in output
    change(run, *read_rows(run)[:3])
    code, output = flawsight("export", run, "--to", "csv")
    assert code == 0
    assert f"3 images: {run}/export/inspections.csv" in output
    code, output = flawsight("export", run, "--to", "tiff")
    assert code == 2
    assert "csv, coco" in output
