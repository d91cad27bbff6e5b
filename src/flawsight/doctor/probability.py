"""Is P(Yes) the probability of whole strings?"""

from collections.abc import Sequence
from itertools import takewhile

import torch

from .case import Case
from .eager import eager_forward
from .finding import TOLERANCES, Finding

REASONING = "<think>There is a dark mark near the edge"
END = "</answer>"
# A response, what closes its form before the answer, and what the answer is.
RESPONSES = (
    (f"{REASONING}.</think><answer>Yes{END}", f"{REASONING}.</think><answer>"),
    (f"{REASONING}.</think><answer>No{END}", f"{REASONING}.</think><answer>"),
    (REASONING, f"{REASONING}</think><answer>"),
)


def answer_probability(case: Case) -> Finding:
    """log P(Yes) − log P(No) is that of whole strings, each teacher-forced in eager attention.

    Of an answer Yes, an answer No, and a response that is cut off.
    """
    tolerance = TOLERANCES[case.mllm.model.dtype].nats
    found, wanted = [], []
    for response, before in RESPONSES:
        trace = case.replayed(response)
        found.append(trace.answer_margin)
        wanted.append(_margin(case, response if trace.answer_forced else "", before))
    gaps = [abs(a - b) for a, b in zip(found, wanted, strict=True)]
    allowed = [tolerance * max(1, abs(margin) / 10) for margin in wanted]
    ok = all(gap <= most for gap, most in zip(gaps, allowed, strict=True))
    shown = "log P(Yes)/P(No) of a response with Yes, with No, and cut off: "
    message = f"{shown}{_list(found)}, {max(gaps):.2g} off whole strings' (tolerance "
    message += f"{max(allowed):.2g})"
    if not ok:
        message += f", which are {_list(wanted)}: do not trust pred_score. Report this"
    return Finding("P(Yes)", ok, message, {"found": found, "wanted": wanted, "allowed": allowed})


def _list(margins: Sequence[float]) -> str:
    return ", ".join(f"{margin:+.2f}" for margin in margins)


def _margin(case: Case, own: str, before: str) -> float:
    """Compare the strings that end in Yes and No, from the token where they part.

    Args:
        case: the first photo is asked about.
        own: what of the strings is a response of its own, tokenized apart from what closes it.
        before: all that precedes the answer.
    """
    tokenizer, opening = case.mllm.processor.tokenizer, case.prompts.opening

    def tokens(text: str) -> list[int]:
        return list(tokenizer(text.removeprefix(opening), add_special_tokens=False)["input_ids"])

    ways, rests = [], []
    with case.mllm.tokenizing:
        for word in ("Yes", "No"):
            ids = tokens(own) + tokens(before.removeprefix(own) + word + END)
            ways.append(ids)
            # What is left of the string after each of its tokens, if that is after the answer.
            lefts = {str(tokenizer.decode(ids[count:])): count for count in range(len(ids), 0, -1)}
            rests.append({left: count for left, count in lefts.items() if END.endswith(left)})
    rest = max(rests[0].keys() & rests[1].keys(), key=len)
    same = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(*ways, strict=False))))
    logs = []
    for ids, ends in zip(ways, rests, strict=True):
        cut = ids[: ends[rest]]
        logits, _ = eager_forward(case.mllm, case.prompts.inputs, cut)
        each = logits.cpu().double().log_softmax(dim=-1)[torch.arange(len(cut)), cut]
        logs.append(float(each[same:].sum()))
    return logs[0] - logs[1]
