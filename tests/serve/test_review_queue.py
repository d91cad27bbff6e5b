"""What the review queue asks: the uncertain first, undo, products, saved thresholds."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from flawsight.errors import StoreError
from flawsight.serve.app import create_app
from flawsight.serve.database import made_with
from flawsight.serve.limits import Limits
from flawsight.serve.references import References
from flawsight.serve.saved_thresholds import SavedThresholds
from flawsight.serve.store import Store
from helpers.good_photos import part, png, references_of, write_reference
from helpers.serving import BATCH, as_json, inspect_batch, picture

JSON = {"Content-Type": "application/json"}
# The stand-in scores a photo by its width in percent, and contradicts itself at odd widths.
WIDTHS = {"bolt": (20, 29, 31, 38, 50, 72), "nut": (69, 70, 92)}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def served(store: Store, **options: Any) -> TestClient:
    app = create_app(inspect_batch, BATCH, store, Limits(rate=0), **options)
    return TestClient(app, base_url="http://127.0.0.1:8000")


@pytest.fixture
def client(store: Store) -> Iterator[TestClient]:
    with served(
        store, thresholds={"bolt": 0.3}, about={"model_sha256": "a", "threshold": 0.7}
    ) as client:
        yield client


def inspect(client: TestClient, product: str | None, *widths: int) -> list[Any]:
    named = {} if product is None else {"product": product}
    body = as_json(*map(picture, widths), **named)
    answer = client.post("/v1/inspect", content=body, headers=JSON)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["results"])


def fill(client: TestClient) -> dict[int, str]:
    """Inspect all; return the ids by width."""
    made = [one for name, widths in WIDTHS.items() for one in inspect(client, name, *widths)]
    return {one["image_size"][1]: one["id"] for one in made}


def found(client: TestClient, query: str) -> list[int]:
    page = client.get(f"/v1/inspections?{query}").json()
    return [one["image_size"][1] for one in page["inspections"]]


def save(client: TestClient, product: str | None, threshold: float | None) -> Any:
    body = {"product": product, "threshold": threshold}
    return client.put("/v1/thresholds", json=body)


def test_the_uncertain_come_first(client: TestClient) -> None:
    ids = fill(client)
    thresholds = dict.fromkeys(WIDTHS["bolt"], 0.3) | dict.fromkeys(WIDTHS["nut"], 0.7)
    expected = sorted(ids, key=lambda width: (abs(width / 100 - thresholds[width]), -width))
    shown = found(client, "order=uncertain")
    assert [abs(w / 100 - thresholds[w]) for w in shown] == pytest.approx(
        [abs(w / 100 - thresholds[w]) for w in expected]
    )
    assert shown[0] == 70
    assert set(shown[1:4]) == {29, 31, 69}
    assert found(client, "order=uncertain&product=bolt")[2:] == [38, 20, 50, 72]
    page = client.get("/v1/inspections?order=uncertain&limit=2").json()
    assert (len(page["inspections"]), page["next"]) == (2, None)
    client.put(f"/v1/inspections/{ids[70]}/review", json={"verdict": "right"})
    assert 70 not in found(client, "order=uncertain&reviewed=false")
    assert found(client, "disagreement=true") == [69, 29, 20]
    assert found(client, "disagreement=false&min_score=0.6") == [92, 70, 72]


def test_a_review_is_taken_back(client: TestClient) -> None:
    id = fill(client)[20]
    url = f"/v1/inspections/{id}/review"
    client.put(url, json={"verdict": "right"})
    back = client.delete(url)
    assert (back.status_code, back.json()["review"]) == (200, None)
    assert client.get(f"/v1/inspections/{id}").json() == back.json()
    assert found(client, "reviewed=true") == []
    assert client.delete(f"/v1/inspections/{'0' * 32}/review").status_code == 404


def test_photos_without_a_product_are_searched(client: TestClient) -> None:
    fill(client)
    (last,) = inspect(client, None, 21)
    inspect(client, "bolt", 22)
    rows = client.get("/v1/inspections?no_product=true").json()["inspections"]
    assert [row["id"] for row in rows] == [last["id"]]
    assert found(client, "no_product=true&product=bolt") == []
    assert 21 in found(client, "no_product=false")


def test_products_are_counted(client: TestClient) -> None:
    ids = fill(client)
    inspect(client, None, 20)
    for width, verdict in ((20, "wrong"), (29, "right"), (50, "right"), (92, "wrong")):
        client.put(f"/v1/inspections/{ids[width]}/review", json={"verdict": verdict})
    bolt, nut, none = client.get("/v1/products").json()["products"]
    # Above 0.3 is defective: 20 and 29 are called good, 50 is not; nor is 92, as even ones of nut.
    assert bolt == {
        "product": "bolt", "inspections": 6, "good": 1, "defective": 2, "inspected": True,
        "threshold": 0.3, "saved": False, "roi": None, "can_have_roi": False,
    }  # fmt: skip
    assert (nut["product"], nut["inspections"], nut["good"], nut["threshold"]) == ("nut", 3, 1, 0.7)
    assert (none["product"], none["inspections"], none["good"]) == (None, 1, 0)


def test_the_effect_of_a_threshold_is_shown_and_changes_nothing(client: TestClient) -> None:
    ids = fill(client)
    truth = {20: False, 29: True, 31: False, 50: True}
    for width, bad in truth.items():
        one = client.get(f"/v1/inspections/{ids[width]}").json()
        word = "right" if one["pred_label"] == bad else "wrong"
        client.put(f"/v1/inspections/{ids[width]}/review", json={"verdict": word})
    before = client.get("/v1/inspections").json()
    for threshold in (0.0, 0.25, 0.31, 0.5, 1.0):
        effect = client.get(f"/v1/thresholds/effect?product=bolt&threshold={threshold}").json()
        then = {width: width / 100 > 0.3 for width in WIDTHS["bolt"]}
        now = {width: width / 100 > threshold for width in WIDTHS["bolt"]}
        good = [width for width, bad in truth.items() if not bad]
        bad = [width for width, bad in truth.items() if bad]
        assert effect == {
            "threshold": threshold, "inspections": 6, "good": 2, "defective": 2,
            "defective_before": sum(then.values()), "defective_after": sum(now.values()),
            "false_alarms_before": sum(then[w] for w in good),
            "false_alarms_after": sum(now[w] for w in good),
            "missed_before": sum(not then[w] for w in bad),
            "missed_after": sum(not now[w] for w in bad),
        }  # fmt: skip
    assert client.get("/v1/inspections").json() == before
    assert client.get("/v1/thresholds/effect?threshold=1.5").status_code == 422
    other = client.get("/v1/thresholds/effect?product=none&threshold=0.5").json()
    assert (other["inspections"], other["defective_after"]) == (0, 0)


def test_a_saved_threshold_judges_later_photos_of_its_product(client: TestClient) -> None:
    (old,) = inspect(client, "bolt", 40)
    assert (old["pred_label"], old["threshold"]) == (True, 0.3)
    answer = save(client, "bolt", 0.45)
    assert answer.json() == {"product": "bolt", "threshold": 0.45, "saved": True}
    (one,) = inspect(client, "bolt", 40)
    assert (one["pred_label"], one["threshold"]) == (False, 0.45)
    assert inspect(client, "nut", 40)[0]["threshold"] == 0.7
    assert inspect(client, None, 40)[0]["threshold"] == 0.7
    assert client.get(f"/v1/inspections/{old['id']}").json() == old
    (bolt, *_) = client.get("/v1/products").json()["products"]
    assert (bolt["product"], bolt["threshold"], bolt["saved"]) == ("bolt", 0.45, True)
    assert save(client, None, 0.2).json() == {"product": None, "threshold": 0.2, "saved": True}
    assert inspect(client, None, 40)[0]["threshold"] == 0.2
    assert save(client, "bolt", None).json()["threshold"] == 0.3
    assert inspect(client, "bolt", 40)[0]["pred_label"] is True
    for bad in (-0.1, 1.1, "x"):
        assert save(client, "bolt", bad).status_code == 422  # type: ignore[arg-type]


def test_a_saved_threshold_survives_a_restart_but_no_other_model(
    client: TestClient, store: Store, tmp_path: Path
) -> None:
    save(client, "bolt", 0.45)
    for sha256, threshold in (("a", 0.45), ("b", None)):
        again = Store(str(tmp_path / "store"))
        with served(again, about={"model_sha256": sha256}) as other:
            assert inspect(other, "bolt", 40)[0]["threshold"] == threshold
    # A service that shares the database has it as soon as it reads.
    saved = SavedThresholds(store)
    scale = made_with({"model_sha256": "a"})
    assert saved.of("bolt", scale) is None
    saved.read()
    assert (saved.of("bolt", scale), saved.of("nut", scale)) == (0.45, None)
    assert saved.of("bolt", made_with({"model_sha256": "b"})) is None


def test_a_threshold_that_cannot_be_stored_is_not_used(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(client, "bolt", 0.45)

    def fails(*given: Any) -> None:
        raise StoreError("The database of the store is locked by another program.")

    with monkeypatch.context() as patched:
        patched.setattr(SavedThresholds, "save", fails)
        assert save(client, "bolt", 0.9).status_code == 503
    assert inspect(client, "bolt", 40)[0]["threshold"] == 0.45


def test_a_saved_threshold_wins_over_the_references_until_that_changes(
    store: Store, tmp_path: Path
) -> None:
    files = {name: tmp_path / f"{name}.reference" for name in ("bolt", "nut")}
    own = {name: write_reference(file).threshold() for name, file in files.items()}
    references: References = references_of(**files)
    with served(store, references=references) as client:

        def inspected(seed: int, product: str = "bolt") -> Any:
            photo = ("a.png", png(part(seed)))
            answer = client.post(
                "/v1/inspect", files=[("images", photo)], data={"product": product}
            )
            return answer.json()["results"][0]

        assert (inspected(50)["pred_label"], inspected(50)["threshold"]) == (False, own["bolt"])
        save(client, "bolt", 0.0)
        one = inspected(50)
        assert (one["pred_label"], one["threshold"]) == (True, 0.0)
        assert inspected(50, "nut")["threshold"] == own["nut"]
        assert save(client, "screw", 0.5).status_code == 422
        assert save(client, None, 0.5).status_code == 422
        client.put(f"/v1/inspections/{one['id']}/review", json={"verdict": "wrong"})
        changed = client.post("/v1/references/bolt/photos", json={"inspection": one["id"]}).json()
        assert inspected(51)["threshold"] == changed["threshold"] != 0.0
        listed = {one["product"]: one for one in client.get("/v1/products").json()["products"]}
        assert (listed["bolt"]["saved"], listed["nut"]["threshold"]) == (False, own["nut"])


def test_both_columns_are_of_the_verdict_that_counts(client: TestClient, store: Store) -> None:
    """The threshold of a product changes whether verdict and answer disagree."""
    (one,) = inspect(client, "bolt", 29)
    row = store.get(one["id"])
    assert row is not None
    assert (row.threshold, row.contradiction) == (0.3, one["contradiction"])
    assert one["contradiction"] is True
