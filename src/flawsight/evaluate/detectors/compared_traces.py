"""Traces of images compared with a reference, which share their words and features with others.

Whatever the reference, the words of an image are the same, and so are its patch features. Of a
bench with many references, each image is thus encoded once and asked about once.
"""

from dataclasses import replace

from PIL.Image import Image
from torch import Tensor

from ...inspection import PatchEvidence, Trace
from ...io.file_stamp import FileStamp
from ...io.images import read_photo
from ...io.photo_roi import cut_photo
from ...mllm.encode import encode_prompts
from ...mllm.load import MLLM
from ...mllm.vision import read_images, unasked
from ...reference.blocks import blocks_of
from ...reference.compare import reference_score
from ...reference.learn import picture_of, vector_reader
from ...reference.memory import Reference
from ...runs.trace_store import TraceFolder
from ...settings import Settings

# Bytes of features that are kept, about 1,100 images of the bundled model.
MOST = 1 << 30


class SharedFeatures:
    """The patch vectors of image files, each encoded once while there is room for it.

    Args:
        mllm: the model.
        settings: of the inspections; those that features depend on.
        most: bytes of vectors kept; of images beyond that, they are read again each time.
    """

    def __init__(self, mllm: MLLM, settings: Settings, most: int = MOST) -> None:
        self._mllm, self._settings = mllm, settings
        self._reader = vector_reader(blocks_of(mllm.model))
        self._left = most
        self._known: dict[tuple[str, FileStamp], tuple[Tensor, Trace]] = {}

    def read(self, image: str, stamp: FileStamp) -> tuple[Tensor, Trace]:
        """Return the (h, w, d) vectors of an image file, and its trace without any evidence.

        Raises:
            ImageError: if it cannot be read.
            ModelError: as `read_images`.
        """
        key = (image, stamp)
        if key in self._known:
            return self._known[key]
        photo = self._seen(image)
        prompts = encode_prompts(self._mllm, [photo], self._settings)
        (vectors,) = read_images(self._mllm, prompts, self._reader)
        found = vectors, unasked(prompts, 0, PatchEvidence())
        size = vectors.numel() * vectors.element_size()
        if size <= self._left:
            self._left -= size
            self._known[key] = found
        return found

    def picture(self, image: str) -> bytes:
        """Return the PNG of an image file at the size that the model sees.

        Raises:
            ImageError: if it cannot be read.
        """
        return picture_of(self._mllm, self._seen(image), self._settings)

    def _seen(self, image: str) -> Image:
        read = read_photo(image, self._settings.bit_depth)
        return cut_photo(read, self._settings.roi)[0].image


class ComparedTraces:
    """A `TraceStore` of images compared with one reference.

    Args:
        features: of the model.
        reference: of good photos.
        threshold: above which score of the reference an image counts as defective.
        explain: see `Settings`.
        words: traces of the model without a reference, which are asked about always.
    """

    def __init__(
        self,
        features: SharedFeatures,
        reference: Reference,
        threshold: float | None,
        explain: str,
        words: TraceFolder,
    ) -> None:
        self._features, self._reference = features, reference
        self._threshold, self._explain, self._words = threshold, explain, words

    def load(self, image: str, stamp: FileStamp) -> Trace | None:
        """Return the trace of an image; None if the model has to be asked."""
        vectors, silent = self._features.read(image, stamp)
        distance, index = self._reference.compare(vectors)
        patches = PatchEvidence(reference_distance=distance, nearest_good=index)
        if not self._asks(patches):
            return replace(silent, patches=patches)
        trace = self._words.load(image, stamp)
        return None if trace is None else replace(trace, patches=_with(trace, patches))

    def save(self, image: str, stamp: FileStamp, trace: Trace) -> None:
        """Keep the words of an image."""
        if trace.asked:
            self._words.save(image, stamp, replace(trace, patches=_with(trace, PatchEvidence())))

    def _asks(self, patches: PatchEvidence) -> bool:
        if self._explain != "defective":
            return self._explain == "always"
        score = reference_score(patches)
        return score is None or self._threshold is None or score > self._threshold


def _with(trace: Trace, patches: PatchEvidence) -> PatchEvidence:
    """Return the evidence of a trace with what compares it with a reference."""
    return replace(patches, feature_distance=trace.patches.feature_distance)
