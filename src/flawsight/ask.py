"""Images → Traces: what the model sees in each, and its words where they are wanted."""

from collections.abc import Sequence

from PIL.Image import Image
from torch import Tensor

from .batches import Outcome
from .endpoint.generator import ServedGenerator, trace_served
from .mllm.encode import PromptBatch, encode_prompts
from .mllm.generate import generate
from .mllm.load import MLLM
from .mllm.vision import look
from .reference.compare import reference_score
from .reference.memory import Reference
from .refine.crops import inspect_crops
from .refine.patch_evidence import evidence_reader
from .settings import Settings


def ask(
    mllm: MLLM,
    images: Sequence[Image],
    prompts: PromptBatch,
    settings: Settings,
    *,
    prior: Tensor | None = None,
    reference: Reference | None = None,
    threshold: float | None = None,
    generator: ServedGenerator | None = None,
    photos: Sequence[Image] = (),
) -> list[Outcome]:
    """Trace a batch of images; with a reference, only some may be asked about.

    Args:
        mllm: the model.
        images: RGB images.
        prompts: of these.
        settings: `explain` says which images the model is asked about.
        prior: (h, w) density on normal images, or None.
        reference: of good photos, or None.
        threshold: above which score of the reference an image counts as defective.
        generator: see `Inspector`.
        photos: of good parts, which the prompts have before each image.

    Raises:
        ModelError: if the model computes NaN.
        DetectorError: if the generator's server is at fault.
    """
    reader = evidence_reader(settings, reference)

    def respond(images: Sequence[Image], prompts: PromptBatch) -> list[Outcome]:
        traces: Sequence[Outcome]
        if generator is None:
            traces = generate(mllm, prompts, settings, reader)
        else:
            traces = trace_served(generator, mllm, images, settings, reader, photos)
        return inspect_crops(mllm, images, traces, settings, prior, evidence_reader(settings))

    if settings.explain == "always" or reader is None:
        return respond(images, prompts)
    looked = look(mllm, prompts, reader)
    if settings.explain == "never":
        return [*looked]
    scores = [reference_score(trace.patches) for trace in looked]
    suspect = [
        index
        for index, score in enumerate(scores)
        if score is None or threshold is None or score > threshold
    ]
    outcomes: list[Outcome] = [*looked]
    if suspect:
        chosen = [images[index] for index in suspect]
        again = respond(chosen, encode_prompts(mllm, chosen, settings, photos))
        for index, outcome in zip(suspect, again, strict=True):
            outcomes[index] = outcome
    return outcomes
