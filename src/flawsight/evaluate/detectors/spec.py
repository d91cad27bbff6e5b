"""A detector as text → the detector.

    flawsight                                    the bundled model, preset default
    flawsight:MODEL,preset=paper,tau_t=0.4       any model; any setting
    flawsight:reference=16,seed=3                with good photos drawn from train/good, or all
    flawsight:reference=line3.reference          with those of flawsight learn
    vlm:MODEL,max_new_tokens=8192                any chat VLM of transformers, answers only
    openai:MODEL,base_url=http://…/v1,budget=5   any OpenAI-compatible endpoint
    run:FOLDER                                   the predictions of any other program
    texture                                      a classical baseline without learning

`name=…` sets its name in folders and tables.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from functools import lru_cache
from inspect import signature
from pathlib import Path
from typing import Any

from ...errors import SettingsError
from ...reference.learn import SEEN_WITH
from ...reference.memory import Reference
from ...settings import Settings, parse_override, preset, unknown_settings
from .protocol import Detector, Learner

KINDS = ("flawsight", "vlm", "openai", "run", "texture")
LOAD = ("adapter", "device", "dtype", "attention")
_NOT_SETTINGS = ("name", "prompt_photos", "reference", *LOAD)
# What the text gives otherwise than as an option, or the bench itself.
_NO_OPTIONS = ("model", "mllm", "folder", "cache", "options")


@dataclass(frozen=True)
class Spec:
    """A parsed detector: its kind, the argument after the colon, and its NAME=VALUE options."""

    text: str
    kind: str
    argument: str | None
    options: dict[str, Any]

    @property
    def name(self) -> str:
        """Its name in tables: the option `name`, or the text itself."""
        return str(self.options.get("name", self.text))


def parse_spec(
    text: str,
    bit_depth: int | None = None,
    prompt_photos: Sequence[Any] = (),
    roi: str | None = None,
) -> Spec:
    """Parse ``KIND[:ARGUMENT][,NAME=VALUE…]``; values are JSON or plain text.

    `bit_depth` is an option of all kinds that read photos, unless the text gives it. So is
    `prompt_photos`, photos of good parts as `Inspector` takes them, of the kind `flawsight`, and
    `roi`, the region of interest as `Settings` have it.

    Raises:
        SettingsError: for an unknown kind, or an option without a value.
    """
    head, *pairs = _split(text)
    kind, colon, argument = head.partition(":")
    if colon and "=" in argument and not Path(argument).exists():
        pairs.insert(0, argument)
        argument = ""
    if kind not in KINDS:
        near = get_close_matches(kind.casefold(), KINDS, 1)
        hint = f" (is it {near[0]}?)" if near else ""
        raise SettingsError(
            f"Unknown detector {kind!r}{hint} in {text!r}; choose one of {', '.join(KINDS)}."
        )
    options: dict[str, Any] = {}
    if bit_depth is not None and kind != "run":
        options["bit_depth"] = bit_depth
    if prompt_photos and kind == "flawsight":
        options["prompt_photos"] = prompt_photos
    if roi is not None and kind == "flawsight":
        options["roi"] = roi
    return Spec(text, kind, argument or None, options | dict(map(parse_override, pairs)))


def open_detector(spec: Spec, out: Path, batch_size: int) -> Detector | Learner:
    """Load the detector that a spec describes, or what learns to be one.

    Args:
        spec: parsed.
        out: folder of the bench; traces of `flawsight` go to traces/, answers of endpoints to
            answers/ in it.
        batch_size: images at once, of detectors that run a model here.

    Raises:
        FlawsightError: if it cannot be loaded, or an option is unknown.
    """
    options = {name: value for name, value in spec.options.items() if name != "name"}
    try:
        match spec.kind:
            case "flawsight":
                return _open_flawsight(spec, options, out / "traces", batch_size)
            case "vlm":
                return _open_chat_vlm(spec, options, batch_size)
            case "openai":
                from ...endpoint.cached_endpoint import CachedEndpoint
                from .endpoint import EndpointDetector

                check_options(spec, options_of(EndpointDetector, CachedEndpoint))
                model = needed_argument(spec, "model")
                return EndpointDetector(model, name=spec.name, cache=out / "answers", **options)
            case "run":
                from .predictions import PredictionsDetector

                check_options(spec, options_of(PredictionsDetector))
                return PredictionsDetector(
                    Path(needed_argument(spec, "folder")), spec.name, **options
                )
            case _:
                from .texture import TextureDetector

                check_options(spec, options_of(TextureDetector))
                return TextureDetector(spec.name, **options)
    except TypeError as error:
        raise SettingsError(f"{spec.text!r}: {error}.") from error


def options_of(*made_by: Callable[..., Any]) -> list[str]:
    """Return the options that detectors take: the parameters of what makes them."""
    names = [name for one in made_by for name in signature(one).parameters]
    return sorted({"name", *names} - {*_NO_OPTIONS})


def check_options(spec: Spec, known: Iterable[str]) -> None:
    """Raise SettingsError for an option that is not known, with the known ones of a near name."""
    known = [*known]
    if unknown := spec.options.keys() - {*known}:
        raise SettingsError(f"{spec.text!r}: {unknown_settings(unknown, known)}")


def needs_model(spec: Spec) -> bool:
    """Whether opening the detector loads a model here; its options are then checked at once.

    Raises:
        SettingsError: for an option that is none, or a missing argument.
    """
    if spec.kind == "flawsight":
        settings = [field.name for field in fields(Settings)]
        check_options(spec, [*settings, "preset", *_NOT_SETTINGS])
        _settings({k: v for k, v in spec.options.items() if k not in _NOT_SETTINGS})
        _check_reference(spec)
    elif spec.kind == "vlm":
        from .chat_vlm import ChatVLMDetector

        needed_argument(spec, "model")
        check_options(spec, [*options_of(ChatVLMDetector), *LOAD])
    return spec.kind in ("flawsight", "vlm")


def _settings(options: dict[str, Any]) -> Settings:
    values = preset(options.get("preset", "default")).to_json()
    return Settings.from_json(values | {k: v for k, v in options.items() if k != "preset"})


def _split(text: str) -> list[str]:
    """Split at the commas outside of brackets: `layers=[1,2]` is one option."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "[{") - (character in "]}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def needed_argument(spec: Spec, what: str) -> str:
    """Return what follows the colon; SettingsError naming it as `what` if there is nothing."""
    if spec.argument is None:
        raise SettingsError(f"{spec.text!r} lacks its {what}: write {spec.kind}:{what.upper()}.")
    return spec.argument


