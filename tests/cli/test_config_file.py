"""`--config FILE`: what a file gives each verb, against the command line that says the same."""

from pathlib import Path
from typing import Any

import pytest
import typer

from flawsight.cli import app
from helpers.command_line import flawsight

FILE = """
model: my/model
preset: paper
threshold: 0.4
seed: 3
set: {image_tokens: 300, alpha: 1e-5, layers: [1, 2]}
batch-size: 4
inspect: {paths: [photos], quiet: true, set: [tau_t=0.5]}
serve: {port: 8080, reference: [a=one.reference, b=two.reference]}
bench: {data: photos/line3, out: runs/line3}
prior: {photos: [good]}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "line3.yaml"
    path.write_text(FILE)
    return path


def given(verb: str, *words: object) -> dict[str, Any]:
    """Return the parameters that a verb would be called with."""
    root: Any = typer.main.get_command(app)
    with root.make_context("flawsight", [verb]) as top:
        params = root.commands[verb].make_context(verb, list(map(str, words)), parent=top).params
    return {name: value for name, value in params.items() if name != "config"}


SHARED = ("--model", "my/model", "--preset", "paper", "--batch-size", 4)
SET = ("--set", "image_tokens=300", "--set", "alpha=1e-5", "--set", "layers=[1, 2]")


@pytest.mark.parametrize(
    ("verb", "same"),
    [
        ("inspect", ["photos", *SHARED, "--threshold", 0.4, "--seed", 3, "--quiet", *SET,
                     "--set", "tau_t=0.5"]),
        ("serve", [*SHARED, "--threshold", 0.4, "--port", 8080, "--reference", "a=one.reference",
                   "--reference", "b=two.reference", *SET]),
        ("prior", ["good", "--model", "my/model", "--batch-size", 4, *SET]),
        ("bench", ["--data", "photos/line3", "--out", "runs/line3", "--batch-size", 4, "--detector",
                   "flawsight:my/model,preset=paper,seed=3,image_tokens=300,alpha=1e-5,"
                   "layers=[1, 2]"]),
    ],
)  # fmt: skip
def test_one_file_is_what_each_verb_would_be_told(
    verb: str, same: list[object], config: Path
) -> None:
    of_file, typed = given(verb, "--config", config), given(verb, *same)
    for params in (of_file, typed):
        params["set_"] = list(dict.fromkeys(params.get("set_") or []))
    assert of_file == typed


def test_the_command_line_wins_and_set_adds(config: Path) -> None:
    params = given(
        "inspect", "other", "--preset", "default", "--set", "alpha=2", "--config", config
    )
    assert (list(params["paths"]), params["preset"], params["model"]) == (
        ["other"],
        "default",
        "my/model",
    )
    assert params["set_"] == ["image_tokens=300", "alpha=1e-5", "layers=[1, 2]", "tau_t=0.5",
                              "alpha=2"]  # fmt: skip
    chosen = given("bench", "--detector", "texture", "--config", config)
    assert list(chosen["detector"]) == ["texture"]


def test_bench_says_what_it_does_not_use(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given("bench", "--config", config)
    assert "bench does not use threshold" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("modle: x", "modle (is it model?)"),
        ("serve: {prot: 80}", "prot (is it port"),
        ("insepct: {quiet: true}", "insepct (is it inspect"),
        ("serve: 80", "serve is a command; write its options below it"),
        ("Preset: paper", "Preset (is it preset?)"),
        ("set: {Tau-T: 1}", "Tau-T (is it tau_t?)"),
        ("bench: {max-batch-size: 1}", "batch_size"),
        ("- preset", "NAME: VALUE"),
        ("preset: [", "Cannot read the settings"),
        ("preset: [paper, default]", "takes one value"),
        ("inspect: {quiet: 3}", "true or false"),
        ("preset: best", "paper, default"),
        ("batch_size: many", "batch-size"),
        ("set: {tau: 1}", "tau (is it tau_t or tau_i?)"),
    ],
)
def test_a_wrong_file_is_explained_with_exit_code_2(
    content: str, complaint: str, tmp_path: Path
) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(content)
    code, output = flawsight("inspect", tmp_path, "--config", path)
    assert code == 2
    assert complaint in " ".join(output.replace("│", " ").split())
    assert "Traceback" not in output
