"""Every family's traces against stock transformers with eager attention, and its map's geometry."""

import json
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from packaging import version
from peft import LoraConfig, get_peft_model
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate
from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING as CLASSES
from transformers import AutoConfig, AutoModelForImageTextToText
from transformers.models.llava_onevision.modeling_llava_onevision import unpad_image

from flawsight.cgro.encoded_images import collate, encode_image
from flawsight.cgro.loss import candidate_means, token_losses
from flawsight.cgro.policy import make_trainable, trainable_parameters
from flawsight.cgro.shared_prompt import CandidateForward, Completions
from flawsight.endpoint.generator import ServedGenerator
from flawsight.errors import ModelError
from flawsight.inspection import PatchEvidence, Trace
from flawsight.inspector import Inspector
from flawsight.mllm.batch_size import image_bytes
from flawsight.mllm.encode import encode_prompts
from flawsight.mllm.families.registry import FAMILIES as SUPPORTED
from flawsight.mllm.families.registry import family_of
from flawsight.mllm.load import MLLM, load_mllm
from flawsight.mllm.patch_features import PatchReader
from flawsight.mllm.replay import replay
from flawsight.mllm.token_grid import WHOLE
from flawsight.prompt import user_message
from flawsight.settings import PRESETS
from helpers import family_table
from helpers.chat_server import chat_server
from helpers.checkpoints import photo, write_json
from helpers.families import (
    FAMILIES,
    begin_with_think,
    load_or_skip,
    stock_processor,
    teach,
    write_chat_vlm,
)
from helpers.generating import generate

SETTINGS = replace(PRESETS["paper"], image_grid=None, image_tokens=None, max_new_tokens=6)
PHOTOS = [photo(112, 140, 1), photo(84, 150, 2), photo(170, 60, 3)]
NEW_EXPERTS = version.parse("5.18")
CLOSE = {"rtol": 0, "atol": 1e-5}
# By family: what its tests have found it capable of.
FOUND: dict[str, set[str]] = defaultdict(set)


