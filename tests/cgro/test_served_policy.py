"""Candidates from a real server on loopback that loads the adapters it is sent, as vLLM does."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from flawsight.endpoint.generator import ServedGenerator
from flawsight.errors import DetectorError
from flawsight.mllm.encode import encode_prompts
from flawsight.mllm.generate import respond
from flawsight.mllm.load import load_mllm
from helpers.chat_server import chat_server
from helpers.training import INSPECTION, make_photos, run, weights


def test_each_step_samples_with_the_weights_of_the_step_before(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    photos, out = make_photos(tmp_path / "line"), tmp_path / "run"
    loaded: dict[str, Any] = {}
    adapters: list[dict[str, torch.Tensor]] = []

    def sample(image: Image.Image, body: dict[str, Any]) -> str:
        name = body["model"]
        folder = running.adapters[name]  # a KeyError, and so status 500, if it was not sent
        if name not in loaded:
            adapters.append(load_file(Path(folder) / "adapter_model.safetensors"))
            loaded[name] = load_mllm(tiny_checkpoint, adapter=folder, device="cpu")
        mllm = loaded[name]
        inputs = encode_prompts(mllm, [image.convert("RGB")], INSPECTION).inputs
        torch.manual_seed(body["seed"] % 2**63)
        [ids], _ = respond(mllm, inputs, body["max_tokens"], body["temperature"])
        text: str = mllm.processor.tokenizer.decode(ids, skip_special_tokens=True)
        return text

    with chat_server(lambda _: "") as running:
        running.sample = sample
        generator = ServedGenerator(running.base_url, "none yet", concurrency=2, retries=0)
        _, steps = run(tiny_checkpoint, photos, out, generator=generator, steps=3)
        assert len(running.requests) == 3 * 4 * 3
        assert len({request["seed"] for request in running.requests}) == 36
        assert {request["temperature"] for request in running.requests} == {1.0}
        assert list(running.adapters) == [running.requests[-1]["model"]]
    assert len(adapters) == 3
    # LoRA's B begins at 0, and then moves.
    assert all(value.abs().sum() == 0 for name, value in adapters[0].items() if "lora_B" in name)
    assert any(not torch.equal(adapters[2][name], value) for name, value in adapters[1].items())
    assert [path.name for path in (out / "served").iterdir()] == list(running.adapters)
    assert all(torch.isfinite(value).all() for value in weights(out).values())
    assert [step for step, _ in steps] == [0, 1, 2, 3]


def test_a_server_that_takes_no_adapters_is_explained(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    photos = make_photos(tmp_path / "line")
    generator = ServedGenerator("http://127.0.0.1:9/v1", "none", retries=0)
    with pytest.raises(DetectorError, match="VLLM_ALLOW_RUNTIME_LORA_UPDATING"):
        run(tiny_checkpoint, photos, tmp_path / "run", generator=generator, steps=1)
