"""Images → Traces: batched generation with capture, or the replay of texts made elsewhere."""

from bisect import bisect_left
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor
from transformers import StoppingCriteria, StoppingCriteriaList

from ..errors import ModelError, SettingsError
from ..inspection import Trace
from ..settings import Settings
from .capture import AttentionCapture, capture_attention, decoder_layers, head_weights
from .encode import PromptBatch, encode_prompts
from .load import MLLM
from .patch_features import capture_rarity
from .response import answer_end

# Steps between two looks for a closed answer: each decodes what has been said.
LOOK_EVERY = 8


def generate(mllm: MLLM, images: Sequence[Image], settings: Settings) -> list[Trace]:
    """Ask the question about each image and trace the response.

    Args:
        mllm: the model.
        images: RGB images of any sizes.
        settings: `temperature` 0 decodes greedily.

    Returns:
        One Trace an image.

    Raises:
        ModelError: if the model computes NaN.
    """
    return generate_from(mllm, encode_prompts(mllm, images, settings), settings)


@torch.inference_mode()
def generate_from(mllm: MLLM, prompts: PromptBatch, settings: Settings) -> list[Trace]:
    """Do what `generate` does, with encoded prompts."""
    capture = _capture(mllm, prompts.columns, settings, last_rows=1)
    with (
        mllm.lock,
        capture_attention(mllm.model, capture, mllm.attention),
        _rarity(mllm, settings) as rare,
    ):
        if settings.temperature > 0:
            torch.manual_seed(settings.seed)
        ids, margins = respond(mllm, prompts.inputs, settings.max_new_tokens, settings.temperature)
    rows, tokenizer = capture.rows, mllm.processor.tokenizer
    with mllm.tokenizing:
        traces = cut_traces(tokenizer, prompts.grids, prompts.anomaly_tokens, ids, rows, margins)
    return _with_rarity(traces, rare)


class AnswerClosed(StoppingCriteria):  # type: ignore[misc]
    """Ends a response whose answer is closed, though the model would go on."""

    def __init__(self, mllm: MLLM, prompt_length: int) -> None:
        self.mllm, self.prompt_length = mllm, prompt_length

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        """Return (B,) bool, which sequences are done."""
        said = input_ids[:, self.prompt_length :]
        if said.shape[1] % LOOK_EVERY:
            return said.new_zeros(len(said), dtype=torch.bool)
        with self.mllm.tokenizing:
            texts = self.mllm.processor.tokenizer.batch_decode(said, skip_special_tokens=True)
        return torch.tensor([answer_end(text) is not None for text in texts], device=said.device)


@torch.inference_mode()
def respond(
    mllm: MLLM, inputs: dict[str, Tensor], max_new_tokens: int, temperature: float = 0.0
) -> tuple[list[list[int]], Tensor]:
    """Continue B prompts. The caller holds the model's lock.

    Args:
        mllm: the model.
        inputs: left-padded prompts, on the model's device.
        max_new_tokens: R, the length at which a response is cut off.
        temperature: of sampling; 0 decodes greedily.

    Returns:
        The B responses' token ids, each up to and with its end token, or the token that closes the
        answer if the model said more; and (B, R) log P(Yes) − log P(No) as the next token, before
        each.

    Raises:
        ModelError: if the model computes NaN.
    """
    tokenizer = mllm.processor.tokenizer
    sampling: dict[str, Any] = {"do_sample": False, "temperature": None}
    if temperature > 0:
        sampling = {"do_sample": True, "temperature": temperature}
    with mllm.tokenizing:
        yes, no = answer_token_ids(tokenizer)
    prompt_length = inputs["input_ids"].shape[1]
    picked: list[Tensor] = []
    columns = torch.tensor([*yes, *no], device=mllm.device)

    def record(_module: Any, _inputs: Any, logits: Tensor) -> None:
        last = logits[:, -1]
        _check_finite(last)
        picked.append(last.index_select(1, columns))

    with mllm.model.get_output_embeddings().register_forward_hook(record):
        sequences = mllm.model.generate(
            **inputs,
            **sampling,
            top_k=None,
            top_p=None,
            repetition_penalty=1.0,
            max_new_tokens=max_new_tokens,
            pad_token_id=tokenizer.pad_token_id,
            stopping_criteria=StoppingCriteriaList([AnswerClosed(mllm, prompt_length)]),
        )
    responses = sequences[:, prompt_length:].tolist()
    ends = end_tokens(mllm)
    margins = _answer_margins(torch.stack(picked, dim=1), len(yes))
    with mllm.tokenizing:
        ids = [until_closed(tokenizer, until_end(response, ends)) for response in responses]
    return ids, margins


