"""What the words say and where they look: docs/results.md, sections "naming", "words", "selection".

    python benchmarks/words.py SET --traces FOLDER [--model M] [--write]

SET was made by `flawsight data make`, whose list tells what each image shows. A selection of words
is judged on the same responses beside as many words drawn at random, and beside an oracle that
keeps just the words of the sentence which tells the defect. FOLDER keeps the responses for another
time.
"""

import argparse
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from results import write_section
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor

from flawsight.errors import FlawsightError
from flawsight.inspection import Trace
from flawsight.metrics.bootstrap import interval
from flawsight.mllm.contradiction import telling_sentence
from flawsight.mllm.load import load_mllm
from flawsight.mllm.response import parse_response
from flawsight.real.anomaly_map import aggregate, upsample
from flawsight.real.token_selection import select_tokens
from flawsight.runs.trace_store import trace_folder, traced
from flawsight.settings import PRESETS, Settings
from flawsight_surfaces import DEFECTS, FAMILIES
from flawsight_surfaces.features.feature_table import FEATURES

DRAWS = 5
SELECTIONS: dict[str, Settings] = {
    "all words (vanilla mean)": replace(PRESETS["paper"], selection="vanilla"),
    "S_T and S_I (`paper`)": PRESETS["paper"],
    "S_T only": replace(PRESETS["paper"], beta=0.0, tau_i=-1.0),
    "S_I only": replace(PRESETS["paper"], alpha=0.0, tau_t=-1.0),
}


def _pattern(words: set[str]) -> str:
    return "|".join(sorted(map(re.escape, words), key=len, reverse=True))


_SURFACE = {
    word for f in FAMILIES.values() for word in (*f.made_of.split(), f.noun, f.items) if word
}
# The first that fits names the kind of a word.
WORD_KINDS: dict[str, re.Pattern[str]] = {
    "place": re.compile(r"\b(?:upper|middle|lower) (?:left|center|right)\b|\bcenter\b"),
    "defect": re.compile(rf"\b(?:{_pattern(set(DEFECTS))})\b"),
    "benign feature": re.compile(rf"\b(?:{_pattern(set(FEATURES))})s?\b"),
    "surface": re.compile(rf"\b(?:{_pattern(_SURFACE)})s?\b"),
}


@dataclass(frozen=True)
class Told:
    """The R reasoning tokens of a response about a defective image.

    Attributes:
        kinds: (R) key of WORD_KINDS, "punctuation" or "function word".
        telling: (R,) bool, tokens of the sentence that tells the defect.
        maps: (R, grid_h, grid_w); question_attention: (R, Q); anomaly_tokens: (Q,).
        gt_mask: (H, W).
    """

    kinds: list[str]
    telling: Tensor
    maps: Tensor
    question_attention: Tensor
    anomaly_tokens: Tensor
    gt_mask: NDArray[np.bool_]


def word_kinds(text: str, spans: list[tuple[int, int]]) -> list[str]:
    """Return what kind of word each token, a [start, end) span of the text, belongs to."""
    found: dict[int, str] = {}
    for kind, pattern in WORD_KINDS.items():
        for match in pattern.finditer(text):
            for position in range(*match.span()):
                found.setdefault(position, kind)
    kinds = []
    for start, end in spans:
        letters = [position for position in range(start, end) if text[position].isalnum()]
        if not letters:
            kinds.append("punctuation")
        else:
            kinds.append(found.get(letters[0], "function word"))
    return kinds


def told(trace: Trace, gt_mask: NDArray[np.bool_]) -> Told:
    """Cut the reasoning out of a response.

    Raises:
        AnswerError: if the response holds no Yes or No.
    """
    response = parse_response(trace.text)
    start, end = response.reasoning
    indices = [i for i, span in enumerate(trace.token_spans) if start <= span[0] < span[1] <= end]
    spans = [trace.token_spans[index] for index in indices]
    sentence = telling_sentence(trace.text[start:end], "Yes")
    begin = trace.text.index(sentence, start) if sentence else start
    rows = torch.tensor(indices, dtype=torch.long) + 1  # each token's own row
    return Told(
        word_kinds(trace.text, spans),
        torch.tensor([begin < e <= begin + len(sentence) for _, e in spans]),
        trace.image_attention[rows],
        trace.question_attention[rows],
        trace.anomaly_tokens,
        gt_mask,
    )


