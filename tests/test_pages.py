"""The commands of the pages, run in order in a venv that holds what the page has installed by then.

docs/serve.md and the recipe's README have tests of their own.
"""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from helpers.bundled import FEW_OPTIONS
from helpers.exact_environment import ROOT, ExactEnvironment
from helpers.training import SMALL

PAGES = [
    "README.md",
    *sorted(f"docs/{path.name}" for path in ROOT.glob("docs/*.md") if path.name != "log.md"),
]
# What begins a command, besides `export` and an assignment.
PROGRAMS = "accelerate|curl|docker|flawsight|make|python|ray|torchrun|vllm"
STEP = re.compile(
    r"^```python\n(?P<python>.*?)^```"
    r"|^```yaml\n# (?P<yaml>.*?)^```"
    r"|pip install (?:-e )?'(?:flawsight|\.)\[(?P<extras>[\w,]+)\]'"
    rf"|^    (?:\.venv/bin/)?(?P<line>(?:{PROGRAMS}|export|[A-Z_]+=)"
    r"(?:[^\n(]|\([^)]*\))*)$",
    flags=re.DOTALL | re.MULTILINE,
)

# What is not run, by the reason. `…` is any text; each entry fits exactly one command of a page.
LAUNCH = "accelerate launch --config_file configs/accelerate/ddp.yaml"
PAPER_7B = "flawsight train --preset paper-7b --data mix.jsonl --out"
NOT_RUN = {
    "installs from PyPI; CI runs make test": ["make demo…", "make test…"],
    "needs published weights or data": [
        "flawsight inspect my/photos --model Qwen/…",
        "export FLAWSIGHT_DATA=/data",
        "flawsight bench --out runs/table1…",
        "flawsight data mix…",
        "flawsight bench --ablation --data MVTec-AD…",
        "flawsight bench --data DATA/manifest.csv…",
        "flawsight serve --model Qwen/…",
        "flawsight train --preset paper-3b…",
        "flawsight doctor photos/ --preset paper --model Qwen/Qwen2.5-VL…",
        "flawsight inspect photos/ --prompt-photo…",
        "flawsight bench --protocol mmad…",
        "flawsight bench --data half.csv…",
        "flawsight inspect photos/ --preset paper --model Qwen/…",
        "flawsight calibrate photos/good --false-alarm-rate 0.05 --preset…",
        "flawsight inspect new/ --calibration…",
        "flawsight doctor photos/ --train…",
        "flawsight train --data photos/ --preset paper-7b…",
        "flawsight doctor new/…",
        f"{PAPER_7B} runs/cgro-7b --gradient-checkpointing",
        f"{PAPER_7B} runs/r1-7b…",
        f"{LAUNCH} -m flawsight train --preset paper-7b --data…",
        f"{LAUNCH} -m flawsight train --preset paper-7b --shard…",
        f"{LAUNCH} --num_machines…",
    ],
    "needs 8 GPUs; tests/runs/test_processes.py runs two processes": [
        "accelerate launch --num_processes 8…"
    ],
    "takes hours; tests/benchmarks runs it at a smoke size": [
        "make benchmarks",
        "python benchmarks/soak.py --requests 0 #…",
        "python benchmarks/soak.py --kills 0 --inspections 10000…",
        "python benchmarks/soak.py --kills 0 --inspections 400 …",
    ],
    "does not end; tests/watch, tests/cli/test_watch_cli.py": [
        "pip install 'flawsight[watch]'",
        "flawsight watch /srv/line3…",
    ],
    "needs FiftyOne; tests/export": ["import fiftyone…"],
    "needs anomalib; tests/integrations, tests/export": [
        "from anomalib.data import Folder…",
        "pip install 'flawsight[anomalib]'",
        "from anomalib.data import MVTecAD…",
        "from pathlib import Path from anomalib.engine…",
    ],
    "needs Ray and a cluster; tests/runs/test_cluster.py": [
        "pip install 'flawsight[ray]'",
        "flawsight inspect s3://…",
        "flawsight inspect names.parquet…",
        "import ray…",
    ],
    "needs a server, a database, or a second machine": [
        "vllm serve…",
        "flawsight inspect photos/ --model…",
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve…",
        f"{PAPER_7B} runs/cgro-7b --generator…",
        "flawsight serve --store…",
        "export FLAWSIGHT_TOKEN…",
        "flawsight serve --host 0.0.0.0",
        'curl -H "Authorization…',
    ],
    "needs a running service; tests/serve/test_reload.py": ["curl -X POST…"],
    "run by tests/serve/test_serve_page_of_docs.py": [
        "flawsight serve",
        "curl -F images=@part.jpg…",
        "curl -F images=@a.jpg…",
        "curl -H 'Content-Type…",
        "curl -X PUT…",
        "flawsight labels…",
        "flawsight train --data corrections…",
        "flawsight serve --adapter…",
    ],
    "does not end; its files are made and read by the commands of docs/learn.md": [
        "flawsight serve --calibration…",
        "flawsight serve --reference…",
    ],
}

