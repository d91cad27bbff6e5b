"""Every layout of a checkpoint that people have loads; a broken one is refused with a reason."""

import hashlib
import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen2_5_VLForConditionalGeneration

from flawsight.errors import ModelError, SettingsError
from flawsight.mllm.encode import encode_prompts
from flawsight.mllm.load import DEFAULT_MODEL, MLLM, load_mllm
from flawsight.mllm.model_folder import hash_files, model_files
from flawsight.mllm.replay import replay
from flawsight.settings import Settings
from helpers.checkpoints import (
    edit_json,
    photo,
    random_model,
    tiny_config,
    tiny_tokenizer,
    write_adapter,
    write_json,
)
from helpers.generating import generate
from helpers.reference import assert_same

SETTINGS = Settings(image_tokens=16, max_new_tokens=3)


@pytest.fixture(scope="module")
def real_mllm(real_layout_checkpoint: Path) -> MLLM:
    return load_mllm(real_layout_checkpoint, device="cpu")


def edit_weights(folder: Path, **changes: torch.Tensor | None) -> None:
    """Replace tensors of the model in `folder`, or leave out those that are None."""
    path = folder / "model.safetensors"
    weights = {**load_file(path), **changes}
    weights = {name: value for name, value in weights.items() if value is not None}
    save_file(weights, path, metadata={"format": "pt"})


def test_a_published_layout_generates_and_replays(real_mllm: MLLM) -> None:
    [trace] = generate(real_mllm, [photo(100, 100)], SETTINGS)
    assert trace.image_attention.shape == (3, 4, 4)
    [again] = replay(real_mllm, [photo(100, 100)], ["<think>A dent.</think>"], SETTINGS)
    assert again.text == "<think>A dent.</think>"


def test_a_photo_of_420_pixels_gives_a_grid_of_15_by_15_tokens(real_mllm: MLLM) -> None:
    for settings in (Settings(), Settings(image_tokens=None)):
        prompts = encode_prompts(real_mllm, [photo(420, 420)], settings)
        assert [grid.shape for grid in prompts.grids] == [(15, 15)]
        assert (prompts.inputs["input_ids"] == 151655).sum() == 225


def test_a_larger_square_photo_is_scaled_to_225_tokens(real_mllm: MLLM) -> None:
    prompts = encode_prompts(real_mllm, [photo(1000, 1000), photo(50, 50)], Settings())
    assert [grid.shape for grid in prompts.grids] == [(15, 15), (15, 15)]


def test_a_published_layout_keeps_its_token_ids_and_ends(real_mllm: MLLM) -> None:
    tokenizer = real_mllm.processor.tokenizer
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|image_pad|>"]
    assert tokenizer.convert_tokens_to_ids(tokens) == [151643, 151644, 151645, 151652, 151655]
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (151643, 151645)
    assert real_mllm.model.generation_config.eos_token_id == [151645, 151643]


def test_a_published_layout_puts_the_default_system_turn_first(real_mllm: MLLM) -> None:
    prompts = encode_prompts(real_mllm, [photo(56, 56)], SETTINGS)
    text = real_mllm.processor.tokenizer.decode(prompts.inputs["input_ids"][0])
    assert text.startswith("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n")
    assert text.endswith("<|im_end|>\n<|im_start|>assistant\n")


def test_generation_settings_of_the_checkpoint_never_leak_in(
    broken_checkpoint: Path, tiny_mllm: MLLM
) -> None:
    plain = generate(tiny_mllm, [photo(112, 84)], SETTINGS)
    edit_json(
        broken_checkpoint / "generation_config.json",
        num_beams=3,
        num_return_sequences=2,
        no_repeat_ngram_size=1,
        repetition_penalty=3.0,
        min_new_tokens=9,
        max_new_tokens=2,
        bad_words_ids=[[token] for token in range(30, 60)],
        stop_strings=["a", "e"],
        do_sample=True,
        temperature=9.0,
        min_p=0.2,
        suppress_tokens=[60, 61, 62],
    )
    mllm = load_mllm(broken_checkpoint, device="cpu")
    assert mllm.model.generation_config.eos_token_id == (
        tiny_mllm.model.generation_config.eos_token_id
    )
    for trace, expected in zip(generate(mllm, [photo(112, 84)], SETTINGS), plain, strict=True):
        assert_same(trace, expected)


