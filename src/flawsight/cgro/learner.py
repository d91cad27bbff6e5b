"""One step of CGRO: sample candidates, run them with a gradient, score them, update the policy.

The forward pass that the gradient comes from also captures the policy's attention. Rewards are
computed between the forward and the backward pass, and nothing is replayed.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import Accelerator
from PIL.Image import Image
from torch import Tensor

from ..errors import ModelError, SettingsError
from ..io.images import read_image
from ..mllm.adapter import core
from ..mllm.capture import chosen_layers
from ..mllm.cut_traces import cut_traces
from ..mllm.load import MLLM
from ..settings import Settings
from .encoded_images import EncodedImage, EncodedImages, collate
from .loss import candidate_means, token_losses
from .policy import merged, trainable_parameters
from .rewards import group_advantages
from .rollouts import Rollout, sample, uniforms
from .score_rollout import Score, in_agreement, score_text, score_trace
from .served_policy import ServedPolicy
from .shard import gathered, shard, whole
from .shared_prompt import CandidateForward, Completions, Sharing
from .train_settings import TrainSettings
from .training_data import LabelledImage
from .training_metrics import CandidateTable

# Longer gradients are scaled down to this norm.
MAX_GRAD_NORM = 1.0


class Learner:
    """The policy, its reference and its optimizer, in one process of a training.

    Args:
        mllm: from `make_trainable`.
        inspection, settings, accelerator: see `train`.
        features: folder for vision features, if they are kept on disk.
        served: samples instead of the model.
        continued: whether the adapter is trained already. The reference is then the model with it,
            as in TRL, else the base model.
        photos: of good parts, in the prompt before each image.

    Raises:
        SettingsError: if the images of a step do not divide evenly, or the model's attention does
            not support gradient checkpointing.
    """

    def __init__(
        self,
        mllm: MLLM,
        inspection: Settings,
        settings: TrainSettings,
        accelerator: Accelerator,
        features: Path,
        served: ServedPolicy | None = None,
        continued: bool = False,
        photos: Sequence[Image] = (),
    ) -> None:
        self.mllm, self.inspection, self.settings = mllm, inspection, settings
        self.accelerator, self._served = accelerator, served
        self.images_per_process = settings.images_per_process(accelerator.num_processes)
        if settings.gradient_checkpointing and mllm.attention != "sdpa":
            raise SettingsError(
                f"gradient_checkpointing needs a mask that {mllm.attention} does not take: set "
                "attention to sdpa."
            )
        self._encoded = EncodedImages(mllm, inspection, settings.features, features, photos)
        captures = settings.reward == "cgro"
        layers = chosen_layers(mllm.model, inspection.layers) if captures else None
        if settings.gradient_checkpointing:
            # The name before transformers 5.23 warns since.
            base = core(mllm.model)
            new_name = getattr(base, "activation_checkpointing_enable", None)
            (new_name or base.gradient_checkpointing_enable)({"use_reentrant": False})
        if settings.shard and accelerator.num_processes > 1:
            shard(mllm.model, mllm.device, accelerator.num_processes)
        self.parameters = [parameter for _, parameter in trainable_parameters(mllm.model)]
        continued = continued and settings.kl_weight > 0
        self._start = [p.detach().clone() for p in self.parameters] if continued else None
        optimizer = torch.optim.AdamW(self.parameters, lr=settings.learning_rate, weight_decay=0.0)
        sharing: Sharing = "packed" if settings.gradient_checkpointing else "cache"
        recompute_mlps = settings.recompute_mlps and not settings.gradient_checkpointing
        how = (mllm.model, sharing, settings.temperature, mllm.attention)
        self._reference = CandidateForward(*how, layers=None)
        forward = CandidateForward(*how, layers, recompute_mlps)
        if settings.shard:  # the layers themselves reduce the gradients over the processes
            self.forward, self.optimizer = forward, accelerator.prepare(optimizer)
        else:
            self.forward, self.optimizer = accelerator.prepare(forward, optimizer)

    def rollouts(self, images: Sequence[LabelledImage], draws: Sequence[int]) -> list[Rollout]:
        """Sample this process's candidates.

        Args:
            images: this process's images of the step.
            draws: the number of each image's draw, counted over the whole training.

        Returns:
            One roll-out per gradient pass.

        Raises:
            ImageError: if an image can no longer be read.
            ModelError: if the model computes NaN.
        """
        settings = self.settings
        self.mllm.model.eval()  # in training mode, gradient checkpointing drops the cache
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
            opened = [read_image(image.path, self.inspection.bit_depth) for image in images]
            return self._served.sample(self.mllm, opened, draws)
        ids: list[list[int]] = []
        with merged(self.mllm.model):
            for start in range(0, len(images), settings.images_per_rollout):
                batch = slice(start, start + settings.images_per_rollout)
                numbers = uniforms(
                    settings.seed, draws[batch], settings.candidates, self.inspection.max_new_tokens
                )
                prompts = collate(encoded[batch], self.mllm)
                ids += sample(self.mllm, prompts, numbers, settings.temperature)
        return ids

    def update(self, rollouts: Sequence[Rollout]) -> tuple[CandidateTable, float]:
        """Update the weights once, with the candidates of all processes.

        Args:
            rollouts: this process's, as many as every other process has.

        Returns:
            The rewards of this process's candidates, and the norm of the gradient.

        Raises:
            ModelError: if the loss or its gradient is not finite; the weights are then unchanged.
        """
        settings, accelerator = self.settings, self.accelerator
        # Accelerate averages gradients over processes and divides the loss by the passes of a step.
        scale = accelerator.num_processes * accelerator.gradient_accumulation_steps
        scale /= settings.images_per_step * settings.candidates
        table = CandidateTable()
        norm = 0.0
        self.mllm.model.train()
        # Before the policy's passes, which then have the memory to themselves.
        references = [self._reference_log_probs(rollout) for rollout in rollouts]
        for rollout, reference in zip(rollouts, references, strict=True):
            with accelerator.accumulate(self.forward):
                with accelerator.autocast():
                    log_probs, entropy, rows = self.forward(rollout.prompts, rollout.completions)
                scores = self.scores(rollout, rows)
                rewards = torch.tensor([score.total for score in scores], device=log_probs.device)
                groups = rewards.view(-1, settings.candidates)
                mask = rollout.completions.mask
                losses, kl = token_losses(
                    log_probs,
                    log_probs.detach(),
                    reference,
                    group_advantages(groups).flatten(),
                    settings.kl_weight,
                )
                each = candidate_means(losses, mask)
                kl = candidate_means(kl, mask)
                table.add(rollout.labels, scores, groups, mask, entropy, each, kl)
                accelerator.backward(each.sum() * scale)
                if accelerator.sync_gradients:
                    norm = self._step()
        return table, norm

    def _step(self) -> float:
        """Clip the gradient and update the weights, unless the norm is not finite."""
        norm = float(gathered(self.accelerator.clip_grad_norm_(self.parameters, MAX_GRAD_NORM)))
        if not math.isfinite(norm):
            raise ModelError(
                "The loss or its gradient is NaN or infinite. The weights before this step are "
                "kept. Lower learning_rate, or use --dtype float32."
            )
        self.optimizer.step()
        self.optimizer.zero_grad()
        return norm

    @torch.no_grad()
    def _reference_log_probs(self, rollout: Rollout) -> Tensor | None:
        """Return (N, L) log-probabilities of the model before training; None without a KL."""
        if not self.settings.kl_weight:
            return None
        with self._before_training(), self.accelerator.autocast():
            log_probs: Tensor = self._reference(rollout.prompts, rollout.completions)[0]
        return log_probs

    @contextmanager
    def _before_training(self) -> Iterator[None]:
        if self._start is None:
            with self.mllm.model.disable_adapter():
                yield
            return
        now = [parameter.detach().clone() for parameter in self.parameters]
        _set(self.parameters, self._start)
        try:
            yield
        finally:
            _set(self.parameters, now)

    def scores(self, rollout: Rollout, rows: Tensor | None) -> list[Score]:
        """Score a roll-out's candidates; without attention rows, by their text alone."""
        tokenizer = self.mllm.processor.tokenizer
        texts = tokenizer.batch_decode(
            rollout.ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        if rows is None:
            found = [score_text(t, y) for t, y in zip(texts, rollout.labels, strict=True)]
        else:
            found = self._score_traces(rollout, rows)
        if not self.settings.agreement:
            return found
        return [in_agreement(score, text) for score, text in zip(found, texts, strict=True)]

    def _score_traces(self, rollout: Rollout, rows: Tensor) -> list[Score]:
        group = len(rollout.ids) // len(rollout.images)
        traces = cut_traces(
            self.mllm.processor.tokenizer,
            [grid for grid in rollout.prompts.grids for _ in range(group)],
            rollout.prompts.anomaly_tokens,
            rollout.ids,
            rows,
            [(math.nan, False)] * len(rollout.ids),  # no reward uses P(Yes)
        )
        return [
            score_trace(trace, label, self.inspection, self.settings)
            for trace, label in zip(traces, rollout.labels, strict=True)
        ]

    @torch.no_grad()
    def score_only(self, rollout: Rollout) -> list[Score]:
        """Score a roll-out without an update."""
        with self.accelerator.autocast():
            _, _, rows = self.forward(rollout.prompts, rollout.completions)
        return self.scores(rollout, rows)


@torch.no_grad()
def _set(parameters: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value)
