"""Drift: simulated streams that stay and that change, and the weeks that are compared."""

import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from fastapi.testclient import TestClient
from scipy.stats import mannwhitneyu

from flawsight.serve.app import create_app
from flawsight.serve.database import InspectionRow, made_with
from flawsight.serve.drift import DAY_MS, LEVEL, LOOKS, Drift, Scores, compare, find_drifts
from flawsight.serve.drift_watch import DriftWatch
from flawsight.serve.limits import Limits
from flawsight.serve.store import Store
from flawsight.serve.stored_scores import ScoreRow
from helpers.serving import BATCH, inspect_batch, picture

A_DAY = 40  # inspections
Draw = Callable[[np.random.Generator, int], Scores]


def stable(generator: np.random.Generator, count: int) -> Scores:
    return generator.beta(2, 8, count)


def shifted(generator: np.random.Generator, count: int) -> Scores:
    return np.minimum(generator.beta(2, 8, count) + 0.08, 1.0)


def spread(generator: np.random.Generator, count: int) -> Scores:
    """The same median, further from it both ways."""
    scores = generator.beta(2, 8, count)
    middle = 0.1796
    return np.where(scores > middle, middle + 2 * (scores - middle), scores / 3).clip(0, 1)


def rows(scores: Sequence[float] | Scores, first_day: int = 0) -> list[ScoreRow]:
    """Inspections, so many a day."""
    return [
        ScoreRow((first_day + n // A_DAY) * DAY_MS + n % A_DAY, float(score), bool(score > 0.5))
        for n, score in enumerate(scores)
    ]


def test_the_distance_is_the_largest_of_the_cumulative_shares() -> None:
    generator = np.random.default_rng(0)
    a, b = generator.random(200).round(2), (generator.random(70) ** 2).round(2)
    found, p_value = compare(a, b)
    expected = max(abs(np.mean(a <= x) - np.mean(b <= x)) for x in [*a, *b])
    assert found == pytest.approx(expected)
    # Kolmogorov's series, with Stephens' correction for so many scores.
    root = np.sqrt(200 * 70 / 270)
    scaled = (root + 0.12 + 0.11 / root) * expected
    series = 2 * sum((-1) ** (k - 1) * np.exp(-2 * k**2 * scaled**2) for k in range(1, 50))
    assert p_value == pytest.approx(series, rel=0.1)
    assert compare(a, a) == (0.0, 1.0)


def test_a_stable_stream_gives_no_alarm_although_it_is_looked_at_every_day() -> None:
    """Uncorrected, it would: 30 looks at 40 streams, all of which stay as they are."""
    generator = np.random.default_rng(1)
    uncorrected = corrected = 0
    for _ in range(40):
        scores = stable(generator, (28 + 37) * A_DAY)
        reference = scores[: 28 * A_DAY]
        p_values = [
            compare(reference, scores[day * A_DAY : (day + 7) * A_DAY])[1] for day in range(28, 58)
        ]
        uncorrected += min(p_values) < LEVEL
        corrected += min(p_values) * LOOKS < LEVEL
    assert uncorrected >= 6
    assert corrected <= LEVEL * 40


@pytest.mark.parametrize("change", [shifted, spread])
def test_a_change_is_found_within_its_first_week(change: Draw) -> None:
    generator = np.random.default_rng(2)
    found = blind = 0
    for _ in range(40):
        before, after = stable(generator, 28 * A_DAY), change(generator, 7 * A_DAY)
        (drift,) = find_drifts({"bolt": (rows(before), rows(after, 60))}, 67 * DAY_MS)
        found += drift.drifted is True
        blind += mannwhitneyu(before, after).pvalue * LOOKS >= LEVEL
    assert found >= 38
    # What a rank test misses is why it is not one.
    assert blind >= 20 if change is spread else blind == 0


def test_a_difference_that_is_too_small_to_matter_is_no_drift() -> None:
    generator = np.random.default_rng(3)
    before, after = generator.beta(2, 8, 40_000), generator.beta(2, 8, 20_000) + 0.015
    (drift,) = find_drifts({None: (rows(before), rows(after, 2000))}, 2007 * DAY_MS)
    assert drift.p_value is not None
    assert drift.p_value < 1e-6
    assert drift.drifted is False


def test_more_products_need_stronger_evidence_and_few_inspections_give_none() -> None:
    generator = np.random.default_rng(4)
    weeks = (rows(stable(generator, 400)), rows(stable(generator, 100) + 0.07, 60))
    (alone,) = find_drifts({"a": weeks}, 67 * DAY_MS)
    together = find_drifts({"a": weeks, "b": weeks, "few": (weeks[0], weeks[1][:49])}, 67 * DAY_MS)
    assert alone.p_value is not None
    assert together[0].p_value == pytest.approx(2 * alone.p_value)
    few = together[2]
    assert (few.drifted, few.distance, few.p_value) == (None, None, None)
    assert few.latest is not None
    assert (few.latest.count, sum(few.latest.histogram)) == (49, 49)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def day_of_today() -> int:
    return time.time_ns() // 1_000_000 // DAY_MS


def fill(store: Store, days_ago: range, score: float, minute: int = 0, **more: Any) -> None:
    """Store 20 inspections a day, of scores around one, in a minute of the day."""
    with store.sessions.begin() as session:
        for day in days_ago:
            for n in range(20):
                created = (day_of_today() - day) * DAY_MS + 60_000 * minute + n
                values = {
                    "product": "bolt",
                    "threshold": 0.5,
                    "made_with": "a",
                    "pred_label": False,
                }
                session.add(
                    InspectionRow(
                        id=f"{created:012x}{secrets.token_hex(10)}",
                        created_ms=created, photo_format="PNG", content={},
                        pred_score=score + n / 1000, **values | more,
                    )
                )  # fmt: skip


def looked(store: Store, keep: int = 10**6) -> dict[str | None, Drift]:
    return {one.product: one for one in DriftWatch(store, keep).look()}


def span(drift: Drift) -> tuple[int, int, int]:
    """First and last day of the reference weeks, as days ago, and their inspections."""
    weeks = drift.reference
    assert weeks is not None
    today = day_of_today()
    return today - weeks.since_ms // DAY_MS, today - weeks.until_ms // DAY_MS + 1, weeks.count


def test_the_first_four_weeks_are_the_reference(store: Store) -> None:
    fill(store, range(40, 100), 0.1)
    fill(store, range(0, 40), 0.3)
    fill(store, range(0, 30), 0.1, product=None)
    found = looked(store)
    assert span(found["bolt"]) == (99, 72, 28 * 20)
    assert found["bolt"].latest is not None
    assert found["bolt"].latest.count == 7 * 20  # today is not over
    assert found["bolt"].drifted is True
    assert (span(found[None]), found[None].drifted) == ((29, 8, 22 * 20), False)


@pytest.mark.parametrize("column", ["made_with", "threshold"])
def test_another_model_or_threshold_begins_anew(store: Store, column: str) -> None:
    fill(store, range(40, 100), 0.1)
    fill(store, range(0, 40), 0.3, **{column: None})
    found = looked(store)["bolt"]
    assert (span(found), found.drifted) == ((39, 12, 28 * 20), False)
    other = {"made_with": "b", "threshold": 0.7}[column]
    fill(store, range(1, 3), 0.6, minute=1, **{column: other})
    found = looked(store)["bolt"]
    assert (found.reference, found.drifted) == (None, None)


def test_days_of_which_most_was_deleted_are_no_reference(store: Store) -> None:
    fill(store, range(1, 60), 0.1)
    fill(store, range(60, 100), 0.9, true_label=True)  # reviewed ones stay
    assert span(looked(store)["bolt"]) == (99, 72, 28 * 20)
    found = looked(store, keep=100)["bolt"]
    assert (span(found), found.drifted) == ((59, 32, 28 * 20), False)


def test_rows_say_what_they_were_made_with(tmp_path: Path) -> None:
    about = {"model_sha256": "m", "threshold": 0.25}
    store = Store(str(tmp_path / "s"))
    app = create_app(inspect_batch, BATCH, store, Limits(rate=0), about=about)
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        head = {"Content-Type": "image/png"}
        for width in (20, 21):
            client.post("/v1/inspect", content=picture(width), headers=head)
        with store.sessions() as session:
            rows = session.query(InspectionRow).order_by(InspectionRow.id).all()
    assert {row.made_with for row in rows} == {made_with({"model_sha256": "m"})}
    assert [(row.threshold, row.contradiction) for row in rows] == [(0.25, False), (0.25, True)]
    assert made_with({"model_sha256": "m", "reference_sha256": "r"}) != rows[0].made_with


def test_it_is_answered_and_measured_and_the_alarm_rule_names_what_there_is(
    tmp_path: Path,
) -> None:
    store = Store(str(tmp_path / "s"))
    fill(store, range(8, 40), 0.1)
    fill(store, range(0, 8), 0.3)
    fill(store, range(0, 8), 0.3, product="nut")
    app = create_app(inspect_batch, BATCH, store, Limits(rate=0))
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        bolt, nut = client.get("/v1/drift").json()["products"]
        metrics = client.get("/metrics").text
    assert (bolt["product"], bolt["drifted"], bolt["reference"]["count"]) == ("bolt", True, 560)
    assert (nut["product"], nut["drifted"], nut["reference"]) == ("nut", None, None)
    assert f'flawsight_drift_distance{{product="bolt"}} {bolt["distance"]}' in metrics
    assert 'flawsight_drift_inspections{product="nut",weeks="latest"} 140.0' in metrics
    assert 'flawsight_drift_p_value{product="nut"}' not in metrics
    path = Path(__file__).parents[2] / "deploy/flawsight.rules.yaml"
    rules = [
        rule for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]
    ]
    words = {word for rule in rules for word in rule["expr"].split() if "flawsight" in word}
    for word in words:
        assert f"# TYPE {word} gauge" in metrics
