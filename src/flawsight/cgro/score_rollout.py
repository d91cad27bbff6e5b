"""One candidate → its three rewards, from its text and its attention maps."""

import math
from dataclasses import dataclass, replace

from ..errors import AnswerError
from ..inspection import Trace
from ..mllm.contradiction import contradicts
from ..mllm.response import parse_response
from ..real.token_selection import select
from ..settings import Settings
from .rewards import (
    accuracy_reward,
    consistency_reward,
    format_reward,
    jaccard,
    supports,
    top_tokens,
)
from .train_settings import Consistency


@dataclass(frozen=True)
class Score:
    """The rewards of one candidate, each 0 or 1.

    Attributes:
        format: R_fmt.
        accuracy: R_acc.
        consistency: R_cons.
        agreement: J in [0, 1]; NaN if there are fewer than two tokens to compare.
        top: indices of the response tokens that were compared, by falling w_r.
    """

    format: float
    accuracy: float
    consistency: float
    agreement: float = math.nan
    top: tuple[int, ...] = ()

    @property
    def total(self) -> float:
        """R_fmt + R_acc + R_cons, with unit weights [paper]."""
        return self.format + self.accuracy + self.consistency


def score_text(text: str, label: bool) -> Score:
    """Score a response by its text alone: R_fmt and R_acc, with R_cons 0 (the baseline R1).

    The text is without special tokens; the label y is True for an anomalous image.
    """
    try:
        answer = parse_response(text).answer
    except AnswerError:
        answer = None
    return Score(format_reward(text), accuracy_reward(answer, label), 0.0)


def in_agreement(score: Score, text: str) -> Score:
    """Return the score, with R_fmt 0 if the reasoning claims the opposite of the answer [ours]."""
    try:
        response = parse_response(text)
    except AnswerError:
        return score
    opposed = contradicts(text[slice(*response.reasoning)], response.answer)
    return replace(score, format=0.0) if opposed else score


def score_trace(trace: Trace, label: bool, settings: Settings, consistency: Consistency) -> Score:
    """Score a response by its text and by the attention maps of its top-t tokens.

    Without an answer, the end of the reasoning is unknown, so J is NaN and R_cons 0.

    Args:
        trace: of the policy that is trained.
        label: y, True for an anomalous image.
        settings: how S_T and S_I are computed; w_r is used even if `selection` is "vanilla".
        consistency: of R_cons.
    """
    score = score_text(trace.text, label)
    try:
        reasoning = select(trace, replace(settings, selection="real"))
    except AnswerError:
        return score
    top = top_tokens(reasoning.scores.weights, consistency.top_t)
    maps = reasoning.attention[top].flatten(start_dim=1)
    agreement = jaccard(supports(maps, consistency.quantile), consistency.jaccard_of)
    return replace(
        score,
        consistency=consistency_reward(
            agreement, label, consistency.delta_anomalous, consistency.delta_normal
        ),
        agreement=agreement,
        top=tuple(reasoning.tokens[index] for index in top.tolist()),
    )
