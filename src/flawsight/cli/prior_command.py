"""`flawsight prior`."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from ..errors import CalibrationError, SettingsError
from . import options
from .shell import console, explained, progress_bar, say, say_left_out

if TYPE_CHECKING:
    from torch import Tensor

    from ..inspector import Inspector


def prior(
    photos: Annotated[
        list[str], typer.Argument(help="Photos of good parts, as files, globs or folders.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="File to write. Default: attention_prior.npz in the model's folder."),
    ] = None,
    model: options.Model = None,
    adapter: options.Adapter = None,
    set_: options.Overrides = None,
    batch_size: options.BatchSize = 8,
    device: options.Device = None,
    dtype: options.Dtype = None,
    attention: options.Attention = "sdpa",
) -> None:
    """Measure the mean attention of a model on good parts: its attention prior.

    Example:

        flawsight prior photos/good --model my-model

    Preset default divides its maps by it. This removes sinks: patches that attract attention on
    normal images.
    """
    with explained():
        if model is None and adapter is None and out is None:
            raise SettingsError(
                "The bundled model has an attention prior, on which runs rely. Give --out FILE to "
                "measure another, and use it with inspect --prior FILE."
            )
        from ..io.files import check_writable, write_atomically
        from ..io.find_images import search_images

        found = search_images(photos)
        images = list(found.images)
        say_left_out(found.left_out)
        if out is not None:
            check_writable(out)
        # At the aspect at which preset default sees images.
        settings = options.parse_settings("paper", ["image_grid=null", *(set_ or [])])
        with console.status("Loading the model …"):
            from ..inspector import Inspector
            from ..refine.attention_prior import FILE, encode_prior, measure_prior

            inspector = Inspector.from_pretrained(
                model, settings=settings, batch_size=batch_size, adapter=adapter, device=device,
                dtype=dtype, attention=attention,
            )  # fmt: skip
        mllm = inspector.mllm
        with progress_bar("Measuring", len(images)) as move:
            maps = _reasoning_maps(inspector, images, move)
            measured = measure_prior(maps, settings.layers, mllm.sha256)
        out = mllm.folder / FILE if out is None else out
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(out, encode_prior(measured))
        except OSError as error:
            raise CalibrationError(f"Cannot write {out}: {error.strerror or error}.") from error
        say(f"Mean of {measured.images} of {len(images)} images.")
        say(f"Attention prior: {escape(str(out))}")


def _reasoning_maps(
    inspector: "Inspector", images: list[Path], move: Callable[..., None]
) -> "Iterator[Tensor]":
    """Yield the mean attention of each reasoning; images without one are left out."""
    from ..inspection import Trace
    from ..real.token_selection import mean_attention

    for start in range(0, len(images), inspector.batch_size):
        batch = images[start : start + inspector.batch_size]
        for trace in inspector.trace(inspector.prepare(batch)).traces:
            if isinstance(trace, Trace):
                attention = mean_attention(trace, inspector.settings)
                if attention is not None:
                    yield attention
        move(advance=len(batch))