# What a command gets besides, by its first words, to end soon: the last of an option's values wins.
MORE = {
    "flawsight data make": ["--pairs", "2", "--families", "capsule"],
    "flawsight calibrate": ["--false-alarm-rate", "0.5"],
    "flawsight bench --data": ["--limit", "1", "--resamples", "10"],
    "flawsight train": ["--steps", "1", *map(str, SMALL)],
    "python examples": ["--steps", "1"],
}

# These get few image tokens, but for a page whose Python has the settings of the default preset.
INSPECTING = tuple(f"flawsight {verb}" for verb in ("inspect", "learn", "calibrate", "prior"))
FULL_SIZE = "docs/benchmark.md"

# The folders of photos that a page speaks of; "good" or "bad" in a name says which they hold.
LINE3 = ["photos/line3/good", "photos/line3/bad"]
PHOTOS = {
    "docs/benchmark.md": [*LINE3, "photos/good/line3", "photos/new"],
    "docs/exports.md": ["photos"],
    "docs/learn.md": ["my/photos", "my/good", "my/more-good"],
    "docs/paper.md": ["photos/good"],
    "docs/predictions.md": ["photos/good", "photos/bad"],
    "docs/serve.md": ["photos/good"],
    "docs/training.md": LINE3,
}


def steps(page: str, unused: set[str]) -> Iterator[tuple[str, str]]:
    """Yield what the page has its reader do, (kind, text); take what is not run from `unused`."""
    for found in STEP.finditer((ROOT / page).read_text().replace("\\\n", " ")):
        shown = " ".join(re.sub(r"```python|\.venv/bin/", "", found[0]).split())
        fits = {one for one in unused if re.fullmatch(re.escape(one).replace("…", ".*"), shown)}
        unused -= fits
        if not fits and found.lastgroup:
            yield found.lastgroup, found[found.lastgroup]


def lay_out(page: str, folder: Path) -> None:
    """Put into a folder what the page's commands take."""
    for name in ("samples", "examples"):
        (folder / name).symlink_to(ROOT / name)
    good = sorted(ROOT.glob("samples/*-good.jpg"))[:2]
    bad = [ROOT / "samples/cracker-crack.jpg", ROOT / "samples/leather-fibre.jpg"]
    for name in PHOTOS.get(page, []):
        (folder / name).mkdir(parents=True)
        for photo in good if "good" in name else bad if "bad" in name else [good[0], bad[0]]:
            (folder / name / photo.name).symlink_to(photo)
    if page == "docs/paper.md":
        shutil.copytree(ROOT / "src/flawsight/default_model", folder / "my-model")
    if page == "docs/predictions.md":
        (folder / "predictions/patchcore").mkdir(parents=True)
        rows = ["image,pred_score", *(f"{photo.name},{photo in bad:d}" for photo in good + bad)]
        (folder / "predictions/patchcore/predictions.csv").write_text("\n".join(rows))


