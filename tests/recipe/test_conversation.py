"""Questions and responses that the bundled model learns tell the truth about rendered surfaces."""

import colorsys
import re

import numpy as np
import pytest
from conversation import (
    PLACES,
    Question,
    draw_question,
    draw_verdict,
    inspection,
    plural,
    respond,
    respond_swapped,
)
from data import SUBJECTS

from flawsight.mllm.contradiction import contradicts, telling_sentence
from flawsight.mllm.response import follows_form, parse_response
from flawsight.prompt import INSTRUCTION
from flawsight_surfaces import SurfaceSample, family_named, render_pair

HUES = {"red": 0, "orange": 30, "brown": 25, "yellow": 57, "green": 120, "blue": 220,
        "purple": 285, "pink": 335}  # fmt: skip


def text_of(question: Question, sample: SurfaceSample, seed: int) -> str:
    return "".join(piece for piece, _ in respond(question, sample, np.random.default_rng(seed)))


def test_verdicts_follow_the_form_and_tell_the_truth() -> None:
    rng = np.random.default_rng(0)
    for seed in range(40):
        for sample in render_pair(rng, (64, 64), defects=2):
            text = text_of(inspection(), sample, seed)
            assert follows_form(text)
            response = parse_response(text)
            assert response.answer == ("Yes" if sample.label else "No")
            reasoning = text[slice(*response.reasoning)]
            assert not contradicts(reasoning, response.answer)
            sentence = telling_sentence(reasoning, response.answer)
            for region in sample.defects:
                assert f"{region.kind} in the {region.place}" in sentence
                assert (region.tone or "") in sentence
            for feature in sample.features:
                assert feature.kind in reasoning


def test_a_question_and_its_wording_are_the_same_for_both_images_of_a_pair() -> None:
    rng = np.random.default_rng(1)
    abouts = set()
    for seed in range(150):
        pair = render_pair(rng, (64, 64), difficulty=0.0)
        question = draw_question(pair, SUBJECTS, rng) if seed % 2 else draw_verdict(pair, rng)
        abouts.add(question.about)
        normal, defective = (text_of(question, sample, seed) for sample in pair)
        assert (INSTRUCTION in question.text) == ("<think>" in normal)
        if question.about == "verdict":
            first = [text[: text.index("There ")] for text in (normal, defective)]
            if pair[0].count == pair[1].count:  # one of nine lamps may be missing
                assert first[0] == first[1]
        if question.about == "presence" and question.subject == pair[1].defect:
            assert parse_response(normal).answer == "No"
            assert parse_response(defective).answer == "Yes"
    assert len(abouts) >= 5


def test_where_to_look_is_said_to_both_images_and_is_often_wrong() -> None:
    rng = np.random.default_rng(3)
    told, right = 0, 0
    for _ in range(60):
        pair = render_pair(rng, (64, 64), difficulty=0.0)
        for _ in range(10):
            text = draw_verdict(pair, rng).text
            assert text.endswith(INSTRUCTION)
            if "Look closely" in text:
                told += 1
                right += f"at the {pair[1].defects[0].place}." in text
    assert 60 < told < 180
    assert 0.4 < right / told < 0.85


def test_with_a_swapped_reasoning_only_the_answer_counts() -> None:
    normal, defective = render_pair(np.random.default_rng(2), (64, 64))
    pieces = list(respond_swapped(inspection(), normal, defective, np.random.default_rng(3)))
    assert [piece for piece, weight in pieces if weight] == ["No"]
    assert f"{defective.defect} in the {defective.place}" in "".join(p for p, _ in pieces)


@pytest.fixture(scope="module")
def pairs() -> list[tuple[SurfaceSample, SurfaceSample]]:
    rng = np.random.default_rng(8)
    photo = rng.integers(0, 256, (30, 40, 3), np.uint8)
    return [
        render_pair(
            rng,
            (84, 96),
            defects=1 + number % 3,
            features=0 if number % 2 else None,
            photo=photo if number % 5 == 0 else None,
        )
        for number in range(300)
    ]