def learns(spec: Spec) -> bool:
    """Whether the detector learns from good photos of the data set."""
    return spec.options.get("reference") == "all" or type(spec.options.get("reference")) is int


def _check_reference(spec: Spec) -> None:
    """Make sure that the option "reference" is a number of photos, "all", or a file."""
    given = spec.options.get("reference")
    if (type(given) is int and given < 1) or not isinstance(given, int | str | None):
        raise SettingsError(
            f"{spec.text!r}: reference is {given}; give a number of good photos, all, or the file "
            "of flawsight learn."
        )
    if isinstance(given, str) and given != "all":
        Reference.from_pretrained(given)


def _open_flawsight(
    spec: Spec, options: dict[str, Any], traces: Path, batch_size: int
) -> Detector | Learner:
    from ...inspector import Inspector
    from ...mllm.prompt_photos import hash_prompt_photos, read_prompt_photos
    from ...refine.attention_prior import load_prior
    from ...runs.trace_store import TraceFolder
    from .few_shot import FlawsightLearner
    from .flawsight import FlawsightDetector

    load, photos = load_options(options), options.pop("prompt_photos", ())
    given = options.pop("reference", None)
    settings = _settings(options)
    photos = read_prompt_photos([photos] if isinstance(photos, str) else photos, settings.bit_depth)
    mllm = load_shared(spec.argument, load)
    prior = load_prior(mllm.folder, mllm.sha256) if settings.attention_prior else None
    if learns(spec):
        seen = Settings(**{name: getattr(settings, name) for name in SEEN_WITH})
        return FlawsightLearner(
            spec.name, mllm, settings, batch_size, prior, _features(spec.argument, load, seen),
            traces, None if given == "all" else given, settings.seed, photos,
        )  # fmt: skip
    reference = None if given is None else Reference.from_pretrained(given)
    store = TraceFolder(traces, mllm, settings, prior, reference, hash_prompt_photos(photos))
    inspector = Inspector(
        mllm,
        settings,
        batch_size,
        prior=prior,
        reference=reference,
        trace_store=store,
        prompt_photos=photos,
    )
    return FlawsightDetector(spec.name, inspector)


def _open_chat_vlm(spec: Spec, options: dict[str, Any], batch_size: int) -> Detector:
    from .chat_vlm import ChatVLMDetector

    load = (*load_options(options), ("any_family", True))
    mllm = load_shared(needed_argument(spec, "model"), load)
    return ChatVLMDetector(spec.name, mllm, **{"batch_size": batch_size} | options)


def load_options(options: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Take the options of `load_mllm` out of a detector's, for `load_shared`."""
    return tuple((name, options.pop(name)) for name in LOAD if name in options)


@lru_cache(maxsize=1)
def load_shared(model: str | None, options: tuple[tuple[str, Any], ...]) -> Any:
    """Load a model once for all detectors in a row that share it."""
    from ...mllm.load import load_mllm

    return load_mllm(model, **dict(options))


@lru_cache(maxsize=1)
def _features(model: str | None, options: tuple[tuple[str, Any], ...], seen: Settings) -> Any:
    """Return the features of images that all references of a model share."""
    from .compared_traces import SharedFeatures

    return SharedFeatures(load_shared(model, options), seen)
