"""`--config FILE`: options of the command line in one YAML file for all verbs.

    model: Qwen/Qwen2.5-VL-7B-Instruct      options by their long names: of every verb that has them
    preset: paper
    set: {image_tokens: 300}
    serve: {port: 8080}                     of one verb alone; wins over the former

What the command line gives wins over the file; `--set` adds to it.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import SettingsError
from ..settings import unknown_settings
from .shell import explained, warn

# What `bench` has in the text of its detector instead of options.
_OF_DETECTOR = ("adapter", "device", "dtype", "attention", "preset", "reference", "seed", "explain")
_Values = dict[str, Any]


def configured(verb: Callable[..., None]) -> Callable[..., None]:
    """Add the option --config to a verb."""

    @wraps(verb)
    def run(**given: Any) -> None:
        del given["config"]
        verb(**given)

    shown = signature(verb)
    added = Parameter("config", Parameter.KEYWORD_ONLY, default=None, annotation=_CONFIG)
    run.__signature__ = shown.replace(  # type: ignore[attr-defined]
        parameters=[*shown.parameters.values(), added]
    )
    run.__annotations__ = {**verb.__annotations__, "config": _CONFIG}
    return run


def _use(ctx: typer.Context, path: Path | None) -> Path | None:
    """Make the options of a file the defaults of the command that is parsed."""
    if path is not None and not ctx.resilient_parsing:
        with explained():
            verbs = _verbs(ctx.find_root().command)
            own = ctx.command.name or ""
            ctx.default_map = read_config(path, own, verbs | {own: _options(ctx.command)})
    return path


_CONFIG = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="YAML file of options, which all verbs can share; the command line wins.",
        is_eager=True,
        callback=_use,
    ),
]


def read_config(path: Path, verb: str, verbs: Mapping[str, Mapping[str, Any]]) -> _Values:
    """Return what a file gives a verb, by the names of its parameters.

    Args:
        path: of the file.
        verb: name of the command.
        verbs: of each command, its click parameters by their long names with underscores.

    Raises:
        SettingsError: if the file cannot be read, names what no verb has, or gives a list to an
            option that takes one value.
    """
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SettingsError(f"Cannot read the settings in {path}: {error}") from error
    if not isinstance(values, dict | None):
        raise SettingsError(f"{path} must hold NAME: VALUE lines, like preset: paper.")
    shared = _named(values or {})
    sections = {
        name: _named(shared.pop(name)) for name in verbs if isinstance(shared.get(name), dict)
    }
    for name in shared.keys() & verbs.keys():
        if not any(name in known for known in verbs.values()):
            raise SettingsError(
                f"{path}: {name} is a command; write its options below it, like "
                f"{name}: {{preset: paper}}."
            )
    _check(path, shared, {name for known in verbs.values() for name in known} | {"set"}, verbs)
    for name, section in sections.items():
        _check(path, section, verbs[name])
    section, known = sections.get(verb, {}), verbs[verb]
    if verb == "bench" and "detector" not in shared | section:
        section = _with_detector(path, shared, section, verbs)
        shared.pop("model", None)
    given = shared | section
    given["set"] = [*_overrides(shared.get("set")), *_overrides(section.get("set"))]
    return {
        known[name].name: _converted(path, name, value, known[name])
        for name, value in given.items()
        if name in known and value not in (None, [])
    }


def _verbs(command: Any) -> dict[str, dict[str, Any]]:
    """Return the options of all commands below one, by name."""
    found: dict[str, dict[str, Any]] = {}
    for name, below in getattr(command, "commands", {}).items():
        found |= _verbs(below) if hasattr(below, "commands") else {name: _options(below)}
    return found


def _options(command: Any) -> dict[str, Any]:
    """Return the parameters of a command by their long names, which a file may give."""
    named = {text.lstrip("-").replace("-", "_"): one for one in command.params for text in one.opts}
    return {name: one for name, one in named.items() if one.name != "config"}


def _named(values: _Values) -> _Values:
    """Return values by names with underscores; `inspection` is another name of `set`."""
    names = {name: str(name).replace("-", "_") for name in values}
    return {"set" if name == "inspection" else name: values[given] for given, name in names.items()}


def _check(
    path: Path, values: _Values, known: Collection[str], sections: Iterable[str] = ()
) -> None:
    if unknown := values.keys() - set(known):
        raise SettingsError(f"{path}: {unknown_settings(unknown, [*known, *sections])}")


def _overrides(values: Any) -> list[str]:
    """Return NAME=VALUE texts of a mapping, or of a list of them."""
    if isinstance(values, dict):
        # A word stays bare: YAML takes 1e-5 for one, which has no point.
        texts = {
            name: value if isinstance(value, str) else json.dumps(value, default=str)
            for name, value in values.items()
        }
        return [f"{name}={text}" for name, text in texts.items()]
    if values is None:
        return []
    return [str(value) for value in (values if isinstance(values, list) else [values])]


def _with_detector(
    path: Path, shared: _Values, section: _Values, verbs: Mapping[str, Mapping[str, Any]]
) -> _Values:
    """Return the section of bench with a detector that is like what inspect would use."""
    model = shared.get("model")
    pairs = [f"{name}={shared[name]}" for name in _OF_DETECTOR if shared.get(name) is not None]
    pairs += _overrides(shared.get("set"))
    lost = shared.keys() & verbs.get("inspect", {}).keys()
    lost -= verbs["bench"].keys() | {*_OF_DETECTOR, "set", "paths"}
    if lost:
        warn([f"bench does not use {', '.join(sorted(lost))} of {path}."])
    if model is None and not pairs:
        return section
    head = "flawsight" if model is None else f"flawsight:{model}"
    return section | {"detector": [",".join([head, *pairs])]}


def _converted(path: Path, name: str, value: Any, option: Any) -> Any:
    """Return a value as the command line would give it."""
    if getattr(option, "is_flag", False):
        if not isinstance(value, bool):
            raise SettingsError(f"{path}: {name} is {value!r}; write true or false.")
        return value
    many = getattr(option, "multiple", False) or option.nargs == -1
    values = value if isinstance(value, list) else [value]
    if (not many and isinstance(value, list)) or any(isinstance(v, dict | list) for v in values):
        raise SettingsError(f"{path}: {name} is {value!r}; it takes one value.")
    texts = [str(one) for one in values]
    return texts if many else texts[0]
