"""Sampling of candidates: the prompt is run once per image, then its G candidates continue it.

Each image has its own random numbers, drawn on the CPU. The candidates therefore depend neither on
the batches nor on the number of processes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ModelError
from ..mllm.adapter import core
from ..mllm.generate import until_end
from ..mllm.load import MLLM
from .embedded_prompt import embed_prompts
from .encoded_images import Prompts
from .growable_cache import growable_cache
from .shared_prompt import Completions
from .training_data import LabelledImage, seed_of

# Copying the cache of unfinished candidates pays once a quarter of the rows have ended.
_WORTH_DROPPING = 0.75


@dataclass(frozen=True)
class Rollout:
    """The candidates of B images, for one gradient pass.

    Attributes:
        images: B.
        prompts: of the B images.
        ids: B · G responses as token ids.
        completions: the same, padded.
    """

    images: Sequence[LabelledImage]
    prompts: Prompts
    ids: list[list[int]]
    completions: Completions

    @property
    def labels(self) -> list[bool]:
        """y of each of the B · G candidates."""
        group = len(self.ids) // len(self.images)
        return [image.label for image in self.images for _ in range(group)]


def uniforms(seed: int, draws: Sequence[int], candidates: int, length: int) -> Tensor:
    """Return the random numbers of some images' candidates.

    Args:
        seed: of the training.
        draws: for each of B images, which draw of the whole training it is.
        candidates: G.
        length: R, the maximum number of tokens.

    Returns:
        (B · G, R) in [0, 1).
    """
    numbers = []
    for draw in draws:
        generator = torch.Generator().manual_seed(seed_of(seed, "sample", draw))
        numbers.append(torch.rand(candidates, length, generator=generator, dtype=torch.float64))
    return torch.cat(numbers)


@torch.no_grad()
def sample(mllm: MLLM, prompts: Prompts, numbers: Tensor, temperature: float) -> list[list[int]]:
    """Sample G candidates of each of B images from softmax(logits / temperature).

    Args:
        mllm: the policy, in evaluation mode: gradient checkpointing would drop the cache.
        prompts: of B images.
        numbers: (B · G, R) from `uniforms`; R is the length at which a response is cut off.
        temperature: above 0.

    Returns:
        B · G lists of token ids, each up to and including its end token.

    Raises:
        ModelError: if the model computes NaN.
    """
    base = core(mllm.model)
    language, head = base.model.language_model, base.get_output_embeddings()
    count, longest = numbers.shape
    group = count // len(prompts.grids)
    if mllm.device.type == "mps":
        numbers = numbers.float()  # MPS has no float64
    numbers = numbers.to(mllm.device)
    ends = torch.tensor(sorted(mllm.end_tokens), device=mllm.device)
    prefix = embed_prompts(mllm.model, prompts)
    cache = growable_cache(base.config.get_text_config())
    hidden = language(
        inputs_embeds=prefix.embeds,
        attention_mask=prefix.mask,
        position_ids=prefix.positions,
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state[:, -1:]
    hidden = hidden.repeat_interleave(group, dim=0)
    cache.batch_repeat_interleave(group)
    mask = prefix.mask.repeat_interleave(group, dim=0)
    position = prefix.next_position.repeat_interleave(group)[:, None]
    written = torch.full((count, longest), int(ends[0]), device=mllm.device)
    rows = torch.arange(count, device=mllm.device)  # the candidates that have not ended
    unfinished = torch.ones_like(rows, dtype=torch.bool)
    for step in range(longest):
        token = draw(head(hidden)[:, 0].float() / temperature, numbers[rows, step])
        written[rows, step] = token
        unfinished &= ~torch.isin(token, ends)
        left = int(unfinished.sum())
        if not left or step + 1 == longest:
            break
        if left <= _WORTH_DROPPING * len(rows):
            kept = unfinished.nonzero()[:, 0]
            cache.batch_select_indices(kept)
            rows, token, mask, position = rows[kept], token[kept], mask[kept], position[kept]
            unfinished = unfinished[kept]
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
        hidden = language(
            inputs_embeds=base.get_input_embeddings()(token[:, None]),
            attention_mask=mask,
            position_ids=(position + step).expand(3, -1, -1),
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
    ended = set(ends.tolist())
    return [until_end(row, ended) for row in written.tolist()]


def draw(logits: Tensor, numbers: Tensor) -> Tensor:
    """Invert the cumulative distribution: the first token whose sum of p exceeds the number.

    Args:
        logits: (N, vocabulary) float32.
        numbers: (N,) in [0, 1); their dtype is that of the sums.

    Returns:
        (N,) token ids, each of a probability above 0.

    Raises:
        ModelError: if a logit is NaN or infinite.
    """
    if not torch.isfinite(logits).all():
        raise ModelError("The model computes NaN or infinity while it samples candidates.")
    # In float32 the error of a sum over 150,000 tokens exceeds the probability of many of them.
    cumulative = logits.softmax(dim=-1).to(numbers.dtype).cumsum(dim=-1)
    wanted = numbers[:, None] * cumulative[:, -1:]
    tokens = torch.searchsorted(cumulative, wanted, right=True)[:, 0]
    return tokens.clamp(max=logits.shape[1] - 1)  # if rounding makes a number 1
