"""The recipe of the bundled model, from start to end at a tiny size."""

import json
import os
import re
import shutil
import socket
import subprocess
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import train_encoder
import train_language
import yaml
from build import build_model, build_processor, build_tokenizer
from conversation import (
    PLACES,
    Question,
    draw_question,
    draw_verdict,
    inspection,
    respond,
    respond_swapped,
)
from data import SUBJECTS
from encoder import (
    _angles,
    _distinct,
    _rotate,
    encode_images,
    grow,
    initialize_attention,
)
from facts import KINDS, facts_of
from muon import Muon, orthogonalize
from parallel import average_gradients, processes
from PIL import Image
from pool import _flipped, render_part
from safetensors.torch import load_file
from torch import multiprocessing
from train_encoder import MEAN, STD
from transformers import Qwen2_5_VLForConditionalGeneration

from flawsight.errors import AnswerError
from flawsight.inspection import Inspection
from flawsight.inspector import Inspector
from flawsight.mllm.contradiction import contradicts, telling_sentence
from flawsight.mllm.response import follows_form, parse_response
from flawsight.prompt import INSTRUCTION
from flawsight_surfaces import SurfaceSample, render_pair
from flawsight_surfaces.words import place_word
from helpers.exact_environment import ExactEnvironment

RECIPE = Path(__file__).parents[2] / "recipes/default_model"
MODEL = {
    "width": 64,
    "vision_width": 32,
    "vision_layers": 2,
    "vision_head_size": 16,
    "window_size": 48,
    "text_layers": 2,
    "head_size": 32,
    "key_value_heads": 1,
    "mlp_ratio": 2,
}
STEPS = {"steps": 4, "pairs": 2, "warmup_steps": 2, "checkpoint_every": 2}
TINY = {
    "image_side": 96,
    "model": MODEL | {"vision_width": 64, "vision_head_size": 32},
    "pool": {"parts": 2, "pairs": 3},
    "small_encoder": STEPS
    | {
        "size": {"vision_width": 32, "vision_head_size": 16},
        "compile": False,
        "validation_pairs": 2,
    },
    "encoder": STEPS | {"compile": False, "validation_pairs": 2},
    "language": STEPS
    | {
        "vocab_size": 400,
        "corpus_pairs": 40,
        "fresh_share": 0.5,
        "swapped_share": 0.5,
        "steps": 6,
        "checkpoint_every": 3,
        "validate_every": 0,
        "workers": 0,
    },
}


def at_tiny_size(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        name: TINY[name] if isinstance(section, int) else section | TINY[name]
        for name, section in settings.items()
    }


