"""What the files of each family's checkpoints hold, small: configs, templates, processors."""

from typing import Any

from transformers import AutoConfig, Qwen2Tokenizer

from helpers.checkpoints import PREPROCESSOR_CONFIG, tiny_config

# Every model type whose attention flawsight reads. InternVL comes with two language models: Qwen2
# (3) and Llama (2.5 8B and 3 9B).
FAMILIES = [
    "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe",
    "glm4v", "glm4v_moe", "glm46v", "gemma3", "idefics3", "smolvlm",
    "internvl", "internvl_llama", "llava_onevision",
]  # fmt: skip

NAMED_TOKENS = {
    "internvl": {
        "start_image_token": "<img>", "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>", "video_token": "<video>",
    },
    "gemma3": {
        "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>",
        "image_token": "<image_soft_token>",
    },
}  # fmt: skip
_GLM = ["[gMASK]", "<sop>", "<|user|>", "<|assistant|>", "<|begin_of_image|>", "<|end_of_image|>",
        "<|image|>", "<|video|>", "<|begin_of_video|>", "<|end_of_video|>"]  # fmt: skip
_IDEFICS = [
    "<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>",
    *(f"<row_{row + 1}_col_{column + 1}>" for row in range(6) for column in range(6)),
]  # fmt: skip
SPECIAL = {
    "internvl": list(NAMED_TOKENS["internvl"].values()),
    "llava_onevision": ["<image>", "<video>"],
    "gemma3": ["<bos>", "<start_of_turn>", "<end_of_turn>", *NAMED_TOKENS["gemma3"].values()],
    "idefics3": _IDEFICS,
    "smolvlm": _IDEFICS,
    "glm4v": _GLM,
    "glm4v_moe": _GLM,
    "glm46v": _GLM,
}

_TURN = "{% for message in messages %}<|im_start|>{{ message['role'] }}"
_ASK = "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"


def _contents(image: str) -> str:
    return (
        "{% for content in message['content'] %}{% if content['type'] == 'image' %}"
        f"{image}{{% else %}}{{{{ content['text'] }}}}{{% endif %}}{{% endfor %}}"
    )


_GLM_TEMPLATE = (
    "[gMASK]<sop>{% for message in messages %}\n<|user|>\n"
    + _contents("<|begin_of_image|><|image|><|end_of_image|>")
    + "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
_IDEFICS_TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}:"
    + _contents("<image>")
    + "<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)
TEMPLATES = {
    "internvl": _TURN + "\n" + _contents("<IMG_CONTEXT>\n") + "<|im_end|>\n" + _ASK,
    "llava_onevision": _TURN + " {% for content in message['content'] "
    "| selectattr('type', 'equalto', 'image') %}<image>\n{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{{ content['text'] }}{% endfor %}<|im_end|>" + _ASK,
    "gemma3": "{{ bos_token }}{% for message in messages %}<start_of_turn>user\n"
    + _contents("<start_of_image>")
    + "<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}",
    "idefics3": _IDEFICS_TEMPLATE,
    "smolvlm": _IDEFICS_TEMPLATE,
    "glm4v": _GLM_TEMPLATE,
    "glm4v_moe": _GLM_TEMPLATE,
    "glm46v": _GLM_TEMPLATE,
}  # fmt: skip

