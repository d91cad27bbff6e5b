"""Good photos → Reference, by one pass of the vision encoder over each."""

import io
from collections.abc import Callable, Collection, Sequence

from PIL import Image
from torch import Tensor

from ..errors import LearnError
from ..mllm.encode import encode_prompts
from ..mllm.load import MLLM
from ..mllm.patch_features import PatchReader
from ..mllm.vision import read_images
from ..settings import Settings
from .blocks import blocks_of
from .compare import patch_vectors
from .memory import Reference

# Settings that the features depend on.
SEEN_WITH = ("image_tokens", "image_grid", "bit_depth")
# Patches along a side; on a smaller grid the mean of neighbours is that of the whole image.
LEAST = 4


def vector_reader(blocks: tuple[int, ...]) -> PatchReader[Tensor]:
    """Return what reads the (h, w, d) patch vectors of images."""
    return PatchReader(blocks, lambda features: patch_vectors(features).cpu())


def learn(
    mllm: MLLM,
    photos: Sequence[tuple[str, Image.Image]],
    settings: Settings,
    known: Reference | None = None,
    forget: Collection[str] = (),
    on_photo: Callable[[str], None] | None = None,
) -> Reference:
    """Make a reference of good photos.

    Args:
        mllm: the model whose vision encoder is used.
        photos: names and upright RGB images; each name once.
        settings: those to inspect with.
        known: a reference whose photos are learned again, before the others; it may be of another
            model or of other settings.
        forget: names of its photos that are left out.
        on_photo: called with each name once its photo has been encoded.

    Raises:
        LearnError: if there are no photos, two of one name or content, photos too small, or none
            to forget.
        ModelError: if the model cannot be used for this.
    """
    seen = [one for one in _pictures(mllm, known, settings) if one[0] not in forget]
    if missing := set(forget) - ({one.name for one in known.photos} if known else set()):
        raise LearnError(f"The reference has no photo {sorted(missing)[0]!r} to forget.")
    seen += [(name, photo, settings) for name, photo in photos]
    if not seen:
        raise LearnError("There are no good photos to learn from; one is needed, 16 are better.")
    _check_names([name for name, *_ in seen])
    reader = vector_reader(blocks_of(mllm.model))
    pictures: list[bytes] = []
    vectors: list[Tensor] = []
    for name, image, exact in seen:
        (own,) = read_images(mllm, encode_prompts(mllm, [image], exact), reader)
        if min(own.shape[:2]) < LEAST:
            raise LearnError(
                f"{name} has {own.shape[0]} × {own.shape[1]} patches, and {LEAST} × {LEAST} is the "
                "least; raise image_tokens, or crop the photos less narrowly."
            )
        picture = _png(mllm.family.at_its_size(mllm.processor, image, exact))
        if picture in pictures:
            raise LearnError(
                f"{name} shows the same pixels as {seen[pictures.index(picture)][0]}. Copies make "
                "good photos look more alike than they are; leave one of them out."
            )
        pictures.append(picture)
        vectors.append(own)
        if on_photo is not None:
            on_photo(name)
    values = settings.to_json()
    return Reference.of(
        [name for name, *_ in seen],
        pictures,
        vectors,
        blocks=reader.blocks,
        settings={name: values[name] for name in SEEN_WITH},
        model_sha256=mllm.sha256,
    )


def _pictures(
    mllm: MLLM, known: Reference | None, settings: Settings
) -> list[tuple[str, Image.Image, Settings]]:
    """Return the photos of a reference, with settings that see them as they were seen."""
    if known is None:
        return []
    values = settings.to_json()
    same = {name: values[name] for name in SEEN_WITH} == known.settings
    same &= known.model_sha256 == mllm.sha256
    found = []
    for photo in known.photos:
        image = Image.open(io.BytesIO(photo.picture)).convert("RGB")
        exact = mllm.family.unscaled(mllm.processor, image, settings) if same else settings
        found.append((photo.name, image, exact))
    return found


def _check_names(names: Sequence[str]) -> None:
    for index, name in enumerate(names):
        if name in names[:index]:
            raise LearnError(f"Two of the photos are called {name}; give each a name of its own.")


def _png(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()
