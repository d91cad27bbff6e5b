"""Load a model and its processor, with or without a LoRA adapter."""

import hashlib
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from huggingface_hub import snapshot_download
from PIL import Image
from transformers import (
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    AutoModelForImageTextToText,
    GenerationConfig,
)
from transformers.utils import is_torchvision_available
from transformers.utils import logging as transformers_logging

from ..errors import ModelError, SettingsError
from ..prompt import user_message
from .adapter import with_adapter
from .families.family import Family
from .families.registry import family_of
from .processor import load_processor

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
        folder: of the adapter, or else of the model.
        lock: held while it runs: Qwen2.5-VL stores the positions of its last prompt.
        tokenizing: held while the tokenizer works: another thread must not change its padding.
    """

    model: Any  # a transformers or PEFT model
    processor: Any
    name: str
    sha256: str
    attention: str
    folder: Path
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)
    tokenizing: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @property
    def device(self) -> torch.device:
        """Where the model's inputs belong."""
        device: torch.device = self.model.device
        return device

    @property
    def end_tokens(self) -> set[int]:
        """The ids of the tokens that end a response."""
        configured = self.model.generation_config.eos_token_id
        ends = configured if isinstance(configured, list) else [configured]
        return {*ends, self.processor.tokenizer.eos_token_id}

    @property
    def family(self) -> Family:
        """How its images become tokens; ModelError if flawsight cannot read its attention."""
        return family_of(self.model.config.model_type)


def load_mllm(
    model: str | Path | None = None,
    *,
    adapter: str | Path | None = None,
    device: str | None = None,
    dtype: str | None = None,
    attention: Attention = "sdpa",
    any_family: bool = False,
) -> MLLM:
    """Load a checkpoint in Hugging Face layout, of a family in `families/`.

    Args:
        model: folder, or name on the Hugging Face hub; None is the bundled default model.
        adapter: folder or hub name of a PEFT LoRA adapter for it.
        device: "cpu", "cuda", "cuda:1", "mps"; None takes the best available.
        dtype: "float32", "bfloat16" or "float16"; None is float32 on a CPU, else bfloat16.
        attention: implementation for all layers; flash attention needs a GPU and its package.
        any_family: load any other chat VLM of transformers too. It answers, but has no trace.

    Raises:
        ModelError: if the checkpoint or the adapter cannot be loaded.
        SettingsError: for an unknown device, dtype or attention.
    """
    device = device or _best_device()
    dtype = dtype or ("float32" if device == "cpu" else "bfloat16")
    if dtype not in ("float32", "bfloat16", "float16"):
        raise SettingsError(f"Unknown dtype {dtype!r}; use float32, bfloat16 or float16.")
    if attention not in get_args(Attention):
        raise SettingsError(
            f"Unknown attention {attention!r}; use one of {', '.join(get_args(Attention))}."
        )
    name = "default" if model is None else str(model)
    folder = local_folder(DEFAULT_MODEL if model is None else model)
    _check_architecture(folder, any_family)
    folders = [folder] if adapter is None else [folder, local_folder(adapter)]
    for weights in folders:
        if any(weights.glob("*.bin")) and not any(weights.glob("*.safetensors")):
            raise ModelError(
                f"The weights in {weights} are pickled (.bin), which can run code and is not in "
                "the model's hash; convert them to .safetensors."
            )
    try:
        processor = load_processor(folder)
        with without_bars():
            network, loading = AutoModelForImageTextToText.from_pretrained(
                folder,
                dtype=getattr(torch, dtype),
                attn_implementation=attention,
                output_loading_info=True,
            )
    except Exception as error:  # transformers raises nearly anything for a damaged folder
        if "torchvision" in str(error).lower() and not is_torchvision_available():
            raise ModelError(f"The images of {name} need torchvision: install it.") from error
        raise ModelError(f"Cannot load the model in {folder}: {error}") from error
    if missing := sorted(loading["missing_keys"]):
        raise ModelError(
            f"The weights in {folder} are incomplete; missing: {', '.join(missing[:3])}"
            f"{', …' if len(missing) > 3 else ''} ({len(missing)} in all)."
        )
    _check_chat_template(processor, network.config, folder)
    tokenizer = processor.tokenizer
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    network.generation_config = _token_ids_of(network.generation_config, tokenizer.eos_token_id)
    if adapter is not None:
        network = with_adapter(network, folders[-1])
    try:
        network = network.to(device).eval()
    except (RuntimeError, AssertionError) as error:
        raise SettingsError(f"Cannot use device {device!r}: {error}") from error
    # Without its package, flash attention may run as a kernel of the hub, with another name.
    attention = network.config.get_text_config()._attn_implementation
    return MLLM(network, processor, name, _hash_weights(folders), attention, folders[-1])