def plan(page: str, folder: Path, unused: set[str]) -> list[list[str]]:
    """Return the page's commands as bash splits and expands them; write its files."""
    names = (*PROGRAMS.split("|"), "install")
    lines = ["set -eu", *(f'{name}() {{ echo {name} "${{@@Q}}"; }}' for name in names)]
    for index, (kind, text) in enumerate(steps(page, unused)):
        if kind == "python":
            (folder / f"block{index}.py").write_text(text)
            lines.append(f"python block{index}.py")
        elif kind == "yaml":
            name, content = text.split("\n", maxsplit=1)
            (folder / name).write_text(content)
        else:
            lines.append(f"install {text}" if kind == "extras" else text)
    shown = subprocess.check_output(["bash", "-c", "\n".join(lines)], text=True)
    return [shlex.split(line) for line in shown.splitlines()]


def prepare(
    page: str, folder: Path, environments: dict[str, ExactEnvironment], unused: set[str]
) -> list[tuple[ExactEnvironment, list[str]]]:
    """Return the page's commands, each lot with what is installed by then."""
    lay_out(page, folder)
    installed: list[str] = []
    lots: dict[str, list[str]] = {}
    for words in plan(page, folder, unused):
        if words[0] == "install":
            installed.append(words[1])
            continue
        line = shlex.join(words)
        more = [word for begins, add in MORE.items() if line.startswith(begins) for word in add]
        if line.startswith(INSPECTING) and page != FULL_SIZE:
            more += FEW_OPTIONS
        lots.setdefault(",".join(installed), []).append(shlex.join([*words, *more]))
    for extras in lots.keys() - environments:
        environments[extras] = ExactEnvironment(folder / f".venv {extras}", extras)
    return [(environments[extras], lines) for extras, lines in lots.items()]


def run_page(folder: Path, lots: list[tuple[ExactEnvironment, list[str]]]) -> None:
    for environment, commands in lots:
        environment.run(commands, folder)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, "Future[None]"]]:
    """All pages, two at once. Only their processes: CPython 3.11 cannot compile in two threads."""
    environments: dict[str, ExactEnvironment] = {}
    folders = {page: tmp_path_factory.mktemp("page") for page in PAGES}
    unused = {one for listed in NOT_RUN.values() for one in listed}
    lots = {page: prepare(page, folders[page], environments, unused) for page in PAGES}
    assert not unused, f"no page has these commands: {unused}"
    with ThreadPoolExecutor(2) as pool:
        yield {page: pool.submit(run_page, folders[page], lots[page]) for page in PAGES}


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_the_page_run(page: str, pages: dict[str, "Future[None]"]) -> None:
    pages[page].result()


def test_an_environment_holds_its_extras_and_no_others(tmp_path: Path) -> None:
    brought = {
        "recipe": "sklearn", "bench": "matplotlib", "train": "tensorboard", "serve": "fastapi",
        "postgres": "psycopg", "endpoint": "openai",
        "sbert": "sentence_transformers", "trl": "trl", "benchmarks": "torchmetrics",
        "test": "pytest",
    }  # fmt: skip
    code = "import importlib.util as i, sys; print(*filter(i.find_spec, sys.argv[1:]))"
    for extras, held in ("", []), ("serve", ["serve"]), ("bench,train", ["bench", "train"]):
        environment = ExactEnvironment(tmp_path / f"of {extras}", extras)
        python = environment.bin / "python"
        command = [python, "-c", code, *brought.values()]
        found = subprocess.check_output(command, env=environment.environ, text=True).split()
        assert found == [brought[extra] for extra in held]
    subprocess.run([sys.executable, "-m", "pip", "--python", python, "check"], check=True)
