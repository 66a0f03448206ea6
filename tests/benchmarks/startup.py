"""CPU seconds of ``skiptool ... --help`` compared with those of an empty interpreter.

Run: ``python tests/benchmarks/startup.py``. Prints the median of nine runs each, in turn.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

RUNS = 9
TOOL = str(Path(sys.executable).with_name("skiptool"))
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import typer": [sys.executable, "-c", "import typer"],
    "skiptool --help": [TOOL, "--help"],
    "skiptool hellinger --help": [TOOL, "hellinger", "--help"],
    "skiptool train --help": [TOOL, "train", "--help"],
}


def cpu_seconds(words: list[str]) -> float:
    """Run a command and return the user and system seconds of it alone."""
    before = os.times()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    return (after.children_user - before.children_user) + (
        after.children_system - before.children_system
    )


def main() -> None:
    """Time all commands in turn and print their medians."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(RUNS):
        for name, words in COMMANDS.items():
            times[name].append(cpu_seconds(words))
    for name, found in times.items():
        print(f"{name:28s} {statistics.median(found):.3f} s CPU")


if __name__ == "__main__":
    main()