def checkout(folder: Path) -> Path:
    """Copy the recipe into a folder, at a tiny size."""
    copy = shutil.copytree(RECIPE, folder / "recipes/default_model")
    settings = yaml.safe_load((RECIPE / "config.yaml").read_text())
    (copy / "config.yaml").write_text(yaml.safe_dump(at_tiny_size(settings)))
    return folder


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the README's commands have run."""
    folder = checkout(tmp_path_factory.mktemp("checkout"))
    commands = re.findall(r"^    (.*)$", (RECIPE / "README.md").read_text(), flags=re.MULTILINE)
    assert commands[0].startswith("python -m venv")
    (extra,) = re.findall(r"^pip install .*'\.\[(\w+)\]'$", commands[1])
    done = subprocess.run(
        ["bash", "-euc", "\n".join(commands[2:])],
        cwd=folder,
        env=ExactEnvironment(folder / ".venv", extra).environ,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder


def train(recipe: Path, out: str, stop_after: int | None = None, **inputs: str) -> Path:
    """Train in this process alone; return the folder of the run."""
    options = {"pool": recipe / "POOL", "out": recipe / out, "stop_after": stop_after}
    options["config"] = recipe / "recipes/default_model/config.yaml"
    options |= {name: recipe / path for name, path in inputs.items()}
    module = train_language if "encoder" in inputs else train_encoder
    module.train(Namespace(**({"grow_from": None} | options)), rank=0, world_size=1)
    return recipe / out


@pytest.mark.slow
def test_the_readmes_commands_end_in_a_model_that_flawsight_loads(recipe: Path) -> None:
    for part in ("SMALL", "ENCODER", "RUN"):
        checkpoint = torch.load(recipe / part / "checkpoint.pt", weights_only=True)
        assert checkpoint["step"] == TINY["language" if part == "RUN" else "encoder"]["steps"]
    encoder = load_file(recipe / "ENCODER/encoder.safetensors")
    model = load_file(recipe / "RUN/model/model.safetensors")
    for name, weights in encoder.items():
        if name.startswith("visual."):
            assert torch.equal(weights, model[name]), name
    stock = Qwen2_5_VLForConditionalGeneration.from_pretrained(recipe / "RUN/model")
    assert stock.config.model_type == "qwen2_5_vl"
    image = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    inspector = Inspector.from_pretrained(recipe / "RUN/model")
    # So few steps teach it no answer; it is asked, and what it says is traced.
    (outcome,) = inspector.inspect_batch([image])
    assert isinstance(outcome, Inspection | AnswerError)


@pytest.mark.slow
def test_language_training_resumed_gives_the_weights_of_training_uninterrupted(
    recipe: Path,
) -> None:
    encoder = {"encoder": "ENCODER/encoder.safetensors"}
    whole = load_file(train(recipe, "whole", **encoder) / "model/model.safetensors")
    stopped = train(recipe, "resumed", 4, **encoder)  # one step past the last checkpoint
    assert torch.load(stopped / "checkpoint.pt", weights_only=True)["step"] == 3
    resumed = load_file(train(recipe, "resumed", **encoder) / "model/model.safetensors")
    assert whole.keys() == resumed.keys()
    for name, weights in whole.items():
        assert torch.equal(weights, resumed[name]), name


@pytest.mark.slow
@pytest.mark.parametrize("inputs", [{}, {"grow_from": "SMALL/encoder.safetensors"}])
def test_encoder_training_resumed_gives_the_weights_of_training_uninterrupted(
    recipe: Path, inputs: dict[str, str]
) -> None:
    name = f"encoder-{len(inputs)}"
    whole = load_file(train(recipe, name, **inputs) / "encoder.safetensors")
    stopped = train(recipe, f"{name}-again", 3, **inputs)
    assert torch.load(stopped / "checkpoint.pt", weights_only=True)["step"] == 2
    again = load_file(train(recipe, f"{name}-again", **inputs) / "encoder.safetensors")
    assert all(torch.equal(weights, again[name]) for name, weights in whole.items())


def test_the_encoder_begins_with_the_function_of_the_small_one(tmp_path: Path) -> None:
    recipe = checkout(tmp_path)
    (recipe / "POOL").mkdir()
    render_part(0, recipe / "POOL", TINY["pool"]["pairs"], TINY["image_side"])
    train(recipe, "SMALL")
    path = recipe / "recipes/default_model/config.yaml"
    settings = yaml.safe_load(path.read_text())
    settings["encoder"] |= {"steps": 1, "muon_lr": 0.0, "adamw_lr": 0.0}
    still = recipe / "still.yaml"
    still.write_text(yaml.safe_dump(settings))
    train(recipe, "grown", grow_from="SMALL/encoder.safetensors", config="still.yaml")
    images = torch.randn(2, 3, 96, 96)
    tokens = []
    for run, section in (("SMALL", "small_encoder"), ("grown", "encoder")):
        visual = train_encoder.build_visual(settings, settings[section])
        visual.load_state_dict(train_language.read_encoder(recipe / run / "encoder.safetensors"))
        with torch.no_grad():
            tokens.append(encode_images(visual, images))
    assert torch.allclose(tokens[0], tokens[1], rtol=0.05, atol=0.05)


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


@pytest.mark.parametrize("change", [{"vision_width": 48}, {"vision_head_size": 32}, {"layers": 1}])
def test_a_grown_encoder_computes_what_the_small_one_computes(change: dict[str, int]) -> None:
    torch.manual_seed(0)
    tokenizer = build_tokenizer([], 280)
    small = build_model(tokenizer, **MODEL).model.visual
    more = {"vision_width": 64} | change
    more |= {"vision_layers": MODEL["vision_layers"] + more.pop("layers", 0)}
    large = build_model(tokenizer, **(MODEL | more)).model.visual
    for encoder in (small, large):
        for parameter in encoder.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    grow(small, large)
    images = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        assert torch.allclose(
            encode_images(large, images), encode_images(small, images), rtol=1e-3, atol=1e-3
        )


def test_windows_that_a_pair_shares_are_encoded_once(untrained: Any) -> None:
    visual = untrained[0].model.visual
    images = torch.randn(4, 3, 96, 96)
    images[1, :, :48] = images[0, :, :48]
    with torch.no_grad():
        together = encode_images(visual, images, pairs=True)
        assert torch.allclose(together, encode_images(visual, images), atol=1e-6)
    windows = torch.stack([images[:2], images[2:]]).unflatten(4, (2, 48)).unflatten(3, (2, 48))
    own, source = _distinct(windows.permute(0, 1, 3, 5, 2, 4, 6).flatten(2, 3))
    assert len(own) == 4 * 4 - 2
    assert source[4:6].equal(source[:2])


@pytest.fixture(scope="module")
def untrained() -> Any:
    torch.manual_seed(0)
    tokenizer = build_tokenizer(["There is a scratch in the center."], 280)
    model = build_model(tokenizer, **MODEL).eval()
    initialize_attention(model.model.visual)
    return model, build_processor(tokenizer, 96)


def test_the_fast_encoder_equals_the_stock_encoder(untrained: Any) -> None:
    model, processor = untrained
    pixels = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3)).astype(np.uint8)
    encoded = processor.image_processor([Image.fromarray(p) for p in pixels], return_tensors="pt")
    visual = model.model.visual
    with torch.no_grad():
        grid = encoded["image_grid_thw"]
        stock = visual(encoded["pixel_values"], grid_thw=grid).pooler_output
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
        fast = encode_images(visual, (images - MEAN) / STD).flatten(0, 1)
        assert torch.allclose(fast, stock, atol=1e-5)


