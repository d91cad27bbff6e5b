"""One figure per equation, drawn from what the code computes of the sample photos."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.patches import Rectangle
from PIL import Image
from scipy.ndimage import label
from torch import Tensor

from flawsight import PRESETS, Inspection, Inspector, Reference
from flawsight.batches import TracedBatch
from flawsight.cgro.loss import EPSILON, token_losses
from flawsight.cgro.rewards import group_advantages, jaccard, supports, top_tokens
from flawsight.inspection import Trace, share_of_yes
from flawsight.io.overlay import draw_overlay
from flawsight.real.anomaly_map import HALF, aggregate, density, to_fixed_scale, upsample
from flawsight.real.regions import regions_of
from flawsight.real.scores import attention_concentration
from flawsight.real.token_selection import ScoredReasoning, select
from flawsight.refine.attention_prior import divide_by_prior
from flawsight.refine.crops import merge_scores
from flawsight.refine.feature_distance import multiply_by_distance
from flawsight.refine.guided_filter import brightness, guided_filter

matplotlib.use("Agg")
SAMPLES = Path(__file__).parents[1] / "samples"
DEFECTIVE, GOOD = "milled-face-worn-patch.jpg", "milled-face-good.jpg"
PAPER, DEFAULT = PRESETS["paper"], PRESETS["default"]
HEAT, ONE, TWO, FAINT = "magma", "#3f7fe0", "#e0682c", "#8a8a8a"
Figure = Any
FIGURES: dict[str, Callable[[], Figure]] = {}


@dataclass(frozen=True)
class Seen:
    """A photo with what a preset makes of it.

    Attributes:
        photo: RGB.
        trace: of the response.
        reasoning: its tokens with their scores.
        question: the Q tokens of the question.
        inspection: the result.
    """

    photo: Image.Image
    trace: Trace
    reasoning: ScoredReasoning
    question: list[str]
    inspection: Inspection

    @property
    def words(self) -> list[str]:
        """The reasoning's tokens."""
        spans = [self.trace.token_spans[token] for token in self.reasoning.tokens]
        return [self.trace.text[start:end] for start, end in spans]


@cache
def inspector(preset: str) -> Inspector:
    """Return the bundled model with a preset."""
    torch.set_num_threads(1)
    if preset == "paper":
        return Inspector(inspector("default").mllm, PAPER)
    return Inspector.from_pretrained(settings=DEFAULT, device="cpu")


@cache
def seen(name: str, preset: str = "paper") -> Seen:
    """Inspect a sample photo, and keep what lies between."""
    own = inspector(preset)
    prepared = own.prepare([SAMPLES / name])
    traced = own.trace(prepared)
    ((photo, inspection),) = own.localize(traced)
    (trace,) = traced.traces
    assert isinstance(trace, Trace)
    assert isinstance(inspection, Inspection)
    assert photo is not None
    reasoning = select(trace, own.settings)
    return Seen(photo, trace, reasoning, question_of(own, traced), inspection)


def question_of(own: Inspector, traced: TracedBatch) -> list[str]:
    """Return the tokens of the question, as the prompt has them."""
    prompts = traced.prepared.prompts
    assert prompts is not None
    places = prompts.columns[0, prompts.grids[0].tokens :]
    ids = prompts.inputs["input_ids"][0, places].tolist()
    return [own.mllm.processor.tokenizer.decode([one]) for one in ids]


@cache
def learned() -> tuple[Reference, dict[str, Inspection], dict[str, Tensor]]:
    """Learn from the good sample photos; return inspections and distances of the new ones."""
    good = inspector("default").learn(sorted((SAMPLES / "learn/good").glob("*.jpg")))
    new = sorted((SAMPLES / "learn/new").glob("*.jpg"))
    traced = good.trace(good.prepare(new))
    assert good.reference is not None
    results, distances = {}, {}
    for path, trace, (_, found) in zip(new, traced.traces, good.localize(traced), strict=True):
        assert isinstance(found, Inspection)
        assert isinstance(trace, Trace)
        assert trace.patches.reference_distance is not None
        results[path.name], distances[path.name] = found, trace.patches.reference_distance
    return good.reference, results, distances


