"""Answers → accuracies, as MMAD's published evaluation defines them.

- Anomaly Detection is the balanced accuracy: the mean of the accuracies on good and on defective
  images. The other sub-tasks are plain accuracies.
- The mean of a data set is that of its sub-tasks; the last row is the mean over data sets.

Two cases of incomplete data differ. A question without an answer is wrong here; there it is left
out. A sub-task without questions has no value here and is left out of the mean; there it counts
as 0. With all questions asked and answered the figures are the same.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ...data.mmad_questions import DETECTION, SUB_TASKS, dataset_of, shows_good_part
from .mmad_run import Answered

MEAN_OVER_SETS = "mean over data sets"
# Of the detection questions, as the published tables name them.
DETECTION_RATES = ("Recall", "Precision", "F1", "Overkill", "Miss")
_Chosen = Callable[[Answered], str | None]


@dataclass(frozen=True)
class Accuracies:
    """The accuracies on a data set, all in [0, 1]; None without questions.

    Attributes:
        dataset: its name, or `MEAN_OVER_SETS`.
        questions: how many there are.
        failed: how many of them have no response.
        unread: how many have a response that chooses no option.
        sub_tasks: by sub-task.
        mean: over the sub-tasks.
        rates: by name in `DETECTION_RATES`. Overkill is the share of good images called
            defective, miss that of defective ones called good.
    """

    dataset: str
    questions: int
    failed: int
    unread: int
    sub_tasks: dict[str, float | None]
    mean: float | None
    rates: dict[str, float | None]


def accuracies(
    answers: Iterable[Answered], chosen: _Chosen = lambda answer: answer.choice
) -> list[Accuracies]:
    """Return the accuracies by data set, in the order of the answers; the mean last if several.

    Args:
        answers: to all questions.
        chosen: which reading of an answer counts.
    """
    by_set: dict[str, list[Answered]] = {}
    for answer in answers:
        by_set.setdefault(dataset_of(answer.key), []).append(answer)
    found = [_of_dataset(name, of_set, chosen) for name, of_set in by_set.items()]
    return [*found, _averaged(found)] if len(found) > 1 else found


def _of_dataset(name: str, answers: Sequence[Answered], chosen: _Chosen) -> Accuracies:
    def right(of: Sequence[Answered]) -> list[bool]:
        return [chosen(answer) == answer.right for answer in of]

    by_task = {task: [a for a in answers if a.sub_task == task] for task in SUB_TASKS}
    detection = by_task[DETECTION]
    good = right([a for a in detection if shows_good_part(a.key)])
    defective = right([a for a in detection if not shows_good_part(a.key)])
    sub_tasks = {task: _mean(right(of_task)) for task, of_task in by_task.items()}
    specificity, recall = _mean(good), _mean(defective)
    both = specificity is not None and recall is not None
    sub_tasks[DETECTION] = _mean([specificity, recall]) if both else None
    hits, false_alarms = sum(defective), len(good) - sum(good)
    precision = hits / (hits + false_alarms) if hits + false_alarms else None
    errors = len(defective) - hits + false_alarms
    rates = {
        "Recall": recall,
        "Precision": precision,
        "F1": 2 * hits / (2 * hits + errors) if hits + errors else None,
        "Overkill": None if specificity is None else 1 - specificity,
        "Miss": None if recall is None else 1 - recall,
    }
    return Accuracies(
        name,
        len(answers),
        sum(answer.failed for answer in answers),
        sum(not answer.failed and chosen(answer) is None for answer in answers),
        sub_tasks,
        _mean(list(sub_tasks.values())),
        rates,
    )


def _averaged(parts: Sequence[Accuracies]) -> Accuracies:
    return Accuracies(
        MEAN_OVER_SETS,
        sum(part.questions for part in parts),
        sum(part.failed for part in parts),
        sum(part.unread for part in parts),
        {task: _mean([part.sub_tasks[task] for part in parts]) for task in SUB_TASKS},
        _mean([part.mean for part in parts]),
        {rate: _mean([part.rates[rate] for part in parts]) for rate in DETECTION_RATES},
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
