"""Much of everything: time grows with the work, memory does not."""

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
from skiptool.sources.pictures import write_mask, write_picture
from skiptool.stores.dataset import open_dataset
from skiptool.stores.tables import open_table
from small_stores import write_features

Tried = Callable[..., None]

pytestmark = pytest.mark.slow

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


def used(folder: Path, *words: object) -> Used:
    """Run ``skiptool`` in a folder and return what it took."""
    errors = folder / "stderr"
    with (
        errors.open("w") as file,
        subprocess.Popen(
            [sys.executable, "-m", "skiptool", *map(str, words)],
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=file,
        ) as process,
    ):
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, errors.read_text()[-2000:]
    return Used(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def check_linear(half: Used, all_of_it: Used, flat: float, fixed: float = 0.0) -> None:
    """Check that time grew with the work (less a start of ``fixed`` s), memory by ``flat`` MB."""
    grown = (all_of_it.seconds - fixed) / (half.seconds - fixed)
    assert grown < SLACK, (str(half), str(all_of_it))
    assert all_of_it.megabytes - half.megabytes < flat, (str(half), str(all_of_it))


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
    check_linear(*found, flat=150)


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
    check_linear(*found, flat=60)


def test_a_million_predictions(folder: Path, tried: Tried) -> None:
    found, shifts = [], (ORIGINAL, *PAPER_SWEEP)
    for samples in (167, 334):
        rows = predictions(
            folder / f"table{samples}.parquet", ["A"], tuple(dict.fromkeys(shifts)), samples
        )
        found.append(
            used(folder, "report", f"table{samples}.parquet", "-o", f"{samples}.html", "--quiet")
        )
    assert rows >= 1_000_000
    tried("load", rows_1_000_000=str(found[1]), rows_500_000=str(found[0]))
    check_linear(*found, flat=700)


def test_a_manifest_of_10_000_rows(folder: Path, tried: Tried) -> None:
    rng, found = np.random.default_rng(0), []
    write_picture(folder / "image.png", rng.integers(0, 255, (8, 8, 3), dtype=np.uint8))
    write_mask(folder / "mask.png", rng.integers(0, 2, (8, 8), dtype=np.uint8), [(0, 0, 0)])
    (folder / "files").mkdir()
    for number in range(10_000):
        for name in ("image", "mask"):
            os.link(folder / f"{name}.png", folder / f"files/{name}{number}.png")
    for rows in (5_000, 10_000):
        lines = [f"files/image{n}.png,files/mask{n}.png,A,s{n // 10}" for n in range(rows)]
        text = "\n".join(["image,mask,domain,subject", *lines])
        (folder / f"{rows}.csv").write_text(f"{text}\n")
        found.append(used(folder, "extract", "images", f"{rows}.csv", "--dry-run", "--quiet"))
    assert not (folder / "data.zarr").exists()
    tried("load", manifest_10_000=str(found[1]), manifest_5_000=str(found[0]))
    check_linear(*found, flat=50)
