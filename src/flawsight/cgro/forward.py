"""One pass over all candidates of some images: log-probabilities, entropies and attention rows.

The G candidates of an image share its prompt, which is most of each sequence. "cache" runs the
prompt once and gives its keys and values to the candidates; "packed" lays the prompt and its
candidates into one row, under a mask that hides the candidates from each other, and so also works
with gradient checkpointing, under which transformers drops every cache; "repeated" shares nothing.
All three compute the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import DynamicCache

from ..mllm.capture import AttentionCapture, capture_attention
from .images import Prompts
from .policy import core

Sharing = Literal["cache", "packed", "repeated"]
# Of logits computed at once: 256 MiB in float32.
_MAX_LOGITS = 2**26


@dataclass(frozen=True)
class Completions:
    """The sampled tokens of B · G candidates, right-padded to L; those of one image are adjacent.

    Attributes:
        ids: (B · G, L).
        mask: (B · G, L) bool, True for tokens of the completion, its end token included.
    """

    ids: Tensor
    mask: Tensor

    @classmethod
    def of(cls, ids: Sequence[Sequence[int]], pad: int, device: torch.device) -> "Completions":
        """Pad token lists."""
        longest = max(map(len, ids))
        padded = torch.full((len(ids), longest), pad)
        mask = torch.zeros(len(ids), longest, dtype=torch.bool)
        for row, tokens in enumerate(ids):
            padded[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = True
        return cls(padded.to(device), mask.to(device))


@dataclass(frozen=True)
class Prefix:
    """Prompts brought to the language model's door.

    Attributes:
        embeds: (B, P, width), image features merged and in place.
        mask: (B, P) bool.
        positions: (3, B, P) rotary positions: time, height, width.
        next_position: (B,) of the first token after the prompt.
    """

    embeds: Tensor
    mask: Tensor
    positions: Tensor
    next_position: Tensor


def embed_prompts(model: Any, prompts: Prompts) -> Prefix:
    """Merge the features (the merger may train), and put them where the image tokens stand."""
    base = core(model)
    visual = base.model.visual
    patches = prompts.features.view(-1, visual.config.hidden_size)
    image = visual.merger(patches)
    embeds = base.get_input_embeddings()(prompts.input_ids)
    is_image = (prompts.input_ids == base.config.image_token_id)[..., None]
    embeds = embeds.masked_scatter(is_image, image.to(embeds.dtype))
    positions, _ = base.model.get_rope_index(
        prompts.input_ids,
        mm_token_type_ids=prompts.mm_token_type_ids,
        image_grid_thw=prompts.image_grid_thw,
        attention_mask=prompts.attention_mask,
    )
    # The prompt ends in text, whose three positions are one.
    return Prefix(embeds, prompts.attention_mask.bool(), positions, positions[0, :, -1] + 1)


class CandidateForward(nn.Module):
    """The policy's pass as a module of its own, so that one forward belongs to one backward.

    Args:
        model: the transformers or PEFT model.
        sharing: see above.
        temperature: of the sampling, whose distribution the log-probabilities are of.
        attention: implementation the model was loaded with.
        head_weights: see `AttentionCapture`; None captures nothing and costs nothing.
    """

    def __init__(
        self,
        model: nn.Module,
        sharing: Sharing,
        temperature: float,
        attention: str,
        head_weights: dict[int, Tensor] | None,
    ) -> None:
        super().__init__()
        self.model = model
        self.sharing, self.temperature = sharing, temperature
        self.attention, self.head_weights = attention, head_weights

    def forward(
        self, prompts: Prompts, completions: Completions
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Run B prompts with their B · G completions of L tokens.

        Returns:
            (B · G, L) log-probability of each token of the completions, with its gradient; what
            stands at padding means nothing.
            (B · G, L) entropy of the distribution it was drawn from, without a gradient.
            (B · G, L, C) float32 attention of the position *before* each token to the prompt's
            columns, without a gradient; None if nothing is captured.
        """
        return run_candidates(
            self.model,
            prompts,
            completions,
            self.sharing,
            self.temperature,
            self.attention,
            self.head_weights,
        )