@dataclass(frozen=True)
class Stock:
    """A family's checkpoint, and what stock transformers makes of it."""

    folder: Path

    def prompt(self, image: Image.Image, photos: Sequence[Image.Image] = ()) -> dict[str, Tensor]:
        message = user_message(photos=len(photos))
        places = [part for part in message[0]["content"] if part["type"] == "image"]
        for place, one in zip(places, [*photos, image], strict=True):
            place["image"] = one
        inputs = stock_processor(self.folder).apply_chat_template(
            message, add_generation_prompt=True, tokenize=True, return_dict=True,
            return_tensors="pt",
        )  # fmt: skip
        return {name: value for name, value in inputs.items() if isinstance(value, Tensor)}

    def model(self, attention: str = "eager") -> Any:
        return AutoModelForImageTextToText.from_pretrained(
            self.folder, dtype=torch.float32, attn_implementation=attention
        ).eval()

    @torch.no_grad()
    def rows(
        self,
        model: Any,
        image: Image.Image,
        response: list[int],
        photos: Sequence[Image.Image] = (),
    ) -> tuple[Tensor, Tensor]:
        """Return the prompt's ids, and (N, T) attention of the positions before N tokens."""
        inputs = self.prompt(image, photos)
        ids, added = inputs["input_ids"], torch.tensor([response])
        for name in ("mm_token_type_ids", "token_type_ids"):
            if name in inputs:
                inputs[name] = torch.cat([inputs[name], torch.zeros_like(added)], dim=1)
        inputs["input_ids"] = torch.cat([ids, added], dim=1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        attentions = model(**inputs, output_attentions=True, use_cache=False).attentions
        mean = torch.stack([each for each in attentions if each is not None])[:, 0].mean(dim=(0, 1))
        return ids[0], mean[ids.shape[1] - 1 : -1]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    root = tmp_path_factory.mktemp("families")

    @cache
    def written(family: str) -> Path:
        write_chat_vlm(root / family, family)
        return root / family

    return written


@pytest.fixture(scope="module", params=FAMILIES)
def stock(request: pytest.FixtureRequest, checkpoint: Callable[[str], Path]) -> Stock:
    return Stock(checkpoint(request.param))


def load(folder: Path, adapter: Path | None = None) -> MLLM:
    return load_or_skip(folder, adapter=adapter)


@pytest.fixture(scope="module")
def mllm(stock: Stock) -> MLLM:
    loaded = load(stock.folder)
    FOUND[stock.folder.name].add("loads")
    return loaded


def assert_rows(trace: Trace, mllm: MLLM, image: Image.Image, ids: Tensor, rows: Tensor) -> None:
    prompts = encode_prompts(mllm, [image], SETTINGS)
    assert prompts.inputs["input_ids"][0].tolist() == ids.tolist()
    [grid] = prompts.grids
    image_rows = rows[:, : len(ids)][:, ids == mllm.model.config.image_token_id]
    torch.testing.assert_close(trace.image_attention, grid.to_map(image_rows), **CLOSE)
    question = prompts.columns[0, grid.tokens :]
    torch.testing.assert_close(trace.question_attention, rows[:, question], **CLOSE)
    words = mllm.processor.tokenizer.decode(ids[question[trace.anomaly_tokens]])
    assert words == " defects anomalies"


def test_rows_are_those_of_eager_attention(stock: Stock, mllm: MLLM) -> None:
    """Of one image and of a batch of several sizes; generated and replayed."""
    model, tokenizer = stock.model(), mllm.processor.tokenizer
    batch = generate(mllm, PHOTOS, SETTINGS)
    alone = [generate(mllm, [image], SETTINGS)[0] for image in PHOTOS]
    responses = [tokenizer(trace.text, add_special_tokens=False)["input_ids"] for trace in batch]
    replayed = replay(mllm, PHOTOS, responses, SETTINGS)
    for index, (image, response) in enumerate(zip(PHOTOS, responses, strict=True)):
        assert len(response) == SETTINGS.max_new_tokens
        ids, rows = stock.rows(model, image, response)
        maps = rows[:, : len(ids)][:, ids == mllm.model.config.image_token_id]
        assert (maps.std(dim=1) > 0.1 * maps.mean(dim=1)).all()  # a fair judge
        for trace in (batch[index], alone[index], replayed[index]):
            assert_rows(trace, mllm, image, ids, rows)
    FOUND[stock.folder.name].add("traced")


def test_rows_beside_good_photos_are_those_of_the_image_alone(stock: Stock, mllm: MLLM) -> None:
    """With one in the prompt and with two, of other sizes. One family refuses them."""
    photos = [photo(170, 60, 8), photo(140, 70, 9)]
    if stock.folder.name == "llava_onevision":
        with pytest.raises(ModelError, match="takes no photos of good parts in its prompt"):
            encode_prompts(mllm, PHOTOS, SETTINGS, photos)
        return
    some = replace(SETTINGS, max_new_tokens=3)
    model, tokenizer = stock.model(), mllm.processor.tokenizer
    for images, good in ((PHOTOS[1:], photos[:1]), (PHOTOS[2:], photos)):
        batch = generate(mllm, images, some, photos=good)
        ids_of = [tokenizer(trace.text, add_special_tokens=False)["input_ids"] for trace in batch]
        replayed = replay(mllm, images, ids_of, some, photos=good)
        for image, response, *traces in zip(images, ids_of, batch, replayed, strict=True):
            ids, rows = stock.rows(model, image, response, good)
            [grid] = encode_prompts(mllm, [image], some).grids
            places = (ids == mllm.model.config.image_token_id).nonzero()[:, 0]
            assert len(places) > grid.tokens
            expected = grid.to_map(rows[:, places[-grid.tokens :]])
            prompts = encode_prompts(mllm, [image], some, good)
            assert prompts.inputs["input_ids"][0].tolist() == ids.tolist()
            question = prompts.columns[0, grid.tokens :]
            assert tokenizer.decode(ids[question]).strip() == some.question
            for trace in traces:
                torch.testing.assert_close(trace.image_attention, expected, **CLOSE)
                torch.testing.assert_close(trace.question_attention, rows[:, question], **CLOSE)
    # A fair judge: the good photo counts, and swapped with the image it gives other rows.
    [trace] = batch
    for image, good in ((PHOTOS[2], photos[::-1]), (photos[0], [PHOTOS[2], photos[1]])):
        [other] = replay(mllm, [image], ids_of, some, photos=good)
        assert other.image_attention.shape == trace.image_attention.shape
        assert (other.image_attention - trace.image_attention).abs().max() > 1e-4


def test_rows_of_an_adapter_are_those_of_eager_attention(stock: Stock, tmp_path: Path) -> None:
    if stock.folder.name == "glm4v_moe" and version.parse(transformers.__version__) < NEW_EXPERTS:
        pytest.skip("PEFT cannot load an adapter of these experts with this transformers")
    torch.manual_seed(0)
    adapted = get_peft_model(
        stock.model(), LoraConfig(r=4, target_modules=["q_proj", "v_proj"])
    ).eval()
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.2)
    adapted.save_pretrained(tmp_path)
    mllm = load(stock.folder, tmp_path)
    response = mllm.processor.tokenizer(" Yes No No", add_special_tokens=False)["input_ids"]
    [trace] = replay(mllm, PHOTOS[:1], [response], SETTINGS)
    assert_rows(trace, mllm, PHOTOS[0], *stock.rows(adapted, PHOTOS[0], response))