def test_nulls_of_a_checkpoint_mean_the_default(broken_checkpoint: Path, tiny_mllm: MLLM) -> None:
    nulls = ("eos_token_id", "pad_token_id", "temperature", "top_k", "repetition_penalty")
    edit_json(broken_checkpoint / "generation_config.json", **dict.fromkeys(nulls))
    edit_json(broken_checkpoint / "tokenizer_config.json", pad_token=None, chat_template=None)
    mllm = load_mllm(broken_checkpoint, device="cpu")
    assert mllm.end_tokens <= tiny_mllm.end_tokens
    photos = [photo(112, 84), photo(84, 140, 2)]
    expected = generate(tiny_mllm, photos, SETTINGS)
    for trace, one in zip(generate(mllm, photos, SETTINGS), expected, strict=True):
        assert_same(trace, one)


# What transformers refuses as null, or takes for another value.
NULLS = {
    "config.json": [
        *("tie_word_embeddings", "video_token_id", "auto_map", "torch_dtype", "return_dict"),
        *(("text_config", n) for n in ("hidden_act", "use_cache", "rms_norm_eps", "rope_scaling")),
        *(("text_config", n) for n in ("sliding_window", "use_sliding_window", "layer_types")),
        ("text_config", "rope_parameters", "rope_type"),
        *(("vision_config", n) for n in ("window_size", "patch_size", "spatial_merge_size")),
    ],
    "preprocessor_config.json": [
        *("size", "patch_size", "merge_size", "temporal_patch_size", "image_mean", "image_std"),
        *("do_resize", "do_rescale", "do_normalize", "resample", "rescale_factor", "min_pixels"),
    ],
    "tokenizer_config.json": ["padding_side", "split_special_tokens", "auto_map"],
}


def test_nulls_of_configs_mean_the_default(broken_checkpoint: Path, tiny_mllm: MLLM) -> None:
    for name, keys in NULLS.items():
        values = json.loads((broken_checkpoint / name).read_text())
        for key in keys:
            *parts, last = [key] if isinstance(key, str) else key
            inner = values
            for part in parts:
                inner = inner[part]
            inner[last] = None
        write_json(broken_checkpoint / name, values)
    mllm = load_mllm(broken_checkpoint, device="cpu")
    [expected] = generate(tiny_mllm, [photo(112, 84)], SETTINGS)
    [trace] = generate(mllm, [photo(112, 84)], SETTINGS)
    assert_same(trace, expected)


def test_nulls_of_an_adapter_mean_the_default(tiny_checkpoint: Path, tmp_path: Path) -> None:
    write_adapter(tmp_path, tiny_checkpoint)
    nulls = ("lora_alpha", "lora_dropout", "bias", "alpha_pattern", "rank_pattern")
    edit_json(tmp_path / "adapter_config.json", **dict.fromkeys(nulls))
    mllm = load_mllm(tiny_checkpoint, adapter=tmp_path, device="cpu")
    assert mllm.model.peft_config["default"].lora_alpha == 8


def test_the_image_processor_of_february_2025_is_qwen2_vl_s(
    broken_checkpoint: Path, tiny_mllm: MLLM
) -> None:
    edit_json(
        broken_checkpoint / "preprocessor_config.json",
        image_processor_type="Qwen2_5_VLImageProcessor",
    )
    mllm = load_mllm(broken_checkpoint, device="cpu")
    expected = encode_prompts(tiny_mllm, [photo(112, 84)], SETTINGS).inputs
    found = encode_prompts(mllm, [photo(112, 84)], SETTINGS).inputs
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def test_stock_transformers_loads_the_same_weights(
    real_mllm: MLLM, real_layout_checkpoint: Path
) -> None:
    stock = Qwen2_5_VLForConditionalGeneration.from_pretrained(
        real_layout_checkpoint, dtype=torch.float32
    )
    ours = real_mllm.model.state_dict()
    for name, value in stock.state_dict().items():
        assert torch.equal(ours[name], value), name
    head = real_mllm.model.get_output_embeddings().weight
    assert head.data_ptr() == real_mllm.model.get_input_embeddings().weight.data_ptr()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_runs_on_a_cpu(tiny_checkpoint: Path, dtype: str) -> None:
    mllm = load_mllm(tiny_checkpoint, device="cpu", dtype=dtype)
    assert mllm.model.dtype == getattr(torch, dtype)
    [trace] = generate(mllm, [photo(112, 112)], SETTINGS)
    assert trace.image_attention.dtype == torch.float32
    assert trace.image_attention.isfinite().all()


