"""Stage 1: train the vision encoder to predict the facts of an image. No mask, no map.

Without --grow-from it trains the small encoder from random weights. With it, it trains the encoder
of full size, which begins with the function of the small one. The output folder holds
encoder.safetensors, the encoder and its head in bfloat16, and log.jsonl, the curve. Rerun the same
command to resume.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from build import build_model, build_tokenizer
from encoder import encode_images, grow, initialize_attention
from facts import FactHead, Facts, facts_of, loss_of
from parallel import average_gradients, run
from pool import Pool
from safetensors.torch import load_file, save_file
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from train_language import make_optimizers, rate, save_checkpoint

from flawsight_surfaces import VALIDATION_FAMILIES, render_pair

MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)  # the processor's
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)


def build_visual(settings: dict[str, Any], config: dict[str, Any]) -> Any:
    """Build a vision encoder of the size that `config` names, with random weights."""
    sizes = settings["model"] | config["size"]
    return build_model(build_tokenizer([], 280), **sizes).model.visual


def validation_images(pairs: int, side: int) -> Tensor:
    """Render pairs of the validation families: (2 pairs, 3, S, S), normalised."""
    rng, families = np.random.default_rng(1), sorted(VALIDATION_FAMILIES)
    rendered = [
        render_pair(rng, (side, side), family=families[index % len(families)])
        for index in range(pairs)
    ]
    pixels = np.stack([sample.image for pair in rendered for sample in pair])
    return (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - MEAN) / STD


def draw(pool: Pool, rng: np.random.Generator, pairs: int) -> tuple[Tensor, Facts]:
    """Draw pairs, with random gain, gamma and channel order: (2 pairs, 3, S, S), normalised."""
    samples = [sample for pair in pool.draw(rng, pairs) for sample in pair]
    images = torch.from_numpy(np.stack([sample.image for sample in samples]))
    images = images.permute(0, 3, 1, 2).contiguous() / 255
    gain = torch.from_numpy(rng.uniform(0.8, 1.2, (pairs, 3, 1, 1)).astype(np.float32))
    gamma = torch.from_numpy(rng.uniform(0.75, 1.33, (pairs, 1, 1, 1)).astype(np.float32))
    if rng.random() < 0.3:
        images = images[:, rng.permutation(3)]
    images = (images * gain.repeat_interleave(2, 0)).clamp(0, 1)
    return (images ** gamma.repeat_interleave(2, 0) - MEAN) / STD, facts_of(samples)


@torch.no_grad()
def validate(visual: nn.Module, head: FactHead, images: Tensor) -> dict[str, float]:
    """Score the verdicts over all images, and within pairs."""
    scores = torch.cat(
        [head(encode_images(visual, part))["present"][:, -1] for part in torch.split(images, 40)]
    )
    labels = torch.arange(len(images)) % 2
    return {
        "image_auroc": round(float(roc_auc_score(labels, scores)), 3),
        "pair_accuracy": round(float((scores[1::2] > scores[::2]).float().mean()), 3),
    }


def train(arguments: argparse.Namespace, rank: int, world_size: int) -> None:
    """Run stage 1, as one of `world_size` processes."""
    settings: dict[str, Any] = yaml.safe_load(arguments.config.read_text())
    config = settings["encoder" if arguments.grow_from else "small_encoder"]
    arguments.out.mkdir(parents=True, exist_ok=True)

    torch.manual_seed(config["seed"])
    visual = build_visual(settings, config)
    initialize_attention(visual)
    side = settings["image_side"]
    head = FactHead(settings["model"]["width"], (side // 16) ** 2)
    learned = nn.ModuleDict({"visual": visual, "head": head})
    optimizers = make_optimizers(learned, config)
    if arguments.grow_from:
        small = build_visual(settings, settings["small_encoder"])
        before = nn.ModuleDict({"visual": small, "head": head})
        before.load_state_dict(load_file(arguments.grow_from))
        grow(small, visual)
    encode = torch.compile(encode_images, dynamic=True) if config["compile"] else encode_images
    checkpoint, start = arguments.out / "checkpoint.pt", 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        learned.load_state_dict(state["learned"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        start = state["step"]

    pool = Pool(arguments.pool)
    held_out = validation_images(config["validation_pairs"], side)
    log = (arguments.out / "log.jsonl").open("a", buffering=1)
    began = time.monotonic()
    sums: dict[str, float] = {}
    for step in range(start, arguments.stop_after or config["steps"]):
        for optimizer, base in zip(
            optimizers, (config["muon_lr"], config["adamw_lr"]), strict=True
        ):
            for group in optimizer.param_groups:
                group["lr"] = base * rate(step, config)
        rng = np.random.default_rng([config["seed"], step * world_size + rank])
        images, facts = draw(pool, rng, config["pairs"] // world_size)
        with torch.autocast("cpu", torch.bfloat16):
            logits = head(encode(visual, images, pairs=True))
        losses = loss_of(logits, facts, config["weights"])
        torch.autograd.backward(losses["total"])
        average_gradients(learned.parameters())
        nn.utils.clip_grad_norm_(learned.parameters(), config["clip_norm"])
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        for name, loss in losses.items():
            sums[name] = sums.get(name, 0.0) + loss.item()
        done = step + 1
        row: dict[str, Any] = {}
        if done % 100 == 0:
            row = {name: round(total / 100, 3) for name, total in sums.items()}
            row["images_per_second"] = round(
                2 * config["pairs"] * (done - start) / (time.monotonic() - began), 1
            )
            sums = {}
        if rank == 0 and (done % config["checkpoint_every"] == 0 or done == config["steps"]):
            save_checkpoint(
                checkpoint,
                {
                    "step": done,
                    "learned": learned.state_dict(),
                    "optimizers": [optimizer.state_dict() for optimizer in optimizers],
                },
            )
            rounded = {name: weights.bfloat16() for name, weights in learned.state_dict().items()}
            save_file(rounded, arguments.out / "encoder.safetensors")
            row |= validate(visual, head, held_out)
        if row and rank == 0:
            line = json.dumps({"step": done, **row})
            print(line, flush=True)
            log.write(line + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pool", type=Path, required=True, help="folder of pool.py")
    parser.add_argument("--grow-from", type=Path, help="encoder.safetensors of the small encoder")
    run(train, parser)
