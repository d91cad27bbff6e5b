"""Do verdict, answer and reasoning agree? A lexical rule for English reads the reasoning."""

import re
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Literal

_FAULTS = (
    r"\b(?:defect|anomal|abnormal|damag|fault(?!less)|flaw(?!less)|scratch|crack|dent|hole|"
    r"stain(?!less)|broken|missing|contaminat|chip|bent|burn(?!ish)|tear|torn|wrong|irregular|"
    r"scuff|crease|smear|misprint|corro[ds]|rust(?!ic)|(?:dis|mis)colou?r|bubble|"
    r"bump|pit(?:s|ted|ting)?\b|spot(?!less)|worn\b|foreign|deform|misplace|misalign|unusual)\w*\b"
)
# After the fault these make it a feature: "a hole in the center, as intended".
_BENIGN = r"as (?:intended|designed|there should be)\b|by design\b"
_FAULT = re.compile(
    rf"{_FAULTS}(?![- ]free\b|[^,.]*(?<!\bnot),?\s(?:{_BENIGN}))|\bout of place\b|"
    r"\b(?:do(?:es)?|should|must)(?: not|n['’]t) (?:belong|be (?:there|here|present|visible))\b",
    re.IGNORECASE,
)
_DENIAL = re.compile(
    r"\b(?:no|nothing|none|nowhere|neither|nor|never|cannot|absence|lacks?)\b|"
    r"(?:\bnot|n['’]t)\b(?!\s+(?:only|just|without|free)\b)|"
    r"(?<!\bnot )(?<!n['’]t )\b(?:without|free (?:of|from))\b",
    re.IGNORECASE,
)
# After the fault only these deny it: "a crack that should not be there" is one.
_LATE_DENIAL = re.compile(
    r"\b(?:absent|nowhere|none)\b|"
    r"(?:(?<!\bshould )\bnot|\bnever|\bcannot|(?<!\bshould)n['’]t)\s+(?:be\s+)?(?:\w+ly\s+)?"
    r"(?:visible|present|seen|found|detected|apparent|observed|evident|notice\w*|exist|appear)\b",
    re.IGNORECASE,
)
_SOUND = re.compile(
    rf"\b(?:intact|flawless|undamaged|unbroken|faultless)\b|{_FAULTS}[- ]free\b|"
    r"\b(?:is|are|looks?|appears?|seems?)(?: not|n['’]t)?(?: to be)?(?: \w+ly)? normal\b|"
    r"\bas (?:it|they) should\b|\bin (?:good|perfect|excellent) condition\b",
    re.IGNORECASE,
)
_CLAUSE = re.compile(
    rf"[.;!?\n—]|,(?!\s(?:{_BENIGN}))|\s[-–]\s|:(?!\s*no)|"
    r"\b(?:but|however|although|though|while|whereas|except|apart from)\b|"
    r"\band\s+(?=(?:there|it|the|is|has|shows?|all|everything)\b)",
    re.IGNORECASE,
)
# Between two items of a list.
_NEXT = re.compile(
    r"(?:,\s+(?:and\s+)?|\s+and\s+)(?=(?:an?|another|one|two|some|the)\s)", re.IGNORECASE
)
_LISTED = re.compile(
    r"\s*(?:(?:or|nor)\s+(?:an?\s+|any\s+)?|and\s+)?"
    r"(?:(?!(?:an?|the|this|that|there|one|some|several|only|just|it|is|are|has|shows?|so|with|"
    rf"without|no|not|never|nothing)\b)[\w-]+\s+){{0,2}}{_FAULTS}|"
    rf"\s*an?\s+(?:[\w-]+\s+){{0,2}}{_FAULTS},?\s+n?or\b",
    re.IGNORECASE,
)


def disagreements(verdict: bool, answer: str | None, reasoning: str) -> tuple[str, ...]:
    """Return which pairs disagree, of "verdict/answer", "verdict/reasoning", "answer/reasoning".

    Args:
        verdict: True for a defect.
        answer: "Yes" or "No"; None disagrees with nothing, as a reasoning without a claim.
        reasoning: in words.
    """
    said = {"verdict": "Yes" if verdict else "No", "answer": answer, "reasoning": claim(reasoning)}
    pairs = combinations(said, 2)
    return tuple(f"{a}/{b}" for a, b in pairs if said[b] not in (said[a], None))


