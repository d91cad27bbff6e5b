"""Every choice the method leaves open, as one frozen object, saved with every result."""

import difflib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from types import UnionType
from typing import Any, Literal, Self, Union, get_args, get_origin, get_type_hints

from .errors import SettingsError
from .prompt import QUESTION, anomaly_word_spans
from .roi import Roi


@dataclass(frozen=True, kw_only=True)
class Generation:
    """What the model is run on, and what of it is kept. These fields are the key of a Trace.

    Attributes:
        question: put to the model with every image [paper]; must hold an anomaly word.
        image_tokens: about how many image tokens the image is scaled to, keeping its aspect.
            None: what the checkpoint prescribes. InternVL, Idefics3 and SmolVLM take the number of
            tiles that comes nearest; Gemma 3 and LLaVA-OneVision always do as prescribed.
        image_grid: (rows, columns) of image tokens to which the whole image is resized, without
            keeping its aspect; (15, 15) is the paper's 420×420 at 28 pixels a token. None goes by
            `image_tokens`, as crops always do: they keep their aspect.
        max_new_tokens: length at which a response is cut off.
        temperature: of sampling; 0 decodes greedily.
        seed: of sampling.
        layers: language layers whose attention is averaged (negative ones count from the end);
            None takes all.
        attention_prior: divide maps by the mean attention on normal images of this model, if that
            has been measured (refine/attention_prior.py).
        feature_distance: multiply maps by the distance of each patch's vision features from the
            image's other patches (refine/feature_distance.py).
        crops: how many crops of the image are inspected again, each around the most suspect place
            outside of those before it; each costs a forward pass (refine/crops.py).
        crop_share: share of the image's height and width that a crop has, in (0, 1].
        crop_token_share: image tokens of a crop, as a share of `image_tokens`, in (0, 1]. If that
            is None, the checkpoint prescribes those of a crop, too.
        bit_depth: bits of full scale of photos wider than 8 bits, and of floats that are counts;
            None takes that of the pixel type (io/pixel_scale.py). In [1, 32].
        roi: region of interest (roi.py): the model sees nothing outside of it, and maps
            are 0 there. None inspects whole photos. `io.photo_roi.read_roi` reads a mask image.
        explain: with a reference of good photos, which images the model is asked about: all, those
            that the reference calls defective, or none. The others get no words.
    """

    question: str = QUESTION
    image_tokens: int | None = 225
    image_grid: tuple[int, int] | None = None
    max_new_tokens: int = 256
    temperature: float = 0.0
    seed: int = 0
    layers: tuple[int, ...] | None = None
    attention_prior: bool = False
    feature_distance: bool = False
    crops: int = 0
    crop_share: float = 0.6
    crop_token_share: float = 1.0
    bit_depth: int | None = None
    roi: str | None = None
    explain: Literal["always", "defective", "never"] = "always"


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which tokens make the map, and with what weight (real/token_selection.py).

    Attributes:
        attention_row: whose attention counts as a token's: "token", of the token after it has
            read itself, or "previous", of the position before it, which predicted it.
        selection: "real" selects tokens by Ŝ_T and Ŝ_I [paper], "vanilla" averages all [paper].
        tau_t: τ_t; a token is selected if Ŝ_T > τ_t …
        tau_i: τ_i; … and Ŝ_I > τ_i [paper].
        alpha: α, weight of Ŝ_T in w_r = α Ŝ_T + β Ŝ_I [paper].
        beta: β, weight of Ŝ_I.
        fallback: when no token passes: "mean" of all tokens, or the "best" token by w_r.
    """

    attention_row: Literal["token", "previous"] = "token"
    selection: Literal["real", "vanilla"] = "real"
    tau_t: float = 0.25
    tau_i: float = 0.25
    alpha: float = 1.0
    beta: float = 1.0
    fallback: Literal["mean", "best"] = "best"


@dataclass(frozen=True, kw_only=True)
class Refinement:
    """What becomes of the map once the model has been run (localize.py).

    Attributes:
        score_crops: let the crops count in pred_score, half of it. The answer speaks of the whole
            image alone, so an image is then called defective above one half.
        guided_filter: filter the map along the edges of the image (refine/guided_filter.py);
            regions are found before that.
        region_threshold: above which anomaly_map value a pixel belongs to a region, in [0, 1]. A
            flat map is 0.2 everywhere.
        region_peak: which value a region must exceed somewhere, in [0, 1].
        regions_of_good: draw regions on an image that is called good, too.
    """

    score_crops: bool = False
    guided_filter: bool = False
    region_threshold: float = 0.28
    region_peak: float = 0.36
    regions_of_good: bool = False


# The settings that draw regions in a finished map: scores and maps do not depend on them.
DRAWING = ("region_threshold", "region_peak", "regions_of_good")


@dataclass(frozen=True, kw_only=True)
class Settings(Refinement, Selection, Generation):
    """Settings of one inspection. [paper] is stated by the paper; all else is our choice.

    Runs saved before a setting existed are read with its default, so a new step is off by default.
    """

    def __post_init__(self) -> None:
        check_kinds(self)
        if not anomaly_word_spans(self.question):
            raise SettingsError(
                f"The question {self.question!r} names no anomaly. S_T needs one of the words "
                "defect, anomaly or abnormal in it."
            )
        for name in ("image_tokens", "max_new_tokens"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise SettingsError(f"{name} is {value}; it must be at least 1.")
        if self.image_grid is not None and min(self.image_grid) < 1:
            raise SettingsError(f"image_grid is {self.image_grid}; its sides must be at least 1.")
        for name in ("temperature", "crops"):
            if not 0 <= (value := getattr(self, name)) < math.inf:
                raise SettingsError(f"{name} is {value}; it must not be negative.")
        for name in ("crop_share", "crop_token_share"):
            if not 0 < (value := getattr(self, name)) <= 1:
                raise SettingsError(f"{name} is {value}; it must be in (0, 1].")
        for name in ("region_threshold", "region_peak"):
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise SettingsError(f"{name} is {value}; it must be in [0, 1].")
        check_bit_depth(self.bit_depth)
        if self.roi is not None:
            Roi.parse(self.roi)
        if math.isnan(self.tau_t) or math.isnan(self.tau_i):
            raise SettingsError("tau_t and tau_i must be numbers.")
        weights = (self.alpha, self.beta)
        if not all(0 <= weight < math.inf for weight in weights) or sum(weights) == 0:
            raise SettingsError("alpha and beta must not be negative, nor both be 0.")

    @property
    def tokens_per_image(self) -> int | None:
        """About how many image tokens an image has; None if the checkpoint prescribes it."""
        return self.image_tokens if self.image_grid is None else math.prod(self.image_grid)

    @property
    def threshold(self) -> float | None:
        """Of pred_score, if none is given; None goes by the answer."""
        return 0.5 if self.score_crops else None

    def generation(self) -> dict[str, Any]:
        """Return the settings that a Trace depends on, as JSON types."""
        values = self.to_json()
        names = [field.name for field in fields(Generation)]
        # Keys of traces made before there was one stay as they are.
        return {name: values[name] for name in names if name != "roi" or values[name] is not None}

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON types."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the settings that `to_json` wrote.

        Raises:
            SettingsError: for a name that is no setting, or a value that it cannot take.
        """
        if unknown := set(values) - {field.name for field in fields(cls)}:
            raise SettingsError(unknown_settings(unknown, [field.name for field in fields(cls)]))
        tuples = {n: tuple(v) for n, v in values.items() if isinstance(v, list)}
        return cls(**{**values, **tuples})


