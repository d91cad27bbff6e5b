"""What the vision encoder sees in each place of an image, while it runs for the language model."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..refine.feature_distance import rarity


@contextmanager
def capture_rarity(model: nn.Module) -> Iterator[list[Tensor]]:
    """Fill a list with the rarity of each image that is encoded inside the block, in their order.

    Each is (2 · grid_h, 2 · grid_w) float32 on the CPU, for two patches a side make an image token:
    the mean of the rarity of its patches' features after the encoder's first block, which knows
    little but the patch itself, and after the last, which has seen what is around it.
    """
    visual: Any = next(module for module in model.modules() if hasattr(module, "merger"))
    ends = {visual.blocks[0], visual.blocks[-1]}
    merge = visual.config.spatial_merge_size
    found: list[Tensor] = []
    counts: list[int] = []
    layers: list[Tensor] = []

    def begin(_module: Any, _inputs: Any, named: dict[str, Any]) -> None:
        counts[:] = named["grid_thw"].prod(dim=1).tolist()
        layers.clear()

    def see(_module: Any, _inputs: Any, features: Tensor) -> None:
        layers.append(torch.cat([rarity(image) for image in torch.split(features, counts)]))

    # The blocks' rows are in the order of the encoder's windows. It brings those of the merger back
    # into the image's order, so let the merger's rows carry the rarity of their patches.
    def load(_module: Any, _inputs: Any, merged: Tensor) -> Tensor:
        mean = torch.stack(layers).mean(dim=0)
        return torch.cat([merged, mean.view(len(merged), -1).to(merged.dtype)], dim=1)

    def unload(_module: Any, _inputs: Any, named: dict[str, Any], encoded: Any) -> Any:
        merged = encoded.pooler_output
        encoded.pooler_output, rare = merged.split([merged.shape[1] - merge**2, merge**2], dim=1)
        for (_, height, width), rows in zip(
            named["grid_thw"].tolist(), rare.split([n // merge**2 for n in counts]), strict=True
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
