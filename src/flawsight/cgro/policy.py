"""Which weights train: LoRA on the language and merger layers, the vision encoder frozen."""

import copy
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ..errors import ModelError
from ..mllm.load import MLLM

# The names of the language layers also occur in the vision blocks: the path is part of the name.
LORA_TARGETS = (
    r".*language_model\.layers\..*\.(q|k|v|o|gate|up|down)_proj|.*visual\.merger\.mlp\.[02]"
)
_TRAINED_IN_FULL = re.compile(r".*(language_model|lm_head|visual\.merger)\.")


def core(model: Any) -> Any:
    """Return the transformers model inside a PEFT model, its LoRA layers in place; or the model."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def make_trainable(
    mllm: MLLM, trainable: Literal["lora", "full"], rank: int, alpha: int, seed: int
) -> MLLM:
    """Return the model with what is to be trained, and nothing else, requiring a gradient.

    Args:
        mllm: a base model without an adapter; it is changed in place.
        trainable: "lora" adds an adapter to the language layers and the merger [paper], "full"
            trains these themselves.
        rank: r of the LoRA matrices.
        alpha: their output is scaled by alpha / r.
        seed: of the adapter's initial weights.

    Raises:
        ModelError: if a weight of the vision encoder would train, or none at all.
    """
    model = mllm.model.requires_grad_(False)
    if trainable == "lora":
        from peft import LoraConfig, get_peft_model

        torch.manual_seed(seed)
        config = LoraConfig(
            r=rank, lora_alpha=alpha, target_modules=LORA_TARGETS, task_type="CAUSAL_LM"
        )
        model = get_peft_model(model, config)
        # Not the folder of this machine, in which the model was found.
        model.peft_config["default"].base_model_name_or_path = mllm.name
    else:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(_TRAINED_IN_FULL.match(f"model.{name}") is not None)
    names = [name for name, _ in trainable_parameters(model)]
    if vision := [n for n in names if "visual." in n and "visual.merger." not in n]:
        raise ModelError(f"The vision encoder must stay frozen, but {vision[0]} would train.")
    if not names:
        raise ModelError("Nothing would train: the model has no language or merger layers.")
    return replace(mllm, model=model)


def trainable_parameters(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Return the names and weights that require a gradient, in the model's order."""
    return [(name, p) for name, p in model.named_parameters() if p.requires_grad]


@contextmanager
def merged(model: Any) -> Iterator[None]:
    """Let a float32 model run with its adapter added to its weights, which saves half the products.

    In bfloat16 a young adapter would be rounded away, so that such a model is left as it is.
    Afterwards the weights are the same bits as before.
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
    """Let the language layers' MLPs keep their input alone for the backward pass, to run again.

    The gradient is the same to the bit, and the prompt's cache stays, which transformers drops
    where whole layers are run again.
    """
    mlps = [layer.mlp for layer in core(model).model.language_model.layers]
    for mlp in mlps:
        mlp.forward = partial(checkpoint, mlp.forward, use_reentrant=False)
    try:
        yield
    finally:
        for mlp in mlps:
            del mlp.forward  # of the instance; the class has its own


def reference_of(model: Any) -> Callable[[], Any]:
    """Return what opens a context in which the policy's KL reference can run, and yields it.

    With an adapter it is the same model with the adapter off, at no cost of memory; without one
    it is a copy of the model as it is now.
    """
    if hasattr(model, "disable_adapter"):

        @contextmanager
        def adapter_off() -> Iterator[Any]:
            with model.disable_adapter():
                yield core(model)

        return adapter_off
    frozen = copy.deepcopy(model).requires_grad_(False).eval()
    return lambda: nullcontext(frozen)
