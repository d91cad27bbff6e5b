"""A training on disk: a checkpoint to resume from, and the policy as a PEFT adapter.

Both are written under another name and then renamed, so a killed save leaves the earlier one.
All randomness is a function of the seed and the step (`rollouts.py`, `training_data.py`): weights,
optimizer and the number of steps are the whole state.
"""

import io
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from ..errors import ModelError, RunFolderError
from ..io.files import write_atomically, writing_to
from ..mllm.load import MLLM, local_folder, without_bars
from ..mllm.model_folder import read_object
from .policy import trainable_parameters
from .shard import gathered, sliced_like

_CHECKPOINT = "checkpoint.pt"


def training_state(model: nn.Module, optimizer: Any) -> dict[str, Any]:
    """Return weights and optimizer, gathered from all processes, each of which must call this."""
    return {
        "weights": gathered(dict(trainable_parameters(model))),
        "optimizer": gathered(optimizer.state_dict()),
    }


def save_checkpoint(
    folder: Path, state: dict[str, Any], step: int, validations: Sequence[Any]
) -> None:
    """Write what a training needs to resume after `step` updates, from `training_state`.

    Raises:
        RunFolderError: if the folder cannot be written; an earlier checkpoint is then kept.
    """
    content = io.BytesIO()  # on a full disk torch.save itself would not raise an OSError
    torch.save(state | {"step": step, "validations": list(validations)}, content)
    with writing_to(folder):
        write_atomically(folder / _CHECKPOINT, content.getbuffer())


def load_checkpoint(
    folder: Path, model: nn.Module, optimizer: Any
) -> tuple[int, list[dict[str, float]]]:
    """Bring model and optimizer to the state that was saved.

    Returns:
        The number of updates and the validations so far; 0 and [] without a checkpoint.

    Raises:
        RunFolderError: if the checkpoint is damaged or of another model.
    """
    path = folder / _CHECKPOINT
    if not path.exists():
        return 0, []
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        weights = dict(trainable_parameters(model))
        if weights.keys() != state["weights"].keys():
            raise ValueError("it holds weights of another model or adapter")
        with torch.no_grad():
            for name, value in state["weights"].items():
                weights[name].copy_(sliced_like(value, weights[name]))
        in_order = [p for group in optimizer.param_groups for p in group["params"]]
        for index, moments in state["optimizer"]["state"].items():
            for name, value in moments.items():
                moments[name] = sliced_like(value, in_order[index])
        optimizer.load_state_dict(state["optimizer"])
        return state["step"], state["validations"]
    except Exception as error:  # a damaged file makes torch raise nearly anything
        raise RunFolderError(f"Cannot resume from {path}: {error}") from error


def lora_settings(adapter: str) -> dict[str, Any]:
    """Return the settings of a training that an adapter decides: `lora_rank` and `lora_alpha`.

    Raises:
        ModelError: if there is no such adapter, or it has none of them.
    """
    path = local_folder(adapter) / "adapter_config.json"
    config = read_object(path)
    if not {"r", "lora_alpha"} <= config.keys():
        raise ModelError(f"{path} is of no LoRA adapter: it has no r and lora_alpha.")
    return {"lora_rank": config["r"], "lora_alpha": config["lora_alpha"]}


def save_policy(target: Path, mllm: MLLM, card: str, weights: dict[str, torch.Tensor]) -> None:
    """Write the policy, with the weights of `training_state`, as a PEFT adapter with its card.

    An earlier adapter is replaced.

    Raises:
        RunFolderError: if the folder cannot be written.
    """
    fresh, old = target.with_name(f".{target.name}.new"), target.with_name(f".{target.name}.old")
    with writing_to(target.parent):
        for left_over in (fresh, old):
            shutil.rmtree(left_over, ignore_errors=True)
        fresh.mkdir(parents=True)
        try:
            with without_bars():
                # An adapter never holds embeddings; peft would ask the network whether it should.
                mllm.model.save_pretrained(fresh, state_dict=weights, save_embedding_layers=False)
            (fresh / "README.md").write_text(card, encoding="utf-8")
        except SafetensorError as error:
            raise OSError(f"{error}") from error
        if target.exists():
            target.rename(old)
        fresh.rename(target)
        shutil.rmtree(old, ignore_errors=True)
