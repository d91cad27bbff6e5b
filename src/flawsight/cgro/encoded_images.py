"""Images → token ids of the prompt, and vision features from before the merger.

The vision encoder is frozen, so one encoding of an image serves all candidates and passes. The
merger trains, so every pass applies it to the kept features (`embedded_prompt.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from PIL.Image import Image
from safetensors.torch import load_file, save
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..io.files import slug, write_atomically
from ..io.images import read_image
from ..mllm.adapter import core
from ..mllm.encode import encode_prompts
from ..mllm.load import MLLM
from ..mllm.token_grid import TokenGrid
from ..settings import Settings


@dataclass(frozen=True)
class EncodedImage:
    """One image's prompt, without padding, on the CPU.

    Attributes:
        input_ids: (P,) the prompt's tokens.
        mm_token_type_ids: (P,) 1 for image tokens, 0 for text.
        image_grid_thw: (K + 1, 3) of patches, of K photos of good parts and then of the image.
        columns: (C,) positions in the prompt of the image's tokens and then of the question's, none
            of the photos'.
        anomaly_tokens: (Q,) bool, which of the question's tokens are anomaly words.
        features: (image tokens, merge² · width) the vision encoder's output, in the order of the
            image tokens, the photos' first; each row is the patches that the merger merges into
            one token.
        deepstack: (D, image tokens, language width) features of D layers of the vision encoder
            that Qwen3-VL adds after its first D language layers; their mergers are frozen. D is 0
            for Qwen2.5-VL.
    """

    input_ids: Tensor
    mm_token_type_ids: Tensor
    image_grid_thw: Tensor
    columns: Tensor
    anomaly_tokens: Tensor
    features: Tensor
    deepstack: Tensor


@dataclass(frozen=True)
class Prompts:
    """B encoded images, left-padded to P tokens, on the model's device.

    Attributes:
        input_ids, attention_mask, mm_token_type_ids: (B, P).
        image_grid_thw: (B · (K + 1), 3), of K photos of good parts before each image.
        columns: (B, C) positions in the padded prompt; short rows are padded with 0.
        grids: where the image tokens of each lie.
        anomaly_tokens: (Q,) bool.
        features: (image tokens of all, merge² · width).
        deepstack: (D, image tokens of all, language width).
    """

    input_ids: Tensor
    attention_mask: Tensor
    mm_token_type_ids: Tensor
    image_grid_thw: Tensor
    columns: Tensor
    grids: list[TokenGrid]
    anomaly_tokens: Tensor
    features: Tensor
    deepstack: Tensor


@torch.no_grad()
def encode_image(
    mllm: MLLM, image: Image, settings: Settings, photos: Sequence[Image] = ()
) -> EncodedImage:
    """Run the frozen vision encoder on one image, and on the photos of good parts before it.

    Never in a batch: an image's features must not depend on the other images.
    """
    prompt = encode_prompts(mllm, [image], settings, photos)
    visual = core(mllm.model).model.visual
    width = visual.config.hidden_size * visual.config.spatial_merge_size**2

    # After the merger, the encoder puts the rows from its windows back into the image's order.
    def unmerged(_module: object, inputs: tuple[Tensor], _merged: Tensor) -> Tensor:
        return inputs[0].view(-1, width)

    with visual.merger.register_forward_hook(unmerged):
        encoded = visual(prompt.inputs["pixel_values"], grid_thw=prompt.inputs["image_grid_thw"])
    deeper = getattr(encoded, "deepstack_features", None)
    inputs = {name: value.cpu() for name, value in prompt.inputs.items()}
    return EncodedImage(
        input_ids=inputs["input_ids"][0],
        mm_token_type_ids=inputs["mm_token_type_ids"][0],
        image_grid_thw=inputs["image_grid_thw"],
        columns=prompt.columns[0].cpu(),
        anomaly_tokens=prompt.anomaly_tokens,
        features=encoded.pooler_output.cpu(),
        deepstack=torch.stack(deeper).cpu() if deeper else torch.empty(0, 0, 0),
    )


def collate(images: Sequence[EncodedImage], mllm: MLLM) -> Prompts:
    """Pad encoded images on the left and bring them to the model's device."""
    longest = max(len(image.input_ids) for image in images)
    pad = mllm.processor.tokenizer.pad_token_id
    merge = mllm.processor.image_processor.merge_size

    def padded(rows: list[Tensor], value: int) -> Tensor:
        return pad_sequence(rows, True, value, padding_side="left").to(mllm.device)

    # Features kept on the disk by an earlier version have (3,).
    grids = [image.image_grid_thw.view(-1, 3) for image in images]
    sizes = [grid[-1, 1:].tolist() for grid in grids]
    columns = [image.columns + longest - len(image.input_ids) for image in images]
    return Prompts(
        input_ids=padded([image.input_ids for image in images], pad),
        attention_mask=padded([torch.ones_like(image.input_ids) for image in images], 0),
        mm_token_type_ids=padded([image.mm_token_type_ids for image in images], 0),
        image_grid_thw=torch.cat(grids).to(mllm.device),
        columns=pad_sequence(columns, batch_first=True).to(mllm.device),
        grids=[TokenGrid((height // merge, width // merge)) for height, width in sizes],
        anomaly_tokens=images[0].anomaly_tokens,
        features=torch.cat([image.features for image in images]).to(mllm.device),
        deepstack=torch.cat([image.deepstack for image in images], dim=1).to(mllm.device),
    )


class EncodedImages:
    """Encodes image files and keeps the results.

    Args:
        mllm: whose vision encoder is used.
        settings: the question and the size of the images.
        keep: place where they are kept: "memory", "disk" or "none".
        folder: for "disk"; it must belong to this model, these settings and these photos.
        photos: of good parts, before each image.
    """

    def __init__(
        self,
        mllm: MLLM,
        settings: Settings,
        keep: str,
        folder: Path,
        photos: Sequence[Image] = (),
    ) -> None:
        self._mllm, self._settings, self._keep, self._folder = mllm, settings, keep, folder
        self._photos = photos
        self._kept: dict[Path, EncodedImage] = {}

    def __call__(self, path: Path) -> EncodedImage:
        """Return one image, encoded.

        Raises:
            ImageError: if it cannot be read.
            OSError: if it cannot be written to the disk.
        """
        if path in self._kept:
            return self._kept[path]
        file = self._folder / f"{slug(str(path))}.safetensors"
        names = [field.name for field in fields(EncodedImage)]
        if self._keep == "disk" and file.exists() and not _is_newer(path, file):
            tensors = load_file(file)
            if tensors.keys() == set(names):  # not those of an earlier version
                return EncodedImage(**tensors)
        image = read_image(path, self._settings.bit_depth)
        encoded = encode_image(self._mllm, image, self._settings, self._photos)
        if self._keep == "memory":
            self._kept[path] = encoded
        elif self._keep == "disk":
            self._folder.mkdir(parents=True, exist_ok=True)
            tensors = {name: getattr(encoded, name).contiguous() for name in names}
            write_atomically(file, save(tensors))
        return encoded


def _is_newer(photo: Path, file: Path) -> bool:
    """Whether a photo has been replaced since a file was made; False if the photo is gone."""
    try:
        state = photo.stat()
    except OSError:
        return False
    return max(state.st_mtime_ns, state.st_ctime_ns) > file.stat().st_mtime_ns
