"""`flawsight bench --learning-curve`: the runs of all draws, their table and picture."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from .shell import console, say

if TYPE_CHECKING:
    from ..evaluate.bench import DetectorRun
    from ..evaluate.detectors.few_shot import GoodPhotos
    from ..evaluate.detectors.spec import Spec
    from ..evaluate.metric_values import MetricValue


def curves_of(
    specs: "Sequence[Spec]", counts: str, draws: int, good: "Mapping[str, GoodPhotos]"
) -> "list[Spec]":
    """Return the detectors of all points, less those that need more photos than there are.

    Args:
        specs: the detectors, without good photos.
        counts: as given, like "1,2,4,all".
        draws: of each number of photos.
        good: the photos, by data set and category.
    """
    from ..evaluate.learning_curve import curve_specs, parse_counts

    wanted = parse_counts(counts)
    fewest = min((len(p) for photos in good.values() for p in photos.values()), default=0)
    possible = [count for count in wanted if count is None or count <= fewest]
    if left := [str(count) for count in wanted if count not in possible]:
        say(f"Left out: {', '.join(left)} good photos; some category has only {fewest}.")
    return [one for spec in specs for one in curve_specs(spec, possible, draws)]


def report_curves(
    out: Path, score: "Callable[[DetectorRun], tuple[list[MetricValue], Any]]"
) -> bool:
    """Score the runs of the learning curves below a bench's folder; return whether there are any.

    Args:
        out: of the bench.
        score: `score_run` with its options.

    Raises:
        RunFolderError: if a run is damaged.
    """
    from ..evaluate.bench import read_detector_runs
    from ..evaluate.learning_curve import FOLDER, curve_csv, curve_points, curve_tables
    from ..evaluate.plots import draw_learning_curves
    from ..evaluate.table_formats import terminal_tables, to_markdown
    from ..io.files import write_atomically

    if not (out / FOLDER).is_dir():
        return False
    runs = read_detector_runs(out / FOLDER)
    with console.status("Scoring the learning curve …"):
        values = [value for run in runs for value in score(run)[0]]
        points = curve_points(runs, values)
    tables = curve_tables(points)
    for table in terminal_tables(tables):
        console.print(table)
    contents = {
        "learning-curve.md": to_markdown(tables, "Percentages."),
        "learning-curve.csv": curve_csv(points),
    }
    for name, content in contents.items():
        write_atomically(out / name, content.encode("utf-8", "backslashreplace"))
    written = [*(out / name for name in contents), *draw_learning_curves(points, out)]
    say(f"Learning curve: {', '.join(escape(str(path)) for path in written)}")
    return True
