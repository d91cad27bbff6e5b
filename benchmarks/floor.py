"""What Qwen2.5-VL 3B and 7B cannot be faster than on a GPU: bytes to read, products to make.

    python benchmarks/floor.py

Calculated, not measured, from the published shapes of the models and the sheet of the card. A step
of decoding reads all weights of the language model and all keys and values once; vision and prompt
cost their products. Capturing adds the queries that wait and, every 32 steps, one reading of the
keys; a repository's eager pass adds the matrices it keeps.
"""

from dataclasses import dataclass

from measure import Cell, arguments_of, report

from flawsight.mllm.capture import STEPS_AT_ONCE

# NVIDIA H100 SXM, data sheet: bfloat16 without sparsity, HBM3.
FLOPS, BYTES = 989e12, 3.35e12
TEXT = 60  # tokens of the prompt beside the image


@dataclass(frozen=True)
class Shape:
    """A language model: layers, width, heads, key heads, MLP, vocabulary, tied embeddings."""

    layers: int
    width: int
    heads: int
    key_heads: int
    inner: int
    vocabulary: int
    tied: bool

    @property
    def layer_weights(self) -> int:
        """All weights of a layer that a token passes."""
        head = self.width // self.heads
        attention = 2 * self.width**2 + 2 * self.width * self.key_heads * head
        return attention + 3 * self.width * self.inner

    @property
    def weights(self) -> int:
        """Those that a step of decoding reads: the layers' and the output's."""
        return self.layers * self.layer_weights + self.width * self.vocabulary

    @property
    def cache(self) -> int:
        """Bytes of keys and values a token, bfloat16."""
        return 2 * 2 * self.layers * self.key_heads * (self.width // self.heads)


MODELS = {
    "3B": Shape(36, 2048, 16, 2, 11008, 151936, True),
    "7B": Shape(28, 3584, 28, 4, 18944, 152064, False),
}
# The vision encoder of both: 32 blocks, 4 of which see the whole image, the others 8×8 patches.
DEPTH, WHOLE, VISION, VISION_INNER, WINDOW = 32, 4, 1280, 3420, 64


def vision_flops(side: int) -> float:
    """Products of the encoder for a square image."""
    patches = (side // 14) ** 2
    weights = DEPTH * (4 * VISION**2 + 3 * VISION * VISION_INNER) + 3 * 2 * 14**2 * VISION
    seen = WHOLE * patches + (DEPTH - WHOLE) * WINDOW
    return 2.0 * patches * weights + 4.0 * patches * seen * VISION


def prefill_flops(shape: Shape, tokens: int) -> float:
    """Products of the language model for a prompt; half of the attention is masked."""
    return 2.0 * tokens * shape.layers * shape.layer_weights + (
        2.0 * shape.layers * tokens**2 * shape.width
    )


def row(name: str, side: int, new: int, batch: int) -> list[Cell]:
    """Return the floors of a batch of images, in ms an image."""
    shape = MODELS[name]
    tokens = (side // 28) ** 2 + TEXT
    head = shape.width // shape.heads
    vision = vision_flops(side) / FLOPS
    prefill = max(prefill_flops(shape, tokens) / FLOPS, 2 * shape.weights / BYTES / batch)
    keys = shape.cache * (tokens + new / 2)
    read = new * (2 * shape.weights / batch + keys) / BYTES
    products = new * 2.0 * shape.weights / FLOPS
    capture = (new / STEPS_AT_ONCE * keys / 2 + new * 2 * 2 * shape.layers * shape.width) / BYTES
    eager = 2.0 * shape.layers * shape.heads * (tokens + new) ** 2
    waiting = 2.0 * STEPS_AT_ONCE * shape.layers * shape.heads * head
    return [
        name, f"{side}×{side}", str(new), str(batch),
        vision * 1e3, prefill * 1e3, read * 1e3, products * 1e3,
        (vision + prefill + max(read, products)) * 1e3,
        100 * capture / (vision + prefill + max(read, products)),
        waiting / 1e6, eager / 1e6,
    ]  # fmt: skip


def main() -> None:
    """Write the table."""
    arguments = arguments_of(__doc__)
    report(
        arguments.out,
        "floor",
        ["model", "image", "new tokens", "batch", "vision, ms", "prompt, ms",
         "decoding by bytes, ms", "by products, ms", "floor, ms an image", "capture on top, %",
         "queries that wait, MB", "eager matrices of a repository, MB"],
        [
            row(name, side, new, batch)
            for name in MODELS
            for side in (420, 1260)
            for new in (64, 256)
            for batch in (1, 16)
        ],
        f"Calculated for one H100 at {FLOPS / 1e12:.0f} TFLOP/s and {BYTES / 1e12:.2f} TB/s, "
        "bfloat16; nothing of it was run. The script ran on",
    )  # fmt: skip


if __name__ == "__main__":
    main()
