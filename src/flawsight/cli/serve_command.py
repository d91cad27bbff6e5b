"""`flawsight serve`."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import MissingExtraError
from . import options
from .shell import console, explained


def serve(
    model: options.Model = None,
    adapter: options.Adapter = None,
    preset: options.Preset = "default",
    set_: options.Overrides = None,
    batch_size: options.BatchSize = 8,
    device: options.Device = None,
    dtype: options.Dtype = None,
    attention: options.Attention = "sdpa",
    threshold: options.Threshold = None,
    calibration: Annotated[
        Path | None,
        typer.Option(help="Thresholds of flawsight calibrate, of all and by product."),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to bind to. Any but loopback needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    token_file: Annotated[
        Path | None, typer.Option(help="File with the token; else $FLAWSIGHT_TOKEN.")
    ] = None,
    store: Annotated[
        str,
        typer.Option(
            envvar="FLAWSIGHT_STORE", help="Folder, for SQLite; or postgresql://USER@HOST/NAME."
        ),
    ] = "flawsight-store",
    files: Annotated[
        Path | None, typer.Option(help="Folder of photos and maps, where --store is a URL.")
    ] = None,
    keep: Annotated[
        int, typer.Option(help="Inspections kept; reviewed ones always are.")
    ] = 100_000,
    queue: Annotated[int, typer.Option(help="Images in the house at once; above, 503.")] = 64,
    deadline: Annotated[float, typer.Option(help="Seconds that a request may take.")] = 60.0,
    max_images: Annotated[int, typer.Option(help="In one request.")] = 16,
    max_mib: Annotated[int, typer.Option(help="MiB of one request.")] = 64,
    max_image_mib: Annotated[int, typer.Option(help="MiB of one image file.")] = 20,
    max_pixels: Annotated[int, typer.Option(help="Of one image.")] = 32_000_000,
    rate: Annotated[
        float, typer.Option(help="Requests a second from one address; 0: any number.")
    ] = 50.0,
    burst: Annotated[int, typer.Option(help="Requests that it may make at once.")] = 100,
) -> None:
    """Inspect over HTTP, keep every inspection, and take reviews.

    Examples:

        flawsight serve --calibration calibration.json

        curl -F images=@part.jpg http://127.0.0.1:8000/v1/inspect

    SIGTERM finishes what runs and refuses what waits. docs/serve.md tells the rest.
    """
    with explained():
        try:
            from ..serve.access import read_token
            from ..serve.app import create_app
            from ..serve.limits import Limits
            from ..serve.server import serve_app
            from ..serve.store import Store
        except ModuleNotFoundError as error:
            raise MissingExtraError(str(error.name), "serve") from error
        limits = Limits(
            places=queue,
            deadline=deadline,
            images=max_images,
            body_bytes=max_mib << 20,
            image_bytes=max_image_mib << 20,
            pixels=max_pixels,
            rate=rate,
            burst=burst,
            keep=keep,
        )
        token = read_token(host, token_file, os.environ)
        opened = Store(store, files)

        def load() -> Any:
            from ..calibration import load_calibration
            from ..inspector import Inspector

            return Inspector.from_pretrained(
                model,
                settings=options.parse_settings(preset, set_ or [], 0),
                batch_size=batch_size,
                threshold=threshold,
                calibration=None if calibration is None else load_calibration(calibration),
                adapter=adapter,
                device=device,
                dtype=dtype,
                attention=attention,
            )

        # In a thread that ends, and torch's workers with it. Where they stay, OpenMP counts more
        # workers than cores, and those of the thread in which the model runs sleep after each of
        # their many small tasks (docs/performance.md).
        with console.status("Loading the model …"), ThreadPoolExecutor(1) as loading:
            inspector = loading.submit(load).result()
        calibrated = inspector.calibration
        app = create_app(
            inspector.inspect_batch,
            inspector.batch_size,
            opened,
            limits,
            token,
            {} if calibrated is None else calibrated.by_category,
            {"model": inspector.mllm.name, "model_sha256": inspector.mllm.sha256},
        )
        serve_app(app, host, port, limits)
