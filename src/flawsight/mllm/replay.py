"""Given responses → Traces: one teacher-forced forward pass with capture."""

from collections.abc import Sequence

import torch
from PIL.Image import Image

from ..errors import SettingsError
from ..inspection import Trace
from ..settings import Settings
from .answer_probability import answer_margins
from .capture import AttentionCapture, capture_attention, chosen_layers
from .cut_traces import check_finite, cut_traces
from .encode import encode_prompts
from .load import MLLM
from .patch_features import EvidenceReader, read_patches
from .teacher_forcing import hidden_states


@torch.inference_mode()
def replay(
    mllm: MLLM,
    images: Sequence[Image],
    responses: Sequence[str | Sequence[int]],
    settings: Settings,
    reader: EvidenceReader | None = None,
    photos: Sequence[Image] = (),
) -> list[Trace]:
    """Trace given responses, as text or token ids, in one teacher-forced forward pass.

    The Trace is the one `generate` gives for the same tokens. Token ids are exact. The canonical
    tokens of a text may differ from those that a model generated.

    Args:
        images: RGB images of any sizes.
        responses: one per image.
        settings: resolution, question and layers.
        reader: of the images' patches; None leaves `Trace.patches` empty.
        photos: of good parts, see `encode_prompts`.

    Raises:
        ModelError: if the model computes NaN.
        SettingsError: if images and responses are not as many, or a response holds an image token.
    """
    if len(images) != len(responses):
        raise SettingsError(f"{len(images)} images, but {len(responses)} responses to replay.")
    prompts = encode_prompts(mllm, images, settings, photos)
    tokenizer = mllm.processor.tokenizer

    def tokens(response: str | Sequence[int]) -> list[int]:
        if not isinstance(response, str):
            return list(response)
        text = response.removeprefix(prompts.opening)
        return [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]

    with mllm.tokenizing:
        ids = [tokens(response) for response in responses]
    if any(mllm.model.config.image_token_id in response for response in ids):
        raise SettingsError("A response to replay holds an image token.")
    layers = chosen_layers(mllm.model, settings.layers)
    longest = max(map(len, ids))
    capture = AttentionCapture(prompts.columns, layers, last_rows=longest + 1)
    with (
        mllm.lock,
        capture_attention(mllm.model, capture, mllm.attention),
        read_patches(mllm.model, reader, prompts.grids, prompts.photo_grids) as patches,
    ):
        hidden = hidden_states(mllm, prompts.inputs, ids)
    check_finite(hidden)
    with mllm.lock:  # not in the capture: it may run the model once more
        answers = answer_margins(mllm, prompts.inputs, ids, hidden, prompts.opening)
    with mllm.tokenizing:
        return cut_traces(
            tokenizer, prompts.grids, prompts.anomaly_tokens, ids, capture.rows, answers,
            patches,
            prompts.opening,
        )  # fmt: skip