def unknown_settings(unknown: Iterable[str], known: Iterable[str]) -> str:
    """Return a sentence that names unknown settings, each with the known ones of a near name."""
    names, named = list(known), []
    for name in sorted(unknown):
        near = _near(name, names)
        hint = f" (is it {' or '.join(near)}?)" if near else ""
        named.append(f"{name} (now {_RENAMED[name]})" if name in _RENAMED else name + hint)
    return f"Unknown settings: {', '.join(named)}."


def _near(name: str, names: list[str]) -> list[str]:
    """Return the names that a mistyped one may mean, also in capitals or with hyphens."""
    plain = name.strip().casefold().replace("-", "_")
    if plain in names:
        return [plain]
    begun = [one for one in names if plain and one.startswith(plain)]
    return begun or difflib.get_close_matches(plain, names)


def shown_value(value: Any) -> str:
    """Return the value of a setting for a sentence, shortened."""
    text = str(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


_SHOWN = 60


def check_bit_depth(value: Any) -> None:
    """Raise SettingsError unless a bit depth is None or an integer in [1, 32]."""
    if value is not None and (type(value) is not int or not 1 <= value <= 32):
        raise SettingsError(f"bit_depth is {value!r}; it must be an integer from 1 to 32, or null.")


def check_kinds(settings: Any) -> None:
    """Refuse values that would silently mean something else, like the word "False" for a bool.

    Args:
        settings: a dataclass of bool, int, float, str, Literal, tuples of int and None.

    Raises:
        SettingsError: naming the field, with its choices if it is a Literal.
    """
    for name, kind in get_type_hints(type(settings)).items():
        value = getattr(settings, name)
        kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
        if any(_is_of(value, one) for one in kinds):
            continue
        if get_origin(kind) is Literal:
            raise SettingsError(f"{name} is {value!r}; choose one of {', '.join(get_args(kind))}.")
        raise SettingsError(f"{name} is {value!r}, which is not of the kind it takes.")


def _is_of(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is tuple:
        if not isinstance(value, tuple) or not all(type(one) is int for one in value):
            return False
        return get_args(kind)[-1] is ... or len(value) == len(get_args(kind))
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    return isinstance(value, int | float if kind is float else kind)


# Names of version 0.1, read for one release; and what it had that is gone, with its default.
_RENAMED = {
    "row": "attention_row",
    "none_kept": "fallback",
    "relative": "attention_prior",
    "rarity": "feature_distance",
    "follow_edges": "guided_filter",
}
_ROWS = {"own": "token", "predicting": "previous"}
_GONE = {
    "heads": None,
    "model_heads": False,
    "semantic_normalization": "share",
    "concentration_normalization": "exp",
    "words_only": False,
    "reask": 0,
    "scale_by_score": False,
}


def upgraded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return saved settings by today's names.

    A setting that is gone stays under its old name if it had another value than its default: such
    a run cannot be made with this version.
    """
    today = {_RENAMED.get(name, name): value for name, value in values.items()}
    if isinstance(row := today.get("attention_row"), str):
        today["attention_row"] = _ROWS.get(row, row)
    return {
        name: value for name, value in today.items() if name not in _GONE or value != _GONE[name]
    }


def parse_override(text: str) -> tuple[str, Any]:
    """Split NAME=VALUE; the value is JSON, or else the word itself.

    Raises:
        SettingsError: if there is no "=", or no name before it.
    """
    name, equals, value = text.partition("=")
    name = name.strip()
    if not equals or not name:
        raise SettingsError(f"Write NAME=VALUE, not {text!r}.")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


PRESETS: dict[str, Settings] = {
    "paper": Settings(image_grid=(15, 15)),
    # Of the steps that gain on half of the validation families, those that keep to three times the
    # time of `paper` (docs/results.md, "Beyond the paper"). The thresholds are off: all tokens
    # count, by their w_r. Crops have fewer tokens than the whole image, which saves time
    # (docs/log.md, 86). Feature distance makes steeper maps, whose regions must peak higher
    # (docs/log.md, 83).
    "default": Settings(
        tau_t=0.0,
        tau_i=0.0,
        attention_prior=True,
        feature_distance=True,
        crops=3,
        crop_share=0.5,
        crop_token_share=0.87,
        score_crops=True,
        guided_filter=True,
        region_peak=0.55,
    ),
}


def preset(name: str) -> Settings:
    """Return the settings called `name`.

    Raises:
        SettingsError: if there is no such preset.
    """
    if name not in PRESETS:
        raise SettingsError(f"There is no preset {name!r}; choose one of {', '.join(PRESETS)}.")
    return PRESETS[name]
