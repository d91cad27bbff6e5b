"""What one stage hands to the next: Trace → TokenScores → Inspection.

R counts reasoning tokens (those inside ``<think>``), N all response tokens, Q question tokens;
(grid_h, grid_w) is the grid of image tokens. Arrays are float32. Grids and maps have row 0 at the
top and column 0 at the left of the image.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor

from .display import Displayed
from .errors import FlawsightError
from .frame import Frame

FloatArray = NDArray[np.float32]
Box = tuple[int, int, int, int]  # (left, top, width, height) in pixels


def share_of_yes(margin: float) -> float:
    """Return P(Yes) / (P(Yes) + P(No)) of log P(Yes) − log P(No)."""
    return 1 / (1 + math.exp(-max(margin, -700.0)))


@dataclass(frozen=True)
class PatchEvidence:
    """What the vision encoder's features say of an image, on its grid of (h, w) patches.

    Attributes:
        feature_distance: (h, w), mean 1, of each patch from the others of the image; None if the
            setting is off. See refine/feature_distance.py.
        reference_distance: (h, w) of each patch from the nearest good one, in units of what is
            usual among good photos; None without a reference. See reference/compare.py.
        nearest_good: (h, w) int64, which of the reference's patches that is; None likewise.
    """

    feature_distance: Tensor | None = None
    reference_distance: Tensor | None = None
    nearest_good: Tensor | None = None


@dataclass(frozen=True)
class Trace:
    """One response of the model and its attention while it was generated.

    Attributes:
        text: the response, special tokens left out.
        token_spans: N [start, end) character spans in `text`.
        image_attention: (N, grid_h, grid_w), averaged over heads and the chosen layers; row i is
            that of the position *before* response token i, so row i + 1 is token i's own.
        question_attention: (N, Q), the same rows over the tokens of the question.
        anomaly_tokens: (Q,) bool, the tokens of the question's anomaly words.
        answer_margin: log P(Yes) − log P(No), the probabilities of the response with either answer
            (mllm/answer_probability.py).
        answer_forced: the response gave no answer and was closed by us; `answer_margin` is that of
            the answers that follow.
        asked: False if the model was not asked, but only looked: then there is no response, and
            N is 0.
        crops: crops of the image that were inspected again, the most suspect first.
        patches: what the vision encoder's features say of the image.
    """

    text: str
    token_spans: tuple[tuple[int, int], ...]
    image_attention: Tensor
    question_attention: Tensor
    anomaly_tokens: Tensor
    answer_margin: float
    answer_forced: bool = False
    asked: bool = True
    crops: tuple["Crop", ...] = ()
    patches: PatchEvidence = PatchEvidence()

    @property
    def answer_score(self) -> float:
        """P(Yes) / (P(Yes) + P(No)), in [0, 1]."""
        return share_of_yes(self.answer_margin)


@dataclass(frozen=True)
class Crop:
    """A crop of an image, inspected by replaying the response to the whole image.

    Attributes:
        box: its place in the image.
        attention: (h, w), the mean over the reasoning tokens, on the crop's own grid.
        score: P(Yes) / (P(Yes) + P(No)) for the crop.
        patches: of the crop alone, without a reference.
    """

    box: Box
    attention: Tensor
    score: float
    patches: PatchEvidence = PatchEvidence()


@dataclass(frozen=True)
class TokenScores:
    """ReAL's view of the R reasoning tokens (paper §3.1).

    Attributes:
        semantic_relevance: (R,) Ŝ_T in [0, 1].
        concentration: (R,) Ŝ_I in [0, 1].
        selected: (R,) bool, the tokens that make the map.
        weights: (R,) w_r = α Ŝ_T + β Ŝ_I, or 1 for the vanilla mean.
    """

    semantic_relevance: Tensor
    concentration: Tensor
    selected: Tensor
    weights: Tensor


@dataclass(frozen=True)
class ReasoningToken:
    """One reasoning token. `start` and `end` are its characters in `Inspection.explanation`."""

    text: str
    start: int
    end: int
    S_T: float
    S_I: float
    selected: bool
    weight: float


@dataclass(frozen=True)
class GoodPicture:
    """The picture of a good photo of a reference: the photo's name, and its (height, width)."""

    name: str
    size: tuple[int, int]


