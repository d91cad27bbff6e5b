"""Random-weight checkpoints of chat VLMs of all families, small, in their published layouts."""

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
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
from transformers.models.smolvlm import processing_smolvlm
from transformers.processing_utils import VideosKwargs
from transformers.utils import is_torchvision_available

from flawsight.errors import ModelError
from flawsight.mllm.load import MLLM, load_mllm
from flawsight.prompt import user_message
from helpers.checkpoints import CHAT_TEMPLATE, edit_json, tiny_tokenizer, write_json
from helpers.family_layouts import (
    FAMILIES,
    IMAGES,
    NAMED_TOKENS,
    PROCESSORS,
    SPECIAL,
    TEMPLATES,
    family_config,
)

__all__ = [
    "FAMILIES",
    "begin_with_think",
    "stock_processor",
    "teach",
    "write_chat_vlm",
    "write_trainable_qwen3",
]


def write_chat_vlm(folder: Path, family: str) -> None:
    """Write a checkpoint that says a row of " Yes" and " No", each as all before it decides."""
    model_type = family.removesuffix("_llama")
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(SPECIAL.get(model_type, []), special_tokens=True)
    tokenizer.add_tokens(["<think>", "</think>"])  # not special, as in Qwen3's
    tokenizer.save_pretrained(folder)
    token_id = tokenizer.convert_tokens_to_ids
    if model_type in NAMED_TOKENS:
        edit_json(folder / "tokenizer_config.json", extra_special_tokens=NAMED_TOKENS[model_type])
    if model_type == "gemma3":  # its template begins with the token that its tokenizer adds
        tokens = {"<bos>": {"id": "<bos>", "ids": [token_id("<bos>")], "tokens": ["<bos>"]}}
        single = [{"SpecialToken": {"id": "<bos>", "type_id": 0}}]
        single.append({"Sequence": {"id": "A", "type_id": 0}})
        adds = {"type": "TemplateProcessing", "single": single, "pair": single}
        edit_json(folder / "tokenizer.json", post_processor=adds | {"special_tokens": tokens})
        edit_json(
            folder / "tokenizer_config.json",
            bos_token="<bos>",
            tokenizer_class="PreTrainedTokenizerFast",
        )
    write_json(folder / "preprocessor_config.json", IMAGES[model_type])
    if model_type in PROCESSORS:
        write_json(folder / "processor_config.json", PROCESSORS[model_type])
    template = TEMPLATES.get(model_type, CHAT_TEMPLATE)
    write_json(folder / "chat_template.json", {"chat_template": template})
    model = _random_model(family_config(family, tokenizer), tokenizer)
    model.save_pretrained(folder)  # under the names of the published files, but for one
    if family == "llava_onevision":
        path = folder / "model.safetensors"
        weights = {
            name.replace("vision_tower.", "vision_tower.vision_model."): value
            for name, value in load_file(path).items()
        }
        save_file(weights, path, metadata={"format": "pt"})


def write_trainable_qwen3(folder: Path) -> None:
    """Write a Qwen3-VL checkpoint all of whose tokens can be said."""
    write_chat_vlm(folder, "qwen3_vl")
    weights = load_file(folder / "model.safetensors")
    generator = torch.Generator().manual_seed(5)
    weights["lm_head.weight"].normal_(std=0.2, generator=generator)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


class _NoVideo:
    """What SmolVLM's processor reads of its part for video, whatever it is asked."""

    num_frames, fps, valid_kwargs = 1, 1, VideosKwargs


def begin_with_think(folder: Path) -> None:
    """Let the chat template begin the response, as those of thinking models do."""
    path = folder / "chat_template.json"
    template = json.loads(path.read_text())["chat_template"]
    write_json(path, {"chat_template": template.replace("assistant\n", "assistant\n<think>\n")})


def teach(mllm: MLLM, response: str) -> None:
    """Make greedy decoding say a response in which no token comes twice."""
    tokenizer = mllm.processor.tokenizer
    prompt = mllm.processor.apply_chat_template(
        user_message(), tokenize=False, add_generation_prompt=True
    )
    said = tokenizer(prompt[-1] + response, add_special_tokens=False)["input_ids"]
    ids = [*said, tokenizer.eos_token_id]
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
    parts = {"image_processor": images, "tokenizer": AutoTokenizer.from_pretrained(folder)}
    if "video_processor" in processor_class.get_attributes():
        parts["video_processor"] = _NoVideo() if kind.startswith("SmolVLM") else None
    with (
        mock.patch.object(processor_class, "check_argument_for_proper_class"),
        mock.patch.object(processing_smolvlm, "num2words", "which only videos need"),
    ):
        return processor_class(**parts, **settings)


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


def load_or_skip(folder: Path, **options: Any) -> MLLM:
    """Load it; skip the test if this version of transformers alone cannot prepare its images."""
    try:
        return load_mllm(folder, device="cpu", **options)
    except ModelError as error:
        if str(error).endswith("need torchvision: install it."):
            pytest.skip("this version of transformers needs torchvision for its images")
        raise
