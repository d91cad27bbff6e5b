"""Recall of regions, against a flood fill at every threshold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from flawsight.errors import DetectorError
from flawsight.metrics.region_recall import detections, peaks, region_recall

Image = tuple[NDArray[np.float32], NDArray[np.bool_]]


def components(mask: NDArray[np.bool_]) -> list[list[tuple[int, int]]]:
    """Flood fill over 8 neighbours."""
    left = {(int(y), int(x)) for y, x in zip(*np.nonzero(mask), strict=True)}
    found = []
    while left:
        stack, one = [left.pop()], []
        while stack:
            y, x = stack.pop()
            one.append((y, x))
            near = {(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= near
            stack += near
        found.append(one)
    return found


def brute_force(images: list[Image], allowed: float, tolerance: float) -> float:
    """Count detections and false alarms at each value that occurs."""
    thresholds = np.unique(np.concatenate([m.ravel() for m, _ in images]))
    best, regions = 0, sum(len(components(truth)) for _, truth in images)
    for threshold in thresholds:
        alarms = hits = 0
        for values, truth in images:
            defects, seen = components(truth), set()
            for one in components(values >= threshold):
                top = max(one, key=lambda p: (values[p], p))
                reach = [
                    min(np.hypot(top[0] - y, top[1] - x) for y, x in defect) for defect in defects
                ]
                if reach and min(reach) <= tolerance * max(values.shape):
                    seen.add(int(np.argmin(reach)))
                else:
                    alarms += 1
            hits += len(seen)
        if alarms <= allowed * len(images):
            best = max(best, hits)
    return best / regions


@st.composite
def scenes(draw: st.DrawFn) -> list[Image]:
    images = []
    for _ in range(draw(st.integers(1, 3))):
        shape = draw(st.tuples(st.integers(1, 7), st.integers(1, 7)))
        values = draw(arrays(np.float32, shape, elements=st.integers(0, 6).map(float)))
        # Far apart, so that no place is equally near to two of them.
        truth = np.zeros(shape, bool)
        for y, x in draw(st.sets(st.tuples(st.sampled_from([0, 3]), st.sampled_from([0, 3])))):
            if y < shape[0] and x < shape[1]:
                truth[y, x] = True
        images.append((values, truth))
    return images


@settings(max_examples=150, deadline=None)
@given(scenes(), st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.0, 0.15]))
def test_recall_is_that_of_a_flood_fill(
    images: list[Image], allowed: float, tolerance: float
) -> None:
    found = region_recall([detections(*i, tolerance) for i in images], None, allowed)
    if not any(truth.any() for _, truth in images):
        assert np.isnan(found)
    else:
        assert found == pytest.approx(brute_force(images, allowed, tolerance))


def test_weights_count_like_repeated_images() -> None:
    rng = np.random.default_rng(0)
    images = []
    for _ in range(4):
        truth = np.zeros((20, 20), bool)
        truth[rng.integers(20), rng.integers(20)] = True
        images.append((rng.random((20, 20), dtype=np.float32), truth))
    found = [detections(*image) for image in images]
    drawn = [found[i] for i in (0, 0, 2, 3, 3, 3)]
    weights = np.array([[1, 1, 1, 1], [2, 0, 1, 3]])
    both = region_recall(found, weights)
    assert both[0] == region_recall(found)
    assert both[1] == region_recall(drawn)


def test_a_map_that_marks_everything_finds_one_defect() -> None:
    truth = np.zeros((40, 40), bool)
    truth[5, 5] = truth[5, 30] = truth[30, 5] = True
    assert region_recall([detections(np.ones((40, 40), np.float32), truth)]) <= 1 / 3
    perfect = truth.astype(np.float32)
    assert region_recall([detections(perfect, truth)], false_alarms=0.0) == 1


def test_a_plateau_is_one_peak() -> None:
    births, deaths, _ = peaks(np.array([[1, 2, 2, 0, 3]], np.float32))
    assert sorted(zip(births.tolist(), deaths.tolist(), strict=True)) == [(2, 0), (3, -np.inf)]


def test_scores_must_be_finite() -> None:
    with pytest.raises(DetectorError, match="finite"):
        peaks(np.array([[np.nan]], np.float32))
