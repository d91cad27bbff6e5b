"""The accuracies of MMAD's protocol as tables, and as CSV under the published names."""

import csv
import io
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path

from ...data.mmad_questions import SUB_TASKS
from ...io.files import write_atomically
from ..table_formats import to_markdown
from ..tables import Table, percent
from .mmad_accuracy import DETECTION_RATES, MEAN_OVER_SETS, Accuracies, accuracies
from .mmad_run import MMADRun

_HEADS = {"Anomaly Detection": "Anomaly Detection (balanced)"}
_WRONG = "Questions without an answer count as wrong."


def mmad_tables(runs: Sequence[MMADRun]) -> list[Table]:
    """Return a table per run: sub-tasks as rows and data sets as columns."""
    return [_table(run) for run in runs]


def write_mmad_tables(out: Path, runs: Sequence[MMADRun]) -> list[Path]:
    """Write mmad.md and mmad.csv, each whole or not at all, and return them."""
    contents = {
        "mmad.md": to_markdown(mmad_tables(runs), "Accuracies in per cent."),
        "mmad.csv": _csv(runs),
    }
    for name, content in contents.items():
        write_atomically(out / name, content.encode("utf-8", "backslashreplace"))
    return [out / name for name in contents]


def run_title(run: MMADRun) -> str:
    """Return the model and the shots, like "Qwen, 1-shot (random)"."""
    shots = f"{run.shots}-shot" + (f" ({run.templates})" if run.templates else "")
    return f"{run.model}, {shots}"


def _table(run: MMADRun) -> Table:
    found = accuracies(run.answers)
    rows = [
        (_HEADS.get(task, task), *(percent(one.sub_tasks[task]) for one in found))
        for task in SUB_TASKS
    ]
    rows.append(("Mean of sub-tasks", *(percent(one.mean) for one in found)))
    rows.append(("questions", *(str(one.questions) for one in found)))
    total = found[-1]
    if total.failed:
        rows.append(("failed", *(str(one.failed) for one in found)))
    if total.unread:
        rows.append(("no option chosen", *(str(one.unread) for one in found)))
    notes = [_WRONG] if total.failed or total.unread else []
    if note := _read_differently(run, total):
        notes.append(note)
    columns = tuple("mean" if one.dataset == MEAN_OVER_SETS else one.dataset for one in found)
    return Table(run_title(run), ("sub-task",), columns, tuple(rows), tuple(notes))


def _read_differently(run: MMADRun, total: Accuracies) -> str:
    """Return what MMAD's own reading of the answers makes of the mean; "" if it is the same."""
    answered = [answer for answer in run.answers if not answer.failed]
    others = sum(answer.choice != answer.mmad_choice for answer in answered)
    if not others:
        return ""
    mean = accuracies(run.answers, lambda answer: answer.mmad_choice)[-1].mean
    return (
        f"MMAD's own rule reads {others} of {len(answered)} answers differently; by it the mean is "
        f"{percent(mean)}, here {percent(total.mean)}."
    )


def _csv(runs: Sequence[MMADRun]) -> str:
    """One line per data set and reading, values in [0, 1], empty if undefined."""
    text = io.StringIO()
    names = ("model", "shots", "templates", "reading", "dataset", "questions", "failed", "unread")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*names, *SUB_TASKS, "Average", *DETECTION_RATES])
    for run in runs:
        for reading in ("choice", "mmad_choice"):
            for one in accuracies(run.answers, attrgetter(reading)):
                dataset = "Average" if one.dataset == MEAN_OVER_SETS else one.dataset
                counts = (one.questions, one.failed, one.unread)
                values = (*one.sub_tasks.values(), one.mean, *one.rates.values())
                head = (run.model, run.shots, run.templates or "", reading, dataset)
                writer.writerow([*head, *counts, *("" if v is None else v for v in values)])
    return text.getvalue()
