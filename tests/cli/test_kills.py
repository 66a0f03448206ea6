"""Kill the command line at twenty random moments, resume it each time, compare what comes out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from skiptool import synthesise_dataset

KILLS = {"train": 14, "predict": 20}
"""How many there are to have been at the end of each command."""

# The libraries are loaded before the clock starts: half of all moments would fall into that.
START = """
import sys
import skiptool.steps.train.step, skiptool.steps.predict.step
from skiptool.cli import main
print("ready", flush=True)
sys.exit(main(sys.argv[1:]))
"""


@dataclass(frozen=True, slots=True)
class Place:
    """A folder for a chain of runs: outputs, and a folder of its own for temporary files."""

    folder: Path

    def words(self, command: str) -> Sequence[str]:
        device = ("--device", "cpu", "--precision", "32", "--quiet")
        if command == "train":
            grid = ("--prune", "0", "--prune", "1", "--folds", "2", "--epochs", "2")
            how = ("--batch-size", "4", "--encoder-weights", "none", "--no-keep-last", *device)
            return ("train", "../d.zarr", "-o", "runs", *grid, *how)
        shifts = ("--sweep", "paper", "--split", "all", *device)
        return ("predict", "runs", "--data", "../d.zarr", "-o", "p.parquet", *shifts)

    def start(self, command: str, *more: str) -> subprocess.Popen[str]:
        """Start a command and return once its libraries are loaded."""
        (self.folder / "tmp").mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(self.folder / "tmp")}
        words = [sys.executable, "-c", START, *self.words(command), *more]
        process = subprocess.Popen(
            words, cwd=self.folder, env=environment, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    def end(self, process: subprocess.Popen[str]) -> None:
        process.communicate(timeout=300)
        assert process.returncode == 0

    def kill(self, command: str, moment: float) -> bool:
        """Go on with a command and kill it so many seconds later; say whether it still ran."""
        process = self.start(command, "--resume")
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        assert process.returncode in (0, -signal.SIGKILL)
        return process.returncode != 0

    def models(self) -> int:
        """Models that are done."""
        return len(list(self.folder.glob("runs/*/fold*/model.safetensors")))

    def partials(self) -> list[str]:
        found = [path for path in self.folder.rglob(".*.partial*") if path.is_file()]
        found += [path for part in self.folder.rglob(".*.partial") for path in part.glob("*")]
        return sorted(str(path.relative_to(self.folder)) for path in found)

    def tree(self) -> set[str]:
        return {str(path.relative_to(self.folder)) for path in self.folder.rglob("*")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, dict[str, tuple[float, float]]]:
    """Run uninterrupted; return also for each command seconds to its first file, and to its end."""
    folder = tmp_path_factory.mktemp("kills")
    synthesise_dataset(folder / "d.zarr", n=12, size=64, canvas=300, cells=(1, 4), folds=2)
    place, took = Place(folder / "whole"), {}
    for command in KILLS:
        process, began = place.start(command), time.monotonic()
        while process.poll() is None and not list(place.folder.rglob(".*.partial")):
            time.sleep(0.01)
        first = time.monotonic() - began
        place.end(process)
        took[command] = first, time.monotonic() - began
    print(took)
    return place, took


@pytest.mark.slow
def test_twenty_kills_change_nothing(
    whole: tuple[Place, dict[str, tuple[float, float]]],
) -> None:
    uninterrupted, took = whole
    place, rng = Place(uninterrupted.folder.with_name("killed")), np.random.default_rng(0)
    fell: list[tuple[str, float, int, list[str]]] = []
    for command, until in KILLS.items():
        first, last = took[command]
        # a resumed training goes on, so its lives are short; predict begins anew
        share = 0.3 if command == "train" else 0.8
        while len(fell) < until:
            moment = 0.9 * first + share * (last - first) * rng.random()
            if place.kill(command, moment):
                fell.append((command, round(moment, 2), place.models(), place.partials()))
                print(*fell[-1])
            elif command == "train":
                break
            else:
                share *= 0.7  # it was done before: the machine has become faster
                (place.folder / "p.parquet").unlink()
        place.end(place.start(command, "--resume"))
    assert len(fell) == 20
    assert sum(command == "train" for command, *_ in fell) >= 3
    assert sum(bool(partials) for *_, partials in fell) >= 10
    assert place.tree() == uninterrupted.tree()
    assert not [path for path in (place.folder / "tmp").rglob("*") if path.is_file()]
    models = sorted(path.parent for path in uninterrupted.folder.rglob("model.safetensors"))
    assert len(models) == uninterrupted.models() == 4
    for model in models:
        same_model(model, place.folder / model.relative_to(uninterrupted.folder))
    one, two = (pq.read_table(each.folder / "p.parquet") for each in (uninterrupted, place))
    assert one.equals(two)
    assert id_of(one) == id_of(two)


def same_model(left: Path, right: Path) -> None:
    name = "model.safetensors"
    assert (left / name).read_bytes() == (right / name).read_bytes()
    columns = ["epoch", "split", "loss", "mIoU", "lr"]
    one, two = (pq.read_table(each / "history.parquet", columns=columns) for each in (left, right))
    assert one.equals(two)
    one, two = (json.loads((each / "config.json").read_text()) for each in (left, right))
    for config in (one, two):
        config["lineage"] = {"id": config["lineage"]["id"], "inputs": config["lineage"]["inputs"]}
    assert one == two


def id_of(table: Any) -> Any:  # noqa: ANN401 - Arrow's table, JSON's value
    return json.loads(table.schema.metadata[b"skiptool"])["id"]