@torch.inference_mode()
def replay(
    mllm: MLLM,
    images: Sequence[Image],
    responses: Sequence[str | Sequence[int]],
    settings: Settings,
    keep_heads: bool = False,
) -> list[Trace]:
    """Trace given responses, as text or token ids, in one teacher-forced forward pass.

    The Trace is the one `generate` gives for the same tokens. Text is tokenized in the canonical
    way, which a model may have departed from; token ids are exact. With `keep_heads` the traces
    hold each head's attention as well, of the layers that are averaged.

    Raises:
        ModelError: if the model computes NaN.
        SettingsError: if images and responses are not as many, or a response holds an image token.
    """
    if len(images) != len(responses):
        raise SettingsError(f"{len(images)} images, but {len(responses)} responses to replay.")
    prompts = encode_prompts(mllm, images, settings)
    tokenizer = mllm.processor.tokenizer
    ids = [
        [*tokenizer(response, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        if isinstance(response, str)
        else list(response)
        for response in responses
    ]
    if any(mllm.model.config.image_token_id in response for response in ids):
        raise SettingsError("A response to replay holds an image token.")
    longest = max(len(response) for response in ids)
    device = mllm.device
    padded = torch.full((len(ids), longest), tokenizer.pad_token_id, device=device)
    seen = torch.zeros_like(padded)
    for row, response in enumerate(ids):
        padded[row, : len(response)] = torch.tensor(response, device=device)
        seen[row, : len(response)] = 1
    inputs = dict(prompts.inputs)
    inputs["input_ids"] = torch.cat([inputs["input_ids"], padded], dim=1)
    inputs["attention_mask"] = torch.cat([inputs["attention_mask"], seen], dim=1)
    inputs["mm_token_type_ids"] = torch.cat(
        [inputs["mm_token_type_ids"], torch.zeros_like(padded)], dim=1
    )
    capture = _capture(mllm, prompts.columns, settings, last_rows=longest + 1)
    if keep_heads:
        capture.by_head = {}
    with (
        mllm.lock,
        capture_attention(mllm.model, capture, mllm.attention),
        _rarity(mllm, settings) as rare,
    ):
        logits = mllm.model(**inputs, logits_to_keep=longest + 1, use_cache=False).logits
    _check_finite(logits)
    with mllm.tokenizing:
        yes, no = answer_token_ids(tokenizer)
        margins = _answer_margins(logits[..., [*yes, *no]], len(yes))
        traces = cut_traces(
            tokenizer, prompts.grids, prompts.anomaly_tokens, ids, capture.rows, margins
        )
    traces = _with_rarity(traces, rare)
    if not capture.by_head:
        return traces
    heads = torch.stack([rows for _, rows in sorted(capture.by_head.items())], dim=1).cpu()
    return [
        replace(
            trace,
            head_attention=heads[index, :, :, : len(response), : grid_h * grid_w].reshape(
                *heads.shape[1:3], len(response), grid_h, grid_w
            ),
        )
        for index, (trace, response, (grid_h, grid_w)) in enumerate(
            zip(traces, ids, prompts.grids, strict=True)
        )
    ]


@lru_cache(maxsize=8)
def answer_token_ids(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Return the ids of the tokens that tell Yes from No where the answer begins.

    Byte-pair merges may join the answer with what stands before it (">Yes"), so the two answers
    are tokenized in each surrounding and the first tokens that differ are taken.
    """
    found: tuple[list[int], list[int]] = ([], [])
    for before in ("<answer>", "<answer> ", "<answer>\n", "", " ", "\n"):
        for pair in (("Yes", "No"), ("yes", "no"), ("YES", "NO")):
            yes, no = (
                tokenizer(before + word + "</answer>", add_special_tokens=False)["input_ids"]
                for word in pair
            )
            differing = next((y, n) for y, n in zip(yes, no, strict=False) if y != n)
            for ids, token in zip(found, differing, strict=True):
                if token not in ids:
                    ids.append(token)
    return found


def _capture(mllm: MLLM, columns: Tensor, settings: Settings, last_rows: int) -> AttentionCapture:
    text = mllm.model.config.get_text_config()
    weights = head_weights(
        len(decoder_layers(mllm.model)), text.num_attention_heads, settings.layers, settings.heads
    )
    weights = {layer: weight.to(mllm.device) for layer, weight in weights.items()}
    return AttentionCapture(columns, weights, last_rows)


def _rarity(mllm: MLLM, settings: Settings) -> AbstractContextManager[list[Tensor]]:
    return capture_rarity(mllm.model) if settings.rarity else nullcontext([])


def _with_rarity(traces: list[Trace], rare: list[Tensor]) -> list[Trace]:
    if not rare:
        return traces
    return [replace(trace, rarity=one) for trace, one in zip(traces, rare, strict=True)]


def _check_finite(logits: Tensor) -> None:
    # The sum is NaN or infinite if one of them is, and takes a fraction of the time.
    if not torch.isfinite(logits.sum(dtype=torch.float32)):
        raise ModelError(
            "The model computes NaN or infinity: its weights are broken, or the dtype is too small "
            "for them (try --dtype float32)."
        )


def _answer_margins(logits: Tensor, yes: int) -> Tensor:
    """log P(Yes) − log P(No) over the last dimension: first the `yes` logits of Yes, then No's."""
    logits = logits.double()
    return (logits[..., :yes].logsumexp(-1) - logits[..., yes:].logsumexp(-1)).float()


def end_tokens(mllm: MLLM) -> set[int]:
    """Return the ids of the tokens that end a response."""
    configured = mllm.model.generation_config.eos_token_id
    ends = configured if isinstance(configured, list) else [configured]
    return {*ends, mllm.processor.tokenizer.eos_token_id}


def until_end(ids: list[int], ends: set[int]) -> list[int]:
    """Cut a padded response after its first end token."""
    for index, token in enumerate(ids):
        if token in ends:
            return ids[: index + 1]
    return ids


def until_closed(tokenizer: Any, ids: list[int]) -> list[int]:
    """Cut off what a response goes on to say after the token that closes its answer."""

    def said(count: int) -> str:
        text: str = tokenizer.decode(ids[:count], skip_special_tokens=True)
        return text

    text = said(len(ids))
    end = answer_end(text)
    if end is None or not text[end:].strip():
        return ids
    closed = bisect_left(range(len(ids)), True, key=lambda n: answer_end(said(n)) is not None)
    return ids[:closed]


def _spans(tokenizer: Any, ids: list[int]) -> tuple[str, tuple[tuple[int, int], ...]]:
    """Return the text of the response and each token's [start, end) characters in it.

    A token that ends inside a character of several bytes ends before that character.
    """
    pieces = tokenizer.batch_decode(
        [[token] for token in ids], skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    text = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    if "".join(pieces) == text and "\ufffd" not in text:
        return text, tuple(pairwise(accumulate(map(len, pieces), initial=0)))
    ends, text = [0], ""
    for count in range(1, len(ids) + 1):
        text = tokenizer.decode(
            ids[:count], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        ends.append(max(ends[-1], len(text.rstrip("\ufffd"))))
    ends[-1] = len(text)
    return text, tuple(pairwise(ends))


def cut_traces(
    tokenizer: Any,
    grids: Sequence[tuple[int, int]],
    anomaly_tokens: Tensor,
    ids: Sequence[list[int]],
    rows: Tensor,
    margins: Tensor,
) -> list[Trace]:
    """Cut a batch's rows into one Trace a sequence. Row i is the position before token i.

    Args:
        tokenizer: of the model.
        grids: N (grid_h, grid_w).
        anomaly_tokens: (Q,) bool.
        ids: N responses of at most R tokens.
        rows: (N, R or more, C) attention to the image's tokens and then to the question's.
        margins: (N, R or more) log P(Yes) − log P(No).
    """
    rows, margins = rows.cpu(), margins.cpu()
    traces = []
    for index, (response, (grid_h, grid_w)) in enumerate(zip(ids, grids, strict=True)):
        text, spans = _spans(tokenizer, response)
        count, cells = len(response), grid_h * grid_w
        image, rest = rows[index, :count, :cells], rows[index, :count, cells:]
        traces.append(
            Trace(
                text=text,
                token_spans=spans,
                image_attention=image.reshape(count, grid_h, grid_w),
                question_attention=rest[:, : len(anomaly_tokens)],
                anomaly_tokens=anomaly_tokens,
                answer_margins=margins[index, :count],
            )
        )
    return traces
