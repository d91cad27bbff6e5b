"""The benchmarks' own arithmetic."""

import numpy as np
import pytest
from detection import BINS, pixel_scores
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 12)), min_size=2, max_size=60).filter(
        lambda pixels: len({truth for truth, _ in pixels}) == 2
    )
)
def test_scores_read_off_a_histogram_are_those_of_the_pixels(pixels: list[tuple[int, int]]) -> None:
    truth, bins = np.array(pixels).T
    histogram = np.zeros((2, BINS), np.int64)
    np.add.at(histogram, (truth, bins * 5000), 1)
    auroc, precision = pixel_scores(histogram)
    assert auroc == pytest.approx(roc_auc_score(truth, bins))
    assert precision == pytest.approx(average_precision_score(truth, bins))
