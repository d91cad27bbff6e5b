"""Images per second, compared with how public repositories read attention out of Qwen2.5-VL.

    python benchmarks/one_at_a_time.py [--images 48] [--rounds 5] [--smoke]

The usual way: one image at a time, generate, run everything again in eager attention with
`output_attentions=True`, copy every matrix to NumPy, and score token by token; here with stock
transformers, NumPy and SciPy and the same equations, so maps must be equal, of the same files.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import arguments_of, interleaved, ratios, report, saved
from numpy.typing import NDArray
from pages import Cell
from PIL import Image
from scipy import ndimage
from transformers import Qwen2_5_VLForConditionalGeneration

from flawsight.inspector import Inspector
from flawsight.mllm.load import DEFAULT_MODEL
from flawsight.mllm.processor import load_processor
from flawsight.prompt import user_message
from flawsight.settings import Settings

# Every token counts by its S_I alone.
SETTINGS = Settings(tau_t=0.0, tau_i=0.0, alpha=0.0)
Answer = tuple[str, NDArray[np.float32]]


class OneAtATime:
    """Stock model and processor of the bundled folder, in eager attention."""

    def __init__(self) -> None:
        self.model: Any = Qwen2_5_VLForConditionalGeneration.from_pretrained(
            DEFAULT_MODEL, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        self.processor = load_processor(DEFAULT_MODEL)
        patch = self.processor.image_processor.patch_size
        area = SETTINGS.image_tokens * (patch * 2) ** 2 if SETTINGS.image_tokens else 0
        self.size = {"shortest_edge": area, "longest_edge": area}

    @torch.no_grad()
    def __call__(self, path: Path) -> Answer:
        """Return the response and the anomaly map."""
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
        pieces = [self.processor.decode([token], skip_special_tokens=True) for token in ids[0]]
        cells = np.flatnonzero(ids[0, :prompt] == self.model.config.image_token_id)
        grid = inputs["image_grid_thw"][0, 1:] // 2
        maps = attention[prompt:, cells].reshape(new, *grid.tolist())
        return localized(image, pieces[prompt:], maps)


def localized(image: Image.Image, pieces: list[str], maps: NDArray[np.float32]) -> Answer:
    """Score token by token, as SETTINGS say. `maps`: (tokens, grid_h, grid_w)."""
    text = "".join(pieces)
    begin, end = text.index("<think>") + len("<think>"), text.index("</think>")
    total, at = np.zeros(maps.shape[1:]), 0
    for piece, attention in zip(pieces, maps.astype(np.float64), strict=True):
        start, at = at, at + len(piece)
        if begin <= start < at <= end:
            weight = SETTINGS.beta * concentration(attention)
            total = total + weight * attention
    upsampled = torch.nn.functional.interpolate(
        torch.from_numpy(total / total.mean()).float()[None, None],
        (image.height, image.width),
        mode="bilinear",
    )
    density = upsampled[0, 0].numpy()
    return text, density / (density + 4)


def concentration(attention: NDArray[np.float64]) -> float:
    """exp(−H) of one token's map, component by component."""
    peaks = np.maximum(attention - attention.mean(), 0)
    labels, count = ndimage.label(peaks > 0, structure=np.ones((3, 3)))
    shares = np.array([peaks[labels == k].sum() for k in range(1, count + 1)]) / peaks.sum()
    return float(np.exp((shares * np.log(shares)).sum()))


def main() -> None:
    """Run the benchmark."""
    arguments = arguments_of(
        __doc__, images=(48, 2, "of each round"), rounds=(5, 1, "of both sides")
    )
    usual, ours = OneAtATime(), Inspector.from_pretrained(settings=SETTINGS)
    found: dict[str, list[Answer]] = {}
    with tempfile.TemporaryDirectory() as name:
        paths = saved(arguments.images, 3003, Path(name))

        def run_ours() -> None:
            made: list[Any] = ours(list(paths))
            found["ours"] = [(i.explanation, i.anomaly_map) for i in made]

        def run_usual() -> None:
            found["usual"] = [usual(path) for path in paths]

        costs = interleaved({"usual": run_usual, "ours": run_ours}, arguments.rounds)
    pairs = list(zip(found["ours"], found["usual"], strict=True))
    same = [(a[1], b[1]) for a, b in pairs if a[0] in b[0]]
    apart = max(float(np.abs(a - b).max()) for a, b in same)

    def speed(side: str) -> list[Cell]:
        cost = costs[side]
        return [arguments.images / cost.seconds, min(cost.cpu) / arguments.images, cost.peak]

    report(
        arguments.out,
        "one_at_a_time",
        ["", "images a second", "processor s an image", "peak, MB"],
        [
            ["one at a time, eager, NumPy", *speed("usual")],
            [f"flawsight, {ours.batch_size} at once", *speed("ours")],
            ["ratio", *ratios(costs["usual"], costs["ours"])],
        ],
        f"{len(same)} of {len(pairs)} responses equal word for word; maps of these at most "
        f"{apart:.1e} apart. Medians of {arguments.rounds} rounds, ratios within a round. "
        "Bundled model, float32.",
    )


if __name__ == "__main__":
    main()
