"""Much of everything: time grows with the work, memory hardly does.

Each test does a piece of work and one of twice its size. The largest are slow; small ones, of the
same commands, run with all other tests and look at memory alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from simulated import PAPER_SWEEP, predictions
from skiptool.names import Kind
from skiptool.records import ORIGINAL
from skiptool.sources.pictures.files import write_mask, write_picture
from skiptool.stores.dataset import open_dataset
from skiptool.stores.tables import open_table
from small_stores import write_features

Tried = Callable[..., None]

SLACK = 2.5
"""Twice the work may take so many times as long."""


@dataclass(frozen=True, slots=True)
class Used:
    """What a command took: seconds of the processor, megabytes at its peak."""

    seconds: float
    megabytes: float

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s and {self.megabytes:.0f} MB"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Return a folder that is emptied at once: these tests write much."""
    yield tmp_path
    for path in tmp_path.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


MEASURED = """
import atexit, sys
from skiptool.__main__ import run
atexit.register(lambda: open("peak", "w").write(open("/proc/self/status").read()))
sys.exit(run())
"""
"""Runs ``skiptool``. Its peak is not that of ``wait4``, which counts the process that forks it."""


def used(folder: Path, *words: object) -> Used:
    """Run ``skiptool`` in a folder and return what it took."""
    errors = folder / "stderr"
    with (
        errors.open("w") as file,
        subprocess.Popen(
            [sys.executable, "-c", MEASURED, *map(str, words)],
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=file,
        ) as process,
    ):
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, errors.read_text()[-2000:]
    peak = (folder / "peak").read_text().split("VmHWM:")[1].split()[0]
    return Used(usage.ru_utime + usage.ru_stime, int(peak) / 1024)


def check_flat(half: Used, all_of_it: Used, flat: float) -> None:
    """Check that memory grew by less than so many MB."""
    assert all_of_it.megabytes - half.megabytes < flat, (str(half), str(all_of_it))


def check_linear(half: Used, all_of_it: Used) -> None:
    """Check that time grew with the work."""
    assert all_of_it.seconds / half.seconds < SLACK, (str(half), str(all_of_it))


def of_size(small: int, large: int) -> pytest.MarkDecorator:
    """Run a test with two sizes, of which the larger is slow."""
    return pytest.mark.parametrize("size", [small, pytest.param(large, marks=pytest.mark.slow)])


@pytest.mark.slow
def test_100_000_tiny_images(folder: Path, tried: Tried) -> None:
    """Tiles of 8 px out of pictures of 800 px: 10,000 of each."""
    rng, found = np.random.default_rng(0), []
    for pictures in (5, 10):
        for part in ("images", "masks"):
            (folder / f"{pictures}" / part).mkdir(parents=True)
        for number in range(pictures):
            image = rng.integers(0, 255, (800, 800, 3), dtype=np.uint8)
            write_picture(folder / f"{pictures}/images/s{number}.png", image)
            mask = (image[..., 0] > 128).astype(np.uint8)
            write_mask(folder / f"{pictures}/masks/s{number}.png", mask, [(0, 0, 0)])
        words = ("--images", f"{pictures}/images", "--masks", f"{pictures}/masks")
        words += ("--patch-size", "8", "--folds", "2", "-o", f"d{pictures}.zarr", "--quiet")
        found.append(used(folder, "extract", "images", *words))
    assert len(open_dataset(folder / "d10.zarr").domain("images")) == 100_000
    tried("load", images_100_000=str(found[1]), images_50_000=str(found[0]))
    check_flat(*found, flat=150)
    check_linear(*found)


@pytest.mark.slow
def test_500_feature_stores(folder: Path, tried: Tried) -> None:
    for number in range(500):
        write_features(folder / f"f{number:03d}.zarr", 16, identity=number)
    found = []
    for number in (250, 500):
        stores = [f"f{index:03d}.zarr" for index in range(number)]
        words = ("-o", f"{number}.parquet", "--quiet", "--permutations", "19", "--unpaired")
        found.append(used(folder, "hellinger", *stores, *words))
    assert (
        len(set(open_table(folder / "500.parquet", Kind.SHIFT).columns(["other"])["other"])) == 499
    )
    tried("load", stores_500=str(found[1]), stores_250=str(found[0]))
    check_flat(*found, flat=100)
    check_linear(*found)


@pytest.mark.long
@of_size(small=20, large=334)
def test_many_predictions(folder: Path, tried: Tried, size: int) -> None:
    found, shifts = [], (ORIGINAL, *PAPER_SWEEP)
    for samples in (size // 2, size):
        rows = predictions(
            folder / f"table{samples}.parquet", ["A"], tuple(dict.fromkeys(shifts)), samples, 5
        )
        found.append(
            used(folder, "report", f"table{samples}.parquet", "-o", f"{samples}.html", "--quiet")
        )
    assert rows == 3_000 * size
    tried("load", **{f"rows_{rows:,}": str(found[1]), f"rows_{rows // 2:,}": str(found[0])})
    check_flat(*found, flat=30 + 0.0004 * (rows / 2))  # a report reads the whole table
    if size > 20:
        check_linear(*found)


@pytest.mark.long
@of_size(small=1_000, large=10_000)
def test_a_manifest_of_many_rows(folder: Path, tried: Tried, size: int) -> None:
    rng, found = np.random.default_rng(0), []
    write_picture(folder / "image.png", rng.integers(0, 255, (8, 8, 3), dtype=np.uint8))
    write_mask(folder / "mask.png", rng.integers(0, 2, (8, 8), dtype=np.uint8), [(0, 0, 0)])
    (folder / "files").mkdir()
    for number in range(size):
        for name in ("image", "mask"):
            os.link(folder / f"{name}.png", folder / f"files/{name}{number}.png")
    for rows in (size // 2, size):
        lines = [f"files/image{n}.png,files/mask{n}.png,A,s{n // 10}" for n in range(rows)]
        text = "\n".join(["image,mask,domain,subject", *lines])
        (folder / f"{rows}.csv").write_text(f"{text}\n")
        found.append(used(folder, "extract", "images", f"{rows}.csv", "--dry-run", "--quiet"))
    assert not (folder / "data.zarr").exists()
    tried("load", **{f"manifest_{rows:,}": str(found[1]), f"manifest_{rows // 2:,}": str(found[0])})
    check_flat(*found, flat=20)
    if size > 1_000:
        check_linear(*found)
