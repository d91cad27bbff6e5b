"""References in the service: the right product, changes, faults. The model is a stand-in."""

import io
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from flawsight.errors import LearnError, StoreError
from flawsight.reference.memory import Reference
from flawsight.serve.access_tokens import AccessTokens
from flawsight.serve.app import create_app
from flawsight.serve.limits import Limits
from flawsight.serve.reference_files import digest_of, replace_reference
from flawsight.serve.references import References
from flawsight.serve.store import Store
from helpers.good_photos import learn, part, png, references_of, write_reference
from helpers.serving import BATCH, as_json, inspect_batch

JSON = {"Content-Type": "application/json"}
Start = Callable[..., TestClient]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    made = {name: tmp_path / f"{name}.reference" for name in ("bolt", "nut")}
    write_reference(made["bolt"], 100)
    write_reference(made["nut"], 200)
    return made


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    clients: list[TestClient] = []

    def started(references: References, token: str | None = None, **limits: Any) -> TestClient:
        app = create_app(
            inspect_batch, BATCH, Store(str(tmp_path / "store")), Limits(**{"rate": 0, **limits}),
            None if token is None else AccessTokens(token), references=references,
        )  # fmt: skip
        clients.append(TestClient(app, base_url="http://127.0.0.1:8000"))
        return clients[-1].__enter__()

    yield started
    for client in clients:
        client.__exit__()


def inspected(client: TestClient, image: Image.Image, product: str | None = None) -> Any:
    data = {} if product is None else {"product": product}
    answer = client.post("/v1/inspect", files=[("images", ("new.png", png(image)))], data=data)
    assert answer.status_code == 200, answer.text
    return answer.json()["results"][0]


def reviewed(client: TestClient, image: Image.Image, product: str, good: bool = True) -> str:
    """Inspect a photo, review it, and return the inspection's id."""
    one = inspected(client, image, product)
    word = "right" if one["pred_label"] != good else "wrong"
    client.put(f"/v1/inspections/{one['id']}/review", json={"verdict": word})
    return str(one["id"])


def add(client: TestClient, product: str, inspection: str) -> Any:
    return client.post(f"/v1/references/{product}/photos", json={"inspection": inspection})


def of(client: TestClient, product: str) -> Any:
    return client.get(f"/v1/references/{product}").json()


def said(answer: Any) -> str:
    return str(answer.json()["error"]["message"])


def test_each_product_is_judged_by_its_own_reference(start: Start, files: dict[str, Path]) -> None:
    client = start(references_of(**files))
    shown = client.get("/v1/references").json()["references"]
    hashes = {one["product"]: one["sha256"] for one in shown}
    assert hashes == {name: Reference.load(file).sha256 for name, file in files.items()}
    for product, brightness, defective in (
        ("bolt", 100, False), ("bolt", 200, True), ("nut", 200, False), ("nut", 100, True),
    ):  # fmt: skip
        one = inspected(client, part(50, brightness), product)
        assert (one["pred_label"], one["product"]) == (defective, product)
        assert one["reference_sha256"] == hashes[product]
        assert one["threshold"] == Reference.load(files[product]).threshold()
        assert (one["answer"], one["evidence"]) == (
            None,
            {"reference": round(one["pred_score"], 6)},
        )
        assert client.get(f"/v1/inspections/{one['id']}").json() == one
        view = client.get(f"/v1/inspections/{one['id']}/view").json()
        assert view["tokens"] == []
        good = Reference.load(files[product]).photos[0]
        assert view["regions"][0]["good"]["photo"] == good.name
        assert client.get(f"/{view['pictures'][good.name]}").content == good.picture
    found = client.get("/v1/inspections?product=nut").json()["inspections"]
    assert [one["product"] for one in found] == ["nut", "nut"]


@pytest.mark.parametrize("way", ["form", "json", "query"])
def test_no_product_and_an_unknown_one_are_refused(
    start: Start, files: dict[str, Path], way: str
) -> None:
    client = start(references_of(**files))

    def sent(product: str | None) -> Any:
        own = {} if product is None else {"product": product}
        if way == "form":
            files = [("images", ("a.png", png(part(1))))]
            return client.post("/v1/inspect", files=files, data=own)
        if way == "json":
            return client.post("/v1/inspect", content=as_json(png(part(1)), **own), headers=JSON)
        head = {"Content-Type": "image/png"}
        return client.post("/v1/inspect", content=png(part(1)), headers=head, params=own)

    assert sent("nut").json()["results"][0]["product"] == "nut"
    for product, words in ((None, "names no product"), ("screw", "no product 'screw'")):
        answer = sent(product)
        assert answer.status_code == 422
        assert words in said(answer)
        assert "bolt, nut" in said(answer)
    assert len(client.get("/v1/inspections").json()["inspections"]) == 1


