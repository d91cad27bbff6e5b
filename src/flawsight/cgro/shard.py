"""The model sharded over the processes of a training (FSDP2), and gathered for sampling.

Each process holds a slice of every weight of the language layers, which are nine tenths of the
model, and of the merger. A gradient pass gathers one layer at a time and frees it again. Sampling
and validation take a different number of passes in each process, but gathering needs all processes
at the same time. All layers are therefore gathered before them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from ..mllm.adapter import core


def shard(model: Any, device: torch.device, processes: int) -> None:
    """Keep only this process's slice of every weight of the language layers and the merger.

    All processes must call this, with the same model, its adapter included.
    """
    base = core(model)
    mesh = init_device_mesh(device.type, (processes,))
    for module in (*base.model.language_model.layers, base.model.visual.merger):
        fully_shard(module, mesh=mesh, reshard_after_forward=True)


@contextmanager
def whole(model: nn.Module) -> Iterator[None]:
    """Gather every weight in every process. All processes must enter it."""
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
    """Return a state's tensors whole and on the CPU. All processes must call it."""
    if isinstance(value, dict):
        return {name: gathered(part) for name, part in value.items()}
    if isinstance(value, list):
        return [gathered(part) for part in value]
    if isinstance(value, DTensor):
        value = value.full_tensor()
    return value.detach().cpu() if isinstance(value, torch.Tensor) else value


def sliced_like(value: Any, parameter: torch.Tensor) -> Any:
    """Return a tensor from `gathered`, sharded as its parameter is."""
    if not isinstance(parameter, DTensor) or getattr(value, "shape", None) != parameter.shape:
        return value
    return distribute_tensor(
        value.to(parameter.device), parameter.device_mesh, parameter.placements
    )