def run_candidates(
    model: Any,
    prompts: Prompts,
    completions: Completions,
    sharing: Sharing,
    temperature: float,
    attention: str,
    head_weights: dict[int, Tensor] | None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Do what `CandidateForward` says, with any model, like the KL reference."""
    base = core(model)
    group = len(completions.ids) // prompts.batch_size
    prefix = embed_prompts(model, prompts)
    # The last token predicts nothing that counts.
    tokens, mask = completions.ids[:, :-1], completions.mask[:, :-1]
    embeds = base.get_input_embeddings()(tokens)
    steps = torch.arange(tokens.shape[1], device=tokens.device)
    positions = prefix.next_position.repeat_interleave(group)[:, None] + steps
    run = {"cache": _cached, "packed": _packed, "repeated": _repeated}[sharing]
    columns = prompts.columns

    def captured(columns: Tensor, rows: int, **inputs: Any) -> tuple[Tensor, Tensor | None]:
        language = partial(base.model.language_model, **inputs)
        if head_weights is None:
            return language().last_hidden_state, None
        capture = AttentionCapture(columns, head_weights, rows)
        # Closed before the backward pass, which under gradient checkpointing runs it all again.
        with capture_attention(base, capture, attention):
            return language().last_hidden_state, capture.rows

    hidden, rows = run(captured, base, prefix, columns, embeds, mask, positions, group)
    log_probs, entropy = token_log_probs(
        hidden, completions.ids, base.get_output_embeddings(), temperature
    )
    return log_probs, entropy, rows


def _cached(
    captured: Any,
    base: Any,
    prefix: Prefix,
    columns: Tensor,
    embeds: Tensor,
    mask: Tensor,
    positions: Tensor,
    group: int,
) -> tuple[Tensor, Tensor | None]:
    cache = DynamicCache(config=base.config.get_text_config())
    hidden, rows = captured(
        columns,
        1,
        inputs_embeds=prefix.embeds,
        attention_mask=prefix.mask,
        position_ids=prefix.positions,
        past_key_values=cache,
        use_cache=True,
    )
    assert cache.get_seq_length() == prefix.mask.shape[1], "the cache was dropped"
    hidden = hidden[:, -1:].repeat_interleave(group, dim=0)
    rows = None if rows is None else rows.repeat_interleave(group, dim=0)
    if embeds.shape[1]:
        cache.batch_repeat_interleave(group)
        more, more_rows = captured(
            columns.repeat_interleave(group, dim=0),
            embeds.shape[1],
            inputs_embeds=embeds,
            attention_mask=torch.cat([prefix.mask.repeat_interleave(group, dim=0), mask], dim=1),
            position_ids=positions.expand(3, -1, -1),
            past_key_values=cache,
            use_cache=True,
        )
        hidden = torch.cat([hidden, more], dim=1)
        rows = None if rows is None else torch.cat([rows, more_rows], dim=1)
    return hidden, rows


def _packed(
    captured: Any,
    base: Any,
    prefix: Prefix,
    columns: Tensor,
    embeds: Tensor,
    mask: Tensor,
    positions: Tensor,
    group: int,
) -> tuple[Tensor, Tensor | None]:
    batch, prompt_length = prefix.mask.shape
    length = embeds.shape[1]
    packed_positions = positions.reshape(batch, -1).expand(3, -1, -1)
    hidden, rows = captured(
        columns,
        group * length + 1,
        inputs_embeds=torch.cat(
            [prefix.embeds, embeds.reshape(batch, group * length, embeds.shape[-1])], dim=1
        ),
        attention_mask=packed_mask(prefix.mask, mask.view(batch, group, length)),
        position_ids=torch.cat([prefix.positions, packed_positions], dim=2),
        use_cache=False,
    )
    parts = [hidden[:, prompt_length - 1 :]] + ([] if rows is None else [rows])
    spread = []
    for part in parts:
        first = part[:, :1].repeat_interleave(group, dim=0)
        own = part[:, 1:].reshape(batch * group, length, part.shape[-1])
        spread.append(torch.cat([first, own], dim=1))
    return spread[0], spread[1] if rows is not None else None


def packed_mask(prompt: Tensor, candidates: Tensor) -> Tensor:
    """Say what each position of a packed row sees: the prompt and its own candidate, backwards.

    Args:
        prompt: (B, P) bool, True for tokens.
        candidates: (B, G, L) bool.

    Returns:
        (B, 1, T, T) bool with T = P + G · L. Padding sees itself alone, for a softmax over
        nothing is NaN.
    """
    batch, group, length = candidates.shape
    owner = torch.arange(group, device=prompt.device).repeat_interleave(length) + 1
    owner = torch.cat([owner.new_zeros(prompt.shape[1]), owner])
    real = torch.cat([prompt, candidates.reshape(batch, -1)], dim=1)
    related = (owner[None, :] == owner[:, None]) | (owner[None, :] == 0)
    backwards = torch.ones_like(related).tril()
    seen = (related & backwards) & real[:, None, :]
    seen = seen | torch.eye(len(owner), dtype=torch.bool, device=prompt.device)
    return seen[:, None]


def _repeated(
    captured: Any,
    base: Any,
    prefix: Prefix,
    columns: Tensor,
    embeds: Tensor,
    mask: Tensor,
    positions: Tensor,
    group: int,
) -> tuple[Tensor, Tensor | None]:
    prompt = prefix.embeds.repeat_interleave(group, dim=0)
    own = positions.expand(3, -1, -1)
    hidden, rows = captured(
        columns.repeat_interleave(group, dim=0),
        embeds.shape[1] + 1,
        inputs_embeds=torch.cat([prompt, embeds], dim=1),
        attention_mask=torch.cat([prefix.mask.repeat_interleave(group, dim=0), mask], dim=1),
        position_ids=torch.cat([prefix.positions.repeat_interleave(group, dim=1), own], dim=2),
        use_cache=False,
    )
    return hidden[:, prefix.mask.shape[1] - 1 :], rows


def token_log_probs(
    hidden: Tensor, ids: Tensor, head: Any, temperature: float
) -> tuple[Tensor, Tensor]:
    """Return log p(id) and the entropy of p = softmax(head(hidden) / temperature), in float32.

    Where the vocabulary is large, the logits are computed in parts and again in the backward
    pass, never all of them at once.

    Args:
        hidden: (N, L, width).
        ids: (N, L).
        head: width → vocabulary.
        temperature: above 0.

    Returns:
        (N, L) with its gradient, and (N, L) without one.
    """

    def part(hidden: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        log_p = (head(hidden).float() / temperature).log_softmax(dim=-1)
        with torch.no_grad():
            entropy = -(log_p.exp() * log_p).sum(dim=-1)
        return log_p.gather(-1, ids[:, None])[:, 0], entropy

    flat, flat_ids = hidden.flatten(0, 1), ids.flatten()
    vocabulary = head.weight.shape[0]
    size = max(1, _MAX_LOGITS // vocabulary)
    if len(flat) <= size:
        log_probs, entropy = part(flat, flat_ids)
    else:
        parts = [
            checkpoint(part, some, those, use_reentrant=False)
            for some, those in zip(
                torch.split(flat, size), torch.split(flat_ids, size), strict=True
            )
        ]
        log_probs, entropy = (torch.cat(values) for values in zip(*parts, strict=True))
    return log_probs.view(ids.shape), entropy.view(ids.shape)
