"""Random-weight Qwen2.5-VL checkpoints, small, in the layouts that people have on disk."""

import json
import math
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from PIL import Image
from tokenizers import Tokenizer, pre_tokenizers, trainers
from tokenizers.models import BPE
from torch import nn
from transformers import (
    AddedToken,
    GenerationConfig,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
)

# In the order of their ids, which begin at 151643 in the published models.
SPECIAL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
FIRST_REAL_SPECIAL = 151643
REAL_VOCABULARY = 151936

# As Qwen publishes it: a system turn is put before the user's.
CHAT_TEMPLATE = (
    "{% set image_count = namespace(value=0) %}{% set video_count = namespace(value=0) %}"
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{% if message['content'] is string %}"
    "{{ message['content'] }}<|im_end|>\n{% else %}{% for content in message['content'] %}"
    "{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}"
    "{% set image_count.value = image_count.value + 1 %}"
    "{% if add_vision_id %}Picture {{ image_count.value }}: {% endif %}"
    "<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif content['type'] == 'video' or 'video' in content %}"
    "{% set video_count.value = video_count.value + 1 %}"
    "{% if add_vision_id %}Video {{ video_count.value }}: {% endif %}"
    "<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PREPROCESSOR_CONFIG = {
    "min_pixels": 3136,
    "max_pixels": 12845056,
    "patch_size": 14,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "image_processor_type": "Qwen2VLImageProcessor",
    "processor_class": "Qwen2_5_VLProcessor",
}
_CORPUS = [
    "You are a helpful assistant. system user assistant",
    "Are there any defects or anomalies in the image? Is the part defective, abnormal, anomalous?",
    "Reason inside <think> </think>, then answer Yes or No inside <answer> </answer>.",
    "<think>There is a dark scratch near the left edge of the metal part.</think>",
    "<answer>Yes</answer> <answer>No</answer>",
] * 8


def photo(height: int, width: int, seed: int = 0) -> Image.Image:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8)
    return Image.fromarray(pixels.numpy())


def write_json(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values, indent=2))


def edit_json(path: Path, **values: Any) -> None:
    write_json(path, {**json.loads(path.read_text()), **values})


def _trained_vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    backend = Qwen2Tokenizer().backend_tokenizer
    bpe = Tokenizer(BPE())
    bpe.normalizer, bpe.pre_tokenizer = backend.normalizer, backend.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(_CORPUS, trainer)
    model = json.loads(bpe.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def tiny_tokenizer(first_special: int | None = None) -> Qwen2Tokenizer:
    """Train one on a few sentences; dummy tokens fill it up to `first_special`."""
    vocabulary, merges = _trained_vocabulary()
    for index in range(len(vocabulary), first_special or 0):
        vocabulary[f"dummy{index}"] = index
    return with_special_tokens(vocabulary, merges)


def with_special_tokens(
    vocabulary: dict[str, int], merges: list[tuple[str, str]]
) -> Qwen2Tokenizer:
    """Make the tokenizer, with Qwen's special tokens after the vocabulary."""
    first = len(vocabulary)
    vocabulary |= {token: first + index for index, token in enumerate(SPECIAL)}
    tokenizer = Qwen2Tokenizer(
        vocab=vocabulary,
        merges=merges,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=SPECIAL[1:],
    )
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    return tokenizer


def tiny_config(tokenizer: Qwen2Tokenizer, **changes: Any) -> Qwen2_5_VLConfig:
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL}
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1000.0,
            "mrope_section": [2, 1, 1],
        },
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"],
    } | changes
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "out_hidden_size": text["hidden_size"],
        "intermediate_size": 48,
        "num_heads": 2,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "window_size": 112,
        "fullatt_block_indexes": [1],
    }
    return Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=False,
    )


def _never_said(tokenizer: Qwen2Tokenizer) -> list[int]:
    """Return the ids of tokens that a trained model does not say: half characters, images."""
    ids = list(range(len(tokenizer)))
    texts = tokenizer.batch_decode([[index] for index in ids])
    unsayable = ("\ufffd", "<|image_pad|>", "<|video_pad|>")
    return [index for index, text in zip(ids, texts, strict=True) if text in unsayable]


