"""`flawsight data`: checking, listing, making and mixing data sets."""

import hashlib
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from flawsight.cli import app
from flawsight.data.check import Report, check_dataset
from flawsight.data.dataset import Dataset, Sample
from flawsight.data.open import open_datasets
from flawsight.data.training_mix import (
    MixedSample,
    fair_shares,
    product_words,
    shared_products,
    training_mix,
)
from flawsight.errors import DatasetError, SettingsError
from flawsight_surfaces import (
    DEFECTS,
    TEST_DEFECTS,
    TEST_FAMILIES,
    VALIDATION_FAMILIES,
    render_pair,
)
from flawsight_surfaces.make_dataset import Recipe, choose_families, describe_defects, make_dataset


def flawsight(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, " ".join(result.output.split())


def write_image(path: Path, seed: int, size: tuple[int, int] = (12, 10)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def write_mask(path: Path, size: tuple[int, int] = (12, 10), area: int = 3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros(size, np.uint8)
    pixels[:area, :area] = 255
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Dataset:
    """A sound set: two normal training images, two normal and two defective test images."""
    root = tmp_path / "parts"
    samples = []
    for index in range(2):
        name = f"{index:03d}.png"
        for split in ("train", "test"):
            image = write_image(root / "bolt" / split / "good" / name, 10 * len(split) + index)
            samples.append(Sample(image, 0, "bolt", split, "good"))
        image = write_image(root / "bolt/test/crack" / name, 100 + index)
        mask = write_mask(root / f"bolt/ground_truth/crack/{index:03d}_mask.png")
        samples.append(Sample(image, 1, "bolt", "test", "crack", mask))
    return Dataset("parts", root, tuple(samples))


def kinds(report: Report) -> Counter[str]:
    return Counter(finding.kind for finding in report.findings)


def crack(dataset: Dataset) -> Sample:
    return next(sample for sample in dataset.samples if sample.label == 1)


def test_a_sound_set_is_counted_and_nothing_is_found(tree: Dataset) -> None:
    seen: list[int] = []
    report = check_dataset(tree, lambda: seen.append(1))
    assert not report.findings
    assert not report.notes
    counts = [(c.split, c.category, c.class_name, c.images, c.masks) for c in report.counts]
    assert counts == [
        ("test", "bolt", "crack", 2, 2),
        ("test", "bolt", "good", 2, 0),
        ("train", "bolt", "good", 2, 0),
    ]
    assert len(seen) == len(tree.samples)


@pytest.mark.parametrize(
    ("size", "area", "kind"),
    [
        ((10, 12), 3, "mask of another size than its image"),
        ((12, 10), 0, "empty mask of a defective image"),
    ],
)
def test_a_wrong_mask_is_found(tree: Dataset, size: tuple[int, int], area: int, kind: str) -> None:
    mask = crack(tree).mask
    assert mask is not None
    write_mask(mask, size, area)
    (finding,) = check_dataset(tree).findings
    assert (finding.kind, finding.path) == (kind, mask)


def test_a_mask_may_be_of_the_upright_or_of_the_stored_image(tree: Dataset) -> None:
    sample = crack(tree)
    assert sample.mask is not None
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90°
    pixels = np.random.default_rng(0).integers(0, 256, (12, 10, 3), np.uint8)
    Image.fromarray(pixels).save(sample.image, exif=exif)
    for size in ((12, 10), (10, 12)):
        write_mask(sample.mask, size)
        assert not check_dataset(tree).findings


def test_unreadable_files_are_found(tree: Dataset) -> None:
    sample = crack(tree)
    assert sample.mask is not None
    sample.mask.write_bytes(b"no mask")
    tree.samples[0].image.write_bytes(b"no image")
    assert kinds(check_dataset(tree)) == {"unreadable image": 1, "unreadable mask": 1}


def test_a_mask_without_image_is_found_also_in_a_folder_of_its_own(tree: Dataset) -> None:
    extra = write_mask(tree.root / "bolt/ground_truth/crack/009_mask.png")
    alone = write_mask(tree.root / "bolt/ground_truth/dent/000_mask.png")
    findings = check_dataset(tree).findings
    assert {f.kind for f in findings} == {"mask without image"}
    assert {f.path for f in findings} == {extra, alone}


def test_a_mask_beside_its_image_is_found_when_the_image_is_gone(tmp_path: Path) -> None:
    image = write_image(tmp_path / "kos01/Part0.png", 1)
    mask = write_mask(tmp_path / "kos01/Part0_label.png")
    orphan = write_mask(tmp_path / "kos01/Part1_label.png")
    write_image(tmp_path / "kos01/Part2.png", 2)  # an image that the set leaves out
    dataset = Dataset("k", tmp_path, (Sample(image, 1, "kos", "test", "bad", mask),))
    assert [f.path for f in check_dataset(dataset).findings] == [orphan]


def test_a_part_of_a_set_does_not_make_the_other_masks_orphans(tree: Dataset) -> None:
    part = replace(tree, samples=tuple(s for s in tree.samples if s.image.stem == "000"))
    assert not check_dataset(part).findings


def test_a_missing_mask_is_a_finding_only_where_others_are_there(tree: Dataset) -> None:
    first = crack(tree)
    bare = replace(first, mask=None)
    some = replace(tree, samples=tuple(bare if s is first else s for s in tree.samples))
    assert kinds(check_dataset(some)) == {"defective image without mask": 1}
    shutil.rmtree(tree.root / "bolt/ground_truth")
    none = replace(tree, samples=tuple(replace(s, mask=None) for s in tree.samples))
    report = check_dataset(none)
    assert not report.findings
    assert "None of the 2" in report.notes[0]


def test_a_mask_of_a_normal_image_must_be_empty(tree: Dataset) -> None:
    good = next(s for s in tree.samples if s.label == 0)
    mask = write_mask(tree.root / "bolt/ground_truth/good/000_mask.png")
    marked = replace(tree, samples=tuple(
        replace(s, mask=mask) if s is good else s for s in tree.samples
    ))  # fmt: skip
    assert kinds(check_dataset(marked)) == {"mask of a normal image is not empty": 1}


def test_polygons_outside_of_the_image_are_an_empty_mask(tree: Dataset) -> None:
    first = crack(tree)
    for x, found in ((2, {}), (900, {"empty mask of a defective image": 1})):
        drawn = replace(first, mask=None, polygons=(((x, 2), (x + 3, 2), (x, 6)),))
        samples = tuple(drawn if s is first else s for s in tree.samples)
        assert kinds(check_dataset(replace(tree, samples=samples))) == found


def test_copies_in_two_splits_or_with_two_labels_are_found(tree: Dataset) -> None:
    train, test = (
        next(s for s in tree.samples if (s.split, s.label) == (split, 0))
        for split in ("train", "test")
    )
    Image.open(train.image).save(test.image, compress_level=0)
    assert train.image.read_bytes() != test.image.read_bytes()  # the pixels are compared
    (finding,) = check_dataset(tree).findings
    assert finding.kind == "same image in two splits"
    assert finding.path in (train.image, test.image)
    write_image(test.image, 77)
    write_image(crack(tree).image, 77)
    (finding,) = check_dataset(tree).findings
    assert finding.kind == "same image with two labels"


def test_copies_with_one_label_are_a_note(tree: Dataset) -> None:
    images = [s.image for s in tree.samples if s.split == "train"]
    shutil.copy(images[0], images[1])
    report = check_dataset(tree)
    assert not report.findings
    assert "1 images are exact copies" in report.notes[0]


def test_check_ends_with_0_1_or_2(tree: Dataset, tmp_path: Path) -> None:
    code, output = flawsight("data", "check", tree.root)
    assert code == 0, output
    assert "Nothing is wrong" in output
    (tree.root / "bolt/test/crack/000.png").write_bytes(b"no image")
    code, output = flawsight("data", "check", tree.root)
    assert code == 1
    assert "unreadable image: 1" in output
    (tmp_path / "empty").mkdir()
    code, output = flawsight("data", "check", tmp_path / "empty")
    assert code == 2
    assert "Error" in output


def test_list_names_the_papers_sets_readably_at_100_columns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    result = CliRunner().invoke(app, ["data", "list"])
    assert result.exit_code == 0
    for name in ("MVTec-AD", "WFDD", "DTD-Synthetic", "VisA", "GoodsAD", "VISION", "PR-REAL"):
        assert name in result.output
    assert max(map(len, result.output.splitlines())) <= 100


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_made_files_agree_with_their_list_and_sentences(tmp_path: Path) -> None:
    code, output = flawsight(
        "data", "make", tmp_path / "set", "--pairs", 2, "--train", 1,
        "--families", "leather,hex nut", "--size", 64, "--size", "80x72",
    )  # fmt: skip
    assert code == 0, output
    assert "Images made: 10, families: 2" in output
    lines = (tmp_path / "set/samples.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert Counter((r["split"], r["label"]) for r in rows) == {
        ("train", 0): 2, ("test", 0): 4, ("test", 1): 4,
    }  # fmt: skip
    assert {row["category"] for row in rows} == {"leather", "hex_nut"}
    for row in rows:
        image = Image.open(tmp_path / "set" / row["path"])
        assert row["path"].startswith(f"{row['category']}/{row['split']}/{row['class']}/")
        assert image.size == ((64, 64) if row["path"].endswith("0.png") else (80, 72))
        if row["label"] == 0:
            assert row["mask"] is None
            assert row["reference"] == "Nothing is wrong here."
            continue
        mask = np.asarray(Image.open(tmp_path / "set" / row["mask"]))
        assert mask.shape == image.size[::-1]
        assert set(np.unique(mask)) == {0, 255}
        assert row["reference"].endswith(f"{row['defect']} in the {row['place']}.")
        # The place said is where the centroid is.
        y, x = (np.mean(where) for where in np.nonzero(mask))
        words = row["place"].split()
        assert ("left" in words) == (x + 0.5 < mask.shape[1] / 3)
        assert ("lower" in words) == (y + 0.5 >= mask.shape[0] * 2 / 3)


def test_kinds_kept_out_of_training_can_be_made(tmp_path: Path) -> None:
    made = {}
    for kinds in ("train", "test"):
        recipe = Recipe(sizes=((96, 96),), kinds=kinds)
        make_dataset(tmp_path / kinds, recipe, ["leather", "capsule"], 6)
        rows = (tmp_path / kinds / "samples.jsonl").read_text().splitlines()
        made[kinds] = {json.loads(row)["defect"] for row in rows} - {None}
    assert made["test"] <= set(TEST_DEFECTS)
    assert made["train"] <= set(DEFECTS) - set(TEST_DEFECTS)
    with pytest.raises(SettingsError, match="train or test"):
        Recipe(kinds="unseen")


def test_several_defects_are_one_mask_and_a_row_tells_each(tmp_path: Path) -> None:
    recipe = Recipe(seed=2, sizes=((96, 96),), defects=4)
    make_dataset(tmp_path / "set", recipe, ("leather", "concrete"), pairs=4)
    lines = (tmp_path / "set/samples.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if row["label"] == 1]
    assert max(len(row["regions"]) for row in rows) > 2
    for row in rows:
        kinds = {region["kind"] for region in row["regions"]}
        assert row["class"] == ("combined" if len(kinds) > 1 else kinds.pop().replace(" ", "_"))
        mask = np.asarray(Image.open(tmp_path / "set" / row["mask"])) > 0
        assert abs(sum(region["share"] for region in row["regions"]) - mask.mean()) < 1e-5


def test_a_sentence_says_tone_defect_and_place() -> None:
    twin = render_pair(np.random.default_rng(0), (64, 64), defect="scratch")[1]
    region = replace(twin.defects[0], tone="dark", place="upper left")
    said = replace(twin, defects=(region,))
    assert describe_defects(said) == "There is a dark scratch in the upper left."
    assert (
        describe_defects(replace(twin, defects=(replace(region, tone=None),)))
        == "There is a scratch in the upper left."
    )
    two = replace(twin, defects=(region, replace(region, tone=None, kind="oil stain")))
    assert describe_defects(two) == (
        "There is a dark scratch in the upper left and an oil stain in the upper left."
    )


def test_a_made_set_is_the_same_in_one_go_grown_and_resumed(tmp_path: Path) -> None:
    recipe = Recipe(seed=5, sizes=((64, 64),))
    families = ("capsule", "leather")
    whole, grown = tmp_path / "whole", tmp_path / "grown"
    assert make_dataset(whole, recipe, families, pairs=3) == 12
    make_dataset(grown, recipe, families, pairs=1)
    assert set(contents(grown).items()) - set(contents(whole).items()) == {
        ("samples.jsonl", contents(grown)["samples.jsonl"])
    }
    assert make_dataset(grown, recipe, families, pairs=3) == 8
    assert contents(grown) == contents(whole)
    # Stopped amid the last pair: half of its rows, the last one cut off, a file missing.
    lines = (grown / "samples.jsonl").read_text()
    (grown / "samples.jsonl").write_text(lines[: len(lines) - 7])
    (grown / json.loads(lines.splitlines()[-1])["path"]).unlink()
    counted: list[int] = []
    assert make_dataset(grown, recipe, families, 3, on_images=counted.append) == 2
    assert sum(counted) == 12
    assert contents(grown) == contents(whole)
    other = tmp_path / "other"
    make_dataset(other, replace(recipe, seed=6), families, pairs=1)
    same = set(contents(other).items()) & set(contents(whole).items())
    assert not same


def test_make_refuses_what_is_not_its_own(tmp_path: Path) -> None:
    recipe = Recipe(sizes=((64, 64),))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/photo.png").touch()
    with pytest.raises(DatasetError, match="did not make"):
        make_dataset(tmp_path / "mine", recipe, ("leather",), 1)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["photo.png"]
    make_dataset(tmp_path / "set", recipe, ("leather",), 1)
    with pytest.raises(DatasetError, match="same seed"):
        make_dataset(tmp_path / "set", replace(recipe, seed=1), ("leather",), 1)


def test_families_are_named_alone_or_by_split() -> None:
    assert choose_families("test") == TEST_FAMILIES
    assert choose_families("hex_nut, validation,hex nut") == ("hex nut", *VALIDATION_FAMILIES)
    with pytest.raises(SettingsError, match="leather"):
        choose_families("lether")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--families", "unicorn"], "unicorn"),
        (["--size", "20"], "64 to 1024"),
        (["--size", "big"], "320x180"),
        (["--difficulty", "2"], "difficulty"),
    ],
)
def test_wrong_arguments_of_make_are_explained(
    arguments: list[str], words: str, tmp_path: Path
) -> None:
    code, output = flawsight("data", "make", tmp_path / "set", "--pairs", 1, *arguments)
    assert code == 2
    assert words in output
    assert not (tmp_path / "set").exists()


def test_a_made_set_passes_the_check(tmp_path: Path) -> None:
    make_dataset(tmp_path / "set", Recipe(sizes=((64, 64),)), ("leather",), pairs=2, train=1)
    code, output = flawsight("data", "check", tmp_path / "set")
    assert code == 0, output
    code, output = flawsight("data", "check", tmp_path / "set/samples.jsonl")
    assert code == 0, output


def listed(name: str, sizes: dict[str, tuple[int, int]]) -> Dataset:
    """A data set of files that are not there; sizes: category → (normal, defective)."""
    samples = [
        Sample(Path(f"/{name}/{category}/{label}/{index}.png"), label, category, "test", "x")
        for category, counts in sizes.items()
        for label, count in enumerate(counts)
        for index in range(count)
    ]
    return Dataset(name, Path("/" + name), tuple(samples))


def tally(mixed: list[MixedSample]) -> Counter[tuple[str, str, int]]:
    return Counter((m.dataset, m.sample.category, m.sample.label) for m in mixed)


def test_a_mix_is_balanced_and_even() -> None:
    visa = listed("VisA", {"candle": (90, 30), "cashew": (90, 30), "fryum": (90, 4)})
    vision = listed("VISION", {"Ring": (2, 100)})
    found = tally(training_mix([visa, vision], 100))
    # 50 of each label: VISION has 2 normal ones, so VisA gives 48; 25 defective ones each.
    assert found == {
        ("VisA", "candle", 0): 16, ("VisA", "cashew", 0): 16, ("VisA", "fryum", 0): 16,
        ("VisA", "candle", 1): 11, ("VisA", "cashew", 1): 10, ("VisA", "fryum", 1): 4,
        ("VISION", "Ring", 0): 2, ("VISION", "Ring", 1): 25,
    }  # fmt: skip


def test_a_mix_depends_on_the_seed_only() -> None:
    sets = [listed("A", {"nut": (40, 40)}), listed("B", {"lid": (40, 40)})]
    assert training_mix(sets, 20, 3) == training_mix(sets[::-1], 20, 3)
    assert training_mix(sets, 20, 3) != training_mix(sets, 20, 4)
    images = [m.sample.image for m in training_mix(sets, 20, 3)]
    assert len(set(images)) == 20
    assert not {m.sample.image for m in training_mix(sets, 20, 3, without={images[0]})} & {
        images[0]
    }


def test_a_mix_without_enough_images_stays_balanced() -> None:
    found = tally(training_mix([listed("A", {"nut": (50, 7)})], 40))
    assert found == {("A", "nut", 0): 7, ("A", "nut", 1): 7}
    with pytest.raises(DatasetError, match="50 normal and 0 defective"):
        training_mix([listed("A", {"nut": (50, 0)})], 40)


def test_no_product_of_the_test_sets_is_in_a_mix() -> None:
    visa = listed("VisA", {"capsules": (9, 9), "candle": (9, 9)})
    vision = listed("VISION", {"Screw": (9, 9), "PCB_1": (9, 9)})
    goods = listed("GoodsAD", {"drink_bottle": (9, 9)})
    mixed = training_mix([visa, vision, goods], 20)
    assert {m.sample.category for m in mixed} == {"candle", "PCB_1", "drink_bottle"}
    shared = {
        (s.category, s.test_category): s.excluded for s in shared_products([visa, vision, goods])
    }
    assert shared == {
        ("capsules", "capsule"): True, ("Screw", "screw"): True, ("drink_bottle", "bottle"): False,
    }  # fmt: skip
    tested = [listed("own", {"pcb": (1, 1)})]
    mixed = training_mix([visa, vision, goods], 20, test_datasets=tested)
    assert "PCB_1" not in {m.sample.category for m in mixed}


@pytest.mark.parametrize(
    ("category", "words"),
    [
        ("metal_nut", ("metal", "nut")),
        ("MetalNuts", ("metal", "nut")),
        ("pcb4", ("pcb",)),
        ("PCB_1", ("pcb",)),
        ("Wine glass", ("wine", "glass")),
        ("01", ()),
    ],
)
def test_names_of_products_are_normalised(category: str, words: tuple[str, ...]) -> None:
    assert product_words(category) == words


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 30), min_size=1), st.data())
def test_shares_are_as_even_as_sizes_allow(sizes: dict[str, int], data: st.DataObject) -> None:
    total = data.draw(st.integers(0, sum(sizes.values())))
    # Brute force: give one at a time to whoever has least and can take more.
    given_out = dict.fromkeys(sizes, 0)
    for _ in range(total):
        able = [name for name in sizes if given_out[name] < sizes[name]]
        given_out[min(able, key=lambda name: given_out[name])] += 1
    shares = fair_shares(sizes, total)
    assert sorted(shares.values()) == sorted(given_out.values())
    assert all(shares[name] <= sizes[name] for name in sizes)


