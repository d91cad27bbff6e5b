"""A batch's attention rows and token ids → one Trace per response."""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor

from ..errors import ModelError
from ..inspection import PatchEvidence, Trace
from .token_grid import TokenGrid


def token_spans(
    tokenizer: Any, ids: list[int], opening: str = ""
) -> tuple[str, tuple[tuple[int, int], ...]]:
    """Return the text of the response and each token's [start, end) characters in it.

    A token that ends inside a character of several bytes ends before that character. The text
    begins with the opening.
    """
    first = len(opening)
    pieces = tokenizer.batch_decode(
        [[token] for token in ids], skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    text = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    if "".join(pieces) == text and "\ufffd" not in text:
        return opening + text, tuple(pairwise(accumulate(map(len, pieces), initial=first)))
    ends, text = [first], ""
    for count in range(1, len(ids) + 1):
        text = tokenizer.decode(
            ids[:count], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        ends.append(max(ends[-1], first + len(text.rstrip("\ufffd"))))
    ends[-1] = first + len(text)
    return opening + text, tuple(pairwise(ends))


def cut_traces(
    tokenizer: Any,
    grids: Sequence[TokenGrid],
    anomaly_tokens: Tensor,
    ids: Sequence[list[int]],
    rows: Tensor,
    answers: Sequence[tuple[float, bool]],
    patches: Sequence[PatchEvidence] = (),
    opening: str = "",
) -> list[Trace]:
    """Cut a batch's rows into one Trace per sequence. Row i is the position before token i.

    Args:
        grids: of the N images.
        anomaly_tokens: (Q,) bool.
        ids: N responses of at most R tokens.
        rows: (N, R or more, C) attention to the image's tokens and then to the question's.
        answers: N log P(Yes) − log P(No), and whether each answer was forced.
        patches: of `read_patches`; may be empty.
        opening: of the responses, as in `PromptBatch`.
    """
    rows = rows.cpu()
    traces = []
    for index, (response, grid) in enumerate(zip(ids, grids, strict=True)):
        text, spans = token_spans(tokenizer, response, opening)
        count, tokens = len(response), grid.tokens
        image, rest = rows[index, :count, :tokens], rows[index, :count, tokens:]
        traces.append(
            Trace(
                text=text,
                token_spans=spans,
                image_attention=grid.to_map(image),
                question_attention=rest[:, : len(anomaly_tokens)],
                anomaly_tokens=anomaly_tokens,
                answer_margin=answers[index][0],
                answer_forced=answers[index][1],
                patches=patches[index] if patches else PatchEvidence(),
            )
        )
    return traces


def check_finite(values: Tensor) -> None:
    """Raise ModelError if a logit, or hidden state, is not finite."""
    # The sum is NaN or infinite if one of them is, and takes a fraction of the time.
    if not torch.isfinite(values.sum(dtype=torch.float32)):
        raise ModelError(
            "The model computes NaN or infinity: its weights are broken, or the dtype is too small "
            "for them (try --dtype float32)."
        )
