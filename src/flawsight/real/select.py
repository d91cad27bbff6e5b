"""Which reasoning tokens make the map, and with what weight."""

import torch
from torch import Tensor

from ..inspection import TokenScores, Trace
from ..settings import Settings
from .scores import attention_concentration, semantic_relevance


def reasoning_rows(
    trace: Trace, reasoning: tuple[int, int], settings: Settings
) -> tuple[list[int], Tensor, Tensor]:
    """Find the reasoning's tokens in a trace, and the rows that speak for them.

    Args:
        trace: of the response.
        reasoning: [start, end) characters of the reasoning in `trace.text`.
        settings: `row` and `words_only`.

    Returns:
        R indices of response tokens; (R,) the rows of the trace's attention that are theirs; (R,)
        bool, which of them may be kept.
    """
    start, end = reasoning
    tokens = [
        index
        for index, (token_start, token_end) in enumerate(trace.token_spans)
        if start <= token_start < token_end <= end
    ]
    rows = torch.tensor(tokens, dtype=torch.long)
    if settings.row == "own":
        rows = (rows + 1).clamp(max=len(trace.image_attention) - 1)
    eligible = [
        not settings.words_only
        or any(c.isalnum() for c in trace.text[slice(*trace.token_spans[index])])
        for index in tokens
    ]
    return tokens, rows, torch.tensor(eligible, dtype=torch.bool)


def select_tokens(
    image_attention: Tensor,
    question_attention: Tensor,
    anomaly_tokens: Tensor,
    eligible: Tensor,
    settings: Settings,
) -> TokenScores:
    """Score the reasoning tokens and keep those that speak of the defect (paper §3.1).

    Token r is kept iff Ŝ_T > τ_t and Ŝ_I > τ_i; its weight is w_r = α Ŝ_T + β Ŝ_I. The vanilla
    baseline keeps every token with weight 1. When none passes, `settings.none_kept` decides.

    Args:
        image_attention: (R, grid_h, grid_w) rows of the reasoning tokens over the image.
        question_attention: (R, Q) rows over the question.
        anomaly_tokens: (Q,) bool.
        eligible: (R,) bool, tokens that may be kept at all.
        settings: thresholds, weights, normalizations.
    """
    relevance = semantic_relevance(
        question_attention, anomaly_tokens, settings.semantic_normalization
    )
    concentration = attention_concentration(image_attention, settings.concentration_normalization)
    if settings.selection == "vanilla":
        return TokenScores(relevance, concentration, eligible, torch.ones_like(relevance))
    weights = settings.alpha * relevance + settings.beta * concentration
    kept = eligible & (relevance > settings.tau_t) & (concentration > settings.tau_i)
    if not kept.any() and eligible.any():
        kept = eligible.clone()
        if settings.none_kept == "best":
            kept[:] = False
            kept[weights.masked_fill(~eligible, -1).argmax()] = True
    return TokenScores(relevance, concentration, kept, weights)
