"""A small prompt, tried while a model is loaded: parts that do not fit each other fail at once."""

from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ..errors import ModelError
from ..prompt import user_message

# No checkpoint enlarges images to more.
_MOST_PIXELS = 10**8


def try_prompt(processor: Any, network: Any, folder: Path) -> Any:
    """Return the inputs for a small image, and set the processor's chat template.

    Raises:
        ModelError: if the chat template or the tokenizer does not suit the model.
    """
    rows, tokens = network.get_input_embeddings().weight.shape[0], processor.tokenizer.get_vocab()
    if (highest := max(tokens.values(), default=-1)) >= rows:
        raise ModelError(
            f"tokenizer.json in {folder} has tokens up to {highest}, but the model has {rows} "
            "embeddings; take the tokenizer of these weights."
        )
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
        image = Image.new("RGB", (64, 64))
        inputs = processor(text=[prompt], images=[[image]], return_tensors="pt")
        wanted = network.config.image_token_id
        if wanted not in inputs["input_ids"][0]:
            raise ValueError(f"it has no token {wanted}, the image_token_id of config.json")
    except Exception as error:  # each processor raises its own
        raise ModelError(
            f"The chat template in {folder} makes no place for an image ({error}). Take the one "
            "of the base model, e.g. its chat_template.json."
        ) from error
    return inputs


@torch.inference_mode()
def try_forward(network: Any, inputs: Any, folder: Path) -> None:
    """Run the model once on the inputs of `try_prompt`.

    Raises:
        ModelError: if it fails, as with sizes in config.json that contradict each other.
    """
    try:
        network(**inputs.to(network.device, dtype=network.dtype), use_cache=False)
    except Exception as error:  # any layer may fail in its own way
        raise ModelError(
            f"The model in {folder} cannot run ({error}); config.json or preprocessor_config.json "
            "is not that of the weights."
        ) from error


def check_image_processor(images: Any, config: Any, folder: Path) -> None:
    """Make sure that Qwen2.5-VL's image processor cuts the patches that the model takes.

    Raises:
        ModelError: if preprocessor_config.json is of another model or absurd.
    """
    vision = config.vision_config
    for name, expected in (
        ("patch_size", vision.patch_size),
        ("temporal_patch_size", vision.temporal_patch_size),
        ("merge_size", vision.spatial_merge_size),
    ):
        if (found := getattr(images, name)) != expected:
            raise ModelError(
                f"preprocessor_config.json in {folder} has {name} {found}, but config.json "
                f"{expected}; take both from the same model."
            )
    least, most = images.size["shortest_edge"], images.size["longest_edge"]
    numbers = isinstance(least, int) and isinstance(most, int)
    if not numbers or not 0 < least <= min(most, _MOST_PIXELS):
        raise ModelError(
            f"preprocessor_config.json in {folder} wants {least} to {most} pixels per image; "
            "correct min_pixels and max_pixels (size)."
        )