def equation_figures() -> dict[str, bytes]:
    """Return all figures as PNG by file name: each for light pages and for dark ones."""
    return {
        f"{name}-{mode}.png": encoded(draw, mode)
        for name, draw in FIGURES.items()
        for mode in ("light", "dark")
    }


def encoded(draw: Callable[[], Figure], mode: str) -> bytes:
    """Return a figure as PNG, without a background."""
    content = io.BytesIO()
    style = "dark_background" if mode == "dark" else "default"
    with plt.style.context([style, {"font.size": 9, "axes.titlesize": 9}]):
        figure = draw()
        figure.savefig(content, dpi=130, transparent=True)
        plt.close(figure)
    return content.getvalue()


def figure_of(name: str) -> Callable[[Callable[[], Figure]], Callable[[], Figure]]:
    """Register the function that draws a figure of the page."""

    def register(draw: Callable[[], Figure]) -> Callable[[], Figure]:
        FIGURES[name] = draw
        return draw

    return register


def panels(*widths: float, height: float = 2.4) -> tuple[Figure, Any]:
    """Return a figure of panels side by side, as wide as the page."""
    figure, axes = plt.subplots(
        1, len(widths), squeeze=False, width_ratios=widths, figsize=(8, height),
        layout="constrained",
    )  # fmt: skip
    return figure, axes[0]


def picture(panel: Any, values: Any, title: str, **options: Any) -> None:
    """Show an image or a map without axes."""
    panel.imshow(np.asanyarray(values), **options)
    panel.set_title(title)
    panel.set_axis_off()


def heaviest(one: Seen, count: int) -> list[int]:
    """Return the reasoning's tokens of the largest weights, in their order."""
    return sorted(top_tokens(one.reasoning.scores.weights, count).tolist())


@figure_of("attention")
def attention() -> Figure:
    """A[r, I] of some tokens."""
    one = seen(DEFECTIVE)
    chosen = heaviest(one, 4)
    figure, axes = panels(*[1] * 5, height=1.9)
    picture(axes[0], one.photo, "the photo I")
    for panel, token in zip(axes[1:], chosen, strict=True):
        grid = one.reasoning.attention[token]
        picture(panel, grid, f"A[“{one.words[token].strip()}”, I]", cmap=HEAT)
    return figure


@figure_of("semantic-relevance")
def semantic_relevance() -> Figure:
    """S_T of the token that attends most to the anomaly words, and of the one that does least."""
    one = seen(DEFECTIVE)
    scores = one.reasoning.scores.semantic_relevance
    rows = one.trace.question_attention[_rows(one)]
    figure, axes = panels(1, 1, height=2.8)
    for panel, token in zip(axes, (int(scores.argmax()), int(scores.argmin())), strict=True):
        colors = [TWO if word else FAINT for word in one.trace.anomaly_tokens.tolist()]
        panel.bar(range(len(one.question)), rows[token].numpy(), color=colors)
        panel.set_xticks(range(len(one.question)), one.question, rotation=60, ha="right")
        panel.set_title(f"“{one.words[token].strip()}”: Ŝ_T = {scores[token]:.2f}")
    axes[0].set_ylabel("A[r, q]")
    return figure


def _rows(one: Seen) -> Tensor:
    """Return the rows of the reasoning's tokens themselves."""
    rows = torch.tensor(one.reasoning.tokens) + 1
    return rows.clamp(max=len(one.trace.image_attention) - 1)


@figure_of("concentration")
def concentration() -> Figure:
    """The components of two tokens' maps, their shares, entropy and S_I."""
    one = seen(DEFECTIVE)
    scores = attention_concentration(one.reasoning.attention)
    figure, axes = panels(1, 1, 1, 1, height=2.7)
    for pair, token in zip((axes[:2], axes[2:]), _extremes(scores), strict=True):
        grid = one.reasoning.attention[token].numpy()
        above = np.maximum(grid - grid.mean(), 0)
        parts, count = label(above > 0, np.ones((3, 3)))
        shares = np.array([above[parts == part].sum() for part in range(1, count + 1)])
        shares /= shares.sum()
        entropy = abs((shares * np.log(shares)).sum())
        picture(pair[0], grid, f"“{one.words[token].strip()}”: A", cmap=HEAT)
        shown = np.ma.masked_equal(parts, 0)
        title = f"components: {count}\nH = {entropy:.2f}, Ŝ_I = {scores[token]:.2f}"
        picture(pair[1], shown, title, cmap="tab10", interpolation="nearest")
    return figure