def test_the_only_reference_needs_no_name_but_takes_no_other(
    start: Start, files: dict[str, Path]
) -> None:
    client = start(references_of(bolt=files["bolt"]))
    assert inspected(client, part(50))["product"] == "bolt"
    body = as_json(png(part(1)), product="nut")
    assert client.post("/v1/inspect", content=body, headers=JSON).status_code == 422
    both = client.post("/v1/inspect?product=bolt", content=body, headers=JSON)
    assert (both.status_code, "different products" in said(both)) == (422, True)


def test_products_wait_in_one_queue_but_share_no_batch(
    start: Start, files: dict[str, Path]
) -> None:
    references = references_of(**files)
    makers = [one.inspect_batch.__self__ for one in references.products]  # type: ignore[attr-defined]
    busy, gate = threading.Event(), threading.Event()
    waits = makers[0].inspect

    def slow(image: Any) -> Any:
        busy.set()
        assert gate.wait(20)
        return waits(image)

    makers[0].inspect = slow
    client = start(references, slots=64)
    with ThreadPoolExecutor(12) as clients:
        first = clients.submit(inspected, client, part(1), "bolt")
        assert busy.wait(20)
        mixed = [
            clients.submit(inspected, client, part(seed, b), name)
            for seed in range(5)
            for name, b in (("bolt", 100), ("nut", 200))
        ]
        while "flawsight_images_in_flight 11.0" not in client.get("/metrics").text:
            time.sleep(0.01)
        time.sleep(0.2)  # the last ones have arrived, and wait in the queue
        gate.set()
        for one in [first, *mixed]:
            assert one.result()["pred_label"] is False
    assert [sorted(one.batches) for one in makers] == [[1, 1, 4], [1, 4]]


def test_a_good_photo_is_added_and_forgotten_again(start: Start, files: dict[str, Path]) -> None:
    client = start(references_of(**files))
    before, bytes_before = of(client, "bolt"), files["bolt"].read_bytes()
    # A good part that looks unlike the photos so far.
    odd = part(60, 140)
    id = reviewed(client, odd, "bolt")
    assert inspected(client, part(61, 140), "bolt")["pred_label"] is True
    answer = add(client, "bolt", id)
    assert answer.status_code == 200, answer.text
    after = of(client, "bolt")
    assert answer.json() == after
    assert [one["name"] for one in after["photos"]][4:] == [f"{id}/new.png"]
    assert after["sha256"] != before["sha256"]
    expected = learn(
        Reference.load(files["bolt"].with_name("bolt.reference.before")), [("new.png", odd)]
    )
    assert Reference.load(files["bolt"]).sha256 == after["sha256"] == expected.sha256
    assert [one["score"] for one in after["photos"]] == pytest.approx(expected.scores)
    assert files["bolt"].with_name("bolt.reference.before").read_bytes() == bytes_before
    later = inspected(client, part(61, 140), "bolt")
    assert (later["pred_label"], later["reference_sha256"]) == (False, after["sha256"])
    url = f"/v1/references/bolt/photos/{after['photos'][4]['id']}"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(client.get(url).content))), odd)
    text = client.get("/metrics").text
    assert f'flawsight_reference_info{{product="bolt",sha256="{after["sha256"]}"}} 1.0' in text
    assert before["sha256"] not in text
    assert 'flawsight_reference_photos{product="bolt"} 5.0' in text
    assert 'flawsight_reference_changes_total{outcome="added",product="bolt"} 1.0' in text
    # The other product is as it was.
    assert of(client, "nut")["sha256"] == Reference.load(files["nut"]).sha256

    assert client.delete(url).json()["sha256"] == before["sha256"]
    assert client.delete(url).status_code == 404
    assert Reference.load(files["bolt"]).sha256 == before["sha256"]


