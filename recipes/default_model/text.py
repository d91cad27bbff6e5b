"""Facts of a rendered surface → the response the model learns to give, with a weight for each part.

The first sentence commits to a verdict, so that a greedy decoder cannot change its mind half way.
What can be learned first weighs most in the loss: whether there is a defect, then where. Its kind
and tone weigh less, since at the start they are noise, and the words around them least.
"""

from collections.abc import Iterator

import numpy as np

from flawsight.data.surfaces import FAMILIES, SurfaceSample

VERDICT = 4.0
PLACE = 3.0
KIND = 1.0
TEMPLATE = 0.1

# What to call a surface of a material: coarse, so that it can hold for a family never seen.
MATERIALS = {
    "metal": "metal",
    "stone": "stone",
    "wood": "wood",
    "fabric": "fabric",
    "sheet": "sheet",
    "board": "board",
    "part": "part",
    "organic": "piece",
}

_DEFECTIVE = (
    ("There is", " {what}", " in the", " {place}",
     ". The rest of the", " {material}", " looks even."),
    ("There is", " {what}", " in the", " {place}",
     ". It stands out from the", " {material}", " around it."),
    ("There is", " {what}", " in the", " {place}",
     " of the", " {material}", ", so the part is defective."),
)  # fmt: skip
_NORMAL = (
    ("Nothing", " is wrong here. The", " {material}", " looks even from edge to edge."),
    ("Nothing", " stands out. The", " {material}", " is intact, without any defect."),
    ("Nothing", " is wrong here. No part of the", " {material}", " is damaged."),
)


def response(sample: SurfaceSample, rng: np.random.Generator) -> Iterator[tuple[str, float]]:
    """Yield the response to the question in pieces, each with its weight in the loss.

    The pieces join to ``<think>…</think><answer>Yes|No</answer>``; `rng` draws the wording.
    """
    defective = sample.label == 1
    wordings = _DEFECTIVE if defective else _NORMAL
    what = " ".join(word for word in (sample.tone, sample.defect) if word)
    words = {
        "what": f"{'an' if what[:1] in 'aeiou' else 'a'} {what}",
        "place": sample.place,
        "material": MATERIALS.get(FAMILIES[sample.family].material, "surface"),
    }
    yield "<think>", TEMPLATE
    weights = {" {what}": KIND, " {place}": PLACE}
    verdict, *rest = wordings[rng.integers(len(wordings))]
    yield verdict, VERDICT
    for piece in rest:
        yield piece.format(**words), weights.get(piece, TEMPLATE)
    yield "</think><answer>", TEMPLATE
    yield "Yes" if defective else "No", KIND
    yield "</answer>", TEMPLATE


def second_look(
    sample: SurfaceSample, twin: SurfaceSample, rng: np.random.Generator
) -> Iterator[tuple[str, float]]:
    """Yield the twin's reasoning, wrong for this image, and then the right answer.

    Only the answer counts in the loss. Without these, the answer is copied from the reasoning, and
    P(Yes) is 0 or 1; with them it has to look at the image again, and ranks images.
    """
    for piece, _ in response(twin, rng):
        right = "Yes" if sample.label else "No"
        yield (right, VERDICT) if piece in ("Yes", "No") else (piece, 0.0)
