"""The question put to the model, and where its anomaly words stand.

Both the question and "Yes or No" are the paper's (§3); the instruction that asks for the
``<think>…</think><answer>…</answer>`` form is ours, since the paper does not print its own.
"""

import re
from collections.abc import Mapping
from typing import Any

QUESTION = "Are there any defects or anomalies in the image?"
INSTRUCTION = "Reason inside <think> </think>, then answer Yes or No inside <answer> </answer>."
CHOICE_INSTRUCTION = "Answer with the letter of the right option alone."

# Said before photos of good parts and before the image, if there are any.
NORMAL_PHOTO = "The first image shows a normal sample, to compare the queried image with:"
NORMAL_PHOTOS = "The first {} images show normal samples, to compare the queried image with:"
QUERIED_IMAGE = "This is the queried image:"

_ANOMALY_WORD = re.compile(r"\b(?:defect|anomal|abnormal)\w*", re.IGNORECASE)


def user_message(question: str = QUESTION, photos: int = 0) -> list[dict[str, Any]]:
    """Return the chat: one user turn with the image first, then question and instruction.

    Photos of good parts come before the image and are said to be normal, as in the one-shot form of
    the benchmark MMAD.

    Args:
        question: put to the model.
        photos: how many photos of good parts there are.
    """
    text = {"type": "text", "text": f"{question} {INSTRUCTION}"}
    return [{"role": "user", "content": [*_images(photos), text]}]


def anomaly_word_spans(question: str) -> list[tuple[int, int]]:
    """Return [start, end) character spans of "defect", "anomaly", "abnormal" and inflections.

    These are the words whose attention makes up S_T (paper §3.1).
    """
    return [match.span() for match in _ANOMALY_WORD.finditer(question)]


def choice_message(
    question: str, options: Mapping[str, str], photos: int = 0
) -> list[dict[str, Any]]:
    """Return the chat with a multiple-choice question, and the images as in `user_message`.

    Args:
        question: about the image.
        options: letter → text.
        photos: how many photos of good parts there are.
    """
    lines = [f"{letter}. {text}" for letter, text in options.items()]
    text = {"type": "text", "text": "\n".join([question, *lines, CHOICE_INSTRUCTION])}
    return [{"role": "user", "content": [*_images(photos), text]}]


def _images(photos: int) -> list[dict[str, Any]]:
    """Return the parts of a message before its question."""
    if not photos:
        return [{"type": "image"}]
    said = NORMAL_PHOTO if photos == 1 else NORMAL_PHOTOS.format(photos)
    return [
        {"type": "text", "text": said},
        *({"type": "image"} for _ in range(photos)),
        {"type": "text", "text": QUERIED_IMAGE},
        {"type": "image"},
    ]
