"""The anomaly words of the question, found in characters and then in tokens."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from flawsight.errors import SettingsError
from flawsight.mllm.encode import encode_prompts
from flawsight.mllm.load import MLLM
from flawsight.prompt import INSTRUCTION, QUESTION, anomaly_word_spans, user_message
from flawsight.settings import PRESETS, Settings
from helpers.checkpoints import photo

ANOMALY_WORDS = ["defect", "defects", "defective", "anomaly", "anomalies", "anomalous",
                 "abnormal", "abnormality", "abnormalities"]  # fmt: skip
OTHER_WORDS = ["image", "detect", "normal", "undefective", "part", "Österreich", "欠陥", "is", "🙂",
               "the", "affect", "nominal"]  # fmt: skip
PHOTOS = [photo(56, 84), photo(112, 140), photo(84, 56)]

cases = st.sampled_from([str.lower, str.upper, str.title])
separators = st.sampled_from([" ", ", ", "? ", "/", " (", "\n", "-"])


@st.composite
def questions(draw: st.DrawFn) -> tuple[str, list[str]]:
    """Draw a question and the anomaly words in it, in order."""
    words = draw(st.lists(st.sampled_from(ANOMALY_WORDS + OTHER_WORDS), min_size=1, max_size=8))
    words.insert(draw(st.integers(0, len(words))), draw(st.sampled_from(ANOMALY_WORDS)))
    spelled = [draw(cases)(word) for word in words]
    anomalies = [s for s, word in zip(spelled, words, strict=True) if word in ANOMALY_WORDS]
    text = spelled[0] + "".join(draw(separators) + word for word in spelled[1:])
    return text + draw(st.sampled_from(["", "?", "."])), anomalies


@given(questions())
def test_the_spans_are_the_anomaly_words_in_order(case: tuple[str, list[str]]) -> None:
    question, anomalies = case
    assert [question[slice(*span)] for span in anomaly_word_spans(question)] == anomalies


@pytest.mark.parametrize("question", ["Is it normal?", "Any undefective part?", "", "Detect it."])
def test_a_question_without_an_anomaly_word_is_refused(question: str) -> None:
    assert anomaly_word_spans(question) == []
    with pytest.raises(SettingsError, match="names no anomaly"):
        Settings(question=question)


def test_the_message_puts_the_image_before_the_papers_question() -> None:
    [turn] = user_message()
    assert turn["role"] == "user"
    assert turn["content"] == [
        {"type": "image"},
        {"type": "text", "text": f"{QUESTION} {INSTRUCTION}"},
    ]


@pytest.mark.parametrize(("photos", "said"), [(1, "a normal sample"), (3, "3 images show normal")])
def test_good_photos_come_first_and_are_said_to_be_normal(photos: int, said: str) -> None:
    [turn] = user_message(photos=photos)
    normal, *images, queried, image, asked = turn["content"]
    assert said in normal["text"]
    assert images == [{"type": "image"}] * photos
    assert (queried["text"], image) == ("This is the queried image:", {"type": "image"})
    assert [asked] == user_message()[0]["content"][1:]
    assert not anomaly_word_spans(normal["text"] + queried["text"])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(questions(), st.permutations(range(3)))
def test_the_tokens_found_decode_to_the_question_and_its_anomaly_words(
    tiny_mllm: MLLM, case: tuple[str, list[str]], order: list[int]
) -> None:
    question, anomalies = case
    images = [PHOTOS[index] for index in order]
    prompts = encode_prompts(tiny_mllm, images, Settings(question=question, image_tokens=None))
    tokenizer = tiny_mllm.processor.tokenizer
    flags = prompts.anomaly_tokens
    for ids, columns, grid in zip(
        prompts.inputs["input_ids"], prompts.columns, prompts.grids, strict=True
    ):
        wanted = ids[columns[grid.tokens :][: len(flags)]]
        assert tokenizer.decode(wanted) == question
        found = [tokenizer.decode(token) for token in wanted[flags]]
        assert all(any(c.isalpha() for c in piece) for piece in found)
        assert "".join(c for c in "".join(found) if c.isalpha()) == "".join(anomalies)


def test_the_image_columns_are_the_image_tokens_of_each_size(tiny_mllm: MLLM) -> None:
    prompts = encode_prompts(tiny_mllm, PHOTOS, Settings(image_tokens=None))
    assert [grid.shape for grid in prompts.grids] == [(2, 3), (4, 5), (3, 2)]
    image_id = tiny_mllm.processor.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    for ids, columns, grid in zip(
        prompts.inputs["input_ids"], prompts.columns, prompts.grids, strict=True
    ):
        places = [place for place, index in enumerate(ids.tolist()) if index == image_id]
        assert columns[: grid.tokens].tolist() == places


def test_the_paper_squeezes_an_image_to_420_by_420(tiny_mllm: MLLM) -> None:
    images = [photo(200, 600), photo(431, 97)]
    prompts = encode_prompts(tiny_mllm, images, PRESETS["paper"])
    assert [grid.shape for grid in prompts.grids] == [(15, 15)] * 2
    squeezed = [image.resize((420, 420), Image.Resampling.BICUBIC) for image in images]
    stock = tiny_mllm.processor.image_processor(squeezed, return_tensors="pt")
    torch.testing.assert_close(prompts.inputs["pixel_values"], stock["pixel_values"])


def test_batches_are_padded_on_the_left(tiny_mllm: MLLM) -> None:
    mask = encode_prompts(tiny_mllm, PHOTOS, Settings(image_tokens=None)).inputs["attention_mask"]
    assert mask[:, -1].tolist() == [1, 1, 1]
    assert mask.sum(dim=1).tolist() == [mask.shape[1] - 14, mask.shape[1], mask.shape[1] - 14]
    assert (mask.diff(dim=1) >= 0).all()


@pytest.mark.parametrize("question", ["Any defects? Any defects?", "defect", "Reason: defect?"])
def test_a_question_that_repeats_itself_or_the_instruction_is_found_whole(
    tiny_mllm: MLLM, question: str
) -> None:
    prompts = encode_prompts(tiny_mllm, PHOTOS[:1], Settings(question=question))
    wanted = prompts.inputs["input_ids"][0][prompts.columns[0, prompts.grids[0].tokens :]]
    assert tiny_mllm.processor.tokenizer.decode(wanted) == question
