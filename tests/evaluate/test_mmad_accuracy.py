"""Accuracies are those that MMAD publishes for the same answers."""

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest

from flawsight.data.mmad_questions import DETECTION, SUB_TASKS
from flawsight.evaluate.mmad.mmad_accuracy import MEAN_OVER_SETS, accuracies
from flawsight.evaluate.mmad.mmad_run import Answered, MMADRun
from flawsight.evaluate.mmad.mmad_tables import mmad_tables, write_mmad_tables

# As published for GPT-4o with one shot: right answers of all, and the percentages to the digit.
# The fractions are those in lowest terms that give the published percentages.
PUBLISHED = {
    "DS-MVTec": (
        [(929, 1205), (826, 1193), (1002, 1213), (1117, 1205), (463, 464), (1242, 1367)],
        (465 - 116, 465), (1226 - 152, 1226),
        {DETECTION: 81.32786051325229, "Average": 84.80044165626758,
         "Recall": 87.60195758564437, "Precision": 90.25210084033614, "F1": 88.90728476821192,
         "Overkill": 24.94623655913979, "Miss": 12.398042414355626},
    ),
    "MVTec-LOCO": (
        [(595, 982), (527, 982), (336, 487), (85, 106), (503, 544), (423, 541)],
        (573 - 167, 573), (992 - 426, 992),
        {DETECTION: 63.955799977481284, "Average": 71.1495304626334,
         "Recall": 57.056451612903224, "Precision": 77.21691678035471, "F1": 65.6231884057971,
         "Overkill": 29.144851657940663, "Miss": 42.943548387096776},
    ),
    "VisA": (
        [(348, 595), (61, 133), (57, 85), (896, 1163), (894, 935), (1156, 1403)],
        (943 - 350, 943), (1198 - 360, 1198),
        {DETECTION: 66.41716399017805, "Average": 70.41143113565802,
         "Recall": 69.94991652754591, "Precision": 70.53872053872054, "F1": 70.2430846605197,
         "Overkill": 37.115588547189816, "Miss": 30.05008347245409},
    ),
    "GoodsAD": (
        [(824, 1307), (766, 1499), (937, 1329), (596, 727), (276, 301), (887, 1115)],
        (1261 - 486, 1261), (1624 - 733, 1624),
        {DETECTION: 58.16184570850409, "Average": 70.86264628161082,
         "Recall": 54.864532019704434, "Precision": 64.70588235294117, "F1": 59.380206597800736,
         "Overkill": 38.54084060269627, "Miss": 45.135467980295566},
    ),
}  # fmt: skip
MEANS = {
    DETECTION: 67.46566754735393, "Defect Classification": 64.80465088817918,
    "Defect Localization": 54.96715008911824, "Defect Description": 72.29047827735369,
    "Defect Analysis": 82.97716246891868, "Object Classification": 94.88926086855972,
    "Object Analysis": 82.74771654881374, "Average": 74.30601238404245,
    "Recall": 67.36821443644948, "Precision": 75.67840512808814, "F1": 71.03844110808237,
    "Overkill": 32.43687934174164, "Miss": 32.631785563550515,
}  # fmt: skip


def answers(key: str, task: str, right: int, total: int) -> Iterator[Answered]:
    for index in range(total):
        letter = "B" if index < right else "A"
        yield Answered(key, task, "B", letter, letter)


def published_answers() -> list[Answered]:
    found: list[Answered] = []
    for dataset, (others, good, defective, _) in PUBLISHED.items():
        bad = f"{dataset}/product/test/bad/0.png"
        for task, (right, total) in zip(SUB_TASKS[1:], others, strict=True):
            found += answers(bad, task, right, total)
        found += answers(f"{dataset}/product/test/good/0.png", DETECTION, *good)
        found += answers(bad, DETECTION, *defective)
    return found


