"""P(Yes) against the probabilities of whole strings, each teacher-forced in eager attention."""

import copy
import dataclasses
import json
from pathlib import Path

import pytest
import torch
from tokenizers import pre_tokenizers
from transformers import Qwen2Tokenizer

from flawsight.inspector import Inspector
from flawsight.mllm.answer_probability import log_probabilities
from flawsight.mllm.answer_strings import answer_strings
from flawsight.mllm.load import MLLM, load_mllm
from flawsight.mllm.replay import replay
from flawsight.settings import Settings
from helpers.checkpoints import SPECIAL, photo, random_model, tiny_config, write_processor
from helpers.generating import generate
from helpers.qwen_merges import qwen_tokenizer
from helpers.reference import Reference

SETTINGS = Settings(image_tokens=16, max_new_tokens=12)
PHOTO = photo(112, 112, 1)
WAYS = [
    ("<think>A dent.</think><answer>", "Yes", "</answer>"),
    ("<think>A dent.</think><answer>", "No", "</answer>"),
    ("<think>A dent.</think>\n<answer> ", "No", " </answer>"),
    ("<think>A dent.</think>\n<answer>\n", "yes", "\n</answer>"),
    ("<think>A dent.</think><answer>", "no", "."),
    ("<think>A dent.</think><answer>", "YES", ", it is.</answer>"),
    ("<think>A dent.</think>\n\n**", "No", "**"),
    ("", "No", ". All is even."),
]
OTHER = {"Yes": "No", "No": "Yes", "yes": "no", "no": "yes", "YES": "NO", "NO": "YES"}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small checkpoint with Qwen's real tokenizer."""
    folder = tmp_path_factory.mktemp("qwen")
    tokenizer = qwen_tokenizer()
    model = random_model(tokenizer, tiny_config(tokenizer, num_hidden_layers=2))
    model.save_pretrained(folder)
    write_processor(folder, tokenizer, "chat_template.jinja")
    return folder


def log_probability(reference: Reference, ids: list[int]) -> float:
    """Of response tokens after the prompt about PHOTO."""
    inputs, _ = reference.prompt(PHOTO)
    start = inputs["input_ids"].shape[1]
    whole = torch.cat([inputs["input_ids"], torch.tensor([ids])], dim=1)
    with torch.no_grad():
        logits = reference.model(**reference.inputs(whole, inputs), use_cache=False).logits[0]
    rows = logits[start - 1 : -1].double().log_softmax(-1)
    return float(rows[torch.arange(len(ids)), ids].sum())


def margin(reference: Reference, before: str, word: str, end: str = "") -> float:
    """Compare the string that ends in an answer with the one that ends in the other."""
    tokenizer = reference.tokenizer
    own, other = (
        log_probability(reference, tokenizer(before + each + end)["input_ids"])
        for each in (word, OTHER[word])
    )
    return own - other if word.lower() == "yes" else other - own


@pytest.fixture(scope="module")
def mllm(published: Path) -> MLLM:
    return load_mllm(published)


@pytest.fixture(scope="module")
def reference(published: Path) -> Reference:
    return Reference(published)


@pytest.mark.parametrize(("before", "word", "after"), WAYS)
def test_the_score_is_that_of_whole_strings_with_qwens_merges(
    mllm: MLLM, reference: Reference, before: str, word: str, after: str
) -> None:
    [trace] = replay(mllm, [PHOTO], [before + word + after], SETTINGS)
    wanted = margin(reference, before, word)
    assert trace.answer_margin == pytest.approx(wanted, abs=1e-3)
    assert not trace.answer_forced


def test_the_answers_of_qwen_part_before_the_word() -> None:
    tokenizer = qwen_tokenizer()
    ids = tokenizer("<think>A.</think><answer>No</answer>")["input_ids"]
    found = answer_strings(tokenizer, ids, "", set())
    assert tokenizer.decode(found.base) == "<think>A.</think><answer"
    assert tokenizer.convert_ids_to_tokens(list(found.yes)) == [">", "Yes"]
    assert tokenizer.convert_ids_to_tokens(list(found.no)) == [">No"]


JOINED = {
    "neither": [("N", "o"), ("Y", "e"), ("Ye", "s")],
    "left": [("N", "o"), (">", "No"), ("Y", "e"), ("Ye", "s")],
    "right": [("N", "o"), ("Y", "e"), ("Ye", "s"), ("Yes", "<")],
    "both": [("N", "o"), (">", "No"), ("Y", "e"), ("Ye", "s"), ("Yes", "<")],
}


