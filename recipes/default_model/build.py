"""The untrained default model: tokenizer, processor and weights in Hugging Face layout."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import packed_attention
from tokenizers import Tokenizer, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import (
    AddedToken,
    GenerationConfig,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen2VLImageProcessorPil,
)

from flawsight.mllm.processor import ImageProcessor

SPECIAL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
FORM = ["<think>", "</think>", "<answer>", "</answer>"]
PATCH_SIZE = 14
IMAGE_MEAN, IMAGE_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # the source's
MERGE_SIZE = 2

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_tokenizer(texts: Iterable[str], vocab_size: int) -> Qwen2Tokenizer:
    """Train Qwen's byte-level BPE on `texts`, with its special tokens first."""
    backend = Qwen2Tokenizer().backend_tokenizer
    bpe = Tokenizer(BPE())
    bpe.normalizer = backend.normalizer
    bpe.pre_tokenizer = backend.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[*SPECIAL, *FORM],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    model = json.loads(bpe.to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        vocab=model["vocab"],
        merges=[tuple(merge) for merge in model["merges"]],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=SPECIAL[1:],
    )
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in FORM])
    return tokenizer


def build_processor(tokenizer: Qwen2Tokenizer, image_side: int) -> ImageProcessor:
    """Scale every image to the area of `image_side`², keeping its aspect."""
    area = {"shortest_edge": image_side**2, "longest_edge": image_side**2}
    image_processor = Qwen2VLImageProcessorPil(
        patch_size=PATCH_SIZE,
        merge_size=MERGE_SIZE,
        size=area,
        image_mean=IMAGE_MEAN,
        image_std=IMAGE_STD,
    )
    return ImageProcessor(image_processor, tokenizer, chat_template=CHAT_TEMPLATE)


def _vision_of(sizes: dict[str, int]) -> dict[str, Any]:
    """Return the configuration of a vision encoder that holds a DINOv2's blocks."""
    depth, width = sizes["vision_layers"], sizes["vision_width"]
    return {
        "depth": depth,
        "hidden_size": width,
        "out_hidden_size": sizes["width"],
        "intermediate_size": 4 * width,
        "num_heads": width // sizes["vision_head_size"],
        "hidden_act": "gelu",
        "patch_size": PATCH_SIZE,
        "spatial_merge_size": MERGE_SIZE,
        # One window holds any image that fits the language model.
        "window_size": PATCH_SIZE * MERGE_SIZE * 128,
        "fullatt_block_indexes": list(range(depth)),
    }


def build_model(
    tokenizer: Qwen2Tokenizer, sizes: dict[str, int]
) -> Qwen2_5_VLForConditionalGeneration:
    """Initialise a small `Qwen2_5_VLForConditionalGeneration` with random weights.

    Departs from Qwen2.5-VL in size, in the encoder's activation and full attention, which are those
    of DINOv2, and in `rope_theta` 20, which suits short sequences.

    sizes: `model` in config.yaml.
    """
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL}
    head_size, width = sizes["head_size"], sizes["width"]
    rotary = head_size // 2
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": width,
        "intermediate_size": sizes["mlp_ratio"] * width,
        "num_hidden_layers": sizes["text_layers"],
        "num_attention_heads": width // head_size,
        "num_key_value_heads": sizes["key_value_heads"],
        "max_position_embeddings": 2048,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 20.0,
            "mrope_section": [rotary // 4, rotary * 3 // 8, rotary * 3 // 8],
        },
        "bos_token_id": None,
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"],
    }
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config=_vision_of(sizes),
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        do_sample=False,
        eos_token_id=ids["<|im_end|>"],
        pad_token_id=ids["<|endoftext|>"],
    )
    return model


def build_encoder(sizes: dict[str, int]) -> Any:
    """Initialise the vision encoder alone, with attention over packed images; see `build_model`."""
    model: Any = build_model(build_tokenizer([], 280), sizes)
    model.set_attn_implementation({"vision_config": packed_attention.NAME})
    return model.model.visual


def save(folder: Path, model: Any, processor: ImageProcessor) -> None:
    """Write the folder that `Inspector.from_pretrained` and stock transformers load.

    The weights are rounded to bfloat16, which halves the file.
    """
    rounded = {name: tensor.bfloat16() for name, tensor in model.state_dict().items()}
    model.save_pretrained(folder, state_dict=rounded)
    processor.save_pretrained(folder)
    for name in ("processor_config.json", "tokenizer_config.json"):
        path = folder / name
        settings = json.loads(path.read_text())
        settings["processor_class"] = "Qwen2_5_VLProcessor"
        path.write_text(json.dumps(settings, indent=2) + "\n")
