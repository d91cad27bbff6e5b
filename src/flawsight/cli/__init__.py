"""The command line: one thin function a verb.

Exit code 0: all is well; 1: some images failed, or a check found something; 2: a wrong argument,
file or model; 130: stopped.
"""

import typer

from .bench_command import bench
from .calibrate_command import calibrate
from .data_commands import app as data_app
from .export_command import export
from .inspect_command import inspect
from .prior_command import prior
from .report_command import report
from .serve_command import serve
from .shell import keep_freed_memory
from .train_command import train

app = typer.Typer(
    help="Whether, where and why a part is defective, from one multimodal LLM.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.command()(inspect)
app.command()(report)
app.command()(bench)
app.command()(calibrate)
app.command()(prior)
app.command()(train)
app.command()(export)
app.command()(serve)
app.add_typer(data_app, name="data")


@app.callback()
def main() -> None:
    """Whether, where and why a part is defective, from one multimodal LLM."""
    keep_freed_memory()
