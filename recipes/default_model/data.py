"""Batches of pairs with questions and responses. Each batch is a function of seed and number."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from build import MERGE_SIZE
from conversation import Piece, draw_question, draw_verdict, respond, respond_swapped
from encode_pool import EncodedPair, EncodedPool
from torch import Tensor
from torch.utils.data import Dataset

from flawsight.mllm.processor import ImageProcessor
from flawsight_surfaces import TRAIN_DEFECTS, render_pair
from flawsight_surfaces.features.feature_table import FEATURES


@dataclass(frozen=True)
class TrainingBatch:
    """One step's input. B sequences of T tokens, the last R of them the responses.

    `weights` (B, R) weighs the loss of each response token; padding weighs 0.
    """

    inputs: dict[str, Tensor]
    weights: Tensor


def corpus(rng: np.random.Generator, pairs: int) -> Iterator[str]:
    """Yield texts for the tokenizer: questions about `pairs` rendered pairs, and the responses."""
    for _ in range(pairs):
        pair = render_pair(rng, (64, 64), defects=int(rng.integers(1, 4)))
        for question in (draw_verdict(pair, rng), draw_question(pair, SUBJECTS, rng)):
            yield question.text
            for sample in pair:
                yield "".join(text for text, _ in respond(question, sample, rng))


SUBJECTS = [*FEATURES, *TRAIN_DEFECTS]


class PairBatches(Dataset[TrainingBatch]):
    """Batch number i, drawn from the encoded pool; the same in any process.

    A batch asks either for verdicts only or for anything else; its texts have similar lengths.
    """

    def __init__(
        self, processor: ImageProcessor, pool: EncodedPool, config: dict[str, Any], pairs: int
    ) -> None:
        self.processor, self.pool, self.config, self.pairs = processor, pool, config, pairs

    def __getitem__(self, index: int) -> TrainingBatch:
        rng = np.random.default_rng([self.config["seed"], index])
        drawn = self.pool.draw(rng, self.pairs)
        return self.encode(drawn, rng, verdicts=rng.random() < self.config["verdict_share"])

    def encode(
        self, drawn: list[EncodedPair], rng: np.random.Generator, verdicts: bool
    ) -> TrainingBatch:
        """Encode pairs, each with one question for both images."""
        prompts, responses = [], []
        for each in drawn:
            pair = each.pair
            question = draw_verdict(pair, rng) if verdicts else draw_question(pair, SUBJECTS, rng)
            swapped = verdicts and rng.random() < self.config["swapped_share"]
            wording = int(rng.integers(2**32))
            for index, sample in enumerate(pair):
                stream = np.random.default_rng(wording)
                pieces = (
                    respond_swapped(question, sample, pair[1 - index], stream)
                    if swapped
                    else respond(question, sample, stream)
                )
                prompts.append(self._encode_prompt(question.text, each.grid))
                responses.append(self._encode_response(list(pieces)))
        return self._collate(drawn, prompts, responses)

    def _encode_prompt(self, question: str, grid: tuple[int, int, int]) -> list[int]:
        content = [{"type": "image"}, {"type": "text", "text": question}]
        text = self.processor.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        one = self.processor.image_token
        text = text.replace(one, one * (grid[1] * grid[2] // MERGE_SIZE**2))
        ids: list[int] = self.processor.tokenizer(text)["input_ids"]
        return ids

    def _collate(
        self,
        drawn: list[EncodedPair],
        prompts: list[list[int]],
        responses: list[tuple[list[int], list[float]]],
    ) -> TrainingBatch:
        """Left-pad the prompts and right-pad the responses: all responses begin in one column."""
        tokenizer = self.processor.tokenizer
        before, after = max(map(len, prompts)), max(len(ids) for ids, _ in responses)
        ids = torch.full((len(prompts), before + after), tokenizer.pad_token_id)
        weights = torch.zeros(len(responses), after)
        for row, (prompt, (response, own)) in enumerate(zip(prompts, responses, strict=True)):
            ids[row, before - len(prompt) : before + len(response)] = torch.tensor(
                prompt + response
            )
            weights[row, : len(own)] = torch.tensor(own)
        inputs = {
            "input_ids": ids,
            "attention_mask": (ids != tokenizer.pad_token_id).long(),
            "mm_token_type_ids": (ids == self.processor.image_token_id).long(),
            "pixel_values": torch.cat([each.features.flatten(0, 1) for each in drawn]).float(),
            "image_grid_thw": torch.tensor([each.grid for each in drawn for _ in each.pair]),
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
