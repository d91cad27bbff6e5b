"""Batches of twin pairs with their responses, each batch a function of the seed and its number."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from text import response, second_look
from torch import Tensor
from torch.utils.data import Dataset

from flawsight.data.surfaces import SurfaceSample, render_twins
from flawsight.mllm.processor import ImageProcessor
from flawsight.mllm.prompt import user_message

# (rows, columns) of the patch grid, about 225 patches each; square twice as often as the rest.
GRIDS = [(15, 15), (15, 15), (12, 18), (18, 12), (10, 22), (22, 10), (13, 17), (17, 13)]


@dataclass(frozen=True)
class TrainingBatch:
    """One step's input. B sequences of T tokens, P of them the prompt.

    `weights` (B, T − P) weighs the loss of each response token; padding weighs 0.
    """

    inputs: dict[str, Tensor]
    weights: Tensor


def draw_pairs(
    rng: np.random.Generator, pairs: int, difficulty: float, image_side: int
) -> list[SurfaceSample]:
    """Render `pairs` twins of one aspect and scale, the hardest at `difficulty`."""
    rows, columns = GRIDS[rng.integers(len(GRIDS))]
    scale = rng.choice([1.25, 1.6, 2.0]) * image_side / 15
    size = (round(rows * scale), round(columns * scale))
    samples: list[SurfaceSample] = []
    for _ in range(pairs):
        samples += render_twins(rng, size, difficulty=difficulty * rng.uniform() ** 0.5)
    return samples


def corpus(rng: np.random.Generator, pairs: int) -> Iterator[str]:
    """Yield texts for the tokenizer: prompts and the responses to `pairs` rendered twins."""
    for _ in range(pairs):
        for sample in render_twins(rng, (64, 64)):
            yield user_message()[0]["content"][1]["text"]
            yield "".join(text for text, _ in response(sample, rng))


class PairBatches(Dataset[TrainingBatch]):
    """Batch number i, rendered and encoded; the same for the same seed in any process."""

    def __init__(self, processor: ImageProcessor, config: dict[str, Any]) -> None:
        self.processor, self.config = processor, config
        self.prompt = processor.apply_chat_template(
            user_message(), tokenize=False, add_generation_prompt=True
        )

    def __len__(self) -> int:
        steps: int = self.config["steps"]
        return steps

    def __getitem__(self, index: int) -> TrainingBatch:
        config = self.config
        rng = np.random.default_rng([config["seed"], index])
        span = config["full_steps"] - config["easy_steps"]
        difficulty = min(1.0, max(0.0, (index - config["easy_steps"]) / span))
        samples = draw_pairs(rng, config["pairs"], difficulty, config["image_side"])
        share = config["second_look_share"][index >= config["first_cycle"]]
        if index < config["second_look_from"]:
            share = 0.0
        return self.encode(samples, rng, share)

    def encode(
        self, samples: list[SurfaceSample], rng: np.random.Generator, second_look_share: float = 0.0
    ) -> TrainingBatch:
        """Encode twins of one size with drawn wordings, a share of them as second looks."""
        tokenizer = self.processor.tokenizer
        prompt = self.processor(
            images=[sample.image for sample in samples],
            text=[self.prompt] * len(samples),
            return_tensors="pt",
        )
        responses = []
        for index, sample in enumerate(samples):
            if second_look_share and rng.random() < second_look_share:
                pieces = second_look(sample, samples[index ^ 1], rng)
            else:
                pieces = response(sample, rng)
            responses.append(self._encode_response(list(pieces)))
        length = max(len(ids) for ids, _ in responses)
        ids = torch.full((len(samples), length), tokenizer.pad_token_id)
        weights = torch.zeros(len(samples), length)
        for row, (token_ids, token_weights) in enumerate(responses):
            ids[row, : len(token_ids)] = torch.tensor(token_ids)
            weights[row, : len(token_ids)] = torch.tensor(token_weights)
        seen = (ids != tokenizer.pad_token_id).long()
        inputs = {
            "input_ids": torch.cat([prompt["input_ids"], ids], dim=1),
            "attention_mask": torch.cat([prompt["attention_mask"], seen], dim=1),
            "mm_token_type_ids": torch.cat(
                [prompt["mm_token_type_ids"], torch.zeros_like(ids)], dim=1
            ),
            "pixel_values": prompt["pixel_values"],
            "image_grid_thw": prompt["image_grid_thw"],
        }
        return TrainingBatch(inputs, weights)

    def _encode_response(self, pieces: list[tuple[str, float]]) -> tuple[list[int], list[float]]:
        text = "".join(piece for piece, _ in pieces)
        character_weights = np.repeat(
            [weight for _, weight in pieces], [len(piece) for piece, _ in pieces]
        )
        tokenizer = self.processor.tokenizer
        encoded = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
        weights = [float(character_weights[end - 1]) for _, end in encoded["offset_mapping"]]
        return [*encoded["input_ids"], tokenizer.eos_token_id], [*weights, weights[-1]]