def sha256sum(paths: list[Path]) -> str:
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in paths]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def test_the_hash_is_of_all_files_that_are_read(
    tiny_checkpoint: Path, broken_checkpoint: Path, tmp_path: Path
) -> None:
    original = load_mllm(tiny_checkpoint, device="cpu").sha256
    assert original == sha256sum(sorted(tiny_checkpoint.iterdir()))
    for name in ("README.md", "attention_prior.npz", "optimizer.pt"):
        (broken_checkpoint / name).write_bytes(b"x")
    assert hash_files(model_files(broken_checkpoint)) == original
    hashes = {original}
    for path in sorted(tiny_checkpoint.iterdir()):
        (broken_checkpoint / path.name).write_bytes(path.read_bytes() + b" ")
        hashes.add(hash_files(model_files(broken_checkpoint)))
    assert len(hashes) == 8
    write_adapter(tmp_path / "adapter", tiny_checkpoint)
    for alpha in (8, 16):
        edit_json(tmp_path / "adapter/adapter_config.json", lora_alpha=alpha)
        adapted = load_mllm(tiny_checkpoint, adapter=tmp_path / "adapter", device="cpu")
        hashes.add(adapted.sha256)
    assert len(hashes) == 10


def test_the_bundled_model_keeps_the_hash_of_version_0_1_until_a_file_changes(
    tmp_path: Path,
) -> None:
    weights = hashlib.sha256((DEFAULT_MODEL / "model.safetensors").read_bytes()).hexdigest()
    copy = Path(shutil.copytree(DEFAULT_MODEL, tmp_path / "copy"))
    assert hash_files(model_files(copy)) == weights
    edit_json(copy / "config.json", torch_dtype="float32")
    assert hash_files(model_files(copy)) != weights


@pytest.mark.parametrize("name", ["no/such/folder", "/no/such", "nothing", Path("a/b")])
def test_a_missing_folder_is_named(name: str | Path) -> None:
    with pytest.raises(ModelError, match=f"There is no folder {name}"):
        load_mllm(name, device="cpu")


def test_a_hub_name_without_network_is_explained(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"no folder someone/some-model\. .*HF_HUB_OFFLINE"):
        load_mllm("someone/some-model", device="cpu")


def test_a_hub_name_is_fetched(monkeypatch: pytest.MonkeyPatch, tiny_checkpoint: Path) -> None:
    fetched: list[str] = []

    def fetch_files(name: str, patterns: list[str]) -> Path:
        fetched.append(name)
        return tiny_checkpoint

    monkeypatch.setattr("flawsight.mllm.load.fetch_files", fetch_files)
    assert load_mllm("someone/some-model", device="cpu").name == "someone/some-model"
    assert fetched == ["someone/some-model"]


def test_a_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no model folder.*no config\.json"):
        load_mllm(tmp_path, device="cpu")


@pytest.mark.parametrize("text", ["{", "[]", '"qwen2_5_vl"', "\x80"])
def test_a_config_that_is_no_json_object_is_refused(broken_checkpoint: Path, text: str) -> None:
    (broken_checkpoint / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ModelError, match=r"config\.json"):
        load_mllm(broken_checkpoint, device="cpu")


def test_another_architecture_is_named(broken_checkpoint: Path) -> None:
    edit_json(broken_checkpoint / "config.json", model_type="llava")
    with pytest.raises(ModelError, match=r"'llava' model.*Qwen2\.5-VL"):
        load_mllm(broken_checkpoint, device="cpu")


def test_truncated_weights_are_refused(broken_checkpoint: Path) -> None:
    path = broken_checkpoint / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ModelError, match=r"model\.safetensors is damaged"):
        load_mllm(broken_checkpoint, device="cpu")


