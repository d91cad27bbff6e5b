"""Check that a release's tag, version and changelog agree, and print what it changes.

python .ci/release_notes.py v0.2.0 > notes.md
"""

import re
import sys
import tomllib
from pathlib import Path


def release_notes(root: Path, tag: str) -> str:
    """Return the newest section of CHANGELOG.md.

    Args:
        root: of the repository.
        tag: of the release, "v" and the version.

    Raises:
        SystemExit: if the versions in tag, pyproject.toml, `flawsight.__version__` and the newest
            section's heading are not all the same, or the section is empty.
    """
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    package = (root / "src/flawsight/__init__.py").read_text(encoding="utf-8")
    own = re.search(r'^__version__ = "(.*)"$', package, flags=re.MULTILINE)
    changes = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    _, heading, notes, *_ = [*re.split(r"^## (.*)$", changes, flags=re.MULTILINE), "", ""]
    found = {
        "the tag": tag.removeprefix("v"),
        "pyproject.toml": project["version"],
        "flawsight.__version__": own[1] if own else "",
        "the newest section of CHANGELOG.md": heading.strip(),
    }
    if not tag.startswith("v") or len(set(found.values())) != 1:
        shown = ", ".join(f"{place}: {version!r}" for place, version in found.items())
        raise SystemExit(f"A release needs one version everywhere, and a tag of v and it. {shown}")
    if not notes.strip():
        raise SystemExit(f"CHANGELOG.md says nothing of {tag}.")
    return notes.strip() + "\n"


if __name__ == "__main__":
    sys.stdout.write(release_notes(Path(__file__).parents[1], sys.argv[1]))
