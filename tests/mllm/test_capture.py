"""Captured attention rows against eager attention, and against a softmax written out in full."""

import dataclasses
import threading
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from flawsight.errors import ModelError, SettingsError
from flawsight.inspection import Trace
from flawsight.mllm.capture import (
    MOST_SCORES,
    AttentionCapture,
    attention_rows,
    capture_attention,
    chosen_layers,
    decoder_layers,
)
from flawsight.mllm.encode import encode_prompts
from flawsight.mllm.generate import CHECK_EVERY, respond
from flawsight.mllm.load import MLLM, load_mllm
from flawsight.mllm.replay import replay
from flawsight.settings import Settings
from helpers.checkpoints import photo
from helpers.generating import generate
from helpers.reference import Reference, assert_same

SETTINGS = Settings(image_tokens=None, max_new_tokens=12)
# 4×5, 3×6 and 9×7 image tokens: prompts of three lengths, vision windows full and cut.
PHOTOS = [photo(112, 140, 1), photo(84, 168, 2), photo(252, 196, 3)]


@pytest.fixture(scope="module")
def reference(tiny_checkpoint: Path) -> Reference:
    return Reference(tiny_checkpoint)


@pytest.fixture(scope="module")
def responses(reference: Reference) -> list[list[int]]:
    return [reference.respond(image, SETTINGS.max_new_tokens) for image in PHOTOS]


@pytest.fixture(scope="module")
def expected(reference: Reference, responses: list[list[int]]) -> list[Trace]:
    return [reference.trace(image, ids) for image, ids in zip(PHOTOS, responses, strict=True)]


def test_the_random_model_is_a_fair_judge(expected: list[Trace]) -> None:
    assert len({trace.text for trace in expected}) == 3
    for trace in expected:
        maps = trace.image_attention.flatten(1)
        assert (maps.std(dim=1) > 0.2 * maps.mean(dim=1)).all()
        assert (maps[1:] - maps[:-1]).abs().amax(dim=1).min() > 1e-3


@pytest.mark.parametrize("index", range(3))
def test_generation_of_one_image_gives_the_eager_trace(
    tiny_mllm: MLLM, expected: list[Trace], index: int
) -> None:
    [trace] = generate(tiny_mllm, [PHOTOS[index]], SETTINGS)
    assert_same(trace, expected[index])


def test_generation_of_a_batch_of_different_sizes_gives_the_eager_traces(
    tiny_mllm: MLLM, expected: list[Trace]
) -> None:
    for trace, single in zip(generate(tiny_mllm, PHOTOS, SETTINGS), expected, strict=True):
        assert_same(trace, single)


@pytest.mark.parametrize("chosen", [[0], [1], [2], [0, 1, 2], [2, 0]])
def test_replay_gives_the_eager_traces(
    tiny_mllm: MLLM, responses: list[list[int]], expected: list[Trace], chosen: list[int]
) -> None:
    traces = replay(
        tiny_mllm, [PHOTOS[i] for i in chosen], [responses[i] for i in chosen], SETTINGS
    )
    for trace, index in zip(traces, chosen, strict=True):
        assert_same(trace, expected[index])


def test_replay_of_responses_of_different_lengths_gives_the_eager_traces(
    tiny_mllm: MLLM, reference: Reference, responses: list[list[int]]
) -> None:
    cut = [responses[0][:3], responses[1], responses[2][:7]]
    for trace, image, ids in zip(
        replay(tiny_mllm, PHOTOS, cut, SETTINGS), PHOTOS, cut, strict=True
    ):
        assert_same(trace, reference.trace(image, ids))


def test_replay_of_a_text_gives_the_trace_of_its_tokens_and_the_end(
    tiny_mllm: MLLM, reference: Reference
) -> None:
    text = "<think>Ein naïver Riß, 欠陥 🙂.</think><answer>Yes</answer>"
    ids = [*reference.tokenizer(text)["input_ids"], reference.tokenizer.eos_token_id]
    [trace] = replay(tiny_mllm, PHOTOS[:1], [text], SETTINGS)
    assert trace.text == text
    assert_same(trace, reference.trace(PHOTOS[0], ids))