@dataclass(frozen=True)
class GoodPlace:
    """The place in a good photo that a region should look like.

    Attributes:
        photo: its name in the reference.
        box: in pixels of its picture in the reference.
    """

    photo: str
    box: Box


@dataclass(frozen=True)
class Region:
    """One suspect region of an image, in pixels of the upright image.

    Attributes:
        image_size: (height, width) of the image.
        box: (left, top, width, height).
        area: number of pixels.
        score: the largest value of the map inside.
        counts: its mask as COCO's uncompressed run lengths: column by column from the upper left,
            pixels outside and inside by turns, the first outside.
        phrases: the phrases of the reasoning that attend to it, in one string; "" if none do.
        tokens: their reasoning tokens, as indices.
        good: around the good patch nearest to the region's peak; None without a reference.
    """

    image_size: tuple[int, int]
    box: Box
    area: int
    score: float
    counts: tuple[int, ...] = field(repr=False)
    phrases: str = ""
    tokens: tuple[int, ...] = ()
    good: GoodPlace | None = None

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(height, width) of the whole image, True inside the region."""
        inside = np.arange(len(self.counts)) % 2 == 1
        return np.repeat(inside, self.counts).reshape(self.image_size, order="F")

    def to_json(self) -> dict[str, Any]:
        """Return the region as JSON types."""
        good = self.good
        return {
            "box": list(self.box),
            "area": self.area,
            "score": round(self.score, 6),
            "phrases": self.phrases,
            "tokens": list(self.tokens),
            "counts": list(self.counts),
        } | ({} if good is None else {"good": {"photo": good.photo, "box": list(good.box)}})

    @classmethod
    def from_json(cls, values: dict[str, Any], image_size: tuple[int, int]) -> Self:
        """Return the region that `to_json` wrote, of an image of (height, width)."""
        made: dict[str, Any] = {name: tuple(values[name]) for name in ("box", "counts", "tokens")}
        if good := values.get("good"):
            made["good"] = GoodPlace(good["photo"], tuple(good["box"]))
        return cls(image_size=image_size, **values | made)


@dataclass(frozen=True)
class RegionRule:
    """What draws the regions of an image.

    Attributes:
        threshold: above which value of the map a pixel belongs to a region, in [0, 1].
        peak: which value a region must exceed somewhere, in [0, 1].
        of_good: whether an image that is called good has regions.
        calibrated: whether the threshold is a calibration's, not the setting `region_threshold`.
    """

    threshold: float
    peak: float
    of_good: bool = False
    calibrated: bool = False


@dataclass(frozen=True)
class Inspection(Displayed):
    """The result for one image.

    Attributes:
        image: where the image came from; None for an image handed over in memory.
        image_size: (height, width) in pixels, upright (EXIF orientation applied).
        pred_label: True for a defect: the model answered Yes or, if a threshold was set or crops
            count in pred_score, pred_score is above the threshold.
        pred_score: P(Yes) / (P(Yes) + P(No)) at the answer, in [0, 1]; with `score_crops`, the
            crops' answers count as well. With a reference, how far the image is from good photos.
        anomaly_map: (height, width) in [0, 1], on one scale for all images: the share of attention
            d in units of the image's mean becomes d / (d + 4).
        answer: "Yes" or "No"; None if the model was not asked (setting `explain`).
        explanation: the reasoning in words; "" likewise.
        disagreements: which pairs of verdict (pred_label), answer and reasoning disagree, of
            "verdict/answer", "verdict/reasoning" and "answer/reasoning".
        tokens: the R reasoning tokens with their scores.
        token_maps: (R, grid_h, grid_w) attention of each reasoning token over the image tokens.
        timings: seconds by stage: "trace" (a batch's time shared evenly) and "localize".
        map_peak: the largest value of the map that the regions were found in, before the guided
            filter.
        regions: none if the image is called good, unless its rule says so. Otherwise where that
            map is above the rule's threshold, and somewhere in each above its peak, highest score
            first; specks of less than a quarter of a grid cell, and strips narrower than half of
            one, are left out. If none is left, a defective image has the region around the map's
            largest value (`real.regions.peak_region`).
        region_rule: what drew the regions.
        answer_forced: the response has neither Yes nor No, and `answer` is the likelier of the two
            after it.
        sink_share: share of the selected tokens' attention on sinks, which are patches that
            attract attention on normal images (refine/attention_prior.py), in [0, 1]; None
            without an attention prior.
        warnings: sentences on what is wrong with the photo, so that the verdict may be, too.
        map_layers: what that map is made of, see `refine.map_layers`; empty if unknown.
        nearest_good: (h, w, 3), of the good patch nearest to each of the image's, the index of its
            photo in `good_pictures`, and x and y of its centre in pixels of that picture; empty
            without a reference.
        good_pictures: of the reference.
        evidence: what speaks for a defect, each in [0, 1]: "words", by the answer to the image,
            "crops", by the answers to crops, which with `score_crops` are merged into pred_score,
            and "reference", by the distance from good photos, which is pred_score if there is one.
        frame: where the region of interest lies; None if there is none. Token maps, map layers and
            nearest good patches are of its box; all else is in the frame of the whole image.
        photo: the image, if it was handed over in memory to `Inspector`; it is shown, not saved.
    """

    image: str | None
    image_size: tuple[int, int]
    pred_label: bool
    pred_score: float
    anomaly_map: FloatArray = field(repr=False)
    answer: str | None
    explanation: str
    disagreements: tuple[str, ...]
    tokens: tuple[ReasoningToken, ...] = field(repr=False)
    token_maps: FloatArray = field(repr=False)
    timings: dict[str, float]
    map_peak: float
    regions: tuple[Region, ...] = ()
    sink_share: float | None = None
    answer_forced: bool = False
    warnings: tuple[str, ...] = ()
    region_rule: RegionRule | None = None
    map_layers: FloatArray = field(default_factory=lambda: np.zeros(0, np.float32), repr=False)
    nearest_good: FloatArray = field(
        default_factory=lambda: np.zeros((0, 0, 3), np.float32), repr=False
    )
    good_pictures: tuple[GoodPicture, ...] = ()
    evidence: dict[str, float] = field(default_factory=dict)
    frame: Frame | None = field(default=None, repr=False, compare=False)
    photo: Image | None = field(default=None, repr=False, compare=False)

    @property
    def contradiction(self) -> bool | None:
        """Whether any of verdict, answer and reasoning disagree; None without an answer."""
        return None if self.answer is None else bool(self.disagreements)

    @property
    def seconds(self) -> float:
        """Time spent on this image."""
        return sum(self.timings.values())

    def to_json(self) -> dict[str, Any]:
        """Return the row of `inspections.jsonl`, less the arrays, which are files of their own."""
        return {
            "image": self.image,
            "image_size": list(self.image_size),
            "pred_label": self.pred_label,
            "pred_score": self.pred_score,
            "answer": self.answer,
            "answer_forced": self.answer_forced,
            "explanation": self.explanation,
            "contradiction": self.contradiction,
            "disagreements": list(self.disagreements),
            "tokens": [
                vars(token)
                | {name: round(vars(token)[name], 6) for name in ("S_T", "S_I", "weight")}
                for token in self.tokens
            ],
            "map_peak": self.map_peak,
            "sink_share": None if self.sink_share is None else round(self.sink_share, 4),
            "regions": [region.to_json() for region in self.regions],
            "warnings": list(self.warnings),
            "evidence": {name: round(value, 6) for name, value in self.evidence.items()},
            "region_rule": None if self.region_rule is None else vars(self.region_rule),
            "seconds": round(self.seconds, 4),
        } | (
            {}
            if self.frame is None
            else {"roi": {"box": [*self.frame.box], "image_size": [*self.frame.image_size]}}
        )


class Inspections(list[Inspection | FlawsightError], Displayed):
    """The results of a list of images, in its order; one that failed is its error."""