def test_only_photos_that_were_reviewed_as_good_of_the_product_are_learned(
    start: Start, files: dict[str, Path]
) -> None:
    client = start(references_of(**files))
    unreviewed = inspected(client, part(60), "bolt")["id"]
    defective = reviewed(client, part(61), "bolt", good=False)
    nut = reviewed(client, part(62, 200), "nut")
    twice = reviewed(client, part(0), "bolt")
    before = [one.read_bytes() for one in files.values()]
    for product, id, status, words in (
        ("bolt", unreviewed, 409, "reviewed as good"),
        ("bolt", defective, 409, "reviewed as good"),
        ("bolt", nut, 409, "another product: 'nut'"),
        ("screw", nut, 404, "known: bolt, nut"),
        ("bolt", "0" * 32, 404, "no inspection"),
        ("bolt", "../x", 422, "inspection"),
    ):
        answer = add(client, product, id)
        assert answer.status_code == status
        assert words in said(answer)
    # No two photos share a name, and none is learned twice.
    assert add(client, "bolt", twice).status_code == 200
    again = add(client, "bolt", reviewed(client, part(63), "bolt"))
    names = [one["name"] for one in again.json()["photos"]]
    assert [name.rpartition("/")[2] for name in names[4:]] == ["new.png"] * 2
    assert len({*names}) == 6
    for name in names[4:]:
        answer = add(client, "bolt", name.partition("/")[0])
        assert (answer.status_code, "already" in said(answer)) == (422, True)
    assert files["nut"].read_bytes() == before[1]


def test_photos_are_bounded_below_and_above(start: Start, files: dict[str, Path]) -> None:
    client = start(references_of(**files), good_photos=4)
    answer = add(client, "bolt", reviewed(client, part(60), "bolt"))
    assert (answer.status_code, "would have 5 photos" in said(answer)) == (422, True)
    for left in (3, 2, 1):
        url = f"/v1/references/bolt/photos/{of(client, 'bolt')['photos'][0]['id']}"
        answer = client.delete(url)
        assert answer.status_code == (200 if left > 1 else 422)
    assert "needs 2 photos" in said(answer)
    assert len(of(client, "bolt")["photos"]) == 2


def test_a_calibrated_threshold_keeps_its_reference(start: Start, files: dict[str, Path]) -> None:
    client = start(references_of(calibrated=["bolt"], **files))
    id = of(client, "bolt")["photos"][0]["id"]
    for answer in (
        add(client, "bolt", reviewed(client, part(60), "bolt")),
        client.delete(f"/v1/references/bolt/photos/{id}"),
    ):
        assert answer.status_code == 409
        assert "calibration" in said(answer)


def test_changes_need_the_token_and_no_foreign_page(start: Start, files: dict[str, Path]) -> None:
    client = start(references_of(**files), token="a-token-of-the-tests")
    url = "/v1/references/bolt/photos"
    assert client.get("/v1/references").status_code == 401
    assert client.post(url, json={"inspection": "0" * 32}).status_code == 401
    assert client.delete(f"{url}/{'0' * 32}").status_code == 401
    client.headers["Authorization"] = "Bearer a-token-of-the-tests"
    assert client.delete(f"{url}/{'0' * 32}").status_code == 404
    client.headers["Origin"] = "https://elsewhere.example"
    assert client.delete(f"{url}/{'0' * 32}").status_code == 403
    assert client.post(url, json={"inspection": "0" * 32}).status_code == 403


def test_inspections_go_on_with_the_old_reference_while_a_photo_is_learned(
    start: Start, files: dict[str, Path]
) -> None:
    learning, gate = threading.Event(), threading.Event()

    def slow(*given: Any) -> Any:
        learning.set()
        assert gate.wait(20)
        return learn(*given)

    client = start(references_of(slow, **files))
    before = of(client, "bolt")["sha256"]
    id = reviewed(client, part(60), "bolt")
    with ThreadPoolExecutor(1) as other:
        changing = other.submit(add, client, "bolt", id)
        assert learning.wait(20)
        assert inspected(client, part(61), "bolt")["reference_sha256"] == before
        gate.set()
        after = changing.result().json()["sha256"]
    assert inspected(client, part(61), "bolt")["reference_sha256"] == after != before


def test_changes_at_once_are_made_one_after_the_other(start: Start, files: dict[str, Path]) -> None:
    running: list[int] = [0, 0]  # now, at most

    def noted(*given: Any) -> Any:
        running[0] += 1
        running[1] = max(running)
        time.sleep(0.02)
        running[0] -= 1
        return learn(*given)

    client = start(references_of(noted, **files))
    ids = [reviewed(client, part(60 + n), "bolt") for n in range(4)]
    gone = of(client, "bolt")["photos"][0]["id"]
    with ThreadPoolExecutor(8) as clients:
        adding = [clients.submit(add, client, "bolt", id) for id in ids]
        removing = [
            clients.submit(client.delete, f"/v1/references/bolt/photos/{gone}") for _ in range(2)
        ]
        assert [one.result().status_code for one in adding] == [200] * 4
        assert sorted(one.result().status_code for one in removing) == [200, 404]
    assert running == [0, 1]
    shown = of(client, "bolt")
    names = [one["name"] for one in shown["photos"]]
    assert sorted(names[3:]) == sorted(f"{id}/new.png" for id in ids)
    assert Reference.load(files["bolt"]).sha256 == shown["sha256"]


