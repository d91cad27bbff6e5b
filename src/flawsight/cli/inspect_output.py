"""What `flawsight inspect` prints of rows and runs."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from .shell import say

if TYPE_CHECKING:
    from ..reference.memory import Reference


def line_of(row: dict[str, Any], name: str | None = None) -> str:
    """Return the line of an image: verdict, score, name, and the sentence that tells most.

    Args:
        row: of a run.
        name: that tells the image apart; None takes the file's.
    """
    from ..mllm.contradiction import claim, disagreement_sentence, telling_sentence
    from ..runs.unasked import unasked_sentence

    name = escape(name or Path(row["image"]).name)
    if "error" in row:
        return f"[red]failed   [/]         {name}  {escape(row['error'])}"
    verdict = "[red]DEFECTIVE[/]" if row["pred_label"] else "[green]good     [/]"
    reasoning, answer = row["explanation"], row["answer"]
    sentence = unasked_sentence(row)
    if not sentence:
        sentence = escape(telling_sentence(reasoning, claim(reasoning) or answer))
    note = disagreement_sentence(row["disagreements"], row["pred_label"], answer)
    note = " ".join(filter(None, [note, escape(" ".join(row["warnings"]))]))
    note = f" [yellow]({note})[/]" if note else ""
    return f"{verdict}  {row['pred_score']:.3f}  {name}  {sentence}{note}".rstrip()


def count_rows(rows: Iterable[dict[str, Any]], done: int = 0) -> dict[str, int]:
    """Return the numbers of images of a run by what became of them; `done` were so before."""
    from ..runs.unasked import is_unasked

    counts: Counter[str] = Counter()
    for row in rows:
        defective = bool(row.get("pred_label"))
        counts["failed" if "error" in row else "defective" if defective else "good"] += 1
        counts["warned"] += bool(row.get("warnings"))
        counts["disagreeing"] += bool(row.get("contradiction"))
        counts["answer_forced"] += bool(row.get("answer_forced"))
        counts["not_asked"] += is_unasked(row)
        counts["images"] += 1
    names = (
        "images", "defective", "good", "failed", "warned", "disagreeing", "answer_forced",
        "not_asked",
    )  # fmt: skip
    return {name: counts[name] for name in names} | {"done_before": done}


def say_counts(counts: dict[str, int], reference: "Reference | None" = None) -> None:
    """Print the numbers of `count_rows`."""
    done = counts["done_before"]
    say(
        f"{counts['images']} images: {counts['defective']} defective, {counts['good']} good, "
        f"{counts['failed']} failed{f' ({done} were done before)' if done else ''}."
    )
    if reference is not None:
        photos = len(reference.photos)
        say(f"Compared with {photos} good photo{'s' * (photos != 1)}.")
    if unasked := counts["not_asked"]:
        say(f"Of {unasked}, the reference alone gives the verdict; the model was not asked.")
    if disagreeing := counts["disagreeing"]:
        say(f"Of {disagreeing}, verdict, answer and reasoning do not all agree.")
    if forced := counts["answer_forced"]:
        say(
            f"Of {forced} ({forced / counts['images']:.0%}), the response gave no Yes or No: the "
            "answer is the likelier of the two after it. If it was cut off, raise max_new_tokens."
        )
