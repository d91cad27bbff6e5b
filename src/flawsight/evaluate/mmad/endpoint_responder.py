"""A model behind an OpenAI-compatible endpoint answers multiple-choice questions."""

from collections.abc import Sequence
from typing import Any

from ...endpoint.cached_endpoint import CachedEndpoint
from ...endpoint.client import encode_png, in_parallel
from ...errors import FlawsightError
from ...prompt import choice_message
from ...settings import check_bit_depth
from ..detectors.protocol import about_bit_depth
from .responder import ChoicePrompt, check_max_pixels, read_each


class EndpointResponder:
    """Asks a model on a server, several questions at once.

    Args:
        model: its name on the server.
        base_url: of the server, see `EndpointClient`.
        name: in tables; None is the model.
        max_pixels: to which larger images are reduced; None sends them as they are.
        bit_depth: of photos, see `Settings`.
        **options: of `CachedEndpoint`.

    Raises:
        SettingsError: if an argument makes no sense; further errors see `EndpointClient`.
    """

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        *,
        name: str | None = None,
        max_pixels: int | None = None,
        bit_depth: int | None = None,
        **options: Any,
    ) -> None:
        check_bit_depth(bit_depth)
        check_max_pixels(max_pixels)
        self._endpoint = CachedEndpoint(model, base_url, **options)
        self._max_pixels = max_pixels
        self._bit_depth = bit_depth
        self.name = model if name is None else name
        self.batch_size = 4 * self._endpoint.concurrency

    def about(self) -> dict[str, Any]:
        """Return model, server, parameters and the images' size and encoding; no key."""
        return {
            "endpoint": self._endpoint.about(),
            "max_pixels": self._max_pixels,
        } | about_bit_depth(self._bit_depth)

    def respond(self, prompts: Sequence[ChoicePrompt]) -> list[str | FlawsightError]:
        """Ask all questions.

        Raises:
            DetectorError: if the key is refused, the model unknown, the budget spent or the cache
                not writable. All answers that came before are in the cache.
        """
        read = read_each(prompts, self._max_pixels, self._bit_depth, encode_png)
        return in_parallel(self._endpoint.concurrency, self._respond, prompts, read)

    def _respond(
        self, prompt: ChoicePrompt, pngs: list[bytes] | FlawsightError
    ) -> str | FlawsightError:
        if isinstance(pngs, FlawsightError):
            return pngs
        chat = choice_message(prompt.question, prompt.options, len(pngs) - 1)
        answered = self._endpoint.ask(chat, pngs)
        return answered if isinstance(answered, FlawsightError) else answered[0].text
