"""Cost of capturing attention next to plain generation, and of a replay next to a prefill.

    python benchmarks/capture_cost.py [--rounds 9] [--smoke]

"Plain generation" is stock `model.generate` on the same inputs; "capture off" is this package's
generation without any attention captured. Encoding the images is not measured.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from measure import arguments_of, interleaved, ratios, rendered, report
from pages import Cell

from flawsight.mllm.capture import AttentionCapture, capture_attention, chosen_layers
from flawsight.mllm.encode import encode_prompts
from flawsight.mllm.generate import respond
from flawsight.mllm.load import load_mllm
from flawsight.settings import PRESETS

PLAIN, PREFILL = "plain generation", "plain prefill of the same length"


def rows_of(batch: int, rounds: int, new_tokens: int) -> list[list[Cell]]:
    """Measure all sides at one batch size."""
    mllm, settings = load_mllm(), PRESETS["default"]
    prompts = encode_prompts(mllm, rendered(batch, seed=3001), settings)
    layers = chosen_layers(mllm.model, settings.layers)

    def capturing(last_rows: int, work: Callable[[], object]) -> None:
        capture = AttentionCapture(prompts.columns, layers, last_rows)
        with capture_attention(mllm.model, capture, mllm.attention):
            work()
        assert capture.rows.shape[1]

    def plain() -> Any:
        return mllm.model.generate(**prompts.inputs, do_sample=False, max_new_tokens=new_tokens)

    respond_here = partial(respond, mllm, prompts.inputs, new_tokens)
    ids = plain()
    extra = ids.shape[1] - prompts.inputs["input_ids"].shape[1]
    longer = dict(prompts.inputs, input_ids=ids)
    for name, value in (("attention_mask", 1), ("mm_token_type_ids", 0)):
        longer[name] = torch.nn.functional.pad(prompts.inputs[name], (0, extra), value=value)

    def prefill() -> None:
        mllm.model(**longer, logits_to_keep=extra + 1, use_cache=False)

    costs = interleaved(
        {
            PLAIN: plain,
            "generation, capture off": respond_here,
            "generation with capture": lambda: capturing(1, respond_here),
            PREFILL: prefill,
            "replay": lambda: capturing(extra + 1, prefill),
        },
        rounds,
    )
    bases = dict.fromkeys(costs, PLAIN) | {PREFILL: PREFILL, "replay": PREFILL}
    return [
        [str(batch), name, cost.seconds * 1e3, *ratios(cost, costs[bases[name]]), cost.peak]
        for name, cost in costs.items()
    ]


@torch.inference_mode()
def main() -> None:
    """Run the benchmark."""
    arguments = arguments_of(
        __doc__, rounds=(9, 1, "of all sides"), new_tokens=(256, 4, "at most, of a response")
    )
    rows: list[list[Cell]] = []
    for batch in (1,) if arguments.smoke else (1, 8, 16):
        rows += rows_of(batch, arguments.rounds, arguments.new_tokens)
    report(
        arguments.out,
        "capture",
        ["images at once", "what", "ms", "× plain, clock", "× plain, processor",
         "× plain, peak memory", "peak, MB"],
        rows,
        f"Medians of {arguments.rounds} rounds in which the sides take turns; ratios within a "
        "round. Bundled model, float32.",
    )  # fmt: skip


if __name__ == "__main__":
    main()
