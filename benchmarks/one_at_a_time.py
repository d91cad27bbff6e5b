"""Images a second, against the way public repositories read attention out of Qwen2.5-VL.

    python benchmarks/one_at_a_time.py [--images 48] [--rounds 5] [--smoke]

Theirs: one image at a time, generate, run it all again in eager attention with
`output_attentions=True`, bring every matrix to NumPy, and score word by word. It is written out
here with stock transformers, NumPy and SciPy, with the same question, answer and equations, so that
the maps must be equal. Both sides read the same files and end with maps of the photos' size.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import Cell, Cost, arguments_of, interleaved, ratios, rendered, report
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from transformers import Qwen2_5_VLForConditionalGeneration

from flawsight.inspector import Inspector
from flawsight.mllm.generate import answer_token_ids
from flawsight.mllm.load import DEFAULT_MODEL
from flawsight.mllm.processor import load_processor
from flawsight.prompt import user_message
from flawsight.settings import Settings

# Every word counts by its S_I alone.
SETTINGS = Settings(tau_t=0.0, tau_i=0.0, alpha=0.0, words_only=True, scale_by_score=True)
Said = tuple[str, NDArray[np.float32]]


class OneAtATime:
    """Stock model and processor of the bundled folder, in eager attention."""

    def __init__(self) -> None:
        self.model: Any = Qwen2_5_VLForConditionalGeneration.from_pretrained(
            DEFAULT_MODEL, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        self.processor = load_processor(DEFAULT_MODEL)
        patch = self.processor.image_processor.patch_size
        area = SETTINGS.image_tokens * (patch * 2) ** 2 if SETTINGS.image_tokens else 0
        self.answers = answer_token_ids(self.processor.tokenizer)
        self.size = {"shortest_edge": area, "longest_edge": area}

    @torch.no_grad()
    def __call__(self, path: Path) -> Said:
        """Return what the model said and the anomaly map."""
        image = Image.open(path).convert("RGB")
        text = self.processor.apply_chat_template(
            user_message(SETTINGS.question), tokenize=False, add_generation_prompt=True
        )
        inputs = self.processor(images=[image], text=[text], return_tensors="pt", size=self.size)
        prompt = inputs["input_ids"].shape[1]
        ids = self.model.generate(**inputs, do_sample=False, max_new_tokens=SETTINGS.max_new_tokens)
        new = ids.shape[1] - prompt
        output = self.model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            mm_token_type_ids=torch.nn.functional.pad(inputs["mm_token_type_ids"], (0, new)),
            pixel_values=inputs["pixel_values"],
            image_grid_thw=inputs["image_grid_thw"],
            output_attentions=True,
        )
        attention = np.stack([layer[0].numpy() for layer in output.attentions]).mean(axis=(0, 1))
        words = [self.processor.decode([token], skip_special_tokens=True) for token in ids[0]]
        return self.localize(image, inputs, ids[0].numpy(), words[prompt:], attention, output)

    def localize(
        self,
        image: Image.Image,
        inputs: Any,
        ids: NDArray[np.int64],
        words: list[str],
        attention: NDArray[np.float32],
        output: Any,
    ) -> Said:
        """Score word by word, as SETTINGS say."""
        prompt = len(ids) - len(words)
        said = "".join(words)
        cells = np.flatnonzero(ids[:prompt] == self.model.config.image_token_id)
        height, width = (inputs["image_grid_thw"][0, 1:] // 2).tolist()
        begin, end = said.index("<think>") + len("<think>"), said.index("</think>")
        total, weights, at = np.zeros((height, width)), 0.0, 0
        for number, word in enumerate(words):
            start, at = at, at + len(word)
            if not (begin <= start < at <= end) or not any(c.isalnum() for c in word):
                continue
            seen = attention[prompt + number, cells].reshape(height, width).astype(np.float64)
            weight = SETTINGS.beta * concentration(seen)
            total, weights = total + weight * seen, weights + weight
        grid = total / weights
        density = grid / grid.mean()
        starts = np.cumsum([0, *map(len, words)])
        answer = int(np.searchsorted(starts, said.index("<answer>") + len("<answer>"), "right")) - 1
        logits = output.logits[0, prompt + answer - 1].double()
        yes, no = (logits[side].logsumexp(0) for side in self.answers)
        shown = torch.from_numpy(density / (density + 4) * float(torch.sigmoid(yes - no))).float()
        upsampled = torch.nn.functional.interpolate(
            shown[None, None], (image.height, image.width), mode="bilinear"
        )
        return said, upsampled[0, 0].numpy()


def concentration(seen: NDArray[np.float64]) -> float:
    """exp(−H) of one word's map, component by component."""
    peaks = np.maximum(seen - seen.mean(), 0)
    labels, count = ndimage.label(peaks > 0, structure=np.ones((3, 3)))
    shares = np.array([peaks[labels == k].sum() for k in range(1, count + 1)]) / peaks.sum()
    return float(np.exp(-(-shares * np.log(shares)).sum()))


def main() -> None:
    """Run the benchmark."""
    arguments = arguments_of(
        __doc__, images=(48, 2, "of each round"), rounds=(5, 1, "of both sides")
    )
    theirs, ours = OneAtATime(), Inspector.from_pretrained(settings=SETTINGS)
    found: dict[str, list[Said]] = {}
    with tempfile.TemporaryDirectory() as name:
        paths = [Path(name, f"{index:03d}.png") for index in range(arguments.images)]
        for path, image in zip(paths, rendered(arguments.images, seed=3003), strict=True):
            image.save(path)

        def run_ours() -> None:
            found["ours"] = [(i.explanation, i.anomaly_map) for i in ours(list(paths))]

        def run_theirs() -> None:
            found["theirs"] = [theirs(path) for path in paths]

        costs = interleaved({"theirs": run_theirs, "ours": run_ours}, arguments.rounds)
    pairs = list(zip(found["ours"], found["theirs"], strict=True))
    same = [(a[1], b[1]) for a, b in pairs if a[0] in b[0]]
    apart = max(float(np.abs(a - b).max()) for a, b in same)

    def speed(cost: Cost) -> list[Cell]:
        return [arguments.images / cost.seconds, min(cost.cpu) / arguments.images, cost.peak]

    clock, processor, memory = ratios(costs["theirs"], costs["ours"])
    report(
        arguments.out,
        "one_at_a_time",
        ["", "images a second", "processor s an image", "peak, MB"],
        [
            ["one at a time, eager, NumPy", *speed(costs["theirs"])],
            [f"flawsight, {ours.batch_size} at once", *speed(costs["ours"])],
            ["ratio", clock, processor, memory],
        ],
        f"{len(same)} of {len(pairs)} responses equal word for word; maps of these at most "
        f"{apart:.1e} apart. Medians of {arguments.rounds} rounds, ratios within a round. "
        "Bundled model, float32.",
    )  # fmt: skip


if __name__ == "__main__":
    main()
