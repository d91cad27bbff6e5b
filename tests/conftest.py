"""Fixtures shared by the tests: checkpoints on disk and the models loaded from them."""

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import save_torch_state_dict
from hypothesis import settings
from transformers import AttentionInterface

from flawsight.inspection import Inspection
from flawsight.inspector import Inspector
from flawsight.io.find_images import find_images
from flawsight.mllm.load import MLLM, load_mllm
from helpers.browsing import CHROMIUM
from helpers.bundled import FEW
from helpers.checkpoints import (
    FIRST_REAL_SPECIAL,
    REAL_VOCABULARY,
    published_config,
    published_weights,
    random_model,
    tiny_config,
    tiny_tokenizer,
    write_json,
    write_processor,
)
from helpers.flash import fake_flash
from helpers.hub_server import Hub, running_hub, use_hub


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--write-table`: write the families' table of docs/real-models.md instead of checking it."""
    parser.addoption("--write-table", action="store_true")


# A busy machine may take long over one example; that is no failure.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

LAYOUTS = [
    ("chat_template.json", "sharded"),
    ("chat_template.jinja", "single"),
    ("tokenizer_config.json", "single"),
]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A stand-in for the Hugging Face hub, where the user is logged in."""
    with running_hub() as running:
        use_hub(running, tmp_path / "cache", monkeypatch)
        yield running


@pytest.fixture(scope="session")
def answered_samples() -> list[Path]:
    """The sample images that the bundled model answers for with `FEW`; some it ends too early."""
    paths = find_images([Path(__file__).parents[1] / "samples/*.jpg"])
    outcomes = Inspector.from_pretrained(device="cpu", settings=FEW).inspect_batch(paths)
    answered = [
        path
        for path, outcome in zip(paths, outcomes, strict=True)
        if isinstance(outcome, Inspection)
    ]
    assert len(answered) > len(paths) / 2
    return answered


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Here and in the processes that tests start: two suites run side by side on two cores."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as transformers 5 saves it: patch 14, merge 2, grouped queries, untied head."""
    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = tiny_tokenizer()
    random_model(tokenizer, tiny_config(tokenizer)).save_pretrained(folder)
    write_processor(folder, tokenizer, "chat_template.jinja")
    return folder


@pytest.fixture(scope="session")
def tiny_mllm(tiny_checkpoint: Path) -> MLLM:
    return load_mllm(tiny_checkpoint, device="cpu")


@pytest.fixture
def flash_mllm(tiny_checkpoint: Path) -> Iterator[MLLM]:
    """A model whose language layers believe that flash attention is installed."""
    registry = AttentionInterface()
    original = registry["flash_attention_2"]
    registry.register("flash_attention_2", fake_flash)
    mllm = load_mllm(tiny_checkpoint, device="cpu")
    # The setter would ask for the package; the mask function of this name is flash attention's.
    language_model = mllm.model.model.language_model
    language_model.config._attn_implementation_internal = "flash_attention_2"
    yield dataclasses.replace(mllm, attention="flash_attention_2")
    registry.register("flash_attention_2", original)


@pytest.fixture
def broken_checkpoint(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of the tiny checkpoint that a test may spoil."""
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "broken"))


@pytest.fixture(scope="session")
def _real_parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, torch.Tensor]]:
    folder = tmp_path_factory.mktemp("real_parts")
    tokenizer = tiny_tokenizer(FIRST_REAL_SPECIAL)
    config = tiny_config(tokenizer, vocab_size=REAL_VOCABULARY, hidden_size=16, num_hidden_layers=1,
                         num_attention_heads=2, num_key_value_heads=1)  # fmt: skip
    config.text_config.vocab_size = REAL_VOCABULARY
    write_processor(folder, tokenizer, "tokenizer_config.json")
    write_json(folder / "config.json", published_config(config))
    write_json(
        folder / "generation_config.json",
        {
            "bos_token_id": 151643,
            "pad_token_id": 151643,
            "do_sample": True,
            "eos_token_id": [151645, 151643],
            "repetition_penalty": 1.05,
            "temperature": 0.000001,
            "transformers_version": "4.49.0",
        },
    )
    return folder, published_weights(random_model(tokenizer, config))


@pytest.fixture(scope="session", params=LAYOUTS, ids=lambda layout: "-".join(layout))
def real_layout_checkpoint(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    _real_parts: tuple[Path, dict[str, torch.Tensor]],
) -> Path:
    """A folder with the files, names and token ids of the published Qwen2.5-VL-3B-Instruct."""
    template_in, weights_in = request.param
    parts, weights = _real_parts
    folder = tmp_path_factory.mktemp("real_layout") / "checkpoint"
    shutil.copytree(parts, folder)
    if template_in != "tokenizer_config.json":
        move_chat_template(folder, template_in)
    size = "2MB" if weights_in == "sharded" else "5GB"
    save_torch_state_dict(weights, folder, max_shard_size=size)
    return folder


def move_chat_template(folder: Path, template_in: str) -> None:
    """Take the chat template out of tokenizer_config.json, into the file called `template_in`."""
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    template = settings.pop("chat_template")
    write_json(path, settings)
    if template_in.endswith(".jinja"):
        (folder / template_in).write_text(template)
    else:
        write_json(folder / template_in, {"chat_template": template})


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()