def disagreement_sentence(pairs: Sequence[str], verdict: bool, answer: str) -> str:
    """Say in words what `disagreements` returned for a verdict and an answer; "" if nothing.

    The one that disagrees with both others comes first.
    """
    if not pairs:
        return ""
    faulty = not verdict if "verdict/reasoning" in pairs else answer == "No"
    said = {
        "verdict": f"the verdict is {'defective' if verdict else 'good'}",
        "answer": f"the model answered {answer}",
        "reasoning": f"the reasoning {'describes a defect' if faulty else 'finds nothing wrong'}",
    }
    names = [name for pair in pairs for name in pair.split("/")]
    first = max(names, key=names.count)
    others = [text for name, text in said.items() if name in names and name != first]
    return f"T{said[first][1:]}, but {' and '.join(others)}."


def contradicts(reasoning: str, answer: str) -> bool:
    """Return whether the reasoning claims the opposite of the answer."""
    return claim(reasoning) not in (answer, None)


def claim(reasoning: str) -> Literal["Yes", "No"] | None:
    """Return what the reasoning claims: Yes for a fault, No for a sound part, or None.

    A clause that names a fault without denying it claims a fault. One that denies a fault, or
    contains "intact", claims soundness. A reasoning with any claim of a fault claims a fault.
    """
    claims = _claims(reasoning)
    return "Yes" if "Yes" in claims else "No" if "No" in claims else None


def telling_sentence(reasoning: str, answer: str) -> str:
    """Return the first sentence that claims the same as the answer, or else the first sentence."""
    sentences = [reasoning[start:end] for start, end in _sentences(reasoning)]
    return next((s for s in sentences if answer in _claims(s)), sentences[0])


def fault_phrases(reasoning: str) -> list[tuple[int, int]]:
    """Return the [start, end) characters of each phrase that claims a fault.

    A sentence is split between the items of a list: "a dent here, a scratch there and a hole" are
    three phrases. An item without a fault is joined to the one before.
    """
    found: list[tuple[int, int]] = []
    for start, end in _sentences(reasoning):
        if "Yes" not in _claims(reasoning[start:end]):
            continue
        first = len(found)
        for stop, resume in [
            *(m.span() for m in _NEXT.finditer(reasoning, start, end)),
            (end, end),
        ]:
            if len(found) > first and not _FAULT.search(reasoning, start, stop):
                found[-1] = (found[-1][0], stop)
            elif _FAULT.search(reasoning, start, stop):
                found.append((start, stop))
            else:  # no phrase yet
                continue
            start = resume
    return found


def _sentences(text: str) -> list[tuple[int, int]]:
    """Return the [start, end) characters of each sentence, at least one, without space around."""
    stop = len(text.rstrip())
    start = min(len(text) - len(text.lstrip()), stop)
    gaps = [gap.span() for gap in re.compile(r"(?<=[.!?])\s+").finditer(text, start, stop)]
    return list(
        zip([start, *(end for _, end in gaps)], [*(at for at, _ in gaps), stop], strict=True)
    )


def _clauses(text: str) -> Iterator[str]:
    """Split a text into clauses; a list of faults is one clause, and a denial covers all of it."""
    start = 0
    for mark in _CLAUSE.finditer(text):
        if (
            mark[0] == ","
            and _FAULT.search(text, start, mark.start())
            and _LISTED.match(text, mark.end())
        ):
            continue
        yield text[start : mark.start()]
        start = mark.end()
    yield text[start:]


def _claims(text: str) -> set[Literal["Yes", "No"] | None]:
    return {_claim(clause) for clause in _clauses(text)}


def _claim(clause: str) -> Literal["Yes", "No"] | None:
    """Return the claim of a clause: Yes for a fault, No for a sound part, or None."""
    if fault := _FAULT.search(clause):
        denied = _DENIAL.search(clause[: fault.start()]) or _LATE_DENIAL.search(clause, fault.end())
        return "No" if denied else "Yes"
    if _SOUND.search(clause):
        return "Yes" if _DENIAL.search(clause) else "No"
    return None
