"""Attention sinks: places that words attend to whatever an image shows.

Where the words about good images look, on average, is known from `flawsight calibrate --heads`. A
map relative to it keeps what this image adds. Densities are attention in units of the image's mean.
"""

from torch import Tensor
from torch.nn.functional import interpolate

# From which density on good images a cell is a sink, however the rest is spread.
SINK = 2.0


def usual_on(usual: Tensor, grid: tuple[int, int]) -> Tensor:
    """Bring the (h, w) density on good images to a (grid_h, grid_w) grid, with mean 1."""
    resized = interpolate(usual[None, None], grid, mode="bilinear", align_corners=False)[0, 0]
    return resized / resized.mean()


def relative(density: Tensor, usual: Tensor) -> Tensor:
    """Return (…, grid_h, grid_w) how many times the usual density of its place each cell has.

    Args:
        density: (…, grid_h, grid_w), at least 0.
        usual: (h, w) density on good images, of any grid.
    """
    # A place that is never looked at must not make a peak of what is next to nothing.
    return density / usual_on(usual, (density.shape[-2], density.shape[-1])).clamp(min=0.1)


def sink_share(density: Tensor, usual: Tensor) -> float:
    """Return which share of a map's attention lies on sinks, in [0, 1]."""
    sinks = usual_on(usual, (density.shape[0], density.shape[1])) > SINK
    return float(density[sinks].sum() / density.sum().clamp(min=1e-12))
