"""The command line as a test calls it."""

from typer.testing import CliRunner

from flawsight.cli import app


def flawsight(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output
