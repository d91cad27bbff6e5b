"""What capturing attention costs beside plain generation, and a replay beside a prefill.

    python benchmarks/capture_cost.py [--rounds 9] [--smoke]

"off" is generation of this program with no attention wanted; the plain one is a call of stock
`model.generate` on the same inputs. Encoding the images is on no side.
"""

from typing import Any

import torch
from measure import Cell, arguments_of, interleaved, ratios, rendered, report

from flawsight.mllm.capture import AttentionCapture, capture_attention, decoder_layers, head_weights
from flawsight.mllm.encode import encode_prompts
from flawsight.mllm.generate import respond
from flawsight.mllm.load import load_mllm
from flawsight.settings import PRESETS


def rows_of(batch: int, rounds: int, new_tokens: int) -> list[list[Cell]]:
    """Measure all sides at one batch size."""
    mllm, settings = load_mllm(), PRESETS["default"]
    model, text = mllm.model, mllm.model.config.get_text_config()
    prompts = encode_prompts(mllm, rendered(batch, seed=3001), settings)
    layers = len(decoder_layers(model))
    weights = head_weights(layers, text.num_attention_heads, None, None)

    def capturing(last_rows: int, work: Any) -> None:
        capture = AttentionCapture(prompts.columns, weights, last_rows)
        with capture_attention(model, capture, mllm.attention):
            work()
        assert capture.rows.shape[1]

    def plain() -> Any:
        return model.generate(**prompts.inputs, do_sample=False, max_new_tokens=new_tokens)

    said = plain()
    longer = dict(prompts.inputs, input_ids=said)
    extra = said.shape[1] - prompts.inputs["input_ids"].shape[1]
    for name, value in (("attention_mask", 1), ("mm_token_type_ids", 0)):
        longer[name] = torch.nn.functional.pad(prompts.inputs[name], (0, extra), value=value)

    def prefill() -> None:
        model(**longer, logits_to_keep=extra + 1, use_cache=False)

    costs = interleaved(
        {
            "plain generation": plain,
            "generation, capture off": lambda: respond(mllm, prompts.inputs, new_tokens),
            "generation with capture": lambda: capturing(
                1, lambda: respond(mllm, prompts.inputs, new_tokens)
            ),
            "plain prefill of the same length": prefill,
            "replay": lambda: capturing(extra + 1, prefill),
        },
        rounds,
    )
    rows: list[list[Cell]] = []
    for name, cost in costs.items():
        of_prefill = name in ("replay", "plain prefill of the same length")
        base = costs["plain prefill of the same length" if of_prefill else "plain generation"]
        rows.append([str(batch), name, cost.seconds * 1e3, *ratios(cost, base), cost.peak])
    return rows


@torch.inference_mode()
def main() -> None:
    """Run the benchmark."""
    arguments = arguments_of(
        __doc__, rounds=(9, 1, "of all sides"), new_tokens=(256, 4, "at most, of a response")
    )
    report(
        arguments.out,
        "capture",
        ["images at once", "what", "ms", "× plain, clock", "× plain, processor",
         "× plain, peak memory", "peak, MB"],
        [
            row
            for batch in ((1,) if arguments.smoke else (1, 8, 16))
            for row in rows_of(batch, arguments.rounds, arguments.new_tokens)
        ],
        f"Medians of {arguments.rounds} rounds in which the sides take turns; ratios within a "
        "round. Bundled model, float32.",
    )  # fmt: skip


if __name__ == "__main__":
    main()
