"""What the model says of the photos, and what its attention is like."""

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from ..cgro.score_rollout import score_trace
from ..cgro.train_settings import TrainSettings
from ..inspection import Trace
from ..mllm.response import answer_end, follows_form
from ..real.token_selection import ScoredReasoning, select
from .case import Case
from .finding import Finding

QUANTILES = (0.1, 0.5, 0.9)
# Attention on border cells, by the share of the cells that lie there: more is called a sink.
SINK = 1.5


def answers(case: Case) -> Finding:
    """Count the responses that are answered, in form, forced and cut off; some must be answered."""
    traced, longest = case.traced, case.settings.max_new_tokens
    count = len(case.images)
    answered = [trace for trace in traced.traces if not trace.answer_forced]
    in_form = sum(follows_form(trace.text) for trace in traced.traces)
    cut = sum(_cut_off(trace, longest) for trace in traced.traces)
    yes = sum(trace.answer_margin > 0 for trace in answered)
    values = {
        "photos": count, "answered": len(answered), "in_form": in_form, "cut_off": cut, "yes": yes,
        "forced": len(traced.traces) - len(answered), "failed": len(traced.errors),
        "first": traced.traces[0].text if traced.traces else None,
    }  # fmt: skip
    message = f"{len(answered)} of {count} answered ({yes} Yes), {in_form} in form, "
    message += f"{values['forced']} forced, {cut} cut off at {longest} tokens"
    if traced.errors:
        message += f", {len(traced.errors)} failed: {traced.errors[0]}"
    if cut:
        message += f"; try --set max_new_tokens={2 * longest}"
    elif not answered and traced.traces:
        message += f"; the model does not know the form, it says {traced.traces[0].text[:60]!r}"
    elif in_form < len(answered):
        message += "; `flawsight train` teaches the form"
    return Finding("answers", None if answered else False, message, values)


def token_selection(case: Case) -> Finding:
    """Show Ŝ_T and Ŝ_I, and advise if a threshold selects all tokens or none."""
    settings = case.settings
    scored = _scored(case)
    if not scored:
        return Finding("token selection", None, "no response has reasoning to select tokens of")
    relevance = torch.cat([each.scores.semantic_relevance for each in scored])
    concentration = torch.cat([each.scores.concentration for each in scored])
    S_T, S_I = _quantiles(relevance), _quantiles(concentration)
    kept = [
        (each.scores.semantic_relevance > settings.tau_t)
        & (each.scores.concentration > settings.tau_i)
        for each in scored
    ]
    share, none = float(torch.cat(kept).float().mean()), sum(not own.any() for own in kept)
    message = f"{share:.0%} of {len(relevance)} tokens pass; Ŝ_T {_shown(S_T)}, Ŝ_I {_shown(S_I)} "
    message += "(quantiles .1, .5, .9)"
    if settings.selection == "vanilla":
        message += "; all count (vanilla)"
    elif none:
        taken = "takes the best token" if settings.fallback == "best" else "takes all tokens"
        message += f"; on {none} of {len(scored)} photos none does: the fallback {taken}"
    for name, label, each in (("tau_t", "τ_t", relevance), ("tau_i", "τ_i", concentration)):
        threshold, quantile = getattr(settings, name), None
        if each.max() <= threshold:
            message, quantile = f"{message}; {label} = {threshold:g} alone selects none", 0.75
        elif not none and 0 < threshold < each.min():
            message, quantile = f"{message}; {label} = {threshold:g} selects all", 0.25
        elif none and name == "tau_t" and concentration.max() > settings.tau_i:
            quantile = 0.75
        if quantile is not None:
            message += f", try --set {name}={float(each.quantile(quantile)):.2g}"
    values = {
        "S_T": S_T, "S_I": S_I, "selected": share, "photos_without": none, "photos": len(scored),
    }  # fmt: skip
    return Finding("token selection", None, message, values)


def agreement(case: Case) -> Finding:
    """Show J of the responses, which R_cons compares with δ."""
    settings = TrainSettings()
    scores = [score_trace(trace, True, case.settings, settings) for trace in case.traced.traces]
    known = torch.tensor([s.agreement for s in scores if not math.isnan(s.agreement)])
    if not len(known):
        return Finding("agreement J", None, "no response has two reasoning tokens to compare")
    J = _quantiles(known)
    message = f"J of the top {settings.top_t} tokens {_shown(J)} (quantiles .1, .5, .9)"
    delta = settings.delta_anomalous
    if not known.min() <= delta < known.max():
        median = f"{max(0.01, float(known.median())):.2g}"
        message += f"; {'all' if known.min() > delta else 'none'} above δ = {delta:g}, so R_cons "
        message += f"teaches little: train with --delta-anomalous {median} --delta-normal {median}"
    return Finding("agreement J", None, message, {"J": J, "responses": len(known)})


def sinks(case: Case) -> Finding:
    """Show how much attention lies on the first token, and on the cells along the border."""
    maps = [trace.image_attention for trace in case.traced.traces]
    cells = torch.cat([_border(each[0]).flatten() for each in maps]).float().mean()
    on_border = sum(float(each[:, _border(each[0])].sum()) for each in maps)
    border = on_border / sum(float(each.sum()) for each in maps)
    rows, columns = case.eager_rows, case.prompts.columns[0]
    first, image = (float(rows[:, at].sum(dim=-1).mean()) for at in ([0], columns[: _tokens(case)]))
    values = {"border": border, "border_cells": float(cells), "first_token": first, "image": image}
    message = f"{first:.0%} of all attention is on the first token, {image:.0%} on the image; of "
    message += f"that, {border:.0%} on its border, which has {cells:.0%} of the cells"
    if border > SINK * cells and case.inspector.prior is None:
        message += "; measure the sinks on good parts: flawsight prior PHOTOS"
    return Finding("sinks", None, message, values)


def _tokens(case: Case) -> int:
    return case.prompts.grids[0].tokens


def _border(grid: Tensor) -> Tensor:
    """Return (h, w) bool, the outermost cells of a grid."""
    edge = torch.ones_like(grid, dtype=torch.bool)
    edge[1:-1, 1:-1] = False
    return edge


def _scored(case: Case) -> list[ScoredReasoning]:
    found = map(partial(select, settings=case.settings), case.traced.traces)
    return [each for each in found if each.tokens]


def _cut_off(trace: Trace, longest: int) -> bool:
    """Whether a response reached the longest length without an end token or a closed answer."""
    spans = trace.token_spans
    ended = spans[-1][0] == spans[-1][1] or answer_end(trace.text) is not None
    return len(spans) >= longest and not ended


def _quantiles(values: Tensor) -> list[float]:
    return [
        round(q, 4) for q in values.double().quantile(torch.tensor(QUANTILES).double()).tolist()
    ]


def _shown(values: Sequence[float]) -> str:
    return " ".join(f"{value:.2f}" for value in values)
