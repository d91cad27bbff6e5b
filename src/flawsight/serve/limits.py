"""How much the service takes on, in one place."""

from dataclasses import dataclass

from ..errors import ServeError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of a request and of the whole service.

    Attributes:
        places: images in the house at once: being uploaded, waiting, or with the model.
        deadline: seconds that a request may take from its first byte to the model's answer.
        images: in one request.
        body_bytes: of one request.
        image_bytes: of one image file.
        pixels: of one image, known before it is decoded.
        rate: requests a second that one address may make in the long run; 0 for any number.
        burst: requests that it may make at once.
        connections: open at once.
        keep: inspections in the store; older ones go, but for those that were reviewed.
    """

    places: int = 64
    deadline: float = 60.0
    images: int = 16
    body_bytes: int = 64 << 20
    image_bytes: int = 20 << 20
    pixels: int = 32_000_000
    rate: float = 50.0
    burst: int = 100
    connections: int = 512
    keep: int = 100_000

    def __post_init__(self) -> None:
        for name in ("places", "images", "body_bytes", "image_bytes", "pixels", "burst", "keep"):
            if getattr(self, name) < 1:
                raise ServeError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if not self.deadline > 0 or not self.rate >= 0:
            raise ServeError("The deadline must be above 0, and the rate not negative.")
        if self.images > self.places:
            raise ServeError(
                f"A request may hold {self.images} images, but the queue only {self.places}."
            )