def write_tree(root: Path, category: str, count: int, first_seed: int) -> None:
    for index in range(count):
        write_image(root / category / f"test/good/{index:03d}.png", first_seed + index)
        write_image(root / category / f"test/bad/{index:03d}.png", first_seed + 1000 + index)


def test_mix_writes_a_list_without_test_products_or_files(tmp_path: Path) -> None:
    write_tree(tmp_path / "visa", "candle", 6, 0)
    write_tree(tmp_path / "visa", "capsules", 6, 20)
    write_tree(tmp_path / "goods", "food_box", 6, 40)
    write_tree(tmp_path / "tested", "lamp", 3, 60)
    shutil.copy(
        tmp_path / "visa/candle/test/good/002.png", tmp_path / "tested/lamp/test/good/000.png"
    )
    arguments = [
        "--data", f"one={tmp_path / 'visa'}", "--data", f"two={tmp_path / 'goods'}",
        "--images", 24, "--test-data", f"own={tmp_path / 'tested'}",
    ]  # fmt: skip
    code, output = flawsight("data", "mix", tmp_path / "mix.jsonl", *arguments)
    assert code == 0, output
    assert "one capsules: left out (MVTec-AD capsule)" in output
    assert "1 files that occur in the test data were left out" in output
    assert "22 images, 2 fewer than asked" in output
    rows = [json.loads(line) for line in (tmp_path / "mix.jsonl").read_text().splitlines()]
    assert Counter(row["label"] for row in rows) == {0: 11, 1: 11}
    assert {(row["dataset"], row["category"]) for row in rows} == {
        ("one", "candle"), ("two", "food_box"),
    }  # fmt: skip
    assert all(Path(row["path"]).is_file() and row["split"] == "train" for row in rows)
    assert not any("mask" in row for row in rows)
    reread = open_datasets(str(tmp_path / "mix.jsonl"))
    assert {d.name for d in reread} == {"one", "two"}
    assert sum(len(d.split("train").samples) for d in reread) == 22
    flawsight("data", "mix", tmp_path / "again.jsonl", *arguments)
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "mix.jsonl").read_bytes()
    code, output = flawsight("data", "mix", tmp_path, *arguments)
    assert code == 2
    assert "is a folder" in output


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("check", "Exit code 0"),
        ("list", "--data-root"),
        ("make", "--pairs"),
        ("mix", "--test-data"),
    ],
)
def test_every_verb_has_help(verb: str, words: str) -> None:
    code, output = flawsight("data", verb, "--help")
    assert code == 0
    assert words in output
