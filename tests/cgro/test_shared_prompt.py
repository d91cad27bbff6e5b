"""The shared-prompt pass against transformers' own forward on whole sequences."""

import copy
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import settings as example_settings
from hypothesis import strategies as st
from PIL.Image import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from flawsight.cgro.encoded_images import EncodedImages, Prompts, collate, encode_image
from flawsight.cgro.log_probs import token_log_probs
from flawsight.cgro.policy import core, make_trainable, merged, trainable_parameters
from flawsight.cgro.shared_prompt import CandidateForward, Completions, packed_mask
from flawsight.errors import ModelError
from flawsight.mllm.capture import chosen_layers
from flawsight.mllm.encode import encode_prompts
from flawsight.mllm.load import MLLM, load_mllm
from flawsight.mllm.replay import replay
from flawsight.settings import Settings
from helpers.checkpoints import photo
from helpers.families import write_chat_vlm, write_trainable_qwen3

SETTINGS = Settings(image_tokens=12)
IMAGES = [photo(90, 60, seed=1), photo(64, 64, seed=2)]
GROUP = 3
SHARINGS = ["cache", "packed"]


def fully_trainable(checkpoint: Path) -> MLLM:
    """A model without an adapter, of which the language layers and the merger train."""
    mllm = load_mllm(checkpoint, device="cpu")
    for name, parameter in mllm.model.named_parameters():
        frozen = "visual." in name and "visual.merger." not in name
        parameter.requires_grad_(not frozen)
    return mllm


