"""What the tokens name and where they attend; docs/results.md: "naming", "selection".

    python benchmarks/token_selection.py SET --traces FOLDER [--model M] [--write]

SET was made by `flawsight data make`, whose list says what each image shows. On the same responses,
each selection of tokens is compared with as many tokens drawn at random, and with an oracle that
selects the tokens of the sentence about the defect. FOLDER keeps traces for another time.
"""

import json
import re
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from measure import traced
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
from flawsight_surfaces import DEFECTS

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
Values = tuple[float, float]


NAMES = re.compile(rf"\b(?:{'|'.join(sorted(map(re.escape, DEFECTS), key=len, reverse=True))})\b")


@dataclass(frozen=True)
class Annotated:
    """The R reasoning tokens of a response about a defective image.

    Attributes:
        trace: of the response.
        reasoning: its tokens' attention and scores under preset `paper`.
        sentence: the sentence about the defect; "" if there is none.
        in_sentence: (R,) bool, its tokens.
        in_name: (R,) bool, those of them that name a kind of defect.
        gt_mask: (H, W).
    """

    trace: Trace
    reasoning: ScoredReasoning
    sentence: str
    in_sentence: Tensor
    in_name: Tensor
    gt_mask: NDArray[np.bool_]


def names_defect(text: str, span: tuple[int, int]) -> bool:
    """Return whether the first letter of a token, a [start, end) span, is in a kind of defect."""
    first = next((at for at in range(*span) if text[at].isalnum()), -1)
    return any(match.start() <= first < match.end() for match in NAMES.finditer(text))


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
    in_name = in_sentence & torch.tensor([names_defect(trace.text, span) for span in spans])
    return Annotated(trace, reasoning, sentence, in_sentence, in_name, gt_mask)


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
    oracles = {"the sentence of the defect": one.in_sentence, "its name alone": one.in_name}
    for name, selected in oracles.items():
        if selected.any():
            found[f"oracle: {name}"] = plain_mean(selected)
    return found


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
    named: list[float] = []
    placed: list[float] = []
    mllm = load_mllm(arguments.model)
    store = TraceFolder(arguments.traces, mllm, PAPER, None)
    inspector = Inspector(mllm, PAPER, trace_store=store)
    for index, _, trace in traced(inspector, [arguments.set / row["path"] for row in rows]):
        row = rows[index]
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
    naming = [["a right kind of defect named", mean(named)], ["a right place named", mean(placed)]]
    selection = [
        [name, *(mean(list(column)) for column in zip(*values, strict=True))]
        for name, values in by_selection.items()
    ]
    left_out = f"{len(named)} images; {len(rows) - len(named)} without an answer, left out."
    publish("naming", f"{markdown(COLUMNS['naming'], naming)}\n\n{left_out}", arguments.write)
    means = "Means over the images called defective, with 95 % bootstrap intervals."
    publish("selection", f"{markdown(COLUMNS['selection'], selection)}\n\n{means}", arguments.write)


if __name__ == "__main__":
    main()