def test_the_default_preset_gives_verdict_map_and_words(stock: Stock, mllm: MLLM) -> None:
    """As `flawsight inspect --model` without options, of a model that keeps to the form."""
    before = mllm.model.generation_config.to_dict()
    teach(mllm, "<think>A dark scratch near the left edge.</think><answer>Yes</answer>")
    try:
        inspections = Inspector(mllm, batch_size=2)(list(PHOTOS[:2]))
    finally:
        mllm.model.generation_config.sequence_bias = before.get("sequence_bias")
    for inspection, image in zip(inspections, PHOTOS, strict=False):
        assert inspection.answer == "Yes"
        assert inspection.explanation == "A dark scratch near the left edge."
        assert inspection.anomaly_map.shape == (image.height, image.width)
        assert inspection.anomaly_map.std() > 0
    assert image_bytes(mllm, PRESETS["default"]) > 0
    FOUND[stock.folder.name].add("asked")


def test_a_step_of_training_is_that_of_plain_grpo(stock: Stock, mllm: MLLM) -> None:
    """Its loss and gradients, every candidate with its own prompt; other families are refused."""
    try:
        policy = make_trainable(replace(mllm, model=deepcopy(mllm.model)), 4, 8, seed=0)
    except ModelError as error:
        if "can be trained" not in str(error):
            raise
        return
    for name, weight in policy.model.named_parameters():
        if "lora_B" in name or "lm_head" in name:
            nn.init.normal_(weight, std=0.2)
    end = policy.processor.tokenizer.eos_token_id
    done = Completions.of([[5, 6, 7, 8, end], [9, 10, end]], end, policy.device)
    prompts = collate([encode_image(policy, PHOTOS[0], SETTINGS)], policy)
    ours, _, _ = CandidateForward(policy.model, "cache", 1.0, "sdpa", None)(prompts, done)
    advantages = torch.tensor([0.7, -0.7])
    reference = ours.detach() - 0.1
    losses, _ = token_losses(ours, ours.detach(), reference, advantages, 0.04)
    loss = candidate_means(losses, done.mask).mean()
    loss.backward()
    gradients = [weight.grad.clone() for _, weight in trainable_parameters(policy.model)]
    policy.model.zero_grad()

    inputs = encode_prompts(policy, [PHOTOS[0]] * 2, SETTINGS).inputs
    more = {"input_ids": done.ids, "attention_mask": done.mask.long()}
    more["mm_token_type_ids"] = torch.zeros_like(done.ids)
    inputs |= {name: torch.cat([inputs[name], added], dim=1) for name, added in more.items()}
    logits = policy.model(**inputs).logits[:, -done.ids.shape[1] - 1 : -1]
    plain = logits.log_softmax(-1).gather(-1, done.ids[..., None])[..., 0]
    gain = (plain - plain.detach()).exp() * advantages[:, None]
    kl = (reference - plain).exp() - (reference - plain) - 1
    means = [(0.04 * kl - gain)[row, mask].mean() for row, mask in enumerate(done.mask)]
    expected = (means[0] + means[1]) / 2
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-5)
    for (name, weight), found in zip(trainable_parameters(policy.model), gradients, strict=True):
        assert weight.grad.norm() > 0, name
        assert (found - weight.grad).norm() <= 1e-4 * weight.grad.norm() + 1e-7, name
    FOUND[stock.folder.name].add("trained")