@pytest.fixture(scope="module")
def qwen3_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Qwen3-VL, whose language model takes features of deeper vision layers at the image tokens."""
    folder = tmp_path_factory.mktemp("qwen3_vl")
    write_trainable_qwen3(folder)
    return folder


@pytest.fixture(scope="module", params=["lora", "full", "qwen3_vl"])
def policy(request: pytest.FixtureRequest, tiny_checkpoint: Path, qwen3_checkpoint: Path) -> MLLM:
    if request.param == "full":
        return fully_trainable(tiny_checkpoint)
    checkpoint = qwen3_checkpoint if request.param == "qwen3_vl" else tiny_checkpoint
    mllm = make_trainable(load_mllm(checkpoint, device="cpu"), rank=4, alpha=8, seed=0)
    # LoRA begins as the identity, and then half of its gradients are 0.
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in trainable_parameters(mllm.model):
            if "lora_B" in name:
                parameter.normal_(std=0.2, generator=generator)
    return mllm


def candidates(mllm: MLLM) -> list[list[int]]:
    tokenizer = mllm.processor.tokenizer
    generator = torch.Generator().manual_seed(0)
    lengths = [9, 1, 5, 7, 9, 3]
    return [
        [*torch.randint(0, 300, (n - 1,), generator=generator).tolist(), tokenizer.eos_token_id]
        for n in lengths
    ]


def plain(
    mllm: MLLM, ids: list[list[int]], images: list[Image] = IMAGES, good: Sequence[Image] = ()
) -> Tensor:
    """Log-probabilities by transformers' forward: every candidate with its own prompt and image."""
    repeated = [image for image in images for _ in range(len(ids) // len(images))]
    inputs = dict(encode_prompts(mllm, repeated, SETTINGS, good).inputs)
    done = Completions.of(ids, mllm.processor.tokenizer.pad_token_id, torch.device("cpu"))
    length = done.ids.shape[1]
    inputs["input_ids"] = torch.cat([inputs["input_ids"], done.ids], dim=1)
    inputs["attention_mask"] = torch.cat([inputs["attention_mask"], done.mask.long()], dim=1)
    inputs["mm_token_type_ids"] = torch.cat(
        [inputs["mm_token_type_ids"], torch.zeros_like(done.ids)], dim=1
    )
    logits = mllm.model(**inputs, logits_to_keep=length + 1).logits[:, :-1]
    return logits.log_softmax(-1).gather(-1, done.ids[..., None])[..., 0]


def shared(
    mllm: MLLM,
    ids: list[list[int]],
    sharing: str,
    captures: bool = False,
    images: list[Image] = IMAGES,
    good: Sequence[Image] = (),
) -> tuple[Tensor, Tensor, Tensor | None, Completions, Prompts]:
    prompts = collate([encode_image(mllm, image, SETTINGS, good) for image in images], mllm)
    done = Completions.of(ids, mllm.processor.tokenizer.pad_token_id, torch.device("cpu"))
    layers = chosen_layers(mllm.model, None) if captures else None
    forward = CandidateForward(mllm.model, sharing, 1.0, mllm.attention, layers)
    outcome = forward(prompts, done)
    return (*outcome, done, prompts)


def gradients(mllm: MLLM, log_probs: Tensor, mask: Tensor) -> dict[str, Tensor]:
    weights = torch.linspace(-1, 1, mask.numel()).view(mask.shape)
    mllm.model.zero_grad()
    (log_probs * weights)[mask].sum().backward()
    # The key's bias shifts all of a query's scores alike: its gradient is rounding.
    found = {
        name: parameter.grad.clone()
        for name, parameter in trainable_parameters(mllm.model)
        if parameter.grad is not None and "k_proj.bias" not in name
    }
    assert found
    return found


def assert_same_gradients(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert (found[name] - value).norm() <= 1e-4 * value.norm() + 1e-7, name


@pytest.mark.parametrize("images", [IMAGES, IMAGES[:1]], ids=["padded", "unpadded"])
@pytest.mark.parametrize("sharing", SHARINGS)
def test_log_probabilities_and_gradients_are_those_of_the_plain_forward(
    policy: MLLM, sharing: str, images: list[Image]
) -> None:
    ids = candidates(policy)
    log_probs, _, rows, done, prompts = shared(policy, ids, sharing, images=images)
    assert rows is None
    assert bool(prompts.attention_mask.all()) == (len(images) == 1)
    found = gradients(policy, log_probs, done.mask)
    reference = plain(policy, ids, images)
    expected = gradients(policy, reference, done.mask)
    torch.testing.assert_close(log_probs[done.mask], reference[done.mask], atol=1e-5, rtol=0)
    assert any("merger" in name for name in expected)
    assert_same_gradients(found, expected)


@pytest.mark.parametrize("sharing", SHARINGS)
def test_the_attention_rows_are_those_of_a_replay(policy: MLLM, sharing: str) -> None:
    ids = candidates(policy)
    log_probs, _, rows, _, prompts = shared(policy, ids, sharing, captures=True)
    assert log_probs.requires_grad
    assert rows is not None
    assert not rows.requires_grad
    with torch.no_grad():
        traces = replay(policy, [image for image in IMAGES for _ in range(GROUP)], ids, SETTINGS)
    for index, trace in enumerate(traces):
        height, width = prompts.grids[index // GROUP].shape
        count = len(ids[index])
        image = rows[index, :count, : height * width].view(count, height, width)
        question = rows[index, :count, height * width :][:, : len(trace.anomaly_tokens)]
        torch.testing.assert_close(image, trace.image_attention, atol=1e-5, rtol=0)
        torch.testing.assert_close(question, trace.question_attention, atol=1e-5, rtol=0)


@pytest.mark.parametrize("sharing", SHARINGS)
def test_good_photos_in_the_prompt_are_those_of_plain_forward_and_replay(
    policy: MLLM, sharing: str
) -> None:
    ids, good = candidates(policy), [photo(80, 110, seed=3), photo(50, 60, seed=4)]
    log_probs, _, rows, done, prompts = shared(policy, ids, sharing, captures=True, good=good)
    found = gradients(policy, log_probs, done.mask)
    reference = plain(policy, ids, good=good)
    expected = gradients(policy, reference, done.mask)
    torch.testing.assert_close(log_probs[done.mask], reference[done.mask], atol=1e-5, rtol=0)
    assert_same_gradients(found, expected)
    assert (reference - plain(policy, ids))[done.mask].abs().max() > 0.01  # they count
    assert rows is not None
    with torch.no_grad():
        repeated = [image for image in IMAGES for _ in range(GROUP)]
        traces = replay(policy, repeated, ids, SETTINGS, photos=good)
    for index, trace in enumerate(traces):
        height, width = prompts.grids[index // GROUP].shape
        image = rows[index, : len(ids[index]), : height * width].view(-1, height, width)
        torch.testing.assert_close(image, trace.image_attention, atol=1e-5, rtol=0)


def test_flash_attention_computes_the_same(flash_mllm: MLLM, tiny_mllm: MLLM) -> None:
    ids = candidates(tiny_mllm)
    expected, _, expected_rows, done, _ = shared(tiny_mllm, ids, "cache", captures=True)
    found, _, rows, _, _ = shared(flash_mllm, ids, "cache", captures=True)
    torch.testing.assert_close(found[done.mask], expected[done.mask], atol=1e-5, rtol=0)
    torch.testing.assert_close(rows[done.mask], expected_rows[done.mask], atol=1e-5, rtol=0)


@pytest.mark.parametrize("sharing", SHARINGS)
def test_mixed_precision_computes_in_bfloat16_but_hands_out_float32(
    policy: MLLM, sharing: str
) -> None:
    ids = candidates(policy)
    expected, _, exact_rows, done, _ = shared(policy, ids, sharing, captures=True)
    with torch.autocast("cpu", torch.bfloat16):
        found, entropy, rows, _, _ = shared(policy, ids, sharing, captures=True)
    assert {found.dtype, entropy.dtype, rows.dtype} == {torch.float32}
    assert not torch.equal(found, expected)
    torch.testing.assert_close(found[done.mask], expected[done.mask], atol=1.0, rtol=0)
    assert gradients(policy, found, done.mask)
    torch.testing.assert_close(
        rows[0, : len(ids[0])], exact_rows[0, : len(ids[0])], atol=0.2, rtol=0
    )


def test_gradient_checkpointing_is_exact(tiny_checkpoint: Path) -> None:
    mllm = fully_trainable(tiny_checkpoint)
    mllm.model.train()
    ids = candidates(mllm)
    log_probs, _, rows, done, _ = shared(mllm, ids, "packed", captures=True)
    expected = gradients(mllm, log_probs, done.mask)
    mllm.model.gradient_checkpointing_enable({"use_reentrant": False})
    again, _, same_rows, _, _ = shared(mllm, ids, "packed", captures=True)
    assert torch.equal(again, log_probs)
    assert torch.equal(same_rows, rows)
    found = gradients(mllm, again, done.mask)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_mlps_that_run_again_keep_less(policy: MLLM) -> None:
    """The widest of what they compute is not kept, and nothing of the model stays changed."""
    wide = policy.model.config.get_text_config().intermediate_size
    prompts = collate([encode_image(policy, image, SETTINGS) for image in IMAGES], policy)
    done = Completions.of(candidates(policy), 0, torch.device("cpu"))

    def kept(recompute_mlps: bool) -> list[Tensor]:
        found: list[Tensor] = []

        def keep(tensor: Tensor) -> Tensor:
            found.append(tensor)
            return tensor

        forward = CandidateForward(policy.model, "cache", 1.0, "sdpa", None, recompute_mlps)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            forward(prompts, done)
        weights = {parameter.data_ptr() for parameter in policy.model.parameters()}
        return [t for t in found if t.shape[-1] == wide and t.data_ptr() not in weights]

    assert kept(False)
    assert not kept(True)
    assert not any("forward" in vars(module) for module in policy.model.modules())


def test_a_cache_that_checkpointing_would_drop_is_noticed(tiny_checkpoint: Path) -> None:
    mllm = fully_trainable(tiny_checkpoint)
    mllm.model.train().gradient_checkpointing_enable({"use_reentrant": False})
    with pytest.raises(AssertionError, match="cache"):
        shared(mllm, candidates(mllm), "cache")


def test_logits_in_parts_are_the_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    head = torch.nn.Linear(8, 40, bias=False)
    hidden = torch.randn(3, 5, 8, requires_grad=True)
    ids = torch.randint(0, 40, (3, 5))
    whole, entropy = token_log_probs(hidden, ids, head, 0.7)
    whole.sum().backward()
    gradient, hidden.grad = hidden.grad, None
    monkeypatch.setattr("flawsight.cgro.log_probs._MAX_LOGITS", 40 * 4)
    parts, same_entropy = token_log_probs(hidden, ids, head, 0.7)
    parts.sum().backward()
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(same_entropy, entropy)
    torch.testing.assert_close(hidden.grad, gradient)
    expected = torch.distributions.Categorical(logits=head(hidden) / 0.7)
    torch.testing.assert_close(whole, expected.log_prob(ids))
    torch.testing.assert_close(entropy, expected.entropy())


@example_settings(max_examples=30)
@given(data=st.data())
def test_a_candidate_sees_the_prompt_and_itself(data: st.DataObject) -> None:
    prompt_length, group, length = (data.draw(st.integers(1, 4)) for _ in range(3))
    padding = data.draw(st.integers(0, prompt_length - 1))
    prompt = torch.arange(prompt_length)[None] >= padding
    lengths = [data.draw(st.integers(0, length)) for _ in range(group)]
    real = torch.tensor([[[i < n for i in range(length)] for n in lengths]])
    mask = packed_mask(prompt, real)[0, 0]
    place = [("prompt", i) for i in range(prompt_length)]
    place += [(owner, i) for owner in range(group) for i in range(length)]
    exists = [*prompt[0].tolist(), *real.flatten().tolist()]
    for row, (owner, index) in enumerate(place):
        for column, (other, other_index) in enumerate(place):
            earlier = other == "prompt" and owner != "prompt"
            earlier |= owner == other and other_index <= index
            assert mask[row, column] == ((earlier and exists[column]) or row == column)


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_only_language_and_merger_train(
    tiny_checkpoint: Path, qwen3_checkpoint: Path, family: str
) -> None:
    checkpoint = qwen3_checkpoint if family == "qwen3_vl" else tiny_checkpoint
    mllm = make_trainable(load_mllm(checkpoint, device="cpu"), 4, 8, 0)
    names = [name for name, _ in trainable_parameters(mllm.model)]
    layers = core(mllm.model).config.get_text_config().num_hidden_layers
    assert sum("language_model.layers." in name for name in names) == layers * 7 * 2
    assert sum("visual.merger." in name for name in names) == 2 * 2
    assert len(names) == layers * 7 * 2 + 2 * 2


def test_a_merged_policy_computes_the_same_and_comes_back_bit_by_bit(policy: MLLM) -> None:
    ids = candidates(policy)
    before = {name: value.clone() for name, value in policy.model.named_parameters()}
    expected = plain(policy, ids)
    with merged(policy.model):
        moved = [n for n, p in policy.model.named_parameters() if not torch.equal(p, before[n])]
        found = plain(policy, ids)
    assert bool(moved) == hasattr(policy.model, "merge_adapter")
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert all(torch.equal(p, before[name]) for name, p in policy.model.named_parameters())
    assert torch.equal(plain(policy, ids), expected)


def test_a_policy_in_bfloat16_is_not_merged(tiny_checkpoint: Path) -> None:
    mllm = make_trainable(load_mllm(tiny_checkpoint, device="cpu", dtype="bfloat16"), 4, 8, 0)
    before = [parameter.data_ptr() for parameter in mllm.model.parameters()]
    with merged(mllm.model):
        assert [parameter.data_ptr() for parameter in mllm.model.parameters()] == before


def test_a_trainable_vision_encoder_is_refused(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flawsight.cgro.policy.LORA_TARGETS", r".*\.(q|k|v|gate|up|down)_proj")
    mllm = load_mllm(tiny_checkpoint, device="cpu")
    with pytest.raises(ModelError, match="vision encoder must stay frozen"):
        make_trainable(mllm, 4, 8, 0)


def test_other_families_are_refused(tmp_path: Path) -> None:
    """Their prompts would be embedded as Qwen2.5-VL's."""
    write_chat_vlm(tmp_path, "qwen2_vl")
    with pytest.raises(ModelError, match=r"'qwen2_vl' model; only Qwen2.5-VL and Qwen3-VL"):
        make_trainable(load_mllm(tmp_path, device="cpu"), 4, 8, 0)


@pytest.mark.parametrize("keep", ["none", "memory", "disk"])
def test_kept_features_are_the_same(policy: MLLM, tmp_path: Path, keep: str) -> None:
    photo(70, 50).save(tmp_path / "a.png")
    encoded = EncodedImages(policy, SETTINGS, keep, tmp_path / "features")
    first = encoded(tmp_path / "a.png")
    if keep != "none":
        (tmp_path / "a.png").unlink()
    again = encoded(tmp_path / "a.png")
    for field in fields(first):
        assert torch.equal(getattr(again, field.name), getattr(first, field.name))


def test_kept_features_of_an_earlier_version_are_made_again(
    tiny_mllm: MLLM, tmp_path: Path
) -> None:
    photo(70, 50).save(tmp_path / "a.png")
    encoded = EncodedImages(tiny_mllm, SETTINGS, "disk", tmp_path / "features")
    first = encoded(tmp_path / "a.png")
    (file,) = (tmp_path / "features").iterdir()
    tensors = load_file(file)
    del tensors["deepstack"]
    save_file(tensors, file)
    assert torch.equal(encoded(tmp_path / "a.png").features, first.features)
    assert "deepstack" in load_file(file)


def test_merged_features_are_what_the_model_computes(policy: MLLM) -> None:
    """Windows permute the patches: a larger image has several."""
    image = photo(300, 200)
    encoded = encode_image(policy, image, Settings(image_tokens=80))
    inputs = encode_prompts(policy, [image], Settings(image_tokens=80)).inputs
    visual = core(copy.deepcopy(policy.model)).model.visual
    with torch.no_grad():
        expected = visual(inputs["pixel_values"], grid_thw=inputs["image_grid_thw"])
        merged = visual.merger(encoded.features.view(-1, visual.config.hidden_size))
    torch.testing.assert_close(merged, expected.pooler_output)
    deeper = getattr(expected, "deepstack_features", None) or []
    assert len(encoded.deepstack) == len(deeper)
    for kept, layer in zip(encoded.deepstack, deeper, strict=True):
        torch.testing.assert_close(kept, layer)
