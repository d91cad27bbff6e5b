"""CGRO's rewards against cases worked by hand, plain loops, and what must hold for all inputs."""

import itertools
import math
import statistics

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from flawsight.cgro.rewards import (
    accuracy_reward,
    consistency_reward,
    format_reward,
    group_advantages,
    jaccard,
    supports,
    top_tokens,
)

FORM = "<think>There is a scratch.</think><answer>Yes</answer>"


@st.composite
def attention_maps(draw: st.DrawFn) -> Tensor:
    """Draw (t, N) maps, often with ties."""
    shape = (draw(st.integers(2, 4)), draw(st.integers(1, 60)))
    values = st.integers(0, draw(st.sampled_from([1, 3, 1000])))
    return torch.from_numpy(draw(arrays(np.int64, shape, elements=values))).float()


@st.composite
def boolean_sets(draw: st.DrawFn) -> Tensor:
    shape = (draw(st.integers(2, 5)), draw(st.integers(1, 12)))
    return torch.from_numpy(draw(arrays(np.bool_, shape)))


@pytest.mark.parametrize(
    ("text", "reward"),
    [
        (FORM, 1.0),
        (f"\n{FORM} \n", 1.0),
        (FORM.replace("Yes", " No "), 1.0),
        (FORM + " Thank you.", 0.0),
        (FORM.replace("Yes", "Maybe"), 0.0),
        (FORM.replace("</think>", ""), 0.0),
        ("<think> </think><answer>Yes</answer>", 0.0),
        ("Yes", 0.0),
        ("", 0.0),
    ],
)
def test_format_reward(text: str, reward: float) -> None:
    assert format_reward(text) == reward


@pytest.mark.parametrize(
    ("answer", "label", "reward"),
    [
        ("Yes", True, 1.0),
        ("No", False, 1.0),
        ("No", True, 0.0),
        ("Yes", False, 0.0),
        (None, True, 0.0),
        (None, False, 0.0),
    ],
)
def test_accuracy_reward(answer: str | None, label: bool, reward: float) -> None:
    assert accuracy_reward(answer, label) == reward  # type: ignore[arg-type]


def test_supports_by_hand() -> None:
    twenty_one = torch.arange(21.0)
    # The 95th percentile of 0 … 20 is 19, at rank 0.95 · 20.
    assert supports(twenty_one[None]).nonzero().tolist() == [[0, 20]]
    paper = torch.rand(3, 225, generator=torch.Generator().manual_seed(0))
    assert supports(paper).sum(dim=1).tolist() == [12, 12, 12]
    assert supports(torch.tensor([[1.0, 4.0, 2.0, 3.0]]), quantile=0.5).tolist() == [
        [False, True, False, True]
    ]


def test_supports_with_ties() -> None:
    constant = torch.full((1, 225), 1 / 225)
    assert not supports(constant).any()
    sparse = torch.zeros(1, 225)
    sparse[0, :5] = torch.tensor([0.2, 0.1, 0.3, 0.1, 0.3])
    assert supports(sparse).nonzero()[:, 1].tolist() == [0, 1, 2, 3, 4]
    plateau = torch.zeros(1, 225)
    plateau[0, :20] = 0.05
    assert not supports(plateau).any()


@given(attention_maps(), st.sampled_from([0.0, 0.5, 0.9, 0.95, 0.99]))
def test_supports_are_the_cells_above_numpys_percentile(maps: Tensor, quantile: float) -> None:
    for row, mask in zip(maps.numpy().astype(np.float64), supports(maps, quantile), strict=True):
        threshold = np.quantile(row, quantile)
        # Interpolating between equal or neighbouring whole numbers is exact to far below 1e-6.
        assert mask.tolist() == [value > threshold + 1e-6 for value in row]


@given(attention_maps(), st.floats(0.01, 100))
def test_supports_depend_on_the_order_alone_and_stay_small(maps: Tensor, factor: float) -> None:
    chosen = supports(maps)
    assert (chosen.sum(dim=1) <= math.ceil(0.05 * (maps.shape[1] - 1))).all()
    assert torch.equal(chosen, supports(maps.double() * factor + 1))


def test_jaccard_by_hand() -> None:
    sets = torch.tensor(
        [
            [1, 1, 1, 0, 0, 0],
            [0, 1, 1, 1, 0, 0],
            [0, 0, 1, 1, 1, 0],
        ],
        dtype=torch.bool,
    )
    # Pairs: 2/4, 1/5, 2/4; all three share one cell of five.
    assert jaccard(sets) == pytest.approx(0.4)
    assert jaccard(sets, "all") == pytest.approx(0.2)


