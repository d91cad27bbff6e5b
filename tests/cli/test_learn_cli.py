"""`flawsight learn`, and what uses a reference on the command line."""

import json
from pathlib import Path

import pytest

from flawsight import Reference
from flawsight.runs.read import read_description, read_rows
from helpers.command_line import flawsight, summary_of
from helpers.good_parts import part, write_parts
from helpers.hub_server import running_hub, use_hub

SMALL = ("--device", "cpu", "--set", "image_tokens=64")
SHORT = (*SMALL, "--set", "max_new_tokens=8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos, and what was learned of six of them."""
    folder = tmp_path_factory.mktemp("line")
    write_parts(folder / "good", range(6))
    write_parts(folder / "new", [20, 22])
    write_parts(folder / "new", [23], spot=True)
    code, output = flawsight("learn", folder / "good", "--out", folder / "a.reference", *SMALL)
    assert code == 0, output
    (folder / "output.txt").write_text(output)
    return folder


def test_it_says_what_the_photos_promise(folder: Path) -> None:
    output = (folder / "output.txt").read_text()
    reference = Reference.load(folder / "a.reference")
    assert [photo.name for photo in reference.photos] == [f"{n:03}.png" for n in range(6)]
    assert "Learned 6 photos" in output
    assert f"Threshold {reference.threshold():.3f}: at most 14.3% of good parts" in output
    assert "1 in 7" in output
    assert "99 would promise 1%" in output
    shown = [line.split()[1] for line in output.splitlines() if line.startswith("  0.")]
    ranked = sorted(zip(reference.scores, reference.photos, strict=True), key=lambda one: -one[0])
    assert shown == [photo.name for _, photo in ranked[:5]]


def test_a_defective_photo_among_the_good_ones_is_named(folder: Path, tmp_path: Path) -> None:
    part(30, spot=True).save(tmp_path / "spoilt.png")
    out = tmp_path / "b.reference"
    code, output = flawsight("learn", folder / "a.reference", tmp_path, "--out", out, *SMALL)
    assert code == 0
    assert "spoilt.png  unlike the others" in output
    assert "spoilt.png" in (tmp_path / "b.reference.html").read_text()
    assert "--forget 'spoilt.png'" in output
    code, output = flawsight("learn", "--add-to", out, "--forget", "spoilt.png", *SMALL)
    assert code == 0
    assert "spoilt" not in output
    assert Reference.load(out).sha256 == Reference.load(folder / "a.reference").sha256


def test_photos_that_cannot_be_used_are_named_and_left_out(tmp_path: Path) -> None:
    write_parts(tmp_path / "x/good", range(2))
    write_parts(tmp_path / "y/good", range(1, 2))
    (tmp_path / "x/good/broken.png").write_bytes(b"no image")
    out = tmp_path / "a.reference"
    code, output = flawsight("learn", tmp_path / "x", tmp_path / "y", "--out", out, *SMALL)
    assert code == 1
    assert "broken.png is not an image" in output
    assert "y/good/001.png shows the same pixels as x/good/001.png" in output
    assert [one.name for one in Reference.load(out).photos] == ["x/good/000.png", "x/good/001.png"]
    code, output = flawsight("learn", tmp_path / "x/good/broken.png", "--out", out, *SMALL)
    assert code == 2
    assert "None of the photos can be read." in output


def test_inspect_says_and_records_what_was_used(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    use = ("--reference", folder / "a.reference", "--out", out, *SHORT)
    code, output = flawsight("inspect", folder / "new", *use, "--explain", "defective")
    assert code == 0
    assert "Compared with 6 good photos." in output
    assert "Of 2, the reference alone gives the verdict; the model was not asked." in output
    rows = {Path(row["image"]).stem: row for row in read_rows(out)}
    assert [rows[name]["pred_label"] for name in ("020", "022", "023")] == [False, False, True]
    assert [row["answer"] is None for row in rows.values()] == [True, True, False]
    reference = Reference.load(folder / "a.reference")
    about = read_description(out)
    assert about["reference_sha256"] == reference.sha256
    assert about["settings"]["explain"] == "defective"
    assert about["threshold"] == reference.threshold()

    # Two good photos are defective by a threshold below all; they get their words.
    code, output = flawsight(
        "inspect", folder / "new", *use, "--explain", "defective", "--threshold", "0"
    )
    assert code == 0
    assert all(row["pred_label"] and row["answer"] for row in read_rows(out))

    code, output = flawsight(
        "inspect", folder / "new", *use, "--explain", "defective", "--false-alarm-rate", "0.5"
    )
    assert code == 0
    about = read_description(out)
    assert (about["false_alarm_rate"], about["threshold"]) == (0.5, reference.threshold(0.5))
    code, output = flawsight("inspect", folder / "new", *use)
    assert code == 2
    assert "settings.explain" in output


def test_without_words_a_run_gets_new_verdicts_without_the_model(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    use = ("inspect", folder / "new", "--reference", folder / "a.reference", "--out", out,
           "--explain", "never", *SMALL)  # fmt: skip
    assert flawsight(*use)[0] == 0
    before = read_rows(out)
    assert all(row["answer"] is None and row["explanation"] == "" for row in before)
    monkeypatch.setattr("flawsight.runs.batch.overlapped", None)
    again = (*use, "--threshold", "0")
    with pytest.raises(TypeError):
        flawsight(*again, "--out", tmp_path / "other")
    monkeypatch.undo()
    assert flawsight(*again)[0] == 0
    after = read_rows(out)
    assert all(row["pred_label"] and row["regions"] for row in after)
    assert not any(row["contradiction"] for row in after)
    assert [row["pred_score"] for row in after] == [row["pred_score"] for row in before]


def test_one_photo_is_compared_by_one_half(folder: Path, tmp_path: Path) -> None:
    reference = tmp_path / "one.reference"
    code, output = flawsight("learn", folder / "good/000.png", "--out", reference, *SMALL)
    assert code == 0
    assert "One photo promises no rate of false alarms" in output
    use = ("inspect", folder / "new", "--out", tmp_path / "run", "--explain", "never", *SMALL)
    assert flawsight(*use, "--reference", reference)[0] == 0
    assert read_description(tmp_path / "run")["threshold"] == 0.5


def test_a_calibration_goes_on_from_a_reference(folder: Path, tmp_path: Path) -> None:
    more = write_parts(tmp_path / "more", range(40, 45))
    found = tmp_path / "c.json"
    settings = ("--reference", folder / "a.reference", "--set", "explain=never", *SMALL)
    code, output = flawsight("calibrate", more, "--false-alarm-rate", "0.2", "--out", found,
                             *settings)  # fmt: skip
    assert code == 0, output
    values = json.loads(found.read_text())
    assert values["reference_sha256"] == Reference.load(folder / "a.reference").sha256
    use = ("inspect", folder / "new", "--calibration", found)
    assert flawsight(*use, *settings, "--out", tmp_path / "run")[0] == 0
    assert read_description(tmp_path / "run")["threshold"] == values["thresholds"]["all"]
    code, output = flawsight(*use, *SMALL, "--out", tmp_path / "none")
    assert code == 2
    assert "other settings" in output


def test_a_reference_goes_to_the_hub_and_is_used_from_there(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "b.reference"
    again = ("learn", folder / "a.reference", "--out", out, *SMALL, "--push-to-hub", "acme/line3")
    with running_hub() as hub:
        use_hub(hub, tmp_path / "cache", monkeypatch, token=None)
        code, output = flawsight(*again)
        assert (code, out.exists()) == (2, False)
        assert "you are not logged in" in output
        use_hub(hub, tmp_path / "cache", monkeypatch)
        hub.refused = ("/commit/",)
        code, output = flawsight(*again)
        assert code == 2
        assert "the hub refuses it (403)" in output
        assert f"{out} is written and complete" in output
        kept = out.read_bytes()
        assert Reference.load(out).sha256 == Reference.load(folder / "a.reference").sha256
        hub.refused = ()
        code, output = flawsight(*again, "--json")
        assert code == 0
        assert summary_of(output)["hub"] == f"{hub.url}/acme/line3"
        assert hub.repositories["acme/line3"]["good.reference"] == out.read_bytes() == kept
        use = ("--reference", "acme/line3", "--explain", "never", "--out", tmp_path / "run")
        code, output = flawsight("inspect", folder / "new", *use, *SMALL)
        assert code == 0, output
    about = read_description(tmp_path / "run")
    assert about["reference_sha256"] == Reference.load(out).sha256