def test_published_percentages_come_of_the_published_answers() -> None:
    *sets, mean = accuracies(published_answers())
    assert [one.dataset for one in sets] == ["MVTec-AD", "MVTec-LOCO", "VisA", "GoodsAD"]
    expected = [(one, figures) for one, (*_, figures) in zip(sets, PUBLISHED.values(), strict=True)]
    for one, figures in [*expected, (mean, MEANS)]:
        values = one.sub_tasks | one.rates | {"Average": one.mean}
        for name, value in figures.items():
            assert values[name] == pytest.approx(value / 100, abs=1e-12), (one.dataset, name)
    assert mean.dataset == MEAN_OVER_SETS
    assert mean.questions == len(published_answers())


GOOD, BAD = "VisA/candle/test/good/0.png", "VisA/candle/test/bad/1.png"


def test_no_answer_is_wrong_and_counted() -> None:
    read = [
        Answered(GOOD, DETECTION, "B", "B", "B"),
        Answered(GOOD, DETECTION, "B", None, "A"),
        Answered(BAD, DETECTION, "A", None, None, failed=True),
        Answered(BAD, DETECTION, "A", "A", "A"),
    ]
    [found] = accuracies(read)
    assert (found.failed, found.unread) == (1, 1)
    assert found.sub_tasks[DETECTION] == (1 / 2 + 1 / 2) / 2


def test_what_was_not_asked_has_no_value() -> None:
    [found] = accuracies([Answered(GOOD, DETECTION, "B", "B", "B")])
    assert set(found.sub_tasks.values()) == {None}
    assert (found.mean, found.rates["Overkill"], found.rates["Recall"]) == (None, 0, None)
    [found] = accuracies([Answered(BAD, "Defect Analysis", "C", "C", "C")])
    assert (found.mean, found.sub_tasks["Defect Analysis"]) == (1, 1)


def test_both_data_sets_of_mvtec_are_one() -> None:
    read = [Answered(f"{name}/nut/x/bad/0.png", "Defect Analysis", "C", letter, letter)
            for name, letter in (("DS-MVTec", "C"), ("MVTec-AD", "A"))]  # fmt: skip
    [found] = accuracies(read)
    assert (found.dataset, found.mean) == ("MVTec-AD", 0.5)


def test_the_tables_show_sub_tasks_means_and_the_other_reading(tmp_path: Path) -> None:
    changed = Answered(BAD, DETECTION, "A", "A", "B")
    runs = [
        MMADRun("model|x", 1, "similar", (*published_answers(), changed)),
        MMADRun("other", 0, None, (Answered(BAD, "Defect Analysis", "C", None, None),)),
    ]
    first, second = mmad_tables(runs)
    assert first.title == "model|x, 1-shot (similar)"
    assert first.metrics == ("MVTec-AD", "MVTec-LOCO", "VisA", "GoodsAD", "mean")
    cells = {row[0]: row[1:] for row in first.rows}
    assert cells["Defect Analysis"] == ("92.7", "80.2", "77.0", "82.0", "83.0")
    assert cells["Mean of sub-tasks"][-1] == "74.3"
    assert "reads 1 of " in first.notes[0]
    assert second.title == "other, 0-shot"
    shown = dict(row for row in second.rows if row[1] != "–")
    expected = {"Defect Analysis": "0.0", "Mean of sub-tasks": "0.0", "questions": "1"}
    assert shown == expected | {"no option chosen": "1"}
    markdown, table = write_mmad_tables(tmp_path, runs)
    assert "| Defect Analysis | 92.7 |" in markdown.read_text()
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * (5 + 1)
    average = next(r for r in rows if r["dataset"] == "Average" and r["reading"] == "choice")
    assert float(average["Object Analysis"]) == pytest.approx(0.8274771654881374)
    first_rows = [r for r in rows if r["model"] == "model|x"]
    visa = {r["reading"]: float(r["Miss"]) for r in first_rows if r["dataset"] == "VisA"}
    assert visa["choice"] == pytest.approx(360 / 1199)
    assert visa["mmad_choice"] == pytest.approx(361 / 1199)
