"""`flawsight train` as a user meets it, with the bundled model."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from flawsight.cli import app
from helpers.bundled import FEW_OPTIONS
from helpers.hub_server import running_hub, use_hub
from helpers.training import SMALL, make_photos


def flawsight(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, " ".join(result.output.split())


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photos(tmp_path_factory.mktemp("photos") / "line", 4, 4, side=64)


def test_train_leaves_an_adapter_for_inspect_and_goes_on(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ("train", "--data", photos, "--out", out, "--steps", 2, *SMALL)
    code, output = flawsight(*arguments, "--lora-rank", 2)
    assert code == 0
    assert "train: 3 normal and 3 defective images; validation: 1 normal and 1" in output
    assert "Of the training images drawn, 50% are defective." in output
    assert "step 2 reward" in output
    assert output.count("1 normal and 1 defective validation images can hardly tell") == 2
    for step, when in ((0, "before:"), (2, "best:")):
        lines = (out / f"validations/step-{step:06d}.jsonl").read_text().splitlines()
        for text in (json.loads(line)["text"] for line in lines):
            assert f"{when} {' '.join(text.split())}" in output
    assert f"flawsight inspect PHOTOS --adapter {out / 'best'}" in output
    assert len(list((out / "overlays").glob("step-*/*.png"))) >= 2
    assert list((out / "trackers").glob("**/events.out.tfevents*"))
    about = json.loads((out / "run.json").read_text())
    assert about["settings"]["lora_rank"] == 2
    assert about["inspection"]["max_new_tokens"] == 40
    assert about["data"]["sources"] == [str(photos)]
    code, output = flawsight(
        "inspect",
        photos / "bad/0.png",
        "--adapter",
        out / "best",
        "--out",
        tmp_path / "inspected",
        *FEW_OPTIONS,
    )
    assert "1 images" in output
    before = (out / "checkpoint.pt").stat().st_mtime_ns
    code, output = flawsight(*arguments, "--lora-rank", 2)
    assert code == 0
    assert "at best (step 2)" in output
    assert (out / "checkpoint.pt").stat().st_mtime_ns == before
    code, output = flawsight(*arguments, "--lora-rank", 4)
    assert code == 2
    assert "settings.lora_rank" in output
    further = ("train", "--data", photos, "--adapter", out / "best", "--steps", 1, *SMALL)
    code, output = flawsight(*further, "--out", tmp_path / "further")
    assert code == 0
    about = json.loads((tmp_path / "further/run.json").read_text())
    assert about["settings"]["lora_rank"] == 2
    assert about["adapter"]["name"] == str(out / "best")
    code, output = flawsight(*further, "--out", tmp_path / "other", "--lora-rank", 4)
    assert code == 2
    assert "lora_rank 2, the training 4" in output
    code, output = flawsight(*further[:3], "--adapter", photos)
    assert code == 2
    assert "adapter_config.json" in output


def test_a_refused_upload_loses_nothing_and_is_made_up_for(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    push = ("train", "--data", photos, "--out", out, "--steps", 1, *SMALL,
            "--push-to-hub", "acme/line3", "--tracker", "none")  # fmt: skip
    with running_hub() as hub:
        use_hub(hub, tmp_path / "cache", monkeypatch, token=None)
        code, output = flawsight(*push)
        assert (code, out.exists()) == (2, False)
        assert "you are not logged in" in output
        use_hub(hub, tmp_path / "cache", monkeypatch)
        hub.refused = ("/commit/",)
        code, output = flawsight(*push)
        assert code == 2
        assert f"{out / 'best'} is written and complete" in output
        hub.refused = ()
        saved = (out / "checkpoint.pt").stat().st_mtime_ns
        code, output = flawsight(*push)
        assert code == 0
        assert f"Uploaded: {hub.url}/acme/line3" in output
        assert (out / "checkpoint.pt").stat().st_mtime_ns == saved
        stored = hub.repositories["acme/line3"]
        best = (out / "best/adapter_model.safetensors").read_bytes()
        assert stored["adapter_model.safetensors"] == best
        assert b"model-index" in stored["README.md"]


def test_dry_run_prints_the_reward_table_and_trains_nothing(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    code, output = flawsight("train", "--data", photos, "--out", out, "--dry-run", *SMALL)
    assert code == 0
    for heading in ("R_fmt", "R_acc", "R_cons", "J", "compared:", "<think>", "defective", "normal"):
        assert heading in output
    assert "candidates that all earn the same" in output
    assert not out.exists()
    code, output = flawsight("train", "--data", photos, "--dry-run", "--reward", "r1", *SMALL)
    assert code == 0
    assert "R_cons" not in output


def test_dry_run_warns_of_a_model_that_never_writes_the_form(
    photos: Path, tiny_checkpoint: Path
) -> None:
    code, output = flawsight(
        "train", "--data", photos, "--model", tiny_checkpoint, "--dry-run", *SMALL
    )
    assert code == 0
    assert "Warning: the model never wrote" in output


def test_a_config_file_and_flags_that_win(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Any] = []
    module = sys.modules["flawsight.cli.train_command"]  # its name is also the verb's
    original = module._read_settings

    def read_and_stop(*arguments: Any) -> None:
        read.extend(original(*arguments))
        raise typer.Exit

    monkeypatch.setattr(module, "_read_settings", read_and_stop)
    config = tmp_path / "config.yaml"
    config.write_text(
        "steps: 7\nlearning_rate: 1e-3\nfeatures: disk\nreward: r1\n"
        "inspection:\n  max_new_tokens: 99\n  alpha: 2\n"
    )
    code, _ = flawsight(
        "train", "--data", photos, "--config", config, "--preset", "paper-3b", "--steps", 9,
        "--defective-share", 0.25, "--set", "max_new_tokens=50", "--no-recompute-mlps",
    )  # fmt: skip
    assert code == 0
    model, inspection, settings = read
    assert (settings.steps, settings.learning_rate, settings.reward) == (9, 1e-3, "r1")
    assert settings.defective_share == 0.25
    assert settings.features == "disk"
    assert not settings.recompute_mlps
    assert (inspection.max_new_tokens, inspection.alpha) == (50, 2)
    assert model == "Qwen/Qwen2.5-VL-3B-Instruct"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--reward", "r2"], "reward is 'r2'"),
        (["--preset", "nope"], "no preset"),
        (["--candidates", 1], "candidates is 1"),
        (["--set", "nope=1"], "Unknown settings: nope"),
        (["--tracker", "nope"], "tracker 'nope' is not known"),
        (["--images-per-step", 3], "multiple of images_per_forward"),
        (["--model", "/nowhere"], "no folder /nowhere"),
    ],
)
def test_wrong_arguments_end_with_2(
    photos: Path, tmp_path: Path, arguments: list[object], complaint: str
) -> None:
    code, output = flawsight(
        "train", "--data", photos, "--out", tmp_path / "run", *SMALL, *arguments
    )
    assert code == 2
    assert complaint in output


def test_wrong_data_ends_with_2_before_a_model_is_loaded(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f"path,label\n{photos}/good/0.png,godo\n")
    code, output = flawsight("train", "--data", tmp_path / "list.csv", "--model", "/nowhere")
    assert code == 2
    assert "godo" in output
    (tmp_path / "bad.yaml").write_text("steps: [")
    code, output = flawsight("train", "--data", photos, "--config", tmp_path / "bad.yaml")
    assert code == 2
    assert "Cannot read the settings" in output
    broken = make_photos(tmp_path / "broken", 3, 3)
    (broken / "bad/0.png").write_bytes(b"")
    code, output = flawsight("train", "--data", broken, "--model", "/nowhere", *SMALL)
    assert code == 2
    assert "1 of 6 images cannot be read" in output


def test_the_command_line_loads_no_torch() -> None:
    code = "import flawsight.cli, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
