"""What the benchmarks compute from their measurements."""

import json
from pathlib import Path

import cgro_ablation
import numpy as np
import pytest
import torch
from bench_table import measure, scores_of
from cgro_ablation import METRICS, halves, keep_to, parted, read_points
from localize_steps import DEFAULT, PAPER, STEPS, combine, greedy, rows_of, traced_with
from numpy.typing import NDArray
from token_selection import annotated, localization, names_defect, selections

from flawsight.data.dataset import Sample
from flawsight.evaluate.bench import DetectorRun
from flawsight.inspection import Trace
from flawsight.settings import Settings

SAID = (
    "This shows a metal plate. There is a screw in the upper left. "
    "There is a dark scratch in the center, out of place there."
)
TEXT = f"<think>{SAID}</think><answer>Yes</answer>"


def spans(text: str) -> list[tuple[int, int]]:
    """Cut a text into words with the space before them, and signs."""
    ends = [i for i in range(1, len(text)) if not text[i].isalnum() or not text[i - 1].isalnum()]
    ends = [i for i in ends if text[i - 1] != " "]
    return list(zip([0, *ends], [*ends, len(text)], strict=True))


def test_tokens_that_name_a_defect_are_found() -> None:
    found = [SAID[slice(*span)].strip() for span in spans(SAID) if names_defect(SAID, span)]
    assert found == ["scratch"]
    text = "A missing piece and a cut, two pieces"
    named = [text[slice(*span)].strip() for span in spans(text) if names_defect(text, span)]
    assert named == ["missing", "piece", "cut"]
    assert not names_defect("scratched", (0, 9))


def test_the_oracle_sees_what_only_the_sentence_of_the_defect_attends_to() -> None:
    pieces = spans(TEXT)
    begin = TEXT.index("There is a dark")
    rows = torch.zeros(len(pieces), 4, 4)
    for index, (start, _) in enumerate(pieces):
        # The row before a token is that of its predecessor: a token's own row is the next one.
        at = (1, 2) if begin <= start < TEXT.index("</think>") else (3, 0)
        if index + 1 < len(pieces):
            rows[index + 1][at] = 1.0
    trace = Trace(
        text=TEXT,
        token_spans=tuple(pieces),
        image_attention=rows,
        question_attention=torch.full((len(pieces), 3), 0.1),
        anomaly_tokens=torch.tensor([False, True, False]),
        answer_margin=0.0,
    )
    gt_mask = np.zeros((40, 40), bool)
    gt_mask[10:20, 20:30] = True
    one = annotated(trace, gt_mask)
    inside = [s for s in pieces if len("<think>") <= s[0] and s[1] <= TEXT.index("</think>")]
    said = [TEXT[slice(*span)] for span in inside]
    assert (
        "".join(np.array(said)[one.in_sentence.numpy()]).strip()
        == SAID[SAID.index("There is a dark") :]
    )
    values = selections(one, np.random.default_rng(0))
    attention = torch.zeros(4, 4)
    attention[1, 2] = 1.0
    oracle = values["oracle: the sentence of the defect"]
    assert oracle == pytest.approx(localization(attention, gt_mask), abs=1e-3)
    assert oracle[0] > 0.99
    assert values["all tokens (vanilla mean)"][1] < oracle[1]
    assert values["oracle: its name alone"] == pytest.approx(oracle, abs=1e-3)


def point(reward: str, seed: int, step: int, value: float | None) -> dict[str, object]:
    about = {"scenario": "cubes", "test": "cubes", "reward": reward, "seed": seed, "step": step}
    return about | dict.fromkeys(METRICS, value)


def test_the_ablations_table_shows_means_over_seeds() -> None:
    points = [point("base", 0, 0, 0.5), point("r1", 0, 9, None)]
    points += [point("cgro", seed, 9, (9 + seed) / 100) for seed in (0, 2)]
    text = cgro_ablation.table(points)
    assert "| cubes | base | 50.0 |" in text
    assert "| cubes | R1 | – |" in text
    assert "| cubes | CGRO | 10.0±1.4 |" in text
    assert "over 2 seeds after 9 steps" in text