def with_merges(mllm: MLLM, merges: list[tuple[str, str]]) -> MLLM:
    """The model with bytes for tokens, and these merges, across any characters."""
    old: Qwen2Tokenizer = mllm.processor.tokenizer
    state = json.loads(old.backend_tokenizer.to_str())["model"]["vocab"]
    letters = set(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for token, i in state.items() if token in letters or token in SPECIAL}
    free = sorted(set(state.values()) - set(vocabulary.values()))
    vocabulary |= {a + b: index for (a, b), index in zip(merges, free, strict=False)}
    unused = free[len(merges) :]
    vocabulary |= {f"unused{index}": index for index in unused}
    tokenizer = Qwen2Tokenizer(
        vocab=vocabulary, merges=merges, eos_token="<|im_end|>", pad_token="<|endoftext|>",
        extra_special_tokens=SPECIAL[1:],
    )  # fmt: skip
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(
        add_prefix_space=False, use_regex=False
    )
    processor = copy.copy(mllm.processor)
    processor.tokenizer = tokenizer
    return dataclasses.replace(mllm, processor=processor)


@pytest.mark.parametrize("merges", JOINED)
@pytest.mark.parametrize("word", ["Yes", "No"])
def test_merges_on_either_side(
    tiny_mllm: MLLM, tiny_checkpoint: Path, merges: str, word: str
) -> None:
    mllm, reference = with_merges(tiny_mllm, JOINED[merges]), Reference(tiny_checkpoint)
    reference.tokenizer = mllm.processor.tokenizer
    before = "<think>A dent.</think><answer>"
    [trace] = replay(mllm, [PHOTO], [f"{before}{word}</answer>"], SETTINGS)
    end = "<" if merges in ("right", "both") else ""
    wanted = margin(reference, before, word, end)
    assert trace.answer_margin == pytest.approx(wanted, abs=1e-3)


def test_an_answer_in_unusual_tokens_is_compared_from_its_first_token(
    tiny_mllm: MLLM, tiny_checkpoint: Path
) -> None:
    reference, tokenizer = Reference(tiny_checkpoint), tiny_mllm.processor.tokenizer
    before = tokenizer("<think>A.</think><answer")["input_ids"]
    ids = [*before, *(tokenizer.convert_tokens_to_ids(c) for c in (">", "N", "o"))]
    [trace] = replay(tiny_mllm, [PHOTO], [ids], SETTINGS)
    yes, no = (
        log_probability(reference, [*ids[:-2], *tokenizer(word)["input_ids"]])
        for word in ("Yes", "No")
    )
    assert trace.answer_margin == pytest.approx(yes - no, abs=1e-3)


FREE = [
    ("<think>All even.</think><answer>There are no visible defects.</answer>", "<answer>"),
    ("<think>All even.</think><answer>There are no", "</answer><answer>"),
    ("<think>A dent in the rim, which", "</think><answer>"),
    ("<think>A dent.</think>It is defective.", "<answer>"),
    ("There is a crack on the rim.", "<answer>"),
    ("Defective", "<answer>"),
    ("The part is even, so: No", "<answer>"),
]


@pytest.mark.parametrize(("text", "closing"), FREE)
def test_a_response_without_an_answer_is_closed_and_asked(
    mllm: MLLM, reference: Reference, text: str, closing: str
) -> None:
    ids = reference.tokenizer(text)["input_ids"]
    [trace] = replay(mllm, [PHOTO], [text], SETTINGS)
    yes, no = (
        log_probability(reference, ids + reference.tokenizer(closing + word)["input_ids"])
        for word in ("Yes", "No")
    )
    assert trace.answer_forced
    assert trace.answer_margin == pytest.approx(yes - no, abs=1e-3)


def test_generated_replayed_and_batched_margins_agree(mllm: MLLM) -> None:
    photos = [PHOTO, photo(84, 168, 2), photo(168, 84, 3)]
    batch = generate(mllm, photos, SETTINGS)
    for image, trace in zip(photos, batch, strict=True):
        assert trace.answer_forced  # random words
        [alone] = generate(mllm, [image], SETTINGS)
        assert trace.answer_margin == pytest.approx(alone.answer_margin, abs=1e-4)


def test_an_inspection_with_a_forced_answer_has_verdict_words_and_map(mllm: MLLM) -> None:
    inspection = Inspector(mllm, SETTINGS)(PHOTO)
    assert inspection.answer_forced
    assert inspection.pred_label is (inspection.pred_score > 0.5)
    assert inspection.explanation
    assert inspection.anomaly_map.std() > 0


def test_the_head_is_float32_in_bfloat16(tiny_checkpoint: Path) -> None:
    mllm = load_mllm(tiny_checkpoint, dtype="bfloat16")
    head = mllm.model.get_output_embeddings()
    hidden = torch.randn(3, head.in_features, dtype=torch.bfloat16)
    with torch.no_grad():
        exact = (hidden.double() @ head.weight.double().T).log_softmax(-1)
        found, rounded = log_probabilities(mllm, hidden), head(hidden).double().log_softmax(-1)
    assert float((found - exact).abs().max()) < 1e-4 < float((rounded - exact).abs().max())
