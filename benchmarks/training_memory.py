"""What training Qwen2.5-VL 3B and 7B keeps in memory: the table of docs/training.md.

    python benchmarks/training_memory.py [--write]

Weights and adapter are counted on a model of the published shape that holds no numbers. What the
backward pass needs is measured in the forward pass that trains, with random weights, on one and on
two language layers of that shape: each further layer adds as much as the second.
"""

import argparse
from typing import Any

import torch
from floor import DEPTH, MODELS, VISION, VISION_INNER, Shape
from pages import DOCS, write_section
from torch import Tensor
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from flawsight.cgro.encoded_images import Prompts
from flawsight.cgro.growable_cache import ROOM
from flawsight.cgro.policy import make_trainable, trainable_parameters
from flawsight.cgro.shared_prompt import CandidateForward, Completions, Sharing
from flawsight.cgro.train_settings import TRAIN_PRESETS
from flawsight.mllm.load import MLLM

PAPER = TRAIN_PRESETS["paper-7b"].settings
GROUP, RESPONSE = PAPER.candidates, TRAIN_PRESETS["paper-7b"].inspection.max_new_tokens
GRID = 15  # image tokens a side: 420 × 420 pixels
PROMPT = GRID**2 + 70
BFLOAT16, FLOAT32 = 2, 4
IMAGE, START, END, VIDEO = 900, 901, 902, 903
PASSES: dict[str, tuple[Sharing, bool, bool]] = {
    "as it is": ("cache", True, False),
    "with `--no-recompute-mlps`": ("cache", False, False),
    "with `--gradient-checkpointing --sharing packed`": ("packed", False, True),
}


def policy(shape: Shape, layers: int, vocabulary: int, device: str) -> MLLM:
    """Return a model of a shape in bfloat16, with the paper's adapter in float32."""
    text: dict[str, Any] = {
        "hidden_size": shape.width,
        "intermediate_size": shape.inner,
        "num_hidden_layers": layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.key_heads,
        "vocab_size": vocabulary,
        "bos_token_id": None,
        "eos_token_id": None,
        "tie_word_embeddings": shape.tied,
        "rope_parameters": {"rope_type": "default", "mrope_section": [16, 24, 24]},
    }
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config={
            "depth": DEPTH if device == "meta" else 1,
            "hidden_size": VISION,
            "intermediate_size": VISION_INNER,
            "out_hidden_size": shape.width,
        },
        image_token_id=IMAGE,
        vision_start_token_id=START,
        vision_end_token_id=END,
        video_token_id=VIDEO,
        tie_word_embeddings=shape.tied,
    )
    config.text_config.dtype = config.dtype = torch.bfloat16
    with torch.device(device):
        model = Qwen2_5_VLForConditionalGeneration(config).to(torch.bfloat16).eval()
        mllm = MLLM(model, None, "random", "", "sdpa")
        return make_trainable(mllm, "lora", PAPER.lora_rank, PAPER.lora_alpha, 0)


def kept(shape: Shape, layers: int, sharing: Sharing, recompute: bool, checkpointing: bool) -> int:
    """Return the bytes that one image's pass keeps for the backward pass, beside the weights."""
    torch.manual_seed(0)
    model = policy(shape, layers, 1000, "cpu").model
    if checkpointing:
        model.train().gradient_checkpointing_enable({"use_reentrant": False})
    ids = torch.randint(0, IMAGE, (1, PROMPT))
    ids[0, 9], ids[0, 10 : 10 + GRID**2] = START, IMAGE
    prompts = Prompts(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        mm_token_type_ids=(ids == IMAGE).long(),
        image_grid_thw=torch.tensor([[1, 2 * GRID, 2 * GRID]]),
        columns=torch.arange(10, 10 + GRID**2 + 25)[None],
        grids=[(GRID, GRID)],
        anomaly_tokens=torch.zeros(25, dtype=torch.bool),
        features=torch.randn(4 * GRID**2, VISION, dtype=torch.bfloat16),
    )
    said = torch.randint(0, IMAGE, (GROUP, RESPONSE))
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    found: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    mean = {layer: torch.full((shape.heads,), 1 / shape.heads / layers) for layer in range(layers)}
    forward = CandidateForward(model, sharing, 1.0, "sdpa", mean, recompute)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = forward(prompts, Completions(said, torch.ones_like(said, dtype=torch.bool)))
    del result  # until here it holds what was counted
    return sum(found.values())


def column(shape: Shape) -> dict[str, float]:
    """Return the rows of one model, in bytes."""
    whole = policy(shape, shape.layers, shape.vocabulary, "meta").model
    adapter = sum(parameter.numel() for _, parameter in trainable_parameters(whole))
    weights = sum(parameter.numel() for parameter in whole.parameters()) - adapter
    tokens = PROMPT + RESPONSE + ROOM
    rows: dict[str, float] = {
        "frozen weights, bfloat16": BFLOAT16 * weights,
        f"LoRA of rank {PAPER.lora_rank} in float32, its gradient and Adam's state": (
            4 * FLOAT32 * adapter
        ),
        f"cache while {PAPER.images_per_step * GROUP} candidates are sampled": (
            PAPER.images_per_step * GROUP * tokens * shape.cache
        ),
    }
    each: dict[str, int] = {}
    for name, (sharing, recompute, checkpointing) in PASSES.items():
        one, two = (kept(shape, n, sharing, recompute, checkpointing) for n in (1, 2))
        each[name] = two - one
        rows[f"kept for the backward pass, {name}"] = one + (shape.layers - 1) * each[name]
    as_it_is, all_kept, _ = each.values()
    one, two = (kept(shape, n, "packed", False, False) for n in (1, 2))
    rows["of the MLP that is run again, as it is"] = all_kept - as_it_is
    rows["of the layer that is run again, with checkpointing"] = two - one
    return rows


def main() -> None:
    """Print the table, or write it into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the table in docs/training.md")
    arguments = parser.parse_args()
    columns = {name: column(shape) for name, shape in MODELS.items()}
    lines = [f"| GB | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
    for row in next(iter(columns.values())):
        lines.append(f"| {row} | {' | '.join(f'{c[row] / 1e9:.1f}' for c in columns.values())} |")
    print("\n".join(lines))
    if arguments.write:
        write_section("training_memory", "\n".join(lines), DOCS / "training.md")


if __name__ == "__main__":
    main()
