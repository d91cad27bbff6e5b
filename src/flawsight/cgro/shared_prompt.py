"""One pass over all candidates of some images: log-probabilities, entropies and attention rows.

The G candidates of an image share its prompt, which is most of each sequence. There are two ways to
run it once, and both compute the same:

"cache"   runs the prompt, and then the candidates on its repeated keys and values.
"packed"  runs one row per image, the prompt and then all candidates, under a mask that hides the
          candidates from each other. It is the one for gradient checkpointing, under which
          transformers drops every cache.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from ..mllm.capture import AttentionCapture, capture_attention
from .embedded_prompt import Prefix, embed_prompts
from .encoded_images import Prompts
from .log_probs import token_log_probs
from .policy import core, recomputed_mlps

Sharing = Literal["cache", "packed"]


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


class CandidateForward(nn.Module):
    """The policy's pass as a module of its own: DDP pairs one forward with one backward.

    Args:
        model: the transformers or PEFT model.
        sharing: see above.
        temperature: of the sampling; log-probabilities are those of this distribution.
        attention: implementation the model was loaded with.
        layers: see `AttentionCapture`; None captures nothing.
        recompute_mlps: keep less for the backward pass, see `recomputed_mlps`.
    """

    def __init__(
        self,
        model: nn.Module,
        sharing: Sharing,
        temperature: float,
        attention: str,
        layers: tuple[int, ...] | None,
        recompute_mlps: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self.sharing, self.temperature = sharing, temperature
        self.attention, self.layers = attention, layers
        self.recompute_mlps = recompute_mlps

    def forward(
        self, prompts: Prompts, completions: Completions
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Run B prompts with their B · G completions of L tokens.

        Returns:
            (B · G, L) log-probability of each token of the completions, with its gradient;
            undefined at padding.
            (B · G, L) entropy of the distribution it was drawn from, without a gradient.
            (B · G, L, C) float32 attention of the position *before* each token to the prompt's
            columns, without a gradient; None if nothing is captured.
        """
        base: Any = core(self.model)
        group = len(completions.ids) // prompts.batch_size
        with recomputed_mlps(self.model) if self.recompute_mlps else nullcontext():
            prefix = embed_prompts(self.model, prompts)
            tokens = completions.ids[:, :-1]  # nothing follows the last one
            steps = torch.arange(tokens.shape[1], device=tokens.device)
            run = _Run(
                base=base,
                prefix=prefix,
                columns=prompts.columns,
                group=group,
                embeds=base.get_input_embeddings()(tokens),
                mask=completions.mask[:, :-1],
                positions=prefix.next_position.repeat_interleave(group)[:, None] + steps,
                attention=self.attention,
                layers=self.layers,
            )
            hidden, *rows = run.cached() if self.sharing == "cache" else run.packed()
            head = base.get_output_embeddings()
            log_probs, entropy = token_log_probs(hidden, completions.ids, head, self.temperature)
        return log_probs, entropy, rows[0] if rows else None