def localization(grid: Tensor, gt_mask: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the pixel AUROC and average precision of one image."""
    height, width = gt_mask.shape
    scores = upsample(grid, (height, width)).numpy().ravel()
    truth = gt_mask.ravel()
    return float(roc_auc_score(truth, scores)), float(average_precision_score(truth, scores))


def selections(one: Told, rng: np.random.Generator) -> dict[str, tuple[float, float]]:
    """Return pixel AUROC and AP of each selection of a response's words."""
    everything = torch.ones(len(one.kinds), dtype=torch.bool)
    figures = {}
    counts = {}
    for name, settings in SELECTIONS.items():
        scores = select_tokens(
            one.maps, one.question_attention, one.anomaly_tokens, everything, settings
        )
        counts[name] = int(scores.kept.sum())
        figures[name] = localization(aggregate(one.maps, scores.kept, scores.weights), one.gt_mask)
    even = torch.ones(len(one.kinds))
    drawn = []
    for _ in range(DRAWS):
        kept = torch.zeros_like(everything)
        kept[rng.permutation(len(kept))[: counts["S_T and S_I (`paper`)"]]] = True
        drawn.append(localization(aggregate(one.maps, kept, even), one.gt_mask))
    auroc, precision = np.mean(drawn, axis=0)
    figures["as many words at random"] = (float(auroc), float(precision))
    if one.telling.any():
        oracle = localization(aggregate(one.maps, one.telling, even), one.gt_mask)
        figures["oracle: the sentence of the defect"] = oracle
        names = one.telling & torch.tensor([kind == "defect" for kind in one.kinds])
        if names.any():
            figures["oracle: its name alone"] = localization(
                aggregate(one.maps, names, even), one.gt_mask
            )
    return figures


def read_set(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of the set's list."""
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


def responses(
    folder: Path, rows: list[dict[str, Any]], model: str | None, traces: Path
) -> Iterator[tuple[dict[str, Any], Trace | FlawsightError]]:
    """Yield each row with the response to its image."""
    mllm = load_mllm(model)
    settings = PRESETS["paper"]
    kept = trace_folder(traces, mllm, settings)
    for first in range(0, len(rows), 8):
        chunk = rows[first : first + 8]
        outcomes = traced(mllm, [folder / row["path"] for row in chunk], settings, kept)
        for row, outcome in zip(chunk, outcomes, strict=True):
            yield row, outcome if isinstance(outcome, FlawsightError) else outcome[0]


def mean(values: list[float]) -> str:
    """Return a mean with its 95 % bootstrap interval over images."""
    array = np.array(values)
    rng = np.random.default_rng(0)
    low, high = interval(array[rng.integers(len(array), size=(1000, len(array)))].mean(axis=1))
    return f"{array.mean():.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("set", type=Path)
    parser.add_argument("--traces", type=Path, required=True, help="folder that keeps responses")
    parser.add_argument("--model", help="model folder; default: the bundled model")
    parser.add_argument("--write", action="store_true", help="put the tables in docs/results.md")
    arguments = parser.parse_args()
    rows = [row for row in read_set(arguments.set) if row["label"] and row["split"] == "test"]
    rng = np.random.default_rng(0)
    by_selection: dict[str, list[tuple[float, float]]] = defaultdict(list)
    by_kind: dict[str, list[tuple[float, float, float, float]]] = defaultdict(list)
    named, placed, failed = [], [], 0
    for row, trace in responses(arguments.set, rows, arguments.model, arguments.traces):
        if isinstance(trace, FlawsightError):
            failed += 1
            continue
        try:
            with Image.open(arguments.set / row["mask"]) as file:
                one = told(trace, np.asarray(file) > 0)
        except FlawsightError:
            failed += 1
            continue
        response = parse_response(trace.text)
        sentence = telling_sentence(trace.text[slice(*response.reasoning)], "Yes")
        said = response.answer == "Yes"
        named.append(float(said and any(f" {r['kind']}" in sentence for r in row["regions"])))
        placed.append(float(said and any(f"the {r['place']}" in sentence for r in row["regions"])))
        if not said:
            continue
        for name, figures in selections(one, rng).items():
            by_selection[name].append(figures)
        scores = select_tokens(
            one.maps,
            one.question_attention,
            one.anomaly_tokens,
            torch.ones(len(one.kinds), dtype=torch.bool),
            PRESETS["paper"],
        )
        for index, kind in enumerate(one.kinds):
            by_kind[kind].append(
                (
                    float(scores.semantic_relevance[index]),
                    float(scores.concentration[index]),
                    *localization(one.maps[index], one.gt_mask),
                )
            )
    sections = {
        "naming": [
            "| of the defective images | share |",
            "|---|---|",
            f"| a right kind of defect named | {mean(named)} |",
            f"| a right place named | {mean(placed)} |",
            "",
            f"{len(named)} images; {failed} without an answer, left out.",
        ],
        "selection": [
            "| words | pixel AUROC | pixel AP |",
            "|---|---|---|",
            *(
                f"| {name} | {mean([f[0] for f in figures])} | {mean([f[1] for f in figures])} |"
                for name, figures in by_selection.items()
            ),
            "",
            "Means over the images called defective, with 95 % bootstrap intervals.",
        ],
        "words": [
            "| kind of word | tokens | S_T | S_I | pixel AUROC | pixel AP |",
            "|---|---|---|---|---|---|",
            *(
                f"| {kind} | {len(figures)} | "
                + " | ".join(f"{value:.3f}" for value in np.mean(figures, axis=0))
                + " |"
                for kind, figures in sorted(by_kind.items())
            ),
        ],
    }
    for section, lines in sections.items():
        print("\n".join(["", f"## {section}", "", *lines]))
        if arguments.write:
            write_section(section, "\n".join(lines))


if __name__ == "__main__":
    main()
