"""Learning from photos, and inspecting with what was learned, on the bundled model."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from flawsight.errors import LearnError, SettingsError
from flawsight.inspector import Inspector
from flawsight.mllm.encode import encode_prompts
from flawsight.mllm.load import MLLM
from flawsight.mllm.vision import read_images
from flawsight.reference.compare import image_distance, on_scale
from flawsight.reference.learn import learn, vector_reader
from flawsight.runs.batch import inspect_into
from flawsight.runs.describe import describe
from flawsight.runs.folder import RunFolder
from flawsight.runs.trace_store import TraceFolder
from flawsight.settings import PRESETS, Settings
from helpers.checkpoints import photo
from helpers.good_parts import part

SETTINGS = replace(PRESETS["default"], image_tokens=64, max_new_tokens=24)


@pytest.fixture(scope="module")
def taught() -> Inspector:
    inspector = Inspector.from_pretrained(device="cpu", settings=SETTINGS)
    return inspector.learn([part(seed) for seed in range(6)])


def test_a_defect_is_found_where_it_is(taught: Inspector) -> None:
    found = taught([part(20), part(21, spot=True), part(22)])
    assert [one.pred_label for one in found] == [False, True, False]
    defective = found[1]
    assert defective.pred_score == defective.evidence["reference"]
    row, column = np.unravel_index(defective.anomaly_map.argmax(), defective.anomaly_map.shape)
    assert 50 <= row < 90
    assert 90 <= column < 130
    assert any(
        x <= 110 <= x + w and y <= 70 <= y + h for x, y, w, h in (r.box for r in defective.regions)
    )


def test_words_are_asked_for_where_they_are_wanted(taught: Inspector) -> None:
    images = [part(20), part(21, spot=True), part(22)]
    assert taught.reference is not None

    def inspected(explain: Any) -> list[Any]:
        settings = replace(SETTINGS, explain=explain)
        inspector = Inspector(taught.mllm, settings, prior=taught.prior, reference=taught.reference)
        return inspector(images)

    always, defective, never = map(inspected, ("always", "defective", "never"))
    assert [one.answer is None for one in defective] == [True, False, True]
    assert all(one.answer is None and one.explanation == "" for one in never)
    for whole, some, none in zip(always, defective, never, strict=True):
        for other in (some, none):
            assert other.pred_label == whole.pred_label
            assert other.pred_score == pytest.approx(whole.pred_score, abs=1e-6)
    assert defective[1].explanation == always[1].explanation
    np.testing.assert_allclose(defective[1].anomaly_map, always[1].anomaly_map, atol=1e-4)
    assert never[1].regions
    assert never[1].anomaly_map.argmax() == pytest.approx(always[1].anomaly_map.argmax(), abs=8000)


def test_a_suspect_photo_is_read_whole_in_a_run(taught: Inspector, tmp_path: Path) -> None:
    """It is encoded a second time, so a run must not have made it smaller before."""
    plain = replace(SETTINGS, explain="defective", crops=0, guided_filter=False)
    photo = tmp_path / "large.png"
    part(21, spot=True).resize((1600, 1200), Image.Resampling.NEAREST).save(photo)
    inspector = Inspector(taught.mllm, plain, prior=taught.prior, reference=taught.reference)
    rows: list[dict[str, Any]] = []
    inspect_into(RunFolder(tmp_path / "run", {}), inspector, [photo], rows.append)
    assert rows[0]["answer"] is not None
    assert rows[0]["evidence"]["words"] == round(inspector(photo).evidence["words"], 6)


def test_words_can_be_left_out_only_with_a_reference(taught: Inspector) -> None:
    with pytest.raises(SettingsError, match="needs a reference"):
        Inspector(taught.mllm, replace(SETTINGS, explain="never"))


def test_a_reference_is_of_its_model_and_settings(taught: Inspector, tiny_mllm: MLLM) -> None:
    with pytest.raises(LearnError, match="another model"):
        Inspector(tiny_mllm, SETTINGS, reference=taught.reference)
    with pytest.raises(LearnError, match="image_tokens 64"):
        Inspector(taught.mllm, PRESETS["default"], reference=taught.reference)


def test_runs_and_traces_know_the_reference(taught: Inspector, tmp_path: Path) -> None:
    reference = taught.reference
    assert reference is not None
    assert describe(taught)["reference_sha256"] == reference.sha256
    assert describe(taught)["threshold"] == reference.threshold() == max(reference.scores)
    folders = {
        TraceFolder(tmp_path, taught.mllm, SETTINGS, taught.prior, known).folder
        for known in (None, reference, replace(reference, vectors=reference.vectors + 1))
    }
    assert len(folders) == 3


def test_its_pictures_can_be_learned_again(taught: Inspector) -> None:
    reference = taught.reference
    assert reference is not None
    again = learn(taught.mllm, [], SETTINGS, reference)
    assert again.sha256 == reference.sha256
    assert [one.picture for one in again.photos] == [one.picture for one in reference.photos]


def test_photos_are_added_and_forgotten_as_if_never_seen(taught: Inspector) -> None:
    reference = taught.reference
    assert reference is not None
    more = learn(taught.mllm, [("odd", part(30, spot=True))], SETTINGS, reference)
    assert len(more.photos) == 7
    assert int(np.argmax(more.scores)) == 6
    assert learn(taught.mllm, [], SETTINGS, more, ["odd"]).sha256 == reference.sha256
    with pytest.raises(LearnError, match="no photo 'ood' to forget"):
        learn(taught.mllm, [], SETTINGS, more, ["ood"])
    with pytest.raises(LearnError, match="Two of the photos are called odd"):
        learn(taught.mllm, [("odd", part(31))], SETTINGS, more)


def test_another_model_learns_the_same_photos(taught: Inspector, tiny_mllm: MLLM) -> None:
    settings = Settings(image_tokens=30, max_new_tokens=4)
    again = learn(tiny_mllm, [], settings, taught.reference)
    again.check(tiny_mllm.sha256, settings.to_json())
    assert [one.name for one in again.photos] == [f"photo {index}" for index in range(1, 7)]


def test_photos_that_teach_nothing_are_refused(taught: Inspector) -> None:
    with pytest.raises(LearnError, match="no good photos"):
        taught.learn([])
    with pytest.raises(LearnError, match="same pixels as photo 1"):
        taught.learn([part(0), part(1), part(0)])
    with pytest.raises(LearnError, match="4 × 4 is the least"):
        Inspector(taught.mllm, replace(SETTINGS, image_grid=(1, 1))).learn([part(0)])


@pytest.mark.parametrize("tokens", [None, 30])
def test_features_are_those_of_an_inspection(tiny_mllm: MLLM, tokens: int | None) -> None:
    """The encoder alone, on the photo at its size, sees what a whole inspection sees."""
    settings = Settings(image_tokens=tokens, max_new_tokens=4)
    reference = learn(tiny_mllm, [("a", photo(252, 140)), ("b", photo(140, 196, 1))], settings)
    new = photo(196, 168, seed=2)
    inspector = Inspector(tiny_mllm, settings, reference=reference)
    reader = vector_reader(reference.blocks)
    (vectors,) = read_images(tiny_mllm, encode_prompts(tiny_mllm, [new], settings), reader)
    expected = on_scale(image_distance(reference.compare(vectors)[0]))
    outcome = inspector.inspect_batch([new])[0]
    assert getattr(outcome, "pred_score", expected) == pytest.approx(expected, rel=1e-4)
    sized = tiny_mllm.family.at_its_size(tiny_mllm.processor, new, settings)
    exact = tiny_mllm.family.unscaled(tiny_mllm.processor, sized, settings)
    pixels = [
        encode_prompts(tiny_mllm, [image], values).inputs["pixel_values"]
        for image, values in ((new, settings), (sized, exact))
    ]
    assert torch.equal(*pixels)


def test_the_most_typical_photos_go_into_the_prompt(taught: Inspector) -> None:
    reference = taught.reference
    assert reference is not None
    ranked = sorted(zip(reference.scores, reference.photos, strict=True), key=lambda one: one[0])
    for image, (_, best) in zip(reference.typical(2), ranked, strict=False):
        assert image.tobytes() == Image.open(io.BytesIO(best.picture)).tobytes()
    with pytest.raises(LearnError, match="6 photos, fewer than the 7"):
        reference.typical(7)