@dataclass(frozen=True)
class _Run:
    """The language model's part of the pass.

    Both ways return [(B · G, L, width) hidden states], and with `layers` also (B · G, L, C)
    attention rows, of the position before each token: the prompt's last, then all of the
    completion's but its last.

    Attributes:
        base: the transformers model.
        prefix: of the B prompts.
        columns: (B, C) positions in the prompt.
        group: G.
        embeds: (B · G, L − 1, width) of the completions.
        mask: (B · G, L − 1) bool.
        positions: (B · G, L − 1) rotary positions; the three of a text token are equal.
        attention, layers: see `CandidateForward`.
    """

    base: Any
    prefix: Prefix
    columns: Tensor
    group: int
    embeds: Tensor
    mask: Tensor
    positions: Tensor
    attention: str
    layers: tuple[int, ...] | None

    def cached(self) -> list[Tensor]:
        """Run the prompts, then the completions on their repeated keys and values."""
        prefix, group = self.prefix, self.group
        cache = DynamicCache(config=self.base.config.get_text_config())
        first = self._language(
            self.columns,
            1,
            inputs_embeds=prefix.embeds,
            attention_mask=prefix.mask,
            position_ids=prefix.positions,
            past_key_values=cache,
            use_cache=True,
        )
        assert cache.get_seq_length() == prefix.mask.shape[1], "the cache was dropped"
        first = [found.repeat_interleave(group, dim=0) for found in first]
        if not self.embeds.shape[1]:
            return first
        cache.batch_repeat_interleave(group)
        more = self._language(
            self.columns.repeat_interleave(group, dim=0),
            self.embeds.shape[1],
            inputs_embeds=self.embeds,
            attention_mask=self._continuation_mask(),
            position_ids=self.positions.expand(3, -1, -1),
            past_key_values=cache,
            use_cache=True,
        )
        return [torch.cat(pair, dim=1) for pair in zip(first, more, strict=True)]

    def _continuation_mask(self) -> Tensor:
        """Return which positions of the prompt and of themselves the completions attend to."""
        prompt, length = self.prefix.mask, self.embeds.shape[1]
        if self.attention != "sdpa":  # flash attention takes (B · G, P + L − 1)
            return torch.cat([prompt.repeat_interleave(self.group, dim=0), self.mask], dim=1)
        # Each layer keeps its mask for the backward pass, so one serves all if no prompt is padded.
        # The completions are padded on the right, behind every token that counts.
        prompt = prompt[:1] if prompt.all() else prompt.repeat_interleave(self.group, dim=0)
        own = torch.ones(length, length, dtype=torch.bool, device=prompt.device).tril()
        seen = [prompt[:, None].expand(-1, length, -1), own.expand(len(prompt), -1, -1)]
        return torch.cat(seen, dim=2)[:, None]

    def packed(self) -> list[Tensor]:
        """Run one row per image: the prompt and then its completions."""
        batch, length = len(self.prefix.mask), self.embeds.shape[1]
        in_row = self.group * length
        found = self._language(
            self.columns,
            in_row + 1,
            inputs_embeds=torch.cat(
                [self.prefix.embeds, self.embeds.reshape(batch, in_row, -1)], dim=1
            ),
            attention_mask=packed_mask(self.prefix.mask, self.mask.view(batch, self.group, length)),
            position_ids=torch.cat(
                [self.prefix.positions, self.positions.view(batch, in_row).expand(3, -1, -1)],
                dim=2,
            ),
            use_cache=False,
        )
        return [self._unpacked(row) for row in found]

    def _unpacked(self, row: Tensor) -> Tensor:
        """(B, 1 + G · (L − 1), X) → (B · G, L, X)."""
        first = row[:, :1].repeat_interleave(self.group, dim=0)
        own = row[:, 1:].reshape(len(first), self.embeds.shape[1], row.shape[-1])
        return torch.cat([first, own], dim=1)

    def _language(self, columns: Tensor, rows: int, **inputs: Any) -> list[Tensor]:
        """Run the language model; return its last hidden states and, with `layers`, attention."""
        language = self.base.model.language_model
        if self.layers is None:
            return [language(**inputs).last_hidden_state[:, -rows:]]
        capture = AttentionCapture(columns, self.layers, rows)
        # Closed before the backward pass, which under gradient checkpointing runs the model again.
        with capture_attention(self.base, capture, self.attention):
            hidden = language(**inputs).last_hidden_state[:, -rows:]
        return [hidden, capture.rows]


def packed_mask(prompt: Tensor, candidates: Tensor) -> Tensor:
    """Return what each position of a packed row attends to: the prompt and its own candidate.

    Args:
        prompt: (B, P) bool, True for tokens.
        candidates: (B, G, L) bool.

    Returns:
        (B, 1, T, T) bool with T = P + G · L, causal. Padding attends to itself alone, since a
        softmax over nothing is NaN.
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
