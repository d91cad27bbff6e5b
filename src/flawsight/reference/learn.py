"""Good photos → Reference, by one pass of the vision encoder over each."""

import io
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain

from PIL import Image
from torch import Tensor

from ..errors import ImageError, LearnError
from ..io.images import Photo
from ..io.photo_roi import cut_photo
from ..mllm.encode import encode_prompts
from ..mllm.load import MLLM
from ..mllm.patch_features import PatchReader
from ..mllm.vision import read_images
from ..roi import roi_in_words
from ..settings import Settings
from .blocks import blocks_of
from .compare import patch_vectors
from .memory import Reference

# Settings that the features depend on.
SEEN_WITH = ("image_tokens", "image_grid", "bit_depth", "roi")
# Patches along a side; on a smaller grid the mean of neighbours is that of the whole image.
LEAST = 4


def vector_reader(blocks: tuple[int, ...]) -> PatchReader[Tensor]:
    """Return what reads the (h, w, d) patch vectors of images."""
    return PatchReader(blocks, lambda features: patch_vectors(features).cpu())


def learn(
    mllm: MLLM,
    photos: Iterable[tuple[str, Image.Image]],
    settings: Settings,
    known: Reference | None = None,
    forget: Collection[str] = (),
    on_photo: Callable[[str], None] | None = None,
    on_left_out: Callable[[str, LearnError], None] | None = None,
) -> Reference:
    """Make a reference of good photos.

    Args:
        mllm: the model whose vision encoder is used.
        photos: names and upright RGB images, taken one at a time; each name once. They are cut to
            the region of interest.
        settings: those to inspect with.
        known: a reference whose photos are learned again, before the others; it may be of another
            model or of other settings.
        forget: names of its photos that are left out.
        on_photo: called with each name once its photo has been encoded.
        on_left_out: called with the name of a photo that is too small, a copy of another or no
            photo that the region of interest fits, and why it is left out; None refuses them.

    Raises:
        LearnError: if there are no photos, two of one name or content, photos too small, none to
            forget, or a known reference of another region of interest.
        ModelError: if the model cannot be used for this.
    """
    if missing := set(forget) - ({one.name for one in known.photos} if known else set()):
        raise LearnError(f"The reference has no photo {sorted(missing)[0]!r} to forget.")
    if known is not None and known.settings.get("roi") != settings.roi:
        raise LearnError(
            f"The reference holds {roi_in_words(known.settings.get('roi'))}, not "
            f"{roi_in_words(settings.roi)}; give the same --roi, or learn the photo files again "
            "with this one."
        )
    # Pictures of a reference have been cut already.
    old = ((*one, None) for one in _pictures(mllm, known, settings) if one[0] not in forget)
    new = ((name, photo, settings, settings.roi) for name, photo in photos)
    reader = vector_reader(blocks_of(mllm.model))
    pictures: dict[str, bytes] = {}
    vectors: list[Tensor] = []
    refused = ""
    for name, image, exact, roi in chain(old, new):
        if name in pictures:
            raise LearnError(f"Two of the photos are called {name}; give each a name of its own.")
        problem: LearnError | None = None
        try:
            seen = cut_photo(Photo(image), roi)[0].image
        except ImageError as error:
            problem = LearnError(f"{name}: {error}")
        else:
            (own,) = read_images(mllm, encode_prompts(mllm, [seen], exact), reader)
            picture = picture_of(mllm, seen, exact)
            problem = _problem(name, picture, own, pictures)
        if problem is not None:
            if on_left_out is None:
                raise problem
            on_left_out(name, problem)
            refused = f" {problem}"
            continue
        pictures[name] = picture
        vectors.append(own)
        if on_photo is not None:
            on_photo(name)
    if not pictures:
        raise LearnError(
            f"There are no good photos to learn from; one is needed, 16 are better.{refused}"
        )
    return reference_of(mllm, settings, pictures, vectors)


def reference_of(
    mllm: MLLM, settings: Settings, pictures: Mapping[str, bytes], vectors: Sequence[Tensor]
) -> Reference:
    """Make a reference of photos that have been encoded.

    Args:
        mllm: the model that encoded them.
        settings: with which it did.
        pictures: of `picture_of`, by name.
        vectors: (h, w, d) of `vector_reader`, in the same order.
    """
    values = settings.to_json()
    return Reference.of(
        [*pictures],
        [*pictures.values()],
        vectors,
        blocks=blocks_of(mllm.model),
        settings={name: values[name] for name in SEEN_WITH},
        model_sha256=mllm.sha256,
    )


def picture_of(mllm: MLLM, image: Image.Image, settings: Settings) -> bytes:
    """Return the PNG of an RGB image at the size that the model sees."""
    content = io.BytesIO()
    mllm.family.at_its_size(mllm.processor, image, settings).save(content, "PNG")
    return content.getvalue()


def _problem(
    name: str, picture: bytes, vectors: Tensor, pictures: dict[str, bytes]
) -> LearnError | None:
    """Return what is wrong with a photo of (h, w, d) vectors, beside those learned so far."""
    if min(vectors.shape[:2]) < LEAST:
        return LearnError(
            f"{name} has {vectors.shape[0]} × {vectors.shape[1]} patches, and {LEAST} × {LEAST} is "
            "the least; raise image_tokens, or crop the photos less narrowly."
        )
    for other, known in pictures.items():
        if picture == known:
            return LearnError(
                f"{name} shows the same pixels as {other}. Copies make good photos look more alike "
                "than they are; leave one of them out."
            )
    return None


def _pictures(
    mllm: MLLM, known: Reference | None, settings: Settings
) -> Iterator[tuple[str, Image.Image, Settings]]:
    """Yield the photos of a reference, with settings that see them as they were seen."""
    if known is None:
        return
    values = settings.to_json()
    same = {name: values[name] for name in SEEN_WITH} == {"roi": None} | known.settings
    same &= known.model_sha256 == mllm.sha256
    for photo in known.photos:
        image = Image.open(io.BytesIO(photo.picture)).convert("RGB")
        exact = mllm.family.unscaled(mllm.processor, image, settings) if same else settings
        yield photo.name, image, exact
