"""Stage 3: train the language model on the encoded pool, with text only. No mask, no map.

The language model and the encoder's merger begin with random weights; the encoder stays as it is.
The output folder holds model, the model folder, and log.jsonl, the curve. Rerun the same command to
resume from the last checkpoint; the weights are the same as without the interruption.
"""

import argparse
import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from build import build_model, build_processor, build_tokenizer, save
from data import PairBatches, TrainingBatch, corpus
from encode_pool import EncodedPool
from muon import Muon
from parallel import average_gradients, rate, run, save_checkpoint
from safetensors.torch import load_file
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from transformers.modeling_outputs import BaseModelOutputWithPooling

from flawsight.inspection import Inspection
from flawsight.inspector import Inspector
from flawsight.mllm.contradiction import telling_sentence
from flawsight_surfaces import VALIDATION_FAMILIES, render_pair


def make_optimizers(model: nn.Module, config: dict[str, Any]) -> list[torch.optim.Optimizer]:
    """Muon for the hidden matrices, AdamW for the merger, embeddings, norms and biases.

    The merger's first matrix is so large that making it orthogonal would take most of a step.
    """
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        hidden = parameter.ndim == 2 and not re.search("merger|embed_tokens|lm_head", name)
        (matrices if hidden else others).append(parameter)
    return [
        Muon(matrices, lr=config["muon_lr"], weight_decay=config["weight_decay"]),
        torch.optim.AdamW(others, lr=config["adamw_lr"], betas=(0.9, 0.98), weight_decay=0.0),
    ]


class CachedEncoder(nn.Module):
    """In place of the vision encoder: its merger alone, on features that are already there."""

    def __init__(self, visual: Any) -> None:
        super().__init__()
        self.merger = visual.merger
        self.spatial_merge_size, self.dtype = visual.spatial_merge_size, visual.dtype

    def forward(self, features: Tensor, **_: Any) -> BaseModelOutputWithPooling:
        """Merge (patches, width) features, those of one image token side by side."""
        return BaseModelOutputWithPooling(pooler_output=self.merger(features))


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
    """Inspect pairs of the validation families with the model in `folder`."""
    rng = np.random.default_rng(1)
    families = sorted(VALIDATION_FAMILIES)
    samples = [
        sample
        for index in range(pairs)
        for sample in render_pair(rng, (240, 240), family=families[index % len(families)])
    ]
    inspector = Inspector.from_pretrained(folder)
    outcomes = inspector.inspect_batch([sample.image for sample in samples])
    answered = [
        (sample, outcome)
        for sample, outcome in zip(samples, outcomes, strict=True)
        if isinstance(outcome, Inspection)
    ]
    labels = [sample.label for sample, _ in answered]
    verdicts = [inspection.pred_label for _, inspection in answered]
    defective = [
        (sample, telling_sentence(inspection.explanation, "Yes"), inspection)
        for sample, inspection in answered
        if sample.label
    ]
    if len(set(labels)) < 2:
        return {"answered": len(answered) / len(samples)}
    return {
        "answered": len(answered) / len(samples),
        "image_auroc": float(roc_auc_score(labels, [i.pred_score for _, i in answered])),
        "balanced_accuracy": float(balanced_accuracy_score(labels, verdicts)),
        "place_right": float(np.mean([f"the {s.place}" in text for s, text, _ in defective])),
        "defect_right": float(np.mean([f" {s.defect} " in text for s, text, _ in defective])),
        "pixel_auroc": float(
            np.mean(
                [roc_auc_score(s.gt_mask.ravel(), i.anomaly_map.ravel()) for s, _, i in defective]
            )
        ),
    }


def train(arguments: argparse.Namespace, rank: int, world_size: int) -> None:
    """Run stage 3, as one of `world_size` processes."""
    settings: dict[str, Any] = yaml.safe_load(arguments.config.read_text())
    config = settings["language"]
    arguments.out.mkdir(parents=True, exist_ok=True)
    steps: int = config["steps"]

    torch.manual_seed(config["seed"])
    texts = corpus(np.random.default_rng(config["seed"]), pairs=config["corpus_pairs"])
    tokenizer = build_tokenizer(texts, config["vocab_size"])
    processor = build_processor(tokenizer, settings["image_side"])
    model: Any = build_model(tokenizer, settings["model"])
    visual = model.model.visual
    visual.load_state_dict(load_file(arguments.encoder), strict=False)
    model.model.visual = CachedEncoder(visual)
    # For short sequences plain products are faster than SDPA.
    model.set_attn_implementation({"text_config": "eager"})
    optimizers = make_optimizers(model, config)
    print(
        f"{sum(p.numel() for p in model.parameters()):,} parameters, "
        f"{len(processor.tokenizer)} tokens"
    )

    checkpoint, start = arguments.out / "checkpoint.pt", 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        if state["settings"] != settings:
            raise SystemExit(f"{arguments.out} holds a run with other settings; choose another.")
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        start = state["step"]

    loader = DataLoader(
        Subset(
            PairBatches(
                processor, EncodedPool(arguments.pool), config, config["pairs"] // world_size
            ),
            range(
                start * world_size + rank,
                (arguments.stop_after or steps) * world_size,
                world_size,
            ),
        ),
        batch_size=None,
        num_workers=config["workers"],
        prefetch_factor=4 if config["workers"] else None,
    )
    base_rates = [config["muon_lr"], config["adamw_lr"]]
    log = (arguments.out / "log.jsonl").open("a", buffering=1)
    began, losses = time.monotonic(), []
    for done, batch in enumerate(loader, start=start + 1):
        for optimizer, base in zip(optimizers, base_rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = base * rate(done - 1, config)
        loss = loss_of(model, batch)
        torch.autograd.backward(loss)
        average_gradients(model.parameters())
        nn.utils.clip_grad_norm_(model.parameters(), config["clip_norm"])
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        row: dict[str, Any] = {}
        if done % 20 == 0:
            pace = (time.monotonic() - began) / (done - start)
            row = {"loss": round(float(np.mean(losses)), 4)}
            row["seconds_left"] = round(pace * (steps - done))
            losses = []
        if rank == 0 and (done % config["checkpoint_every"] == 0 or done == steps):
            state = {
                "settings": settings,
                "step": done,
                "model": model.state_dict(),
                "optimizers": [optimizer.state_dict() for optimizer in optimizers],
            }
            save_checkpoint(checkpoint, state)
            model.model.visual, cached = visual, model.model.visual
            save(arguments.out / "model", model, processor)
            model.model.visual = cached
        if rank == 0 and config["validate_every"] and done % config["validate_every"] == 0:
            scores = validate(arguments.out / "model", config["validation_pairs"])
            row |= {key: round(score, 3) for key, score in scores.items()}
        if row and rank == 0:
            line = json.dumps({"step": done, **row})
            print(line, flush=True)
            log.write(line + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pool", type=Path, required=True, help="folder of encode_pool.py")
    parser.add_argument("--encoder", type=Path, required=True, help="of stage 1")
    run(train, parser)
