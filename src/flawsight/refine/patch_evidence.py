"""What is read of the vision encoder's features in an inspection, in one pass for all steps."""

import torch
from torch import Tensor

from ..inspection import PatchEvidence
from ..mllm.patch_features import EvidenceReader, PatchReader
from ..reference.compare import patch_vectors
from ..reference.memory import Reference
from ..settings import Settings
from .feature_distance import feature_distance

# Features after the first block depend mostly on the patch itself, and after the last one on the
# whole image. The feature distance is the mean of both.
_BLOCKS = (0, -1)


def evidence_reader(
    settings: Settings, reference: Reference | None = None
) -> EvidenceReader | None:
    """Return what reads the evidence of an image's patches, None if nothing is wanted.

    Args:
        settings: `feature_distance`.
        reference: of good photos.
    """
    within = _BLOCKS if settings.feature_distance else ()
    among = () if reference is None else reference.blocks
    if not within + among:
        return None

    def read(features: Tensor) -> PatchEvidence:
        distance = far = index = None
        if within:
            layers = [feature_distance(layer.flatten(0, 1)) for layer in features[: len(within)]]
            distance = torch.stack(layers).mean(dim=0).view(features.shape[1:3]).cpu()
        if reference is not None:
            far, index = reference.compare(patch_vectors(features[len(within) :]))
        return PatchEvidence(distance, far, index)

    return PatchReader(within + among, read)