def test_windows_of_all_lengths_in_few_products_give_what_each_alone_gives(untrained: Any) -> None:
    model = untrained[0]
    visual = model.model.visual
    grid = torch.tensor([[1, 14, 10], [1, 6, 12]])  # windows cut off at the edges
    patches = torch.randn(14 * 10 + 6 * 12, 3 * 2 * 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        stock = visual(patches, grid_thw=grid).pooler_output
        model.set_attn_implementation({"vision_config": "flash_by_length"})
        packed = visual(patches, grid_thw=grid).pooler_output
        model.set_attn_implementation({"vision_config": "sdpa"})
    assert torch.allclose(packed, stock, atol=1e-5)


def test_heads_begin_by_attending_to_a_neighbour(untrained: Any) -> None:
    attention = untrained[0].model.visual.blocks[0].attn
    query, key = attention.qkv.bias.view(3, attention.num_heads, 1, 1, -1)[:2]
    angles = _angles(6, query.shape[-1])
    query, key = (_rotate(x[:, 0], angles.cos(), angles.sin()) for x in (query, key))
    rows = (query @ key.transpose(-1, -2)).view(-1, 6, 6, 6, 6)
    for head, (down, right) in enumerate(((0, 1), (0, -1))):
        assert rows[head, 2, 2].argmax() == 6 * (2 + down) + 2 + right


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("transposed", [False, True])
def test_a_flipped_image_keeps_its_facts(across: bool, down: bool, transposed: bool) -> None:
    rng = np.random.default_rng(4)
    for _ in range(6):
        _, sample = render_pair(rng, (96, 96), defects=2)
        flipped = _flipped(sample, sample.image, across, down, transposed)
        for before, after in zip(sample.defects, flipped.defects, strict=True):
            marked = np.repeat(before.mask[..., None], 3, axis=2).astype(np.uint8)
            mask = _flipped(sample, marked, across, down, transposed).image[..., 0] > 0
            rows, columns = np.nonzero(mask)
            # A centroid on the border of two places may fall to either.
            if all(
                abs(3 * (c.mean() + 0.5) / 96 - b) > 0.02 for c in (rows, columns) for b in (1, 2)
            ):
                assert after.place == place_word(mask)


def test_facts_are_those_of_the_image() -> None:
    samples = [s for _ in range(8) for s in render_pair(np.random.default_rng(5), (96, 96))]
    facts = facts_of(samples)
    for row, sample in enumerate(samples):
        kinds = {KINDS[column] for column in facts.present[row].nonzero().flatten()}
        assert kinds == {t.kind for t in (*sample.features, *sample.defects)} & set(KINDS)
        assert facts.label[row] == sample.label
        for region in sample.defects:
            place = int(facts.place[row, KINDS.index(region.kind)])
            assert place < 0 or PLACES[place] == region.place


def text_of(question: Question, sample: SurfaceSample, seed: int) -> str:
    return "".join(piece for piece, _ in respond(question, sample, np.random.default_rng(seed)))


def test_verdicts_follow_the_form_and_tell_the_truth() -> None:
    rng = np.random.default_rng(0)
    for seed in range(40):
        for sample in render_pair(rng, (64, 64), defects=2):
            text = text_of(inspection(), sample, seed)
            assert follows_form(text)
            response = parse_response(text)
            assert response.answer == ("Yes" if sample.label else "No")
            reasoning = text[slice(*response.reasoning)]
            assert not contradicts(reasoning, response.answer)
            sentence = telling_sentence(reasoning, response.answer)
            for region in sample.defects:
                assert f"{region.kind} in the {region.place}" in sentence
                assert (region.tone or "") in sentence
            for feature in sample.features:
                assert feature.kind in reasoning


def test_a_question_and_its_wording_are_the_same_for_both_images_of_a_pair() -> None:
    rng = np.random.default_rng(1)
    abouts = set()
    for seed in range(150):
        pair = render_pair(rng, (64, 64), difficulty=0.0)
        question = draw_question(pair, SUBJECTS, rng) if seed % 2 else draw_verdict(rng)
        abouts.add(question.about)
        normal, defective = (text_of(question, sample, seed) for sample in pair)
        assert (INSTRUCTION in question.text) == ("<think>" in normal)
        if question.about == "verdict":
            first = [text[: text.index("There ")] for text in (normal, defective)]
            assert first[0] == first[1]
        if question.about == "presence" and question.subject == pair[1].defect:
            assert parse_response(normal).answer == "No"
            assert parse_response(defective).answer == "Yes"
    assert len(abouts) >= 5


def test_with_a_swapped_reasoning_only_the_answer_counts() -> None:
    normal, defective = render_pair(np.random.default_rng(2), (64, 64))
    pieces = list(respond_swapped(inspection(), normal, defective, np.random.default_rng(3)))
    assert [piece for piece, weight in pieces if weight] == ["No"]
    assert f"{defective.defect} in the {defective.place}" in "".join(p for p, _ in pieces)


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
    import hashlib

    from flawsight.mllm.load import DEFAULT_MODEL

    weights = (DEFAULT_MODEL / "model.safetensors").read_bytes()
    card = (DEFAULT_MODEL / "README.md").read_text()
    assert hashlib.sha256(weights).hexdigest() in card
    assert sum(path.stat().st_size for path in DEFAULT_MODEL.iterdir()) < 25_000_000
    config = json.loads((DEFAULT_MODEL / "config.json").read_text())
    assert config["architectures"] == ["Qwen2_5_VLForConditionalGeneration"]
