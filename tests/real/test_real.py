"""ReAL against a slow version of itself, written in plain Python from METHOD.md §1."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from flawsight.real.anomaly_map import aggregate, to_fixed_scale, upsample
from flawsight.real.scores import attention_concentration, semantic_relevance
from flawsight.real.token_selection import select_tokens
from flawsight.settings import Settings

Grid = list[list[int]]
SIZES = st.one_of(
    st.sampled_from([(1, 1), (1, 7), (9, 1), (2, 2), (15, 15)]),
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
)


@st.composite
def map_stacks(draw: st.DrawFn, min_tokens: int = 0, max_tokens: int = 5) -> list[Grid]:
    """Maps of small integers: ties, flat maps and zeros are common, and sums are exact."""
    height, width = draw(SIZES)
    count = draw(st.integers(min_tokens, max_tokens))
    highest = draw(st.sampled_from([0, 1, 3, 50]))
    cell = st.integers(0, highest)
    row = st.lists(cell, min_size=width, max_size=width)
    if count == 0:
        return []
    return [draw(st.lists(row, min_size=height, max_size=height)) for _ in range(count)]


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Grid], Grid, list[bool]]:
    """Maps, question rows and anomaly tokens of one response."""
    maps = draw(map_stacks(min_tokens=1))
    words = draw(st.integers(1, 5))
    row = st.lists(st.integers(0, 4), min_size=words, max_size=words)
    questions = draw(st.lists(row, min_size=len(maps), max_size=len(maps)))
    anomaly = draw(st.lists(st.booleans(), min_size=words, max_size=words))
    return maps, questions, anomaly


def as_stack(maps: list[Grid]) -> Tensor:
    return torch.tensor(maps, dtype=torch.float32) if maps else torch.zeros(0, 3, 4)


def slow_relevance(questions: Grid, anomaly: list[bool]) -> list[float]:
    sums = [sum(row[index] for index, yes in enumerate(anomaly) if yes) for row in questions]
    scores = []
    for row, relevance in zip(questions, sums, strict=True):
        scores.append(relevance / sum(row) if sum(row) else 0.0)
    return scores


def slow_components(grid: Grid) -> list[Fraction]:
    """Masses of the 8-connected regions above the exact mean, by flood fill."""
    height, width = len(grid), len(grid[0])
    mean = Fraction(sum(map(sum, grid)), height * width)
    left = {(y, x) for y in range(height) for x in range(width) if grid[y][x] > mean}
    masses = []
    while left:
        frontier, mass = [left.pop()], Fraction(0)
        while frontier:
            y, x = frontier.pop()
            mass += grid[y][x] - mean
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    if (y + dy, x + dx) in left:
                        left.remove((y + dy, x + dx))
                        frontier.append((y + dy, x + dx))
        masses.append(mass)
    return masses


def slow_concentration(grid: Grid) -> float:
    masses = slow_components(grid)
    if not masses:
        return 0.0
    entropy = -sum(float(m / sum(masses)) * math.log(m / sum(masses)) for m in masses)
    return math.exp(-entropy)


def slow_selection(
    maps: list[Grid],
    questions: Grid,
    anomaly: list[bool],
    settings: Settings,
) -> tuple[list[bool], list[float]]:
    relevance = slow_relevance(questions, anomaly)
    focus = [slow_concentration(grid) for grid in maps]
    if settings.selection == "vanilla":
        return [True] * len(maps), [1.0] * len(maps)
    pairs = zip(relevance, focus, strict=True)
    weights = [settings.alpha * t + settings.beta * i for t, i in pairs]
    selected = []
    for index in range(len(maps)):
        # Equal to the threshold in float32, as scores are selected, is not above it.
        above_t = np.float32(relevance[index]) > np.float32(settings.tau_t)
        above_i = np.float32(focus[index]) > np.float32(settings.tau_i)
        selected.append(bool(above_t and above_i))
    if any(selected):
        return selected, weights
    if settings.fallback == "mean":
        return [True] * len(maps), weights
    best = 0
    for index in range(len(maps)):
        if weights[index] > weights[best] + 1e-6:
            best = index
    return [index == best for index in range(len(maps))], weights


def slow_map(maps: list[Grid], selected: list[bool], weights: list[float]) -> list[list[float]]:
    height, width = len(maps[0]), len(maps[0][0])
    total = sum(w for w, keep in zip(weights, selected, strict=True) if keep)
    if total == 0:
        weights = [1.0] * len(maps)
        total = float(sum(selected))
    result = [[0.0] * width for _ in range(height)]
    for grid, keep, weight in zip(maps, selected, weights, strict=True):
        for y in range(height if keep else 0):
            for x in range(width):
                result[y][x] += weight * grid[y][x] / total
    return result


def slow_bilinear(grid: list[list[float]], height: int, width: int) -> list[list[float]]:
    """Each pixel's center, in cells, between the four nearest cell centers; edges repeat."""
    rows, columns = len(grid), len(grid[0])
    pixels = []
    for y in range(height):
        v = min(max((y + 0.5) * rows / height - 0.5, 0), rows - 1)
        top = min(int(v), rows - 1)
        bottom = min(top + 1, rows - 1)
        line = []
        for x in range(width):
            u = min(max((x + 0.5) * columns / width - 0.5, 0), columns - 1)
            left = min(int(u), columns - 1)
            right = min(left + 1, columns - 1)
            upper = grid[top][left] * (1 - (u - left)) + grid[top][right] * (u - left)
            lower = grid[bottom][left] * (1 - (u - left)) + grid[bottom][right] * (u - left)
            line.append(upper * (1 - (v - top)) + lower * (v - top))
        pixels.append(line)
    return pixels


