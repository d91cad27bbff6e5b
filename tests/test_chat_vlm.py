"""A chat VLM through transformers alone gives the answers that the Inspector gets."""

from pathlib import Path

import pytest

from flawsight.data.images import find_images
from flawsight.errors import AnswerError, ImageError, ModelError, SettingsError
from flawsight.evaluate.detector import Prediction
from flawsight.evaluate.detectors.chat_vlm import ChatVLMDetector
from flawsight.inspector import Inspector
from flawsight.mllm.load import DEFAULT_MODEL
from flawsight.settings import PRESETS, Settings

SAMPLES = Path(__file__).parents[1] / "samples"


def test_its_answers_are_the_inspectors() -> None:
    images = find_images([SAMPLES])
    detector = ChatVLMDetector(str(DEFAULT_MODEL), name="small", device="cpu")
    # The checkpoint's own resolution: a plain chat knows nothing of flawsight's.
    settings = Settings.from_json(PRESETS["default"].to_json() | {"image_tokens": None})
    inspector = Inspector.from_pretrained(device="cpu", settings=settings)
    for prediction, inspection in zip(detector.predict(images), inspector(images), strict=True):
        assert isinstance(prediction, Prediction)
        assert prediction.explanation == inspection.explanation
        assert prediction.pred_label is inspection.pred_label
        assert prediction.contradiction is inspection.contradiction
        assert prediction.pred_score is None
        assert prediction.anomaly_map is None
    assert detector.name == "small"
    assert len(detector.about()["model"]["sha256"]) == 64


def test_an_image_that_fails_stops_nothing(tiny_checkpoint: Path, tmp_path: Path) -> None:
    detector = ChatVLMDetector(str(tiny_checkpoint), device="cpu", max_new_tokens=4)
    babble, missing = detector.predict([find_images([SAMPLES])[0], tmp_path / "none.png"])
    assert isinstance(babble, AnswerError)
    assert isinstance(missing, ImageError)


def test_what_cannot_be_loaded_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="Cannot load"):
        ChatVLMDetector(str(tmp_path))
    with pytest.raises(ModelError, match="no folder"):
        ChatVLMDetector("/no/such/model")
    with pytest.raises(SettingsError, match="bfloat16"):
        ChatVLMDetector(str(DEFAULT_MODEL), dtype="float8")
