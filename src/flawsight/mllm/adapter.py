"""A LoRA adapter on a model, also one that names modules as transformers before 4.52 did."""

import copy
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Self

from ..errors import ModelError
from .model_folder import adapter_files, check_weights, small_files

# Old names of Qwen2.5-VL's parts → today's. PEFT maps the names of weights, not those of a config.
_OLD_NAMES = {
    r"^visual\.": "model.visual.",
    r"^model\.(?!language_model\.|visual\.)": "model.language_model.",
}


@dataclass(frozen=True)
class BareModel:
    """A model without an adapter, for other adapters.

    Attributes:
        network: whose weights are those of the model that it was made of.
        lines: `checksum_lines` of its files, as they were loaded.
    """

    network: Any
    lines: tuple[str, ...]

    @classmethod
    def of(cls, network: Any, lines: tuple[str, ...]) -> Self:
        """Keep a model that an adapter is about to change."""
        return cls(with_same_weights(network), lines)


def with_same_weights(network: Any) -> Any:
    """Return a copy of a model's modules around the same tensors."""
    tensors = chain(network.parameters(), network.buffers())
    return copy.deepcopy(network, {id(tensor): tensor for tensor in tensors})


def core(model: Any) -> Any:
    """Return the transformers model inside a PEFT model, its LoRA layers in place; or the model."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Hide the warning about `is_gradient_checkpointing`, which PEFT's own code reads."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`")
        yield


def with_adapter(model: Any, folder: Path) -> Any:
    """Return the model with the PEFT LoRA adapter in a folder.

    Raises:
        ModelError: if the folder holds no adapter, or one that does not fit the model.
    """
    from peft import PeftConfig, PeftModel

    if not (folder / "adapter_config.json").exists():
        raise ModelError(f"{folder} is no PEFT adapter: it has no adapter_config.json.")
    check_weights(folder)
    if not (folder / "adapter_model.safetensors").exists():
        raise ModelError(f"{folder} is no PEFT adapter: it has no adapter_model.safetensors.")
    try:
        with small_files(folder, adapter_files(folder)) as files:
            config, names = PeftConfig.from_pretrained(files), None
        if model.config.model_type == "qwen2_5_vl":
            names = _OLD_NAMES
            _rename(config, [name for name, _ in model.named_modules()])
        with quiet_peft():
            # PEFT would use untrained weights instead of missing ones.
            warnings.filterwarnings("error", message="Found missing adapter keys")
            return PeftModel.from_pretrained(model, folder, config=config, key_mapping=names)
    except ModelError:
        raise
    except Exception as error:  # wrong base model, senseless adapter_config.json
        raise ModelError(f"Adapter {folder} does not fit the model: {error}") from error


def _rename(config: Any, modules: Sequence[str]) -> None:
    """Replace what matches no module by its name of today, but one by its old name."""
    for field in ("target_modules", "exclude_modules"):
        wanted = getattr(config, field, None)
        if isinstance(wanted, str) and wanted != "all-linear":
            if not any(re.fullmatch(wanted, name) for name in modules):
                matching = [name for name in modules if re.fullmatch(wanted, _old(name))]
                setattr(config, field, matching or wanted)
        elif wanted and not isinstance(wanted, str):
            renamed = (_of_suffix(entry, modules) for entry in wanted)
            setattr(config, field, sorted({name for names in renamed for name in names}))
    for field in ("rank_pattern", "alpha_pattern"):
        patterns = getattr(config, field, None) or {}
        renamed_patterns = {
            name: value for key, value in patterns.items() for name in _of_pattern(key, modules)
        }
        if renamed_patterns:
            setattr(config, field, renamed_patterns)


def _of_suffix(entry: str, modules: Iterable[str]) -> list[str]:
    """Return the entry if it is the end of a module's name, else the modules it once named."""
    if any(f".{name}".endswith(f".{entry}") for name in modules):
        return [entry]
    return [name for name in modules if f".{_old(name)}".endswith(f".{entry}")] or [entry]


def _of_pattern(key: str, modules: Iterable[str]) -> list[str]:
    """Return the pattern if it matches the end of a name, else the modules it once matched."""
    pattern = re.compile(rf"(.*\.)?({key})$")
    if any(pattern.match(name) for name in modules):
        return [key]
    return [re.escape(name) for name in modules if pattern.match(_old(name))] or [key]


def _old(name: str) -> str:
    """Return what a module of Qwen2.5-VL was called before transformers 4.52."""
    return re.sub(r"^model\.(?:language_model\.|(?=visual\.))", _prefix, name)


def _prefix(match: re.Match[str]) -> str:
    return "model." if "language_model" in match[0] else ""
