"""Damaged and foreign folders: each is refused at load, with the file at fault."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flawsight.errors import ModelError, SettingsError
from flawsight.mllm.load import load_mllm
from flawsight.mllm.replay import replay
from flawsight.settings import Settings
from helpers.checkpoints import photo, tiny_tokenizer, write_adapter, write_json
from helpers.generating import generate
from helpers.reference import Reference, assert_same

SETTINGS = Settings(image_tokens=16, max_new_tokens=3)


def edited(folder: Path, name: str, *keys: str, value: Any) -> None:
    """Set one value in a JSON file, at the end of the path of keys."""
    values = json.loads((folder / name).read_text())
    inner = values
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    write_json(folder / name, values)


TEXT, VISION = ("config.json", "text_config"), ("config.json", "vision_config")
IMAGES = "preprocessor_config.json"
EDITS: list[tuple[tuple[str, ...], Any]] = [
    ((*TEXT, "hidden_size"), 10_000),
    ((*TEXT, "vocab_size"), -1),
    ((*TEXT, "num_hidden_layers"), 10**12),
    ((*TEXT, "num_attention_heads"), 0),
    ((*TEXT, "num_key_value_heads"), 10**9),
    ((*TEXT, "rope_parameters"), {}),
    ((*TEXT, "hidden_act"), "no such"),
    ((*VISION, "depth"), 10**12),
    ((*VISION, "window_size"), 0),
    ((*VISION, "num_heads"), 3),
    ((*VISION, "spatial_merge_size"), 0),
    (("config.json", "text_config"), [1]),
    (("config.json", "image_token_id"), 402),
    ((IMAGES, "patch_size"), 7),
    ((IMAGES, "min_pixels"), 10**15),
    ((IMAGES, "max_pixels"), "many"),
    (("generation_config.json", "eos_token_id"), "<|im_end|>"),
    (("tokenizer.json", "model"), None),
    (("tokenizer_config.json", "added_tokens_decoder"), 5),
]


@pytest.mark.parametrize(("keys", "value"), EDITS, ids=str)
def test_a_senseless_value_is_refused_with_its_file(
    broken_checkpoint: Path, keys: tuple[str, ...], value: Any
) -> None:
    edited(broken_checkpoint, *keys, value=value)
    with pytest.raises(ModelError, match=keys[0]):
        load_mllm(broken_checkpoint, device="cpu")


CONTENTS = [b"", b"[]", b"null", b'{"a": "\xff"}', b'{"a":' * 3000]


@pytest.mark.parametrize("content", CONTENTS, ids=["empty", "list", "null", "not UTF-8", "deep"])
def test_a_damaged_file_is_refused_by_name(broken_checkpoint: Path, content: bytes) -> None:
    for path in sorted(broken_checkpoint.iterdir()):
        if path.suffix == ".jinja":
            continue
        sound = path.read_bytes()
        path.write_bytes(content)
        with pytest.raises(ModelError, match=path.name):
            load_mllm(broken_checkpoint, device="cpu")
        path.unlink()
        path.mkdir()
        with pytest.raises(ModelError, match=path.name):
            load_mllm(broken_checkpoint, device="cpu")
        path.rmdir()
        path.write_bytes(sound)
    load_mllm(broken_checkpoint, device="cpu")


@pytest.mark.parametrize("shard", ["../tiny/model.safetensors", "no.safetensors", "x.bin", None])
def test_shards_lie_in_the_folder(broken_checkpoint: Path, shard: str | None) -> None:
    """Weights elsewhere would not be in the hash."""
    (broken_checkpoint / "model.safetensors").rename(broken_checkpoint / "a.safetensors")
    weights = {} if shard is None else {"lm_head.weight": shard}
    index = broken_checkpoint / "model.safetensors.index.json"
    write_json(index, {"metadata": {}, "weight_map": weights})
    with pytest.raises(ModelError, match=rf"index\.json (has no|names {shard})"):
        load_mllm(broken_checkpoint, device="cpu")


def test_a_tokenizer_of_more_tokens_than_embeddings_is_refused(broken_checkpoint: Path) -> None:
    tiny_tokenizer(1000).save_pretrained(broken_checkpoint)
    with pytest.raises(ModelError, match=r"tokenizer\.json .* tokens up to 1013.* 402 embeddings"):
        load_mllm(broken_checkpoint, device="cpu")


def test_an_adapter_in_the_model_s_folder_is_refused(
    tiny_checkpoint: Path, broken_checkpoint: Path
) -> None:
    write_adapter(broken_checkpoint, tiny_checkpoint)
    with pytest.raises(ModelError, match=r"adapter_config\.json\); move the adapter"):
        load_mllm(broken_checkpoint, device="cpu")


def test_a_sliding_window_shorter_than_the_prompt_is_traced(broken_checkpoint: Path) -> None:
    edited(broken_checkpoint, *TEXT, "use_sliding_window", value=True)
    edited(broken_checkpoint, *TEXT, "max_window_layers", value=1)
    edited(broken_checkpoint, *TEXT, "layer_types", value=None)
    edited(broken_checkpoint, *TEXT, "sliding_window", value=24)
    mllm, reference = load_mllm(broken_checkpoint, device="cpu"), Reference(broken_checkpoint)
    assert set(mllm.model.config.text_config.layer_types) == {"full_attention", "sliding_attention"}
    some = replace(SETTINGS, image_tokens=None)
    photos = [photo(112, 84), photo(84, 140, 2)]
    for image, trace in zip(photos, generate(mllm, photos, some), strict=True):
        ids = reference.respond(image, SETTINGS.max_new_tokens)
        expected = reference.trace(image, ids)
        assert_same(trace, expected)
        [again] = replay(mllm, [image], [ids], some)
        assert_same(again, expected)
    with pytest.raises(SettingsError, match=r"sliding window.*--attention sdpa"):
        generate(replace(mllm, attention="flash_attention_2"), photos, SETTINGS)
