"""The metrics at /metrics for Prometheus, and the middleware that counts requests."""

import time
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .drift import Drift
from .inspection_setup import Setup
from .references import Product

_METHODS = {"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"}


class Metrics:
    """The metrics of one service."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        self.requests = Counter(
            "flawsight_requests", "Requests answered.", ("method", "route", "status"),
            registry=registry,
        )  # fmt: skip
        self.seconds = Histogram(
            "flawsight_request_seconds", "Time to the response.", ("route",), registry=registry
        )
        self.images = Counter(
            "flawsight_images", "Images by outcome.", ("outcome",), registry=registry
        )
        self.batch_size = Histogram(
            "flawsight_batch_size", "Images per batch.",
            buckets=(1, 2, 4, 8, 16, 32, 64), registry=registry,
        )  # fmt: skip
        self.batch_seconds = Histogram(
            "flawsight_batch_seconds", "Time of the model per batch.", registry=registry
        )
        self.in_flight = Gauge(
            "flawsight_images_in_flight", "Images being uploaded, waiting or with the model.",
            registry=registry,
        )  # fmt: skip

        self.changes = Counter(
            "flawsight_reference_changes", "Photos added to references or forgotten, or failures.",
            ("product", "outcome"), registry=registry,
        )  # fmt: skip
        self._photos = Gauge(
            "flawsight_reference_photos", "Good photos of a product's reference.", ("product",),
            registry=registry,
        )  # fmt: skip
        self._reference = Gauge(
            "flawsight_reference_info", "The reference in use, by its hash.",
            ("product", "sha256"), registry=registry,
        )  # fmt: skip

        self._reloads = Counter(
            "flawsight_reloads", "Reloads of adapter, references and calibrations.", ("outcome",),
            registry=registry,
        )  # fmt: skip
        self._reload_refused = Gauge(
            "flawsight_reload_refused", "Whether the latest reload was refused.", registry=registry
        )

        self._drift_distance = Gauge(
            "flawsight_drift_distance",
            "Kolmogorov-Smirnov distance of the latest week's scores from the reference weeks'.",
            ("product",), registry=registry,
        )  # fmt: skip
        self._drift_p_value = Gauge(
            "flawsight_drift_p_value",
            "Its p-value, corrected for a year of daily looks and the number of products.",
            ("product",), registry=registry,
        )  # fmt: skip
        self._drift_inspections = Gauge(
            "flawsight_drift_inspections", "Inspections that drift is computed of.",
            ("product", "weeks"), registry=registry,
        )  # fmt: skip

    def show_drift(self, drifts: Iterable[Drift]) -> None:
        """Show drifts in place of earlier ones; products with too few inspections have none."""
        for gauge in (self._drift_distance, self._drift_p_value, self._drift_inspections):
            gauge.clear()
        for drift in drifts:
            product = drift.product or ""
            for name, weeks in (("latest", drift.latest), ("reference", drift.reference)):
                count = 0 if weeks is None else weeks.count
                self._drift_inspections.labels(product, name).set(count)
            if drift.distance is not None and drift.p_value is not None:
                self._drift_distance.labels(product).set(drift.distance)
                self._drift_p_value.labels(product).set(drift.p_value)

    def on_reload(self, setup: Setup | None) -> None:
        """Count a reload, and show its references; None was refused."""
        self._reloads.labels("refused" if setup is None else "done").inc()
        self._reload_refused.set(setup is None)
        if setup is not None:
            self.show_references(setup.references.products)

    def show_references(self, products: Iterable[Product]) -> None:
        """Show the references as they are now."""
        self._reference.clear()
        for product in products:
            self._photos.labels(product.name).set(len(product.ids))
            self._reference.labels(product.name, product.sha256).set(1)

    def on_batch(self, size: int, seconds: float) -> None:
        """Count a batch."""
        self.batch_size.observe(size)
        self.batch_seconds.observe(seconds)

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._registry)


class CountRequests:
    """ASGI middleware: counts requests by route; paths are unlimited in number."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and count it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 500

        async def send_and_note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note_status)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.requests.labels(method, route, status).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - began)