# (height, width) of images, and (top, left, bottom, right) of the square in shares of them.
SHAPES = [(168, 168), (260, 110), (100, 250)]
SQUARE = (0.5, 0.25, 0.75, 0.5)


def grey(size: tuple[int, int], square: tuple[float, ...] | None = None) -> Image.Image:
    """A grey image, with a bright square."""
    height, width = size
    image = Image.new("RGB", (width, height), (90, 90, 90))
    if square is not None:
        top, left, bottom, right = square
        box = [round(v) for v in (left * width, top * height, right * width, bottom * height)]
        image.paste((250, 250, 250), tuple(box))  # type: ignore[arg-type]
    return image


@contextmanager
def local_encoder(mllm: MLLM) -> Iterator[list[Tensor]]:
    """Leave attention out of the vision encoder, and gather what the language layers are given."""
    seen: list[Tensor] = []

    def see(_module: Any, _inputs: Any, named: dict[str, Any]) -> None:
        seen.append(named["inputs_embeds"])

    def nothing(_module: Any, _inputs: Any, output: Any) -> Any:
        if isinstance(output, Tensor):
            return torch.zeros_like(output)
        return (torch.zeros_like(output[0]), *output[1:])

    hooks = [mllm.model.get_decoder().register_forward_pre_hook(see, with_kwargs=True)]
    for module in mllm.model.get_encoder(modality="image").modules():
        if type(module).__name__.endswith("Attention"):
            hooks.append(module.register_forward_hook(nothing))
    assert len(hooks) == 3
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def assert_is_the_square(found: Tensor) -> None:
    """Cells above a tenth of the highest are those of the square, give or take half a cell."""
    high = found > 0.1 * found.max()
    inside, near = (torch.ones_like(high) for _ in range(2))
    for axis, (start, stop) in enumerate(zip(SQUARE[:2], SQUARE[2:], strict=True)):
        cells = found.shape[axis]
        edge = torch.arange(cells + 1) / cells
        half = 0.51 / cells
        across = (edge[:-1] >= start + half) & (edge[1:] <= stop - half)
        touched = (edge[1:] > start - half) & (edge[:-1] < stop + half)
        shape = (-1, 1) if axis == 0 else (1, -1)
        inside &= across.view(shape)
        near &= touched.view(shape)
    assert high[inside].all()
    assert not high[~near].any()


@pytest.mark.parametrize("size", SHAPES, ids=["square", "tall", "wide"])
@torch.no_grad()
def test_a_bright_square_is_where_the_map_says(mllm: MLLM, size: tuple[int, int]) -> None:
    """The tokens of the image, and of its thumbnail, that change with it."""
    images = [grey(size), grey(size, SQUARE)]
    prompts = encode_prompts(mllm, images, SETTINGS)
    with local_encoder(mllm) as seen:
        mllm.model(**prompts.inputs)
    grid = prompts.grids[1]
    plain, bright = (
        embeds[columns[: grid.tokens]]
        for embeds, columns in zip(seen[0], prompts.columns, strict=True)
    )
    change = (bright - plain).norm(dim=-1)
    parts = list(torch.split(change, [tile.tokens for tile in grid.tiles] or [len(change)]))
    for index, tile in enumerate(grid.tiles):
        if tile.shape != grid.shape and tile.area == WHOLE:
            assert_is_the_square(parts[index].view(tile.shape))
            parts[index] = torch.zeros_like(parts[index])
    assert_is_the_square(grid.to_map(torch.cat(parts)[None])[0])


