"""Facts of a rendered surface → a question and the response that the model learns.

Defects and benign features share one sentence frame, "There is a … in the …", and one question
frame, "Are there any … in the image?". Only the question decides which of them the response names,
so the tokens that name a defect must attend to the question.

The reasoning first describes the part and its benign features and then commits to a verdict in one
token; a greedy decoder cannot change the verdict half way. Each piece of text has a weight in the
loss: the deciding tokens weigh most, the tokens of the frame least.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from flawsight.prompt import INSTRUCTION, QUESTION
from flawsight_surfaces import DefectRegion, Feature, SurfaceSample, family_named

VERDICT = 4.0
PLACE = 2.0
KIND = 1.5
FACT = 0.7
TEMPLATE = 0.1

Piece = tuple[str, float]
Pair = tuple[SurfaceSample, SurfaceSample]

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_OPENINGS = ("This shows", "The image shows", "Here one sees")
_BELONGS = (", as there should be", ", as intended", " by design")
_HARMLESS = (", which does no harm", ", which is harmless", ", as usual")
_WRONG = (", which should not be there", ", out of place there")
# Kinds that are not counted; those in the plural need no article either.
_MASS = {"dust", "engraving", "shading", "soiling", "text"}
_DIRT = {"dust", "soiling", "watermark", "crumbs"}
_INCIDENTAL = _DIRT | {"shading", "shadow", "highlight"}  # nobody put them there
# In reading order; places along an edge or across the image come last.
PLACES = (
    "upper left", "upper center", "upper right", "middle left", "center", "middle right",
    "lower left", "lower center", "lower right", "along the upper edge", "along the lower edge",
    "along the left edge", "along the right edge", "across the center", "down the center",
)  # fmt: skip
CELLS = PLACES[:9]
LOOK = "Look closely at the {}."
_DEFECTIVE = (" The part is defective.", " So it is not as it should be.", "")
_SOUND = (" wrong: all is as it should be.", " out of the ordinary.")
_VERDICTS = (
    "Is there any defect in the image?",
    "Are there any anomalies in the image?",
    "Does the part have a defect?",
    "Is anything abnormal in the image?",
    "Is the part damaged?",
    "Is something wrong here?",
)


@dataclass(frozen=True)
class Question:
    """A question about both images of a pair.

    Attributes:
        text: the user's text, with the instruction if the answer is Yes or No.
        about: key of `_RESPONSES`.
        subject: the kind of feature or defect in question; empty if there is none.
    """

    text: str
    about: str
    subject: str = ""


def inspection() -> Question:
    """Return the question that flawsight asks."""
    return Question(f"{QUESTION} {INSTRUCTION}", "verdict")


def draw_verdict(pair: Pair, rng: np.random.Generator) -> Question:
    """Draw a question for the verdict; five out of six are flawsight's own.

    A fifth says where to look, more often than not where the defect is. The good image of the pair
    gets the same question: where to look tells nothing about the verdict.
    """
    asked = QUESTION if rng.random() < 5 / 6 else str(rng.choice(_VERDICTS))
    if rng.random() < 0.2:
        there = [region.place for region in pair[1].defects if region.place in CELLS]
        place = there[0] if there and rng.random() < 0.6 else str(rng.choice(CELLS))
        asked = f"{asked} {LOOK.format(place)}"
    return Question(f"{asked} {INSTRUCTION}", "verdict")


def draw_question(pair: Pair, kinds: Sequence[str], rng: np.random.Generator) -> Question:
    """Draw a question other than for the verdict that makes sense for both images.

    Args:
        pair: normal and defective.
        kinds: features and defects that a question may name although they are absent.
        rng: random state of the draw.
    """
    draw = rng.random()
    normal, defective = pair
    there = [feature.kind for feature in defective.features]
    there += [region.kind for region in defective.defects]
    if draw < 0.5:
        chosen = there if there and rng.random() < 0.6 else kinds
        subject = chosen[int(rng.integers(len(chosen)))]
        asked = (
            f"Is there any {subject}" if subject in _MASS else f"Are there any {plural(subject)}"
        )
        return Question(f"{asked} in the image? {INSTRUCTION}", "presence", subject)
    if draw < 0.7 and there:
        subject = there[int(rng.integers(len(there)))]
        return Question(f"Where is the {subject}?", "location", subject)
    items = family_named(normal.family).items
    if draw < 0.78 and items and normal.count:
        return Question(f"How many {plural(items)} are there?", "number")
    if draw < 0.85 and normal.color:
        return Question("What color is the part?", "color")
    if draw < 0.92:
        return Question("What belongs on the part?", "features")
    return Question("Describe the image.", "description")


def respond(question: Question, sample: SurfaceSample, rng: np.random.Generator) -> Iterator[Piece]:
    """Yield the response in pieces, each with its weight in the loss.

    With equal random states both images of a pair get the same wording and differ in facts alone.
    """
    return _RESPONSES[question.about](question, sample, rng)


def respond_swapped(
    question: Question, sample: SurfaceSample, other: SurfaceSample, rng: np.random.Generator
) -> Iterator[Piece]:
    """Yield the reasoning of the pair's other image, wrong here, and then the right answer.

    Only the answer counts in the loss. Without such responses the model copies the answer from the
    reasoning, and P(Yes) is 0 or 1. With them the answer depends on the image, and P(Yes) ranks
    images.
    """
    for piece, _ in respond(question, other, rng):
        right = "Yes" if sample.label else "No"
        yield (right, VERDICT) if piece in ("Yes", "No") else (piece, 0.0)


def _verdict(
    _question: Question, sample: SurfaceSample, rng: np.random.Generator
) -> Iterator[Piece]:
    opening, belongs, wrong, end = rng.integers(3, size=4).tolist()
    yield "<think>", TEMPLATE
    yield from _opening(sample, opening)
    if sample.features:
        incidental = all(feature.kind in _INCIDENTAL for feature in sample.features)
        ending = (_HARMLESS if incidental else _BELONGS)[belongs]
        yield from _there_is(_features(sample), ending)
        yield ". ", TEMPLATE
    if sample.label:
        yield from _there_is(_defects(sample.defects), _WRONG[wrong % 2], VERDICT)
        yield f".{_DEFECTIVE[end]}", TEMPLATE
    else:
        yield "There is", TEMPLATE
        yield " nothing", VERDICT
        described = _description_of_sound(sample) if end == 2 else ""
        yield described or _SOUND[end % 2], FACT if described else TEMPLATE
    yield "</think><answer>", TEMPLATE
    yield "Yes" if sample.label else "No", FACT
    yield "</answer>", TEMPLATE


def _description_of_sound(sample: SurfaceSample) -> str:
    """Return what is true of a part without defects, or nothing if no sentence is sure to be."""
    family = family_named(sample.family)
    clean = not any(feature.kind in _DIRT for feature in sample.features)
    if family.items and sample.count and sample.count > 1:
        which = "both" if sample.count == 2 else f"all {number(sample.count)}"
        if sample.count < len(_NUMBERS):
            return f" wrong: {which} {plural(family.items)} are as they should be."
    if sample.even:
        return " wrong: the surface is even and clean."
    if sample.background and family.made_of and not family.items:
        return f" wrong: the {family.noun} is whole{' and clean' if clean else ''}."
    return ""


def _presence(
    question: Question, sample: SurfaceSample, rng: np.random.Generator
) -> Iterator[Piece]:
    yield "<think>", TEMPLATE
    yield from _opening(sample, int(rng.integers(3)))
    found = [thing for thing in _things(sample) if thing.kind == question.subject]
    if found:
        yield from _there_is(found, "", VERDICT / 2)
        yield ".", TEMPLATE
    else:
        yield from (("There is", TEMPLATE), (" no", VERDICT / 2), (f" {question.subject}.", FACT))
    yield "</think><answer>", TEMPLATE
    yield "Yes" if found else "No", FACT
    yield "</answer>", TEMPLATE


def _location(
    question: Question, sample: SurfaceSample, _rng: np.random.Generator
) -> Iterator[Piece]:
    places = [t.place for t in _things(sample) if t.kind == question.subject and t.place]
    if places:
        yield f"It is{_preposition(places[0])}", FACT
        yield f" {places[0]}", PLACE
    else:
        yield f"There is no {question.subject}", FACT
    yield ".", TEMPLATE


def _number(
    _question: Question, sample: SurfaceSample, _rng: np.random.Generator
) -> Iterator[Piece]:
    count = sample.count or 0
    yield "There is" if count == 1 else "There are", TEMPLATE
    yield f" {number(count)}", PLACE
    yield ".", TEMPLATE


def _color(
    _question: Question, sample: SurfaceSample, _rng: np.random.Generator
) -> Iterator[Piece]:
    yield from (("It is", TEMPLATE), (f" {sample.color or 'gray'}", PLACE), (".", TEMPLATE))


def _belonging(
    _question: Question, sample: SurfaceSample, _rng: np.random.Generator
) -> Iterator[Piece]:
    if sample.features:
        yield from _there_is(_features(sample), "", FACT)
    else:
        yield "There is nothing else", FACT
    yield ".", TEMPLATE


def _description(
    _question: Question, sample: SurfaceSample, rng: np.random.Generator
) -> Iterator[Piece]:
    yield from _opening(sample, int(rng.integers(3)))
    if things := _things(sample):
        yield from _there_is(things, "", FACT)
        yield ".", TEMPLATE


_RESPONSES: dict[str, Callable[[Question, SurfaceSample, np.random.Generator], Iterator[Piece]]] = {
    "verdict": _verdict,
    "presence": _presence,
    "location": _location,
    "number": _number,
    "color": _color,
    "features": _belonging,
    "description": _description,
}


@dataclass(frozen=True)
class _Thing:
    """A feature or defect in words."""

    kind: str
    adjective: str | None
    place: str | None
    count: int = 1


def _features(sample: SurfaceSample) -> list[_Thing]:
    """Sort the features by place: there is one right text."""
    ordered: list[Feature] = sorted(sample.features, key=_reading_order)
    return [_Thing(f.kind, f.color, f.place, f.count) for f in ordered]


def _reading_order(feature: Feature) -> tuple[int, str]:
    place = feature.place
    return PLACES.index(place) if place in PLACES else len(PLACES), feature.kind


def _defects(regions: Sequence[DefectRegion]) -> list[_Thing]:
    """List the defects, the largest first; those of one kind in one place are one thing."""
    groups: dict[tuple[str, str], list[DefectRegion]] = {}
    for region in regions:
        groups.setdefault((region.kind, region.place), []).append(region)
    things = []
    for (kind, place), alike in groups.items():
        tones = {region.tone for region in alike}
        things.append(_Thing(kind, tones.pop() if len(tones) == 1 else None, place, len(alike)))
    return things


def _things(sample: SurfaceSample) -> list[_Thing]:
    return [*_features(sample), *_defects(sample.defects)]


def _opening(sample: SurfaceSample, wording: int) -> Iterator[Piece]:
    """`This shows a gray casting on a background. `"""
    family = family_named(sample.family)
    counted = bool(family.items and sample.count and sample.count > 1)
    # Items that are all there is to see are several although one of them is cut off.
    several = counted or (sample.several and sample.count is None and family.items == family.noun)
    noun = plural(family.items or "") if several else f"{family.made_of} {family.noun}".strip()
    words = " ".join(word for word in (sample.color, noun) if word)
    many = number(sample.count or 0) if counted else "several"
    yield _OPENINGS[wording], TEMPLATE
    yield f" {many if several else article(words)} {words}", FACT
    yield " on a background" if sample.background else "", FACT
    yield ". ", TEMPLATE


def _there_is(things: Sequence[_Thing], ending: str, commitment: float = FACT) -> Iterator[Piece]:
    """`There is a dark scratch in the center and a dent in the upper left, …`

    `commitment` is the weight of the first word after "There is".
    """
    kinds = [plural(thing.kind) if thing.count > 1 else thing.kind for thing in things]
    yield "There are" if _is_plural(kinds[0]) else "There is", TEMPLATE
    for index, (thing, kind) in enumerate(zip(things, kinds, strict=True)):
        if index:
            yield " and" if index == len(things) - 1 else ",", FACT
        words = " ".join(word for word in (thing.adjective, kind) if word)
        if thing.count > 1:
            yield f" {number(thing.count)}", FACT if index else commitment
        elif kind not in _MASS and not _is_plural(kind):
            yield f" {article(words)}", FACT if index else commitment
        yield f" {words}", KIND
        if thing.place:
            yield _preposition(thing.place), TEMPLATE
            yield f" {thing.place}", PLACE
    yield ending, TEMPLATE


def _preposition(place: str) -> str:
    """Return the preposition of a place; "along the edge" already has one."""
    return (
        "" if place.startswith(("along", "across", "around", "all", "over", "down")) else " in the"
    )


def article(words: str) -> str:
    """Return "a" or "an"."""
    return "an" if words[0] in "aeiou" else "a"


def number(count: int) -> str:
    """Return a number up to ten as a word, "many" above."""
    return _NUMBERS[count] if count < len(_NUMBERS) else "many"


def _is_plural(kind: str) -> bool:
    return kind.endswith("s") and not kind.endswith("ss")


def plural(noun: str) -> str:
    """Return the plural of a regular noun; a plural stays as it is."""
    if _is_plural(noun):
        return noun
    if noun.endswith(("s", "x", "ch", "sh")):
        return f"{noun}es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"
