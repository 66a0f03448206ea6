"""Install skiptool into environments of other packages, and print the table of ``install.md``.

Run: ``python tests/house/neighbours.py [NAME...]``, by default all of ``NEIGHBOURS``. Each gets a
virtual environment in a temporary folder (up to 8 GB), in which the other package is installed
first, as its users have it, and then skiptool from this checkout. The row says whether pip changed
a package that was there, whether ``pip check`` is clean, whether both can be imported into one
process, and whether a small experiment runs: synthesis, training, features, distances, report.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[2]

EXPERIMENT = """
skiptool synth --n 8 --size 64 --canvas 300 --cells 1:4 --folds 2 -o s.zarr
skiptool train s.zarr --encoder tu-mobilenetv3_small_050 --encoder-weights none --epochs 1 \
    --fold 0 --prune 0 --device cpu -o runs
skiptool features runs --data s.zarr --split all --device cpu -o plain
skiptool features runs --data s.zarr --split all --device cpu --shift brightness=0.5 -o dark
skiptool hellinger plain dark -o shift.parquet
skiptool report shift.parquet -o report.html
"""


@dataclass(frozen=True)
class Neighbour:
    """A package of other people, the module to import, and the extras of skiptool to install."""

    requirement: str
    module: str
    extras: str


NEIGHBOURS = {
    "nnunetv2": Neighbour("nnunetv2>=2.8.1", "nnunetv2", "train,mri"),
    "TotalSegmentator": Neighbour("TotalSegmentator", "totalsegmentator", "train,mri"),
    "monai": Neighbour("monai>=1.6", "monai", "train,mri"),
    "tiatoolbox": Neighbour("tiatoolbox>=2.1", "tiatoolbox", "train"),  # has OpenCV, OpenSlide
    "cellpose": Neighbour("cellpose", "cellpose", "train,wsi"),
}


class Environment:
    """A virtual environment in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        subprocess.run([sys.executable, "-m", "venv", folder / ".venv"], check=True)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run Python with words in the folder."""
        python = str(self.folder / ".venv/bin/python")
        return subprocess.run(
            [python, *words], cwd=self.folder, capture_output=True, text=True, check=False
        )

    def versions(self) -> dict[str, str]:
        """Return the version of every installed package."""
        lines = self.run("-m", "pip", "list", "--format=freeze").stdout.splitlines()
        return dict(line.split("==", 1) for line in lines if "==" in line)


def last_line(ended: subprocess.CompletedProcess[str]) -> str:
    """Return "yes", or the last line of what went wrong."""
    if ended.returncode == 0:
        return "yes"
    return (ended.stderr or ended.stdout).strip().splitlines()[-1]


def try_together(neighbour: Neighbour, folder: Path) -> list[str]:
    """Install both into one environment, try them, and return the cells of a row."""
    environment = Environment(folder)
    pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    installed = environment.run(*pip, neighbour.requirement)
    if installed.returncode:
        return [neighbour.requirement, "not installed:", last_line(installed)]
    before, clean_before = environment.versions(), environment.run("-m", "pip", "check")
    ended = environment.run(*pip, f"skiptool[{neighbour.extras}] @ {ROOT.as_uri()}")
    after, clean = environment.versions(), environment.run("-m", "pip", "check")
    changed = [
        f"{name} {version} to {after.get(name, 'none')}"
        for name, version in before.items()
        if after.get(name) != version
    ]
    check = last_line(clean)
    if clean_before.returncode:
        check += f" (before: {last_line(clean_before)})"
    imported = environment.run("-c", f"import {neighbour.module}, skiptool.model.fit")
    script = folder / "experiment.sh"
    script.write_text(f"set -e\nPATH={folder}/.venv/bin:$PATH\n{EXPERIMENT}")
    experiment = subprocess.run(
        ["bash", script], cwd=folder, capture_output=True, text=True, check=False
    )
    name = neighbour.requirement.partition(">")[0]
    return [
        f"{name} {after[name]}",
        f"`[{neighbour.extras}]`",
        last_line(ended),
        ", ".join(changed) or "none",
        check,
        last_line(imported),
        last_line(experiment),
        f"torch {after['torch']}, numpy {after['numpy']}, zarr {after['zarr']}",
    ]


def main() -> None:
    """Print one row for each neighbour."""
    today = datetime.now(UTC).date()
    python = ".".join(map(str, sys.version_info[:3]))
    print(f"Python {python}, {today}\n")
    print("| with | extras | installs | changed | `pip check` | imports | runs | versions |")
    print("|---|---|---|---|---|---|---|---|")
    for name in sys.argv[1:] or NEIGHBOURS:
        with TemporaryDirectory() as folder:
            cells = try_together(NEIGHBOURS[name], Path(folder))
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
