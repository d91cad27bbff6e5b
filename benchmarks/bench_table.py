"""The metrics of a bench as one table: docs/results.md, "rendered", "real" and "choices".

    python benchmarks/bench_table.py RUN SECTION [--write]

RUN is a folder written by `flawsight bench`. Data sets of 20 images or fewer are left out.
"""

import csv
from pathlib import Path

from pages import markdown, parser_of, publish

from flawsight.evaluate.metric_values import METRICS
from flawsight.evaluate.tables import percent

# The detectors of the bench, and their names in the table.
RENDERED = {
    "flawsight": "`default`", "flawsight:preset=paper": "`paper`", "vanilla": "vanilla",
    "texture": "texture",
}  # fmt: skip
REAL = {detector: name for detector, name in RENDERED.items() if detector != "vanilla"}
CHOICES = (
    "ReAL", "vanilla", "S_T only", "S_I only", "attention_row previous", "alpha 0.0", "alpha 1.0",
    "layer 0", "layer 1", "layer 2", "layer 3", "tau_i 0.6", "tau_t 0.0", "tau_t 0.6",
)  # fmt: skip
PIXEL = ("pixel_auroc", "pixel_aupr", "pixel_aupro")
BOTH = ("image_auroc", "image_balanced_accuracy", *PIXEL)
SECTIONS = {
    "rendered": (RENDERED, BOTH, "pooled"),
    "real": (REAL, BOTH, "pooled"),
    "choices": ({f"base · {name}": name for name in CHOICES}, PIXEL, "macro"),
}


def table(run: Path, section: str) -> str:
    """Return the Markdown table of RUN/metrics.csv."""
    detectors, metrics, group = SECTIONS[section]
    with (run / "metrics.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == "ours"]
    chosen = [row for row in rows if row["group"] == group and row["dataset"] != "average"]
    cells = {(row["dataset"], row["system"], row["metric"]): row for row in chosen}
    lines = []
    for dataset in dict.fromkeys(row["dataset"] for row in chosen):
        for detector, name in detectors.items():
            found = [cells[dataset, detector, metric] for metric in metrics]
            if int(found[0]["normal"]) + int(found[0]["defective"]) <= 20:
                break
            counts = f"{found[0]['normal']} + {found[0]['defective']}"
            if int(found[0]["failed"] or 0):
                counts += f" ({found[0]['failed']} failed)"
            values = (
                [float(row[key]) if row[key] else None for key in ("value", "low", "high")]
                for row in found
            )
            lines.append([f"{dataset}, {counts}", name, *(percent(*value) for value in values)])
    columns = ["data, good + defective", "detector", *(METRICS[name] for name in metrics)]
    note = "In %, with 95 % bootstrap intervals over images."
    if section == "choices":  # of one data set
        note = f"{lines[0][0]} images. {note}"
        columns, lines = ["choice", *columns[2:]], [line[1:] for line in lines]
    return f"{markdown(columns, lines)}\n\n{note}"


def main() -> None:
    """Print the table."""
    parser = parser_of(__doc__, writes=True)
    parser.add_argument("run", type=Path)
    parser.add_argument("section", choices=SECTIONS)
    arguments = parser.parse_args()
    publish(arguments.section, table(arguments.run, arguments.section), arguments.write)


if __name__ == "__main__":
    main()
