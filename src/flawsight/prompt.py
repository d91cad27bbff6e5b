"""The question put to the model, and where its anomaly words stand.

Both the question and "Yes or No" are the paper's (§3); the instruction that asks for the
``<think>…</think><answer>…</answer>`` form is ours, since the paper does not print its own.
"""

import re
from typing import Any

QUESTION = "Are there any defects or anomalies in the image?"
INSTRUCTION = "Reason inside <think> </think>, then answer Yes or No inside <answer> </answer>."

_ANOMALY_WORD = re.compile(r"\b(?:defect|anomal|abnormal)\w*", re.IGNORECASE)


def user_message(question: str = QUESTION) -> list[dict[str, Any]]:
    """Return the chat: one user turn with the image first, then question and instruction."""
    text = f"{question} {INSTRUCTION}"
    return [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}]


def anomaly_word_spans(question: str) -> list[tuple[int, int]]:
    """Return [start, end) character spans of "defect", "anomaly", "abnormal" and inflections.

    These are the words whose attention makes up S_T (paper §3.1).
    """
    return [match.span() for match in _ANOMALY_WORD.finditer(question)]
