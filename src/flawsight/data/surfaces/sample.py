"""What one rendered surface is, and the words that describe its defect."""

import colorsys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
Mask = NDArray[np.bool_]

TONES = (
    "dark", "bright", "shaded", "reddish", "yellowish", "brownish", "greenish", "bluish",
)  # fmt: skip
_ROWS = ("upper", "middle", "lower")
_COLUMNS = ("left", "center", "right")
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class DefectRegion:
    """One defect as the image shows it; the regions of an image are disjoint."""

    mask: Mask  # (H, W), not empty
    kind: str  # key of DEFECTS
    tone: str | None  # one of TONES, where one is clearly true
    place: str  # one of the nine cells of a 3x3 grid

    @property
    def share(self) -> float:
        """Its area as a share of the image."""
        return float(self.mask.mean())


@dataclass(frozen=True)
class Feature:
    """Something harmless that belongs on the surface, or several alike as one."""

    kind: str  # in the singular, such as "screw"
    color: str | None  # a plain color word, where one is clearly true
    place: str | None  # one of the nine cells or a span such as "along the left edge"
    box: tuple[int, int, int, int]  # top, left, bottom, right in pixels, ends excluded
    count: int = 1  # how many are seen


@dataclass(frozen=True)
class SurfaceSample:
    """One image of a surface with all that is known about it; all facts are of the final image."""

    image: NDArray[np.uint8]  # (H, W, 3) RGB
    gt_mask: Mask  # (H, W), the union of all regions, all False where normal
    label: int  # 1 defective, 0 normal
    family: str  # key of FAMILIES
    defects: tuple[DefectRegion, ...] = ()  # the largest first
    features: tuple[Feature, ...] = ()
    color: str | None = None  # of the surface or part, where one word is clearly true
    count: int | None = None  # of the like parts that a family shows, see Family.noun
    background: bool = False  # whether what lies behind the part is seen

    @property
    def defect(self) -> str | None:
        """The kind of the largest region."""
        return self.defects[0].kind if self.defects else None

    @property
    def tone(self) -> str | None:
        """The tone of the largest region."""
        return self.defects[0].tone if self.defects else None

    @property
    def place(self) -> str | None:
        """The place of the largest region."""
        return self.defects[0].place if self.defects else None


@dataclass(frozen=True)
class Surface:
    """A perfect surface as a family draws it.

    image: (H, W, 3) in [0, 1]; region: (H, W) in [0, 1], where the object is (None: everywhere);
    under: (H, W, 3), what shows where the object is missing (None: its own inside).
    """

    image: Field
    region: Field | None = None
    under: Field | None = None


def place_word(mask: Mask) -> str:
    """The cell of a 3x3 grid that holds the centroid of a non-empty (H, W) mask."""
    rows, columns = np.nonzero(mask)
    height, width = mask.shape
    row = min(2, int(3 * (rows.mean() + 0.5) / height))
    column = min(2, int(3 * (columns.mean() + 0.5) / width))
    if row == column == 1:
        return "center"
    return f"{_ROWS[row]} {_COLUMNS[column]}"


def _hue_word(color: Field, luma_change: float) -> str | None:
    """The hue of an RGB color as a word, None when it is too gray to name."""
    red, green, blue = (float(min(max(c, 0.0), 1.0)) for c in color)
    hue, saturation, _ = colorsys.rgb_to_hsv(red, green, blue)
    if saturation < 0.15:
        return None
    degrees = hue * 360
    if degrees < 18 or degrees >= 330:
        return "reddish"
    if degrees < 75:
        return "brownish" if luma_change < -0.03 or degrees < 30 else "yellowish"
    if degrees < 170:
        return "greenish"
    return "bluish" if degrees < 265 else None


def tone_word(normal: Field, defective: Field, mask: Mask) -> str | None:
    """An adjective that is true of the defect beside its surroundings, None when none is clear.

    normal, defective: (H, W, 3) in [0, 1]; mask: (H, W), non-empty.
    """
    rows, columns = np.nonzero(mask)
    margin = 2 + max(mask.shape) // 24
    top, left = max(0, rows.min() - margin), max(0, columns.min() - margin)
    box = np.s_[top : rows.max() + margin + 1, left : columns.max() + margin + 1]
    inside = mask[box]
    after = defective[box]
    change = after[inside] - normal[box][inside]
    luma = change @ _LUMA
    luma_change = float(luma.mean())
    up = float(np.maximum(luma, 0).mean())
    down = up - luma_change
    if min(up, down) > 0.4 * max(up, down) and max(up, down) > 0.015:
        return "shaded"
    mean_change = change.mean(axis=0)
    own_color: Field = after[inside].mean(axis=0)
    if inside.all():
        around: Field = own_color - mean_change
    else:
        around = after[~inside].mean(axis=0)
    # A hue is named only when the color moved towards it and the defect itself shows it.
    if float(np.ptp(mean_change)) > max(0.04, 0.9 * abs(luma_change)):
        word = _hue_word(own_color, luma_change)
        shift: Field = mean_change - mean_change.min()
        known = _hue_word(around, luma_change)  # a hue that all has would tell nothing
        if word and word != known and _same_hue(shift, own_color):
            return word
    contrast = float((own_color - around) @ _LUMA)
    if abs(luma_change) > 0.015 and contrast * luma_change > 0 and abs(contrast) > 0.01:
        return "dark" if luma_change < 0 else "bright"
    return None


def _same_hue(first: Field, second: Field) -> bool:
    """Whether two colors lie within 50 degrees of hue."""
    hues = [colorsys.rgb_to_hsv(*np.maximum(c, 0).tolist())[0] for c in (first, second)]
    gap = abs(hues[0] - hues[1])
    return min(gap, 1 - gap) < 50 / 360
