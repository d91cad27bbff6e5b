"""Another adapter for a loaded model, while the model with the old one goes on working."""

import threading
from dataclasses import replace
from pathlib import Path

from ..errors import ModelError
from .adapter import with_adapter, with_same_weights
from .load import MLLM, local_folder
from .model_folder import adapter_files, checksum_lines, hash_lines
from .try_out import try_forward, try_prompt


def swap_adapter(mllm: MLLM, adapter: str | Path) -> MLLM:
    """Return the model with another adapter in place of its own; `mllm` stays as it is.

    Both share the weights of the model below, so this takes the memory of the adapter alone.

    Args:
        mllm: of `load_mllm` with an adapter and `keep_bare`.
        adapter: folder or hub name.

    Raises:
        ModelError: if the adapter cannot be read or does not fit, or `mllm` was not kept bare.
    """
    if mllm.bare is None:
        raise ModelError("This model was loaded without keep_bare; load it again.")
    folder = local_folder(adapter)
    try:
        lines = checksum_lines(adapter_files(folder))
        network = with_adapter(with_same_weights(mllm.bare.network), folder)
        changed = checksum_lines(adapter_files(folder)) != lines
    except OSError as error:
        raise ModelError(f"{folder} is no PEFT adapter ({error}).") from error
    if changed:
        raise ModelError(f"Adapter {folder} changed while it was read; wait until it is whole.")
    network = network.to(mllm.device).eval()
    with mllm.tokenizing:
        inputs = try_prompt(mllm.processor, network, folder)
    try_forward(network, inputs, folder)
    sha256 = hash_lines(mllm.bare.lines + lines)
    return replace(mllm, model=network, sha256=sha256, folder=folder, lock=threading.Lock())
