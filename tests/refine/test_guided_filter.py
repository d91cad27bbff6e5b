"""The guided filter: nothing new is marked, and edges are followed."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from flawsight.localize import localize
from flawsight.refine.guided_filter import guided_filter
from flawsight.settings import PRESETS
from helpers.traces import RESPONSE, make_trace

PAPER = PRESETS["paper"]


@given(
    st.tuples(st.integers(4, 40), st.integers(4, 40)),
    st.tuples(st.integers(4, 40), st.integers(4, 40)),
    st.integers(1, 30),
    st.integers(0, 99),
)
def test_a_flat_map_stays_flat_and_no_map_gets_a_new_peak(
    size: tuple[int, int], guide_size: tuple[int, int], cells: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    guide = random.random(guide_size).astype(np.float32)
    flat = guided_filter(np.full(size, 0.2, np.float32), guide, cells)
    np.testing.assert_allclose(flat, 0.2, atol=1e-3)
    anomaly_map = random.random(size).astype(np.float32)
    drawn = guided_filter(anomaly_map, guide, cells)
    assert drawn.shape == size
    assert drawn.dtype == np.float32
    assert anomaly_map.min() <= drawn.min() <= drawn.max() <= anomaly_map.max()


def test_a_blurred_mark_is_drawn_to_the_edge_of_the_part_that_it_marks() -> None:
    guide = np.full((60, 90), 0.3, np.float32)
    guide[:, 45:] = 0.8
    across = np.clip((np.arange(90) - 37) / 16, 0, 1).astype(np.float32)
    blurred = np.tile(0.1 + 0.6 * across, (60, 1))
    drawn = guided_filter(blurred, guide, 24)
    jump = drawn[:, 45] - drawn[:, 44]
    assert np.all(jump > 4 * (blurred[:, 45] - blurred[:, 44]))
    even = guided_filter(blurred, np.full_like(guide, 0.5), 24)
    assert np.all(np.diff(even, axis=1) > -1e-5)


def test_only_the_setting_needs_the_photo() -> None:
    trace, photo = make_trace(RESPONSE), Image.effect_noise((40, 30), 90).convert("RGB")
    plain = localize(trace, (30, 40), PAPER)
    same = localize(trace, (30, 40), PAPER, photo=photo)
    assert np.array_equal(same.anomaly_map, plain.anomaly_map)
    edges = replace(PAPER, guided_filter=True)
    drawn = localize(trace, (30, 40), edges, photo=photo)
    assert not np.array_equal(drawn.anomaly_map, plain.anomaly_map)
    without = localize(trace, (30, 40), edges)
    assert np.array_equal(without.anomaly_map, plain.anomaly_map)
