"""The recipe of the bundled model, from start to end at a tiny size."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from build import build_model, build_processor, build_tokenizer, grow, save
from data import SUBJECTS
from muon import Muon, orthogonalize
from safetensors.torch import load_file
from text import Question, draw_question, inspection, respond, second_look
from transformers import Qwen2_5_VLForConditionalGeneration

from flawsight.data.surfaces import SurfaceSample, render_twins
from flawsight.mllm.contradiction import contradicts, telling_sentence
from flawsight.mllm.prompt import INSTRUCTION
from flawsight.mllm.response import follows_form, parse_response

RECIPE = Path(__file__).parents[1] / "recipes/default_model"
CONFIG = {
    "start_from": None,
    "grow_from": None,
    "steps": 6,
    "second_look_from": 2,
    "second_look_share": 0.5,
    "pairs": 2,
    "easy_steps": 2,
    "full_steps": 4,
    "warmup_steps": 2,
    "checkpoint_every": 3,
    "validate_every": 0,
    "workers": 0,
    "image_side": 96,
    "vocab_size": 400,
    "corpus_pairs": 40,
    "model": {
        "width": 64,
        "vision_layers": 1,
        "text_layers": 2,
        "head_size": 32,
        "key_value_heads": 1,
        "mlp_ratio": 2,
    },
}


def train(out: Path, *arguments: str) -> None:
    config = yaml.safe_load((RECIPE / "config.yaml").read_text()) | CONFIG
    path = out.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(config))
    command = [sys.executable, str(RECIPE / "train.py"), "--out", str(out), "--config", str(path)]
    subprocess.run([*command, *arguments], check=True, capture_output=True)


def test_training_resumed_gives_the_weights_of_training_uninterrupted(tmp_path: Path) -> None:
    train(tmp_path / "whole")
    train(tmp_path / "resumed", "--stop-after", "4")  # one step past the last checkpoint
    assert torch.load(tmp_path / "resumed/checkpoint.pt", weights_only=True)["step"] == 3
    train(tmp_path / "resumed")
    whole = load_file(tmp_path / "whole/model/model.safetensors")
    resumed = load_file(tmp_path / "resumed/model/model.safetensors")
    assert whole.keys() == resumed.keys()
    for name, weights in whole.items():
        assert torch.equal(weights, resumed[name]), name
    stock = Qwen2_5_VLForConditionalGeneration.from_pretrained(tmp_path / "resumed/model")
    assert stock.config.model_type == "qwen2_5_vl"


def test_a_grown_model_sees_what_its_predecessor_sees(tmp_path: Path) -> None:
    texts = ["There is a scratch in the center."] * 3
    shape = CONFIG["model"]
    old_words, new_words = build_tokenizer(texts, 280), build_tokenizer(texts, 320)
    with torch.no_grad():
        old, new = (build_model(words, **shape) for words in (old_words, new_words))
        # The predecessor has patches of half the side.
        kernel = old.model.visual.patch_embed.proj
        old.config.vision_config.patch_size //= 2
        kernel.weight = torch.nn.Parameter(kernel.weight[..., ::2, ::2].contiguous())
        save(tmp_path, old, build_processor(old_words, 96))
        grow(new, new_words, tmp_path)
        small = torch.randn(2, 3, 2, 8, 8)
        large = small.repeat_interleave(2, -1).repeat_interleave(2, -2)
        kept = kernel.weight.bfloat16().float()  # as saved
        seen = torch.einsum("bcthw,dcthw->bd", small, kept)
        assert torch.allclose(new.model.visual.patch_embed(large.flatten(1)), seen, atol=1e-4)
        rows = [w.get_input_embeddings().weight for w in (old, new)]
        word = " scratch"
        spelt, whole = (
            t(word, add_special_tokens=False)["input_ids"] for t in (old_words, new_words)
        )
        assert len(whole) == 1 < len(spelt)
        mean = rows[0][spelt].bfloat16().float().mean(dim=0)
        assert torch.allclose(rows[1][whole[0]], mean, atol=1e-6)
        for (name, first), second in zip(old.named_parameters(), new.parameters(), strict=True):
            if "embed" not in name:
                assert torch.equal(first.bfloat16().float(), second), name


def said(question: Question, sample: SurfaceSample, seed: int) -> str:
    return "".join(piece for piece, _ in respond(question, sample, np.random.default_rng(seed)))


def test_verdicts_follow_the_form_and_tell_the_truth() -> None:
    rng = np.random.default_rng(0)
    for seed in range(40):
        for sample in render_twins(rng, (64, 64), defects=2):
            text = said(inspection(), sample, seed)
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


def test_a_question_and_its_wording_are_the_same_for_both_twins() -> None:
    rng = np.random.default_rng(1)
    abouts = set()
    for seed in range(150):
        twins = render_twins(rng, (64, 64), difficulty=0.0)
        question = draw_question(twins, SUBJECTS, rng)
        abouts.add(question.about)
        normal, defective = (said(question, sample, seed) for sample in twins)
        assert (INSTRUCTION in question.text) == ("<think>" in normal)
        if question.about == "verdict":
            first = [text[: text.index("There ")] for text in (normal, defective)]
            assert first[0] == first[1]
        if question.about == "presence" and question.subject == twins[1].defect:
            assert parse_response(normal).answer == "No"
            assert parse_response(defective).answer == "Yes"
    assert len(abouts) >= 5


def test_a_second_look_counts_the_answer_alone() -> None:
    normal, defective = render_twins(np.random.default_rng(2), (64, 64))
    pieces = list(second_look(inspection(), normal, defective, np.random.default_rng(3)))
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