@given(case=cases())
def test_semantic_relevance_is_the_share_of_the_anomaly_words(case):
    _, questions, anomaly = case
    scores = semantic_relevance(torch.tensor(questions, dtype=torch.float32), torch.tensor(anomaly))
    expected = slow_relevance(questions, anomaly)
    assert scores.tolist() == pytest.approx(expected, abs=1e-6)
    assert ((scores >= 0) & (scores <= 1)).all()


def test_semantic_relevance_of_no_token_is_empty():
    scores = semantic_relevance(torch.zeros(0, 4), torch.ones(4, dtype=torch.bool))
    assert scores.shape == (0,)


@given(maps=map_stacks())
def test_concentration_is_the_entropy_of_flood_filled_blobs(maps):
    scores = attention_concentration(as_stack(maps))
    expected = [slow_concentration(grid) for grid in maps]
    assert scores.dtype == torch.float32
    assert scores.tolist() == pytest.approx(expected, abs=1e-6)
    assert ((scores >= 0) & (scores <= 1)).all()


@given(maps=map_stacks(min_tokens=1), exponent=st.integers(-60, 30), factor=st.integers(1, 9))
def test_concentration_ignores_the_scale_of_attention(maps, exponent, factor):
    stack = as_stack(maps)
    scaled = attention_concentration(stack * (factor * 2.0**exponent))
    assert torch.allclose(scaled, attention_concentration(stack), atol=1e-6)


@given(maps=map_stacks(min_tokens=1))
def test_concentration_is_the_same_for_a_flipped_or_turned_image(maps):
    stack = as_stack(maps)
    scores = attention_concentration(stack)
    for turned in (stack.flip(1), stack.flip(2), stack.transpose(1, 2)):
        assert torch.allclose(attention_concentration(turned.contiguous()), scores, atol=1e-6)


@given(maps=map_stacks(min_tokens=2))
def test_concentration_of_a_token_does_not_depend_on_the_others(maps):
    together = attention_concentration(as_stack(maps))
    alone = torch.cat([attention_concentration(as_stack([grid])) for grid in maps])
    assert torch.equal(together, alone)


