"""A batch's attention rows and token ids → one Trace per response."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor

from ..errors import ModelError
from ..inspection import Trace
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
    margins: Tensor,
    patch_scores: Sequence[Tensor] = (),
    opening: str = "",
) -> list[Trace]:
    """Cut a batch's rows into one Trace per sequence. Row i is the position before token i.

    Args:
        grids: of the N images.
        anomaly_tokens: (Q,) bool.
        ids: N responses of at most R tokens.
        rows: (N, R or more, C) attention to the image's tokens and then to the question's.
        margins: (N, R or more) log P(Yes) − log P(No).
        patch_scores: of `score_patches`; may be empty.
        opening: of the responses, as in `PromptBatch`.
    """
    rows, margins = rows.cpu(), margins.cpu()
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
                answer_margins=margins[index, :count],
                feature_distance=patch_scores[index] if patch_scores else None,
            )
        )
    return traces


@lru_cache(maxsize=8)
def answer_token_ids(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Return the ids of the tokens that distinguish Yes from No where the answer begins.

    Byte-pair merges may join the answer with the text before it (">Yes"). Both answers are
    tokenized in each context, and the first tokens that differ are returned.
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


def check_finite(logits: Tensor) -> None:
    """Raise ModelError if a logit is not finite."""
    # The sum is NaN or infinite if one of them is, and takes a fraction of the time.
    if not torch.isfinite(logits.sum(dtype=torch.float32)):
        raise ModelError(
            "The model computes NaN or infinity: its weights are broken, or the dtype is too small "
            "for them (try --dtype float32)."
        )


def answer_margins(logits: Tensor, yes: int) -> Tensor:
    """Return log P(Yes) − log P(No): of the last dimension, the first `yes` logits are of Yes."""
    logits = logits.double()
    return (logits[..., :yes].logsumexp(-1) - logits[..., yes:].logsumexp(-1)).float()
