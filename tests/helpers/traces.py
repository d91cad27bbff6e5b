"""Traces with random attention."""

import itertools

import torch

from flawsight.inspection import Trace

RESPONSE = ["<think>", "A", " deep", " dent", ".", "</think>", "<answer>", "Yes", "</answer>", ""]


def make_trace(pieces: list[str], grid: tuple[int, int] = (3, 4), seed: int = 0) -> Trace:
    """A response of these tokens, each with random attention."""
    ends = list(itertools.accumulate(map(len, pieces), initial=0))
    random = torch.Generator().manual_seed(seed)
    return Trace(
        text="".join(pieces),
        token_spans=tuple(itertools.pairwise(ends)),
        image_attention=torch.rand(len(pieces), *grid, generator=random),
        question_attention=torch.rand(len(pieces), 5, generator=random),
        anomaly_tokens=torch.tensor([False, True, False, True, False]),
        answer_margin=2.0,
    )