_PINPOINTS = [[28 * rows, 28 * columns] for rows in range(1, 7) for columns in range(1, 7)]
_QWEN3_IMAGES = {
    "size": {"shortest_edge": 32**2, "longest_edge": 64 * 32**2}, "patch_size": 16,
    "temporal_patch_size": 2, "merge_size": 2, "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
    "processor_class": "Qwen3VLProcessor", "image_processor_type": "Qwen2VLImageProcessorFast",
}  # fmt: skip
_GLM_IMAGES = {
    "size": {"shortest_edge": 112 * 112, "longest_edge": 200 * 28**2}, "patch_size": 14,
    "temporal_patch_size": 2, "merge_size": 2, "image_mean": [0.5] * 3, "image_std": [0.25] * 3,
    "processor_class": "Glm4vProcessor", "image_processor_type": "Glm4vImageProcessor",
}  # fmt: skip
_IDEFICS_IMAGES = {
    "size": {"longest_edge": 84}, "max_image_size": {"longest_edge": 28}, "do_pad": True,
    "do_image_splitting": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
    "processor_class": "Idefics3Processor", "image_processor_type": "Idefics3ImageProcessor",
}  # fmt: skip
IMAGES = {
    "qwen2_vl": PREPROCESSOR_CONFIG | {"processor_class": "Qwen2VLProcessor"},
    "qwen2_5_vl": PREPROCESSOR_CONFIG,
    "qwen3_vl": _QWEN3_IMAGES,
    "qwen3_vl_moe": _QWEN3_IMAGES,
    "qwen3_5": _QWEN3_IMAGES,
    "qwen3_5_moe": _QWEN3_IMAGES,
    "glm4v": _GLM_IMAGES,
    "glm4v_moe": _GLM_IMAGES,
    "glm46v": _GLM_IMAGES | {
        "processor_class": "Glm46VProcessor", "image_processor_type": "Glm46VImageProcessor",
    },
    "gemma3": {
        "size": {"height": 56, "width": 56}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
        "do_pan_and_scan": None, "image_seq_length": 16,
        "processor_class": "Gemma3Processor", "image_processor_type": "Gemma3ImageProcessor",
    },
    "idefics3": _IDEFICS_IMAGES,
    "smolvlm": _IDEFICS_IMAGES | {
        "processor_class": "SmolVLMProcessor", "image_processor_type": "SmolVLMImageProcessor",
    },
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
PROCESSORS: dict[str, dict[str, Any]] = {
    "internvl": {"image_seq_length": 4, "processor_class": "InternVLProcessor"},
    "llava_onevision": {
        "num_image_tokens": 4, "vision_feature_select_strategy": "full", "image_token": "<image>",
        "video_token": "<video>", "processor_class": "LlavaOnevisionProcessor",
    },
    "gemma3": {"image_seq_length": 16, "processor_class": "Gemma3Processor"},
    "idefics3": {"image_seq_len": 4, "processor_class": "Idefics3Processor"},
    "smolvlm": {"image_seq_len": 4, "processor_class": "SmolVLMProcessor"},
}  # fmt: skip

_VISION = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
           "num_attention_heads": 2}  # fmt: skip
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}


def family_config(family: str, tokenizer: Qwen2Tokenizer) -> Any:
    """Return the small config of a family, with the token ids of the tokenizer."""
    qwen = tiny_config(tokenizer)
    text = {
        name: getattr(qwen.text_config, name)
        for name in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
                     "num_attention_heads", "num_key_value_heads", "max_position_embeddings",
                     "bos_token_id", "eos_token_id", "pad_token_id")
    }  # fmt: skip
    token_id = tokenizer.convert_tokens_to_ids
    if family == "qwen2_5_vl":
        return qwen
    if family.startswith("qwen"):
        return _qwen(family, text, qwen)
    if family.startswith("glm"):
        return _glm(family, text, token_id)
    if family.startswith("internvl"):
        language = {"model_type": "llama" if family == "internvl_llama" else "qwen2"}
        return AutoConfig.for_model(
            "internvl", text_config=language | text, tie_word_embeddings=False,
            vision_config=_VISION | {"image_size": [56, 56], "patch_size": [14, 14]},
            image_token_id=token_id("<IMG_CONTEXT>"), image_seq_length=4,
        )  # fmt: skip
    siglip = _VISION | {"model_type": "siglip_vision_model", "patch_size": 14,
                        "vision_use_head": False}  # fmt: skip
    if family == "llava_onevision":
        return AutoConfig.for_model(
            family, text_config={"model_type": "qwen2"} | text, tie_word_embeddings=False,
            vision_config=siglip | {"image_size": 28}, image_grid_pinpoints=_PINPOINTS,
            image_token_index=token_id("<image>"), video_token_index=token_id("<video>"),
        )  # fmt: skip
    if family == "gemma3":
        # A window shorter than the prompt, and one layer without.
        text |= {"head_dim": 8, "sliding_window": 24, "query_pre_attn_scalar": 8,
                 "layer_types": ["sliding_attention", "full_attention"] * 2,
                 "num_hidden_layers": 4}  # fmt: skip
        return AutoConfig.for_model(
            family, text_config=text, tie_word_embeddings=False, mm_tokens_per_image=16,
            vision_config=siglip | {"image_size": 56, "patch_size": 7},
            boi_token_index=token_id("<start_of_image>"),
            eoi_token_index=token_id("<end_of_image>"),
            image_token_index=token_id("<image_soft_token>"),
        )  # fmt: skip
    return AutoConfig.for_model(
        family, text_config={"model_type": "llama"} | text, tie_word_embeddings=False,
        vision_config=_VISION | {"image_size": 28, "patch_size": 7}, scale_factor=2,
        image_token_id=token_id("<image>"),
    )  # fmt: skip