def test_a_folder_without_weights_is_refused(broken_checkpoint: Path) -> None:
    (broken_checkpoint / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"no \.safetensors file"):
        load_mllm(broken_checkpoint, device="cpu")


def test_a_missing_shard_is_refused(real_layout_checkpoint: Path, tmp_path: Path) -> None:
    shards = sorted(real_layout_checkpoint.glob("model-*.safetensors"))
    if not shards:
        pytest.skip("this layout has one file")
    folder = Path(shutil.copytree(real_layout_checkpoint, tmp_path / "copy"))
    (folder / shards[-1].name).unlink()
    with pytest.raises(ModelError, match=shards[-1].name):
        load_mllm(folder, device="cpu")


@pytest.mark.parametrize(
    "name", ["model.layers.1.self_attn.q_proj.weight", "lm_head.weight", "model.norm.weight"]
)
def test_a_missing_tensor_is_named(broken_checkpoint: Path, name: str) -> None:
    edit_weights(broken_checkpoint, **{name: None})
    with pytest.raises(ModelError, match=f"missing: .*{name.removeprefix('model.')} "):
        load_mllm(broken_checkpoint, device="cpu")


def test_a_tensor_of_another_shape_is_refused(broken_checkpoint: Path) -> None:
    edit_weights(broken_checkpoint, **{"model.norm.weight": torch.ones(31)})
    with pytest.raises(ModelError, match=r"norm\.weight is \(31,\), not \(32,\)"):
        load_mllm(broken_checkpoint, device="cpu")


def test_an_extra_tensor_is_tolerated(broken_checkpoint: Path) -> None:
    edit_weights(broken_checkpoint, **{"rotary.inv_freq": torch.ones(4)})
    load_mllm(broken_checkpoint, device="cpu")


def test_a_missing_chat_template_is_refused(broken_checkpoint: Path) -> None:
    (broken_checkpoint / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match="no chat template"):
        load_mllm(broken_checkpoint, device="cpu")


def test_a_chat_template_that_takes_no_image_is_refused(broken_checkpoint: Path) -> None:
    text = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    (broken_checkpoint / "chat_template.jinja").write_text(text)
    with pytest.raises(ModelError, match="makes no place for an image"):
        load_mllm(broken_checkpoint, device="cpu")


def test_a_chat_template_that_fails_is_refused(broken_checkpoint: Path) -> None:
    text = "{{ raise_exception('Roles must alternate.') }}"
    (broken_checkpoint / "chat_template.jinja").write_text(text)
    with pytest.raises(ModelError, match=r"chat template in .* fails: Roles must alternate"):
        load_mllm(broken_checkpoint, device="cpu")


def test_a_missing_image_processor_is_refused(broken_checkpoint: Path) -> None:
    (broken_checkpoint / "preprocessor_config.json").unlink()
    with pytest.raises(ModelError, match=r"Cannot load.*preprocessor_config\.json"):
        load_mllm(broken_checkpoint, device="cpu")


def test_an_adapter_folder_without_its_config_is_refused(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=r"no PEFT adapter: it has no adapter_config\.json"):
        load_mllm(tiny_checkpoint, adapter=tmp_path, device="cpu")


