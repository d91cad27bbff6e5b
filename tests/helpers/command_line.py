"""The command line as a test calls it."""

import json
from typing import Any

from typer.testing import CliRunner

from flawsight.cli import app


def flawsight(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def summary_of(output: str) -> dict[str, Any]:
    """Return what --json printed, out of all output."""
    summary: dict[str, Any] = json.loads(
        next(line for line in reversed(output.splitlines()) if line.startswith("{"))
    )
    return summary
