"""The best step and the uncertainty of a gain, against plain loops over resamples."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flawsight.cgro.best_step import Outcome, best_step, gain
from flawsight.cgro.trainer import best_row
from flawsight.cgro.validation import read_outcomes, validation_metrics, write_outcomes
from flawsight.errors import RunFolderError

SCORES = st.lists(st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9]), min_size=12, max_size=12)


def outcomes(scores: list[float]) -> list[Outcome]:
    """The first half are defective."""
    half = len(scores) // 2
    return [
        Outcome(i < half, float(s), bool(s > 0.5), False, f"{i}.png") for i, s in enumerate(scores)
    ]


def pairwise(found: list[Outcome]) -> float:
    pairs = [
        (bad.score > good.score) + 0.5 * (bad.score == good.score)
        for bad in found if bad.label for good in found if not good.label
    ]  # fmt: skip
    return float(np.mean(pairs))


def noisy(signal: float, seed: int, each: int = 40) -> list[Outcome]:
    rng = np.random.default_rng(seed)
    return outcomes([*(rng.normal(signal, 1, each)), *rng.normal(0, 1, each)])


def test_the_interval_of_a_gain_is_that_of_a_plain_bootstrap() -> None:
    earlier, later = noisy(0.3, 0), noisy(1.0, 1)
    found = gain(earlier, later)
    assert found.value == pytest.approx(pairwise(later) - pairwise(earlier))
    rng = np.random.default_rng(7)
    draws = []
    for _ in range(300):
        drawn = [*rng.integers(0, 40, 40), *rng.integers(40, 80, 40)]
        draws.append(pairwise([later[i] for i in drawn]) - pairwise([earlier[i] for i in drawn]))
    assert found.error == pytest.approx(np.std(draws), rel=0.15)
    assert [found.low, found.high] == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.03)


@settings(deadline=None, max_examples=25)
@given(SCORES)
def test_a_step_that_changed_nothing_gains_nothing_for_sure(scores: list[float]) -> None:
    found = gain(outcomes(scores), outcomes(scores))
    assert (found.value, found.low, found.high, found.error) == (0, 0, 0, 0)


@settings(deadline=None, max_examples=25)
@given(st.lists(SCORES, min_size=1, max_size=4))
def test_the_best_is_never_worse_than_the_first(history: list[list[float]]) -> None:
    validations = [outcomes(scores) for scores in history]
    best = best_step(validations)
    assert pairwise(validations[best]) >= pairwise(validations[0])
    # Every later one is within its error of the best.
    for later in validations[best + 1 :]:
        found = gain(validations[best], later)
        assert found.value <= found.error


def test_a_gain_within_its_error_does_not_replace_the_earlier_step() -> None:
    # Of 3 and 3 images, as of "0.556 → 0.778": two more pairs are ranked rightly.
    first = outcomes([0.9, 0.5, 0.1, 0.2, 0.3, 0.6])
    later = outcomes([0.9, 0.65, 0.1, 0.2, 0.3, 0.6])
    found = gain(first, later)
    assert 0 < found.value <= found.error
    assert best_step([first, later]) == 0
    sure = noisy(2.5, 3)
    assert best_step([noisy(0.1, 3), sure, noisy(0.1, 4)]) == 1


def test_an_image_without_an_answer_ranks_at_the_wrong_end() -> None:
    answered = [Outcome(True, 0.6, True, False), Outcome(False, 0.4, False, False)]
    silent = [Outcome(True, None, False, False), answered[1]]
    assert gain(answered, silent).value == -1


def test_metrics_hold_the_interval_and_what_becomes_of_the_language() -> None:
    found = noisy(1.0, 5)
    found[0] = found[0]._replace(text="<think>A dent.</think><answer>Yes</answer>")
    metrics = validation_metrics(found)
    assert metrics["image_auroc_low"] < pairwise(found) < metrics["image_auroc_high"]
    assert metrics["format"] == 1 / 80
    assert metrics["distinct"] == 2 / 80


def test_what_is_written_is_read_and_decides(tmp_path: Path) -> None:
    rows = [
        {"step": float(step), "image_auroc": 0.5, "balanced_accuracy": 0.5} for step in (0, 1, 2)
    ]
    rows[1] |= {"balanced_accuracy": 0.6}
    assert best_row(tmp_path, rows) is rows[1]  # of version 0.1
    for step, signal in ((0, 0.0), (1, 0.1), (2, 2.0)):
        write_outcomes(tmp_path, step, noisy(signal, step))
        assert read_outcomes(tmp_path, step) == noisy(signal, step)
    assert best_row(tmp_path, rows) is rows[2]
    (path,) = tmp_path.glob("validations/step-000002.jsonl")
    assert json.loads(path.read_text().splitlines()[0])["label"] is True
    path.write_text('{"label": true}\n{"la')
    with pytest.raises(RunFolderError, match="step-000002"):
        best_row(tmp_path, rows)
