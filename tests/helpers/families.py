"""Random-weight checkpoints of chat VLMs of all families, small, in their published layouts."""

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    PROCESSOR_MAPPING,
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    GenerationConfig,
    Qwen2Tokenizer,
)
from transformers.utils import is_torchvision_available

from flawsight.mllm.load import MLLM
from helpers.checkpoints import (
    CHAT_TEMPLATE,
    PREPROCESSOR_CONFIG,
    edit_json,
    tiny_config,
    tiny_tokenizer,
    write_json,
)

# InternVL comes with two language models: Qwen2 (3) and Llama (2.5 8B and 3 9B).
FAMILIES = [
    "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "internvl", "internvl_llama", "llava_onevision",
]  # fmt: skip

_INTERNVL_TOKENS = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}
_SPECIAL = {
    "internvl": list(_INTERNVL_TOKENS.values()),
    "llava_onevision": ["<image>", "<video>"],
}
_TURN = "{% for message in messages %}<|im_start|>{{ message['role'] }}"
_ASK = "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
_TEMPLATES = {
    "internvl": _TURN + "\n{% for content in message['content'] %}"
    "{% if content['type'] == 'image' %}<IMG_CONTEXT>\n{% else %}{{ content['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n" + _ASK,
    "llava_onevision": _TURN + " {% for content in message['content'] "
    "| selectattr('type', 'equalto', 'image') %}<image>\n{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{{ content['text'] }}{% endfor %}<|im_end|>" + _ASK,
}
_PINPOINTS = [[28 * rows, 28 * columns] for rows in range(1, 7) for columns in range(1, 7)]
_QWEN3_IMAGES = {
    "size": {"shortest_edge": 32**2, "longest_edge": 64 * 32**2}, "patch_size": 16,
    "temporal_patch_size": 2, "merge_size": 2, "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
    "processor_class": "Qwen3VLProcessor", "image_processor_type": "Qwen2VLImageProcessorFast",
}  # fmt: skip
_IMAGES = {
    "qwen2_5_vl": PREPROCESSOR_CONFIG,
    "qwen3_vl": _QWEN3_IMAGES,
    "qwen3_vl_moe": _QWEN3_IMAGES,
    "internvl": {
        "size": {"height": 56, "width": 56}, "crop_to_patches": False, "min_patches": 1,
        "max_patches": 12, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225],
        "processor_class": "InternVLProcessor", "image_processor_type": "GotOcr2ImageProcessorFast",
    },
    "llava_onevision": {
        "size": {"height": 28, "width": 28}, "image_grid_pinpoints": _PINPOINTS, "do_pad": True,
        "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
        "processor_class": "LlavaOnevisionProcessor",
        "image_processor_type": "LlavaOnevisionImageProcessor",
    },
}  # fmt: skip
_PROCESSORS: dict[str, dict[str, Any]] = {
    "internvl": {"image_seq_length": 4, "processor_class": "InternVLProcessor"},
    "llava_onevision": {
        "num_image_tokens": 4, "vision_feature_select_strategy": "full", "image_token": "<image>",
        "video_token": "<video>", "processor_class": "LlavaOnevisionProcessor",
    },
}  # fmt: skip


def write_chat_vlm(folder: Path, family: str) -> None:
    """Write a checkpoint that says a row of " Yes" and " No", each as all before it decides."""
    model_type = family.removesuffix("_llama")
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(_SPECIAL.get(model_type, []), special_tokens=True)
    tokenizer.add_tokens(["<think>", "</think>"])  # not special, as in Qwen3's
    tokenizer.save_pretrained(folder)
    if model_type == "internvl":
        edit_json(folder / "tokenizer_config.json", extra_special_tokens=_INTERNVL_TOKENS)
    write_json(folder / "preprocessor_config.json", _IMAGES[model_type])
    if model_type in _PROCESSORS:
        write_json(folder / "processor_config.json", _PROCESSORS[model_type])
    template = _TEMPLATES.get(model_type, CHAT_TEMPLATE)
    write_json(folder / "chat_template.json", {"chat_template": template})
    model = _random_model(_config(family, tokenizer), tokenizer)
    model.save_pretrained(folder)  # under the names of the published files, but for one
    if family == "llava_onevision":
        path = folder / "model.safetensors"
        weights = {
            name.replace("vision_tower.", "vision_tower.vision_model."): value
            for name, value in load_file(path).items()
        }
        save_file(weights, path, metadata={"format": "pt"})


def begin_with_think(folder: Path) -> None:
    """Let the chat template begin the response, as those of thinking models do."""
    path = folder / "chat_template.json"
    template = json.loads(path.read_text())["chat_template"]
    write_json(path, {"chat_template": template.replace("assistant\n", "assistant\n<think>\n")})


