"""Which heads localize, as a picture: a cell a head, a row a layer."""

from pathlib import Path

from ..errors import CalibrationError, MissingExtraError
from ..refine.attention_prior import Looks


def draw_landscape(path: Path, looks: Looks) -> None:
    """Write a PNG of the heads' agreement, with a frame around those chosen, and the good map.

    Raises:
        MissingExtraError: if matplotlib is not installed.
        CalibrationError: if the picture cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.patches import Rectangle
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise MissingExtraError("matplotlib", "bench") from error

    figure = Figure(figsize=(9, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    shown = left.imshow(looks.agreement.numpy(), cmap="viridis", aspect="auto")
    for layer, head in looks.heads:
        left.add_patch(
            Rectangle((head - 0.46, layer - 0.46), 0.92, 0.92, fill=False, color="#ff9f1c", lw=2)
        )
    left.set(xlabel="head", ylabel="layer", title="Agreement with the other heads; framed: chosen")
    for axis in (left.xaxis, left.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    figure.colorbar(shown, ax=left, label="mean Jaccard index of the top cells")
    usual = right.imshow(looks.usual(None, looks.heads).numpy(), cmap="magma", vmin=0)
    right.set(xticks=[], yticks=[], title="Where they look on good images")
    figure.colorbar(usual, ax=right, label="attention, in units of the image's mean")
    for axes in (left, right):
        axes.title.set_fontsize("medium")
    try:
        figure.savefig(path, dpi=110, format="png")
    except OSError as error:
        raise CalibrationError(f"Cannot write {path}: {error.strerror or error}.") from error
