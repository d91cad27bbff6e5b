"""The model spread over the processes of a training (FSDP2), and gathered where it samples.

The layers of the language model, nine tenths of the weights, and the merger lie in slices on the
processes. A gradient pass gathers one layer at a time and drops it again. Sampling and validation
are hundreds of passes, whose number differs from process to process, while gathering needs all of
them at once: for these, every layer is gathered first.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from .policy import core


def shard(model: Any, device: torch.device, processes: int) -> None:
    """Leave of each layer, and of the merger, this process' slice of every weight.

    Args:
        model: with its adapter, the same in all processes, which must all call this.
        device: where it is.
        processes: how many there are.
    """
    base = core(model)
    mesh = init_device_mesh(device.type, (processes,))
    for module in (*base.model.language_model.layers, base.model.visual.merger):
        fully_shard(module, mesh=mesh, reshard_after_forward=True)


@contextmanager
def whole(model: nn.Module) -> Iterator[None]:
    """Hold every weight in every process, which all must enter; nothing if none is sharded."""
    modules = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for module in modules:
        module.set_reshard_after_forward(False, recurse=False)
        module.unshard()
    try:
        yield
    finally:
        for module in modules:
            module.reshard()
            module.set_reshard_after_forward(True, recurse=False)


def gathered(value: Any) -> Any:
    """Return a state's tensors whole and on the CPU, in all processes, which all must call it."""
    if isinstance(value, dict):
        return {name: gathered(part) for name, part in value.items()}
    if isinstance(value, list):
        return [gathered(part) for part in value]
    if isinstance(value, DTensor):
        value = value.full_tensor()
    return value.detach().cpu() if isinstance(value, torch.Tensor) else value


def sliced_like(value: Any, parameter: torch.Tensor) -> Any:
    """Return what `gathered` made of a tensor in the slices of its parameter."""
    if not isinstance(parameter, DTensor) or getattr(value, "shape", None) != parameter.shape:
        return value
    return distribute_tensor(
        value.to(parameter.device), parameter.device_mesh, parameter.placements
    )
