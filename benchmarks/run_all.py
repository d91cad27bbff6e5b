"""`make benchmarks`: run all of docs/performance.md [--smoke --out FOLDER]; each its part."""

import subprocess
import sys
from pathlib import Path

NAMES = ("stages", "capture_cost", "one_at_a_time")


def main() -> None:
    """Run them one after the other, each with the options given here."""
    for name in NAMES:
        print(f"\n{name}", flush=True)
        script = Path(__file__).with_name(f"{name}.py")
        subprocess.run([sys.executable, str(script), *sys.argv[1:]], check=True)


if __name__ == "__main__":
    main()
