"""The pooled metrics of a bench as one table: docs/results.md, "rendered", "real" and "choices".

    python benchmarks/bench_table.py RUN SECTION [--group pooled|macro] [--write]

RUN is a folder written by `flawsight bench`.
"""

import csv
from pathlib import Path

from pages import markdown, parser_of, publish

from flawsight.evaluate.metric_values import METRICS
from flawsight.evaluate.tables import percent

SHOWN = (
    "image_auroc", "image_balanced_accuracy", "pixel_auroc", "pixel_aupr", "pixel_aupro",
)  # fmt: skip


def table(run: Path, group: str) -> str:
    """Return the Markdown table of RUN/metrics.csv."""
    with (run / "metrics.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == "ours"]
    chosen = [row for row in rows if row["group"] == group and row["dataset"] != "average"]
    cells = {(row["dataset"], row["system"], row["metric"]): row for row in chosen}
    lines = []
    for dataset, detector in dict.fromkeys((r["dataset"], r["system"]) for r in chosen):
        found = [cells[dataset, detector, name] for name in SHOWN]
        shown = [
            percent(*(float(row[key]) if row[key] else None for key in ("value", "low", "high")))
            for row in found
        ]
        counts = f"{found[0]['normal']} + {found[0]['defective']}"
        if int(found[0]["failed"] or 0):
            counts += f" ({found[0]['failed']} failed)"
        lines.append([dataset, counts, detector, *shown])
    columns = ["data", "good + defective", "detector", *(METRICS[name] for name in SHOWN)]
    return markdown(columns, lines) + "\n\nIn %, with 95 % bootstrap intervals over images."


def main() -> None:
    """Print the table."""
    parser = parser_of(__doc__, writes=True)
    parser.add_argument("run", type=Path)
    parser.add_argument("section")
    parser.add_argument("--group", default="pooled", choices=["pooled", "macro"])
    arguments = parser.parse_args()
    text = table(arguments.run, arguments.group)
    publish(arguments.section, text, arguments.write)


if __name__ == "__main__":
    main()
