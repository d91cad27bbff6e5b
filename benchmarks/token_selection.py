"""What the tokens name and where they attend; docs/results.md: "naming", "selection".

    python benchmarks/token_selection.py SET --traces FOLDER [--model M] [--write]

SET was made by `flawsight data make`, whose list says what each image shows. On the same responses,
each selection of tokens is compared with as many tokens drawn at random, and with an oracle that
selects the tokens of the sentence about the defect. FOLDER keeps traces for another time.
"""

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
from pages import markdown, parser_of, publish
from PIL import Image
from torch import Tensor

from flawsight.errors import AnswerError
from flawsight.inspection import Trace
from flawsight.inspector import Inspector
from flawsight.metrics.bootstrap import interval
from flawsight.metrics.ranking import auroc, average_precision, counts_of
from flawsight.mllm.contradiction import telling_sentence
from flawsight.mllm.load import load_mllm
from flawsight.mllm.response import parse_response
from flawsight.real.anomaly_map import aggregate, upsample
from flawsight.real.token_selection import ScoredReasoning, select
from flawsight.runs.trace_store import TraceFolder
from flawsight.settings import PRESETS, Settings
from flawsight_surfaces import DEFECTS, FAMILIES
from flawsight_surfaces.features.feature_table import FEATURES

DRAWS = 5
PAPER = PRESETS["paper"]
SELECTIONS: dict[str, Settings] = {
    "all tokens (vanilla mean)": replace(PAPER, selection="vanilla"),
    "S_T and S_I (`paper`)": PAPER,
    "S_T only": replace(PAPER, beta=0.0, tau_i=-1.0),
    "S_I only": replace(PAPER, alpha=0.0, tau_t=-1.0),
}
COLUMNS = {
    "naming": ["of the defective images", "share"],
    "selection": ["tokens", "pixel AUROC", "pixel AP"],
}
KIND_COLUMNS = ["kind of token", "tokens", "S_T", "S_I", "pixel AUROC", "pixel AP"]
Values = tuple[float, float]


def _pattern(words: set[str]) -> str:
    return "|".join(sorted(map(re.escape, words), key=len, reverse=True))


_SURFACE = {
    word for f in FAMILIES.values() for word in (*f.made_of.split(), f.noun, f.items) if word
}
# A token's kind is the first pattern that matches it.
TOKEN_KINDS: dict[str, re.Pattern[str]] = {
    "place": re.compile(r"\b(?:upper|middle|lower) (?:left|center|right)\b|\bcenter\b"),
    "defect": re.compile(rf"\b(?:{_pattern(set(DEFECTS))})\b"),
    "benign feature": re.compile(rf"\b(?:{_pattern(set(FEATURES))})s?\b"),
    "surface": re.compile(rf"\b(?:{_pattern(_SURFACE)})s?\b"),
}


@dataclass(frozen=True)
class Annotated:
    """The R reasoning tokens of a response about a defective image.

    Attributes:
        trace: of the response.
        reasoning: its tokens' attention and scores under preset `paper`.
        kinds: (R) key of TOKEN_KINDS, "punctuation" or "function word".
        sentence: the sentence about the defect; "" if there is none.
        in_sentence: (R,) bool, its tokens.
        gt_mask: (H, W).
    """

    trace: Trace
    reasoning: ScoredReasoning
    kinds: list[str]
    sentence: str
    in_sentence: Tensor
    gt_mask: NDArray[np.bool_]


def token_kinds(text: str, spans: list[tuple[int, int]]) -> list[str]:
    """Return the kind of each token, a [start, end) span of the text."""
    found: dict[int, str] = {}
    for kind, pattern in TOKEN_KINDS.items():
        for match in pattern.finditer(text):
            for position in range(*match.span()):
                found.setdefault(position, kind)
    kinds = []
    for start, end in spans:
        letters = [position for position in range(start, end) if text[position].isalnum()]
        kinds.append(found.get(letters[0], "function word") if letters else "punctuation")
    return kinds


def annotated(trace: Trace, gt_mask: NDArray[np.bool_]) -> Annotated:
    """Sort the reasoning tokens of a response.

    Raises:
        AnswerError: if the response holds no Yes or No.
    """
    reasoning = select(trace, PAPER)
    start, end = reasoning.response.reasoning
    spans = [trace.token_spans[index] for index in reasoning.tokens]
    sentence = telling_sentence(trace.text[start:end], "Yes")
    begin = trace.text.index(sentence, start) if sentence else start
    in_sentence = torch.tensor([begin < e <= begin + len(sentence) for _, e in spans])
    kinds = token_kinds(trace.text, spans)
    return Annotated(trace, reasoning, kinds, sentence, in_sentence, gt_mask)


def localization(grid: Tensor, gt_mask: NDArray[np.bool_]) -> Values:
    """Return the pixel AUROC and average precision of one image."""
    height, width = gt_mask.shape
    counts = counts_of(gt_mask.ravel(), upsample(grid, (height, width)).numpy().ravel())
    return float(auroc(counts)), float(average_precision(counts))


