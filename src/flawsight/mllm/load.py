"""A folder or hub name, and maybe a LoRA adapter → model and processor, ready to generate."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub import snapshot_download
from torch import nn
from transformers import Qwen2_5_VLForConditionalGeneration

from ..errors import ModelError, SettingsError
from .processor import ImageProcessor

DEFAULT_MODEL = Path(__file__).parent.parent / "default_model"
Attention = Literal["sdpa", "flash_attention_2", "flash_attention_3"]


@dataclass(frozen=True)
class MLLM:
    """A loaded multimodal LLM.

    Attributes:
        model: in evaluation mode, on its device.
        processor: text and image → model inputs.
        name: what the user called it.
        sha256: of its weight files and adapter, in order of their names.
        attention: the attention implementation it runs.
    """

    model: nn.Module
    processor: Any
    name: str
    sha256: str
    attention: str

    @property
    def device(self) -> torch.device:
        """Where the model's inputs belong."""
        return next(self.model.parameters()).device


def load_mllm(
    model: str | Path | None = None,
    *,
    adapter: str | Path | None = None,
    device: str | None = None,
    dtype: str | None = None,
    attention: Attention = "sdpa",
) -> MLLM:
    """Load a Qwen2.5-VL checkpoint in Hugging Face layout.

    Args:
        model: folder, or name on the Hugging Face hub; None is the bundled default model.
        adapter: folder or hub name of a PEFT LoRA adapter for it.
        device: "cpu", "cuda", "cuda:1", "mps"; None takes the best there is.
        dtype: "float32", "bfloat16" or "float16"; None is float32 on a CPU, else bfloat16.
        attention: implementation for all layers; flash attention needs a GPU and its package.

    Raises:
        ModelError: if the checkpoint or the adapter cannot be loaded.
        SettingsError: for an unknown device or dtype.
    """
    device = device or _best_device()
    dtype = dtype or ("float32" if device == "cpu" else "bfloat16")
    if dtype not in ("float32", "bfloat16", "float16"):
        raise SettingsError(f"Unknown dtype {dtype!r}; use float32, bfloat16 or float16.")
    name = "default" if model is None else str(model)
    folder = _local_folder(DEFAULT_MODEL if model is None else model)
    _check_architecture(folder)
    try:
        network = Qwen2_5_VLForConditionalGeneration.from_pretrained(
            folder, dtype=getattr(torch, dtype), attn_implementation=attention
        )
        processor = ImageProcessor.from_pretrained(folder, backend="pil")
    except Exception as error:  # any failure to read a foreign folder is the folder's
        raise ModelError(f"Cannot load the model in {folder}: {error}") from error
    if processor.chat_template is None:
        raise ModelError(f"{folder} has no chat template (chat_template.jinja or .json).")
    sha256 = hashlib.sha256()
    _hash_weights(folder, sha256)
    if adapter is not None:
        adapter_folder = _local_folder(adapter)
        network = _with_adapter(network, adapter_folder)
        _hash_weights(adapter_folder, sha256)
    try:
        network = network.to(device).eval()
    except (RuntimeError, AssertionError) as error:
        raise SettingsError(f"Cannot use device {device!r}: {error}") from error
    return MLLM(network, processor, name, sha256.hexdigest(), attention)


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _local_folder(name: str | Path) -> Path:
    """Return the folder itself, or where the hub's copy of it was put."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if isinstance(name, Path) or folder.is_absolute() or str(name).count("/") != 1:
        raise ModelError(f"There is no folder {name}.")
    try:
        return Path(
            snapshot_download(
                str(name), allow_patterns=["*.json", "*.safetensors", "*.txt", "*.jinja"]
            )
        )
    except Exception as error:  # network, authentication, unknown name: all end here
        raise ModelError(
            f"{name!r} is neither a folder nor a model that can be fetched from the hub: {error}"
        ) from error


def _check_architecture(folder: Path) -> None:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{folder} is no model folder in Hugging Face layout: cannot read config.json "
            f"({error}). For a LoRA adapter, name the base model and use --adapter."
        ) from error
    if config.get("model_type") != "qwen2_5_vl":
        raise ModelError(
            f"{folder} holds a {config.get('model_type')!r} model; flawsight runs 'qwen2_5_vl' "
            "(Qwen2.5-VL). CONTRIBUTING.md shows how to add a family."
        )


def _with_adapter(model: nn.Module, folder: Path) -> nn.Module:
    from peft import PeftModel

    if not (folder / "adapter_config.json").is_file():
        raise ModelError(f"{folder} is no PEFT adapter: it has no adapter_config.json.")
    try:
        return PeftModel.from_pretrained(model, folder)  # type: ignore[no-any-return]
    except Exception as error:  # wrong base model, torn file
        raise ModelError(f"Adapter {folder} does not fit the model: {error}") from error


def _hash_weights(folder: Path, sha256: Any) -> None:
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                sha256.update(block)
