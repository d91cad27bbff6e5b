"""Features of an image's patches in the vision encoder, during the model's forward pass."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

PatchScore = Callable[[Tensor], Tensor]


@contextmanager
def score_patches(model: nn.Module, score: PatchScore | None) -> Iterator[list[Tensor]]:
    """Fill a list with a score of each patch of each image encoded inside the block, in order.

    The score is the mean of two: of the features after the encoder's first block, which depend
    mostly on the patch itself, and after the last, which depend on the whole image.

    Args:
        model: a Qwen2.5-VL.
        score: (n, d) features of the n patches of one image, in any order → (n,) float32. None
            scores nothing.

    Yields:
        A list of (2 · grid_h, 2 · grid_w) float32 on the CPU: an image token is 2 × 2 patches.
    """
    found: list[Tensor] = []
    if score is None:
        yield found
        return
    visual: Any = next(module for module in model.modules() if hasattr(module, "merger"))
    ends = {visual.blocks[0], visual.blocks[-1]}
    merge = visual.config.spatial_merge_size
    counts: list[int] = []
    layers: list[Tensor] = []

    def begin(_module: Any, _inputs: Any, named: dict[str, Any]) -> None:
        counts[:] = named["grid_thw"].prod(dim=1).tolist()
        layers.clear()

    def see(_module: Any, _inputs: Any, features: Tensor) -> None:
        layers.append(torch.cat([score(image) for image in torch.split(features, counts)]))

    # The blocks' rows are in the order of the encoder's windows. The encoder reorders the merger's
    # rows to the image's order, so they carry the scores of their patches.
    def load(_module: Any, _inputs: Any, merged: Tensor) -> Tensor:
        mean = torch.stack(layers).mean(dim=0)
        return torch.cat([merged, mean.view(len(merged), -1).to(merged.dtype)], dim=1)

    def unload(_module: Any, _inputs: Any, named: dict[str, Any], encoded: Any) -> Any:
        merged = encoded.pooler_output
        encoded.pooler_output, scores = merged.split([merged.shape[1] - merge**2, merge**2], dim=1)
        for (_, height, width), rows in zip(
            named["grid_thw"].tolist(), scores.split([n // merge**2 for n in counts]), strict=True
        ):
            units = rows.view(height // merge, width // merge, merge, merge)
            found.append(units.transpose(1, 2).reshape(height, width).float().cpu())
        return encoded

    with ExitStack() as hooks:
        for handle in (
            visual.register_forward_pre_hook(begin, with_kwargs=True),
            *(block.register_forward_hook(see) for block in ends),
            visual.merger.register_forward_hook(load),
            visual.register_forward_hook(unload, with_kwargs=True),
        ):
            hooks.callback(handle.remove)
        yield found
