"""Candidates from a vLLM server, which is sent the adapter whenever it has changed.

Only the texts come from the server. The gradient pass runs them through the policy here, which
gives the log-probabilities and the attention.
"""

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from accelerate import Accelerator
from PIL.Image import Image

from ..endpoint.generator import ServedGenerator
from ..errors import FlawsightError
from ..io.files import writing_to
from ..mllm.load import MLLM, without_bars
from ..settings import Settings
from .policy import trainable_parameters
from .shard import gathered
from .train_settings import TrainSettings
from .training_data import seed_of


class ServedPolicy:
    """A server that samples with the current weights.

    Args:
        generator: client of the server; its model is set to the adapter's name.
        folder: for the adapter; the server must see it under the same path.
        inspection, settings, accelerator: of the training.
        photos: of good parts, sent before each image.
    """

    def __init__(
        self,
        generator: ServedGenerator,
        folder: Path,
        inspection: Settings,
        settings: TrainSettings,
        accelerator: Accelerator,
        photos: Sequence[Image] = (),
    ) -> None:
        self._generator, self._folder, self._accelerator = generator, folder, accelerator
        self._inspection = replace(inspection, temperature=settings.temperature)
        self._settings, self._photos = settings, photos
        self._loaded: str | None = None

    def _publish(self, mllm: MLLM) -> None:
        """Send the current adapter to the server.

        Its name is the hash of its weights. Servers cache by name, so a new adapter must not have
        the name of an older one.
        """
        weights = gathered(dict(trainable_parameters(mllm.model)))
        digest = hashlib.sha256()
        for name in sorted(weights):
            digest.update(weights[name].float().numpy().tobytes())
        name = f"flawsight-{digest.hexdigest()[:16]}"
        if self._accelerator.is_main_process and name != self._loaded:
            folder = (self._folder / name).resolve()
            with writing_to(self._folder), without_bars():
                mllm.model.save_pretrained(folder, state_dict=weights, save_embedding_layers=False)
            self._generator.load_adapter(name, folder)
            if self._loaded is not None:
                self._generator.unload_adapter(self._loaded)
                shutil.rmtree(self._folder / self._loaded)
        self._loaded = self._generator.model = name
        self._accelerator.wait_for_everyone()

    def sample(self, mllm: MLLM, images: Sequence[Image], draws: Sequence[int]) -> list[list[int]]:
        """Sample G candidates of each of B images with the weights of `mllm`.

        All processes must call it. `draws` is the number of each image's draw in the training.

        Returns:
            B · G lists of token ids, each with its end token unless it was cut off. They are the
            tokenizer's for the text, which may differ from the tokens that were sampled.

        Raises:
            DetectorError: if the server does not load adapters, refuses, or fails for an image.
            RunFolderError: if the adapter cannot be written.
        """
        self._publish(mllm)
        group, seed = range(self._settings.candidates), self._settings.seed
        repeated = [image for image in images for _ in group]
        seeds = [seed_of(seed, "served", draw, candidate) for draw in draws for candidate in group]
        tokenizer = mllm.processor.tokenizer
        found: list[list[int]] = []
        for answer in self._generator(mllm, repeated, self._inspection, seeds, self._photos):
            if isinstance(answer, FlawsightError):
                raise answer
            ids = list(tokenizer(answer.text, add_special_tokens=False)["input_ids"])
            ids = [token for token in ids if token != mllm.model.config.image_token_id]
            cut_off = answer.finish_reason == "length"
            found.append(ids if cut_off and ids else [*ids, tokenizer.eos_token_id])
        return found
