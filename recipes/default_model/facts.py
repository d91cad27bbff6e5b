"""What is true of a rendered image as targets, and the head that reads it from image tokens.

The facts are those of the texts (`conversation.py`): whether there is a defect, which kinds of
defect and benign feature are present, in which place, on which family. The head is needed for
training only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from conversation import PLACES
from torch import Tensor, nn
from torch.nn import functional

from flawsight_surfaces import FAMILIES, TRAIN_DEFECTS, SurfaceSample
from flawsight_surfaces.features.feature_table import FEATURES

KINDS = (*TRAIN_DEFECTS, *FEATURES)
_KIND_INDEX = {kind: index for index, kind in enumerate(KINDS)}
_FAMILY_INDEX = {family: index for index, family in enumerate(FAMILIES)}
UNKNOWN = -1


@dataclass(frozen=True)
class Facts:
    """Facts of B images. Kinds are columns of KINDS, places indices of PLACES, -1 if unknown."""

    label: Tensor  # (B,) 1 defective, 0 normal
    present: Tensor  # (B, kinds) 0 or 1
    place: Tensor  # (B, kinds)
    family: Tensor  # (B,)


def facts_of(samples: Sequence[SurfaceSample]) -> Facts:
    """Collect the facts of rendered images; a kind at several places has no known place."""
    present = torch.zeros(len(samples), len(KINDS))
    place = torch.full((len(samples), len(KINDS)), UNKNOWN)
    for row, sample in enumerate(samples):
        things = [(feature.kind, feature.place) for feature in sample.features]
        things += [(region.kind, region.place) for region in sample.defects]
        for kind, where in things:
            if kind in _KIND_INDEX:
                column = _KIND_INDEX[kind]
                known = where in PLACES and not present[row, column]
                place[row, column] = PLACES.index(where) if known and where else UNKNOWN
                present[row, column] = 1
    label = torch.tensor([float(sample.label) for sample in samples])
    family = torch.tensor([_FAMILY_INDEX[sample.family] for sample in samples])
    return Facts(label, present, place, family)


class FactHead(nn.Module):
    """Learned queries, one per kind and one for any defect, that attend to image tokens."""

    def __init__(self, width: int, tokens: int, heads: int = 4) -> None:
        super().__init__()
        queries = len(KINDS) + 1
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.position = nn.Parameter(torch.randn(tokens, width) * 0.5)
        self.query = nn.Parameter(torch.randn(queries, width) * 0.5)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.present = nn.Parameter(torch.randn(queries, width) * 0.02)
        self.bias = nn.Parameter(torch.tensor([-2.0] * len(KINDS) + [0.0]))
        self.place = nn.Linear(width, len(PLACES))
        self.wrong_place = nn.Linear(width, len(PLACES))
        self.wrong_kind = nn.Linear(width, len(TRAIN_DEFECTS))
        self.family = nn.Linear(width, len(FAMILIES))

    def forward(self, tokens: Tensor) -> dict[str, Tensor]:
        """Return float32 logits of (B, N, width) tokens."""
        tokens = self.norm(tokens)
        images, count, width = tokens.shape
        split = (images, count, 2, self.heads, width // self.heads)
        key, value = self.key_value(tokens + self.position).view(split).permute(2, 0, 3, 1, 4)
        query = self.query.to(key.dtype).view(1, -1, self.heads, width // self.heads)
        read = functional.scaled_dot_product_attention(
            query.transpose(1, 2).expand(images, -1, -1, -1), key, value
        )
        found = self.out(read.transpose(1, 2).flatten(2))
        found = found + self.mlp(found)
        logits = {
            "present": (found * self.present).sum(-1) + self.bias,
            "place": self.place(found[:, :-1]),
            "wrong_place": self.wrong_place(found[:, -1]),
            "wrong_kind": self.wrong_kind(found[:, -1]),
            "family": self.family(tokens.mean(1)),
        }
        return {name: logit.float() for name, logit in logits.items()}


def loss_of(
    logits: dict[str, Tensor], facts: Facts, weights: dict[str, float]
) -> dict[str, Tensor]:
    """Return the losses by name, means over the images, and their weighted sum as `total`.

    The images are pairs, normal and defective in turn. `pair` is the logistic loss of which of the
    two is defective: what they share cancels out.
    """
    verdict, present = logits["present"][:, -1], logits["present"][:, :-1]
    known = facts.place >= 0
    defects = facts.present[:, : len(TRAIN_DEFECTS)]
    places = facts.place[:, : len(TRAIN_DEFECTS)].max(1).values
    single = (defects.sum(1) == 1) & (facts.label > 0) & (places >= 0)
    images, singles = len(facts.label), single.sum().clamp(min=1)
    entropy = functional.cross_entropy
    losses = {
        "verdict": functional.binary_cross_entropy_with_logits(verdict, facts.label),
        "pair": functional.softplus(verdict[::2] - verdict[1::2]).mean(),
        "kinds": functional.binary_cross_entropy_with_logits(
            present, facts.present, reduction="sum"
        ) / images,
        "places": entropy(logits["place"][known], facts.place[known], reduction="sum") / images,
        # A small batch may have no image with a single defect.
        "wrong_kind": entropy(
            logits["wrong_kind"][single], defects[single].argmax(1), reduction="sum"
        ) / singles,
        "wrong_place": entropy(
            logits["wrong_place"][single], places[single], reduction="sum"
        ) / singles,
        "family": entropy(logits["family"], facts.family),
    }  # fmt: skip
    losses["total"] = sum((weights[name] * loss for name, loss in losses.items()), torch.zeros(()))
    return losses