def _extremes(values: Tensor) -> tuple[int, int]:
    return int(values.argmax()), int(values.argmin())


@figure_of("selection")
def selection() -> Figure:
    """All tokens by their two scores, with the thresholds."""
    one = seen(DEFECTIVE)
    scores = one.reasoning.scores
    figure, (panel,) = panels(1, height=3.2)
    colors = [ONE if chosen else FAINT for chosen in scores.selected.tolist()]
    panel.scatter(scores.semantic_relevance.numpy(), scores.concentration.numpy(), c=colors)
    panel.axvline(PAPER.tau_t, color=FAINT, linestyle="--")
    panel.axhline(PAPER.tau_i, color=FAINT, linestyle="--")
    for token in scores.selected.nonzero()[:, 0].tolist():
        at = (float(scores.semantic_relevance[token]), float(scores.concentration[token]))
        text = f"{one.words[token].strip()}, w = {scores.weights[token]:.2f}"
        panel.annotate(text, at, xytext=(5, 4), textcoords="offset points")
    panel.set(xlabel="Ŝ_T", ylabel="Ŝ_I", title="blue: selected; dashed: τ_t and τ_i")
    panel.set(xlim=(0, 1), ylim=(0, 1.12))
    return figure


@figure_of("anomaly-map")
def anomaly_map() -> Figure:
    """The plain mean of all tokens, A_RDAM, and A_RDAM on the photo."""
    one = seen(DEFECTIVE)
    own = one.reasoning
    every = torch.ones_like(own.scores.selected)
    mean = aggregate(own.attention, every, torch.ones_like(own.scores.weights))
    chosen = aggregate(own.attention, own.scores.selected, own.scores.weights)
    figure, axes = panels(1, 1, 1, 1, height=2.2)
    picture(axes[0], mean, "mean of all tokens", cmap=HEAT)
    picture(axes[1], chosen, f"A_RDAM, of {int(own.scores.selected.sum())} tokens", cmap=HEAT)
    size = (one.photo.height, one.photo.width)
    scaled = upsample(to_fixed_scale(chosen), size)
    picture(axes[2], scaled, "upsampled", cmap=HEAT, vmin=0, vmax=1)
    picture(axes[3], draw_overlay(one.photo, scaled.numpy()), "on the photo")
    return figure


@figure_of("scale")
def scale() -> Figure:
    """The scale of maps."""
    figure, (panel,) = panels(1)
    dense = np.linspace(0, 24, 200)
    panel.plot(dense, dense / (dense + HALF), color=ONE)
    for at in (1, HALF):
        panel.plot(at, at / (at + HALF), "o", color=TWO)
        panel.annotate(f"d = {at:g}: {at / (at + HALF):g}", (at, at / (at + HALF)),
                       xytext=(8, -8), textcoords="offset points")  # fmt: skip
    panel.set(xlabel="density d, 1 is the image's mean", ylabel="d / (d + 4)", ylim=(0, 1))
    return figure


@figure_of("score")
def score() -> Figure:
    """The score of all sample photos."""
    figure, (panel,) = panels(1, height=2.8)
    margins = np.linspace(-8, 8, 200)
    panel.plot(margins, [share_of_yes(margin) for margin in margins], color=FAINT)
    for path in sorted(SAMPLES.glob("*.jpg")):
        margin = seen(path.name).trace.answer_margin
        good = path.stem.endswith("good")
        panel.plot(margin, share_of_yes(margin), "o" if good else "D", color=ONE if good else TWO)
    panel.axhline(0.5, color=FAINT, linestyle="--")
    panel.set(xlabel="log P(Yes) − log P(No)", ylabel="score", xlim=(-8, 8),
              title="sample photos: good (circles), defective (diamonds)")  # fmt: skip
    return figure