def test_jaccard_of_few_or_empty_sets() -> None:
    assert math.isnan(jaccard(torch.ones(1, 4, dtype=torch.bool)))
    assert math.isnan(jaccard(torch.ones(0, 4, dtype=torch.bool)))
    for of in ("pairs", "all"):
        assert jaccard(torch.zeros(3, 4, dtype=torch.bool), of) == 0  # type: ignore[arg-type]


@given(boolean_sets())
def test_jaccard_against_python_sets(masks: Tensor) -> None:
    sets = [set(mask.nonzero()[:, 0].tolist()) for mask in masks]

    def overlap(group: tuple[set[int], ...]) -> float:
        union = set().union(*group)
        return len(set.intersection(*group)) / len(union) if union else 0.0

    pairs = [overlap(pair) for pair in itertools.combinations(sets, 2)]
    assert jaccard(masks) == pytest.approx(statistics.fmean(pairs))
    assert jaccard(masks, "all") == pytest.approx(overlap(tuple(sets)))


@given(boolean_sets(), st.randoms(use_true_random=False))
def test_jaccard_is_bounded_and_blind_to_order(masks: Tensor, random: object) -> None:
    shuffled = torch.randperm(len(masks))
    cells = torch.randperm(masks.shape[1])
    assert 0 <= jaccard(masks, "all") <= jaccard(masks) <= 1
    assert jaccard(masks) == pytest.approx(jaccard(masks[shuffled][:, cells]))
    same = masks[:1].expand(3, -1)
    assert jaccard(same) == float(masks[0].any())


def test_consistency_pays_agreement_where_there_is_a_defect_and_disagreement_where_not() -> None:
    for J, anomalous, normal in [(0.76, 1.0, 0.0), (0.13, 0.0, 1.0), (0.5, 0.0, 0.0)]:
        assert consistency_reward(J, True, 0.5, 0.5) == anomalous
        assert consistency_reward(J, False, 0.5, 0.5) == normal
    # Between the two thresholds neither or both are paid.
    assert consistency_reward(0.4, True, 0.3, 0.2) == 1
    assert consistency_reward(0.4, False, 0.3, 0.2) == 0


@given(st.booleans(), st.floats(0, 1), st.floats(0, 1))
def test_a_response_with_nothing_to_compare_earns_no_consistency(
    label: bool, delta_anomalous: float, delta_normal: float
) -> None:
    assert consistency_reward(math.nan, label, delta_anomalous, delta_normal) == 0


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_more_agreement_never_costs_a_defect_nor_pays_a_normal_image(
    low: float, high: float, delta: float
) -> None:
    low, high = sorted((low, high))
    assert consistency_reward(low, True, delta, 0) <= consistency_reward(high, True, delta, 0)
    assert consistency_reward(low, False, 0, delta) >= consistency_reward(high, False, 0, delta)


def test_top_tokens() -> None:
    weights = torch.tensor([0.2, 0.9, 0.5, 0.9, 0.7])
    assert top_tokens(weights).tolist() == [1, 3, 4]
    assert top_tokens(weights, count=9).tolist() == [1, 3, 4, 2, 0]
    assert top_tokens(weights[:0]).tolist() == []


def test_advantages_by_hand() -> None:
    advantages = group_advantages(torch.tensor([3.0, 1.0, 1.0, 3.0]))
    deviation = math.sqrt(4 / 3) + 1e-4
    assert advantages.tolist() == pytest.approx(
        [1 / deviation, -1 / deviation] * 1 + [-1 / deviation, 1 / deviation]
    )
    assert group_advantages(torch.full((8,), 2.0)).tolist() == [0.0] * 8


@given(
    arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(2, 8)), elements=st.integers(0, 3))
)
def test_advantages_sum_to_zero_and_keep_the_order_of_rewards(rewards: np.ndarray) -> None:
    groups = torch.from_numpy(rewards)
    advantages = group_advantages(groups)
    torch.testing.assert_close(advantages.sum(dim=1), torch.zeros(len(groups)).double())
    for group, group_advantage in zip(groups, advantages, strict=True):
        torch.testing.assert_close(group_advantages(group), group_advantage)
        for i, j in itertools.permutations(range(len(group)), 2):
            if group[i] > group[j]:
                assert group_advantage[i] > group_advantage[j]