def test_each_defect_is_named_once_and_with_its_place(
    pairs: list[tuple[SurfaceSample, SurfaceSample]],
) -> None:
    several = together = 0
    for _, sample in pairs:
        text = text_of(inspection(), sample, 0)
        told = telling_sentence(text, "Yes")
        things = [
            (region.kind, region.place)
            for region in sample.defects
            if re.search(rf"\b{region.kind}s? in the {region.place}\b", told)
        ]
        assert len(things) == len(sample.defects), text  # none without its place
        assert len(set(things)) == len(things) or " two " in told or " three " in told
        several += len(things) > 1
        together += len({place for _, place in things}) < len(things)
        for region in sample.defects:  # what is said to be there is there, not only around it
            assert _share_in(region.mask, region.place) > 0.2, (region.kind, region.place)
    assert several > 100
    assert together < several / 3


def _share_in(mask: np.ndarray, place: str) -> float:
    """Return the share of a mask that lies in a cell of the 3x3 grid, give or take some pixels."""
    row, column = divmod(PLACES.index(place), 3)
    edges = [np.linspace(0, side, 4) for side in mask.shape]
    top, bottom = edges[0][row] - 2, edges[0][row + 1] + 2
    left, right = edges[1][column] - 2, edges[1][column + 1] + 2
    rows, columns = np.nonzero(mask)
    inside = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
    return float(inside.mean())


def test_colors_in_the_text_are_those_of_the_picture(
    pairs: list[tuple[SurfaceSample, SurfaceSample]],
) -> None:
    seen = set()
    for sample, _ in pairs:
        if sample.color is None or sample.background or sample.features:
            continue
        opening = text_of(inspection(), sample, 0).split(". ")[0]
        assert f" {sample.color} " in opening or "photographed" in sample.family
        # Little else than the surface is in view: the mean of all pixels has its color.
        red, green, blue = sample.image.reshape(-1, 3).mean(axis=0) / 255
        hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
        seen.add(sample.color)
        if sample.color in HUES:
            gap = abs(hue * 360 - HUES[sample.color]) % 360
            assert min(gap, 360 - gap) < 50, (sample.color, sample.family)
        elif sample.color == "gray":
            assert saturation < 0.35, sample.family
            assert 0.15 < value < 0.9, sample.family
        else:
            assert (value > 0.6) == (sample.color == "white"), (sample.color, sample.family)
    assert len(seen) > 4


def test_a_response_without_defects_describes_only_what_is_true(
    pairs: list[tuple[SurfaceSample, SurfaceSample]],
) -> None:
    described = 0
    for number, (sample, _) in enumerate(pairs):
        text = text_of(inspection(), sample, number)
        assert not contradicts(text, "No")
        if "the surface is even" in text:
            described += 1
            luma = sample.image.mean(axis=2)
            quarters = [
                half.mean()
                for rows in np.array_split(luma, 2)
                for half in np.array_split(rows, 2, axis=1)
            ]
            assert np.ptp(quarters) < 30
            assert not sample.features
        elif found := re.search(r"all (\w+) [\w ]+ are as they", text):
            described += 1
            assert found[1] in text_of(Question("", "number"), sample, 0)
        elif "is whole" in text:
            described += 1
            assert sample.background
    assert described > 20


def test_more_than_one_thing_is_said_in_the_plural(
    pairs: list[tuple[SurfaceSample, SurfaceSample]],
) -> None:
    seen = 0
    for sample, _ in pairs:
        family = family_named(sample.family)
        if family.items == family.noun and sample.several:
            seen += 1
            assert re.search(rf"\b{plural(family.noun)}\b", text_of(inspection(), sample, 0))
    assert seen > 8


def test_dust_and_light_are_called_harmless_and_not_intended(
    pairs: list[tuple[SurfaceSample, SurfaceSample]],
) -> None:
    seen = 0
    for number, (sample, _) in enumerate(pairs):
        if {feature.kind for feature in sample.features} & {"dust", "shadow"}:
            reasoning = text_of(inspection(), sample, number)
            if len(sample.features) == 1:
                seen += 1
                assert re.search(r", (which does no harm|which is harmless|as usual)\.", reasoning)
    assert seen > 3
