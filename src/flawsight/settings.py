"""Every choice the method leaves open, as one frozen object, saved with every result."""

import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints

from .errors import SettingsError
from .prompt import QUESTION, anomaly_word_spans


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of one inspection. [paper] is stated by the paper; all else is our choice.

    What is made before there is a setting is taken to be made with its default, so that a new step
    must be off by default.

    Attributes:
        question: put to the model with every image [paper]; must hold an anomaly word.
        image_tokens: about how many image tokens the image is scaled to, keeping its aspect.
            225 is the paper's 420×420 at 28 pixels a token. None: what the checkpoint prescribes.
        max_new_tokens: length at which a response is cut off.
        temperature: of sampling; 0 decodes greedily.
        seed: of sampling.
        layers: language layers whose attention is averaged (negative ones count from the end);
            None takes all.
        heads: (layer, head) pairs averaged instead of whole layers.
        model_heads: average the heads that looks.npz in the model's folder names (`flawsight
            calibrate --heads`); without that file, as `layers` and `heads` say.
        row: whose attention speaks for a token: "own", of the token after it has read itself, or
            "predicting", of the position before it, which chose it.
        semantic_normalization: how S_T becomes Ŝ_T in [0, 1]: "share" of the attention to the whole
            question, or "max", relative to the largest in the response.
        concentration_normalization: how the spatial entropy H becomes Ŝ_I in [0, 1]: "exp" is
            exp(−H), "linear" is 1 − H / ln(number of image tokens).
        words_only: leave out tokens without a letter or digit (punctuation, spaces).
        selection: "real" keeps tokens by Ŝ_T and Ŝ_I [paper], "vanilla" averages all [paper].
        tau_t: τ_t; a token is kept if Ŝ_T > τ_t …
        tau_i: τ_i; … and Ŝ_I > τ_i [paper].
        alpha: α, weight of Ŝ_T in w_r = α Ŝ_T + β Ŝ_I [paper].
        beta: β, weight of Ŝ_I.
        none_kept: when no token passes: "mean" of all tokens, or the "best" token by w_r.
        region_threshold: above which anomaly_map value a pixel belongs to a region, in [0, 1]. A
            flat map is 0.2 everywhere.
        region_peak: which value a region must exceed somewhere, in [0, 1].
        relative: divide the map by where words about good images look anyhow, by the same
            looks.npz; without that file, the map stays as it is.
        rarity: multiply the map by how unlike the rest of the image each place is, by the features
            of the vision encoder.
        crops: how many parts of the image are looked at again from close by, each around the most
            suspect place outside of those before it; each costs a forward pass.
        crop_share: how much of the image's height and width a part has, in (0, 1].
        crop_token_share: how many image tokens a part is scaled to, in (0, 1], of `image_tokens`;
            where that is None, the checkpoint prescribes those of a part, too.
        score_crops: let these parts count in pred_score, half of it. The answer speaks of the
            whole image alone, so that an image is then called defective above one half.
        follow_edges: draw the map to the edges of the image; regions are found before that.
        reask: how often at most an image is asked about again, by sampling, whose reasoning claims
            the opposite of the answer, or which got none.
        scale_by_score: multiply the map by P(Yes), so that a part called good stays dark.
    """

    question: str = QUESTION
    image_tokens: int | None = 225
    max_new_tokens: int = 256
    temperature: float = 0.0
    seed: int = 0
    layers: tuple[int, ...] | None = None
    heads: tuple[tuple[int, int], ...] | None = None
    model_heads: bool = False
    row: Literal["own", "predicting"] = "own"
    semantic_normalization: Literal["share", "max"] = "share"
    concentration_normalization: Literal["exp", "linear"] = "exp"
    words_only: bool = False
    selection: Literal["real", "vanilla"] = "real"
    tau_t: float = 0.25
    tau_i: float = 0.25
    alpha: float = 1.0
    beta: float = 1.0
    none_kept: Literal["mean", "best"] = "best"
    relative: bool = False
    rarity: bool = False
    crops: int = 0
    crop_share: float = 0.6
    crop_token_share: float = 1.0
    score_crops: bool = False
    follow_edges: bool = False
    reask: int = 0
    scale_by_score: bool = False
    region_threshold: float = 0.28
    region_peak: float = 0.36

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(type(self)).items():
            _check_kind(name, getattr(self, name), kind)
        if not anomaly_word_spans(self.question):
            raise SettingsError(
                f"The question {self.question!r} names no anomaly. S_T needs one of the words "
                "defect, anomaly or abnormal in it."
            )
        if self.layers is not None and self.heads is not None:
            raise SettingsError("Give either layers or heads, not both.")
        if self.model_heads and (self.layers, self.heads) != (None, None):
            raise SettingsError("Give either model_heads, or layers, or heads.")
        if self.crops < 0:
            raise SettingsError(f"crops is {self.crops}; it must not be negative.")
        for name in ("crop_share", "crop_token_share"):
            if not 0 < (share := getattr(self, name)) <= 1:
                raise SettingsError(f"{name} is {share}; it must be in (0, 1].")
        if self.reask < 0:
            raise SettingsError(f"reask is {self.reask}; it must not be negative.")
        if self.image_tokens is not None and self.image_tokens < 1:
            raise SettingsError(f"image_tokens is {self.image_tokens}; it must be at least 1.")
        if self.max_new_tokens < 1:
            raise SettingsError(f"max_new_tokens is {self.max_new_tokens}; it must be at least 1.")
        if not 0 <= self.temperature < math.inf:
            raise SettingsError(f"temperature is {self.temperature}; it must not be negative.")
        if math.isnan(self.tau_t) or math.isnan(self.tau_i):
            raise SettingsError("tau_t and tau_i must be numbers.")
        for name in ("region_threshold", "region_peak"):
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise SettingsError(f"{name} is {value}; it must be in [0, 1].")
        weights = (self.alpha, self.beta)
        if not all(0 <= weight < math.inf for weight in weights) or sum(weights) == 0:
            raise SettingsError("alpha and beta must not be negative, nor both be 0.")

    @property
    def threshold(self) -> float | None:
        """Of pred_score, where none is given: None goes by the answer."""
        return 0.5 if self.score_crops else None

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON types."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Return the settings that `to_json` wrote.

        Raises:
            SettingsError: for a name that is no setting, or a value that it cannot take.
        """
        if unknown := set(values) - {field.name for field in fields(cls)}:
            raise SettingsError(f"Unknown settings: {', '.join(sorted(unknown))}.")
        values = dict(values)
        try:
            if values.get("layers") is not None:
                values["layers"] = tuple(values["layers"])
            if values.get("heads") is not None:
                values["heads"] = tuple((layer, head) for layer, head in values["heads"])
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise SettingsError(f"A setting has a value of the wrong kind: {error}.") from error


def parse_override(text: str) -> tuple[str, Any]:
    """Split NAME=VALUE; the value is JSON, or else the word itself.

    Raises:
        SettingsError: if there is no "=".
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise SettingsError(f"Write NAME=VALUE, not {text!r}.")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _check_kind(name: str, value: Any, kind: Any) -> None:
    """Refuse what would silently mean something else, like the word "False" for a bool."""
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise SettingsError(f"{name} is {value!r}; choose one of {', '.join(get_args(kind))}.")
        return
    if name in ("layers", "heads"):
        numbers = value or ()
        if name == "heads":
            numbers = [number for pair in numbers for number in pair]
        fits = all(type(number) is int for number in numbers)
    else:
        fits = isinstance(value, int | float if kind is float else kind)
        fits &= isinstance(value, bool) == (kind is bool)
    if not fits:
        raise SettingsError(f"{name} is {value!r}, which is not of the kind it takes.")


PRESETS: dict[str, Settings] = {
    "paper": Settings(),
    # Of the steps that gain on half of the validation families, those that keep to three times the
    # time of `paper` (docs/results.md, "Beyond the paper"). All words count, as their w_r says.
    # Parts have fewer tokens than the whole image, which saves time (docs/log.md, 86).
    # Rarity makes steeper maps, whose regions must peak higher (docs/log.md, 83).
    "default": Settings(
        tau_t=0.0,
        tau_i=0.0,
        relative=True,
        rarity=True,
        crops=3,
        crop_share=0.5,
        crop_token_share=0.87,
        score_crops=True,
        follow_edges=True,
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
