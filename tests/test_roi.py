"""A region of interest in inspections: as inspecting the photo that was cut by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from flawsight.calibration import NormalScores, calibrate
from flawsight.errors import CalibrationError, ImageError, LearnError
from flawsight.inspection import Inspection
from flawsight.inspector import Inspector
from flawsight.io.photo_roi import read_roi
from flawsight.localize import judged
from flawsight.reference.memory import Reference
from flawsight.runs.batch import inspect_into
from flawsight.runs.describe import describe
from flawsight.runs.folder import RunFolder
from flawsight.runs.read import read_rows
from flawsight.settings import Settings
from helpers.bundled import FEW
from helpers.command_line import flawsight
from helpers.good_parts import part, write_parts

BOX = (40, 20, 96, 80)
SETTINGS = replace(FEW, max_new_tokens=16, crops=1, regions_of_good=True)
QUICK = replace(SETTINGS, explain="never", image_tokens=64)


def by_hand(image: Image.Image) -> Image.Image:
    left, top, width, height = BOX
    return image.crop((left, top, left + width, top + height))


def with_roi(inspector: Inspector, roi: str, settings: Settings, **more) -> Inspector:
    return Inspector(inspector.mllm, replace(settings, roi=roi), prior=inspector.prior, **more)


@pytest.fixture(scope="module")
def plain() -> Inspector:
    return Inspector.from_pretrained(device="cpu", settings=SETTINGS)


@pytest.fixture(scope="module")
def boxed(plain: Inspector) -> Inspector:
    return with_roi(plain, ",".join(map(str, BOX)), SETTINGS)


@pytest.fixture(scope="module")
def mask(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mask") / "mask.png"
    image = Image.new("L", (160, 120))
    ImageDraw.Draw(image).ellipse((50, 20, 130, 100), fill=255)
    image.save(path)
    return path


def same_in_the_box(found: Inspection, cut: Inspection, size: tuple[int, int]) -> None:
    left, top, width, height = BOX
    assert found.image_size == size
    assert (found.pred_label, found.pred_score) == (cut.pred_label, cut.pred_score)
    assert found.explanation == cut.explanation
    inside = np.s_[top : top + height, left : left + width]
    assert np.array_equal(found.anomaly_map[inside], cut.anomaly_map)
    outside = found.anomaly_map.copy()
    outside[inside] = 0
    assert not outside.any()
    assert len(found.regions) == len(cut.regions)
    for one, other in zip(found.regions, cut.regions, strict=True):
        x, y, *extent = other.box
        assert one.box == (x + left, y + top, *extent)
        assert np.array_equal(one.mask[inside], other.mask)
        assert (one.area, one.area, one.phrases) == (other.area, one.mask.sum(), other.phrases)


def test_a_box_is_the_photo_that_was_cut_by_hand(plain: Inspector, boxed: Inspector) -> None:
    images = [part(1, spot=True), part(2)]
    found, cut = boxed(images), plain([by_hand(image) for image in images])
    for one, other in zip(found, cut, strict=True):
        same_in_the_box(one, other, (120, 160))
    assert any(one.regions for one in found)


def test_a_reference_is_of_what_was_cut(plain: Inspector, boxed: Inspector) -> None:
    photos = [part(seed) for seed in range(4)]
    settings = replace(QUICK, explain="always")
    ours = with_roi(plain, boxed.settings.roi or "", settings).learn(photos)
    cut = Inspector(plain.mllm, settings, prior=plain.prior).learn(map_list(photos))
    assert ours.reference is not None
    assert cut.reference is not None
    assert ours.reference.sha256 == cut.reference.sha256
    never = with_roi(plain, boxed.settings.roi or "", QUICK, reference=ours.reference)
    other = Inspector(plain.mllm, QUICK, prior=plain.prior, reference=cut.reference)
    spot = part(9, spot=True)
    same_in_the_box(never(spot), other(by_hand(spot)), (120, 160))
    with pytest.raises(LearnError, match="40,20,96,80, not whole photos"):
        Inspector(plain.mllm, QUICK, prior=plain.prior, reference=ours.reference)


def map_list(photos: list[Image.Image]) -> list[Image.Image]:
    return [by_hand(photo) for photo in photos]


def test_outside_of_a_mask_nothing_counts(plain: Inspector, mask: Path, tmp_path: Path) -> None:
    roi = read_roi(mask)
    white = np.asarray(Image.open(mask)) > 0
    settings = replace(QUICK, explain="always", roi=roi)
    taught = Inspector(plain.mllm, settings, prior=plain.prior).learn(
        [part(seed) for seed in range(4)]
    )
    reference = taught.reference
    assert reference is not None
    assert all(photo.distances.isnan().any() for photo in reference.photos)
    # The memory holds no patch whose centre lies far outside of the disc.
    rows, columns = reference.photos[0].distances.shape
    places = (reference.places[:, 1:] + 0.5) / (rows, columns) - 0.5
    assert np.hypot(*places.T).max() < 0.5 + 1 / min(rows, columns)
    reference.save(tmp_path / "a.reference")
    again = Reference.load(tmp_path / "a.reference")
    assert (again.sha256, again.scores) == (reference.sha256, reference.scores)
    never = Inspector(plain.mllm, replace(QUICK, roi=roi), prior=plain.prior, reference=again)
    noise = np.array(part(9, spot=True))
    noise[~white] = np.random.default_rng(0).integers(0, 256, noise.shape)[~white]
    first, second = never([part(9, spot=True), Image.fromarray(noise)])
    assert first.pred_score == second.pred_score
    assert np.array_equal(first.anomaly_map, second.anomaly_map)
    assert not first.anomaly_map[~white].any()
    assert first.pred_label
    assert first.regions
    assert not any((region.mask & ~white).any() for region in first.regions)
    turned = judged(replace(first, pred_label=False, regions=()), True)
    assert turned.regions == first.regions


def test_a_photo_that_it_does_not_fit_is_its_own_error(boxed: Inspector, mask: Path) -> None:
    small, whole = boxed([part(1).resize((100, 75)), part(1)])
    assert isinstance(small, ImageError)
    assert isinstance(whole, Inspection)


def test_a_calibration_is_of_its_region(plain: Inspector, boxed: Inspector) -> None:
    about = describe(boxed)
    scores = NormalScores(
        format=2, model=about["model"], prior_sha256=about["prior_sha256"],
        reference_sha256=None, settings=about["settings"], by_category={"a": (0.1,) * 19},
        peaks={}, skipped=0, prompt_photos_sha256=None,
    )  # fmt: skip
    calibration = calibrate(scores, 0.1)
    assert with_roi(plain, boxed.settings.roi or "", SETTINGS, calibration=calibration)
    with pytest.raises(CalibrationError, match="40,20,96,80, not whole photos"):
        Inspector(plain.mllm, SETTINGS, prior=plain.prior, calibration=calibration)


def test_a_run_is_relabelled_in_its_region(boxed: Inspector, tmp_path: Path) -> None:
    paths = sorted(write_parts(tmp_path / "new", [1, 2], spot=True).iterdir())

    def run(folder: str, threshold: float) -> list[dict]:
        settings = replace(boxed.settings, regions_of_good=False)
        inspector = Inspector(boxed.mllm, settings, threshold=threshold, prior=boxed.prior)
        made = RunFolder(tmp_path / folder, describe(inspector), images=paths)
        inspect_into(made, inspector, paths)
        return [*read_rows(tmp_path / folder)]

    direct = run("direct", 0.0)
    assert all(row["regions"] for row in direct)
    assert direct[0]["roi"] == {"box": [*BOX], "image_size": [120, 160]}
    run("turned", 1.0)
    turned = run("turned", 0.0)
    assert [row["regions"] for row in turned] == [row["regions"] for row in direct]


def test_the_command_line_takes_a_box_and_a_file_of_options(tmp_path: Path) -> None:
    write_parts(tmp_path / "good", range(2))
    options = ("--device", "cpu", "--set", "image_tokens=36")
    (tmp_path / "line.yaml").write_text("roi: 25%,10%,60%,70%\n")
    code, output = flawsight(
        "learn", tmp_path / "good", "--config", tmp_path / "line.yaml",
        "--out", tmp_path / "a.reference", *options,
    )  # fmt: skip
    assert code == 0, output
    assert Reference.load(tmp_path / "a.reference").settings["roi"] == "25%,10%,60%,70%"
    code, output = flawsight(
        "inspect", tmp_path / "good", "--reference", tmp_path / "a.reference",
        "--out", tmp_path / "run", "--roi", "0,0,9,9", *options,
    )  # fmt: skip
    assert code == 2
    assert "25%,10%,60%,70%, not the region of interest 0,0,9,9" in " ".join(output.split())