def random_model(
    tokenizer: Qwen2Tokenizer, config: Qwen2_5_VLConfig, seed: int = 0
) -> Qwen2_5_VLForConditionalGeneration:
    """Draw weights so large that attention is peaked and every image has its own response."""
    torch.manual_seed(seed)
    model = Qwen2_5_VLForConditionalGeneration(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                gain = 2.0 if any(part in name for part in ("q_proj", "k_proj", "qkv")) else 1.0
                fan_in = 1 if "embed_tokens" in name else weight[0].numel()
                nn.init.normal_(weight, std=gain / math.sqrt(fan_in))
            elif name.endswith("bias"):
                nn.init.normal_(weight, std=0.1)
        model.lm_head.weight *= 3
        model.lm_head.weight[_never_said(tokenizer)] = 0
    model.generation_config = GenerationConfig(
        bos_token_id=config.text_config.bos_token_id,
        pad_token_id=config.text_config.pad_token_id,
        eos_token_id=[config.text_config.eos_token_id, config.text_config.pad_token_id],
        do_sample=True,
        repetition_penalty=1.05,
        temperature=1e-6,
    )
    return model.eval()


def write_processor(folder: Path, tokenizer: Qwen2Tokenizer, template_in: str) -> None:
    """Write it as Qwen does, with the chat template in the file called `template_in`."""
    tokenizer.save_pretrained(folder)
    write_json(folder / "preprocessor_config.json", PREPROCESSOR_CONFIG)
    if template_in == "chat_template.jinja":
        (folder / template_in).write_text(CHAT_TEMPLATE)
    elif template_in == "chat_template.json":
        write_json(folder / template_in, {"chat_template": CHAT_TEMPLATE})
    else:
        edit_json(folder / template_in, chat_template=CHAT_TEMPLATE)


def published_config(config: Qwen2_5_VLConfig) -> dict[str, Any]:
    """Return the config.json of 2025, in which the language model's settings lie at the top."""
    text, vision = config.text_config, config.vision_config
    return {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "model_type": "qwen2_5_vl",
        "attention_dropout": 0.0,
        "bos_token_id": 151643,
        "eos_token_id": 151645,
        "vision_start_token_id": 151652,
        "vision_end_token_id": 151653,
        "vision_token_id": 151654,
        "image_token_id": 151655,
        "video_token_id": 151656,
        "hidden_act": "silu",
        "hidden_size": text.hidden_size,
        "intermediate_size": text.intermediate_size,
        "max_position_embeddings": 128000,
        "max_window_layers": 70,
        "num_attention_heads": text.num_attention_heads,
        "num_hidden_layers": text.num_hidden_layers,
        "num_key_value_heads": text.num_key_value_heads,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "rope_scaling": {"type": "mrope", "mrope_section": [2, 1, 1]},
        "sliding_window": 32768,
        "use_sliding_window": False,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.41.2",
        "use_cache": True,
        "vocab_size": REAL_VOCABULARY,
        "vision_config": {
            "depth": vision.depth,
            "hidden_act": "silu",
            "hidden_size": vision.hidden_size,
            "intermediate_size": vision.intermediate_size,
            "num_heads": vision.num_heads,
            "in_chans": 3,
            "out_hidden_size": text.hidden_size,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "spatial_patch_size": 14,
            "window_size": 112,
            "fullatt_block_indexes": [1],
            "tokens_per_second": 2,
            "temporal_patch_size": 2,
        },
    }


def published_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the tensors under the names they have in the published files, the head left out."""
    return {
        name.replace("model.language_model.", "model.").replace("model.visual.", "visual."): value
        for name, value in model.state_dict().items()
        if name != "lm_head.weight"
    }


def write_adapter(folder: Path, checkpoint: Path) -> None:
    """Write a fresh LoRA adapter of a checkpoint."""
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(checkpoint)
    targets = r".*language_model.*\.q_proj"
    get_peft_model(model, LoraConfig(r=2, target_modules=targets)).save_pretrained(folder)
