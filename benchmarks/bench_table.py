"""The metrics of a bench as one table: docs/results.md, "rendered" and "real".

    python benchmarks/bench_table.py RUN SECTION [--write]

RUN is a folder written by `flawsight bench`. Data sets of 20 images or fewer are left out.
"""

import csv
from pathlib import Path

from pages import markdown, parser_of, publish

from flawsight.evaluate.metric_values import METRICS
from flawsight.evaluate.tables import percent

# The detectors of the bench, and their names in the table.
DETECTORS = {
    "flawsight": "`default`", "flawsight:preset=paper": "`paper`", "texture": "texture",
}  # fmt: skip
SECTIONS = ("rendered", "real")
SHOWN = ("image_auroc", "image_balanced_accuracy", "pixel_auroc", "pixel_aupr", "pixel_aupro")


def table(run: Path) -> str:
    """Return the Markdown table of RUN/metrics.csv."""
    with (run / "metrics.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == "ours"]
    chosen = [row for row in rows if row["group"] == "pooled" and row["dataset"] != "average"]
    cells = {(row["dataset"], row["system"], row["metric"]): row for row in chosen}
    lines = []
    for dataset in dict.fromkeys(row["dataset"] for row in chosen):
        shown = ""
        for detector, name in DETECTORS.items():
            found = [cells[dataset, detector, metric] for metric in SHOWN]
            if int(found[0]["normal"]) + int(found[0]["defective"]) <= 20:
                break
            counts = f"{found[0]['normal']} + {found[0]['defective']}"
            if int(found[0]["failed"] or 0):
                counts += f" ({found[0]['failed']} failed)"
            values = (
                [float(row[key]) if row[key] else None for key in ("value", "low", "high")]
                for row in found
            )
            data = f"{dataset}, {counts}"
            values_shown = (percent(*value) for value in values)
            lines.append(["" if data == shown else data, name, *values_shown])
            shown = data
    columns = ["data, good + defective", "detector", *(METRICS[name] for name in SHOWN)]
    return f"{markdown(columns, lines)}\n\nIn %, with 95 % bootstrap intervals over images."


def main() -> None:
    """Print the table."""
    parser = parser_of(__doc__, writes=True)
    parser.add_argument("run", type=Path)
    parser.add_argument("section", choices=SECTIONS)
    arguments = parser.parse_args()
    publish(arguments.section, table(arguments.run), arguments.write)


if __name__ == "__main__":
    main()
