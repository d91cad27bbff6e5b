"""The policy: LoRA on the language and merger layers, the vision encoder frozen."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ..errors import ModelError
from ..mllm.adapter import core, quiet_peft
from ..mllm.load import MLLM

# The vision blocks have layers of the same names, so the path is part of the pattern.
LORA_TARGETS = (
    r".*language_model\.layers\..*\.(q|k|v|o|gate|up|down)_proj"
    r"|.*visual\.merger\.(mlp\.[02]|linear_fc[12])"
)
TRAINABLE = {"qwen2_5_vl": "Qwen2.5-VL", "qwen3_vl": "Qwen3-VL (dense)"}


def make_trainable(mllm: MLLM, rank: int, alpha: int, seed: int) -> MLLM:
    """Return the model with a LoRA adapter on its language and merger layers [paper].

    Only the adapter requires a gradient. An adapter that the model was loaded with is trained
    further: it keeps its layers, but its dropout is turned off, which sampling knows nothing of.

    Args:
        mllm: a base model, with or without an adapter; it is changed in place.
        rank: r of the LoRA matrices.
        alpha: their output is scaled by alpha / r.
        seed: of a new adapter's initial weights.

    Raises:
        ModelError: if its family cannot be trained, a weight of the vision encoder would train, or
            the adapter cannot be trained on or has another rank or alpha.
    """
    if (kind := mllm.model.config.model_type) not in TRAINABLE:
        raise ModelError(
            f"{mllm.name} is a {kind!r} model; only {' and '.join(TRAINABLE.values())} can be "
            "trained."
        )
    from peft import LoraConfig, get_peft_model

    model = mllm.model.requires_grad_(False)
    if has_adapter(mllm):
        _continue(model, rank, alpha)
    else:
        torch.manual_seed(seed)
        config = LoraConfig(
            r=rank, lora_alpha=alpha, target_modules=LORA_TARGETS, task_type="CAUSAL_LM"
        )
        with quiet_peft():
            model = get_peft_model(model, config)
    # The model's name, not the folder of this machine in which it was found.
    model.peft_config["default"].base_model_name_or_path = mllm.name
    names = [name for name, _ in trainable_parameters(model)]
    if vision := [n for n in names if "visual." in n and "visual.merger." not in n]:
        raise ModelError(f"The vision encoder must stay frozen, but {vision[0]} would train.")
    return replace(mllm, model=model)


def has_adapter(mllm: MLLM) -> bool:
    """Return whether the model was loaded with an adapter, or has one from `make_trainable`."""
    return core(mllm.model) is not mllm.model


def _continue(model: Any, rank: int, alpha: int) -> None:
    """Make the weights of a loaded LoRA adapter trainable."""
    config = model.peft_config["default"]
    wanted = {
        "peft_type": "LORA", "bias": "none", "modules_to_save": None, "lora_rank": rank,
        "lora_alpha": alpha,
    }  # fmt: skip
    for name, value in wanted.items():
        found = getattr(config, name.replace("lora_rank", "r"), None) or None
        if found != value:
            raise ModelError(
                f"The adapter has {name} {found}, the training {value}. An adapter that is trained "
                "further must be LoRA, without biases or whole layers, and keeps rank and alpha."
            )
    config.lora_dropout = 0.0
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    model.set_adapter("default")  # which makes its weights trainable


def trainable_parameters(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Return the names and weights that require a gradient, in the model's order."""
    return [(name, p) for name, p in model.named_parameters() if p.requires_grad]


@contextmanager
def merged(model: Any) -> Iterator[None]:
    """Add the adapter of a float32 model to its weights, which halves the matrix products.

    In bfloat16 the small values of a new adapter would be rounded away, so the model is left as it
    is. Afterwards the weights have the same bits as before.
    """
    if not hasattr(model, "merge_adapter") or model.dtype != torch.float32:
        yield
        return
    before = [(parameter, parameter.data) for parameter in model.parameters()]
    model.merge_adapter(safe_merge=True)  # into copies
    try:
        yield
    finally:
        model.unmerge_adapter()
        for parameter, data in before:
            parameter.data = data


@contextmanager
def recomputed_mlps(model: Any) -> Iterator[None]:
    """Keep only the inputs of the language layers' MLPs, which the backward pass runs again.

    The gradient has the same bits. Unlike gradient checkpointing of whole layers, under which
    transformers drops every cache, it leaves the prompt's cache in place.
    """
    mlps = [layer.mlp for layer in core(model).model.language_model.layers]
    for mlp in mlps:
        mlp.forward = partial(checkpoint, mlp.forward, use_reentrant=False)
    try:
        yield
    finally:
        for mlp in mlps:
            del mlp.forward  # of the instance; the class has its own
