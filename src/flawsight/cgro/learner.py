"""One step of CGRO: sample candidates, run them with a gradient, score them, update the policy.

The pass that makes the gradient also shows where the policy looked, so that the rewards are
known between its forward and its backward half, and nothing is replayed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from ..errors import ModelError, SettingsError
from ..io.images import read_image
from ..mllm.capture import chosen_layers
from ..mllm.cut_traces import cut_traces
from ..mllm.load import MLLM
from ..settings import Settings
from .encoded_images import EncodedImage, EncodedImages, collate
from .loss import candidate_losses, denominator, token_losses
from .policy import merged, reference_of, trainable_parameters
from .rewards import group_advantages
from .rollouts import Rollout, sample, uniforms
from .score_rollout import Consistency, Score, score_text, score_trace
from .served_policy import ServedPolicy
from .shard import gathered, shard, whole
from .shared_prompt import CandidateForward, Completions, run_candidates
from .train_settings import TrainSettings
from .training_data import LabelledImage
from .training_metrics import CandidateTable


@dataclass(frozen=True)
class ScoredRollout:
    """What stays the same of N candidates of at most L tokens while the weights move.

    Attributes:
        advantages: (N,).
        counted: (N,) bool, False for those that are left out of the loss.
        old_log_probs: (N, L) of the policy that sampled.
    """

    advantages: Tensor
    counted: Tensor
    old_log_probs: Tensor


class Learner:
    """The policy, its reference and its optimizer, in one process of a training.

    Args:
        mllm: from `make_trainable`.
        inspection: question, size of the images, length of a response, and how w_r is made.
        settings: of the training.
        accelerator: from `make_accelerator`.
        features: folder for vision features, where they are kept on disk.
        served: samples in the model's stead.

    Raises:
        SettingsError: if the images of a step cannot be shared out evenly, or `sharing` needs
            another attention.
    """

    def __init__(
        self,
        mllm: MLLM,
        inspection: Settings,
        settings: TrainSettings,
        accelerator: Accelerator,
        features: Path,
        served: ServedPolicy | None = None,
    ) -> None:
        self.mllm, self.inspection, self.settings = mllm, inspection, settings
        self.accelerator, self._served = accelerator, served
        self.images_per_process = settings.images_per_process(accelerator.num_processes)
        if settings.sharing == "packed" and mllm.attention != "sdpa":
            raise SettingsError(
                f"sharing packed needs a mask that {mllm.attention} cannot take: set attention to "
                "sdpa, or sharing to repeated."
            )
        self.consistency = Consistency(
            top_t=settings.top_t,
            quantile=settings.quantile,
            jaccard_of=settings.jaccard_of,
            delta_anomalous=settings.delta_anomalous,
            delta_normal=settings.delta_normal,
        )
        self._encoded = EncodedImages(mllm, inspection, settings.features, features)
        self._reference = reference_of(mllm.model) if settings.kl_weight else None
        watched = None
        if settings.reward == "cgro":
            watched = chosen_layers(mllm.model, inspection.layers)
        if settings.gradient_checkpointing:
            mllm.model.gradient_checkpointing_enable({"use_reentrant": False})
        if settings.shard and accelerator.num_processes > 1:
            shard(mllm.model, mllm.device, accelerator.num_processes)
        self.parameters = [parameter for _, parameter in trainable_parameters(mllm.model)]
        optimizer = torch.optim.AdamW(
            self.parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        forward = CandidateForward(
            mllm.model,
            settings.sharing,
            settings.temperature,
            mllm.attention,
            watched,
            settings.recompute_mlps and not settings.gradient_checkpointing,
        )
        if settings.shard:  # the layers themselves bring the processes' gradients together
            self.forward, self.optimizer = forward, accelerator.prepare(optimizer)
        else:
            self.forward, self.optimizer = accelerator.prepare(forward, optimizer)

    def rollouts(self, images: Sequence[LabelledImage], draws: Sequence[int]) -> list[Rollout]:
        """Sample this process' candidates.

        Args:
            images: of the step, as far as they are this process'.
            draws: which draw of the whole training each of them is.

        Returns:
            One roll-out a gradient pass.

        Raises:
            ImageError: if an image cannot be read any more.
            ModelError: if the model computes NaN.
        """
        settings = self.settings
        self.mllm.model.eval()  # under gradient checkpointing, training drops the cache
        with whole(self.mllm.model), self.accelerator.autocast():
            encoded = [self._encoded(image.path) for image in images]
            ids = self._sample(images, draws, encoded)
        rollouts = []
        pad = self.mllm.processor.tokenizer.pad_token_id
        for start in range(0, len(images), settings.images_per_forward):
            stop = start + settings.images_per_forward
            own = ids[start * settings.candidates : stop * settings.candidates]
            rollouts.append(
                Rollout(
                    images[start:stop],
                    collate(encoded[start:stop], self.mllm),
                    own,
                    Completions.of(own, pad, self.mllm.device),
                )
            )
        return rollouts

    def _sample(
        self, images: Sequence[LabelledImage], draws: Sequence[int], encoded: list[EncodedImage]
    ) -> list[list[int]]:
        settings = self.settings
        if self._served is not None:
            self._served.publish(self.mllm)
            inspection = replace(self.inspection, temperature=settings.temperature)
            photos = [read_image(image.path) for image in images]
            return self._served.sample(
                self.mllm, photos, draws, settings.candidates, inspection, settings.seed
            )
        ids: list[list[int]] = []
        with merged(self.mllm.model):
            for start in range(0, len(images), settings.images_per_rollout):
                part = slice(start, start + settings.images_per_rollout)
                numbers = uniforms(
                    settings.seed, draws[part], settings.candidates, self.inspection.max_new_tokens
                )
                prompts = collate(encoded[part], self.mllm)
                ids += sample(self.mllm, prompts, numbers, settings.temperature)
        return ids

    def update(self, rollouts: Sequence[Rollout], step: int) -> tuple[CandidateTable, float]:
        """Move the weights by the candidates of all processes, `iterations` times.

        Args:
            rollouts: this process', as many as every other's.
            step: counted from 0, of which the learning rate is.

        Returns:
            What the candidates of this process earned, and the norm of the last gradient.

        Raises:
            ModelError: if the loss or its gradient is not finite; the weights are then unchanged.
        """
        settings, accelerator = self.settings, self.accelerator
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate_at(step)
        tokens = torch.tensor(
            [sum(len(ids) for rollout in rollouts for ids in rollout.ids)], device=self.mllm.device
        )
        below = denominator(
            settings.normalization,
            settings.images_per_step * settings.candidates,
            int(accelerator.reduce(tokens, reduction="sum")),
            self.inspection.max_new_tokens,
        )
        # Gradients are averaged over processes, and the loss divided by the passes of a step.
        scale = accelerator.num_processes * accelerator.gradient_accumulation_steps / below
        table = CandidateTable()
        judged: list[ScoredRollout] = []
        norm = 0.0
        self.mllm.model.train()
        # Before the policy's passes, so that memory never holds what both need.
        references = [self._reference_log_probs(rollout) for rollout in rollouts]
        for iteration in range(settings.iterations):
            for index, rollout in enumerate(rollouts):
                with accelerator.accumulate(self.forward):
                    with accelerator.autocast():
                        log_probs, entropy, rows = self.forward(
                            rollout.prompts, rollout.completions
                        )
                    if iteration == 0:
                        judged.append(self._judge(rollout, log_probs, entropy, rows, table))
                    candidates = judged[index]
                    losses, kl = token_losses(
                        log_probs,
                        candidates.old_log_probs,
                        references[index],
                        candidates.advantages,
                        settings.epsilon,
                        settings.kl_weight,
                        settings.unbiased_kl,
                    )
                    mask = rollout.completions.mask
                    counted = mask & candidates.counted[:, None]
                    each = candidate_losses(losses, counted, settings.normalization)
                    if iteration == 0:
                        table.add_losses(each, candidate_losses(kl, mask, "grpo"))
                    accelerator.backward(each.sum() * scale)
                    if accelerator.sync_gradients:
                        norm = self._step()
        return table, norm

    def _step(self) -> float:
        """Shorten the gradient and move the weights, unless it is not a number."""
        norm = self.accelerator.clip_grad_norm_(self.parameters, self.settings.max_grad_norm)
        norm = 0.0 if norm is None else float(gathered(norm))
        if not torch.isfinite(torch.tensor(norm)):
            raise ModelError(
                "The loss or its gradient is NaN or infinite. The weights before this step are "
                "kept; lower learning_rate or max_grad_norm, or use --dtype float32."
            )
        self.optimizer.step()
        self.optimizer.zero_grad()
        return norm

    def _judge(
        self,
        rollout: Rollout,
        log_probs: Tensor,
        entropy: Tensor,
        rows: Tensor | None,
        table: CandidateTable,
    ) -> ScoredRollout:
        """Score a roll-out's candidates, and add them to the table."""
        settings = self.settings
        scores = self.scores(rollout, rows)
        rewards = torch.tensor([score.total for score in scores], device=self.mllm.device)
        groups = rewards.view(-1, settings.candidates)
        advantages = group_advantages(groups, settings.scale_advantages).flatten()
        uniform = (groups == groups[:, :1]).all(dim=1).repeat_interleave(settings.candidates)
        counted = ~uniform if settings.skip_uniform_groups else torch.ones_like(uniform)
        table.add(rollout.labels, scores, uniform, rollout.completions.mask, entropy)
        return ScoredRollout(advantages, counted, log_probs.detach())

    @torch.no_grad()
    def _reference_log_probs(self, rollout: Rollout) -> Tensor | None:
        """Return (N, L) log-probabilities of the model before training; None without a KL."""
        if self._reference is None:
            return None
        with self.accelerator.autocast(), self._reference() as model:
            return self._run(model, rollout, None)[0]

    def scores(self, rollout: Rollout, rows: Tensor | None) -> list[Score]:
        """Score a roll-out's candidates, by their words alone where there are no rows."""
        tokenizer = self.mllm.processor.tokenizer
        if rows is None:
            texts = tokenizer.batch_decode(
                rollout.ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
            return [score_text(t, y) for t, y in zip(texts, rollout.labels, strict=True)]
        group = len(rollout.ids) // len(rollout.images)
        traces = cut_traces(
            tokenizer,
            [grid for grid in rollout.prompts.grids for _ in range(group)],
            rollout.prompts.anomaly_tokens,
            rollout.ids,
            rows,
            rows.new_full(rows.shape[:2], torch.nan),  # a reward asks for no P(Yes)
        )
        return [
            score_trace(trace, label, self.inspection, self.consistency)
            for trace, label in zip(traces, rollout.labels, strict=True)
        ]

    @torch.no_grad()
    def try_out(self, rollout: Rollout) -> list[Score]:
        """Score a roll-out without any training."""
        model = self.accelerator.unwrap_model(self.forward)
        with self.accelerator.autocast():
            _, _, rows = self._run(self.mllm.model, rollout, model.layers)
        return self.scores(rollout, rows)

    def _run(
        self, model: Any, rollout: Rollout, watched: tuple[int, ...] | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        return run_candidates(
            model,
            rollout.prompts,
            rollout.completions,
            self.settings.sharing,
            self.settings.temperature,
            self.mllm.attention,
            watched,
        )
