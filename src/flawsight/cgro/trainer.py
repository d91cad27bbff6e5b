"""A whole training, top to bottom. Its folder holds:

run.json         model, settings, data, versions
metrics.jsonl    one object per step; a validation is part of the step before it
checkpoint.pt    to resume from
last/, best/     the adapter at the last save, and at the best validation
validations/     responses to the validation images, by step
overlays/        some of these images with their maps, by step
trackers/        TensorBoard's files
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, is_tensorboard_available, is_wandb_available
from filelock import BaseFileLock
from PIL.Image import Image

from ..endpoint.generator import ServedGenerator
from ..errors import ModelError, RunFolderError, SettingsError
from ..inspector import Inspector
from ..io.files import write_atomically, writing_to
from ..mllm.load import MLLM
from ..mllm.model_folder import adapter_files, hash_files
from ..refine.attention_prior import load_prior
from ..runs.describe import FORMAT, about_run, check_same, describe
from ..runs.read import read_description
from ..runs.run_lock import is_leftover, lock_run, remove_temporaries
from ..settings import Settings, upgraded
from .best_step import best_step
from .checkpoint import load_checkpoint, save_checkpoint, save_policy, training_state
from .learner import Learner
from .model_card import model_card
from .policy import has_adapter, make_trainable
from .served_policy import ServedPolicy
from .shard import whole
from .train_settings import TrainSettings, upgraded_metrics, upgraded_train_settings
from .training_data import Order, TrainingData
from .validation import read_outcomes, validate, validation_metrics, write_outcomes

TRACKERS = {"tensorboard": is_tensorboard_available, "wandb": is_wandb_available}
Row = dict[str, float]
_PHOTOS = "prompt_photos_sha256"


def make_accelerator(
    settings: TrainSettings, out: Path, cpu: bool = False, trackers: Sequence[str] = ()
) -> Accelerator:
    """Join the processes that `accelerate launch` started, or be the only one.

    Each process holds the whole model, as under DDP, or with `shard` a part of it.

    Raises:
        SettingsError: for a tracker that is not known or not installed, for a launch that would
            shard the model, or if the images of a step do not divide evenly.
    """
    for name in trackers:
        if name not in TRACKERS or not TRACKERS[name]():
            raise SettingsError(
                f"The tracker {name!r} is not {'installed' if name in TRACKERS else 'known'}; "
                f"choose one of {', '.join(TRACKERS)}."
            )
    accelerator = Accelerator(
        cpu=cpu,
        mixed_precision=settings.mixed_precision,
        log_with=list(trackers) or None,
        project_dir=out / "trackers",
    )
    if accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED):
        raise SettingsError(
            f"{accelerator.distributed_type} would shard the model, but sampling needs it whole: "
            "launch with --multi_gpu, and use --shard of flawsight train."
        )
    per_process = settings.images_per_process(accelerator.num_processes)
    accelerator.gradient_accumulation_steps = per_process // settings.images_per_forward
    return accelerator


def describe_training(
    inspector: Inspector, settings: TrainSettings, data: TrainingData, sources: Sequence[str]
) -> dict[str, Any]:
    """Return, as JSON types, everything that the result of a training depends on.

    The attention prior is part of it: the validations divide maps by it.
    """
    listed = [[str(i.path), i.label] for part in (data.train, data.validation) for i in part]
    inspected = describe(inspector)
    return about_run(
        {
            "model": inspected["model"],
            "settings": settings.to_json(),
            "inspection": inspected["settings"],
            "prior_sha256": inspected["prior_sha256"],
            **({_PHOTOS: inspected[_PHOTOS]} if _PHOTOS in inspected else {}),
            "data": {
                "sources": list(sources),
                "sha256": hashlib.sha256(json.dumps(listed).encode()).hexdigest(),
                "balance": data.balance(),
            },
        }
    )


def train(
    mllm: MLLM,
    inspection: Settings,
    settings: TrainSettings,
    data: TrainingData,
    out: Path,
    accelerator: Accelerator,
    sources: Sequence[str] = (),
    on_step: Callable[[int, Row], None] = lambda step, row: None,
    generator: ServedGenerator | None = None,
    prompt_photos: Sequence[Image] = (),
) -> list[Row]:
    """Train, or resume the training that `out` holds.

    Args:
        mllm: the base model, on the accelerator's device; it becomes the policy. If it has an
            adapter, that is trained further, and the KL is from the model with it.
        inspection: question, size of the images, maximum length of a response, and how w_r is
            computed.
        settings: of the training.
        data: images and labels.
        out: folder of the run.
        accelerator: from `make_accelerator`.
        sources: the names by which the user gave the data, for the model card.
        on_step: called with the number of finished steps and the metrics.
        generator: vLLM server of the base model that samples the candidates; None samples here.
        prompt_photos: of good parts, shown to the model before each image.

    Returns:
        The validations: "step" and `validation_metrics`; the first is of before training.

    Raises:
        RunFolderError: if the folder holds another run or cannot be written.
        ModelError: if the adapter cannot be trained further, the attention prior cannot be used,
            the model computes NaN, or there is not enough memory.
        SettingsError: if the images of a step do not divide evenly.
    """
    adapter = _adapter_of(mllm)
    mllm = make_trainable(mllm, settings.lora_rank, settings.lora_alpha, settings.seed)
    prior = load_prior(mllm.folder, mllm.sha256) if inspection.attention_prior else None
    inspector = Inspector(
        mllm, inspection, settings.images_per_rollout, prior=prior, prompt_photos=prompt_photos
    )
    photos = inspector.prompt_photos
    about = describe_training(inspector, settings, data, sources) | adapter
    served = None
    if generator is not None:
        about["sampler"] = "server"
        served = ServedPolicy(generator, out / "served", inspection, settings, accelerator, photos)
    lock = _open_folder(out, about) if accelerator.is_main_process else None
    accelerator.wait_for_everyone()
    learner = Learner(
        mllm, inspection, settings, accelerator, out / "features", served, bool(adapter), photos
    )
    done, validations = load_checkpoint(out, mllm.model, learner.optimizer)
    if accelerator.is_main_process:
        _truncate_metrics(out, done)
    if accelerator.log_with:
        shown = {n: "None" if v is None else v for n, v in settings.to_json().items()}
        accelerator.init_trackers("flawsight", shown)
    order = Order(data.train, settings.defective_share, settings.seed)

    def check(step: int) -> Row:
        drawings = out / "overlays" / f"step-{step:06d}"
        with whole(mllm.model):
            outcomes = validate(
                inspector, data.validation, accelerator, settings.overlays, drawings
            )
        if accelerator.is_main_process:
            write_outcomes(out, step, outcomes)
        found = validation_metrics(outcomes)
        validations.append({"step": float(step)} | found)
        return {f"validation_{name}": value for name, value in found.items()}

    def save(step: int, validated: bool) -> None:
        state = training_state(mllm.model, learner.optimizer)
        if accelerator.is_main_process:
            card = model_card(about, step, validations)
            if validated and best_row(out, validations) is validations[-1]:
                save_policy(out / "best", mllm, card, state["weights"])
            save_policy(out / "last", mllm, card, state["weights"])
            save_checkpoint(out, state, step, validations)
        accelerator.wait_for_everyone()

    def report(step: int, row: Row) -> None:
        accelerator.log(row, step=step)
        if accelerator.is_main_process:
            with writing_to(out), (out / "metrics.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **row}) + "\n")
            on_step(step, row)

    with _explained_memory():
        if not validations:
            report(0, check(0))
        own = learner.images_per_process
        for step in range(done, settings.steps):
            first = step * settings.images_per_step + accelerator.process_index * own
            draws = range(first, first + own)
            rollouts = learner.rollouts([order[draw] for draw in draws], draws)
            table, norm = learner.update(rollouts)
            row = table.metrics(accelerator) | {"gradient_norm": norm}
            now = step + 1
            validated = now == settings.steps or _is_due(now, settings.validate_every)
            if validated:
                row |= check(now)
            report(now, row)  # before saving: a resumed training drops rows after its checkpoint
            if validated or _is_due(now, settings.save_every):
                save(now, validated)
    accelerator.end_training()
    if lock is not None:
        lock.release()
    return validations


def _adapter_of(mllm: MLLM) -> dict[str, Any]:
    if not has_adapter(mllm):
        return {}
    sha256 = hash_files(adapter_files(mllm.folder))
    return {"adapter": {"name": str(mllm.folder.resolve()), "sha256": sha256}}


def _is_due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def best_row(out: Path, validations: Sequence[Row]) -> Row:
    """Return the validation, of those after a step, whose adapter is in best/; see `best_step`."""
    after = [row for row in validations if row["step"]]
    outcomes = [read_outcomes(out, int(row["step"])) for row in after]
    if all(outcomes):
        return after[best_step(outcomes)]
    # Begun by version 0.1, which kept no responses.
    return max(after, key=lambda row: (row["image_auroc"], row["balanced_accuracy"]))


def _open_folder(out: Path, about: dict[str, Any]) -> BaseFileLock:
    """Make or resume a training's folder, and return its lock."""
    with writing_to(out):
        out.mkdir(parents=True, exist_ok=True)
        if (out / "run.json").exists():
            defaults = {"settings": TrainSettings().to_json(), "inspection": Settings().to_json()}
            check_same(out, _upgraded_description(read_description(out)), about, **defaults)
        elif not all(map(is_leftover, out.iterdir())):
            raise RunFolderError(f"{out} holds files but no training; choose another --out.")
        lock = lock_run(out)
        remove_temporaries(out)
        if not (out / "run.json").exists():
            write_atomically(out / "run.json", (json.dumps(about, indent=2) + "\n").encode())
    return lock


