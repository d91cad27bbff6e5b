"""The Typer app → one page of all verbs, as Typer's own command writes it."""

import subprocess
import sys

EXIT_CODES = (
    "Exit code 0: all is well; 1: some images failed, or a check found something; 2: a wrong "
    "argument, file or model; 130: stopped."
)


def command_line_page() -> str:
    """Return Markdown: each verb with its help, arguments and options."""
    command = [sys.executable, "-m", "typer", "flawsight.cli", "utils", "docs"]
    options = ["--name", "flawsight", "--title", "Command line"]
    page = subprocess.run([*command, *options], capture_output=True, text=True, check=True).stdout
    title, rest = page.split("\n", maxsplit=1)
    # Two pairs of brackets would be a link.
    return f"{title}\n\n{EXIT_CODES}\n{rest}".replace("][", "]\\[")