@figure_of("consistency")
def consistency() -> Figure:
    """The supports of the three heaviest tokens, and their J, of a defective and a good photo."""
    figure, axes = plt.subplots(2, 4, figsize=(8, 4), layout="constrained")
    for row, (name, what) in zip(axes, ((DEFECTIVE, "y = 1"), (GOOD, "y = 0")), strict=True):
        one = seen(name)
        top = top_tokens(one.reasoning.scores.weights)
        maps = one.reasoning.attention[top]
        found = supports(maps.flatten(start_dim=1))
        picture(row[0], one.photo, f"{what}: J = {jaccard(found):.2f}")
        for panel, token, support in zip(row[1:], top.tolist(), found, strict=True):
            grid = support.view(maps.shape[1:])
            picture(panel, grid, f"“{one.words[token].strip()}”", cmap=HEAT)
    return figure


@figure_of("advantages")
def advantages() -> Figure:
    """Summed rewards of a group of candidates, and their advantages."""
    rewards = torch.tensor([3.0, 2.0, 2.0, 1.0, 3.0, 0.0, 2.0, 1.0])
    figure, axes = panels(1, 1)
    for panel, values, title in (
        (axes[0], rewards, "R = R_fmt + R_acc + R_cons (an example)"),
        (axes[1], group_advantages(rewards), "Â"),
    ):
        panel.bar(
            range(1, 9), values.numpy(), color=[TWO if value > 0 else ONE for value in values]
        )
        panel.set(title=title, xlabel="candidate")
    return figure


@figure_of("loss")
def loss() -> Figure:
    """The clipped loss by the ratio, and the estimator of the KL divergence."""
    figure, axes = panels(1, 1, height=2.6)
    ratios = torch.linspace(0.5, 1.6, 200)
    for advantage, color in ((1.0, TWO), (-1.0, ONE)):
        rows, zeros = ratios.log()[:, None], torch.zeros(len(ratios), 1)
        losses, _ = token_losses(rows, zeros, None, torch.full((len(ratios),), advantage), 0.0)
        axes[0].plot(ratios.numpy(), losses.numpy(), color=color, label=f"Â = {advantage:+.0f}")
    axes[0].set(xlabel="ρ = π / π_old", title=f"−min(ρ Â, clip(ρ, 1 ± {EPSILON}) Â)")
    axes[0].legend()
    apart = torch.linspace(-2, 2, 200)[:, None]
    zeros = torch.zeros_like(apart)
    _, kl = token_losses(zeros, zeros, apart, torch.zeros(len(apart)), 1.0)
    axes[1].plot(apart.numpy(), kl.numpy(), color=ONE)
    axes[1].set(xlabel="d = log π_ref − log π", title="KL ≈ exp(d) − d − 1")
    return figure


@figure_of("prior")
def prior() -> Figure:
    """A map, the attention prior, and the map divided by it."""
    one = seen(DEFECTIVE, "default")
    own = one.reasoning
    found = inspector("default").prior
    assert found is not None
    mean = aggregate(own.attention, own.scores.selected, own.scores.weights)
    figure, axes = panels(1, 1, 1, 1, height=2.2)
    picture(axes[0], one.photo, "the photo")
    picture(axes[1], density(mean), "A_RDAM", cmap=HEAT)
    picture(axes[2], found.density, "prior", cmap=HEAT)
    picture(axes[3], divide_by_prior(mean, found.density), "A_RDAM / prior", cmap=HEAT)
    return figure


@figure_of("feature-distance")
def feature_distance() -> Figure:
    """A map, the feature distance, and their product."""
    one = seen(DEFECTIVE, "default")
    own = one.reasoning
    found = inspector("default").prior
    distance = one.trace.patches.feature_distance
    assert found is not None
    assert distance is not None
    mean = aggregate(own.attention, own.scores.selected, own.scores.weights)
    divided = divide_by_prior(mean, found.density)
    figure, axes = panels(1, 1, 1, 1, height=2.2)
    picture(axes[0], one.photo, "the photo")
    picture(axes[1], divided, "A_RDAM / prior", cmap=HEAT)
    picture(axes[2], distance, "feature distance D²", cmap=HEAT)
    picture(axes[3], multiply_by_distance(divided, distance), "the product", cmap=HEAT)
    return figure