def test_one_blob_scores_one_even_if_it_touches_only_at_a_corner():
    maps = torch.zeros(2, 5, 6)
    maps[0, 2, 3] = 0.4
    maps[1, 1, 1] = maps[1, 2, 2] = 0.4
    assert attention_concentration(maps).tolist() == [1.0, 1.0]


def test_two_equal_blobs_score_one_half():
    maps = torch.zeros(1, 5, 6)
    maps[0, 0, 0] = maps[0, 4, 5] = 0.3
    assert attention_concentration(maps).item() == pytest.approx(math.exp(-math.log(2)))


def test_blobs_at_the_seam_of_two_tokens_maps_do_not_join():
    maps = torch.zeros(2, 4, 4)
    maps[0, 3, 3] = maps[0, 0, 0] = 1.0
    maps[1, 0, 0] = maps[1, 3, 3] = 1.0
    assert attention_concentration(maps).tolist() == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("level", [0.0, 1 / 3, 0.1, 1e-30])
def test_a_flat_map_has_no_concentration(level):
    assert attention_concentration(torch.full((2, 7, 11), level)).tolist() == [0.0, 0.0]


@given(
    case=cases(),
    settings=st.builds(
        Settings,
        selection=st.sampled_from(["real", "vanilla"]),
        fallback=st.sampled_from(["mean", "best"]),
        tau_t=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
        tau_i=st.sampled_from([0.0, 0.3, 0.9, 1.0]),
        alpha=st.sampled_from([0.5, 1.0, 2.0]),
        beta=st.sampled_from([0.0, 1.0, 3.0]),
    ),
)
def test_selection_and_map_agree_with_the_slow_version(case, settings):
    maps, questions, anomaly = case
    stack = as_stack(maps)
    scores = select_tokens(
        stack,
        torch.tensor(questions, dtype=torch.float32),
        torch.tensor(anomaly),
        settings,
    )
    selected, weights = slow_selection(maps, questions, anomaly, settings)
    assert scores.selected.tolist() == selected
    assert scores.weights.tolist() == pytest.approx(weights, abs=1e-5)
    result = aggregate(stack, scores.selected, scores.weights)
    assert np.allclose(result.numpy(), slow_map(maps, selected, weights), rtol=1e-5, atol=1e-5)


def select(maps: Tensor, shares: list[float], **settings) -> tuple[list[bool], list[float]]:
    """Select among tokens that give these shares of their attention to the one anomaly word."""
    questions = torch.tensor([[share, 1 - share] for share in shares])
    scores = select_tokens(
        maps,
        questions,
        torch.tensor([True, False]),
        Settings(**settings),
    )
    return scores.selected.tolist(), scores.weights.tolist()


def test_a_score_equal_to_its_threshold_does_not_pass():
    maps = torch.zeros(3, 3, 3)
    maps[:, 0, 0] = 1
    maps[2, 2, 2] = 1
    selected, _ = select(maps, [0.5, 0.75, 0.75], tau_t=0.5, tau_i=0.5)
    assert selected == [False, True, False]


def test_the_first_of_equally_good_tokens_is_selected_when_none_passes():
    maps = torch.zeros(3, 3, 3)
    maps[:, 1, 1] = 1
    selected, weights = select(maps, [0.0, 0.2, 0.2], tau_t=0.9)
    assert selected == [False, True, False]
    assert weights == pytest.approx([1.0, 1.2, 1.2])


@pytest.mark.parametrize("selection", ["real", "vanilla"])
@pytest.mark.parametrize("fallback", ["mean", "best"])
def test_no_reasoning_gives_an_empty_map(selection, fallback):
    settings = Settings(selection=selection, fallback=fallback)
    maps = torch.ones(0, 3, 4)
    scores = select_tokens(maps, torch.ones(0, 2), torch.tensor([True, False]), settings)
    assert scores.selected.tolist() == []
    grid = aggregate(maps, scores.selected, scores.weights)
    assert torch.equal(to_fixed_scale(grid), torch.zeros(3, 4))


