"""How many machines for so many images a day, from a measured rate: the tables of docs/scale.md.

    python benchmarks/sizing.py cluster.json [--write]

The JSON is that of benchmarks/ray_load.py, or {"images_per_second": {"NAME": RATE OF ONE MODEL}}
from one's own measurement on a GPU.
"""

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path

from pages import DOCS, write_section

DAY = 86_400
LOADED = 0.6  # share of the time in which a copy is busy: peaks, restarts, stragglers
# Of one Qwen2.5-VL on one H100, 420×420 pixels, 128 new tokens: calculated, not measured.
BANDWIDTH, ARITHMETIC, ACHIEVED = 3.35e12, 989e12, 0.4
BATCH, PROMPT, NEW = 64, 300, 128
WEIGHTS = {"3B": 3.75e9, "7B": 8.29e9}
CACHE_PER_TOKEN = {"3B": 36 * 2 * 2 * 128 * 2, "7B": 28 * 2 * 4 * 128 * 2}


@dataclass(frozen=True)
class Floor:
    """Seconds that a batch takes at least.

    Attributes:
        prefill: by arithmetic: 2 · weights · tokens.
        decode: by bytes: weights and cache, read anew for each token.
    """

    prefill: float
    decode: float

    @property
    def images_per_second(self) -> float:
        """Of one GPU that gets `ACHIEVED` of both, prompts read twice: to write and to replay."""
        return BATCH * ACHIEVED / (2 * self.prefill + self.decode)


def floor(size: str) -> Floor:
    """Calculate the floor of a model on one H100."""
    weights = WEIGHTS[size]
    cache = CACHE_PER_TOKEN[size] * (PROMPT + NEW / 2) * BATCH
    return Floor(
        prefill=2 * weights * PROMPT * BATCH / ARITHMETIC,
        decode=NEW * (2 * weights + cache) / BANDWIDTH,
    )


def copies(images_a_day: float, rate: float) -> int:
    """Return how many copies of the model inspect so many images a day.

    Args:
        images_a_day: on average; the peak is `LOADED`'s.
        rate: images a second of one copy.
    """
    return math.ceil(images_a_day / DAY / LOADED / rate)


def table(rates: dict[str, float], bytes_per_image: dict[str, float]) -> str:
    """Return the tables as Markdown."""
    lines = [
        "| one copy of the model | images a second | copies for 1 M a day | for 100 M a day |",
        "|---|---|---|---|",
    ]
    for name, rate in rates.items():
        few, many = copies(1e6, rate), copies(1e8, rate)
        lines.append(f"| {name} | {rate:.3g} | {few:,} | {many:,} |")
    lines += [
        "",
        f"Copies = images a day / {DAY:,} s / {LOADED} / images a second of one copy, rounded up.",
    ]
    if bytes_per_image:
        lines += [
            "",
            "| what is kept | bytes an image | 1 M a day | 100 M a day |",
            "|---|---|---|---|",
        ]
        for name, size in sorted(bytes_per_image.items()):
            lines.append(f"| {name} | {size:,.0f} | {size / 1e3:.3g} GB | {size / 10:,.0f} GB |")
    return "\n".join(lines)


def main() -> None:
    """Print the tables, or write them into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rates", type=Path)
    parser.add_argument("--write", action="store_true", help="put the tables in docs/scale.md")
    arguments = parser.parse_args()
    found = json.loads(arguments.rates.read_text())
    # All actors together are the rate that was measured; a copy's is its share.
    shared = found.get("actors", 1)
    rates = {
        f"measured: {name}": rate / (shared if name == "ray" else 1)
        for name, rate in found["images_per_second"].items()
    }
    rates |= {f"calculated: {s} on an H100": floor(s).images_per_second for s in WEIGHTS}
    text = table(rates, found.get("bytes_per_image", {}))
    if "machine" in found:
        text += f"\n\nMeasured with {found['machine']}."
    print(text)
    if arguments.write:
        write_section("sizing", text, DOCS / "scale.md")


if __name__ == "__main__":
    main()
