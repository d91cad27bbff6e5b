"""Images → Traces: batched generation with capture."""

from bisect import bisect_left
from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteria, StoppingCriteriaList

from ..inspection import Trace
from ..settings import Settings
from .answer_probability import answer_margins
from .capture import AttentionCapture, capture_attention, chosen_layers, whole_cache
from .cut_traces import check_finite, cut_traces
from .encode import PromptBatch
from .load import MLLM
from .patch_features import EvidenceReader, read_patches
from .response import answer_end

# Steps between two checks for a closed answer: each decodes the response so far.
CHECK_EVERY = 8


@torch.inference_mode()
def generate(
    mllm: MLLM, prompts: PromptBatch, settings: Settings, reader: EvidenceReader | None = None
) -> list[Trace]:
    """Ask the question about each image and trace the response.

    Args:
        prompts: of `encode_prompts`.
        settings: `temperature` 0 decodes greedily.
        reader: of the images' patches; None leaves `Trace.patches` empty.

    Raises:
        ModelError: if the model computes NaN.
    """
    capture = AttentionCapture(prompts.columns, chosen_layers(mllm.model, settings.layers))
    with (
        mllm.lock,
        capture_attention(mllm.model, capture, mllm.attention),
        read_patches(mllm.model, reader, prompts.grids, prompts.photo_grids) as patches,
    ):
        if settings.temperature > 0:
            torch.manual_seed(settings.seed)
        ids, hidden = respond(
            mllm, prompts.inputs, settings.max_new_tokens, settings.temperature, prompts.opening
        )
    with mllm.lock:  # not in the capture: it may run the model once more
        answers = answer_margins(mllm, prompts.inputs, ids, hidden, prompts.opening)
    rows, tokenizer = capture.rows, mllm.processor.tokenizer
    with mllm.tokenizing:
        return cut_traces(
            tokenizer,
            prompts.grids,
            prompts.anomaly_tokens,
            ids,
            rows,
            answers,
            patches,
            prompts.opening,
        )


class AnswerClosed(StoppingCriteria):  # type: ignore[misc]
    """Ends a response whose answer is closed, before the model writes more."""

    def __init__(self, mllm: MLLM, prompt_length: int, opening: str) -> None:
        self.mllm, self.prompt_length, self.opening = mllm, prompt_length, opening

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        """Return (B,) bool, which sequences are done."""
        ids = input_ids[:, self.prompt_length :]
        if ids.shape[1] % CHECK_EVERY:
            return ids.new_zeros(len(ids), dtype=torch.bool)
        with self.mllm.tokenizing:
            texts = self.mllm.processor.tokenizer.batch_decode(ids, skip_special_tokens=True)
        closed = [answer_end(self.opening + text) is not None for text in texts]
        return torch.tensor(closed, device=ids.device)


@torch.inference_mode()
def respond(
    mllm: MLLM,
    inputs: dict[str, Tensor],
    max_new_tokens: int,
    temperature: float = 0.0,
    opening: str = "",
) -> tuple[list[list[int]], Tensor]:
    """Continue B prompts. The caller holds the model's lock.

    Args:
        inputs: left-padded prompts, on the model's device.
        max_new_tokens: R, the length at which a response is cut off.
        temperature: of sampling; 0 decodes greedily.
        opening: what of the responses the prompts have begun.

    Returns:
        The token ids of the B responses, each up to and including its end token, or the token that
        closes the answer if more text follows; and (B, R, width), the last hidden states before
        each.

    Raises:
        ModelError: if the model computes NaN.
    """
    tokenizer = mllm.processor.tokenizer
    prompt_length = inputs["input_ids"].shape[1]
    picked: list[Tensor] = []

    def record(_module: Any, hidden: tuple[Tensor], logits: Tensor) -> None:
        check_finite(logits[:, -1])
        picked.append(hidden[0][:, -1].clone())  # a view would hold those of the whole prompt

    with mllm.model.get_output_embeddings().register_forward_hook(record):
        sequences = mllm.model.generate(
            **inputs,
            **whole_cache(mllm.model),
            do_sample=temperature > 0,
            temperature=temperature or None,
            top_k=None,
            top_p=None,
            repetition_penalty=1.0,
            max_new_tokens=max_new_tokens,
            pad_token_id=tokenizer.pad_token_id,
            stopping_criteria=StoppingCriteriaList([AnswerClosed(mllm, prompt_length, opening)]),
        )
    responses = sequences[:, prompt_length:].tolist()
    ends = mllm.end_tokens
    with mllm.tokenizing:
        ids = [
            until_closed(tokenizer, until_end(response, ends), opening) for response in responses
        ]
    return ids, torch.stack(picked, dim=1)


def until_end(ids: list[int], ends: set[int]) -> list[int]:
    """Cut a padded response after its first end token."""
    for index, token in enumerate(ids):
        if token in ends:
            return ids[: index + 1]
    return ids


def until_closed(tokenizer: Any, ids: list[int], opening: str = "") -> list[int]:
    """Cut off the text after the token that closes the answer."""

    def decoded(count: int) -> str:
        return opening + str(tokenizer.decode(ids[:count], skip_special_tokens=True))

    text = decoded(len(ids))
    end = answer_end(text)
    if end is None or not text[end:].strip():
        return ids
    closed = bisect_left(range(len(ids)), True, key=lambda n: answer_end(decoded(n)) is not None)
    return ids[:closed]
