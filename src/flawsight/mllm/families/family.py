"""What differs between families of MLLMs: how an image becomes tokens."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from PIL.Image import Image

from ...settings import Settings
from ..token_grid import TokenGrid


class Family(ABC):
    """Models whose images become tokens in the same way.

    Attributes:
        name: as users know it.
        model_types: of their config.json.
        several_images: whether a prompt may hold several, each with the tokens it has alone.
    """

    name: ClassVar[str]
    model_types: ClassVar[tuple[str, ...]]
    several_images: ClassVar[bool] = True

    def options(self, processor: Any, settings: Settings) -> dict[str, Any]:
        """Return the options of the processor that scale images as the settings say."""
        return {}

    @abstractmethod
    def grids(
        self, processor: Any, batch: Any, images: Sequence[Image], settings: Settings
    ) -> list[TokenGrid]:
        """Return where the tokens of each image lie.

        Args:
            processor: of the model.
            batch: what it made of the images.
            images: N RGB images.
            settings: the same that `options` had.
        """

    @abstractmethod
    def most(self, processor: Any, vision: Any, settings: Settings) -> tuple[int, int]:
        """Return how many tokens an image has at most, and how many patches of the encoder.

        Args:
            processor: of the model.
            vision: its vision_config.
            settings: of the inspection.
        """

    def token_side(self, processor: Any) -> int:
        """Return the height and width of an image token in pixels, or about that."""
        return 28

    def fitted(self, processor: Any, image: Image, settings: Settings) -> Image:
        """Return an image at the size of `image_grid`; itself without one."""
        if settings.image_grid is None:
            return image
        height, width = (cells * self.token_side(processor) for cells in settings.image_grid)
        return image.resize((width, height), processor.image_processor.resample)

    def at_its_size(self, processor: Any, image: Image, settings: Settings) -> Image:
        """Return an image at the size that it is scaled to; itself if it becomes tiles."""
        return image

    def unscaled(self, processor: Any, image: Image, settings: Settings) -> Settings:
        """Return settings that leave an image which `at_its_size` returned as it is."""
        return settings

    def as_seen(self, processor: Any, image: Image, settings: Settings) -> Image:
        """Return an image that a server scales to the size that it has here."""
        return self.fitted(processor, image, settings)


def nearest(wanted: int, tokens: dict[int, int]) -> int:
    """Return the key whose number of tokens is nearest to that wanted."""
    return min(tokens, key=lambda key: abs(tokens[key] - wanted))


def patches_of_a_tile(vision: Any) -> int:
    """Return how many patches the encoder makes of its image, from the model's vision_config."""

    def side(value: Any) -> int:
        return int(value if isinstance(value, int) else value[0])

    return (side(vision.image_size) // side(vision.patch_size)) ** 2