def _upgraded_description(about: dict[str, Any]) -> dict[str, Any]:
    """Return the description of a training of version 0.1 by today's names."""
    if about.get("format") != 1:
        return about
    return about | {
        "format": FORMAT,
        "settings": upgraded_train_settings(about.get("settings", {})),
        "inspection": upgraded(about.get("inspection", {})),
    }


def _truncate_metrics(out: Path, done: int) -> None:
    """Drop the steps after the checkpoint, which will be repeated; use today's names."""
    path = out / "metrics.jsonl"
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:  # a line cut off by a kill
            continue
        if row["step"] <= done:
            kept.append(json.dumps(upgraded_metrics(row)) + "\n")
    with writing_to(out):
        write_atomically(path, "".join(kept if done else []).encode())


@contextmanager
def _explained_memory() -> Iterator[None]:
    try:
        yield
    except (torch.OutOfMemoryError, RuntimeError) as error:
        exhausted = isinstance(error, torch.OutOfMemoryError) or "can't allocate" in str(error)
        if not exhausted:
            raise
        raise ModelError(
            "There is not enough memory. Lower images_per_forward or images_per_rollout, or set "
            "gradient_checkpointing, or lower candidates, or max_new_tokens, image_tokens or "
            "image_grid (--set). Then use another --out."
        ) from error
