"""Stage 2: encode the pool once with the frozen encoder: the features that its merger reads.

Each pair is varied once, both images alike. Rerun the same command to encode the parts that are
missing.
"""

import argparse
import os
import pickle
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from build import PATCH_SIZE, build_encoder
from conversation import Pair
from distill import normalised, patches_of
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from pool import Pool
from safetensors.torch import load_file
from torch import Tensor, nn


@dataclass(frozen=True)
class EncodedPair:
    """A pair's facts, its features (2, patches, width) and its grid (1, rows, columns)."""

    pair: Pair
    features: Tensor
    grid: tuple[int, int, int]


class EncodedPool:
    """The parts that `encode_part` wrote to a folder, which are unpickled: trust the folder."""

    def __init__(self, folder: Path) -> None:
        parts = sorted(folder.glob("[0-9]*.npy"))
        self._features: list[NDArray[np.float16]] = [np.load(part, mmap_mode="r") for part in parts]
        stored = [pickle.loads(part.with_suffix(".pkl").read_bytes()) for part in parts]
        self._rows = [
            (part, start, pair, grid)
            for part, entries in enumerate(stored)
            for start, pair, grid in entries
        ]
        tokens = [rows * columns for *_, (_, rows, columns) in self._rows]
        self._by_size = np.argsort(tokens, kind="stable")

    def __len__(self) -> int:
        return len(self._rows)

    def draw(self, rng: np.random.Generator, pairs: int) -> list[EncodedPair]:
        """Draw pairs of nearly one number of patches: little padding."""
        near = max(pairs, len(self) // 5)
        first = int(rng.integers(-near // 2, len(self) - near // 2))
        first = min(max(0, first), len(self) - near)
        chosen = rng.choice(self._by_size[first : first + near], pairs, replace=False)
        return [self._read(*self._rows[index]) for index in chosen]

    def _read(self, part: int, start: int, pair: Pair, grid: tuple[int, int, int]) -> EncodedPair:
        patches = grid[1] * grid[2]
        features = self._features[part][start : start + 2 * patches]
        return EncodedPair(pair, torch.from_numpy(features.copy()).view(2, patches, -1), grid)


class One(nn.Module):
    """In place of a layer that gives 1 everywhere (convert.py): a quarter of a block's work."""

    def forward(self, _: Tensor) -> float:
        """Return 1."""
        return 1.0


def load_encoder(path: Path, settings: dict[str, Any]) -> Any:
    """Return the encoder of stage 1, with a merger of random weights."""
    visual = build_encoder(settings["model"])
    visual.load_state_dict(load_file(path), strict=False)
    for block in visual.blocks:
        up = block.mlp.up_proj
        if not up.weight.any() and bool((up.bias == 1).all()):
            block.mlp.up_proj = One()
    return visual.requires_grad_(False)


def varied_alike(images: list[NDArray[np.uint8]], rng: np.random.Generator) -> list[Tensor]:
    """Make images brighter or darker, all alike, which no text tells: (3, H, W), normalised."""
    gain, gamma = float(rng.uniform(0.85, 1.1)), float(rng.uniform(0.85, 1.18))
    varied = []
    for image in images:
        pixels = torch.from_numpy(image.copy()).permute(2, 0, 1) / 255
        varied.append(normalised((pixels * gain).clamp(0, 1) ** gamma))
    return varied


@torch.inference_mode()
def encode(visual: Any, images: list[Tensor]) -> Tensor:
    """Return the features of normalised images before the merger, one after the other."""
    grid = [[1, *(side // PATCH_SIZE for side in image.shape[1:])] for image in images]
    patches = torch.cat([patches_of(image[None]) for image in images])
    features: Tensor = visual(patches, grid_thw=torch.tensor(grid)).last_hidden_state
    return features


def encode_part(part: Path, encoder: Path, folder: Path, settings: dict[str, Any]) -> None:
    """Write the features of one part of the pool, and the pairs' facts."""
    target = folder / f"{part.stem}.npy"
    if target.exists():
        return
    torch.set_num_threads(1)
    visual = load_encoder(encoder, settings)
    pairs = list(Pool.read(part))
    grids = [(1, *(side // PATCH_SIZE for side in pair[0].image.shape[:2])) for pair in pairs]
    starts = np.cumsum([0] + [2 * rows * columns for _, rows, columns in grids])
    unfinished = folder / f"unfinished_{part.stem}.npy"
    width = settings["model"]["vision_width"]
    features = open_memmap(unfinished, "w+", np.float16, (int(starts[-1]), width))
    for index, pair in enumerate(pairs):
        rng = np.random.default_rng([88, int(part.stem), index])
        encoded = encode(visual, varied_alike([sample.image for sample in pair], rng))
        features[starts[index] : starts[index + 1]] = encoded.numpy()
    none = np.zeros((0, 0, 3), np.uint8)
    entries = [
        (int(start), tuple(replace(sample, image=none) for sample in pair), grid)
        for start, pair, grid in zip(starts, pairs, grids, strict=False)
    ]
    (folder / f"{part.stem}.pkl").write_bytes(pickle.dumps(entries))
    features.flush()
    os.replace(unfinished, target)


def main() -> None:
    """Encode all parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pool", type=Path, required=True, help="folder of pool.py")
    parser.add_argument("--encoder", type=Path, required=True, help="of stage 1")
    parser.add_argument("--out", type=Path, required=True, help="folder of the features")
    parser.add_argument("--config", type=Path, default=Path(__file__).with_name("config.yaml"))
    arguments = parser.parse_args()
    settings = yaml.safe_load(arguments.config.read_text())
    arguments.out.mkdir(parents=True, exist_ok=True)
    encode_one = partial(
        encode_part, encoder=arguments.encoder, folder=arguments.out, settings=settings
    )
    with ProcessPoolExecutor() as workers:
        list(workers.map(encode_one, Pool.parts(arguments.pool)))


if __name__ == "__main__":
    main()
