"""Chats with several images are answered as stock transformers answers them."""

from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText

from flawsight.errors import ImageError, ModelError
from flawsight.mllm.answer_chats import answer_chats
from flawsight.mllm.load import MLLM
from flawsight.prompt import choice_message
from helpers.checkpoints import photo
from helpers.families import begin_with_think, load_or_skip, stock_processor, teach, write_chat_vlm

FAMILIES = ["qwen2_5_vl", "qwen3_vl", "gemma3", "idefics3", "internvl", "llava_onevision", "glm4v"]
OPTIONS = {"A": "Upper left.", "B": "Centre."}
LENGTH = 10


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("families")
    for family in FAMILIES:
        write_chat_vlm(root / family, family)
    return {family: root / family for family in FAMILIES}


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    sizes = [(70, 110), (70, 110), (130, 60), (48, 48)]
    return [photo(*size, seed=seed) for seed, size in enumerate(sizes)]


def load(folder: Path) -> MLLM:
    return load_or_skip(folder, any_family=True)


def chat(shots: int, question: str = "Where is the defect?") -> list[dict[str, Any]]:
    return choice_message(question, OPTIONS, shots)


def stock_inputs(processor: Any, images: list[Image.Image], messages: Any) -> Any:
    left = iter(images)
    [message] = messages
    content = [
        {"type": "image", "image": next(left)} if part["type"] == "image" else part
        for part in message["content"]
    ]
    return processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=True,
        return_dict=True, return_tensors="pt", add_vision_id=True,
    )  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_and_answers_are_those_of_stock_transformers(
    folders: dict[str, Path],
    photos: list[Image.Image],
    family: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mllm, processor = load(folders[family]), stock_processor(folders[family])
    stock = AutoModelForImageTextToText.from_pretrained(folders[family]).eval()
    seen: list[dict[str, Any]] = []
    generate = mllm.model.generate

    def spy(**inputs: Any) -> Any:
        seen.append(inputs)
        return generate(**inputs)

    monkeypatch.setattr(mllm.model, "generate", spy)
    # The photo of the good part comes first, so two orders are two prompts.
    for images in ([photos[0]], [photos[1], photos[2]], [photos[2], photos[1]]):
        asked = chat(len(images) - 1)
        [answer] = answer_chats(mllm, [asked], [images], LENGTH)
        inputs = stock_inputs(processor, images, asked)
        for name, value in inputs.items():
            assert torch.equal(seen[-1][name], value), name
        said = stock.generate(
            **inputs, do_sample=False, repetition_penalty=1.0, max_new_tokens=LENGTH
        )
        length = inputs["input_ids"].shape[1]
        assert answer == processor.tokenizer.decode(said[0, length:], skip_special_tokens=True)
        assert answer


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl", "idefics3", "internvl"])
def test_a_batch_is_answered_as_one_at_a_time(
    folders: dict[str, Path], photos: list[Image.Image], family: str
) -> None:
    mllm = load(folders[family])
    pairs = [[photos[a], photos[b]] for a, b in ((0, 1), (1, 0), (0, 2), (2, 3), (3, 2))]
    chats = [chat(1, f"Where is it{'?' * index}") for index in range(len(pairs))]
    alone = [answer_chats(mllm, [c], [i], LENGTH)[0] for c, i in zip(chats, pairs, strict=True)]
    assert answer_chats(mllm, chats, pairs, LENGTH) == alone


def test_the_prompt_says_which_photo_is_which(folders: dict[str, Path]) -> None:
    mllm = load(folders["qwen2_5_vl"])
    processor = mllm.processor
    text = processor.apply_chat_template(chat(2), tokenize=False, add_generation_prompt=True)
    assert text.count("<|image_pad|>") == 3
    for words in (
        "first 2 images show normal samples",
        "queried image:",
        "Where is the defect?\nA. Upper left.\nB. Centre.",
        "letter of the right option",
    ):
        assert words in text
    [alone] = chat(0)
    assert [part["type"] for part in alone["content"]] == ["image", "text"]
    assert "normal" not in alone["content"][1]["text"]


def test_reasoning_that_the_template_begins_is_part_of_the_answer(
    tmp_path: Path, photos: list[Image.Image]
) -> None:
    write_chat_vlm(tmp_path, "qwen3_vl")
    begin_with_think(tmp_path)
    mllm = load(tmp_path)
    teach(mllm, "No, is the metal part near?</think>B")
    [answer] = answer_chats(mllm, [chat(0)], [photos[:1]], 60)
    assert str(answer).startswith("<think>")
    assert str(answer).endswith("</think>B")


def test_images_that_fail_stop_nothing(
    folders: dict[str, Path], photos: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    mllm = load(folders["internvl"])
    preprocess = mllm.processor.image_processor.preprocess

    def refuse_squares(images: Any, **options: Any) -> Any:
        if any(image.width == image.height for [image] in images):
            raise ValueError("too square")
        return preprocess(images, **options)

    expected = answer_chats(mllm, [chat(0)], [photos[:1]], LENGTH)
    monkeypatch.setattr(mllm.processor.image_processor, "preprocess", refuse_squares)
    answered, failed = answer_chats(mllm, [chat(0)] * 2, [photos[:1], photos[3:]], LENGTH)
    assert [answered] == expected
    assert isinstance(failed, ImageError)
    assert "too square" in str(failed)


def test_a_batch_too_large_for_memory_is_explained(
    folders: dict[str, Path], photos: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    mllm = load(folders["internvl"])
    monkeypatch.setattr(mllm.model, "generate", mock.Mock(side_effect=torch.OutOfMemoryError))
    with pytest.raises(ModelError, match="lower batch_size"):
        answer_chats(mllm, [chat(0)], [photos[:1]], LENGTH)
