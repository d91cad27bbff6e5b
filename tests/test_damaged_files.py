"""Calibration, prior, trace and adapter: whatever the damage, an error that names it or a value."""

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flawsight.calibration import Calibration
from flawsight.cgro.policy import make_trainable
from flawsight.errors import FlawsightError
from flawsight.inspector import Inspector
from flawsight.mllm.load import MLLM, load_mllm
from flawsight.refine.attention_prior import FILE, load_prior
from flawsight.runs.trace_store import load_trace, save_trace
from flawsight.settings import Settings
from helpers.checkpoints import photo
from helpers.damage import damage

FEW = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


def survives(read: Callable[[], Any]) -> None:
    with suppress(FlawsightError):
        read()


@FEW
@given(data=st.data())
def test_a_damaged_calibration(tmp_path: Path, data: st.DataObject) -> None:
    model = {"name": "some", "sha256": "a" * 64}
    options = Settings().to_json()
    made = Calibration(
        format=2, created="2026-11-30T10:00:00Z", false_alarm_rate=0.05, thresholds={"all": 0.7},
        region_thresholds={"all": 0.4}, counts={"all": 20}, model=model, settings=options,
    )  # fmt: skip
    path = tmp_path / "calibration.json"
    made.save(path)
    damage(data, path)

    def read() -> None:
        found = Calibration.load(path)
        assert 0 <= found.threshold(None) <= 1
        found.region_threshold(None)
        found.check(model["sha256"], options, None)
        found.save(path)

    survives(read)


@FEW
@given(data=st.data())
def test_a_damaged_prior(tmp_path: Path, data: st.DataObject) -> None:
    bundled = Inspector.from_pretrained(device="cpu") if not _BUNDLED else _BUNDLED[0]
    _BUNDLED[:] = [bundled]
    shutil.copy(bundled.mllm.folder / FILE, tmp_path / FILE)
    damage(data, tmp_path / FILE)
    survives(lambda: load_prior(tmp_path, bundled.mllm.sha256))


_BUNDLED: list[Inspector] = []


@FEW
@given(data=st.data())
def test_a_damaged_trace_is_made_again(
    tmp_path: Path, tiny_mllm: MLLM, data: st.DataObject
) -> None:
    if not _TRACES:
        inspector = Inspector(tiny_mllm, Settings(image_tokens=12, max_new_tokens=8))
        _TRACES.append(inspector.trace(inspector.prepare([photo(60, 60)])).traces[0])
    path = tmp_path / "trace.npz"
    save_trace(path, _TRACES[0])
    damage(data, path)
    found = load_trace(path)
    assert found is None or isinstance(found.image_attention, torch.Tensor)


_TRACES: list[Any] = []


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_adapter(tmp_path: Path, tiny_checkpoint: Path, data: st.DataObject) -> None:
    whole, folder = tmp_path / "whole", tmp_path / "adapter"
    if not whole.exists():
        trained = make_trainable(load_mllm(tiny_checkpoint, device="cpu"), 2, 4, 0)
        trained.model.save_pretrained(whole)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    name = data.draw(st.sampled_from(["adapter_config.json", "adapter_model.safetensors"]))
    damage(data, folder / name)
    survives(lambda: load_mllm(tiny_checkpoint, adapter=folder, device="cpu"))
    assert json.loads((whole / "adapter_config.json").read_text())["r"] == 2