def test_points_survive_a_kill_and_settings_are_not_mixed(tmp_path: Path) -> None:
    lines = [json.dumps(point("r1", 0, 5, value)) for value in (0.1, 0.2)]
    (tmp_path / "points-0.jsonl").write_text("\n".join([*lines, '{"scenario": "cu']))
    (tmp_path / "points-1.jsonl").write_text(json.dumps(point("r1", 1, 5, 0.3)))
    assert [p["image_auroc"] for p in read_points(tmp_path).values()] == [0.2, 0.3]
    keep_to(tmp_path / "settings.json", {"steps": 1})
    keep_to(tmp_path / "settings.json", {"steps": 1})
    with pytest.raises(SystemExit, match="other settings"):
        keep_to(tmp_path / "settings.json", {"steps": 2})


def test_halves_and_validation_share_no_image_and_every_class() -> None:
    samples = [
        Sample(Path(f"/{name}/{i}.png"), int(name != "good"), "line", "test", name)
        for name, count in (("good", 11), ("crack", 8), ("dent", 9))
        for i in range(count)
    ]
    first, second = halves(samples)
    assert {s.image for s in first} | {s.image for s in second} == {s.image for s in samples}
    assert len(first) + len(second) == len(samples)
    train, kept = parted(first)
    assert not {s.image for s in train} & {s.image for s in kept}
    for part in (second, train, kept):
        assert {s.class_name for s in part} == {"good", "crack", "dent"}
    assert halves(samples[::-1]) == (first, second)


def test_the_greedy_path_ends_when_no_step_gains() -> None:
    # Of each step, what it adds to every metric; the thresholds have no effect.
    gains = {"feature_distance": 0.5, "crops": 0.2, "guided_filter": 0.001}

    def score(settings: Settings) -> NDArray[np.float64]:
        own = sum(gain for name, gain in gains.items() if getattr(settings, name))
        return np.full(5, 50 * (1 + own))

    path = greedy(score)
    assert path == ["feature distance", "2 crops"]
    rows = rows_of(path)
    assert rows["all"] == combine(path)
    assert set(rows) == {"`paper`", "`default`", *(f"+ {n}" for n in STEPS), "all"}
    assert rows["+ 3 crops"].crops == 3
    assert combine([]) == PAPER


def test_traces_hold_what_each_row_uses_and_crops_lie_where_the_product_puts_them() -> None:
    rows = rows_of(["3 crops", "attention prior", "feature distance", "aspect kept"])
    for settings in rows.values():
        traced = traced_with(settings)
        assert traced.image_grid == settings.image_grid
        assert traced.crops >= settings.crops
        assert traced.feature_distance >= settings.feature_distance
        if settings.crops:
            names = ("attention_prior", "feature_distance", "crop_share", "crop_token_share")
            assert [getattr(traced, n) for n in names] == [getattr(settings, n) for n in names]
    assert traced_with(DEFAULT) == traced_with(rows["all"])
    assert len({traced_with(row) for row in rows.values() if not row.crops}) == 2


def test_a_threshold_from_half_of_the_good_ones_keeps_its_promise_on_the_other_half() -> None:
    good = np.random.default_rng(1).normal(0, 1, 60).tolist()
    shares = np.array(measure(good, [10.0, -10.0], 0.2, 400))
    alarms, found = shares.mean(0)
    assert 0.14 < alarms < 0.2  # the 25th of 30 at a = 0.2: 6/31 in expectation
    assert found == 0.5


def test_the_calibrated_table_counts_what_was_inspected(tmp_path: Path) -> None:
    samples = tuple(
        Sample(
            image=tmp_path / f"{index}.png",
            label=index // 20,
            category="line",
            split="test",
            class_name="x",
        )
        for index in range(30)
    )
    scored = [{"image": str(s.image), "pred_score": 0.2 + 0.7 * s.label} for s in samples]
    scored[3] = {"image": str(samples[3].image), "error": "unreadable"}
    (tmp_path / "inspections.jsonl").write_text("".join(f"{json.dumps(r)}\n" for r in scored))
    good, defective = scores_of(DetectorRun("line", "flawsight", tmp_path, samples))
    assert (good, defective) == ([0.2] * 19, [0.2 + 0.7] * 10)
