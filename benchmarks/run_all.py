"""Runs every benchmark of docs/performance.md and writes the page: `make benchmarks`.

python benchmarks/run_all.py [--smoke --out FOLDER]
"""

import argparse
import subprocess
import sys
from pathlib import Path

NAMES = ("floor", "stages", "capture_cost", "one_at_a_time", "model_options", "growth")


def main() -> None:
    """Run them one after the other; what is given here is given to each."""
    _, given = argparse.ArgumentParser(description=__doc__, add_help=False).parse_known_args()
    here = Path(__file__).parent
    for name in NAMES:
        print(f"\n{name}", flush=True)
        subprocess.run([sys.executable, str(here / f"{name}.py"), *given], check=True)
    if "--out" not in given:
        subprocess.run([sys.executable, str(here / "performance.py"), "--write"], check=True)


if __name__ == "__main__":
    main()
