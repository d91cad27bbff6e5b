"""The attention prior: measured, kept, divided by, and only if it is on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flawsight.errors import CalibrationError, ModelError, SettingsError
from flawsight.inspection import Crop, Inspection, PatchEvidence
from flawsight.inspector import Inspector
from flawsight.localize import localize
from flawsight.mllm.load import DEFAULT_MODEL, MLLM, load_mllm
from flawsight.real.anomaly_map import HALF, density, upsample
from flawsight.real.token_selection import select_tokens
from flawsight.refine.attention_prior import (
    FILE,
    AttentionPrior,
    divide_by_prior,
    encode_prior,
    load_prior,
    measure_prior,
    sink_share,
)
from flawsight.runs.describe import describe
from flawsight.runs.read import read_description
from flawsight.settings import PRESETS, Settings
from helpers.bundled import FEW_OPTIONS, FEW_TOKENS
from helpers.checkpoints import photo
from helpers.command_line import flawsight
from helpers.traces import RESPONSE, make_trace

PAPER = PRESETS["paper"]


def some_prior(model_sha256: str = "a", layers: tuple[int, ...] | None = None) -> AttentionPrior:
    random = torch.Generator().manual_seed(1)
    return AttentionPrior(torch.rand(15, 15, generator=random) + 0.5, layers, 4, model_sha256)


def test_preset_paper_gives_the_paper_s_map_whatever_else_the_trace_holds(tiny_mllm: MLLM) -> None:
    trace = make_trace(RESPONSE)
    rows = torch.arange(2, 6)
    scores = select_tokens(
        trace.image_attention[rows], trace.question_attention[rows], trace.anomaly_tokens, PAPER
    )
    weights = scores.weights * scores.selected
    grid = (weights[:, None, None] * trace.image_attention[rows]).sum(0) / weights.sum()
    pixels = upsample(grid / grid.mean(), (30, 40))
    expected = pixels / (pixels + HALF)
    plain = localize(trace, (30, 40), PAPER)
    torch.testing.assert_close(torch.from_numpy(plain.anomaly_map), expected)
    crop = Crop((0, 0, 20, 20), torch.rand(3, 3), 0.9, PatchEvidence(torch.rand(6, 6)))
    seen = replace(trace, crops=(crop,), patches=PatchEvidence(torch.rand(6, 8)))
    assert np.array_equal(localize(seen, (30, 40), PAPER).anomaly_map, plain.anomaly_map)
    assert Inspector(tiny_mllm, PAPER, prior=some_prior(tiny_mllm.sha256)).prior is None
    steps = (PAPER.attention_prior, PAPER.crops, PAPER.score_crops)
    assert not any((*steps, PAPER.feature_distance, PAPER.guided_filter))


def test_a_sink_on_normal_images_is_no_peak_any_more() -> None:
    prior = torch.ones(15, 15)
    prior[0, 0] = 40.0
    attention = prior / prior.mean()
    attention[7, 7] *= 4
    attention /= attention.mean()
    relative = divide_by_prior(attention, prior)
    assert divmod(int(attention.argmax()), 15) == (0, 0)
    assert divmod(int(relative.argmax()), 15) == (7, 7)
    assert relative[7, 7] / relative[3, 3] == pytest.approx(4, rel=1e-4)
    assert sink_share(attention, prior) == pytest.approx(float(attention[0, 0] / attention.sum()))
    assert sink_share(attention, torch.ones(15, 15)) == 0
    assert divide_by_prior(attention, None) is attention


@given(st.tuples(st.integers(1, 30), st.integers(1, 30)), st.integers(0, 5))
def test_attention_like_the_prior_s_is_flat_on_any_grid(grid: tuple[int, int], seed: int) -> None:
    prior = torch.rand(15, 15, generator=torch.Generator().manual_seed(seed)) + 0.1
    resized = torch.nn.functional.interpolate(
        prior[None, None], grid, mode="bilinear", align_corners=False
    )[0, 0]
    torch.testing.assert_close(divide_by_prior(3 * resized, prior), torch.ones(grid))


def test_the_prior_is_the_mean_density() -> None:
    one, other = torch.zeros(15, 15), torch.ones(30, 30)
    one[0, 0] = 5.0
    prior = measure_prior([one, other], None, "a")
    assert prior.images == 2
    assert prior.density[0, 0] == pytest.approx((225 + 1) / 2)
    assert prior.density[9, 9] == pytest.approx(0.5)
    with pytest.raises(CalibrationError, match="No image"):
        measure_prior([], None, "a")


def test_a_prior_comes_back_and_belongs_to_its_model(tmp_path: Path) -> None:
    for layers in (None, (1, 2)):
        prior = some_prior(layers=layers)
        (tmp_path / FILE).write_bytes(encode_prior(prior))
        back = load_prior(tmp_path, "a")
        assert back is not None
        assert (back.layers, back.images, back.sha256) == (layers, 4, prior.sha256)
        assert torch.equal(back.density, prior.density)
    with pytest.raises(ModelError, match="another model"):
        load_prior(tmp_path, "b")
    (tmp_path / FILE).write_bytes(b"broken")
    with pytest.raises(ModelError, match="flawsight prior"):
        load_prior(tmp_path, "a")
    assert load_prior(tmp_path / "elsewhere", "a") is None


def test_a_prior_of_other_layers_is_refused(tiny_mllm: MLLM) -> None:
    settings = Settings(attention_prior=True, layers=(1,))
    with pytest.raises(SettingsError, match="flawsight prior"):
        Inspector(tiny_mllm, settings, prior=some_prior(tiny_mllm.sha256))
    same = some_prior(tiny_mllm.sha256, layers=(1,))
    assert Inspector(tiny_mllm, settings, prior=same).prior is same


def test_the_prior_is_recorded_if_and_only_if_it_is_used(tiny_mllm: MLLM) -> None:
    prior = some_prior(tiny_mllm.sha256)
    on = Settings(attention_prior=True)
    assert describe(Inspector(tiny_mllm, on, prior=prior))["prior_sha256"] == prior.sha256
    assert describe(Inspector(tiny_mllm, on))["prior_sha256"] is None
    assert describe(Inspector(tiny_mllm, Settings(), prior=prior))["prior_sha256"] is None


def test_only_maps_with_a_prior_know_sinks() -> None:
    trace = make_trace(RESPONSE)
    plain = localize(trace, (30, 40), PAPER)
    divided = localize(trace, (30, 40), PAPER, prior=some_prior().density)
    assert plain.sink_share is None
    assert divided.sink_share is not None
    assert not np.array_equal(plain.anomaly_map, divided.anomaly_map)


def test_prior_measures_a_model_on_photos(tmp_path: Path) -> None:
    mllm = load_mllm(DEFAULT_MODEL)
    photos = [photo(90, 60), photo(60, 120, seed=1)]
    for index, one in enumerate(photos):
        one.save(tmp_path / f"{index}.png")
    code, output = flawsight(
        "prior", tmp_path, "--device", "cpu", "--out", tmp_path / "made" / FILE, *FEW_OPTIONS
    )
    assert code == 0, output
    prior = load_prior(tmp_path / "made", mllm.sha256)
    assert prior is not None
    # Preset default sees images at their aspect.
    found = Inspector(mllm, Settings(image_tokens=FEW_TOKENS)).inspect_batch(photos)
    maps = [
        torch.from_numpy(one.token_maps).mean(0)
        for one in found
        if isinstance(one, Inspection) and len(one.token_maps)
    ]
    assert prior.images == len(maps) > 0
    torch.testing.assert_close(prior.density, measure_prior(maps, None, "").density)
    assert density(prior.density).mean() == pytest.approx(1)


def test_a_file_of_version_0_1_is_the_mean_of_its_heads(tmp_path: Path) -> None:
    good = np.random.default_rng(0).random((2, 3, 15, 15), np.float32) + 0.5
    np.savez(tmp_path / "looks.npz", good=good, images=np.array((7, 5)), sha256=np.array("a"))
    prior = load_prior(tmp_path, "a")
    assert prior is not None
    assert (prior.layers, prior.images) == (None, 7)
    np.testing.assert_allclose(prior.density.numpy(), good.mean((0, 1)), rtol=1e-5)
    newer = some_prior()
    (tmp_path / FILE).write_bytes(encode_prior(newer))
    again = load_prior(tmp_path, "a")
    assert again is not None
    assert again.sha256 == newer.sha256


@pytest.mark.parametrize("density", [np.zeros((15, 15)), -np.ones((15, 15)), np.ones((3, 3))])
def test_a_prior_that_makes_no_sense_is_refused(tmp_path: Path, density: np.ndarray) -> None:
    np.savez(tmp_path / FILE, density=density, layers=np.array((), int), images=3, model_sha256="a")
    with pytest.raises(ModelError, match="density"):
        load_prior(tmp_path, "a")
    (tmp_path / FILE).write_bytes(b"")
    with pytest.raises(ModelError, match="cannot be used"):
        load_prior(tmp_path, "a")


def test_prior_never_replaces_the_bundled_one(tmp_path: Path) -> None:
    photo(90, 60).save(tmp_path / "0.png")
    code, output = flawsight("prior", tmp_path)
    assert code == 2
    assert "--out" in output


def test_inspect_takes_another_prior(tmp_path: Path) -> None:
    photo(90, 60).save(tmp_path / "0.png")
    mine = AttentionPrior(some_prior().density, None, 3, load_mllm(DEFAULT_MODEL).sha256)
    (tmp_path / "mine.npz").write_bytes(encode_prior(mine))
    options = ("--device", "cpu", "--out", tmp_path / "run", *FEW_OPTIONS)
    code, output = flawsight(
        "inspect", tmp_path / "0.png", "--prior", tmp_path / "mine.npz", *options
    )
    assert code == 0, output
    assert read_description(tmp_path / "run")["prior_sha256"] == mine.sha256
    code, output = flawsight(
        "inspect", tmp_path / "0.png", "--prior", tmp_path / "none.npz", *options
    )
    assert code == 2
    assert "none.npz" in output
    code, output = flawsight(
        "inspect", tmp_path / "0.png", "--preset", "paper", "--prior", tmp_path / "mine.npz"
    )
    assert code == 2
    assert "attention_prior is off" in output
