"""Responses from an OpenAI-compatible server (vLLM, SGLang, transformers serve), replayed here.

Such servers are fast but return no attention. The same model on this machine replays each response
in one forward pass and captures its attention (mllm/replay.py).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL.Image import Image

from ..errors import AnswerError, FlawsightError
from ..inspection import Trace
from ..mllm.load import MLLM
from ..mllm.patch_features import EvidenceReader
from ..mllm.replay import replay
from ..prompt import user_message
from ..settings import Settings
from .client import EndpointClient, encode_png, in_parallel, with_images
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
        self,
        mllm: MLLM,
        images: Sequence[Image],
        settings: Settings,
        seeds: Sequence[int],
        photos: Sequence[Image] = (),
    ) -> list[Answer | FlawsightError]:
        """Return the response to each image, or the error of one that failed.

        Args:
            mllm: which replays the responses; its family decides the size of an image.
            images: RGB images; one may occur several times, for several responses.
            settings: question, length and temperature.
            seeds: of each image's sampling, in [0, 2⁶³).
            photos: of good parts, sent before each image.

        Raises:
            DetectorError: for a refusal that every image would meet: the key, or the model.
        """
        distinct = {id(image): image for image in (*photos, *images)}
        files = {
            key: encode_png(mllm.family.as_seen(mllm.processor, image, settings))
            for key, image in distinct.items()
        }

        before = [files[id(photo)] for photo in photos]
        message = user_message(settings.question, len(photos))

        # The prompt of a replay: without a thinking of thousands of tokens before the answer. A
        # server may refuse the option for a model whose template does not know it.
        template = {"extra_body": {"chat_template_kwargs": {"enable_thinking": False}}}
        thinks = "enable_thinking" in mllm.processor.chat_template

        def ask(image: Image, seed: int) -> Answer | FlawsightError:
            request: dict[str, Any] = {
                "model": self.model,
                "messages": with_images(message, *before, files[id(image)]),
                "max_tokens": settings.max_new_tokens,
                "temperature": settings.temperature,
                "seed": seed,
                **(template if thinks else {}),
            }
            return self._client.ask(request)

        return in_parallel(self._concurrency, ask, images, seeds)

    def load_adapter(self, name: str, folder: Path) -> None:
        """Make a vLLM server load an adapter under a name; DetectorError if it refuses."""
        self._client.post("/load_lora_adapter", {"lora_name": name, "lora_path": str(folder)})

    def unload_adapter(self, name: str) -> None:
        """Make a vLLM server unload an adapter; DetectorError if it refuses."""
        self._client.post("/unload_lora_adapter", {"lora_name": name})


def trace_served(
    generator: ServedGenerator,
    mllm: MLLM,
    images: Sequence[Image],
    settings: Settings,
    reader: EvidenceReader | None = None,
    photos: Sequence[Image] = (),
) -> list[Trace | FlawsightError]:
    """Let the server respond to each image and replay the response; a failure gives an error.

    Photos of good parts are sent, and replayed, before each image.

    Raises:
        DetectorError: for a refusal that every image would meet.
        ModelError: if the model computes NaN.
    """
    outcomes: list[Any] = generator(mllm, images, settings, [settings.seed] * len(images), photos)
    image_token = mllm.processor.tokenizer.decode(mllm.model.config.image_token_id)
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, Answer) and image_token in outcome.text:
            outcomes[index] = AnswerError(f"{generator.base_url} wrote an image token.")
    answered = [index for index, outcome in enumerate(outcomes) if isinstance(outcome, Answer)]
    if answered:
        texts = [outcomes[index].text for index in answered]
        seen = [images[index] for index in answered]
        traces = replay(mllm, seen, texts, settings, reader, photos)
        for index, trace in zip(answered, traces, strict=True):
            outcomes[index] = trace
    return outcomes
