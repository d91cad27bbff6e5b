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
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache

from ..mllm.adapter import core
from ..mllm.capture import AttentionCapture, capture_attention
from .embedded_prompt import Embedded, deepstack_inputs, embed_prompts
from .encoded_images import Prompts
from .log_probs import token_log_probs
from .policy import recomputed_mlps

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
        padded = pad_sequence([torch.tensor(tokens) for tokens in ids], True, pad)
        lengths = torch.tensor([len(tokens) for tokens in ids])
        mask = torch.arange(padded.shape[1]) < lengths[:, None]
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
        with recomputed_mlps(self.model) if self.recompute_mlps else nullcontext():
            prompt = embed_prompts(self.model, prompts)
            tokens = completions.ids[:, :-1]  # nothing follows the last one
            steps = torch.arange(tokens.shape[1], device=tokens.device)
            first = prompt.next_position.repeat_interleave(len(tokens) // len(prompt.embeds))
            candidates = Embedded(
                embeds=base.get_input_embeddings()(tokens),
                mask=completions.mask[:, :-1],
                positions=(first[:, None] + steps).expand(3, -1, -1),
            )
            run = self._cached if self.sharing == "cache" else self._packed
            hidden, *rows = run(prompts, prompt, candidates)
            head = base.get_output_embeddings()
            log_probs, entropy = token_log_probs(hidden, completions.ids, head, self.temperature)
        return log_probs, entropy, rows[0] if rows else None

    # Both ways take B prompts, as encoded and as embedded, and the B · G candidates without their
    # last tokens. They return [(B · G, L, width) hidden states], and with `layers` also
    # (B · G, L, C) attention rows, of the position before each token: the prompt's last, then all
    # of the completion's but its last.

    def _cached(self, prompts: Prompts, prompt: Embedded, candidates: Embedded) -> list[Tensor]:
        """Run the prompts, then the candidates on their repeated keys and values."""
        cache = DynamicCache(config=core(self.model).config.get_text_config())
        group, length = len(candidates.embeds) // len(prompt.embeds), candidates.embeds.shape[1]
        first = self._language(
            prompts.columns,
            1,
            inputs_embeds=prompt.embeds,
            attention_mask=prompt.mask,
            position_ids=prompt.positions,
            past_key_values=cache,
            use_cache=True,
            **deepstack_inputs(self.model, prompts, 0),
        )
        assert cache.get_seq_length() == prompt.mask.shape[1], "the cache was dropped"
        first = [found.repeat_interleave(group, dim=0) for found in first]
        if not length:
            return first
        cache.batch_repeat_interleave(group)
        more = self._language(
            prompts.columns.repeat_interleave(group, dim=0),
            length,
            inputs_embeds=candidates.embeds,
            attention_mask=self._continuation_mask(prompt.mask, candidates.mask),
            position_ids=candidates.positions,
            past_key_values=cache,
            use_cache=True,
        )
        return [torch.cat(pair, dim=1) for pair in zip(first, more, strict=True)]

    def _continuation_mask(self, prompt: Tensor, candidates: Tensor) -> Tensor:
        """Return which positions of the prompt and of themselves the candidates attend to."""
        group, length = len(candidates) // len(prompt), candidates.shape[1]
        if self.attention != "sdpa":  # flash attention takes (B · G, P + L − 1)
            return torch.cat([prompt.repeat_interleave(group, dim=0), candidates], dim=1)
        # Each layer keeps its mask for the backward pass, so one serves all if no prompt is padded.
        # The candidates are padded on the right, behind every token that counts.
        prompt = prompt[:1] if prompt.all() else prompt.repeat_interleave(group, dim=0)
        own = torch.ones(length, length, dtype=torch.bool, device=prompt.device).tril()
        seen = [prompt[:, None].expand(-1, length, -1), own.expand(len(prompt), -1, -1)]
        return torch.cat(seen, dim=2)[:, None]

    def _packed(self, prompts: Prompts, prompt: Embedded, candidates: Embedded) -> list[Tensor]:
        """Run one row per image: the prompt and then its candidates."""
        batch, (count, length) = len(prompt.embeds), candidates.mask.shape
        group, in_row = count // batch, count // batch * length
        positions = candidates.positions.reshape(3, batch, in_row)
        found = self._language(
            prompts.columns,
            in_row + 1,
            inputs_embeds=torch.cat(
                [prompt.embeds, candidates.embeds.reshape(batch, in_row, -1)], dim=1
            ),
            attention_mask=packed_mask(prompt.mask, candidates.mask.view(batch, group, length)),
            position_ids=torch.cat([prompt.positions, positions], dim=2),
            use_cache=False,
            **deepstack_inputs(self.model, prompts, in_row),
        )
        # (B, 1 + G · (L − 1), X) → (B · G, L, X)
        return [
            torch.cat(
                [
                    row[:, :1].repeat_interleave(group, dim=0),
                    row[:, 1:].reshape(count, length, row.shape[-1]),
                ],
                dim=1,
            )
            for row in found
        ]

    def _language(self, columns: Tensor, rows: int, **inputs: Any) -> list[Tensor]:
        """Run the language model; return its last hidden states and, with `layers`, attention."""
        base: Any = core(self.model)
        language = base.model.language_model
        if self.layers is None:
            return [language(**inputs).last_hidden_state[:, -rows:]]
        capture = AttentionCapture(columns, self.layers, rows)
        # Closed before the backward pass, which under gradient checkpointing runs the model again.
        with capture_attention(base, capture, self.attention):
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
