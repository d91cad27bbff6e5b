"""`flawsight serve`."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import MissingExtraError, ServeError
from ..roi import in_pixels
from . import options
from .product_files import calibration_files, named_files
from .shell import console, explained, share_memory_pools


def serve(
    model: options.Model = None,
    adapter: options.Adapter = None,
    preset: options.Preset = "default",
    set_: options.Overrides = None,
    bit_depth: options.BitDepth = None,
    roi: options.Roi = None,
    batch_size: options.BatchSize = 8,
    device: options.Device = None,
    dtype: options.Dtype = None,
    attention: options.Attention = "sdpa",
    prior: options.Prior = None,
    prompt_photo: options.PromptPhotos = None,
    threshold: options.Threshold = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]FILE",
            help="Reference of flawsight learn, for the product NAME; repeatable. Default name: "
            "the file's.",
        ),
    ] = None,
    explain: Annotated[
        str | None,
        typer.Option(
            help="With references, the photos to explain in words: always, defective or never. "
            "Default: always."
        ),
    ] = None,
    calibration: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]FILE",
            help="Calibration file of flawsight calibrate; its thresholds apply by product. With "
            "several references, one per product NAME.",
        ),
    ] = None,
    reload_changed: Annotated[
        bool,
        typer.Option(
            "--reload-changed",
            help="Reload adapter, references and calibrations when their files change. Without it, "
            "on SIGHUP and POST /v1/reload.",
        ),
    ] = False,
    host: Annotated[
        str, typer.Option(help="Address to bind to. Any but loopback needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="TCP port.")] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="File with the tokens, one per line, read again when it changes. "
            "Default: $FLAWSIGHT_TOKEN."
        ),
    ] = None,
    public_origin: Annotated[
        str | None,
        typer.Option(help="Address of the proxy in front, such as https://line3.example."),
    ] = None,
    root_path: Annotated[
        str, typer.Option(help="Path below which the proxy serves this, such as /flawsight.")
    ] = "",
    store: Annotated[
        str,
        typer.Option(
            envvar="FLAWSIGHT_STORE",
            help="Folder with an SQLite database, or postgresql://USER@HOST/NAME.",
        ),
    ] = "flawsight-store",
    files: Annotated[
        Path | None, typer.Option(help="Folder of photos and maps; required if --store is a URL.")
    ] = None,
    keep: Annotated[
        int, typer.Option(help="Unreviewed inspections kept; reviewed ones are all kept besides.")
    ] = 100_000,
    queue: Annotated[
        int, typer.Option(help="Images in flight at once; further requests get status 503.")
    ] = 64,
    deadline: Annotated[float, typer.Option(help="Longest time of a request, in seconds.")] = 60.0,
    max_images: Annotated[int, typer.Option(help="Largest number of images per request.")] = 16,
    max_mib: Annotated[int, typer.Option(help="MiB per request.")] = 64,
    max_image_mib: Annotated[int, typer.Option(help="MiB per image file.")] = 20,
    max_pixels: Annotated[int, typer.Option(help="Pixels per image.")] = 32_000_000,
    rate: Annotated[
        float, typer.Option(help="Requests per second and address; 0 for no limit.")
    ] = 50.0,
    burst: Annotated[int, typer.Option(help="Requests per address at once.")] = 100,
) -> None:
    """Inspect over HTTP, store every inspection, and take reviews.

    Examples:

        flawsight serve --calibration calibration.json

        flawsight serve --reference bolt=line3.reference --reference nut=line4.reference

        curl -F images=@part.jpg http://127.0.0.1:8000/v1/inspect

    SIGTERM finishes the running batch and refuses waiting images; SIGHUP reloads adapter,
    references and calibrations. More in docs/serve.md.
    """
    share_memory_pools()
    with explained():
        try:
            from ..serve.access_tokens import read_tokens
            from ..serve.app import create_app
            from ..serve.limits import Limits
            from ..serve.public_address import PublicAddress
            from ..serve.reloading import Reloads
            from ..serve.server import serve_app
            from ..serve.store import Store
        except ModuleNotFoundError as error:
            raise MissingExtraError(str(error.name), "serve") from error
        limits = Limits(
            slots=queue, deadline=deadline, images=max_images, body_bytes=max_mib << 20,
            image_bytes=max_image_mib << 20, pixels=max_pixels, rate=rate, burst=burst, keep=keep,
        )  # fmt: skip
        public = PublicAddress(root_path=root_path, origin=public_origin)
        tokens = read_tokens(host, token_file, os.environ)
        overrides = [*(set_ or []), *([] if explain is None else [f"explain={explain}"])]
        settings = options.parse_settings(preset, overrides, bit_depth=bit_depth, roi=roi)
        if settings.roi is not None and in_pixels(settings.roi):
            raise ServeError(
                "The service makes large photos smaller; give --roi in percent, like "
                "10%,5%,80%,90%, or a mask."
            )
        good = options.read_photos(prompt_photo, settings.bit_depth, settings.roi)
        files_of_references = named_files(reference or [], "--reference")
        files_of_calibrations = calibration_files(calibration or [], list(files_of_references))
        opened = Store(store, files)

        def load() -> Any:
            from .served_inspectors import Sources, load_inspectors

            sources = Sources(
                model=model, settings=settings, threshold=threshold, adapter=adapter, prior=prior,
                references=files_of_references, calibrations=files_of_calibrations,
                options={
                    "batch_size": batch_size, "device": device, "dtype": dtype,
                    "attention": attention, "prompt_photos": good,
                },
            )  # fmt: skip
            return sources, load_inspectors(sources)

        # Load in a thread that ends, and torch's OpenMP workers with it. If they stayed, there
        # would be more workers than cores, which slows the model by a third (docs/performance.md).
        with console.status("Loading the model …"), ThreadPoolExecutor(1) as loading:
            sources, loaded = loading.submit(load).result()

        def remake() -> Any:
            from .served_inspectors import reload_inspectors

            nonlocal loaded
            loaded = reload_inspectors(sources, loaded)
            return loaded.setup

        setup = loaded.setup
        app = create_app(
            setup.inspect_batch,
            loaded.inspector.batch_size,
            opened,
            limits,
            tokens,
            setup.thresholds,
            setup.about,
            public,
            setup.references,
            Reloads(remake, sources.paths, reload_changed) if sources.paths else None,
            setup.cut_to,
        )
        del setup
        serve_app(app, host, port, limits)
