"""Responses from an OpenAI-compatible server (vLLM, SGLang, transformers serve), replayed here.

Such servers are fast but return no attention. The same model on this machine replays each response
in one forward pass and captures its attention (mllm/replay.py).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL.Image import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from ..errors import AnswerError, FlawsightError
from ..inspection import Trace
from ..mllm.encode import image_area, on_grid, token_side
from ..mllm.load import MLLM
from ..mllm.patch_features import PatchScore
from ..mllm.replay import replay
from ..prompt import user_message
from ..settings import Settings
from .client import EndpointClient, encode_png, in_parallel, with_image
from .completion import Answer

# Seconds without data from the server after which a request fails.
TIMEOUT = 600


class ServedGenerator:
    """Generates responses for `Inspector` and candidates for training.

    Args:
        base_url, retries: see `EndpointClient`, also for the errors raised.
        model: its name on the server; an adapter has a name of its own.
        concurrency: requests in flight at once.
    """

    def __init__(
        self, base_url: str, model: str, *, concurrency: int = 32, retries: int = 5
    ) -> None:
        self._client = EndpointClient(base_url, timeout=TIMEOUT, retries=retries)
        self.base_url, self.model = self._client.base_url, model
        self._concurrency = concurrency

    def __call__(
        self, processor: Any, images: Sequence[Image], settings: Settings, seeds: Sequence[int]
    ) -> list[Answer | FlawsightError]:
        """Return the response to each image, or the error of one that failed.

        Args:
            processor: of the model; it decides the size at which an image is sent.
            images: RGB images; one may occur several times, for several responses.
            settings: question, length and temperature.
            seeds: of each image's sampling, in [0, 2⁶³).

        Raises:
            DetectorError: for a refusal that every image would meet: the key, or the model.
        """
        distinct = {id(image): image for image in images}
        files = {
            key: encode_png(as_seen(processor, image, settings)) for key, image in distinct.items()
        }

        def ask(image: Image, seed: int) -> Answer | FlawsightError:
            request = {
                "model": self.model,
                "messages": with_image(user_message(settings.question), files[id(image)]),
                "max_tokens": settings.max_new_tokens,
                "temperature": settings.temperature,
                "seed": seed,
            }
            return self._client.ask(request)

        return in_parallel(self._concurrency, ask, images, seeds)

    def load_adapter(self, name: str, folder: Path) -> None:
        """Make a vLLM server load an adapter under a name; DetectorError if it refuses."""
        self._client.post("/load_lora_adapter", {"lora_name": name, "lora_path": str(folder)})

    def unload_adapter(self, name: str) -> None:
        """Make a vLLM server unload an adapter; DetectorError if it refuses."""
        self._client.post("/unload_lora_adapter", {"lora_name": name})


def as_seen(processor: Any, image: Image, settings: Settings) -> Image:
    """Return an image at the size to which replay scales it, or the original if the server does."""
    area = image_area(processor, settings)
    if area is None:
        return image
    image = on_grid(processor, image, settings)
    stock, factor = processor.image_processor, token_side(processor)

    def size(shortest: int, longest: int) -> tuple[int, int]:
        height, width = smart_resize(image.height, image.width, factor, shortest, longest)
        return width, height

    wanted = size(area, area)
    if wanted == size(stock.size["shortest_edge"], stock.size["longest_edge"]):
        return image
    return image.resize(wanted, stock.resample)


def trace_served(
    generator: ServedGenerator,
    mllm: MLLM,
    images: Sequence[Image],
    settings: Settings,
    patch_score: PatchScore | None = None,
) -> list[Trace | FlawsightError]:
    """Let the server respond to each image and replay the response; a failure gives an error.

    Raises:
        DetectorError: for a refusal that every image would meet.
        ModelError: if the model computes NaN.
    """
    outcomes: list[Any] = generator(mllm.processor, images, settings, [settings.seed] * len(images))
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, Answer) and mllm.processor.image_token in outcome.text:
            outcomes[index] = AnswerError(f"{generator.base_url} wrote an image token.")
    answered = [index for index, outcome in enumerate(outcomes) if isinstance(outcome, Answer)]
    if answered:
        texts = [outcomes[index].text for index in answered]
        traces = replay(mllm, [images[index] for index in answered], texts, settings, patch_score)
        for index, trace in zip(answered, traces, strict=True):
            outcomes[index] = trace
    return outcomes