def _qwen(family: str, text: dict[str, Any], qwen: Any) -> Any:
    rope = {"rope_type": "default", "rope_theta": 1000.0, "mrope_section": [2, 1, 1]}
    vision = {"depth": 2, "num_heads": 2, "patch_size": 16, "spatial_merge_size": 2}
    if family == "qwen2_vl":
        vision |= {"embed_dim": 32, "hidden_size": 32, "patch_size": 14}
    else:
        text |= {"head_dim": 8}
        rope |= {"mrope_interleaved": True}
        vision |= {"hidden_size": 32, "intermediate_size": 48, "out_hidden_size": 32,
                   "num_position_embeddings": 16}  # fmt: skip
    if family.endswith("_moe"):
        text |= _EXPERTS
    if family.startswith("qwen3_vl"):
        vision |= {"deepstack_visual_indexes": [0, 1]}
    if family.startswith("qwen3_5"):
        rope |= {"partial_rotary_factor": 1.0}
        text |= {"linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_key_heads": 2,
                 "linear_num_value_heads": 4, "shared_expert_intermediate_size": 24,
                 "num_hidden_layers": 4,
                 "layer_types": ["linear_attention", "full_attention"] * 2}  # fmt: skip
    return AutoConfig.for_model(
        family, tie_word_embeddings=False, text_config=text | {"rope_parameters": rope},
        vision_config=vision, image_token_id=qwen.image_token_id,
        video_token_id=qwen.video_token_id, vision_start_token_id=qwen.vision_start_token_id,
        vision_end_token_id=qwen.vision_end_token_id,
    )  # fmt: skip


def _glm(family: str, text: dict[str, Any], token_id: Any) -> Any:
    rope = {"rope_type": "default", "rope_theta": 1000.0, "mrope_section": [2, 1, 1],
            "partial_rotary_factor": 1.0}  # fmt: skip
    text |= {"rope_parameters": rope}
    if family == "glm4v_moe":
        text |= {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24,
                 "first_k_dense_replace": 1, "head_dim": 8, "n_shared_experts": 1}  # fmt: skip
    names = {
        "image": "<|image|>", "video": "<|video|>", "image_start": "<|begin_of_image|>",
        "image_end": "<|end_of_image|>", "video_start": "<|begin_of_video|>",
        "video_end": "<|end_of_video|>",
    }  # fmt: skip
    return AutoConfig.for_model(
        family, tie_word_embeddings=False, text_config=text,
        vision_config={"depth": 2, "hidden_size": 32, "num_heads": 2, "intermediate_size": 48,
                       "out_hidden_size": 32, "image_size": 56, "patch_size": 14},
        **{f"{name}_token_id": token_id(token) for name, token in names.items()},
    )  # fmt: skip
