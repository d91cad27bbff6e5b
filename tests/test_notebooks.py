"""The notebooks of examples/, run by Jupyter in their own folder, as a user runs them."""

import base64
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from flawsight import Reference
from helpers import training

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted(path.name for path in ROOT.glob("examples/*.ipynb"))

# In the place of what a notebook names in its cell of parameters.
SMALL = {
    "train_and_compare.ipynb": (
        "pairs, new_pairs, steps = 3, 2, 1\n"
        f"options = {[*map(str, training.SMALL), '--validation-share', '0.34']}"
    )
}


def cells(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((ROOT / "examples" / name).read_text())["cells"]
    return found


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_are_kept_without_outputs(name: str) -> None:
    for cell in cells(name):
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None


def run(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Execute a notebook in a folder laid out like the repository, and return it."""
    nbformat = pytest.importorskip("nbformat", reason="needs nbclient")
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient")
    pytest.importorskip("ipykernel", reason="needs ipykernel")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    # With it, the kernel leaves what its processes print to pytest.
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    monkeypatch.setenv("IPYTHONDIR", str(folder / ".ipython"))
    (folder / "samples").symlink_to(ROOT / "samples")
    (folder / "examples").mkdir()
    path = shutil.copy(ROOT / "examples" / name, folder / "examples")
    book = nbformat.read(path, as_version=4)
    for cell in book.cells:
        if "parameters" in cell.metadata.get("tags", []):
            cell.source += f"\n{SMALL[name]}"
    at = {"metadata": {"path": str(folder / "examples")}}
    nbclient.NotebookClient(book, timeout=300, kernel_name="python3", resources=at).execute()
    return book


def shown(book: Any, kind: str) -> list[str]:
    """Return the outputs of a notebook that are of a MIME type."""
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    return [output.data[kind] for output in outputs if kind in output.get("data", {})]


def printed(book: Any) -> str:
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    return "".join(output.text for output in outputs if output.output_type == "stream")


def figures(book: Any) -> list[Image.Image]:
    return [Image.open(io.BytesIO(base64.b64decode(one))) for one in shown(book, "image/png")]


def test_first_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = run("first_look.ipynb", tmp_path, monkeypatch)
    one, several = shown(book, "text/html")
    assert "worn-patch" in one
    assert several.count("photo-8") >= 1
    assert (tmp_path / "examples/worn-patch.html").stat().st_size > 10_000
    overview, single = figures(book)
    assert overview.width > single.width
    assert "(512, 288)" in printed(book)


def test_a_line_from_good_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = run("good_photos.ipynb", tmp_path, monkeypatch)
    text = printed(book)
    assert "promised: 5.9% false alarms at most" in text
    assert "false alarms: 0 of 9\nfound: 3 of 3\n" in text
    reference = Reference.load(tmp_path / "examples/line.reference")
    assert len(reference.photos) == 16
    threshold = max(reference.scores)
    assert f"threshold {threshold:.3f}" in text
    assert float(shown(book, "text/plain")[-1]) == pytest.approx(threshold)
    assert len(figures(book)) == 2


@pytest.mark.slow
def test_train_and_compare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = run("train_and_compare.ipynb", tmp_path, monkeypatch)
    assert (tmp_path / "examples/runs/line/best/adapter_model.safetensors").is_file()
    text = printed(book)
    assert "step 1" in text
    assert re.search(r"before AUROC [01]\.\d\d\nafter AUROC [01]\.\d\d\n", text)
    assert len(figures(book)) == 2
