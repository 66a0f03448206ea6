"""CPU seconds of starts: help pages, and two NumPy files compared by skiptool and by NumPy alone.

Run: ``python tests/benchmarks/startup.py``. Prints the median of seven runs each, in turn, all in
processes of their own; loops are compiled and cached beforehand. The files are float32 of 200
images, 512 channels and 256 positions; NumPy counts them channel by channel, from the files as they
are or after a transposition to one column per channel.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

RUNS = 7
TOOL = str(Path(sys.executable).with_name("skiptool"))
HELP = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import typer": [sys.executable, "-c", "import typer"],
    "import numpy": [sys.executable, "-c", "import numpy"],
    "skiptool --help": [TOOL, "--help"],
    "skiptool hellinger --help": [TOOL, "hellinger", "--help"],
    "skiptool train --help": [TOOL, "train", "--help"],
}

LOOP = """
import sys
import numpy as np
sets = [np.load(path) for path in sys.argv[2:]]
if sys.argv[1] == "columns":
    sets = [x.transpose(0, 2, 1).reshape(-1, x.shape[1]).T[None] for x in sets]
distances = []
for d in range(sets[0].shape[1]):
    x, y = (values[:, d].ravel() if len(values) > 1 else values[0, d] for values in sets)
    ends = min(x.min(), y.min()), max(x.max(), y.max())
    p, q = (np.histogram(values, 100, range=ends)[0] / values.size for values in (x, y))
    distances.append(np.sqrt(1 - np.sqrt(p * q).sum()))
print(np.mean(distances))
"""


def cpu_seconds(words: list[str]) -> float:
    """Run a command and return the user and system seconds of it alone."""
    before = os.times()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = os.times()
    return (after.children_user - before.children_user) + (
        after.children_system - before.children_system
    )


def medians(commands: dict[str, list[str]]) -> dict[str, float]:
    """Time all commands in turn, print their medians and return them."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(RUNS):
        for name, words in commands.items():
            times[name].append(cpu_seconds(words))
    found = {name: statistics.median(seconds) for name, seconds in times.items()}
    for name, seconds in found.items():
        print(f"{name:36s} {seconds:.3f} s CPU")
    return found


def write_files(folder: Path) -> list[str]:
    """Write two sets of rectified activations."""
    rng = np.random.default_rng(0)
    paths = [str(folder / f"{name}.npy") for name in "ab"]
    for path, factor in zip(paths, (1.0, 0.9), strict=True):
        noise = rng.standard_normal((200, 512, 256), dtype=np.float32)
        noise += 0.3 * rng.standard_normal((200, 512, 1), dtype=np.float32)
        np.save(path, np.maximum(noise, 0) * np.float32(factor))
    return paths


def main() -> None:
    """Time help pages, then comparisons."""
    medians(HELP)
    with tempfile.TemporaryDirectory() as folder:
        files = write_files(Path(folder))
        compare = [TOOL, "hellinger", *files]
        cpu_seconds(compare)  # compiles its loops, if that was not done before
        found = medians(
            {
                "skiptool hellinger": compare,
                "skiptool hellinger, without null": [*compare, "--permutations", "0"],
                "NumPy, channels": [sys.executable, "-c", LOOP, "channels", *files],
                "NumPy, columns": [sys.executable, "-c", LOOP, "columns", *files],
            }
        )
    ours, _, channels, columns = found.values()
    print(f"against NumPy: {ours / channels:.2f} (channels), {ours / columns:.2f} (columns)")


if __name__ == "__main__":
    main()