@pytest.mark.parametrize("size", SHAPES, ids=["square", "tall", "wide"])
def test_its_patches_stand_out_there(mllm: MLLM, size: tuple[int, int]) -> None:
    some = replace(SETTINGS, max_new_tokens=1)
    with local_encoder(mllm):
        [plain, bright] = generate(mllm, [grey(size), grey(size, SQUARE)], some, NORMS)
    assert plain.patches.feature_distance is not None
    assert bright.patches.feature_distance is not None
    assert_is_the_square((bright.patches.feature_distance - plain.patches.feature_distance).abs())


@torch.no_grad()
def test_a_square_of_a_good_photo_is_nowhere_on_the_map(mllm: MLLM) -> None:
    """Neither among the image's tokens nor among its patches; a square of the image is."""
    if not mllm.family.several_images:
        pytest.skip("takes one image")
    size, good = SHAPES[1], [grey((150, 190), (0.0, 0.0, 0.4, 0.4)), grey((90, 90))]
    plain = encode_prompts(mllm, [grey(size)], SETTINGS, good)
    for photos, image in ((good, grey(size, SQUARE)), (good[::-1], grey(size))):
        with local_encoder(mllm) as seen:
            bright = encode_prompts(mllm, [image], SETTINGS, photos)
            mllm.model(**plain.inputs)
            mllm.model(**bright.inputs)
        [grid] = plain.grids
        columns = plain.columns[0, : grid.tokens]
        assert torch.equal(columns, bright.columns[0, : grid.tokens])
        change = (seen[1][0, columns] - seen[0][0, columns]).norm(dim=-1)
        if photos is good:
            change *= change > 0.1 * change.max()
            assert_is_the_square(grid.to_map(change[None])[0])
        else:
            assert not change.any()
    some = replace(SETTINGS, max_new_tokens=1)
    with local_encoder(mllm):
        traces = [
            generate(mllm, [grey(size, square)], some, NORMS, good)[0] for square in (None, SQUARE)
        ]
    first, second = (trace.patches.feature_distance for trace in traces)
    assert first is not None
    assert second is not None
    assert_is_the_square((second - first).abs())


def squared_norms(features: Tensor) -> PatchEvidence:
    return PatchEvidence(features.square().sum(dim=-1).mean(dim=0))


# In place of the patches' distance, of which each depends on all.
NORMS = PatchReader((0, -1), squared_norms)


@pytest.fixture
def thinker(checkpoint: Callable[[str], Path], tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(checkpoint("qwen3_vl"), tmp_path / "thinker"))
    begin_with_think(folder)
    return folder


def test_a_response_that_the_chat_template_begins_is_whole_in_its_trace(thinker: Path) -> None:
    """What it quotes while it thinks is no answer; a replay of its text has the same rows."""
    mllm = load_mllm(thinker, device="cpu")
    teach(mllm, "No</answer> is near, so a dent.</think><answer>Yes")
    some = replace(SETTINGS, max_new_tokens=40)
    [trace] = generate(mllm, PHOTOS[:1], some)
    assert trace.text == "<think>No</answer> is near, so a dent.</think><answer>Yes"
    assert trace.token_spans[0][0] == len("<think>")
    assert trace.token_spans[-1][1] == len(trace.text)
    [again] = replay(mllm, PHOTOS[:1], [trace.text], some)
    assert (again.text, again.token_spans) == (trace.text, trace.token_spans)
    torch.testing.assert_close(again.image_attention, trace.image_attention, **CLOSE)
    [inspection] = Inspector(mllm)(list(PHOTOS[:1]))
    assert inspection.explanation == "No</answer> is near, so a dent."
    mllm.model.generation_config.sequence_bias = None
    assert Inspector(mllm, some)(PHOTOS[0]).answer_forced


