"""Batches of pairs with questions and responses. Each batch is a function of seed and number."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from conversation import Pair, Piece, draw_question, draw_verdict, respond, respond_swapped
from pool import DEFECT_COUNTS, Pool
from torch import Tensor
from torch.utils.data import Dataset

from flawsight.mllm.processor import ImageProcessor
from flawsight_surfaces import TRAIN_DEFECTS, render_pair
from flawsight_surfaces.features.feature_table import FEATURES

# (rows, columns) of the patch grid, about 225 patches each; square twice as often as the rest.
GRIDS = [(15, 15), (15, 15), (12, 18), (18, 12), (10, 22), (22, 10), (13, 17), (17, 13)]
SCALES = [0.7, 0.85, 1.0]  # rendered side / side of the model's input


@dataclass(frozen=True)
class TrainingBatch:
    """One step's input. B sequences of T tokens, the last R of them the responses.

    `weights` (B, R) weighs the loss of each response token; padding weighs 0.
    """

    inputs: dict[str, Tensor]
    weights: Tensor


def render_pairs(rng: np.random.Generator, pairs: int, image_side: int) -> list[Pair]:
    """Render `pairs` pairs of one aspect ratio and scale."""
    rows, columns = GRIDS[rng.integers(len(GRIDS))]
    scale = rng.choice(SCALES) * image_side / 15
    size = (round(rows * scale), round(columns * scale))
    return [
        render_pair(
            rng,
            size,
            difficulty=rng.uniform() ** 0.5,
            defects=int(rng.choice(DEFECT_COUNTS[0], p=DEFECT_COUNTS[1])),
        )
        for _ in range(pairs)
    ]


def corpus(rng: np.random.Generator, pairs: int) -> Iterator[str]:
    """Yield texts for the tokenizer: questions about `pairs` rendered pairs, and the responses."""
    for _ in range(pairs):
        pair = render_pair(rng, (64, 64), defects=int(rng.integers(1, 4)))
        for question in (draw_verdict(rng), draw_question(pair, SUBJECTS, rng)):
            yield question.text
            for sample in pair:
                yield "".join(text for text, _ in respond(question, sample, rng))


SUBJECTS = [*FEATURES, *TRAIN_DEFECTS]


class PairBatches(Dataset[TrainingBatch]):
    """Batch number i, drawn from a pool or rendered, and encoded; the same in any process.

    A batch asks either for verdicts only or for anything else; its texts have similar lengths.
    """

    def __init__(
        self, processor: ImageProcessor, pool: Pool, settings: dict[str, Any], pairs: int
    ) -> None:
        self.processor, self.pool, self.pairs = processor, pool, pairs
        self.config, self.image_side = settings["language"], settings["image_side"]

    def __getitem__(self, index: int) -> TrainingBatch:
        config = self.config
        rng = np.random.default_rng([config["seed"], index])
        if rng.random() < config["fresh_share"]:
            pairs = render_pairs(rng, self.pairs, self.image_side)
        else:
            pairs = self.pool.draw(rng, self.pairs)
        return self.encode(pairs, rng, verdicts=rng.random() < config["verdict_share"])

    def encode(self, pairs: list[Pair], rng: np.random.Generator, verdicts: bool) -> TrainingBatch:
        """Encode pairs of one image size, each with one question for both images."""
        prompts, responses = [], []
        for pair in pairs:
            question = draw_verdict(rng) if verdicts else draw_question(pair, SUBJECTS, rng)
            swapped = verdicts and rng.random() < self.config["swapped_share"]
            wording = int(rng.integers(2**32))
            for index, sample in enumerate(pair):
                stream = np.random.default_rng(wording)
                pieces = (
                    respond_swapped(question, sample, pair[1 - index], stream)
                    if swapped
                    else respond(question, sample, stream)
                )
                prompts.append(question.text)
                responses.append(self._encode_response(list(pieces)))
        return self._collate([s.image for pair in pairs for s in pair], prompts, responses)

    def _collate(
        self,
        images: list[Any],
        questions: list[str],
        responses: list[tuple[list[int], list[float]]],
    ) -> TrainingBatch:
        """Left-pad the prompts and right-pad the responses: all responses begin in one column."""
        tokenizer = self.processor.tokenizer
        texts = [
            self.processor.apply_chat_template(
                [
                    {
                        "role": "user",
                        "content": [{"type": "image"}, {"type": "text", "text": question}],
                    }
                ],
                tokenize=False,
                add_generation_prompt=True,
            )
            for question in questions
        ]
        prompt = self.processor(
            images=images, text=texts, padding=True, padding_side="left", return_tensors="pt"
        )
        length = max(len(ids) for ids, _ in responses)
        ids = torch.full((len(responses), length), tokenizer.pad_token_id)
        weights = torch.zeros(len(responses), length)
        for row, (token_ids, token_weights) in enumerate(responses):
            ids[row, : len(token_ids)] = torch.tensor(token_ids)
            weights[row, : len(token_ids)] = torch.tensor(token_weights)
        real = (ids != tokenizer.pad_token_id).long()
        inputs = {
            "input_ids": torch.cat([prompt["input_ids"], ids], dim=1),
            "attention_mask": torch.cat([prompt["attention_mask"], real], dim=1),
            "mm_token_type_ids": torch.cat(
                [prompt["mm_token_type_ids"], torch.zeros_like(ids)], dim=1
            ),
            "pixel_values": prompt["pixel_values"],
            "image_grid_thw": prompt["image_grid_thw"],
        }
        return TrainingBatch(inputs, weights)

    def _encode_response(self, pieces: list[Piece]) -> tuple[list[int], list[float]]:
        text = "".join(piece for piece, _ in pieces)
        character_weights = np.repeat(
            [weight for _, weight in pieces], [len(piece) for piece, _ in pieces]
        )
        tokenizer = self.processor.tokenizer
        encoded = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
        weights = [float(character_weights[end - 1]) for _, end in encoded["offset_mapping"]]
        return [*encoded["input_ids"], tokenizer.eos_token_id], [*weights, weights[-1]]
