"""Any chat VLM of transformers, answers only: no attention, no map, no score.

Images go one at a time, for the families disagree on how a batch of images is given.
"""

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from ...data.images import read_image
from ...errors import FlawsightError, ModelError, SettingsError
from ...mllm.contradiction import contradicts
from ...mllm.load import hash_weights, local_folder
from ...mllm.processor import ImageProcessor
from ...mllm.prompt import QUESTION, user_message
from ...mllm.response import parse_response
from ..detector import Prediction


class ChatVLMDetector:
    """Asks flawsight's question of a chat VLM and reads its answer, decoded greedily.

    Args:
        model: folder or hub name; any class that AutoModelForImageTextToText loads.
        name: what tables call it; None: the model.
        device: "cpu", "cuda", …; None takes CUDA where there is one.
        dtype: "float32", "bfloat16" or "float16"; None is float32 on a CPU, else bfloat16.
        max_new_tokens: length at which a response is cut off.

    Raises:
        ModelError: if the model or its processor cannot be loaded.
        SettingsError: for an unknown dtype or device.
    """

    batch_size = 1

    def __init__(
        self,
        model: str,
        *,
        name: str | None = None,
        device: str | None = None,
        dtype: str | None = None,
        max_new_tokens: int = 512,
    ) -> None:
        self.name = name or model
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        dtype = dtype or ("float32" if device == "cpu" else "bfloat16")
        if dtype not in ("float32", "bfloat16", "float16"):
            raise SettingsError(f"Unknown dtype {dtype!r}; use float32, bfloat16 or float16.")
        folder = local_folder(model)
        try:
            self._processor = _processor(folder)
            network = AutoModelForImageTextToText.from_pretrained(
                folder, dtype=getattr(torch, dtype)
            )
        except ImportError as error:
            raise ModelError(
                f"The processor of {model} needs a package that is not installed: {error}"
            ) from error
        except Exception as error:  # any failure to read a foreign folder is the folder's
            raise ModelError(f"Cannot load the model in {folder}: {error}") from error
        try:
            self._model = network.to(device).eval()
        except (RuntimeError, AssertionError) as error:
            raise SettingsError(f"Cannot use device {device!r}: {error}") from error
        sha256 = hashlib.sha256()
        hash_weights(folder, sha256)
        self._about = {
            "model": {"name": model, "sha256": sha256.hexdigest(), "dtype": dtype},
            "question": QUESTION,
            "max_new_tokens": max_new_tokens,
        }
        self._max_new_tokens = max_new_tokens

    def about(self) -> dict[str, Any]:
        """Return the model, the question and the length of responses."""
        return self._about

    def predict(self, images: Sequence[Path]) -> list[Prediction | FlawsightError]:
        """Ask about each image; an unreadable one, or an answer without Yes or No, is an error."""
        predictions: list[Prediction | FlawsightError] = []
        for path in images:
            try:
                predictions.append(self._ask(path))
            except FlawsightError as error:
                predictions.append(error)
        return predictions

    @torch.inference_mode()
    def _ask(self, path: Path) -> Prediction:
        began = time.perf_counter()
        image = read_image(path)
        text = self._processor.apply_chat_template(
            user_message(), tokenize=False, add_generation_prompt=True
        )
        inputs = self._processor(text=[text], images=[image], return_tensors="pt")
        inputs = inputs.to(self._model.device, self._model.dtype)
        generated = self._model.generate(
            **inputs, do_sample=False, max_new_tokens=self._max_new_tokens
        )
        said = self._processor.tokenizer.decode(
            generated[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True
        )
        response = parse_response(said)
        explanation = said[slice(*response.reasoning)]
        return Prediction(
            pred_label=response.answer == "Yes",
            explanation=explanation.strip(),
            contradiction=contradicts(explanation, response.answer),
            seconds=time.perf_counter() - began,
        )


def _processor(folder: Path) -> Any:
    """Load the processor; Qwen2.5-VL's by a class that needs no torchvision."""
    if AutoConfig.from_pretrained(folder).model_type == "qwen2_5_vl":
        processor = ImageProcessor.from_pretrained(folder, backend="pil")
        processor.chat_template = processor.chat_template or processor.tokenizer.chat_template
        return processor
    return AutoProcessor.from_pretrained(folder)
