"""`flawsight serve --reference` with the bundled model: options, faults at the start, learning."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from flawsight.calibration import Calibration
from flawsight.cli import app as cli
from flawsight.cli.product_files import files_of_products, named_files
from flawsight.errors import ServeError
from flawsight.inspector import Inspector
from flawsight.reference.learn import learn
from flawsight.reference.memory import Reference
from flawsight.settings import PRESETS
from helpers.good_photos import part, png, write_reference

SMALL = ["--set", "image_tokens=64", "--device", "cpu"]
SETTINGS = replace(PRESETS["default"], image_tokens=64)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reference of the bundled model."""
    path = tmp_path_factory.mktemp("learned") / "line3.reference"
    inspector = Inspector.from_pretrained(device="cpu", settings=SETTINGS)
    photos = [(f"{seed}.png", part(seed, width=96)) for seed in range(3)]
    learn(inspector.mllm, photos, SETTINGS).save(path)
    return path


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the verb; what it would serve is handed back in place of being served."""
    served: list[Any] = []
    import flawsight.serve.server

    monkeypatch.setattr(flawsight.serve.server, "serve_app", lambda app, *_: served.append(app))
    monkeypatch.chdir(tmp_path)

    def run(*words: Any) -> Any:
        result = CliRunner().invoke(cli, ["serve", *map(str, words)])
        return result, served[-1] if served else None

    return run


def test_parts_are_judged_without_words_and_a_photo_is_learned(serve: Any, file: Path) -> None:
    copy = Path("nut.reference")
    copy.write_bytes(file.read_bytes())
    result, app = serve("--reference", file, "--reference", copy, "--explain", "never", *SMALL)
    assert result.exit_code == 0, result.output
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:

        def inspected(seed: int) -> Any:
            files = [("images", (f"{seed}.png", png(part(seed, width=96))))]
            answer = client.post("/v1/inspect", files=files, data={"product": "nut"})
            return answer.json()["results"][0]

        one = inspected(10)
        assert (one["answer"], one["explanation"], one["tokens"]) == (None, "", [])
        reference = Reference.load(file)
        assert one["reference_sha256"] == reference.sha256
        assert one["threshold"] == max(reference.scores)
        assert client.get(f"/v1/inspections/{one['id']}/view").json()["answer"] is None
        word = "wrong" if one["pred_label"] else "right"
        client.put(f"/v1/inspections/{one['id']}/review", json={"verdict": word})
        body = {"inspection": one["id"]}
        changed = client.post("/v1/references/nut/photos", json=body)
        assert changed.status_code == 200, changed.text
        # As if all had been learned at once, and the photo itself is then known to the patch.
        inspector = Inspector.from_pretrained(device="cpu", settings=SETTINGS)
        photos = [(f"{seed}.png", part(seed, width=96)) for seed in (0, 1, 2, 10)]
        expected = learn(inspector.mllm, photos, SETTINGS)
        assert changed.json()["sha256"] == expected.sha256 == Reference.load(copy).sha256
        assert inspected(10)["pred_score"] < 0.01
        again = client.post("/v1/references/nut/photos", json=body)
        assert (again.status_code, "already" in again.text) == (422, True)
        assert Reference.load(file).sha256 == reference.sha256


def said(answer: Any) -> str:
    assert (answer.status_code, answer.json()["error"]["kind"]) == (422, "ServeError")
    return str(answer.json()["error"]["message"])


def test_a_reload_reads_the_reference_again(serve: Any, file: Path) -> None:
    copy = Path("nut.reference")
    copy.write_bytes(file.read_bytes())
    result, app = serve("--reference", copy, "--explain", "never", *SMALL)
    assert result.exit_code == 0, result.output
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:

        def inspected() -> Any:
            files = [("images", ("10.png", png(part(10, width=96))))]
            return client.post("/v1/inspect", files=files).json()["results"][0]

        old = Reference.load(file)
        assert inspected()["reference_sha256"] == old.sha256
        inspector = Inspector.from_pretrained(device="cpu", settings=SETTINGS)
        photos = [(f"{seed}.png", part(seed, width=96)) for seed in range(10, 13)]
        new = learn(inspector.mllm, photos, SETTINGS)
        new.save(copy)
        assert client.post("/v1/reload").json()["references"] == {"nut": new.sha256}
        one = inspected()
        assert (one["reference_sha256"], one["threshold"]) == (new.sha256, max(new.scores))
        assert one["pred_score"] < 0.01  # it is one of the good photos now
        whole = copy.read_bytes()
        copy.write_bytes(whole[:-1000])
        assert "nut.reference" in said(client.post("/v1/reload"))
        write_reference(copy)
        refused = said(client.post("/v1/reload"))
        assert "nut.reference" in refused
        assert "another model" in refused
        assert inspected()["reference_sha256"] == new.sha256


def test_a_reload_reads_the_calibration_again(serve: Any) -> None:
    inspector = Inspector.from_pretrained(device="cpu", settings=SETTINGS)
    assert inspector.prior is not None
    made = Calibration(
        format=2, created="", false_alarm_rate=0.1, thresholds={"all": 0.5, "bolt": 0.3}, counts={},
        model={"name": "default", "sha256": inspector.mllm.sha256}, settings=SETTINGS.to_json(),
        prior_sha256=inspector.prior.sha256,
    )  # fmt: skip
    file = Path("calibration.json")
    made.save(file)
    result, app = serve("--calibration", file, *SMALL)
    assert result.exit_code == 0, result.output
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:

        def threshold() -> float:
            photo = ("10.png", png(part(10, width=96)))
            answer = client.post("/v1/inspect?product=bolt", files=[("images", photo)])
            return float(answer.json()["results"][0]["threshold"])

        assert threshold() == 0.3
        replace(made, thresholds={"all": 0.5, "bolt": 0.6}).save(file)
        assert client.post("/v1/reload").json()["thresholds"] == {"bolt": 0.6}
        assert threshold() == 0.6
        for bad in (
            replace(made, model={"sha256": "0" * 64}), replace(made, thresholds={"bolt": 0.1}),
            replace(made, settings={"image_tokens": 9}),
        ):  # fmt: skip
            bad.save(file)
            assert "calibration.json" in said(client.post("/v1/reload"))
        assert threshold() == 0.6


def test_faults_at_the_start_are_told_in_clear_words(serve: Any, file: Path) -> None:
    damaged, foreign = Path("damaged.reference"), Path("foreign.reference")
    damaged.write_bytes(file.read_bytes()[:-1000])
    write_reference(foreign)
    photo = Path("good.png")
    photo.write_bytes(png(part(1, width=96)))
    for words, says in (
        (["--reference", "none.reference"], "There is no reference none.reference"),
        (["--reference", damaged], "no readable reference"),
        (["--reference", f"a={file}", "--reference", f"a={file}"], "twice for the product a"),
        (["--reference", f"a/b={file}"], "cannot be a product's name"),
        (["--explain", "never"], "needs a reference"),
        (["--explain", "sometimes", "--reference", file], "explain"),
        (["--calibration", f"b={file}", "--reference", f"a={file}"], "no reference"),
        (["--reference", foreign, *SMALL], "another model"),
        (
            ["--reference", f"a={file}", "--reference", f"b={file}", "--prompt-photo", photo],
            "one product",
        ),
        (["--reference", file, "--device", "cpu"], "image_tokens 64"),
    ):
        result, app = serve(*words)
        assert (result.exit_code, app) == (2, None), words
        output = " ".join(result.output.split())
        assert says in output, output
        assert "Traceback" not in output


def test_files_are_named_by_product() -> None:
    assert named_files(["a b=x/y.reference", "line3.reference"], "--reference") == {
        "a b": Path("x/y.reference"),
        "line3": Path("line3.reference"),
    }
    assert files_of_products(["c.json"], ["bolt"], "--calibration") == {"bolt": Path("c.json")}
    assert files_of_products([], ["bolt"], "--calibration") == {}
    with pytest.raises(ServeError, match="which product"):
        files_of_products(["c.json"], ["bolt", "nut"], "--calibration")
    for name in ("", " a", "a ", ".", "..", "a\nb", "a\\b", "x" * 201):
        with pytest.raises(ServeError):
            named_files([f"{name}=f"], "--reference")
