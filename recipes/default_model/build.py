"""The untrained default model: tokenizer, processor and weights in Hugging Face layout."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

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
PATCH_SIZE = 8
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
        patch_size=PATCH_SIZE, merge_size=MERGE_SIZE, size=area
    )
    return ImageProcessor(image_processor, tokenizer, chat_template=CHAT_TEMPLATE)


def build_model(
    tokenizer: Qwen2Tokenizer,
    *,
    width: int,
    vision_width: int,
    vision_layers: int,
    vision_head_size: int,
    window_size: int,
    text_layers: int,
    head_size: int,
    key_value_heads: int,
    mlp_ratio: int,
) -> Qwen2_5_VLForConditionalGeneration:
    """Initialise a small `Qwen2_5_VLForConditionalGeneration` with random weights.

    Departs from Qwen2.5-VL in size, in smaller patches and windows, and in `rope_theta` 20, which
    suits short sequences. The vision layers attend within windows only; the language model attends
    to the whole image.
    """
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL}
    rotary = head_size // 2
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": width,
        "intermediate_size": mlp_ratio * width,
        "num_hidden_layers": text_layers,
        "num_attention_heads": width // head_size,
        "num_key_value_heads": key_value_heads,
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
    vision = {
        "depth": vision_layers,
        "hidden_size": vision_width,
        "out_hidden_size": width,
        "intermediate_size": mlp_ratio * vision_width,
        "num_heads": vision_width // vision_head_size,
        "patch_size": PATCH_SIZE,
        "spatial_merge_size": MERGE_SIZE,
        "window_size": window_size,
        "fullatt_block_indexes": [],
    }
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
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
