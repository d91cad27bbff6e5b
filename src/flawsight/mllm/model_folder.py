"""The files of a model or adapter folder: their hash, and checks before they are loaded."""

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

from safetensors import safe_open
from transformers import CONFIG_MAPPING, PreTrainedConfig

from ..errors import ModelError

# Of what a model is loaded from, the files but weights have one of these suffixes.
_SMALL = (".json", ".jinja", ".txt", ".model")
# Files that hold a JSON object. A null in a config means the default.
_CONFIGS = (
    "config.json", "preprocessor_config.json", "processor_config.json", "tokenizer_config.json",
    "adapter_config.json",
)  # fmt: skip
_OBJECTS = (
    *_CONFIGS, "generation_config.json", "tokenizer.json", "special_tokens_map.json",
    "added_tokens.json", "chat_template.json",
)  # fmt: skip
# The bundled model keeps the hash of version 0.1, which was of the weights alone, so that runs,
# calibrations, traces and trainings of it stay valid.
_BUNDLED = "48aa743f17b1891925b57bf968631c60f79e69ea73d43507ef154d4945db74d0"
_BUNDLED_IN_0_1 = "6e5534ad6088d0977645ed1dc338f381b7c1600faf4aaaf6a9015248a21f0e3f"


def model_files(folder: Path) -> list[Path]:
    """Return the files that a model is loaded from, sorted; nothing else changes its results."""
    files = [path for path in folder.iterdir() if path.suffix in (*_SMALL, ".safetensors")]
    files = [path for path in files if path.name in _OBJECTS or not path.is_dir()]
    return sorted(files) + sorted(folder.glob("additional_chat_templates/*.jinja"))


def adapter_files(folder: Path) -> list[Path]:
    """Return the files that an adapter is loaded from."""
    return [folder / "adapter_config.json", folder / "adapter_model.safetensors"]


def hash_files(files: Sequence[Path]) -> str:
    """Return the SHA-256 of the lines that `sha256sum` prints of the files, by their names."""
    return hash_lines(checksum_lines(files))


def checksum_lines(files: Sequence[Path]) -> tuple[str, ...]:
    """Return the lines that `sha256sum` prints of the files, by their names."""
    lines = []
    for path in files:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        lines.append(f"{digest}  {path.name}\n")
    return tuple(lines)


def hash_lines(lines: Sequence[str]) -> str:
    """Return the `hash_files` of files with these `checksum_lines`."""
    total = hashlib.sha256("".join(lines).encode())
    return _BUNDLED_IN_0_1 if total.hexdigest() == _BUNDLED else total.hexdigest()


@contextmanager
def small_files(folder: Path, files: Sequence[Path]) -> Iterator[Path]:
    """Copy files of a folder, but weights, to a temporary one; nulls that mean the default go.

    Raises:
        ModelError: naming a file that is damaged.
    """
    with TemporaryDirectory(prefix="flawsight-") as name:
        for path in (path for path in files if path.suffix != ".safetensors"):
            copy = name / path.relative_to(folder)
            if path.name in _OBJECTS:
                copy.write_text(json.dumps(read_object(path)), encoding="utf-8")
                continue
            try:
                copy.parent.mkdir(exist_ok=True)
                content = path.read_bytes()
                if path.suffix != ".model":
                    content.decode()
                copy.write_bytes(content)
            except (OSError, ValueError) as error:
                raise ModelError(f"{path} cannot be read ({error}); fetch it again.") from error
        yield Path(name)


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file, if it is a config without nulls that mean the default.

    Raises:
        ModelError: if the file cannot be read or holds anything else.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
        if not isinstance(values, dict):
            raise ValueError("it holds no JSON object")
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read ({error}); fetch it again.") from error
    if path.name not in _CONFIGS:
        return values
    return _without_nulls(values, _nullable(values) if path.name == "config.json" else ())


def _without_nulls(values: dict[str, Any], kept: Collection[str]) -> dict[str, Any]:
    """Drop nulls, also in parts, but those of `kept` and of tokens, which mean none."""
    return {
        name: _without_nulls(value, kept) if isinstance(value, dict) else value
        for name, value in values.items()
        if value is not None or name in kept or name.endswith("_token")
    }


def _nullable(config: dict[str, Any]) -> set[str]:
    """Return the fields in which the classes of a config.json take null for a value of its own."""
    parts = [config, *(value for value in config.values() if isinstance(value, dict))]
    names = [name for part in parts if isinstance(name := part.get("model_type"), str)]
    classes: list[Any] = [CONFIG_MAPPING[name] for name in names if name in CONFIG_MAPPING]
    classes += [part for each in classes for part in each.sub_configs.values()]
    optional = [
        each.name
        for one in classes
        if is_dataclass(one)
        for each in fields(one)
        if type(None) in get_args(each.type)
    ]
    # Those of all models, such as return_dict, are not meant to be null.
    return set(optional) - {each.name for each in fields(PreTrainedConfig)}


def check_weights(folder: Path) -> Sequence[tuple[int, ...]]:
    """Return the shapes of all weights, after a check that their files are whole and in the folder.

    Raises:
        ModelError: naming the file at fault.
    """
    weights = sorted(folder.glob("*.safetensors"))
    if not weights and not any(folder.glob("*.bin")):
        raise ModelError(f"{folder} has no weights: no .safetensors file.")
    if not weights:
        raise ModelError(
            f"The weights in {folder} are pickled (.bin), which can run code and is not in "
            "the model's hash; convert them to .safetensors."
        )
    index = folder / "model.safetensors.index.json"
    if index.exists() and not (folder / "model.safetensors").exists():
        parts = read_object(index).get("weight_map")
        if not isinstance(parts, dict) or not parts:
            raise ModelError(f"{index} has no weight_map; fetch it again.")
        # Weights elsewhere would not be in the hash.
        if missing := sorted(set(map(str, parts.values())) - {path.name for path in weights}):
            raise ModelError(
                f"{index} names {missing[0]}, but there is no such .safetensors file in {folder}; "
                "fetch it."
            )
    shapes: list[tuple[int, ...]] = []
    for path in weights:
        try:
            with safe_open(path, framework="pt") as file:
                shapes += [tuple(file.get_slice(name).get_shape()) for name in file.keys()]  # noqa: SIM118
        except Exception as error:  # a SafetensorError, OSError or RuntimeError
            raise ModelError(f"{path} is damaged ({error}); fetch it again.") from error
    return shapes
