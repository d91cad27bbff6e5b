"""Text from an OpenAI-compatible server (vLLM, SGLang, transformers serve), attention by replay.

Such servers are the fastest way to text and show no attention: the same model, on this machine,
reads what was said in one forward pass and shows where it looked (`generate.replay`).
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from PIL.Image import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from ..errors import AnswerError, DetectorError, FlawsightError
from ..inspection import Trace
from ..mllm.load import MLLM
from ..mllm.patch_features import PatchScore
from ..mllm.replay import replay
from ..prompt import user_message
from ..settings import Settings
from .client import EndpointClient, OneImageError, encode_image, with_image
from .completion import Answer

# Seconds without a sign from the server after which a request has failed.
TIMEOUT = 600


class ServedGenerator:
    """Writes responses for `Inspector` and for the candidates of a training.

    Args:
        base_url: of the server, like "http://localhost:8000/v1".
        model: as the server calls it; an adapter that it serves has a name of its own.
        concurrency: requests under way at once.
        retries: how often a failed request is repeated.

    Raises:
        DetectorError: if the key is missing.
        MissingExtraError: without the openai package.
        SettingsError: if an argument makes no sense.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        concurrency: int = 32,
        retries: int = 5,
    ) -> None:
        self._client = EndpointClient(
            base_url,
            api_key_env="OPENAI_API_KEY",
            timeout=TIMEOUT,
            retries=retries,
            requests_per_minute=None,
        )
        self.base_url, self.model = self._client.base_url, model
        self._concurrency = concurrency

    def __call__(
        self, processor: Any, images: Sequence[Image], settings: Settings, seeds: Sequence[int]
    ) -> list[Answer | FlawsightError]:
        """Ask about each image, several at once; an error stands for an image that failed.

        Args:
            processor: of the model, which says at what size it is to see an image.
            images: RGB images; one may occur several times, for several responses.
            settings: question, length and temperature.
            seeds: of each image's sampling, in [0, 2⁶³).

        Raises:
            DetectorError: for a refusal that every image would meet: the key, or the model.
        """
        files: dict[int, bytes] = {}
        for image in images:
            if id(image) not in files:
                files[id(image)] = encode_image(as_seen(processor, image, settings))

        def ask(image: Image, seed: int) -> Answer | FlawsightError:
            request = {
                "model": self.model,
                "messages": with_image(user_message(settings.question), files[id(image)]),
                "max_tokens": settings.max_new_tokens,
                "temperature": settings.temperature,
                "seed": seed,
            }
            try:
                return self._client.ask(request)
            except OneImageError as error:
                return DetectorError(f"{self.base_url}: {error}.")

        with ThreadPoolExecutor(self._concurrency) as pool:
            return list(pool.map(ask, images, seeds))

    def load_adapter(self, name: str, folder: Path) -> None:
        """Let a vLLM server load an adapter, which it then serves as a model of this name.

        Raises:
            DetectorError: if it does not.
        """
        self._client.post("/load_lora_adapter", {"lora_name": name, "lora_path": str(folder)})

    def unload_adapter(self, name: str) -> None:
        """Let a vLLM server forget an adapter.

        Raises:
            DetectorError: if it does not.
        """
        self._client.post("/unload_lora_adapter", {"lora_name": name})


def as_seen(processor: Any, image: Image, settings: Settings) -> Image:
    """Return an image at the size to which replay scales it, for the server to see the same.

    Where the model's own processor scales the original to that size, the original is returned.
    """
    if settings.image_tokens is None:
        return image
    own = processor.image_processor
    factor = own.patch_size * own.merge_size

    def size(shortest: int, longest: int) -> tuple[int, int]:
        height, width = smart_resize(image.height, image.width, factor, shortest, longest)
        return width, height

    area = settings.image_tokens * factor**2
    wanted = size(area, area)
    if wanted == size(own.size["shortest_edge"], own.size["longest_edge"]):
        return image
    return image.resize(wanted, own.resample)


def trace_served(
    generator: ServedGenerator,
    mllm: MLLM,
    images: Sequence[Image],
    settings: Settings,
    patch_score: PatchScore | None = None,
) -> list[Trace | FlawsightError]:
    """Ask the server about each image and replay its response; a failure gives an error.

    Raises:
        DetectorError: for a refusal that every image would meet.
        ModelError: if the model computes NaN.
    """
    outcomes: list[Any] = generator(mllm.processor, images, settings, [settings.seed] * len(images))
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, Answer) and mllm.processor.image_token in outcome.text:
            outcomes[index] = AnswerError(f"{generator.base_url} wrote an image token.")
    said = [index for index, outcome in enumerate(outcomes) if isinstance(outcome, Answer)]
    if said:
        texts = [outcomes[index].text for index in said]
        traces = replay(mllm, [images[index] for index in said], texts, settings, patch_score)
        for index, trace in zip(said, traces, strict=True):
            outcomes[index] = trace
    return outcomes
