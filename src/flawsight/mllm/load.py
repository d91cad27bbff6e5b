"""Load a model and its processor, with or without a LoRA adapter."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from transformers import (
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    AutoModelForImageTextToText,
    AutoTokenizer,
    GenerationConfig,
)
from transformers.utils import is_torchvision_available
from transformers.utils import logging as transformers_logging

from ..errors import HubError, ModelError, SettingsError
from ..io.hub import fetch_files, is_hub_name
from .adapter import BareModel, with_adapter
from .families.family import Family
from .families.registry import family_of
from .model_folder import (
    adapter_files,
    check_weights,
    checksum_lines,
    hash_lines,
    model_files,
    read_object,
    small_files,
)
from .processor import load_processor
from .try_out import check_image_processor, try_forward, try_prompt

DEFAULT_MODEL = Path(__file__).parent.parent / "default_model"
Attention = Literal["sdpa", "flash_attention_2", "flash_attention_3"]


@dataclass(frozen=True)
class MLLM:
    """A loaded multimodal LLM.

    Attributes:
        model: in evaluation mode, on its device.
        processor: text and image → model inputs.
        name: what the user called it.
        sha256: of all files that it and its adapter are loaded from, see `hash_files`.
        attention: the attention implementation it runs.
        folder: of the adapter, or else of the model.
        lock: held while it runs: Qwen2.5-VL stores the positions of its last prompt.
        tokenizing: held while the tokenizer works: another thread must not change its padding.
        bare: the model without its adapter, if it was kept.
    """

    model: Any  # a transformers or PEFT model
    processor: Any
    name: str
    sha256: str
    attention: str
    folder: Path
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)
    tokenizing: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)
    bare: BareModel | None = field(default=None, repr=False, compare=False)

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
    keep_bare: bool = False,
) -> MLLM:
    """Load a checkpoint in Hugging Face layout, of a family in `families/`.

    Args:
        model: folder, or name on the Hugging Face hub; None is the bundled default model.
        adapter: folder or hub name of a PEFT LoRA adapter for it.
        device: "cpu", "cuda", "cuda:1", "mps"; None takes the best available.
        dtype: "float32", "bfloat16" or "float16"; None is float32 on a CPU, else bfloat16.
        attention: implementation for all layers; flash attention needs a GPU and its package.
        any_family: load any other chat VLM of transformers too. It answers, but has no trace.
        keep_bare: keep what `swap_adapter` needs; it takes no memory for weights.

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
    adapted = None if adapter is None else local_folder(adapter)
    used = model_files(folder)
    with small_files(folder, used) as files:
        config = _load_config(folder, files, any_family)
        processor = _load_processor(folder, files, config)
    if config.model_type != "qwen2_5_vl":
        check_weights(folder)
    try:
        with without_bars():
            network, loading = AutoModelForImageTextToText.from_pretrained(
                folder,
                config=config,
                dtype=getattr(torch, dtype),
                attn_implementation=attention,
                use_safetensors=True,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except Exception as error:  # transformers raises nearly anything for a damaged folder
        raise ModelError(f"Cannot load the model of config.json in {folder}: {error}") from error
    _check_loading(loading, folder)
    inputs = try_prompt(processor, network, folder)
    tokenizer = processor.tokenizer
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    network.generation_config = _token_ids_of(network, tokenizer.eos_token_id, folder)
    lines, bare = checksum_lines(used), None
    network = _on_device(network, device)
    if adapted is not None:
        bare = BareModel.of(network, lines) if keep_bare else None
        network = _on_device(with_adapter(network, adapted), device)
        lines += checksum_lines(adapter_files(adapted))
    try_forward(network, inputs, folder)
    # Without its package, flash attention may run as a kernel of the hub, with another name.
    attention = network.config.get_text_config()._attn_implementation
    return MLLM(
        network, processor, name, hash_lines(lines), attention, adapted or folder, bare=bare
    )


def _on_device(network: Any, device: str) -> Any:
    try:
        return network.to(device).eval()
    except (RuntimeError, AssertionError) as error:
        raise SettingsError(f"Cannot use device {device!r}: {error}") from error


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
    if isinstance(name, Path) or not is_hub_name(name):
        raise ModelError(f"There is no folder {name}.")
    try:
        return fetch_files(name, ["*.json", "*.safetensors", "*.txt", "*.jinja"])
    except HubError as error:
        raise ModelError(f"There is no folder {name}. {error}") from error


def _load_config(folder: Path, files: Path, any_family: bool) -> Any:
    """Return the config of the model in a folder, after a check of its files."""
    if not (files / "config.json").exists():
        raise ModelError(
            f"{folder} is no model folder in Hugging Face layout: it has no config.json. For a "
            "LoRA adapter, name the base model and use --adapter."
        )
    if (files / "adapter_config.json").exists():
        raise ModelError(
            f"{folder} holds a model and an adapter (adapter_config.json); move the adapter to a "
            "folder of its own and use --adapter."
        )
    values = read_object(files / "config.json")
    family = values.get("model_type")
    if not any_family:
        family_of(family)
    shapes = check_weights(folder) if family == "qwen2_5_vl" else []
    parts = [values.get("text_config", values), values.get("vision_config")]
    for part in (part for part in parts if isinstance(part, dict) and shapes):
        for name in ("num_hidden_layers", "depth"):
            if isinstance(layers := part.get(name), int) and not 0 < layers <= len(shapes):
                raise ModelError(
                    f"config.json in {folder} says {name} {layers}, but the weights are "
                    f"{len(shapes)} tensors; take the config.json of these weights."
                )
    try:
        config = AutoConfig.from_pretrained(files, trust_remote_code=False)
    except Exception as error:  # unknown to transformers, or damaged
        raise ModelError(
            f"transformers cannot make the {family!r} model of config.json in {folder}. Take its "
            "version for transformers; InternVL's and LLaVA-OneVision's end in -hf. "
            f"({str(error).replace(str(files), str(folder))})"
        ) from error
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise ModelError(
            f"config.json in {folder} is of a {family!r} model, which cannot be asked about images."
        )
    if family == "qwen2_5_vl":
        _check_config(config, shapes, folder)
    # Weights of another name could lie outside the folder, or be pickled.
    vars(config).pop("transformers_weights", None)
    return config


def _check_config(config: Any, shapes: Sequence[tuple[int, ...]], folder: Path) -> None:
    """Refuse a Qwen2.5-VL that is not of these weights: sizes may be absurd."""
    if hasattr(config, "quantization_config"):  # whose weights have other shapes
        return
    try:
        with torch.device("meta"):
            skeleton = AutoModelForImageTextToText.from_config(config)
    except Exception as error:  # sizes that contradict each other
        raise ModelError(f"config.json in {folder} makes no model: {error}") from error
    for name, weight in skeleton.named_parameters():
        if tuple(weight.shape) not in shapes:
            raise ModelError(
                f"config.json in {folder} is not of its weights: {name} is {tuple(weight.shape)}, "
                "which no tensor is. Take the config.json of these weights."
            )


def _load_processor(folder: Path, files: Path, config: Any) -> Any:
    try:
        processor = load_processor(files)
    except Exception as error:  # each part raises its own
        if "torchvision" in str(error).lower() and not is_torchvision_available():
            raise ModelError(f"The images of {folder} need torchvision: install it.") from error
        try:
            AutoTokenizer.from_pretrained(files, trust_remote_code=False)
            part = "image processor (preprocessor_config.json or processor_config.json)"
        except Exception:
            part = "tokenizer (tokenizer.json, tokenizer_config.json)"
        why = str(error).replace(str(files), str(folder))
        raise ModelError(f"Cannot load the {part} in {folder}: {why}") from error
    if config.model_type == "qwen2_5_vl":
        check_image_processor(processor.image_processor, config, folder)
    return processor


def _check_loading(loading: dict[str, Any], folder: Path) -> None:
    if wrong := sorted(loading["mismatched_keys"]):
        name, found, expected = wrong[0]
        raise ModelError(
            f"The weights in {folder} do not fit its config.json: {name} is {tuple(found)}, not "
            f"{tuple(expected)} ({len(wrong)} such tensors in all)."
        )
    if missing := sorted(loading["missing_keys"]):
        raise ModelError(
            f"The weights in {folder} are incomplete; missing: {', '.join(missing[:3])}"
            f"{', …' if len(missing) > 3 else ''} ({len(missing)} in all)."
        )


def _token_ids_of(network: Any, eos_token_id: int, folder: Path) -> GenerationConfig:
    """Return what generation needs to know of a checkpoint: not its num_beams, stop_strings, …"""
    names = ("eos_token_id", "pad_token_id", "cache_implementation")
    values = {name: getattr(network.generation_config, name, None) for name in names}
    ends = eos_token_id if values["eos_token_id"] is None else values["eos_token_id"]
    if not all(isinstance(end, int) for end in (ends if isinstance(ends, list) else [ends])):
        raise ModelError(
            f"eos_token_id in {folder / 'generation_config.json'} is {ends!r}; it must be an "
            "integer or a list of integers."
        )
    return GenerationConfig(**values | {"eos_token_id": ends})
