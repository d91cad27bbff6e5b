"""What every training shares: command line, processes, learning rate, checkpoint.

Each process takes a share of every batch. Two processes with one thread each are faster than one
with two: the matrices are small.
"""

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed


def run(train: Callable[[Namespace, int, int], None], parser: ArgumentParser) -> None:
    """Parse the command line and train, as one of the processes that torchrun started."""
    config = Path(__file__).parent / "config.yaml"
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--config", type=Path, default=config)
    parser.add_argument("--stop-after", type=int, help="stop at this step; rerun to resume")
    arguments = parser.parse_args()
    with processes() as (rank, world_size):
        train(arguments, rank, world_size)


@contextmanager
def processes() -> Iterator[tuple[int, int]]:
    """Join the processes that torchrun started; yield this one's rank and their number.

    They leave together: gloo aborts a process whose peer exits while it still listens to it.
    """
    if "WORLD_SIZE" not in os.environ:
        yield 0, 1
        return
    distributed.init_process_group("gloo")
    yield distributed.get_rank(), distributed.get_world_size()
    distributed.barrier()
    distributed.destroy_process_group()


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace each gradient by its mean over the processes."""
    if not distributed.is_initialized():
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    sizes = [gradient.numel() for gradient in gradients]
    for gradient, mean in zip(gradients, torch.split(flat, sizes), strict=True):
        gradient.copy_(mean.view_as(gradient))


def rate(step: int, config: dict[str, Any]) -> float:
    """Return the factor on both learning rates: linear warm-up, plateau, linear decay to 0."""
    warm_up = (step + 1) / config["warmup_steps"]
    decay = (config["steps"] - step) / (config["decay_share"] * config["steps"])
    return float(min(1.0, warm_up, decay))


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write the checkpoint atomically."""
    torch.save(state, path.with_suffix(".tmp"))
    os.replace(path.with_suffix(".tmp"), path)
