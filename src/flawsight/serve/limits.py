"""All limits of the service."""

from dataclasses import dataclass

from ..errors import ServeError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of one request and of the whole service.

    Attributes:
        slots: images in flight at once: being uploaded, waiting, or with the model.
        deadline: seconds from the first byte of a request to the model's answer.
        images: images per request.
        body_bytes: bytes per request.
        image_bytes: bytes per image file.
        pixels: pixels per image, checked before it is decoded.
        rate: sustained requests per second and address; 0 for no limit.
        burst: requests that one address may make at once.
        connections: open connections.
        keep: inspections in the store; older ones are deleted unless they were reviewed.
    """

    slots: int = 64
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
        for name in ("slots", "images", "body_bytes", "image_bytes", "pixels", "burst", "keep"):
            if getattr(self, name) < 1:
                raise ServeError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if not self.deadline > 0 or not self.rate >= 0:
            raise ServeError("The deadline must be above 0, and the rate at least 0.")
        if self.images > self.slots:
            raise ServeError(
                f"max-images is {self.images}, but queue only {self.slots}; raise --queue or lower "
                "--max-images."
            )
