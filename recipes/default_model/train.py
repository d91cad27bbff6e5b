"""Train the bundled default model from random weights: text supervision only, no masks.

    python recipes/default_model/train.py --out RUN [--config config.yaml] [--steps N] [--init DIR]

Stop it at any time; the same command goes on from the last checkpoint and ends in the same weights.
RUN/model is the finished folder, RUN/log.jsonl the curve.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from build import build_model, build_processor, build_tokenizer, save
from data import PairBatches, TrainingBatch, corpus
from muon import Muon
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from flawsight.data.surfaces import VALIDATION_FAMILIES, render_twins
from flawsight.inspector import Inspector

HERE = Path(__file__).parent


def make_optimizers(model: nn.Module, config: dict[str, Any]) -> list[torch.optim.Optimizer]:
    """Muon for the hidden matrices, AdamW for embeddings, the patch convolution, norms, biases."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        hidden = parameter.ndim == 2 and "embed_tokens" not in name and "lm_head" not in name
        (matrices if hidden else others).append(parameter)
    return [
        Muon(matrices, lr=config["muon_lr"], weight_decay=config["weight_decay"]),
        torch.optim.AdamW(others, lr=config["adamw_lr"], betas=(0.9, 0.98), weight_decay=0.0),
    ]


def rate(step: int, config: dict[str, Any]) -> float:
    """Return the factor on both learning rates: linear warm-up, plateau, linear decay to 0."""
    decay = config["decay_share"] * config["steps"]
    warm_up = (step + 1) / config["warmup_steps"]
    return float(min(1.0, warm_up, (config["steps"] - step) / decay))


def loss_of(model: Any, batch: TrainingBatch) -> Tensor:
    """Return the weighted mean cross-entropy of the response tokens."""
    length = batch.weights.shape[1]
    logits = model(**batch.inputs, logits_to_keep=length + 1).logits[:, :-1]
    targets = batch.inputs["input_ids"][:, -length:]
    losses: Tensor = nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), reduction="none"
    )
    return (losses * batch.weights.flatten()).sum() / batch.weights.sum()


def validate(folder: Path, pairs: int) -> dict[str, float]:
    """Inspect twins of families kept out of training with the weights in `folder`."""
    rng = np.random.default_rng(1)
    families = sorted(VALIDATION_FAMILIES)
    samples = [
        sample
        for index in range(pairs)
        for sample in render_twins(rng, (240, 240), family=families[index % len(families)])
    ]
    inspections = Inspector.from_pretrained(folder)([sample.image for sample in samples])
    labels = [sample.label for sample in samples]
    found = [(s, i) for s, i in zip(samples, inspections, strict=True) if s.label]
    return {
        "image_auroc": float(roc_auc_score(labels, [i.pred_score for i in inspections])),
        "balanced_accuracy": float(
            balanced_accuracy_score(labels, [i.pred_label for i in inspections])
        ),
        "place_right": float(np.mean([f"the {s.place}" in i.explanation for s, i in found])),
        "defect_right": float(np.mean([f" {s.defect} " in i.explanation for s, i in found])),
        "pixel_auroc": float(
            np.mean([roc_auc_score(s.gt_mask.ravel(), i.anomaly_map.ravel()) for s, i in found])
        ),
    }


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write the checkpoint whole or not at all."""
    torch.save(state, path.with_suffix(".tmp"))
    os.replace(path.with_suffix(".tmp"), path)


def main() -> None:
    """Run the recipe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--config", type=Path, default=HERE / "config.yaml")
    parser.add_argument("--steps", type=int, help="override the configuration's number of steps")
    parser.add_argument("--init", type=Path, help="start from this model folder's weights")
    arguments = parser.parse_args()
    config = yaml.safe_load(arguments.config.read_text())
    if arguments.steps:
        config["steps"] = arguments.steps
    arguments.out.mkdir(parents=True, exist_ok=True)

    torch.manual_seed(config["seed"])
    texts = corpus(np.random.default_rng(config["seed"]), pairs=1500)
    tokenizer = build_tokenizer(texts, config["vocab_size"])
    processor = build_processor(tokenizer, config["image_side"])
    model = build_model(tokenizer, **config["model"])
    if arguments.init:
        model = type(model).from_pretrained(arguments.init)
    optimizers = make_optimizers(model, config)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(tokenizer)} tokens")

    checkpoint, start = arguments.out / "checkpoint.pt", 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        if state["config"] != config:
            raise SystemExit(f"{arguments.out} holds a run with other settings; choose another.")
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        start = state["step"]

    batches = PairBatches(
        processor,
        seed=config["seed"],
        pairs=config["pairs"],
        easy_steps=config["easy_steps"],
        full_steps=config["full_steps"],
        image_side=config["image_side"],
        steps=config["steps"],
    )
    loader = DataLoader(
        Subset(batches, range(start, config["steps"])),
        batch_size=None,
        num_workers=config["workers"],
        prefetch_factor=4 if config["workers"] else None,
    )
    base_rates = [config["muon_lr"], config["adamw_lr"]]
    log = (arguments.out / "log.jsonl").open("a", buffering=1)
    began, recent = time.monotonic(), []
    for step, batch in enumerate(loader, start=start):
        for optimizer, base in zip(optimizers, base_rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = base * rate(step, config)
        loss = loss_of(model, batch)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(model.parameters(), config["clip_norm"])
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        recent.append(loss.item())
        done = step + 1
        row: dict[str, Any] = {}
        if done % 20 == 0:
            seconds = time.monotonic() - began
            row = {"step": done, "loss": round(float(np.mean(recent)), 4)}
            row["seconds_left"] = round(seconds / (done - start) * (config["steps"] - done))
            recent = []
        if done % config["checkpoint_every"] == 0 or done == config["steps"]:
            state = {
                "config": config,
                "step": done,
                "model": model.state_dict(),
                "optimizers": [optimizer.state_dict() for optimizer in optimizers],
            }
            save_checkpoint(checkpoint, state)
        if done % config["validate_every"] == 0 or done == config["steps"]:
            save(arguments.out / "model", model, processor)
            scores = validate(arguments.out / "model", config["validation_pairs"])
            row = {"step": done, **row, **{key: round(x, 3) for key, x in scores.items()}}
        if row:
            print(json.dumps(row), flush=True)
            log.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
