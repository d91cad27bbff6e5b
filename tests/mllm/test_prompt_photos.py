"""Photos of good parts in the prompt: what depends on them, and what they leave as it was."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from flawsight.calibration import Calibration, calibrate
from flawsight.cli import app
from flawsight.errors import CalibrationError, ImageError, RunFolderError
from flawsight.inspection import Trace
from flawsight.inspector import Inspector
from flawsight.mllm.batch_size import image_bytes
from flawsight.mllm.load import MLLM
from flawsight.mllm.prompt_photos import hash_prompt_photos, read_prompt_photos
from flawsight.mllm.replay import replay
from flawsight.mllm.vision import look
from flawsight.refine.patch_evidence import evidence_reader
from flawsight.runs.batch import inspect_into
from flawsight.runs.describe import describe
from flawsight.runs.folder import RunFolder
from flawsight.runs.normal_scores import read_normal_scores
from flawsight.runs.read import read_rows
from flawsight.runs.trace_store import TraceFolder
from flawsight.settings import PRESETS
from helpers.checkpoints import photo
from helpers.generating import generate
from helpers.training import make_photos

SETTINGS = replace(PRESETS["paper"], image_grid=None, image_tokens=12, max_new_tokens=8)
GOOD = [photo(90, 60, 8), photo(64, 80, 9)]


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{index}.png" for index in range(3)]
    for index, path in enumerate(paths):
        photo(60 + 20 * index, 80, index).save(path)
    return paths


def test_the_hash_is_of_pixels_and_order(tmp_path: Path) -> None:
    path = tmp_path / "good.png"
    GOOD[0].save(path)
    known = hash_prompt_photos(GOOD)
    for same in (path, str(path), np.array(GOOD[0]), GOOD[0]):
        assert hash_prompt_photos(read_prompt_photos([same, GOOD[1]])) == known
    changed = np.array(GOOD[0])
    changed[3, 4, 0] ^= 1
    turned = np.array(GOOD[0]).reshape(60, 90, 3)
    others = [GOOD[::-1], GOOD[:1], [Image.fromarray(changed), GOOD[1]]]
    others.append([Image.fromarray(turned), GOOD[1]])
    assert len({known, *map(hash_prompt_photos, others)}) == 5
    assert hash_prompt_photos([]) is None


def test_all_that_is_kept_of_an_inspection_names_its_photos(
    tiny_mllm: MLLM, tmp_path: Path
) -> None:
    plain = Inspector(tiny_mllm, SETTINGS)
    shown = [Inspector(tiny_mllm, SETTINGS, prompt_photos=good) for good in (GOOD, GOOD[:1])]
    hashes = [inspector.prompt_photos_sha256 for inspector in shown]
    assert [describe(inspector)["prompt_photos_sha256"] for inspector in shown] == hashes
    assert describe(shown[0]) == describe(plain) | {"prompt_photos_sha256": hashes[0]}

    def folder(*sha256: str | None) -> Path:
        return TraceFolder(tmp_path, tiny_mllm, SETTINGS, None, None, *sha256).folder

    assert folder(None) == folder()
    assert len({folder(), folder(hashes[0]), folder(hashes[1])}) == 3


def test_an_inspector_generates_beside_its_photos_and_crops_are_alone(tiny_mllm: MLLM) -> None:
    settings = replace(SETTINGS, crops=2, feature_distance=True)
    image = photo(252, 140, 4)
    inspector = Inspector(tiny_mllm, settings, prompt_photos=GOOD)
    [trace] = inspector.trace(inspector.prepare([image])).traces
    assert isinstance(trace, Trace)
    [expected] = generate(tiny_mllm, [image], settings, evidence_reader(settings), GOOD)
    [alone] = generate(tiny_mllm, [image], settings, evidence_reader(settings))
    assert trace.text == expected.text
    assert torch.equal(trace.image_attention, expected.image_attention)
    assert not torch.equal(trace.image_attention[0], alone.image_attention[0])
    # The encoder sees each image by itself.
    found, wanted = trace.patches.feature_distance, alone.patches.feature_distance
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
    [looked] = look(tiny_mllm, inspector.prepare([image]).prompts, evidence_reader(settings))
    torch.testing.assert_close(looked.patches.feature_distance, wanted, rtol=0, atol=1e-4)
    for crop in trace.crops:
        left, top, width, height = crop.box
        cut = image.crop((left, top, left + width, top + height))
        tokens = round(settings.crop_token_share * 12)
        some = replace(settings, image_tokens=tokens)
        [again] = replay(tiny_mllm, [cut], [trace.text], some)
        assert crop.score == pytest.approx(again.answer_score, abs=1e-4)


def test_photos_need_memory(tiny_mllm: MLLM) -> None:
    one, two, three = (image_bytes(tiny_mllm, SETTINGS, photos) for photos in range(3))
    assert one == image_bytes(tiny_mllm, SETTINGS) < two < three


def test_a_run_is_resumed_with_the_same_photos_alone(
    tiny_mllm: MLLM, images: list[Path], tmp_path: Path
) -> None:
    def run(out: Path, count: int, good: list[Image.Image]) -> list[dict[str, object]]:
        inspector = Inspector(tiny_mllm, SETTINGS, batch_size=1, prompt_photos=good)
        folder = RunFolder(out, describe(inspector), images=images)
        inspect_into(folder, inspector, images[:count])
        return [row | {"seconds": 0} for row in read_rows(out)]

    fresh = run(tmp_path / "fresh", 3, GOOD)
    assert len(run(tmp_path / "resumed", 1, GOOD)) == 1
    for other in ([], GOOD[:1]):
        with pytest.raises(RunFolderError, match="prompt_photos_sha256"):
            run(tmp_path / "resumed", 3, other)
    assert run(tmp_path / "resumed", 3, GOOD) == fresh
    assert run(tmp_path / "plain", 3, []) != fresh


def test_a_calibration_holds_for_its_photos_alone(
    tiny_mllm: MLLM, images: list[Path], tmp_path: Path
) -> None:
    plain = Inspector(tiny_mllm, SETTINGS)
    shown = Inspector(tiny_mllm, SETTINGS, prompt_photos=GOOD)
    found = {}
    for name, inspector in (("plain", plain), ("shown", shown)):
        folder = RunFolder(tmp_path / name, describe(inspector), images=images)
        inspect_into(folder, inspector, images)
        scores = read_normal_scores(tmp_path / name)
        calibrate(scores, 0.5).save(tmp_path / f"{name}.json")
        found[name] = Calibration.load(tmp_path / f"{name}.json")
    assert found["shown"].prompt_photos_sha256 == shown.prompt_photos_sha256
    assert "prompt_photos_sha256" not in json.loads((tmp_path / "plain.json").read_text())
    assert asdict(found["plain"])["prompt_photos_sha256"] is None
    Inspector(tiny_mllm, SETTINGS, calibration=found["plain"])
    Inspector(tiny_mllm, SETTINGS, calibration=found["shown"], prompt_photos=GOOD)
    for calibration, good in (
        (found["plain"], GOOD),
        (found["shown"], []),
        (found["shown"], GOOD[::-1]),
    ):
        with pytest.raises(CalibrationError, match="of good parts in the prompt"):
            Inspector(tiny_mllm, SETTINGS, calibration=calibration, prompt_photos=good)


@pytest.mark.parametrize("verb", ["inspect", "calibrate", "bench"])
def test_a_photo_that_cannot_be_shown_stops_a_command_before_the_model_is_loaded(
    verb: str, tmp_path: Path
) -> None:
    photos = make_photos(tmp_path / "line", 2, 2)
    out = str(tmp_path / "out")
    more = {
        "inspect": ["--model", "no/such", "--out", out, str(photos)],
        "calibrate": [
            "--model", "no/such", "--out", out, "--false-alarm-rate", "0.5", str(photos / "good"),
        ],
        "bench": ["--out", out, "--data", str(photos)],
    }[verb]  # fmt: skip
    Image.new("RGB", (60, 60), (90, 90, 90)).save(tmp_path / "flat.png")
    for name, words in (("flat.png", "one flat colour"), ("none.png", "There is no file")):
        result = CliRunner().invoke(app, [verb, *more, "--prompt-photo", str(tmp_path / name)])
        assert result.exit_code == 2
        assert words in " ".join(result.output.split())
    if verb == "bench":
        given = ["--detector", "texture", "--prompt-photo", str(photos / "good" / "0.png")]
        result = CliRunner().invoke(app, [verb, *more, *given])
        assert result.exit_code == 2
        assert "of kind flawsight; there is none" in " ".join(result.output.split())


def test_a_damaged_photo_is_an_error_of_the_inspector(tiny_mllm: MLLM, tmp_path: Path) -> None:
    (tmp_path / "damaged.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"damaged\.png"):
        Inspector(tiny_mllm, SETTINGS, prompt_photos=[tmp_path / "damaged.png"])
    with pytest.raises(ImageError, match="a photo of the prompt shows one flat colour"):
        Inspector(tiny_mllm, SETTINGS, prompt_photos=[Image.new("RGB", (40, 40))])