@figure_of("crops")
def crops() -> Figure:
    """The crops of a photo, and its score with them."""
    one = seen(DEFECTIVE, "default")
    found = one.trace.crops
    figure, axes = panels(*[1] * (len(found) + 1), height=2.5)
    merged = merge_scores(one.trace.answer_score, [crop.score for crop in found])
    whole = f"whole: {one.trace.answer_score:.2f}, with crops: {merged:.2f}"
    picture(axes[0], one.photo, whole)
    for number, (panel, crop) in enumerate(zip(axes[1:], found, strict=True), start=1):
        left, top, width, height = crop.box
        axes[0].add_patch(Rectangle((left, top), width, height, fill=False, edgecolor=TWO))
        axes[0].text(left + 6, top + 6, str(number), color=TWO, va="top")
        cut = one.photo.crop((left, top, left + width, top + height))
        picture(panel, cut, f"crop {number}: P(Yes) = {crop.score:.2f}")
    return figure


@figure_of("guided-filter")
def filtered() -> Figure:
    """A map before and after the guided filter."""
    name = "cracker-crack.jpg"
    one = seen(name)
    size = (one.photo.height, one.photo.width)
    chosen = aggregate(one.reasoning.attention, one.reasoning.scores.selected,
                       one.reasoning.scores.weights)  # fmt: skip
    before = upsample(to_fixed_scale(chosen), size).numpy()
    after = guided_filter(before, brightness(one.photo), chosen.numel())
    figure, axes = panels(1, 1, 1, height=2.4)
    picture(axes[0], one.photo, "the photo")
    picture(axes[1], before, "before", cmap=HEAT)
    picture(axes[2], after, "along the photo's edges", cmap=HEAT)
    return figure


@figure_of("regions")
def regions() -> Figure:
    """What lies above the threshold of regions, and which peaks are high enough."""
    one = seen(DEFECTIVE, "default")
    values = one.inspection.anomaly_map
    figure, axes = panels(1, 1, 1, height=2.4)
    picture(axes[0], values, "the map", cmap=HEAT, vmin=0, vmax=1)
    low = values > DEFAULT.region_threshold
    found = list(regions_of(values, DEFAULT.region_threshold))
    picture(axes[1], low, f"above {DEFAULT.region_threshold}: {len(found)}", cmap="gray")
    high = [one for one in found if one.score > DEFAULT.region_peak]
    picture(axes[2], one.photo, f"with a peak above {DEFAULT.region_peak}: {len(high)}")
    for left, top, width, height in (region.box for region in high):
        axes[2].add_patch(Rectangle((left, top), width, height, fill=False, edgecolor=TWO, lw=2))
    return figure


@figure_of("reference")
def reference() -> Figure:
    """How far patches of new photos lie from those of good ones."""
    _, found, distances = learned()
    figure, axes = panels(*[1] * (2 * len(found)), height=1.9)
    most = max(float(each.max()) for each in distances.values())
    for index, (name, one) in enumerate(found.items()):
        with Image.open(SAMPLES / "learn/new" / name) as photo:
            picture(axes[2 * index], photo.convert("RGB"), Path(name).stem)
        title = f"score {one.pred_score:.2f}"
        picture(axes[2 * index + 1], distances[name], title, cmap=HEAT, vmin=0, vmax=most)
    return figure


@figure_of("false-alarms")
def false_alarms() -> Figure:
    """The scores of good photos, the threshold they give, and new photos."""
    known, found, _ = learned()
    figure, (panel,) = panels(1, height=1.9)
    rows = {"good, learned": known.scores, "new": [one.pred_score for one in found.values()]}
    for row, values in enumerate(rows.values()):
        panel.plot(values, np.full(len(values), row), "o", color=(ONE, TWO)[row], alpha=0.8)
    for name, one in found.items():
        panel.annotate(Path(name).stem, (one.pred_score, 1), xytext=(0, 6),
                       textcoords="offset points", ha="center")  # fmt: skip
    panel.axvline(known.threshold(), color=FAINT, linestyle="--")
    panel.set_yticks(range(2), rows)
    panel.set(xlabel="x / (x + 4), x: mean distance of the farthest 1 % of the patches",
              ylim=(-0.5, 1.6))  # fmt: skip
    return figure
