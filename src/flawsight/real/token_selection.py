"""Select the reasoning tokens that make the map, and weight them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import AnswerError
from ..inspection import TokenScores, Trace
from ..mllm.response import Response, response_of
from ..settings import Selection
from .scores import attention_concentration, semantic_relevance


@dataclass(frozen=True)
class ScoredReasoning:
    """The reasoning of a response with its R tokens' attention and scores.

    Attributes:
        response: positions of reasoning and answer in the trace's text.
        tokens: R indices of response tokens.
        attention: (R, grid_h, grid_w) their attention to the image.
        scores: of the R tokens.
    """

    response: Response
    tokens: list[int]
    attention: Tensor
    scores: TokenScores


def select(trace: Trace, settings: Selection) -> ScoredReasoning:
    """Score the reasoning of a response and select the tokens that make the map (paper §3.1).

    Raises:
        AnswerError: if the response holds no Yes or No.
    """
    response = response_of(trace)
    tokens, rows = reasoning_rows(trace, response.reasoning, settings)
    attention = trace.image_attention[rows]
    question = trace.question_attention[rows]
    scores = select_tokens(attention, question, trace.anomaly_tokens, settings)
    return ScoredReasoning(response, tokens, attention, scores)


def reasoning_rows(
    trace: Trace, reasoning: tuple[int, int], settings: Selection
) -> tuple[list[int], Tensor]:
    """Return the R indices of the reasoning's tokens, and (R,) rows of their attention.

    Args:
        reasoning: [start, end) characters of the reasoning in `trace.text`.
        settings: `attention_row`.
    """
    start, end = reasoning
    tokens = [
        index
        for index, (token_start, token_end) in enumerate(trace.token_spans)
        if start <= token_start < token_end <= end
    ]
    rows = torch.tensor(tokens, dtype=torch.long)
    if settings.attention_row == "token":
        rows = (rows + 1).clamp(max=len(trace.image_attention) - 1)
    return tokens, rows


def mean_attention(trace: Trace, settings: Selection) -> Tensor | None:
    """Return the (grid_h, grid_w) mean attention of all reasoning tokens, if there are any."""
    try:
        response = response_of(trace)
    except AnswerError:
        return None
    _, rows = reasoning_rows(trace, response.reasoning, settings)
    return trace.image_attention[rows].mean(dim=0) if len(rows) else None


def select_tokens(
    image_attention: Tensor,
    question_attention: Tensor,
    anomaly_tokens: Tensor,
    settings: Selection,
) -> TokenScores:
    """Score the reasoning tokens and select those about the defect (paper §3.1).

    Token r is selected iff Ŝ_T > τ_t and Ŝ_I > τ_i; its weight is w_r = α Ŝ_T + β Ŝ_I. The vanilla
    baseline selects every token with weight 1. If none passes, `settings.fallback` decides.

    Args:
        image_attention: (R, grid_h, grid_w) rows of the reasoning tokens over the image.
        question_attention: (R, Q) rows over the question.
        anomaly_tokens: (Q,) bool.
        settings: thresholds and weights.
    """
    relevance = semantic_relevance(question_attention, anomaly_tokens)
    concentration = attention_concentration(image_attention)
    if settings.selection == "vanilla":
        every = torch.ones_like(relevance)
        return TokenScores(relevance, concentration, every.bool(), every)
    weights = settings.alpha * relevance + settings.beta * concentration
    selected = (relevance > settings.tau_t) & (concentration > settings.tau_i)
    if len(weights) and not selected.any():
        if settings.fallback == "best":
            selected[weights.argmax()] = True
        else:
            selected[:] = True
    return TokenScores(relevance, concentration, selected, weights)
