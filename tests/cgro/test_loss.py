"""The loss and its gradients against those of Hugging Face TRL."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL.Image import Image

from flawsight.cgro.encoded_images import collate, encode_image
from flawsight.cgro.loss import candidate_means, token_losses
from flawsight.cgro.policy import make_trainable, trainable_parameters
from flawsight.cgro.shared_prompt import CandidateForward, Completions
from flawsight.mllm.encode import encode_prompts
from flawsight.mllm.load import MLLM, load_mllm
from flawsight.settings import Settings
from helpers.checkpoints import photo
from helpers.families import write_trainable_qwen3

SETTINGS = Settings(image_tokens=12)
IMAGES = [photo(90, 60, seed=1), photo(64, 64, seed=2)]
GROUP, LONGEST = 2, 8
ADVANTAGES = torch.tensor([0.7, -0.7, 1.2, -1.1])


def candidates(mllm: MLLM) -> list[list[int]]:
    generator = torch.Generator().manual_seed(3)
    return [
        [
            *torch.randint(0, 300, (n - 1,), generator=generator).tolist(),
            mllm.processor.tokenizer.eos_token_id,
        ]
        for n in (8, 3, 5, 6)
    ]


def policy(checkpoint: Path) -> MLLM:
    mllm = make_trainable(load_mllm(checkpoint, device="cpu"), 4, 8, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in trainable_parameters(mllm.model):
            if "lora_B" in name:
                parameter.normal_(std=0.2, generator=generator)
    return mllm


def trl_loss(
    mllm: MLLM, settings: dict[str, Any], old: torch.Tensor, reference: Any, good: list[Image]
) -> Any:
    trl = pytest.importorskip("trl")
    datasets = pytest.importorskip("datasets")
    arguments = trl.GRPOConfig(
        output_dir="unused",
        use_cpu=True,
        bf16=False,
        report_to="none",
        gradient_checkpointing=False,
        per_device_train_batch_size=4,
        num_generations=GROUP,
        max_completion_length=LONGEST,
        **settings,
    )
    rows = datasets.Dataset.from_list([{"prompt": "a"}])
    trainer = trl.GRPOTrainer(
        mllm.model, lambda **_: [0.0], arguments, rows, processing_class=mllm.processor
    )
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    images = [image for image in IMAGES for _ in range(GROUP)]
    prompt = encode_prompts(mllm, images, SETTINGS, good).inputs
    done = Completions.of(
        candidates(mllm), mllm.processor.tokenizer.pad_token_id, torch.device("cpu")
    )
    types = prompt["mm_token_type_ids"]
    return trainer.compute_loss(
        trainer.model,
        {
            "prompt_ids": prompt["input_ids"],
            "prompt_mask": prompt["attention_mask"],
            "completion_ids": done.ids,
            "completion_mask": done.mask.long(),
            "pixel_values": prompt["pixel_values"],
            "image_grid_thw": prompt["image_grid_thw"],
            "num_images": [len(good) + 1] * len(images),
            "mm_token_type_ids": torch.cat([types, torch.zeros_like(done.ids)], dim=1),
            "advantages": ADVANTAGES,
            "old_per_token_logps": old,
            "ref_per_token_logps": reference,
            "num_items_in_batch": done.mask.sum(),
        },
    )


@pytest.mark.parametrize("good", [[], [photo(80, 110, seed=3)]], ids=["alone", "one-shot"])
@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_loss_and_gradients_are_those_of_trl(
    tiny_checkpoint: Path, tmp_path: Path, family: str, good: list[Image]
) -> None:
    checkpoint = tiny_checkpoint
    if family == "qwen3_vl":
        checkpoint = tmp_path
        write_trainable_qwen3(checkpoint)
    mllm, theirs = policy(checkpoint), policy(checkpoint)
    prompts = collate([encode_image(mllm, image, SETTINGS, good) for image in IMAGES], mllm)
    ids = candidates(mllm)
    done = Completions.of(ids, mllm.processor.tokenizer.pad_token_id, mllm.device)
    with torch.no_grad(), mllm.model.disable_adapter():
        packed = CandidateForward(mllm.model, "packed", 1.0, "sdpa", None)
        reference, _, _ = packed(prompts, done)
    log_probs, _, _ = CandidateForward(mllm.model, "cache", 1.0, "sdpa", None)(prompts, done)
    assert (log_probs - reference).abs().max() > 0.01
    # As after an earlier update of the same roll-out: some ratios are clipped, some are not.
    noise = torch.randn(log_probs.shape, generator=torch.Generator().manual_seed(2))
    old = log_probs.detach() + 0.3 * noise
    losses, _ = token_losses(log_probs, old, reference, ADVANTAGES, 0.04)
    loss = candidate_means(losses, done.mask).mean()
    loss.backward()
    arguments = {"loss_type": "grpo", "beta": 0.04, "epsilon": 0.2}
    arguments |= {"use_bias_correction_kl": False}
    expected = trl_loss(theirs, arguments, old, reference, good)
    expected.backward()
    torch.testing.assert_close(loss, expected, atol=1e-6, rtol=1e-5)
    wanted = dict(trainable_parameters(theirs.model))
    for name, parameter in trainable_parameters(mllm.model):
        gradient = wanted[name].grad
        assert (parameter.grad - gradient).norm() <= 1e-4 * gradient.norm() + 1e-8, name


@given(
    st.lists(st.floats(-3, 3), min_size=1, max_size=5),
    st.floats(-5, 0),
    st.floats(-5, 0),
    st.floats(0.01, 0.5),
)
def test_first_update_and_clipping(
    advantages: list[float], now: float, before: float, epsilon: float
) -> None:
    weights = torch.tensor(advantages)
    log_probs = torch.full((len(weights), 2), now, requires_grad=True)
    losses, kl = token_losses(log_probs, log_probs.detach(), None, weights, 0.04, epsilon)
    losses.sum().backward()
    torch.testing.assert_close(losses.detach(), -weights[:, None].expand(-1, 2))
    torch.testing.assert_close(log_probs.grad, -weights[:, None].expand(-1, 2))
    assert not kl.any()
    old = torch.full_like(log_probs, before).detach()
    log_probs.grad = None
    losses, _ = token_losses(log_probs, old, None, weights, 0.04, epsilon)
    losses.sum().backward()
    ratio = torch.tensor(now - before).exp()
    for weight, gradient in zip(weights, log_probs.grad, strict=True):
        too_far = ratio > 1 + epsilon if weight > 0 else ratio < 1 - epsilon
        expected = torch.zeros(2) if too_far else (-weight * ratio).expand(2)
        if not torch.isclose(ratio, 1 + epsilon * weight.sign(), atol=1e-4):
            torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=1e-4)


@given(st.floats(-6, 0), st.floats(-6, 0))
def test_kl_is_never_negative(policy: float, reference: float) -> None:
    ours = torch.tensor([[policy]])
    losses, kl = token_losses(ours, ours, torch.tensor([[reference]]), torch.zeros(1), 0.5)
    assert kl.item() >= -1e-6
    torch.testing.assert_close(losses, 0.5 * kl)
    assert (kl.item() > 1e-6) == (abs(policy - reference) > 2e-3) or abs(policy - reference) < 5e-3


def test_padding_adds_nothing_not_even_nan() -> None:
    losses = torch.tensor([[1.0, 2.0, torch.nan], [4.0, torch.inf, torch.nan]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    assert candidate_means(losses, mask).tolist() == [1.5, 4.0]
