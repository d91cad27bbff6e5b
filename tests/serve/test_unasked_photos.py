"""Photos that the model was not asked about: answered, stored, shown, and turned by a threshold."""

import base64
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from flawsight.inspection import Inspection
from flawsight.serve.app import create_app
from flawsight.serve.limits import Limits
from flawsight.serve.reference_files import digest_of
from flawsight.serve.references import References
from flawsight.serve.store import Store
from helpers.compared_runs import NAMES, SIZE, inspected, reference
from helpers.serving import BATCH, picture


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    known = reference()

    def model(images: Sequence[Any]) -> list[Inspection]:
        """Of the two kinds of grey, one shows a defect; none is asked about."""
        return [
            inspected(
                known,
                np.asarray(image.image if hasattr(image, "image") else image)[0, 0, 0] > 99,
                asked=False,
            )
            for image in images
        ]

    app = create_app(
        model, BATCH, Store(str(tmp_path)), Limits(rate=0), None, {"strict": 0.0, "lenient": 0.999}
    )  # fmt: skip
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        yield client


def inspect(client: TestClient, product: str | None = None) -> list[dict[str, Any]]:
    height, width = SIZE
    photos = [picture(width, height, grey=grey) for grey in (0, 150)]
    files = [("images", (f"{index}.png", photo)) for index, photo in enumerate(photos)]
    answer = client.post(
        "/v1/inspect?include=map.npz", files=files, data={"product": product} if product else {}
    )
    assert answer.status_code == 200, answer.text
    return list(answer.json()["results"])


def test_they_are_answered_stored_and_shown(client: TestClient) -> None:
    good, defective = inspect(client)
    assert [one["pred_label"] for one in (good, defective)] == [False, True]
    for one in (good, defective):
        assert (one["answer"], one["explanation"], one["contradiction"]) == (None, "", None)
        assert one["evidence"] == {"reference": pytest.approx(one["pred_score"], abs=1e-6)}
        stored = client.get(f"/v1/inspections/{one['id']}").json()
        assert stored == {**one, "files": {}}
        view = client.get(f"/v1/inspections/{one['id']}/view").json()
        assert view["unasked"].startswith("Not asked: the reference calls it ")
        assert (view["tokens"], view["token_maps"]) == ([], None)
        with np.load(io.BytesIO(base64.b64decode(one["files"]["map.npz"]))) as arrays:
            assert arrays["token_maps"].shape == (0, 6, 8)
    (region,) = defective["regions"]
    assert region["good"]["photo"] == NAMES[1]


def test_the_view_brings_the_good_photos_pictures(tmp_path: Path) -> None:
    known = reference()

    class Taught:
        threshold = 0.5

        def inspect_batch(self, images: Sequence[Any]) -> list[Inspection]:
            return [inspected(known, True, asked=False) for _ in images]

    file = tmp_path / "a.reference"
    known.save(file)
    references = References(
        {"bolt M6 ü": (file, digest_of(file), known)}, lambda *_: known, lambda *_: Taught()
    )
    store = Store(str(tmp_path / "store"))
    app = create_app(Taught().inspect_batch, BATCH, store, Limits(rate=0), references=references)
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        one = inspect(client)[0]
        view = client.get(f"/v1/inspections/{one['id']}/view").json()
        assert list(view["pictures"]) == list(NAMES)
        (region,) = view["regions"]
        url = view["pictures"][region["good"]["photo"]]
        answer = client.get(f"/{url}")
        assert answer.status_code == 200
        assert answer.content == known.photos[1].picture
    assert References({}, lambda *_: known, lambda *_: Taught()).pictures("gone") == {}


def test_a_product_s_threshold_turns_them(client: TestClient) -> None:
    for product, label in (("strict", True), ("lenient", False)):
        for one in inspect(client, product):
            assert one["pred_label"] is label
            assert (one["disagreements"], one["contradiction"]) == ([], None)
            assert all("good" in region for region in one["regions"])