def test_a_response_that_ends_early_in_a_batch_ends_there_in_its_trace(
    tiny_mllm: MLLM,
    reference: Reference,
    responses: list[list[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    end = next(i for i in responses[0][3:] if i not in responses[1] + responses[2])
    monkeypatch.setattr(tiny_mllm.model.generation_config, "eos_token_id", end)
    stop = responses[0].index(end) + 1
    assert 1 < stop < SETTINGS.max_new_tokens
    traces = generate(tiny_mllm, PHOTOS, SETTINGS)
    for trace, image, ids in zip(
        traces, PHOTOS, [responses[0][:stop], *responses[1:]], strict=True
    ):
        assert_same(trace, reference.trace(image, ids))


@pytest.mark.parametrize(("chosen", "averaged"), [((1,), [1]), ((0, -1), [0, 2]), ((2, -1), [2])])
def test_chosen_layers_alone_are_averaged(
    tiny_mllm: MLLM,
    reference: Reference,
    responses: list[list[int]],
    chosen: tuple[int, ...],
    averaged: list[int],
) -> None:
    some = dataclasses.replace(SETTINGS, layers=chosen)
    wanted = [reference.trace(i, ids, averaged) for i, ids in zip(PHOTOS, responses, strict=True)]
    traces = [*generate(tiny_mllm, PHOTOS, some), *replay(tiny_mllm, PHOTOS, responses, some)]
    for trace, single in zip(traces, wanted * 2, strict=True):
        assert_same(trace, single)


@pytest.mark.parametrize("layer", [3, -4])
def test_a_layer_the_model_lacks_is_refused(tiny_mllm: MLLM, layer: int) -> None:
    with pytest.raises(SettingsError, match="the model has 3 layers"):
        generate(tiny_mllm, PHOTOS[:1], dataclasses.replace(SETTINGS, layers=(layer,)))


def test_no_layers_at_all_are_refused(tiny_mllm: MLLM) -> None:
    with pytest.raises(SettingsError, match="choose at least one"):
        chosen_layers(tiny_mllm.model, ())


def test_a_lora_adapter_gives_the_eager_trace_of_base_and_adapter(
    tiny_checkpoint: Path, expected: list[Trace], tmp_path: Path
) -> None:
    targets = r".*language_model.*\.(q|k|v|o|gate|up|down)_proj|.*visual\.merger\.mlp\.[02]"
    base = Reference(tiny_checkpoint).model
    adapted = get_peft_model(base, LoraConfig(r=4, lora_alpha=8, target_modules=targets))
    torch.manual_seed(0)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    adapted.save_pretrained(tmp_path)
    mllm = load_mllm(tiny_checkpoint, adapter=tmp_path, device="cpu")
    reference = Reference(tiny_checkpoint, adapter=tmp_path)
    responses = [reference.respond(image, SETTINGS.max_new_tokens) for image in PHOTOS]
    wanted = [reference.trace(image, ids) for image, ids in zip(PHOTOS, responses, strict=True)]
    assert [trace.text for trace in wanted] != [trace.text for trace in expected]
    traces = [*generate(mllm, PHOTOS, SETTINGS), *replay(mllm, PHOTOS, responses, SETTINGS)]
    for trace, single in zip(traces, wanted * 2, strict=True):
        assert_same(trace, single)


@pytest.mark.parametrize("batch", [1, 3])
def test_a_static_cache_gives_the_eager_traces(
    tiny_mllm: MLLM, expected: list[Trace], batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_mllm.model.generation_config, "cache_implementation", "static")
    traces = generate(tiny_mllm, PHOTOS[:batch], SETTINGS)
    for trace, single in zip(traces, expected, strict=False):
        assert_same(trace, single)


@pytest.mark.parametrize("batch", [1, 3])
def test_flash_attention_gives_the_eager_traces(
    flash_mllm: MLLM, responses: list[list[int]], expected: list[Trace], batch: int
) -> None:
    images, ids = PHOTOS[:batch], responses[:batch]
    traces = [*generate(flash_mllm, images, SETTINGS), *replay(flash_mllm, images, ids, SETTINGS)]
    for trace, single in zip(traces, expected[:batch] * 2, strict=True):
        assert_same(trace, single)


def full_softmax(query: Tensor, key: Tensor, seen: Tensor, scaling: float) -> Tensor:
    """Return all (B, H, Q, T) attention; `seen` is (B, Q, T) bool."""
    batch, heads, queries, _ = query.shape
    attention = torch.zeros(batch, heads, queries, key.shape[2], dtype=torch.float64)
    group = heads // key.shape[1]
    for b in range(batch):
        for h in range(heads):
            scores = query[b, h].double() @ key[b, h // group].double().T * scaling
            attention[b, h] = scores.masked_fill(~seen[b], -torch.inf).softmax(dim=-1)
    return attention


@st.composite
def attention_cases(draw: st.DrawFn) -> dict:
    torch.manual_seed(draw(st.integers(0, 2**31)))
    batch, key_heads, group = (draw(st.integers(1, 3)) for _ in range(3))
    queries, past = draw(st.integers(1, 6)), draw(st.integers(0, 5))
    keys, width = queries + past, 2 * draw(st.integers(1, 4))
    padding = [draw(st.integers(0, past)) for _ in range(batch)]
    seen = torch.ones(queries, keys, dtype=torch.bool).tril(past).repeat(batch, 1, 1)
    for row, count in enumerate(padding):
        seen[row, :, :count] = False
    return {
        "query": torch.randn(batch, key_heads * group, queries, width) * 2,
        "key": torch.randn(batch, key_heads, keys, width) * 2,
        "seen": seen,
        "padding": torch.tensor(padding),
        "scaling": draw(st.sampled_from([width**-0.5, 0.3])),
        "columns": torch.randint(0, keys, (batch, draw(st.integers(1, 8)))),
        "last_rows": draw(st.integers(1, 8)),
        "at_once": draw(st.sampled_from([1, 60, MOST_SCORES["cpu"]])),
    }


def check_rows(case: dict, key: Tensor, mask: Tensor | None, seen: Tensor) -> None:
    with patch.dict(MOST_SCORES, cpu=case["at_once"]):
        rows = attention_rows(
            case["query"], key, mask, case["scaling"], case["columns"], case["last_rows"]
        )
    full = full_softmax(case["query"], key, seen, case["scaling"])[:, :, -case["last_rows"] :]
    columns = case["columns"][:, None, None].expand(-1, *full.shape[1:3], -1)
    assert rows.dtype == torch.float32
    torch.testing.assert_close(rows, full.gather(3, columns).float(), rtol=0, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(attention_cases(), st.integers(0, 4))
def test_rows_under_a_boolean_mask_are_the_full_softmax(case: dict, spare: int) -> None:
    """`spare` keys at the end are a static cache's, not yet written."""
    key = torch.nn.functional.pad(case["key"], (0, 0, 0, spare), value=9.0)
    seen = torch.nn.functional.pad(case["seen"], (0, spare), value=False)
    check_rows(case, key, seen[:, None], seen)


@settings(max_examples=40, deadline=None)
@given(attention_cases(), st.sampled_from([torch.float32, torch.bfloat16, torch.float16]))
def test_rows_under_an_additive_mask_are_the_full_softmax(case: dict, dtype: torch.dtype) -> None:
    mask = torch.zeros(case["seen"].shape, dtype=dtype)
    mask = mask.masked_fill(~case["seen"], torch.finfo(dtype).min)
    check_rows(case, case["key"], mask[:, None], case["seen"])


@settings(max_examples=40, deadline=None)
@given(attention_cases())
def test_rows_under_flash_attentions_padding_mask_are_the_full_softmax(case: dict) -> None:
    keys = case["key"].shape[2]
    mask = (torch.arange(keys) >= case["padding"][:, None]).long()
    check_rows(case, case["key"], mask, case["seen"])


@settings(max_examples=40, deadline=None)
@given(attention_cases())
def test_rows_without_a_mask_are_the_full_causal_softmax(case: dict) -> None:
    queries, keys = case["query"].shape[2], case["key"].shape[2]
    seen = torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)
    check_rows(case, case["key"], None, seen.expand(case["query"].shape[0], -1, -1))


class ShapeRecorder(TorchDispatchMode):
    """Remembers the shape of every tensor that any operation returns."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: set[tuple[int, ...]] = set()

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        result = function(*arguments, **(options or {}))
        for value in result if isinstance(result, tuple | list) else [result]:
            if isinstance(value, Tensor):
                self.shapes.add(tuple(value.shape))
        return result

    def square(self, side: int) -> list[tuple[int, ...]]:
        """Return the shapes with two dimensions of `side` or a little more."""
        return [s for s in self.shapes if sum(side <= n <= side + 16 for n in s) > 1]


def test_no_matrix_of_queries_by_keys_is_made_for_a_long_prompt(
    tiny_mllm: MLLM, reference: Reference
) -> None:
    image = photo(420, 420)
    prompt = encode_prompts(tiny_mllm, [image], SETTINGS).inputs["input_ids"].shape[1]
    assert prompt > 225
    ids = reference.tokenizer("<think>There is a dark scratch.</think>")["input_ids"]
    with ShapeRecorder() as captured:
        generate(tiny_mllm, [image], dataclasses.replace(SETTINGS, max_new_tokens=3))
        replay(tiny_mllm, [image], [ids], SETTINGS)
    with ShapeRecorder() as eager:
        reference.trace(image, ids)
    assert (1, 4, 3, prompt + 2) in captured.shapes
    assert (1, 4, len(ids) + 1, prompt + len(ids)) in captured.shapes
    assert captured.square(prompt) == []
    assert eager.square(prompt) != []


def test_captured_rows_hold_rows_by_columns(tiny_mllm: MLLM) -> None:
    prompts = encode_prompts(tiny_mllm, PHOTOS, SETTINGS)
    capture = AttentionCapture(prompts.columns, range(3), last_rows=5)
    with torch.no_grad(), capture_attention(tiny_mllm.model, capture):
        tiny_mllm.model(**prompts.inputs)
    assert capture.rows.shape == (3, 5, prompts.columns.shape[1])
    assert capture.rows.dtype == torch.float32


def test_mixed_precision_leaves_the_rows_exact(tiny_mllm: MLLM) -> None:
    generator = torch.Generator().manual_seed(0)
    module = decoder_layers(tiny_mllm.model)[0]
    query, key = (torch.randn(1, heads, 9, 8, generator=generator) for heads in (4, 2))

    def rows() -> Tensor:
        capture = AttentionCapture(torch.arange(9)[None], (0,), last_rows=9)
        capture.layer_of = {module: 0}
        capture.observe(module, query, key, None, 0.3)
        return capture.rows

    exact = rows()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(rows(), exact)


@pytest.fixture
def capture(tiny_mllm: MLLM) -> tuple[AttentionCapture, dict[str, Tensor]]:
    prompts = encode_prompts(tiny_mllm, PHOTOS[:1], SETTINGS)
    return AttentionCapture(prompts.columns, range(3)), prompts.inputs


def test_nothing_is_recorded_outside_the_block(
    tiny_mllm: MLLM, capture: tuple[AttentionCapture, dict[str, Tensor]]
) -> None:
    watcher, inputs = capture
    with torch.no_grad():
        with capture_attention(tiny_mllm.model, watcher):
            tiny_mllm.model(**inputs)
        tiny_mllm.model(**inputs)
    assert watcher.rows.shape[1] == 1


def test_an_exception_closes_the_block(
    tiny_mllm: MLLM, capture: tuple[AttentionCapture, dict[str, Tensor]]
) -> None:
    watcher, inputs = capture
    with pytest.raises(ZeroDivisionError), capture_attention(tiny_mllm.model, watcher):
        raise ZeroDivisionError
    with torch.no_grad():
        tiny_mllm.model(**inputs)
    with pytest.raises(ModelError, match="No attention was seen"):
        _ = watcher.rows


def test_another_threads_forward_is_not_seen(
    tiny_mllm: MLLM, capture: tuple[AttentionCapture, dict[str, Tensor]]
) -> None:
    watcher, inputs = capture

    def forward() -> None:
        with torch.no_grad():
            tiny_mllm.model(**inputs)

    with capture_attention(tiny_mllm.model, watcher):
        thread = threading.Thread(target=forward)
        thread.start()
        thread.join()
    with pytest.raises(ModelError, match="No attention was seen"):
        _ = watcher.rows


def test_threads_generating_at_once_get_their_own_traces(
    tiny_mllm: MLLM, expected: list[Trace]
) -> None:
    traces: dict[int, Trace] = {}

    def work(index: int) -> None:
        [traces[index]] = generate(tiny_mllm, [PHOTOS[index]], SETTINGS)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index in range(3):
        assert_same(traces[index], expected[index])


def test_another_models_layers_are_not_seen(
    tiny_mllm: MLLM,
    tiny_checkpoint: Path,
    capture: tuple[AttentionCapture, dict[str, Tensor]],
) -> None:
    watcher, inputs = capture
    other = load_mllm(tiny_checkpoint, device="cpu")
    with torch.no_grad(), capture_attention(tiny_mllm.model, watcher):
        other.model(**inputs)
    with pytest.raises(ModelError, match="No attention was seen"):
        _ = watcher.rows


def test_the_decoder_layers_are_those_of_the_language_model_in_order(tiny_mllm: MLLM) -> None:
    layers = tiny_mllm.model.model.language_model.layers
    assert decoder_layers(tiny_mllm.model) == [layer.self_attn for layer in layers]


def test_capture_leaves_the_response_as_it_was(
    tiny_checkpoint: Path, tiny_mllm: MLLM, expected: list[Trace]
) -> None:
    stock = Reference(tiny_checkpoint, attention="sdpa")
    for image, trace in zip(PHOTOS, expected, strict=True):
        inputs, _ = stock.prompt(image)
        ids = stock.model.generate(
            **inputs, do_sample=False, temperature=None, repetition_penalty=1.0, max_new_tokens=12
        )[0, inputs["input_ids"].shape[1] :]
        assert stock.tokenizer.decode(ids, skip_special_tokens=True) == trace.text


@pytest.mark.parametrize("temperature", [0.7, 1.3])
def test_sampling_draws_from_the_whole_distribution_of_the_temperature(
    tiny_mllm: MLLM, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the checkpoint's repetition penalty nor a default top-k may cut it."""
    sampled: list[Tensor] = []
    original = torch.multinomial

    def multinomial(probabilities: Tensor, *arguments: object, **options: object) -> Tensor:
        sampled.append(probabilities)
        return original(probabilities, *arguments, **options)

    raw: list[Tensor] = []
    hook = tiny_mllm.model.lm_head.register_forward_hook(lambda *call: raw.append(call[2][:, -1]))
    monkeypatch.setattr(torch, "multinomial", multinomial)
    some = dataclasses.replace(SETTINGS, temperature=temperature, max_new_tokens=4)
    generate(tiny_mllm, PHOTOS[:1], some)
    hook.remove()
    del raw[4:]  # the answer is read after the response
    assert len(sampled) == len(raw) == 4
    for probabilities, logits in zip(sampled, raw, strict=True):
        torch.testing.assert_close(probabilities, (logits / temperature).softmax(-1))


def test_sampling_repeats_with_its_seed(tiny_mllm: MLLM) -> None:
    some = dataclasses.replace(SETTINGS, temperature=1.0)
    texts = [
        generate(tiny_mllm, PHOTOS[:1], dataclasses.replace(some, seed=seed))[0].text
        for seed in (1, 1, 2)
    ]
    assert texts[0] == texts[1] != texts[2]


def test_a_replay_that_fits_no_prompt_is_refused(tiny_mllm: MLLM) -> None:
    with pytest.raises(SettingsError, match="2 images, but 1 responses"):
        replay(tiny_mllm, PHOTOS[:2], ["text"], SETTINGS)
    with pytest.raises(SettingsError, match="image token"):
        replay(tiny_mllm, PHOTOS[:1], ["<|image_pad|>"], SETTINGS)


@pytest.mark.parametrize("more", ["", " And so on, and on.", "<answer>No</answer>"])
def test_a_response_ends_where_its_answer_is_closed(tiny_mllm: MLLM, more: str) -> None:
    """The model is made to say a text and then `more`, without an end."""
    tokenizer = tiny_mllm.processor.tokenizer
    wanted = tokenizer("<think>A dark scratch.</think><answer>Yes</answer>")["input_ids"]
    script = wanted + tokenizer(more)["input_ids"] + tokenizer(" dent")["input_ids"] * 64
    steps = iter(script)

    def say(_module: object, _inputs: object, logits: Tensor) -> Tensor:
        spoken = torch.full_like(logits, -9.0)
        spoken[..., next(steps)] = 9.0
        return spoken

    hook = tiny_mllm.model.get_output_embeddings().register_forward_hook(say)
    inputs = encode_prompts(tiny_mllm, PHOTOS[:2], SETTINGS).inputs
    try:
        ids, hidden = respond(tiny_mllm, inputs, 60)
    finally:
        hook.remove()
    assert [tokenizer.decode(each) for each in ids] == [tokenizer.decode(wanted)] * 2
    assert len(wanted) <= hidden.shape[1] < len(wanted) + CHECK_EVERY
