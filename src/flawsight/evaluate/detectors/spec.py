"""What a user writes for a detector → the detector.

    flawsight                                    the bundled model, preset default
    flawsight:MODEL,preset=paper,tau_t=0.4       any model; any setting
    vlm:MODEL,max_new_tokens=8192                any chat VLM of transformers, answers only
    openai:MODEL,base_url=http://…/v1,budget=5   any OpenAI-compatible endpoint
    run:FOLDER                                   the predictions of any other program
    texture                                      a baseline without learning

`name=…` gives it a name of its own in folders and tables.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...errors import SettingsError
from ...settings import parse_override
from .protocol import Detector

_LOAD = ("adapter", "device", "dtype", "attention")


@dataclass(frozen=True)
class Spec:
    """A parsed detector: its kind, the argument after the colon, and its NAME=VALUE options."""

    text: str
    kind: str
    argument: str | None
    options: dict[str, Any]

    @property
    def name(self) -> str:
        """What tables call it: its `name` option, or the text itself."""
        return str(self.options.get("name", self.text))


def parse_spec(text: str) -> Spec:
    """Parse ``KIND[:ARGUMENT][,NAME=VALUE…]``; values are JSON or else words.

    Raises:
        SettingsError: for an unknown kind, or an option without a value.
    """
    head, *pairs = _split(text)
    kind, colon, argument = head.partition(":")
    if colon and "=" in argument and not Path(argument).exists():
        pairs.insert(0, argument)
        argument = ""
    if kind not in _OPENERS:
        raise SettingsError(
            f"Unknown detector {kind!r} in {text!r}; choose one of {', '.join(_OPENERS)}."
        )
    return Spec(text, kind, argument or None, dict(parse_override(pair) for pair in pairs))


def open_detector(spec: Spec, traces: Path, cache: Path, batch_size: int) -> Detector:
    """Load what a spec names.

    Args:
        spec: parsed.
        traces: folder for the traces of flawsight's own detectors.
        cache: folder for the answers of endpoints.
        batch_size: images at once, of detectors that run a model here.

    Raises:
        FlawsightError: if it cannot be loaded, or an option is unknown.
    """
    options = {name: value for name, value in spec.options.items() if name != "name"}
    try:
        return _OPENERS[spec.kind](spec, options, traces, cache, batch_size)
    except TypeError as error:
        raise SettingsError(f"{spec.text!r}: {error}.") from error


def _split(text: str) -> list[str]:
    """Split at the commas outside of brackets, for `layers=[1,2]` is one option."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "[{") - (character in "]}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _needs_argument(spec: Spec, what: str) -> str:
    if spec.argument is None:
        raise SettingsError(f"{spec.text!r} lacks its {what}: write {spec.kind}:{what.upper()}.")
    return spec.argument


def _own(
    spec: Spec, options: dict[str, Any], traces: Path, _cache: Path, batch_size: int
) -> Detector:
    from ...inspector import Inspector
    from ...refine.attention_prior import load_prior
    from ...runs.trace_store import TraceFolder
    from ...settings import Settings, preset
    from .flawsight import FlawsightDetector

    load = tuple((name, options.pop(name)) for name in _LOAD if name in options)
    threshold = options.pop("threshold", None)
    settings = Settings.from_json(preset(options.pop("preset", "default")).to_json() | options)
    mllm = _loaded(spec.argument, load)
    prior = load_prior(mllm.folder, mllm.sha256)
    store = TraceFolder(traces, mllm, settings, prior)
    inspector = Inspector(mllm, settings, batch_size, threshold, prior=prior, trace_store=store)
    return FlawsightDetector(spec.name, inspector)


@lru_cache(maxsize=1)
def _loaded(model: str | None, load: tuple[tuple[str, Any], ...]) -> Any:
    """Load a model once for all detectors in a row that share it."""
    from ...mllm.load import load_mllm

    return load_mllm(model, **dict(load))


def _vlm(
    spec: Spec, options: dict[str, Any], _traces: Path, _cache: Path, batch_size: int
) -> Detector:
    from .chat_vlm import ChatVLMDetector

    load = tuple((name, options.pop(name)) for name in _LOAD if name in options)
    mllm = _loaded(_needs_argument(spec, "model"), (*load, ("any_family", True)))
    return ChatVLMDetector(spec.name, mllm, **{"batch_size": batch_size} | options)


def _openai(
    spec: Spec, options: dict[str, Any], _traces: Path, cache: Path, _batch_size: int
) -> Detector:
    from .endpoint import EndpointDetector

    return EndpointDetector(_needs_argument(spec, "model"), name=spec.name, cache=cache, **options)


def _run(
    spec: Spec, options: dict[str, Any], _traces: Path, _cache: Path, _batch_size: int
) -> Detector:
    from .predictions import PredictionsDetector

    return PredictionsDetector(Path(_needs_argument(spec, "folder")), name=spec.name, **options)


def _texture(
    spec: Spec, options: dict[str, Any], _traces: Path, _cache: Path, _batch_size: int
) -> Detector:
    from .texture import TextureDetector

    return TextureDetector(name=spec.name, **options)


_OPENERS: dict[str, Callable[[Spec, dict[str, Any], Path, Path, int], Detector]] = {
    "flawsight": _own,
    "vlm": _vlm,
    "openai": _openai,
    "run": _run,
    "texture": _texture,
}
