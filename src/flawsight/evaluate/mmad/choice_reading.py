"""A response to a multiple-choice question → the letter that it chooses.

There are two readers. `mmad_choice` reads as MMAD's published evaluation does, for figures that
compare with published ones: the last capital A to E that stands alone, or else the option whose
text is closest, however far. `read_choice` agrees with it on an answer in the form asked for, and
differs on others:

- reasoning in <think> tags is left out;
- "answer is b", "(b)" and "b." are read, too;
- a letter that is no option, and the article in "A scratch …", are no answers;
- an option's text counts only if the response holds it, or nearly is it. Anything else is no
  answer, which counts as wrong.
"""

import re
from collections.abc import Mapping
from difflib import get_close_matches

_REASONING = re.compile(r"<think>.*?(?:</think>|\Z)|\A.*</think>", re.DOTALL | re.IGNORECASE)
_TAGGED = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.DOTALL | re.IGNORECASE)
_MARKS = r"[\s*_`\"'(\[{:]*"
# "Answer: C", "the answer is (b)", "option C", "\boxed{C}"; but not "answer a question".
_STATED = re.compile(
    rf"(?:\banswer\b[\s*_]*(?:(?:is|would be|should be)\b|:|=)(?:{_MARKS}\boption\b)?"
    rf"|\boption\b|\bchoice\b|\\boxed){_MARKS}"
    r"([A-Za-z])(?![A-Za-z0-9]|'\w)",
    re.IGNORECASE,
)
_BARE = re.compile(rf"{_MARKS}([A-Za-z])[\s.,;:!*_`\"')\]}}]*")
_CAPITAL = re.compile(r"\b([A-Z])\b(?!'\w)")
_ARTICLE = re.compile(r"\bA(?=\s+(?!is\b|and\b|or\b)[a-z])")
_MMAD = re.compile(r"\b([A-E])\b")


def read_choice(response: str, options: Mapping[str, str]) -> str | None:
    """Return the letter of the option that a response chooses; None if it chooses none.

    Of several letters the last counts, as in MMAD's evaluation.

    Args:
        response: of the model.
        options: letter → text.
    """
    text = _REASONING.sub(" ", response)
    if tagged := _TAGGED.findall(text):
        text = tagged[-1]
    text = text.strip()
    if (bare := _BARE.fullmatch(text)) and bare[1].upper() in options:
        return bare[1].upper()
    stated = [m[1].upper() for m in _STATED.finditer(text) if not _is_article(m, text)]
    if stated := [letter for letter in stated if letter in options]:
        return stated[-1]
    if said := _by_text(text, options, exactly=True):
        return said
    letters = [letter for letter in _CAPITAL.findall(_ARTICLE.sub(" ", text)) if letter in options]
    return letters[-1] if letters else _by_text(text, options, exactly=False)


def mmad_choice(response: str, options: Mapping[str, str]) -> str | None:
    """Return the letter that MMAD's published evaluation reads.

    Args:
        response: of the model.
        options: letter → text.
    """
    if letters := _MMAD.findall(response):
        return str(letters[-1])
    closest = get_close_matches(response, options.values(), n=1, cutoff=0.0)
    return next((letter for letter, text in options.items() if text in closest), None)


def _is_article(match: re.Match[str], text: str) -> bool:
    """Whether an "a" begins a noun phrase: "the answer is a scratch"."""
    rest = text[match.end(1) :]
    return match[1] in "Aa" and re.match(r"\s+(?!is\b|and\b|or\b)[a-z]", rest) is not None


def _by_text(text: str, options: Mapping[str, str], exactly: bool) -> str | None:
    plain = {letter: _plain(option) for letter, option in options.items()}
    said = _plain(text)
    if exactly:
        return next((letter for letter, option in plain.items() if option == said), None)
    held = {
        letter: option
        for letter, option in plain.items()
        if option and re.search(rf"\b{re.escape(option)}\b", said)
    }
    # "left" within "upper left" is no option of its own.
    held = {a: x for a, x in held.items() if not any(x != y and x in y for y in held.values())}
    if len(held) == 1:
        return next(iter(held))
    if held:
        # "No, yes would be wrong": an answer comes first.
        first = [letter for letter, option in held.items() if said.startswith(option)]
        return first[0] if first else None
    near = get_close_matches(said, plain.values(), n=1, cutoff=0.8)
    return next((letter for letter, option in plain.items() if option in near), None)


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))