def teach(mllm: MLLM, response: str) -> None:
    """Make greedy decoding say a response in which no token comes twice, after a new line."""
    tokenizer = mllm.processor.tokenizer
    ids = [*tokenizer("\n" + response)["input_ids"], tokenizer.eos_token_id]
    assert len(set(ids)) == len(ids)
    pairs = [[list(pair), 1e4] for pair in pairwise(ids)]
    mllm.model.generation_config.sequence_bias = pairs


def stock_processor(folder: Path) -> Any:
    """Return what AutoProcessor loads, with Pillow's resampling; without torchvision, no video."""
    kind = json.loads((folder / "preprocessor_config.json").read_text())["image_processor_type"]
    images = getattr(transformers, kind.removesuffix("Fast") + "Pil").from_pretrained(folder)
    if is_torchvision_available():
        processor = AutoProcessor.from_pretrained(folder)
        processor.image_processor = images
        return processor
    processor_class = PROCESSOR_MAPPING[type(AutoConfig.from_pretrained(folder))]
    settings, _ = processor_class.get_processor_dict(folder)
    settings.pop("processor_class", None)
    with mock.patch.object(processor_class, "check_argument_for_proper_class"):
        return processor_class(images, AutoTokenizer.from_pretrained(folder), None, **settings)


def _config(family: str, tokenizer: Qwen2Tokenizer) -> Any:
    qwen = tiny_config(tokenizer)
    if family == "qwen2_5_vl":
        return qwen
    token_id = tokenizer.convert_tokens_to_ids
    text = {
        name: getattr(qwen.text_config, name)
        for name in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
                     "num_attention_heads", "num_key_value_heads", "max_position_embeddings",
                     "eos_token_id", "pad_token_id")
    }  # fmt: skip
    vision = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
              "num_attention_heads": 2}  # fmt: skip
    if family.startswith("internvl"):
        language = {"model_type": "llama" if family == "internvl_llama" else "qwen2"}
        return AutoConfig.for_model(
            "internvl", text_config=language | text, tie_word_embeddings=False,
            vision_config=vision | {"image_size": [56, 56], "patch_size": [14, 14]},
            image_token_id=token_id("<IMG_CONTEXT>"), image_seq_length=4,
        )  # fmt: skip
    if family == "llava_onevision":
        siglip = {"model_type": "siglip_vision_model", "image_size": 28, "patch_size": 14,
                  "vision_use_head": False}  # fmt: skip
        return AutoConfig.for_model(
            family, text_config={"model_type": "qwen2"} | text, tie_word_embeddings=False,
            vision_config=vision | siglip, image_grid_pinpoints=_PINPOINTS,
            image_token_index=token_id("<image>"), video_token_index=token_id("<video>"),
        )  # fmt: skip
    rope = {"rope_type": "default", "rope_theta": 1000.0, "mrope_section": [2, 1, 1],
            "mrope_interleaved": True}  # fmt: skip
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
    return AutoConfig.for_model(
        family, tie_word_embeddings=False,
        text_config=text | {"head_dim": 8, "rope_parameters": rope}
        | (experts if family == "qwen3_vl_moe" else {}),
        vision_config={
            "depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2,
            "out_hidden_size": 32, "patch_size": 16, "spatial_merge_size": 2,
            "num_position_embeddings": 16, "deepstack_visual_indexes": [0, 1],
        },
        image_token_id=qwen.image_token_id, video_token_id=qwen.video_token_id,
        vision_start_token_id=qwen.vision_start_token_id,
        vision_end_token_id=qwen.vision_end_token_id,
    )  # fmt: skip


def _random_model(config: Any, tokenizer: Qwen2Tokenizer) -> nn.Module:
    torch.manual_seed(1)
    model = AutoModelForImageTextToText.from_config(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                # The fan-in of a linear map, a convolution, or experts that share a tensor.
                fan_in = weight[0, 0].numel() if "experts" in name else weight[0].numel()
                std = 0.2 if "embed_tokens" in name else 2 / math.sqrt(fan_in)
                nn.init.normal_(weight, std=std)
        head = model.get_output_embeddings().weight
        head.zero_()
        yes, no = tokenizer.convert_tokens_to_ids(["ĠYes", "ĠNo"])
        nn.init.normal_(head[yes], std=0.2)
        head[no] = -head[yes]
    # As published: sampled, with a penalty on what was said before.
    model.generation_config = GenerationConfig(
        do_sample=True, temperature=0.7, top_k=20, top_p=0.8, repetition_penalty=1.05,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return model
