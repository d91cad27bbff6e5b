"""MMAD's questions put to a model, on disk and resumable.

OUT/mmad-0-shot/MODEL/             a run folder: run.json, and inspections.jsonl with one row per
OUT/mmad-1-shot-random/MODEL/      image, which holds the answers to all its questions
OUT/answers/                       answers of endpoints
OUT/mmad.md, mmad.csv
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...data.mmad_questions import MMADImage, MMADQuestions
from ...errors import FlawsightError, RunFolderError
from ...io.file_stamp import FileStamp
from ...runs.folder import RunFolder
from ...runs.read import Row, read_description, read_rows
from ..bench import folder_name
from .choice_reading import mmad_choice, read_choice
from .responder import ChoicePrompt, Responder

_QUESTIONS_PER_IMAGE = 5  # about as many as there are


@dataclass(frozen=True)
class Answered:
    """A question with its answer.

    Attributes:
        key: of the image, its path in mmad.json.
        sub_task: of the question.
        right: the letter of the right option.
        choice: the letter read; None if the response chooses none, or there is no response.
        mmad_choice: the letter that MMAD's published evaluation reads.
        failed: whether there is no response.
    """

    key: str
    sub_task: str
    right: str
    choice: str | None
    mmad_choice: str | None
    failed: bool = False


@dataclass(frozen=True)
class MMADRun:
    """The answers of one model.

    Attributes:
        model: its name.
        shots: photos of good parts before the image.
        templates: "random" or "similar"; None without shots.
        answers: to all questions about the images that were asked about.
    """

    model: str
    shots: int
    templates: str | None
    answers: tuple[Answered, ...]


def run_responder(
    out: Path, questions: MMADQuestions, responder: Responder, on_row: Callable[[Row], None]
) -> Path:
    """Ask the questions about the images that a model's folder lacks, and return the folder.

    Args:
        out: folder of the bench.
        questions: to be asked, each alone.
        responder: answers them.
        on_row: called with each new row. A failed row has an "error", and is tried again when the
            run is resumed.

    Raises:
        RunFolderError: if the folder was made by another model, other settings or another
            mmad.json, or cannot be written.
        FlawsightError: if the model cannot continue; finished images are kept.
    """
    kind = f"mmad-{questions.shots}-shot" + (f"-{questions.templates}" if questions.shots else "")
    folder = out / kind / folder_name(responder.name)
    protocol = {
        "name": "mmad",
        "sha256": questions.sha256,
        "shots": questions.shots,
        "templates": questions.templates,
    }
    about = {**responder.about(), "detector": responder.name, "protocol": protocol}
    images = {str(image.image): image for image in questions.images}
    run = RunFolder(folder, about, images=images)
    missing = [image for path, image in images.items() if path not in run.finished]
    step = max(1, responder.batch_size // _QUESTIONS_PER_IMAGE)
    for start in range(0, len(missing), step):
        batch = missing[start : start + step]
        began = time.perf_counter()
        stamps = [_stamp(image.image) for image in batch]
        responses = iter(responder.respond([p for image in batch for p in _prompts(image)]))
        answered = [[next(responses) for _ in image.questions] for image in batch]
        share = (time.perf_counter() - began) / len(batch)
        for image, stamp, texts in zip(batch, stamps, answered, strict=True):
            on_row(_add(run, image, stamp, texts, share))
    return folder


def read_mmad_runs(out: Path) -> list[MMADRun]:
    """Return the answers of all models in a bench's folder.

    Raises:
        RunFolderError: if there are none, or a file is damaged.
    """
    runs: list[MMADRun] = []
    for path in sorted(out.glob("mmad-*/*/run.json")):
        about = read_description(path.parent)
        protocol = about.get("protocol") or {}
        rows = read_rows(path.parent)
        try:
            runs.append(
                MMADRun(
                    about["detector"],
                    protocol["shots"],
                    protocol["templates"],
                    tuple(answer for row in rows for answer in _answers(row)),
                )
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise RunFolderError(
                f"{path.parent} is damaged ({error!r}). Rerun the command that made it; if that "
                "does not help, delete it first."
            ) from error
    runs = [run for run in runs if run.answers]
    if not runs:
        raise RunFolderError(f"{out} holds no answers of --protocol mmad.")
    return runs


def _prompts(image: MMADImage) -> list[ChoicePrompt]:
    images = (*image.templates, image.image)
    return [ChoicePrompt(one.text, one.options, images) for one in image.questions]


def _stamp(image: Path) -> dict[str, Any]:
    try:
        return {"file": FileStamp.of_file(image).to_json()}
    except OSError:
        return {}


def _add(
    run: RunFolder,
    image: MMADImage,
    stamp: dict[str, Any],
    responses: Sequence[str | FlawsightError],
    seconds: float,
) -> Row:
    asked: list[Row] = [
        {"sub_task": question.sub_task, "answer": question.answer} for question in image.questions
    ]
    row: Row = {"image": str(image.image), "key": image.key}
    if failed := [one for one in responses if isinstance(one, FlawsightError)]:
        return run.add_error(row["image"], failed[0], {"key": image.key, "answers": asked})
    for fields, question, response in zip(asked, image.questions, responses, strict=True):
        fields["response"] = str(response)
        fields["choice"] = read_choice(str(response), question.options)
        fields["mmad_choice"] = mmad_choice(str(response), question.options)
    details = {"pred_label": None, "answers": asked, "seconds": round(seconds, 4)}
    return run.add_row(row | stamp | details, {})


def _answers(row: Row) -> list[Answered]:
    failed = row.get("error") is not None
    return [
        Answered(
            row["key"],
            one["sub_task"],
            one["answer"],
            None if failed else one["choice"],
            None if failed else one["mmad_choice"],
            failed,
        )
        for one in row["answers"]
    ]
