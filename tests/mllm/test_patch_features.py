"""Patch features, against features read another way."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from flawsight.cgro.encoded_images import encode_image
from flawsight.inspection import Crop, Trace
from flawsight.mllm.load import MLLM, load_mllm
from flawsight.mllm.patch_features import read_patches
from flawsight.mllm.replay import replay
from flawsight.refine.crops import inspect_crops
from flawsight.refine.feature_distance import feature_distance
from flawsight.refine.patch_evidence import evidence_reader
from flawsight.runs.trace_store import load_trace, save_trace
from flawsight.settings import Settings
from helpers.checkpoints import photo, random_model, tiny_config, tiny_tokenizer, write_processor
from helpers.generating import generate

SETTINGS = Settings(image_tokens=None, max_new_tokens=12)
READER = evidence_reader(replace(SETTINGS, feature_distance=True))
IMAGES = [photo(252, 140), photo(140, 196, seed=1)]


def distance_of(seen: Trace | Crop) -> Tensor:
    assert seen.patches.feature_distance is not None
    return seen.patches.feature_distance


def test_places_come_back_from_the_encoder_s_windows(tmp_path: Path) -> None:
    """The training reads the last block's features in the image's order by a way of its own."""
    tokenizer = tiny_tokenizer()
    config = tiny_config(tokenizer)
    config.vision_config.depth = 1
    random_model(tokenizer, config).save_pretrained(tmp_path)
    write_processor(tmp_path, tokenizer, "chat_template.jinja")
    mllm = load_mllm(tmp_path, device="cpu")
    for image, trace in zip(IMAGES, generate(mllm, IMAGES, SETTINGS, READER), strict=True):
        grid_h, grid_w = trace.image_attention.shape[1:]
        units = encode_image(mllm, image, SETTINGS).features.view(grid_h, grid_w, 2, 2, -1)
        patches = units.transpose(1, 2).reshape(4 * grid_h * grid_w, -1)
        expected = feature_distance(patches).view(2 * grid_h, 2 * grid_w)
        torch.testing.assert_close(distance_of(trace), expected, rtol=1e-4, atol=1e-5)
        assert expected.std() > 0.1


def test_scoring_patches_changes_nothing(tiny_mllm: MLLM) -> None:
    """Neither text nor attention; a batch, one image and a replay have the same scores."""
    plain = generate(tiny_mllm, IMAGES, SETTINGS)
    batch = generate(tiny_mllm, IMAGES, SETTINGS, READER)
    again = replay(tiny_mllm, IMAGES, [trace.text for trace in batch], SETTINGS, READER)
    for image, without, trace, replayed in zip(IMAGES, plain, batch, again, strict=True):
        assert without.patches.feature_distance is None
        assert trace.text == without.text
        assert torch.equal(trace.image_attention, without.image_attention)
        alone = generate(tiny_mllm, [image], SETTINGS, READER)[0]
        torch.testing.assert_close(distance_of(trace), distance_of(alone))
        torch.testing.assert_close(distance_of(trace), distance_of(replayed))


def test_the_encoder_is_left_as_it_was(tiny_mllm: MLLM) -> None:
    def hooks() -> int:
        return sum(
            len(module._forward_hooks) + len(module._forward_pre_hooks)
            for module in tiny_mllm.model.modules()
        )

    before = hooks()
    with read_patches(tiny_mllm.model, READER, []) as found:
        assert hooks() > before
    assert hooks() == before
    assert not found


def test_crops_have_scores_of_their_own_and_all_is_stored(tiny_mllm: MLLM, tmp_path: Path) -> None:
    settings = replace(SETTINGS, crops=2)
    first = generate(tiny_mllm, [IMAGES[0]], settings, READER)
    [trace] = inspect_crops(tiny_mllm, [IMAGES[0]], first, settings, None, READER)
    for crop in trace.crops:
        left, top, width, height = crop.box
        cut = IMAGES[0].crop((left, top, left + width, top + height))
        alone = replay(tiny_mllm, [cut], [trace.text], settings, READER)[0]
        torch.testing.assert_close(distance_of(crop), distance_of(alone))
    save_trace(tmp_path / "trace.npz", trace)
    loaded = load_trace(tmp_path / "trace.npz")
    assert loaded is not None
    for kept, seen in zip([loaded, *loaded.crops], [trace, *trace.crops], strict=True):
        assert torch.equal(distance_of(kept), distance_of(seen))