@given(maps=map_stacks(min_tokens=1), data=st.data())
def test_the_map_lies_between_the_lowest_and_the_highest_selected_map(maps, data):
    stack = as_stack(maps)
    per_token = {"min_size": len(maps), "max_size": len(maps)}
    selected = torch.tensor(data.draw(st.lists(st.booleans(), **per_token).filter(any)))
    weights = torch.tensor(data.draw(st.lists(st.floats(0, 2, width=32), **per_token)))
    result = aggregate(stack, selected, weights)
    assert (result >= stack[selected].amin(dim=0) - 1e-4).all()
    assert (result <= stack[selected].amax(dim=0) + 1e-4).all()


def test_selected_tokens_of_zero_weight_count_alike():
    maps = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]], [[9.0, 9.0]]])
    result = aggregate(maps, torch.tensor([True, True, False]), torch.tensor([0.0, 0.0, 5.0]))
    assert result.tolist() == [[0.5, 0.5]]


@given(maps=map_stacks(min_tokens=1, max_tokens=1))
def test_the_fixed_scale_is_density_over_density_plus_ten(maps):
    cells = [cell for row in maps[0] for cell in row]
    mean = sum(cells) / len(cells)
    expected = [c / mean / (c / mean + 4) if mean else 0.0 for c in cells]
    scaled = to_fixed_scale(as_stack(maps)[0])
    assert scaled.flatten().tolist() == pytest.approx(expected, abs=1e-6)
    assert ((scaled >= 0) & (scaled < 1)).all()


@given(maps=map_stacks(min_tokens=1, max_tokens=1), exponent=st.integers(-40, 20))
def test_the_fixed_scale_keeps_order_and_ignores_how_much_attention_there_is(maps, exponent):
    grid = as_stack(maps)[0]
    scaled = to_fixed_scale(grid).flatten()
    order = grid.flatten().argsort(stable=True)
    assert (scaled[order].diff() >= 0).all()
    assert torch.allclose(to_fixed_scale(grid * 2.0**exponent).flatten(), scaled, atol=1e-6)


@given(
    maps=map_stacks(min_tokens=1, max_tokens=1),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
)
def test_upsample_is_bilinear_between_cell_centers_and_keeps_the_range(maps, height, width):
    grid = as_stack(maps)[0]
    pixels = upsample(grid, (height, width))
    assert pixels.shape == (height, width)
    assert np.allclose(pixels.numpy(), slow_bilinear(maps[0], height, width), atol=1e-4)
    assert pixels.min() >= grid.min() - 1e-4
    assert pixels.max() <= grid.max() + 1e-4


@pytest.mark.parametrize("factor", [1, 2, 3, 28])
def test_upsample_by_a_whole_factor_is_exact(factor):
    grid = [[0.0, 1.0, 0.25], [0.5, 0.0, 2.0]]
    pixels = upsample(torch.tensor(grid), (2 * factor, 3 * factor))
    expected = slow_bilinear(grid, 2 * factor, 3 * factor)
    assert np.allclose(pixels.numpy(), expected, atol=1e-6)


@given(
    grid_size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    factors=st.tuples(st.sampled_from([1, 3, 7]), st.sampled_from([1, 5, 9])),
    data=st.data(),
)
def test_a_hot_cell_is_hottest_at_its_center_in_the_image(grid_size, factors, data):
    row = data.draw(st.integers(0, grid_size[0] - 1))
    column = data.draw(st.integers(0, grid_size[1] - 1))
    grid = torch.zeros(grid_size)
    grid[row, column] = 1
    image_size = (grid_size[0] * factors[0], grid_size[1] * factors[1])
    pixels = upsample(grid, image_size)
    center = (row * factors[0] + factors[0] // 2, column * factors[1] + factors[1] // 2)
    assert pixels[center].item() == pytest.approx(1)
    assert pixels.max().item() == pytest.approx(1)
