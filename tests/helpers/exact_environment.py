"""A venv with exactly flawsight and the extras that a page installs, made without a network."""

import os
import subprocess
import tomllib
import venv
from collections.abc import Sequence
from functools import cache
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]

# Runs its arguments, one command each, in forks of one process: to import torch takes seconds, and
# so does leaving Python after that.
_FORKS = """
import gc, os, runpy, shlex, shutil, sys, traceback
import flawsight.endpoint.generator, flawsight.inspector, transformers
gc.freeze()
for command in sys.argv[1:]:
    child = os.fork()
    if not child:
        code = 1
        try:
            program, *arguments = shlex.split(command)
            if program != "python":
                arguments.insert(0, shutil.which(program))
            sys.argv = arguments
            sys.path[0] = os.path.dirname(sys.argv[0])
            runpy.run_path(sys.argv[0], run_name="__main__")
            code = 0
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        os._exit(code)
    if code := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        sys.exit(f"exit code {code}: {command}")
os._exit(0)
"""


@cache
def _owners() -> dict[str, list[str]]:
    """Return the installed distributions by the top-level names that they own or share."""
    return {name: sorted(set(who)) for name, who in metadata.packages_distributions().items()}


def _needs(distribution: metadata.Distribution) -> list[str]:
    """Return its requirements; flawsight's from the checkout, whose metadata may be older."""
    if distribution.name != "flawsight":
        return distribution.requires or []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].items()
    optional = [f"{line}; extra == '{extra}'" for extra, lines in extras for line in lines]
    return [*project["dependencies"], *optional]


def required(extras: str) -> dict[str, metadata.Distribution]:
    """Return the installed distributions that `flawsight[extras]` needs, itself included.

    Raises PackageNotFoundError for one that is not installed here.
    """
    found: dict[str, metadata.Distribution] = {}
    wanted, seen = [Requirement(f"flawsight[{extras}]")], set()
    while wanted:
        one = wanted.pop()
        name = canonicalize_name(one.name)
        for extra in {"", *one.extras} - {extra for other, extra in seen if other == name}:
            seen.add((name, extra))
            distribution = found.setdefault(name, metadata.distribution(name))
            for needed in map(Requirement, _needs(distribution)):
                if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                    wanted.append(needed)
    return found


class ExactEnvironment:
    """A new venv as `pip install 'flawsight[extras]'` makes it, linked from the running one."""

    def __init__(self, folder: Path, extras: str = "") -> None:
        venv.create(folder, symlinks=True)
        self.bin = folder / "bin"
        (self.packages,) = folder.glob("lib/*/site-packages")
        self.environ = os.environ | {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
        }
        self.environ.pop("PYTHONPATH", None)
        (self.packages / "flawsight.pth").write_text(f"{ROOT / 'src'}\n")
        for name, distribution in required(extras).items():
            self._link(distribution, whole=name != "flawsight")

    def _link(self, distribution: metadata.Distribution, whole: bool) -> None:
        for file in distribution.files or []:
            top = file.parts[0]
            if top == ".." or not (whole or top.endswith(".dist-info")):
                continue
            if len(_owners().get(top, [])) < 2:
                file = type(file)(top)
            link = self.packages / file
            if not link.is_symlink():
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(distribution.locate_file(file))
        for entry in distribution.entry_points.select(group="console_scripts"):
            script = self.bin / entry.name
            script.write_text(
                f"#!{self.bin}/python\nimport sys\nfrom {entry.module} import {entry.attr}\n"
                f"sys.exit({entry.attr}())\n"
            )
            script.chmod(0o755)

    def run(self, commands: Sequence[str], folder: Path) -> str:
        """Run `python SCRIPT …` or Python programs in order, and return what they print.

        Each must end with code 0.
        """
        command = [self.bin / "python", "-c", _FORKS, *commands]
        done = subprocess.run(
            command, cwd=folder, env=self.environ, text=True, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout
