"""Chat VLMs of each family answer as stock transformers makes them answer, alone or in batches."""

import shutil
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from peft import LoraConfig, get_peft_model
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText
from transformers.utils import is_torchvision_available

from flawsight.errors import (
    FlawsightError,
    ImageError,
    ModelError,
    SettingsError,
)
from flawsight.evaluate.detectors.chat_vlm import ChatVLMDetector
from flawsight.evaluate.detectors.protocol import Prediction
from flawsight.evaluate.detectors.spec import open_detector, parse_spec
from flawsight.inspector import Inspector
from flawsight.mllm.load import MLLM, load_mllm
from flawsight.prompt import user_message
from flawsight.settings import Settings
from helpers.bundled import copy_of_few_tokens
from helpers.checkpoints import photo, write_json
from helpers.families import begin_with_think, stock_processor, teach, write_chat_vlm

WORDS = (" Yes", " No")
FAMILIES = ["qwen2_5_vl", "qwen3_vl", "gemma3", "internvl", "internvl_llama", "llava_onevision"]
OTHERS = FAMILIES[1:]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("families")
    for family in FAMILIES:
        write_chat_vlm(root / family, family)
    return {family: root / family for family in FAMILIES}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four photos of three sizes, the first two of one size."""
    root = tmp_path_factory.mktemp("photos")
    sizes = [(70, 110), (70, 110), (130, 60), (40, 40)]
    for index, (height, width) in enumerate(sizes):
        photo(height, width, seed=index).save(root / f"{index}.png")
    return sorted(root.iterdir())


def load(folder: Path, adapter: Path | None = None) -> MLLM:
    return load_mllm(folder, adapter=adapter, device="cpu", any_family=True)


def detector(mllm: MLLM, max_new_tokens: int = 12) -> ChatVLMDetector:
    return ChatVLMDetector("vlm", mllm, max_new_tokens=max_new_tokens)


def predictions(outcomes: list[Prediction | FlawsightError]) -> list[Prediction]:
    assert all(isinstance(outcome, Prediction) for outcome in outcomes), outcomes
    return outcomes  # type: ignore[return-value]


def stock_inputs(processor: Any, path: Path) -> Any:
    message = user_message()
    message[0]["content"][0]["image"] = Image.open(path)
    return processor.apply_chat_template(
        message, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )


def stock_answer(folder: Path, model: Any, path: Path) -> tuple[str, float]:
    """What stock transformers says, and P(Yes) / (P(Yes) + P(No)) of the first word."""
    processor = stock_processor(folder)
    inputs = stock_inputs(processor, path)
    said = model.generate(
        **inputs, do_sample=False, repetition_penalty=1.0, max_new_tokens=12,
        output_logits=True, return_dict_in_generate=True,
    )  # fmt: skip
    probabilities = said.logits[0][0].softmax(-1)
    ids = (processor.tokenizer(word, add_special_tokens=False)["input_ids"] for word in WORDS)
    yes, no = (probabilities[each[-1]] for each in ids)
    text = processor.tokenizer.decode(
        said.sequences[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True
    )
    return text, float(yes / (yes + no))


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_are_those_of_stock_transformers(
    folders: dict[str, Path], photos: list[Path], family: str
) -> None:
    stock = AutoModelForImageTextToText.from_pretrained(folders[family]).eval()
    answers = [stock_answer(folders[family], stock, path) for path in photos]
    said = predictions(detector(load(folders[family])).predict(photos))
    for prediction, (text, score) in zip(said, answers, strict=True):
        assert prediction.explanation == text.strip()
        assert prediction.pred_label is text.startswith(" Yes")
        assert prediction.pred_score == pytest.approx(score, abs=1e-5)
        assert prediction.anomaly_map is None


@pytest.mark.parametrize("family", FAMILIES)
def test_the_prompt_is_the_stock_processors(
    folders: dict[str, Path], photos: list[Path], family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mllm = load(folders[family])
    seen: list[dict[str, torch.Tensor]] = []
    generate = mllm.model.generate

    def spy(**inputs: Any) -> Any:
        seen.append(inputs)
        return generate(**inputs)

    monkeypatch.setattr(mllm.model, "generate", spy)
    for path in photos:
        detector(mllm, max_new_tokens=1).predict([path])
    processor = stock_processor(folders[family])
    for path, inputs in zip(photos, seen, strict=True):
        expected = stock_inputs(processor, path)
        for name, value in expected.items():
            assert torch.equal(inputs[name], value), name


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_is_answered_as_one_at_a_time_and_each_image_counts(
    folders: dict[str, Path], photos: list[Path], family: str
) -> None:
    vlm = detector(load(folders[family]))
    alone = predictions([outcome for path in photos for outcome in vlm.predict([path])])
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 3]):
        batch = predictions(vlm.predict([photos[index] for index in order]))
        for prediction, index in zip(batch, order, strict=True):
            assert prediction.explanation == alone[index].explanation
            assert prediction.pred_score == pytest.approx(alone[index].pred_score, abs=1e-5)
    assert len({round(prediction.pred_score or 0, 4) for prediction in alone}) == len(alone)
    assert len({prediction.explanation for prediction in alone}) > 1


def test_its_answers_are_the_inspectors(answered_samples: list[Path], tmp_path: Path) -> None:
    images = answered_samples
    model = copy_of_few_tokens(tmp_path / "model")
    vlm = detector(load(model), max_new_tokens=512)
    # The checkpoint's own resolution: a plain chat knows nothing of flawsight's.
    settings = Settings(image_tokens=None)
    inspector = Inspector.from_pretrained(model, device="cpu", settings=settings)
    for prediction, inspection in zip(vlm.predict(images), inspector(images), strict=True):
        assert isinstance(prediction, Prediction)
        assert prediction.explanation == inspection.explanation
        assert prediction.pred_label is inspection.pred_label
        assert prediction.pred_score == pytest.approx(inspection.pred_score, abs=1e-5)
        assert prediction.contradiction is inspection.contradiction


def write_adapter(folder: Path, checkpoint: Path) -> dict[str, torch.Tensor]:
    """Write a LoRA adapter and return what it adds to each weight."""
    model = AutoModelForImageTextToText.from_pretrained(checkpoint)
    targets = r".*language_model.*\.(q_proj|v_proj)"
    torch.manual_seed(0)
    options = {"r": 2, "lora_alpha": 8, "init_lora_weights": False}
    get_peft_model(model, LoraConfig(target_modules=targets, **options)).save_pretrained(folder)
    weights = load_file(folder / "adapter_model.safetensors")
    return {
        name.removeprefix("base_model.model.").replace("lora_A.", ""): 4
        * weights[name.replace("lora_A", "lora_B")]
        @ weights[name]
        for name in weights
        if "lora_A" in name
    }


@pytest.mark.parametrize("family", OTHERS)
def test_an_adapter_is_added_and_part_of_the_hash(
    folders: dict[str, Path], photos: list[Path], tmp_path: Path, family: str
) -> None:
    added = write_adapter(tmp_path, folders[family])
    merged = AutoModelForImageTextToText.from_pretrained(folders[family]).eval()
    for name, weight in merged.named_parameters():
        weight.data += added.pop(name, 0)
    assert not added
    adapted = detector(load(folders[family], tmp_path))
    [prediction] = predictions(adapted.predict(photos[:1]))
    text, score = stock_answer(folders[family], merged, photos[0])
    assert prediction.explanation == text.strip()
    assert prediction.pred_score == pytest.approx(score, abs=1e-4)
    plain = detector(load(folders[family]))
    [before] = predictions(plain.predict(photos[:1]))
    assert abs((before.pred_score or 0) - score) > 1e-3
    assert adapted.about()["model"]["sha256"] != plain.about()["model"]["sha256"]


@pytest.fixture
def thinker(folders: dict[str, Path], tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(folders["qwen3_vl"], tmp_path / "thinker"))
    begin_with_think(folder)
    return folder


@pytest.mark.parametrize("answer", ["<answer>Yes</answer>", "Yes"])
def test_a_thinking_model_is_read(thinker: Path, photos: list[Path], answer: str) -> None:
    mllm = load(thinker)
    teach(mllm, "No, is the metal part near?</think>" + answer)
    [prediction] = predictions(detector(mllm, max_new_tokens=60).predict(photos[:1]))
    assert prediction.explanation == "No, is the metal part near?"
    assert prediction.pred_label is True


def test_a_thinking_model_cut_off_is_asked_for_its_answer(
    thinker: Path, photos: list[Path]
) -> None:
    [prediction] = predictions(detector(load(thinker)).predict(photos[:1]))
    assert prediction.explanation
    assert prediction.pred_label is ((prediction.pred_score or 0) > 0.5)


def test_images_that_fail_stop_nothing(
    folders: dict[str, Path], photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mllm = load(folders["internvl"])
    expected = detector(mllm).predict(photos[:3])
    (tmp_path / "torn.png").write_bytes(photos[0].read_bytes()[:100])
    preprocess = mllm.processor.image_processor.preprocess

    def refuse_squares(images: Any, **options: Any) -> Any:
        if any(image.width == image.height for [image] in images):
            raise ValueError("too square")
        return preprocess(images, **options)

    monkeypatch.setattr(mllm.processor.image_processor, "preprocess", refuse_squares)
    outcomes = detector(mllm).predict([tmp_path / "none.png", *photos, tmp_path / "torn.png"])
    missing, *asked, square, torn = outcomes
    assert all(isinstance(error, ImageError) for error in (missing, square, torn))
    assert "too square" in str(square)
    for outcome, prediction in zip(predictions(asked), predictions(expected), strict=True):
        assert outcome.explanation == prediction.explanation


def test_a_batch_too_large_for_memory_is_explained(
    folders: dict[str, Path], photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    mllm = load(folders["internvl"])
    monkeypatch.setattr(mllm.model, "generate", mock.Mock(side_effect=torch.OutOfMemoryError))
    with pytest.raises(ModelError, match="lower batch_size"):
        detector(mllm).predict(photos)


def test_what_cannot_be_loaded_is_explained(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no folder"):
        load(Path("/no/such/model"))
    with pytest.raises(ModelError, match="no model folder"):
        load(tmp_path)
    for family, words in (
        ("qwen2", "'qwen2' model, which cannot be asked about images"),
        ("internvl_chat", "cannot make the 'internvl_chat' model.* -hf"),
    ):
        write_json(tmp_path / "config.json", {"model_type": family})
        with pytest.raises(ModelError, match=words):
            load(tmp_path)
    with pytest.raises(ModelError, match=r"no PEFT adapter"):
        load(folders["internvl"], tmp_path)
    with pytest.raises(SettingsError, match="max_new_tokens is 0"):
        detector(load(folders["internvl"]), max_new_tokens=0)


@pytest.mark.skipif(is_torchvision_available(), reason="torchvision is there")
def test_a_family_that_needs_torchvision_says_so(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", {"model_type": "lfm2_vl"})
    images = {"image_processor_type": "Lfm2VlImageProcessorFast"}
    write_json(tmp_path / "preprocessor_config.json", images)
    with pytest.raises(ModelError, match="need torchvision: install it"):
        load(tmp_path)


def test_a_spec_opens_it(folders: dict[str, Path], photos: list[Path], tmp_path: Path) -> None:
    write_adapter(tmp_path / "lora", folders["internvl"])
    text = f"vlm:{folders['internvl']},adapter={tmp_path / 'lora'},device=cpu,max_new_tokens=3"
    opened = open_detector(parse_spec(text + ",name=tuned"), tmp_path, 4)
    assert (opened.name, opened.batch_size) == ("tuned", 4)
    [prediction] = predictions(opened.predict(photos[:1]))
    assert len((prediction.explanation or "").split()) == 3
    assert open_detector(parse_spec(text + ",batch_size=2"), tmp_path, 4).batch_size == 2
    with pytest.raises(SettingsError, match="beams"):
        open_detector(parse_spec(text + ",beams=2"), tmp_path, 4)
