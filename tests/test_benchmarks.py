"""The benchmarks' own arithmetic."""

import numpy as np
import pytest
import torch
from words import localization, selections, told, word_kinds

from flawsight.inspection import Trace

SAID = (
    "This shows a metal plate. There is a screw in the upper left. "
    "There is a dark scratch in the center, out of place there."
)
TEXT = f"<think>{SAID}</think><answer>Yes</answer>"


def spans(text: str) -> list[tuple[int, int]]:
    """Cut a text into words with the space before them, and signs."""
    ends = [i for i in range(1, len(text)) if not text[i].isalnum() or not text[i - 1].isalnum()]
    ends = [i for i in ends if text[i - 1] != " "]
    return list(zip([0, *ends], [*ends, len(text)], strict=True))


def test_words_are_sorted_by_what_they_name() -> None:
    pieces = spans(SAID)
    kinds = dict(
        zip([SAID[slice(*span)].strip() for span in pieces], word_kinds(SAID, pieces), strict=True)
    )
    assert kinds["metal"] == kinds["plate"] == "surface"
    assert kinds["screw"] == "benign feature"
    assert kinds["upper"] == kinds["left"] == kinds["center"] == "place"
    assert kinds["scratch"] == "defect"
    assert kinds["There"] == kinds["dark"] == "function word"
    assert kinds["."] == kinds[","] == "punctuation"


def test_the_oracle_sees_what_only_the_defect_s_sentence_looks_at() -> None:
    pieces = spans(TEXT)
    begin = TEXT.index("There is a dark")
    rows = torch.zeros(len(pieces), 4, 4)
    for index, (start, _) in enumerate(pieces):
        # The row before a token is that of its predecessor: a token's own row is the next one.
        at = (1, 2) if begin <= start < TEXT.index("</think>") else (3, 0)
        if index + 1 < len(pieces):
            rows[index + 1][at] = 1.0
    trace = Trace(
        text=TEXT,
        token_spans=tuple(pieces),
        image_attention=rows,
        question_attention=torch.full((len(pieces), 3), 0.1),
        anomaly_tokens=torch.tensor([False, True, False]),
        answer_margins=torch.zeros(len(pieces)),
    )
    gt_mask = np.zeros((40, 40), bool)
    gt_mask[10:20, 20:30] = True
    one = told(trace, gt_mask)
    inside = [s for s in pieces if len("<think>") <= s[0] and s[1] <= TEXT.index("</think>")]
    said = [TEXT[slice(*span)] for span in inside]
    assert (
        "".join(np.array(said)[one.telling.numpy()]).strip()
        == SAID[SAID.index("There is a dark") :]
    )
    figures = selections(one, np.random.default_rng(0))
    looks = torch.zeros(4, 4)
    looks[1, 2] = 1.0
    oracle = figures["oracle: the sentence of the defect"]
    assert oracle == pytest.approx(localization(looks, gt_mask), abs=1e-3)
    assert oracle[0] > 0.99
    assert figures["all words (vanilla mean)"][1] < oracle[1]
    assert figures["oracle: its name alone"] == pytest.approx(oracle, abs=1e-3)
