"""log P(Yes) − log P(No) of each response of a batch, the probabilities of whole strings."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from .adapter import core
from .answer_strings import AnswerStrings, Ids, answer_strings
from .load import MLLM
from .teacher_forcing import hidden_states

# Rows of the head that are made float32 at once.
_ROWS = 16384


@torch.inference_mode()
def answer_margins(
    mllm: MLLM,
    inputs: Mapping[str, Tensor],
    ids: Sequence[list[int]],
    hidden: Tensor,
    opening: str = "",
) -> list[tuple[float, bool]]:
    """Compare the probability of each response with the answer Yes to that with No.

    P(Yes) is that of the response up to its answer, followed by Yes as the response writes its
    answer; P(No) likewise. If the tokens of one leave the response before the last of them, one
    more forward pass gives their probabilities. So it does for a response without an answer, after
    text that closes its form.

    Args:
        mllm: its lock is held.
        inputs: of B prompts.
        ids: B responses of at most R tokens.
        hidden: (B, R or more, width), the last hidden states; row i is before token i.
        opening: what of the responses the prompts have begun.

    Returns:
        B of log P(Yes) − log P(No), and whether the response had no answer.
    """
    tokenizer, ends = mllm.processor.tokenizer, mllm.end_tokens
    with mllm.tokenizing:
        strings = [answer_strings(tokenizer, response, opening, ends) for response in ids]
    states: list[dict[Ids, Tensor]] = []
    aside: list[list[Ids]] = []  # the longest contexts that a response does not begin with
    for index, (wanted, response) in enumerate(zip(strings, ids, strict=True)):
        contexts = _contexts(wanted)
        states.append({c: hidden[index, len(c)] for c in contexts if _begins(c, response, hidden)})
        off = [c for c in contexts if c not in states[index]]
        aside.append([c for c in off if not any(c != d and d[: len(c)] == c for d in off)])
    for number in range(max(map(len, aside))):
        given = [contexts[number] if number < len(contexts) else () for contexts in aside]
        seen = hidden_states(mllm, inputs, given)
        for wanted, known, context, row in zip(strings, states, given, seen, strict=True):
            for each in _contexts(wanted):
                if context[: len(each)] == each:
                    known.setdefault(each, row[len(each)])
    margins = []
    for wanted, known in zip(strings, states, strict=True):
        table = log_probabilities(mllm, torch.stack(list(known.values()))).double()
        at = dict(zip(known, table, strict=True))
        yes, no = (
            sum(float(at[wanted.base + way[:count]][token]) for count, token in enumerate(way))
            for way in (wanted.yes, wanted.no)
        )
        margins.append((yes - no, wanted.forced))
    return margins


def _contexts(strings: AnswerStrings) -> dict[Ids, None]:
    """Return what precedes each token of the two strings, in the response."""
    ways = (strings.yes, strings.no)
    return {strings.base + way[:count]: None for way in ways for count in range(len(way))}


def _begins(context: Ids, response: Sequence[int], hidden: Tensor) -> bool:
    return len(context) < hidden.shape[1] and tuple(response[: len(context)]) == context


def log_probabilities(mllm: MLLM, hidden: Tensor) -> Tensor:
    """Return (n, vocabulary) log-probabilities of the next token, in float32 in any dtype.

    Args:
        mllm: of any dtype.
        hidden: (n, width), the last hidden states.
    """
    head, text = mllm.model.get_output_embeddings(), core(mllm.model).config.get_text_config()
    if type(head) is nn.Linear and head.weight.dtype != torch.float32:
        parts = range(0, head.out_features, _ROWS)
        logits = torch.cat(
            [linear(hidden.float(), head.weight[i : i + _ROWS].float()) for i in parts], dim=-1
        )
        logits = logits if head.bias is None else logits + head.bias.float()
    else:  # an adapter may be on it
        logits = head(hidden).float()
    logits = logits / (getattr(text, "logits_scaling", None) or 1)
    if cap := getattr(text, "final_logit_softcapping", None):
        logits = cap * (logits / cap).tanh()
    return logits.log_softmax(dim=-1)
