"""The batch size that fits into the free memory."""

import psutil
import torch

from ..errors import SettingsError
from ..settings import Settings
from .capture import STEPS_AT_ONCE
from .load import MLLM

# A CPU gains little from a larger batch (docs/performance.md).
MOST = {"cpu": 16, "cuda": 64}
# For what is not counted: fragmentation, workspaces of kernels, other programs.
MARGIN = 2.0
PROMPT_TEXT = 128


def images_at_once(mllm: MLLM, settings: Settings, photos: int = 0) -> int:
    """Return a batch size that fits into the device's free memory, at least 1.

    `photos` is the number of photos of good parts in each prompt.
    """
    fits = int(free_bytes(mllm.device) / (MARGIN * image_bytes(mllm, settings, photos)))
    return max(1, min(MOST.get(mllm.device.type, 16), fits))


def image_bytes(mllm: MLLM, settings: Settings, photos: int = 0) -> int:
    """Estimate the bytes of an image: cache, queries, hidden states, activations, logits."""
    text, vision = mllm.model.config.get_text_config(), mllm.model.config.vision_config
    image_tokens, patches = mllm.family.most(mllm.processor, vision, settings)
    image_tokens, patches = image_tokens * (photos + 1), patches * (photos + 1)
    prompt = image_tokens + PROMPT_TEXT
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    queries, keys = text.num_attention_heads * head, text.num_key_value_heads * head
    layers = text.num_hidden_layers
    held = layers * (2 * keys * (prompt + settings.max_new_tokens) + queries * STEPS_AT_ONCE)
    held += 2 * settings.max_new_tokens * text.hidden_size
    # One layer: hidden states with residual, queries, keys, values, and the MLP.
    language = prompt * (4 * text.hidden_size + queries + 2 * keys + 3 * text.intermediate_size)
    width = getattr(vision, "embed_dim", vision.hidden_size)
    encoder = patches * (8 * width + 3 * getattr(vision, "intermediate_size", 4 * width))
    rows = 4 * prompt * (settings.max_new_tokens + STEPS_AT_ONCE * text.num_attention_heads)
    itemsize: int = mllm.model.dtype.itemsize
    return int(itemsize * (held + max(language, encoder)) + rows + 3 * 4 * text.vocab_size)


def free_bytes(device: torch.device) -> int:
    """Return how much can be allocated on a device."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    # On a Mac, the GPU's memory is the machine's.
    return int(psutil.virtual_memory().available)


def check_batch_size(batch_size: int | None) -> None:
    """Raise SettingsError if a number of images per batch is below 1; None is any."""
    if batch_size is not None and batch_size < 1:
        raise SettingsError(f"batch_size is {batch_size}; it must be at least 1.")
