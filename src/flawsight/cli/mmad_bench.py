"""`flawsight bench --protocol mmad`."""

from pathlib import Path
from typing import get_args

from rich.markup import escape

from ..data.mmad_questions import MMADQuestions, Templates, read_mmad
from ..errors import FlawsightError, RunFolderError, SettingsError
from ..evaluate.bench import check_names
from ..evaluate.detectors.spec import parse_spec
from ..evaluate.mmad.mmad_run import read_mmad_runs, run_responder
from ..evaluate.mmad.mmad_tables import mmad_tables, write_mmad_tables
from ..evaluate.mmad.open_responder import check_answers, open_responder
from ..evaluate.mmad.responder import Responder
from ..evaluate.table_formats import terminal_tables
from ..io.files import check_writable, writing_to
from .shell import console, errors, progress_bar, say, warn


def open_questions(
    data: list[str] | None, shots: int, templates: str, data_root: Path | None, limit: int | None
) -> MMADQuestions:
    """Read the questions that the options of the command name.

    Raises:
        SettingsError: if an option makes no sense.
        DatasetError: if mmad.json cannot be read, or its images are not there.
    """
    if not data or len(data) > 1:
        raise SettingsError("--protocol mmad takes one --data: the folder of mmad.json.")
    for known in get_args(Templates):
        if templates == known:
            questions = read_mmad(data[0], shots, known, data_root)
            break
    else:
        raise SettingsError(f"Unknown --templates {templates!r}; use random or similar.")
    if questions.absent:
        names = ", ".join(questions.absent)
        warn([f"Left out: {names}; none of their images is in {questions.root}."])
    return questions if limit is None else questions.limited(limit)


def ask_questions(
    out: Path,
    questions: MMADQuestions,
    detectors: list[str] | None,
    batch_size: int,
    bit_depth: int | None,
) -> bool:
    """Ask every model every question; return whether each got to the end.

    Raises:
        FlawsightError: if a model cannot be loaded, or a folder not written.
    """
    if not detectors:
        raise SettingsError(
            "Name the models: --detector vlm:MODEL or openai:MODEL. The bundled model answers Yes "
            "or No alone."
        )
    specs = [parse_spec(text, bit_depth) for text in detectors]
    check_names([], [spec.name for spec in specs])
    for spec in specs:
        check_answers(spec)
    check_writable(out / "mmad.md")
    # What needs no model is opened first: its errors are those of a typing mistake.
    ready = [
        None if spec.kind == "vlm" else open_responder(spec, out, batch_size) for spec in specs
    ]
    complete = True
    for spec, opened in zip(specs, ready, strict=True):
        if opened is None:
            with console.status(f"Loading {escape(spec.name)} …"):
                opened = open_responder(spec, out, batch_size)
        complete &= _ask_one(out, questions, opened)
    return complete


def report_mmad(out: Path) -> bool:
    """Make the tables and print them; return whether no question failed.

    Raises:
        RunFolderError: if the folder holds no such run.
    """
    runs = read_mmad_runs(out)
    with writing_to(out):
        written = write_mmad_tables(out, runs)
    for table in terminal_tables(mmad_tables(runs)):
        console.print(table)
    say(f"All tables: {', '.join(escape(str(path)) for path in written)}")
    return not any(answer.failed for run in runs for answer in run.answers)


def _ask_one(out: Path, questions: MMADQuestions, responder: Responder) -> bool:
    title = f"MMAD · {escape(responder.name)}"
    with progress_bar(title, len(questions.images)) as move:
        try:
            run_responder(out, questions, responder, lambda row: move(advance=1))
        except RunFolderError:
            raise
        except FlawsightError as error:
            say(f"[bold red]{title}:[/] {escape(str(error))}", errors)
            return False
    return True
