"""All limits of the service."""

from dataclasses import dataclass

from ..errors import ServeError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of one request and of the whole service."""

    slots: int = 64  # images in flight at once: being uploaded, waiting, or with the model
    deadline: float = 60.0  # seconds from the first byte of a request to the model's answer
    images: int = 16  # per request
    body_bytes: int = 64 << 20  # per request
    image_bytes: int = 20 << 20  # per image file
    pixels: int = 32_000_000  # per image, checked before it is decoded
    inspected_pixels: int = 2 << 20  # of a photo; larger ones are inspected at that size
    rate: float = 50.0  # sustained requests per second and address; 0 for no limit
    burst: int = 100  # requests that one address may make at once
    connections: int = 512  # open at once; above it, those that wait for their client are closed
    head_seconds: float = 10.0  # for the head of a request to arrive
    good_photos: int = 128  # of a reference that is changed; all are learned again
    keep: int = 100_000  # unreviewed inspections in the store; older ones are deleted
    page_bytes: int = 4 << 20  # of JSON per page of inspections; a larger inspection comes alone

    @property
    def held_bytes(self) -> int:
        """Bytes of bodies and responses in memory at once; JSON counts twice."""
        return max(128 << 20, 2 * self.body_bytes)

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
