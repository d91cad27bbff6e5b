"""`flawsight bench` as a user meets it."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flawsight.evaluate.ablation import ablation_specs
from flawsight.evaluate.detectors.flawsight import FlawsightDetector
from flawsight.evaluate.detectors.spec import open_detector, parse_spec
from flawsight_surfaces import render_pair
from helpers.bundled import FEW_TOKENS
from helpers.command_line import flawsight

DETECTORS = (
    "--detector", f"flawsight:image_tokens={FEW_TOKENS},name=flawsight", "--detector", "texture",
)  # fmt: skip


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(8)
    folder = tmp_path / "line"
    for index in range(2):
        for sample in render_pair(rng, (96, 96)):
            path = folder / ("bad" if sample.label else "good") / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(sample.image).save(path)
    return folder


def test_a_bench_writes_tables_goes_on_and_makes_them_again(photos: Path, tmp_path: Path) -> None:
    arguments = ["--data", photos, *DETECTORS, "--resamples", "20"]
    code, output = flawsight("bench", *arguments, "--out", tmp_path / "run")
    assert code == 0
    assert "AUROC" in output
    assert "not run here" not in output
    for name in ("tables.md", "tables.tex", "metrics.csv"):
        assert (tmp_path / "run" / name).exists()
    with (tmp_path / "run/metrics.csv").open(newline="") as file:
        assert {row["source"] for row in csv.DictReader(file)} == {"ours"}
    first = (tmp_path / "run/tables.md").read_text()
    assert flawsight("bench", *arguments, "--out", tmp_path / "run")[0] == 0
    assert flawsight("bench", "--from", tmp_path / "run", "--resamples", "20")[0] == 0
    assert (tmp_path / "run/tables.md").read_text() == first
    code, output = flawsight(
        "bench", "--from", tmp_path / "run", "--resamples", "20", "--published"
    )
    assert (code, "not run here" in output) == (0, True)
    assert "Published" in (tmp_path / "run/tables.md").read_text()


def test_own_photos_are_summed_up_on_one_screen(photos: Path, tmp_path: Path) -> None:
    arguments = ("--data", photos, *DETECTORS)
    code, output = flawsight("bench", *arguments, "--resamples", 9, "--out", tmp_path / "o")
    assert code == 0
    lines = output.splitlines()
    assert len(lines) <= 25
    # Paths, which the test's folder makes long, stand in lines of their own.
    assert max(len(line) for line in lines if str(tmp_path) not in line) <= 80
    heads = next(line for line in lines if "TP" in line)
    assert [head for head in ("TP", "FP", "FN", "TN") if head in heads] == ["TP", "FP", "FN", "TN"]
    # No masks, no reference texts, no failures: no columns.
    assert not any(head in heads for head in ("pixel", "ROUGE", "failed", "regions"))
    assert output.count("suggested threshold") == 2
    report = tmp_path / "o/line/flawsight/report.html"
    assert f"Report: {report}" in output
    assert report.exists()


@pytest.mark.parametrize("name", ["MVTec-AD", "mvtec", "VisA"])
def test_a_published_data_set_comes_with_published_values(
    name: str, photos: Path, tmp_path: Path
) -> None:
    named = f"{name}={photos}" if name != "VisA" else str(photos.rename(tmp_path / "VisA_dataset"))
    if name == "MVTec-AD":
        for kind in ("good", "bad"):
            (photos / "nut/test").mkdir(parents=True, exist_ok=True)
            (photos / kind).rename(photos / "nut/test" / kind)
    arguments = ("--detector", "texture", "--resamples", 9, "--out", tmp_path / "o")
    code, output = flawsight("bench", "--data", named, *arguments)
    assert (code, "not run here" in output) == (0, True)
    assert output.index("TP") < output.index("not run here")


def test_a_broken_image_is_counted_and_makes_exit_code_1(photos: Path, tmp_path: Path) -> None:
    (photos / "bad/0.png").write_bytes(b"no image")
    code, output = flawsight("bench", "--data", photos, *DETECTORS, "--out", tmp_path / "run")
    assert code == 1
    assert "1 failed" in output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "at least one data set"),
        (["--data", "/no/such/folder"], "/no/such/folder"),
        (["--data", "{photos}", "--detector", "resnet"], "choose one of flawsight"),
        (["--data", "{photos}", "--split", "moon"], "no moon images"),
        (["--from", "{photos}"], "holds no bench"),
        (["--data", "{photos}", "--detector", "run:/no/such/folder"], "/no/such/folder"),
    ],
)
def test_a_wrong_argument_is_explained_with_exit_code_2(
    arguments: list[str], words: str, photos: Path, tmp_path: Path
) -> None:
    filled = [argument.format(photos=photos) for argument in arguments]
    code, output = flawsight("bench", *filled, "--out", tmp_path / "run")
    assert code == 2
    assert words in " ".join(output.split())


def test_help_shows_examples() -> None:
    code, output = flawsight("bench", "--help")
    assert code == 0
    assert "flawsight bench --from" in " ".join(output.split())


def test_every_row_of_the_ablation_can_be_opened(tmp_path: Path) -> None:
    specs = [parse_spec(text) for text in ablation_specs(None, None, None)]
    assert len({spec.name for spec in specs}) == len(specs)
    detectors = [open_detector(spec, tmp_path, 4) for spec in specs]
    assert all(isinstance(detector, FlawsightDetector) for detector in detectors)
    settings = [detector.about()["settings"] for detector in detectors]
    assert {s["selection"] for s in settings} == {"vanilla", "real"}
    assert [s["attention_row"] for s in settings].count("previous") == 1
    assert [[layer] for layer in range(4)] == [s["layers"] for s in settings if s["layers"]]


def test_the_ablation_covers_each_adapter() -> None:
    names = [parse_spec(text).name for text in ablation_specs(None, "/r1", "/cgro")]
    for trained in ("base", "R1", "CGRO"):
        for label in ("vanilla", "ReAL", "S_T only", "S_I only"):
            assert f"{trained} · {label}" in names
