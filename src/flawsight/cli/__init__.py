"""The command line: one thin function per verb.

Exit code 0: all is well; 1: some images failed, or a check found something; 2: a wrong argument,
file or model; 130: stopped.
"""

from typing import Annotated

import typer

from .. import __version__
from .bench_command import bench
from .calibrate_command import calibrate
from .config_file import configured
from .data_check_command import check
from .data_list_command import list_
from .data_make_command import make
from .data_mix_command import mix
from .doctor_command import doctor
from .export_command import export
from .inspect_command import inspect
from .labels_command import labels
from .learn_command import learn
from .prior_command import prior
from .report_command import report
from .serve_command import serve
from .shell import escape_what_the_console_lacks, keep_freed_memory, quiet_libraries
from .train_command import train
from .watch_command import watch

app = typer.Typer(
    help="Whether, where and why a part is defective, from one multimodal LLM.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
verbs = (
    inspect, learn, watch, doctor, report, bench, calibrate, prior, train, export, serve, labels
)  # fmt: skip
for verb in verbs:
    app.command()(configured(verb))

data = typer.Typer(
    help="Check, list, make and mix data sets.", no_args_is_help=True, rich_markup_mode="markdown"
)
for verb in (check, list_, make, mix):
    data.command(verb.__name__.rstrip("_"))(configured(verb))
app.add_typer(data, name="data")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"flawsight {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    """Whether, where and why a part is defective, from one multimodal LLM."""
    escape_what_the_console_lacks()
    keep_freed_memory()
    quiet_libraries()
