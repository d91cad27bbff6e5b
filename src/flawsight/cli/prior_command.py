"""`flawsight calibrate --heads`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.progress import Progress

from ..errors import CalibrationError, FlawsightError, MissingExtraError
from .shell import console, progress_columns

if TYPE_CHECKING:
    from torch import Tensor

    from ..data.dataset import Sample
    from ..mllm.load import MLLM


def choose_heads(
    spec: str, share: float, out: Path | None, batch_size: int, load_options: dict[str, Any]
) -> None:
    """Choose a model's heads from labelled images and write its looks.npz with a picture.

    Args:
        spec: of the data set; masks are not read.
        share: of the heads to keep, in (0, 1].
        out: the file; None is looks.npz in the model's, or the adapter's, folder.
        batch_size: images generated for at once.
        load_options: of `load_mllm`, with "model".

    Raises:
        CalibrationError: if the share makes no sense, there are no good or no defective images, or
            the model has no folder to write to.
    """
    from ..data.open import open_datasets
    from ..io.files import write_atomically

    if not 0 < share <= 1:
        raise CalibrationError(f"The share of heads is {share}; it must be above 0, at most 1.")
    samples = [sample for dataset in open_datasets(spec) for sample in dataset.samples]
    with console.status("Loading the model …"):
        from ..mllm.load import DEFAULT_MODEL, load_mllm
        from ..refine.attention_prior import FILE, encode_looks, measure
        from ..report.landscape import draw_landscape

        mllm = load_mllm(**load_options)
    if out is None:
        folder = Path(load_options["adapter"] or load_options["model"] or DEFAULT_MODEL)
        if not folder.is_dir():
            raise CalibrationError(f"{folder} is no folder on this machine; give --out FILE.")
        out = folder / FILE
    with Progress(*progress_columns("Looking"), console=console, transient=True) as progress:
        bar = progress.add_task("", total=len(samples))
        looks = measure(
            _head_maps(mllm, samples, batch_size, lambda n: progress.advance(bar, n)),
            share,
            mllm.sha256,
        )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, encode_looks(looks))
    except OSError as error:
        raise CalibrationError(f"Cannot write {out}: {error.strerror or error}.") from error
    good, defective = looks.images
    chosen = ", ".join(f"{layer}.{head}" for layer, head in looks.heads[:12])
    console.print(
        f"{len(looks.heads)} of {looks.agreement.numel()} heads (layer.head: {chosen}"
        f"{', …' if len(looks.heads) > 12 else ''}) from {good} good and {defective} defective "
        "images.",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    console.print(f"Looks: {escape(str(out))}", soft_wrap=True)
    try:
        picture = out.with_suffix(".png")
        draw_landscape(picture, looks)
        console.print(f"Landscape: {escape(str(picture))}", soft_wrap=True)
    except MissingExtraError as error:
        console.print(f"No landscape. {escape(str(error))}", soft_wrap=True)


def _head_maps(
    mllm: "MLLM", samples: "list[Sample]", batch_size: int, on_images: Any
) -> "Iterator[tuple[bool, Tensor]]":
    """Yield each image's label and (L, H, grid_h, grid_w) attention; what fails is left out."""
    from ..io.images import read_image
    from ..mllm.generate import generate, replay
    from ..refine.attention_prior import head_map
    from ..settings import preset

    settings = preset("paper")
    for start in range(0, len(samples), batch_size):
        batch = samples[start : start + batch_size]
        images = [read_image(sample.image) for sample in batch]
        texts = [trace.text for trace in generate(mllm, images, settings)]
        traces = replay(mllm, images, texts, settings, keep_heads=True)
        for sample, trace in zip(batch, traces, strict=True):
            try:
                attention = head_map(trace, settings)
            except FlawsightError:
                continue
            if attention is not None:
                yield bool(sample.label), attention
        on_images(len(batch))
