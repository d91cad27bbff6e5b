"""A base that sees but answers unreliably, as the paper finds Qwen: for `cgro_ablation.py`.

The bundled model goes on to learn from texts of which a stated share is wrong in two ways: MISSED
of the defective images are told with the words of their sound twin, and FLIPPED of all texts end in
the answer that their words speak against. What the model sees stays as it is, for the vision
encoder is frozen.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from flawsight.cgro.encoded_images import collate, encode_image
from flawsight.cgro.policy import make_trainable, trainable_parameters
from flawsight.cgro.shared_prompt import Completions, run_candidates
from flawsight.cgro.train_settings import TRAIN_PRESETS
from flawsight.mllm.load import load_mllm
from flawsight_surfaces import SurfaceSample, render_pair

sys.path.append(str(Path(__file__).parent.parent / "recipes" / "default_model"))
from conversation import inspection, respond

MISSED, FLIPPED = 0.6, 0.2
STEPS, PAIRS, LEARNING_RATE = 120, 8, 1e-3
_OTHER = {"Yes": "No", "No": "Yes"}


def texts(
    twins: tuple[SurfaceSample, SurfaceSample], rng: np.random.Generator
) -> Iterator[tuple[SurfaceSample, str]]:
    """Yield the normal image and the defective one, each with a text that may be wrong."""
    normal, _ = twins
    wording = int(rng.integers(2**32))
    for sample in twins:
        told = normal if sample.label and rng.random() < MISSED else sample
        flipped = rng.random() < FLIPPED
        pieces = [
            _OTHER.get(piece, piece) if flipped else piece
            for piece, _ in respond(inspection(), told, np.random.default_rng(wording))
        ]
        yield sample, "".join(pieces)


def make_unreliable(folder: Path) -> Path:
    """Train it, unless the folder holds it, and return the folder."""
    if (folder / "done").exists():
        return folder
    settings = TRAIN_PRESETS["default-model"].inspection
    mllm = make_trainable(load_mllm(device="cpu", dtype="float32"), "full", 1, 1, 0)
    tokenizer = mllm.processor.tokenizer
    optimizer = torch.optim.AdamW([p for _, p in trainable_parameters(mllm.model)], weight_decay=0)
    for step in range(STEPS):
        rng = np.random.default_rng([41, step])
        drawn = [
            pair
            for _ in range(PAIRS)
            for pair in texts(render_pair(rng, (240, 240), difficulty=rng.uniform() ** 0.5), rng)
        ]
        prompts = collate(
            [encode_image(mllm, Image.fromarray(sample.image), settings) for sample, _ in drawn],
            mllm,
        )
        ids = [
            [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
            for _, text in drawn
        ]
        completions = Completions.of(ids, tokenizer.pad_token_id, mllm.device)
        log_probs, _, _ = run_candidates(
            mllm.model, prompts, completions, "cache", 1.0, mllm.attention, None
        )
        loss = -log_probs[completions.mask].mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, (step + 1) / 10, 2 * (1 - step / STEPS))
        optimizer.step()
        if step % 20 == 0:
            print(f"unreliable base: step {step}, loss {loss.item():.3f}", flush=True)
    mllm.model.save_pretrained(folder)
    mllm.processor.save_pretrained(folder)
    (folder / "done").touch()
    return folder
