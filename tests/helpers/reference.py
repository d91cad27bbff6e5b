"""The Trace by the book: one unpadded sequence, eager attention, every matrix kept, stock classes.

Nothing of `flawsight.mllm` is used here but the question's text.
"""

import codecs
import itertools
import math
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from transformers import (
    AutoTokenizer,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode

from flawsight.inspection import Trace
from flawsight.prompt import INSTRUCTION, QUESTION


class Reference:
    """Stock model and parts of a checkpoint folder."""

    def __init__(self, folder: Path, adapter: Path | None = None, attention: str = "eager") -> None:
        self.model = Qwen2_5_VLForConditionalGeneration.from_pretrained(
            folder, dtype=torch.float32, attn_implementation=attention
        ).eval()
        if adapter is not None:
            from peft import PeftModel

            self.model = PeftModel.from_pretrained(self.model, adapter).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.image_processor = Qwen2VLImageProcessorPil.from_pretrained(folder)

    def prompt(self, image: Image.Image) -> tuple[dict[str, Tensor], str]:
        """Return the model's inputs and the text they were made of."""
        pixels = self.image_processor(images=[image], return_tensors="pt")
        cells = int(pixels["image_grid_thw"].prod()) // 4
        text = (
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
            f"<|vision_start|>{'<|image_pad|>' * cells}<|vision_end|>{QUESTION} {INSTRUCTION}"
            "<|im_end|>\n<|im_start|>assistant\n"
        )
        ids = self.tokenizer(text, return_tensors="pt")["input_ids"]
        return self.inputs(ids, pixels), text

    def inputs(self, ids: Tensor, pixels: dict[str, Tensor]) -> dict[str, Tensor]:
        image_id = self.tokenizer.convert_tokens_to_ids("<|image_pad|>")
        return {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "mm_token_type_ids": (ids == image_id).long(),
            "pixel_values": pixels["pixel_values"],
            "image_grid_thw": pixels["image_grid_thw"],
        }

    @torch.no_grad()
    def respond(self, image: Image.Image, max_new_tokens: int) -> list[int]:
        """Return the ids of the greedy response, without a cache."""
        inputs, _ = self.prompt(image)
        ids = inputs["input_ids"]
        ends = self.model.generation_config.eos_token_id
        for _ in range(max_new_tokens):
            logits = self.model(**self.inputs(ids, inputs), use_cache=False).logits
            ids = torch.cat([ids, logits[:, -1:].argmax(-1)], dim=1)
            if int(ids[0, -1]) in ends:
                break
        return ids[0, inputs["input_ids"].shape[1] :].tolist()

    @torch.no_grad()
    def trace(
        self,
        image: Image.Image,
        response: list[int],
        layers: list[int] | None = None,
    ) -> Trace:
        """Trace `response`, averaged over all heads of all layers or of those named."""
        inputs, prompt = self.prompt(image)
        prompt_ids = inputs["input_ids"]
        ids = torch.cat([prompt_ids, torch.tensor([response])], dim=1)
        output = self.model(**self.inputs(ids, inputs), output_attentions=True, use_cache=False)
        attention = torch.stack(output.attentions)[:, 0]  # (layers, heads, T, T)
        mean = (attention if layers is None else attention[layers]).mean(dim=(0, 1))
        first = prompt_ids.shape[1] - 1
        rows = slice(first, first + len(response))
        image_id = self.tokenizer.convert_tokens_to_ids("<|image_pad|>")
        _, height, width = inputs["image_grid_thw"][0].tolist()
        grid = mean[rows][:, ids[0] == image_id].reshape(-1, height // 2, width // 2)
        question, anomaly = self.question_tokens(prompt)
        text, spans = self.text_and_spans(response)
        return Trace(
            text=text,
            token_spans=spans,
            image_attention=grid,
            question_attention=mean[rows][:, question],
            anomaly_tokens=anomaly,
            answer_margin=math.nan,  # tests/mllm/test_answer_probability.py compares it
        )

    def question_tokens(self, text: str) -> tuple[list[int], Tensor]:
        """Return the positions of the question's tokens, and which are the anomaly words'."""
        start = text.index(QUESTION)
        offsets = self.tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
        inside = [
            i for i, (a, b) in enumerate(offsets) if a >= start and b <= start + len(QUESTION)
        ]
        words = [text[slice(*offsets[i])].strip() for i in inside]
        return inside, torch.tensor([word in ("defects", "anomalies") for word in words])

    def text_and_spans(self, ids: list[int]) -> tuple[str, tuple[tuple[int, int], ...]]:
        """Decode token by token, byte by byte; a character belongs to the token that ends it."""
        byte_of = {character: byte for byte, character in bytes_to_unicode().items()}
        decoder = codecs.getincrementaldecoder("utf-8")()
        text, ends = "", [0]
        for index in ids:
            if index not in self.tokenizer.all_special_ids:
                piece = self.tokenizer.convert_ids_to_tokens(index)
                text += decoder.decode(bytes(byte_of[character] for character in piece))
            ends.append(len(text))
        return text, tuple(itertools.pairwise(ends))


def assert_same(trace: Trace, expected: Trace, tolerance: float = 1e-5) -> None:
    """Compare all fields, whole numbers and words exactly; a margin of NaN is not known."""
    assert trace.text == expected.text
    assert trace.token_spans == expected.token_spans
    assert trace.anomaly_tokens.tolist() == expected.anomaly_tokens.tolist()
    close = {"rtol": 0, "atol": tolerance}
    torch.testing.assert_close(trace.image_attention, expected.image_attention, **close)
    torch.testing.assert_close(trace.question_attention, expected.question_attention, **close)
    if not math.isnan(expected.answer_margin):
        assert abs(trace.answer_margin - expected.answer_margin) < 1e-4
