"""Which blocks of a vision encoder tell good patches from others."""

from typing import Any

from ..mllm.patch_features import depth_of

# Of the bundled model, by image AUROC on one half of real photos (docs/log.md, 94).
_BUNDLED_DEPTH, _BUNDLED = 4, (1, 3)


def blocks_of(model: Any) -> tuple[int, ...]:
    """Return the blocks whose features a reference keeps.

    Of deep encoders one block at half of the depth: the last ones serve the words, not the places,
    and AnomalyDINO and PatchCore gain most from the middle.
    """
    depth = depth_of(model)
    return _BUNDLED if depth == _BUNDLED_DEPTH else (depth // 2,)
