"""Given responses → Traces: one teacher-forced forward pass with capture."""

from collections.abc import Sequence

import torch
from PIL.Image import Image
from torch.nn.utils.rnn import pad_sequence

from ..errors import SettingsError
from ..inspection import Trace
from ..settings import Settings
from .capture import AttentionCapture, capture_attention, chosen_layers
from .cut_traces import answer_margins, answer_token_ids, check_finite, cut_traces
from .encode import encode_prompts
from .load import MLLM
from .patch_features import PatchScore, score_patches


@torch.inference_mode()
def replay(
    mllm: MLLM,
    images: Sequence[Image],
    responses: Sequence[str | Sequence[int]],
    settings: Settings,
    patch_score: PatchScore | None = None,
) -> list[Trace]:
    """Trace given responses, as text or token ids, in one teacher-forced forward pass.

    The Trace is the one `generate` gives for the same tokens. Token ids are exact. The canonical
    tokens of a text may differ from those that a model generated.

    Args:
        images: RGB images of any sizes.
        responses: one per image.
        settings: resolution, question and layers.
        patch_score: see `score_patches`; None leaves `Trace.feature_distance` out.

    Raises:
        ModelError: if the model computes NaN.
        SettingsError: if images and responses are not as many, or a response holds an image token.
    """
    if len(images) != len(responses):
        raise SettingsError(f"{len(images)} images, but {len(responses)} responses to replay.")
    prompts = encode_prompts(mllm, images, settings)
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
    rows = [torch.tensor(response, dtype=torch.long, device=mllm.device) for response in ids]
    padded = pad_sequence(rows, batch_first=True, padding_value=tokenizer.pad_token_id)
    seen = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    longest = padded.shape[1]
    inputs = dict(prompts.inputs)
    inputs["input_ids"] = torch.cat([inputs["input_ids"], padded], dim=1)
    inputs["attention_mask"] = torch.cat([inputs["attention_mask"], seen], dim=1)
    for name in ("mm_token_type_ids", "token_type_ids"):
        if name in inputs:
            inputs[name] = torch.cat([inputs[name], torch.zeros_like(padded)], dim=1)
    layers = chosen_layers(mllm.model, settings.layers)
    capture = AttentionCapture(prompts.columns, layers, last_rows=longest + 1)
    with (
        mllm.lock,
        capture_attention(mllm.model, capture, mllm.attention),
        score_patches(mllm.model, patch_score, prompts.grids) as patch_scores,
    ):
        logits = mllm.model(**inputs, logits_to_keep=longest + 1, use_cache=False).logits
    check_finite(logits)
    with mllm.tokenizing:
        yes, no = answer_token_ids(tokenizer)
        margins = answer_margins(logits[..., [*yes, *no]], len(yes))
        return cut_traces(
            tokenizer,
            prompts.grids,
            prompts.anomaly_tokens,
            ids,
            capture.rows,
            margins,
            patch_scores,
            prompts.opening,
        )
