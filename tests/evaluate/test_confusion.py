"""Confusion counts and the suggested threshold, against loops."""

from hypothesis import given
from hypothesis import strategies as st

from flawsight.evaluate.confusion import Confusion, confusion, suggested_threshold

LABELLED = st.lists(
    st.tuples(st.booleans(), st.floats(0, 1) | st.sampled_from([0.2, 0.5, 0.5000001])), max_size=20
)


def balanced(labels: list[bool], scores: list[float], threshold: float) -> float:
    right = {True: [], False: []}
    for label, score in zip(labels, scores, strict=True):
        right[label].append((score > threshold) == label)
    return sum(sum(one) / len(one) for one in right.values()) / 2


@given(LABELLED)
def test_no_threshold_is_better_than_the_suggested_one(pairs: list[tuple[bool, float]]) -> None:
    labels, scores = [label for label, _ in pairs], [score for _, score in pairs]
    threshold = suggested_threshold(labels, scores)
    if len(set(labels)) < 2:
        assert threshold is None
        return
    assert threshold is not None
    reached = balanced(labels, scores, threshold)
    assert 0 <= threshold <= 1
    for other in [-1.0, *scores]:
        assert reached >= balanced(labels, scores, other) - 1e-9


def test_it_has_few_digits_and_few_false_alarms() -> None:
    assert suggested_threshold([False, False, True], [0.1, 0.4123, 0.8]) == 0.61
    assert suggested_threshold([False, True, False], [0.1, 0.2, 0.9]) == 0.15
    # No better than calling all good: the highest of equals.
    assert suggested_threshold([True, False], [0.1, 0.2]) == 0.2


@given(st.lists(st.tuples(st.booleans(), st.none() | st.booleans())))
def test_confusion_counts_each_image_with_a_verdict_once(pairs: list) -> None:
    found = confusion([label for label, _ in pairs], [verdict for _, verdict in pairs])
    counts = [0, 0, 0, 0]
    for label, verdict in pairs:
        if verdict is not None:
            counts[{(1, 1): 0, (0, 1): 1, (1, 0): 2, (0, 0): 3}[label, verdict]] += 1
    assert found == Confusion(*counts)