def test_pickled_weights_are_refused(
    broken_checkpoint: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    write_adapter(tmp_path, tiny_checkpoint)
    (tmp_path / "adapter_model.safetensors").rename(tmp_path / "adapter_model.bin")
    with pytest.raises(ModelError, match=r"\.bin"):
        load_mllm(tiny_checkpoint, adapter=tmp_path, device="cpu")
    for path in broken_checkpoint.glob("*.safetensors"):
        path.rename(path.with_suffix(".bin"))
    with pytest.raises(ModelError, match=r"convert them to \.safetensors"):
        load_mllm(broken_checkpoint, device="cpu")


def test_a_missing_adapter_folder_is_named(tiny_checkpoint: Path) -> None:
    with pytest.raises(ModelError, match="There is no folder nowhere"):
        load_mllm(tiny_checkpoint, adapter="nowhere", device="cpu")


def test_an_adapter_given_as_the_model_points_to_the_option(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    write_adapter(tmp_path, tiny_checkpoint)
    with pytest.raises(ModelError, match="use --adapter"):
        load_mllm(tmp_path, device="cpu")


def test_an_adapter_of_another_shape_is_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    other = random_model(tokenizer, tiny_config(tokenizer, hidden_size=48, num_attention_heads=6))
    other.save_pretrained(tmp_path / "other")
    write_adapter(tmp_path / "adapter", tmp_path / "other")
    with pytest.raises(ModelError, match="does not fit the model"):
        load_mllm(tiny_checkpoint, adapter=tmp_path / "adapter", device="cpu")


def test_an_adapter_whose_weights_are_incomplete_or_foreign_is_refused(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    write_adapter(tmp_path, tiny_checkpoint)
    path = tmp_path / "adapter_model.safetensors"
    weights = load_file(path)
    save_file({name.replace("layers.0", "layers.9"): v for name, v in weights.items()}, path)
    with pytest.raises(ModelError, match="does not fit the model"):
        load_mllm(tiny_checkpoint, adapter=tmp_path, device="cpu")


def test_an_adapter_with_the_names_of_older_transformers_is_applied(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    write_adapter(tmp_path, tiny_checkpoint)
    path = tmp_path / "adapter_model.safetensors"
    weights = {name: torch.full_like(value, 0.5) for name, value in load_file(path).items()}
    save_file({n.replace("model.language_model.", "model."): v for n, v in weights.items()}, path)
    mllm = load_mllm(tiny_checkpoint, adapter=tmp_path, device="cpu")
    loaded = [value for name, value in mllm.model.named_parameters() if "lora_" in name]
    assert len(loaded) == len(weights)
    assert all((value == 0.5).all() for value in loaded)


def test_an_adapter_of_more_targets_than_the_model_has_is_refused(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    write_adapter(tmp_path, tiny_checkpoint)
    edit_json(tmp_path / "adapter_config.json", target_modules=["no_such_projection"])
    with pytest.raises(ModelError, match="does not fit the model"):
        load_mllm(tiny_checkpoint, adapter=tmp_path, device="cpu")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("dtype", "int8"),
        ("dtype", "float64"),
        ("device", "abacus"),
        ("device", "cuda:99"),
        ("attention", "eager"),
        ("attention", "telepathy"),
    ],
)
def test_an_unknown_option_is_named(tiny_checkpoint: Path, option: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"{option} '{value}'"):
        load_mllm(tiny_checkpoint, **{"device": "cpu", option: value})


@pytest.mark.skipif(
    torch.cuda.is_available(), reason="with a GPU, flash attention may be installed"
)
def test_flash_attention_without_its_package_is_refused(tiny_checkpoint: Path) -> None:
    with pytest.raises(ModelError, match=r"(?i)flash"):
        load_mllm(tiny_checkpoint, device="cpu", attention="flash_attention_2")


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_broken_weights_are_reported_when_the_model_runs(
    broken_checkpoint: Path, value: float, temperature: float
) -> None:
    edit_weights(broken_checkpoint, **{"model.norm.weight": torch.full((32,), value)})
    mllm = load_mllm(broken_checkpoint, device="cpu")
    settings = Settings(image_tokens=16, max_new_tokens=3, temperature=temperature)
    with pytest.raises(ModelError, match="NaN or infinity"):
        generate(mllm, [photo(112, 112)], settings)
    with pytest.raises(ModelError, match="NaN or infinity"):
        replay(mllm, [photo(112, 112)], ["Yes"], settings)


def test_a_model_is_usable_after_it_failed(broken_checkpoint: Path) -> None:
    mllm = load_mllm(broken_checkpoint, device="cpu")
    norm = mllm.model.model.language_model.norm.weight.data
    sound = norm.clone()
    norm.fill_(float("nan"))
    with pytest.raises(ModelError):
        generate(mllm, [photo(112, 112)], SETTINGS)
    norm.copy_(sound)
    [trace] = generate(mllm, [photo(112, 112)], SETTINGS)
    assert math.isfinite(trace.answer_margin)


def test_the_config_of_a_published_layout_is_flat(real_layout_checkpoint: Path) -> None:
    """The fixtures are worth nothing if they are what transformers 5 writes itself."""
    config = json.loads((real_layout_checkpoint / "config.json").read_text())
    assert "text_config" not in config
    assert config["vocab_size"] == 151936