def test_a_failed_change_leaves_everything_as_it_was(
    start: Start, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*given: Any) -> Any:
        raise LearnError("too small")

    client = start(references_of(fails, **files))
    before, content = of(client, "bolt"), files["bolt"].read_bytes()
    answer = add(client, "bolt", reviewed(client, part(60), "bolt"))
    assert (answer.status_code, said(answer)) == (422, "too small")
    assert (of(client, "bolt"), files["bolt"].read_bytes()) == (before, content)
    assert 'outcome="failed",product="bolt"} 1.0' in client.get("/metrics").text


@pytest.mark.parametrize("fault", ["read-only", "changed", "gone", "full"])
def test_a_file_that_cannot_be_replaced_leaves_everything_as_it_was(
    start: Start, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    client = start(references_of(**files))
    id, before, file = reviewed(client, part(60), "bolt"), of(client, "bolt"), files["bolt"]
    content: bytes | None = file.read_bytes()
    with monkeypatch.context() as patched:
        if fault == "read-only":
            file.chmod(0o444)
        elif fault == "changed":
            write_reference(file, 90)
            content = file.read_bytes()
        elif fault == "gone":
            file.unlink()
            content = None
        else:

            def full(path: Path, data: bytes) -> int:
                raise OSError(28, "No space left on device")

            patched.setattr(Path, "write_bytes", full)
        answer = add(client, "bolt", id)
    assert (answer.status_code, answer.json()["error"]["kind"]) == (503, "StoreError")
    assert {
        "read-only": "read-only", "changed": "another program", "gone": "is gone",
        "full": "No space left",
    }[fault] in said(answer)  # fmt: skip
    assert of(client, "bolt") == before
    assert (file.read_bytes() if file.exists() else None) == content
    assert inspected(client, part(61), "bolt")["reference_sha256"] == before["sha256"]


def test_a_kill_at_any_step_leaves_a_whole_file(tmp_path: Path) -> None:
    """The process is killed before each change of a name on the disk, and in mid-file."""
    file = tmp_path / "bolt.reference"
    old, new = write_reference(file), learn(None, [(str(n), part(n)) for n in range(8, 11)])
    content = file.read_bytes()
    found = []
    for step in range(8):
        file.write_bytes(content)
        child = os.fork()
        if child == 0:
            left = step

            def killing(real: Any) -> Any:
                def call(*given: Any) -> Any:
                    nonlocal left
                    left -= 1
                    if left < 0:
                        if isinstance(given[-1], bytes):
                            real(given[0], given[-1][: len(given[-1]) // 2])
                        os.kill(os.getpid(), signal.SIGKILL)
                    return real(*given)

                return call

            os.replace = killing(os.replace)
            Path.write_bytes = killing(Path.write_bytes)  # type: ignore[method-assign]
            os.fsync = killing(os.fsync)
            try:
                replace_reference(new, file, digest_of(file))
            finally:
                os._exit(0)
        killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
        found.append((killed, Reference.load(file).sha256))
        backup = file.with_name(file.name + ".before")
        assert not backup.exists() or Reference.load(backup).sha256 == old.sha256
    # Bytes, name, and two syncs of each of the two files; then nothing is left to kill.
    assert [sha for _, sha in found] == [old.sha256] * 6 + [new.sha256] * 2
    assert [killed for killed, _ in found] == [True] * 8


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    file = tmp_path / "bolt.reference"
    write_reference(file)
    new = learn(None, [("a", part(8)), ("b", part(9))])
    digest = replace_reference(new, file, digest_of(file))
    assert (digest, Reference.load(file).sha256) == (digest_of(file), new.sha256)
    with pytest.raises(StoreError, match="another program"):
        replace_reference(new, file, "")


def test_a_file_written_over_changes_no_reference_in_memory(tmp_path: Path) -> None:
    file = tmp_path / "bolt.reference"
    first = write_reference(file)
    read = Reference.load(file)
    learn(None, [("a", part(8)), ("b", part(9))]).save(tmp_path / "other")
    with file.open("r+b") as opened:
        opened.write(bytes(file.stat().st_size))
    assert read.sha256 == first.sha256