@contextmanager
def without_bars() -> Iterator[None]:
    """Hide transformers' progress bar for weights, which would break the command's display."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def local_folder(name: str | Path) -> Path:
    """Return the folder itself, or that of a snapshot from the hub.

    Raises:
        ModelError: if it is neither a folder nor a model of the hub.
    """
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


def _check_architecture(folder: Path, any_family: bool) -> None:
    path = folder / "config.json"
    try:
        family = json.loads(path.read_text()).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(
            f"{folder} is no model folder in Hugging Face layout: cannot read config.json "
            f"({error}). For a LoRA adapter, name the base model and use --adapter."
        ) from error
    if not any_family:
        family_of(family)
        return
    try:
        config_class = type(AutoConfig.from_pretrained(folder))
    except Exception as error:  # unknown to transformers, or damaged
        raise ModelError(
            f"transformers cannot make the {family!r} model of config.json in {folder}. Take its "
            f"version for transformers; InternVL's and LLaVA-OneVision's end in -hf. ({error})"
        ) from error
    if config_class not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise ModelError(
            f"config.json in {folder} is of a {family!r} model, which cannot be asked about images."
        )


def _token_ids_of(generation: GenerationConfig, eos_token_id: int) -> GenerationConfig:
    """Return what generation needs to know of a checkpoint: not its num_beams, stop_strings, …"""
    names = ("bos_token_id", "eos_token_id", "pad_token_id", "cache_implementation")
    values = {name: getattr(generation, name, None) for name in names}
    if values["eos_token_id"] is None:
        values["eos_token_id"] = eos_token_id
    return GenerationConfig(**values)


def _check_chat_template(processor: Any, config: Any, folder: Path) -> None:
    # Checkpoints saved by way of the tokenizer keep the template in tokenizer_config.json.
    processor.chat_template = processor.chat_template or processor.tokenizer.chat_template
    if processor.chat_template is None:
        raise ModelError(
            f"{folder} has no chat template (chat_template.jinja, chat_template.json or "
            "tokenizer_config.json)."
        )
    try:
        prompt = processor.apply_chat_template(user_message(), tokenize=False)
    except Exception as error:  # a template is a program and raises anything
        raise ModelError(f"The chat template in {folder} fails: {error}") from error
    try:
        inputs = processor(text=[prompt], images=[[Image.new("RGB", (64, 64))]])
        if config.image_token_id not in inputs["input_ids"][0]:
            raise ValueError("the prompt has no image token")
    except Exception as error:  # each processor raises its own
        raise ModelError(
            f"The chat template in {folder} makes no place for an image ({error}). Take the one "
            "of the base model, e.g. its chat_template.json."
        ) from error


def _hash_weights(folders: Sequence[Path]) -> str:
    """Return the SHA-256 of the weight files of folders, in order of their names."""
    sha256 = hashlib.sha256()
    for path in (path for folder in folders for path in sorted(folder.glob("*.safetensors"))):
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                sha256.update(block)
    return sha256.hexdigest()