def test_a_template_that_can_leave_thinking_out_does(thinker: Path) -> None:
    path = thinker / "chat_template.json"
    template = json.loads(path.read_text())["chat_template"]
    ask = "{% if enable_thinking is false %}<think></think>{% else %}<think>{% endif %}"
    write_json(path, {"chat_template": template.replace("<think>\n", ask)})
    mllm = load_mllm(thinker, device="cpu")
    prompts = encode_prompts(mllm, PHOTOS[:1], SETTINGS)
    text = mllm.processor.tokenizer.decode(prompts.inputs["input_ids"][0])
    assert text.endswith("<think></think>")
    assert prompts.opening == ""
    answer = "<answer>Yes</answer>"
    with chat_server(lambda _: answer) as server:
        ServedGenerator(server.base_url, "any")(mllm, PHOTOS[:1], SETTINGS, [0])
    assert server.requests[0]["chat_template_kwargs"] == {"enable_thinking": False}


@pytest.mark.parametrize("size", [(100, 250), (120, 68), (90, 131), (400, 330)])
def test_the_padding_of_llava_onevision_is_cut_off_as_its_model_does(
    checkpoint: Callable[[str], Path], size: tuple[int, int]
) -> None:
    """Pixels that hold their own place give the place of each token."""
    mllm = load(checkpoint("llava_onevision"))
    height, width = size
    places = np.zeros((height, width, 3), np.uint8)
    places[..., 0] = 50 + 200 * (np.arange(height)[:, None] + 0.5) / height
    places[..., 1] = 50 + 200 * (np.arange(width) + 0.5) / width
    prompts = encode_prompts(mllm, [Image.fromarray(places)], SETTINGS)
    [grid] = prompts.grids
    assert grid.encoded is not None
    rows, columns = grid.encoded.rows, grid.encoded.columns
    pixels = (prompts.inputs["pixel_values"][0, 1:, :2] + 1) / 2 * 255  # (tiles, 2, 28, 28)
    tokens = avg_pool2d(pixels, 14).view(rows, columns, 2, 2, 2).permute(2, 0, 3, 1, 4)
    kept = unpad_image(tokens.reshape(2, 2 * rows, 2 * columns), size)
    kept = interpolate(kept[None], grid.shape, mode="bilinear")[0]
    top, left, bottom, right = grid.tiles[1].area
    for axis, (start, stop) in enumerate([(top, bottom), (left, right)]):
        expected = (
            start + (stop - start) * (torch.arange(grid.shape[axis]) + 0.5) / grid.shape[axis]
        )
        middle = kept[axis].select(1 - axis, grid.shape[1 - axis] // 2)
        # The first and last tokens hold padding, which is black.
        found = (middle[1:-1] - 50) / 200
        torch.testing.assert_close(found, expected[1:-1], rtol=0, atol=0.01)


def test_every_model_type_has_a_checkpoint() -> None:
    tested = {family.removesuffix("_llama") for family in FAMILIES}
    assert tested == {name for family in SUPPORTED for name in family.model_types}


def test_gemma_4_is_refused() -> None:
    with pytest.raises(ModelError, match="cannot read the attention of 'gemma4' models"):
        family_of("gemma4")
    FOUND["gemma4"] = set()


def test_the_table_of_the_docs_is_what_these_tests_found(request: pytest.FixtureRequest) -> None:
    """Of the families that ran here; `--write-table` writes it."""
    ran = {getattr(item, "originalname", "") for item in request.session.items}
    if not {name for name in globals() if name.startswith("test_")} <= ran:
        pytest.skip("not all tests of the families ran")
    found = {}
    for model_type in FOUND:
        variants = [name for name in FOUND if name.removesuffix("_llama") == model_type]
        if variants:
            model_class = CLASSES[type(AutoConfig.for_model(model_type))].__name__
            found[model_type] = model_class, set.intersection(*(FOUND[name] for name in variants))
    assert found.keys() <= family_table.FAMILIES.keys()
    page = family_table.PAGE.read_text()
    expected = family_table.with_rows(page, found)
    if request.config.getoption("--write-table"):
        family_table.PAGE.write_text(expected)
    else:
        assert page == expected, "run this file with --write-table"