def selections(one: Annotated, rng: np.random.Generator) -> dict[str, Values]:
    """Return pixel AUROC and AP of each selection of a response's tokens."""
    attention = one.reasoning.attention
    even = torch.ones(len(attention))

    def plain_mean(selected: Tensor) -> Values:
        return localization(aggregate(attention, selected, even), one.gt_mask)

    found = {}
    for name, settings in SELECTIONS.items():
        scores = select(one.trace, settings).scores
        grid = aggregate(attention, scores.selected, scores.weights)
        found[name] = localization(grid, one.gt_mask)
    drawn = []
    for _ in range(DRAWS):
        selected = torch.zeros(len(even), dtype=torch.bool)
        count = int(one.reasoning.scores.selected.sum())
        selected[rng.permutation(len(even))[:count]] = True
        drawn.append(plain_mean(selected))
    mean_auroc, mean_precision = np.mean(drawn, axis=0)
    found["as many tokens at random"] = (float(mean_auroc), float(mean_precision))
    names = one.in_sentence & torch.tensor([kind == "defect" for kind in one.kinds])
    for name, selected in (
        ("the sentence of the defect", one.in_sentence),
        ("its name alone", names),
    ):
        if selected.any():
            found[f"oracle: {name}"] = plain_mean(selected)
    return found


def traced(
    folder: Path, rows: list[dict[str, Any]], model: str | None, traces: Path
) -> Iterator[tuple[dict[str, Any], Trace]]:
    """Yield each row with the response to its image."""
    mllm = load_mllm(model)
    store = TraceFolder(traces, mllm, PAPER, None)
    inspector = Inspector(mllm, PAPER, trace_store=store)
    for first in range(0, len(rows), inspector.batch_size):
        batch = rows[first : first + inspector.batch_size]
        prepared = inspector.prepare([folder / row["path"] for row in batch])
        for row, trace in zip(batch, inspector.trace(prepared).traces, strict=True):
            if isinstance(trace, Trace):
                yield row, trace


def mean(values: list[float]) -> str:
    """Return a mean with its 95 % bootstrap interval over images."""
    array = np.array(values)
    rng = np.random.default_rng(0)
    low, high = interval(array[rng.integers(len(array), size=(1000, len(array)))].mean(axis=1))
    return f"{array.mean():.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    """Run the benchmark."""
    parser = parser_of(__doc__, writes=True)
    parser.add_argument("set", type=Path)
    parser.add_argument("--traces", type=Path, required=True, help="folder that keeps traces")
    parser.add_argument("--model", help="model folder; default: the bundled model")
    arguments = parser.parse_args()
    listed = (arguments.set / "samples.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, listed) if row["label"] and row["split"] == "test"]
    rng = np.random.default_rng(0)
    by_selection: dict[str, list[Values]] = defaultdict(list)
    by_kind: dict[str, list[list[float]]] = defaultdict(list)
    named: list[float] = []
    placed: list[float] = []
    for row, trace in traced(arguments.set, rows, arguments.model, arguments.traces):
        try:
            with Image.open(arguments.set / row["mask"]) as file:
                one = annotated(trace, np.asarray(file) > 0)
        except AnswerError:
            continue
        yes = parse_response(trace.text).answer == "Yes"
        regions = row["regions"]
        named.append(float(yes and any(f" {r['kind']}" in one.sentence for r in regions)))
        placed.append(float(yes and any(f"the {r['place']}" in one.sentence for r in regions)))
        if not yes:
            continue
        for name, values in selections(one, rng).items():
            by_selection[name].append(values)
        scores = one.reasoning.scores
        for index, kind in enumerate(one.kinds):
            both = (scores.semantic_relevance[index], scores.concentration[index])
            ranked = localization(one.reasoning.attention[index], one.gt_mask)
            by_kind[kind].append([*map(float, both), *ranked])
    naming = [["a right kind of defect named", mean(named)], ["a right place named", mean(placed)]]
    selection = [
        [name, *(mean(list(column)) for column in zip(*values, strict=True))]
        for name, values in by_selection.items()
    ]
    kinds = [
        [kind, str(len(values)), *(f"{value:.3f}" for value in np.mean(values, axis=0))]
        for kind, values in sorted(by_kind.items())
    ]
    failed = len(rows) - len(named)
    sections = {
        "naming": markdown(COLUMNS["naming"], naming)
        + f"\n\n{len(named)} images; {failed} without an answer, left out.",
        "selection": markdown(COLUMNS["selection"], selection)
        + "\n\nMeans over the images called defective, with 95 % bootstrap intervals.",
    }
    print(markdown(KIND_COLUMNS, kinds))
    for section, text in sections.items():
        print(f"\n## {section}\n")
        publish(section, text, arguments.write)


if __name__ == "__main__":
    main()
