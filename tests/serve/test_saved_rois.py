"""Regions of interest that are saved for products, and applied to their later inspections."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from flawsight.frame import frame_of
from flawsight.roi import Roi
from flawsight.serve.app import create_app
from flawsight.serve.batching import InspectBatch
from flawsight.serve.limits import Limits
from flawsight.serve.store import Store
from helpers.serving import BATCH, as_json, inspect_batch, picture

JSON = {"Content-Type": "application/json"}
HALF = "0%,0%,50%,100%"


@lru_cache(maxsize=8)
def cut_to(roi: str) -> InspectBatch:
    """The stand-in with a frame, and a score of its own."""

    def inspect(images: Sequence[Any]) -> list[Any]:
        found: list[Any] = []
        for one in inspect_batch(images):
            frame = frame_of(Roi.parse(roi), one.image_size)  # type: ignore[union-attr]
            found.append(replace(one, frame=frame, pred_score=0.99))  # type: ignore[type-var]
        return found

    return inspect


def served(folder: Path, **options: Any) -> TestClient:
    about = {"model_sha256": "a", "threshold": 0.5}
    app = create_app(
        inspect_batch, BATCH, Store(str(folder)), Limits(rate=0), about=about, **options
    )
    return TestClient(app, base_url="http://127.0.0.1:8000")


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    with served(tmp_path / "store", cut_to=cut_to) as client:
        yield client


def inspect(client: TestClient, product: str) -> Any:
    body = as_json(picture(40), product=product)
    return client.post("/v1/inspect", content=body, headers=JSON)


def save(client: TestClient, product: str, roi: str | None) -> Any:
    return client.put("/v1/rois", json={"product": product, "roi": roi})


def test_later_photos_of_the_product_are_cut_and_say_so(client: TestClient) -> None:
    (before,) = inspect(client, "bolt").json()["results"]
    assert before["roi_setting"] is None
    assert "roi" not in before
    assert save(client, "bolt", HALF).json() == {"product": "bolt", "roi": HALF}
    (after,) = inspect(client, "bolt").json()["results"]
    assert after["roi_setting"] == HALF
    assert after["roi"] == {"box": [0, 0, 20, 16], "image_size": [16, 40]}
    (other,) = inspect(client, "nut").json()["results"]
    assert other["roi_setting"] is None
    stored = client.get(f"/v1/inspections/{after['id']}").json()
    assert (stored["roi_setting"], stored["pred_score"]) == (HALF, 0.99)
    # Words' attention is shown in the left half alone.
    view = client.get(f"/v1/inspections/{after['id']}/view").json()
    assert view["token_maps"]["cols"] == 6
    listed = {one["product"]: one for one in client.get("/v1/products").json()["products"]}
    assert (listed["bolt"]["roi"], listed["nut"]["roi"]) == (HALF, None)
    assert save(client, "bolt", None).json()["roi"] is None
    assert inspect(client, "bolt").json()["results"][0]["roi_setting"] is None


def test_a_threshold_is_of_its_region(client: TestClient) -> None:
    client.put("/v1/thresholds", json={"product": "bolt", "threshold": 0.1})
    assert inspect(client, "bolt").json()["results"][0]["threshold"] == 0.1
    save(client, "bolt", HALF)
    assert inspect(client, "bolt").json()["results"][0]["threshold"] == 0.5


@pytest.mark.parametrize(
    ("roi", "said"), [("1,2,3,4", "in percent"), ("x", "LEFT"), ("0%,0%,0%,9%", "empty")]
)
def test_what_is_no_region_in_percent_is_refused(client: TestClient, roi: str, said: str) -> None:
    answer = save(client, "bolt", roi)
    assert answer.status_code == 422
    assert said in answer.json()["error"]["message"]


def test_where_something_fixes_what_is_seen_none_is_saved_or_forgotten(tmp_path: Path) -> None:
    with served(tmp_path / "store", cut_to=cut_to) as client:
        inspect(client, "bolt")
        save(client, "bolt", HALF)
    with served(tmp_path / "store") as client:  # a calibration, say
        answer = inspect(client, "bolt")
        assert answer.status_code == 409
        assert "remove the saved one" in answer.json()["error"]["message"]
        assert save(client, "nut", HALF).status_code == 409
        assert client.get("/v1/products").json()["products"][0]["can_have_roi"] is False
        assert save(client, "bolt", None).status_code == 200
        assert inspect(client, "bolt").status_code == 200
