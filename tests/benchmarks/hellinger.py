"""The Hellinger engine compared with reading the data and with loops of NumPy and SciPy; starts.

Run: ``python tests/benchmarks/hellinger.py [--large]`` (``--large`` adds stores of 2,000 images,
2.5 GB on disk, in the folder of temporary files). Figures of one line are measured in turn in one
run, the best of several; SciPy's loop is timed on some channels and scaled.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from scipy.stats import wasserstein_distance

from skiptool.comparison.activations import Settings
from skiptool.distances.bins import Binning, equal_width, joint_range
from skiptool.distances.counting import activation_extremes, count_activations
from skiptool.steps.hellinger import measure_shift
from skiptool.stores.features_writer import CHUNK, FeatureWriter
from skiptool.stores.lineage import Invocation

IMAGES, CHANNELS, VECTORS, BINS = 200, 512, 256, 100
LAYERS = {
    "input": 3,
    "enc1": 64,
    "enc2": 64,
    "enc3": 128,
    "enc4": 256,
    "enc5": 512,
    "dec4": 256,
    "dec3": 128,
    "dec2": 64,
    "dec1": 32,
    "dec0": 16,
    "head": 2,
}
"""Channels of the resnet18 U-net."""


def activations(rng: np.random.Generator, images: int, channels: int) -> Any:  # noqa: ANN401
    """Rectified activations with an effect of each image, float32 (N, D, K)."""
    noise = rng.standard_normal((images, channels, VECTORS), dtype=np.float32)
    return np.maximum(noise + 0.3 * rng.standard_normal((images, channels, 1), np.float32), 0.0)


def best(times: int, *functions: Callable[[], object], clock: str = "process_time") -> list[float]:
    """Seconds of each function, in turn, the best of several."""
    found = [float("inf")] * len(functions)
    for _ in range(times):
        for place, function in enumerate(functions):
            before = getattr(time, clock)()
            function()
            found[place] = min(found[place], getattr(time, clock)() - before)
    return found


def kernel(dtype: type[np.floating[Any]]) -> None:
    """Time counting of two sets against loops over channels and against reading them once."""
    rng = np.random.default_rng(0)
    sets = [activations(rng, IMAGES, CHANNELS).astype(dtype) for _ in range(2)]
    wide = [x.astype(np.float32) for x in sets]
    binning = equal_width(joint_range(*map(activation_extremes, sets)), BINS)

    def ours() -> None:
        for x in sets:
            count_activations(x, binning)

    def once() -> None:
        for x in wide:
            x.sum()

    count_activations(sets[0][:1], binning)
    one, floor = best(9, ours, once)
    print(f"{dtype.__name__}: counting {1e3 * one:.1f} ms of one core, sum {1e3 * floor:.1f} ms")
    print(f"  one core against the sum of the same values in float32: {one / floor:.1f}x")
    two, floor = best(9, lambda: in_two(sets, binning), once, clock="perf_counter")
    print(f"  two threads against the sum, wall: {two / floor:.1f}x")
    if dtype is np.float32:
        loops(sets, binning, ours)


def in_two(sets: list[Any], binning: Binning) -> None:
    """Count on two threads, a few images at a time."""
    blocks = [x[i : i + CHUNK] for x in sets for i in range(0, len(x), CHUNK)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda block: count_activations(block, binning), blocks))


def loops(sets: list[Any], binning: Binning, ours: Callable[[], None], sample: int = 4) -> None:
    """Print how many times slower a loop over channels is."""
    columns = [np.ascontiguousarray(x.transpose(0, 2, 1)).reshape(-1, CHANNELS) for x in sets]
    ends = [(low, low + span) for low, span in zip(binning.low, binning.span, strict=True)]

    def histograms() -> None:
        for column in columns:
            for d in range(CHANNELS):
                np.histogram(column[:, d], bins=BINS, range=ends[d])

    def exact() -> None:
        for d in range(sample):
            wasserstein_distance(columns[0][:, d], columns[1][:, d])

    one, first, second = best(3, ours, histograms, exact)
    print(f"  numpy.histogram column by column: {first / one:.0f}x slower")
    print(f"  wasserstein_distance of SciPy: {second * CHANNELS / sample / one:.0f}x slower")


def write_store(path: Path, images: int, seed: int, factor: float) -> Path:
    """Write a simulated feature store of all layers."""
    rng = np.random.default_rng(seed)
    invocation = Invocation("features", (), {}, {}, {"model": "m", "dataset": "d"})
    columns = {"id": [f"{image:05d}" for image in range(images)]}
    facts = {"model": "m", "domain": "a", "shift": "original", "dataset": "d"}
    writer = FeatureWriter(path, invocation, [path.name], facts, columns)
    for start in range(0, images, CHUNK):
        size = min(CHUNK, images - start)
        writer.append(
            {name: np.float32(factor) * activations(rng, size, d) for name, d in LAYERS.items()}
        )
    writer.finish()
    return path


def read_all(paths: list[Path]) -> None:
    """Read every layer of stores with zarr-python."""
    for path in paths:
        layers = zarr.open_group(path / "layers", mode="r")
        for name in LAYERS:
            layers[name][:]  # type: ignore[index]


def stores(folder: Path, images: int, times: int) -> None:
    """Time the whole step between two stores against reading them, and print its peak memory."""
    paths = [
        write_store(folder / f"{name}{images}.zarr", images, seed, factor)
        for name, seed, factor in (("a", 1, 1.0), ("b", 2, 0.9))
    ]

    def step(permutations: int) -> None:
        settings = Settings(permutations=permutations, workers=2)
        measure_shift(paths[0], [paths[1]], settings=settings)

    step(1)
    read, none, full = best(
        times, lambda: read_all(paths), lambda: step(0), lambda: step(199), clock="perf_counter"
    )
    print(f"{images} images: reading {read:.2f} s, R = 0 {none:.2f} s, R = 199 {full:.2f} s")
    print(f"  against reading: {none / read:.1f}x without null, {full / read:.1f}x with it")
    words = [sys.executable, __file__, "--peak", *map(str, paths)]
    peak = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    print(f"  peak memory {float(peak):.0f} MB")


def starts(folder: Path) -> None:
    """Print CPU seconds of the command on few images, before and after its loops are compiled."""
    paths = [write_store(folder / f"few{seed}.zarr", 8, seed, 1.0) for seed in (1, 2)]
    tool = Path(sys.executable).with_name("skiptool")
    words = [str(tool), "hellinger", *map(str, paths), "--out", str(folder / "few.parquet")]
    words += ["--overwrite", "--quiet"]
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder / "compiled")}
    seconds = []
    for _ in range(2):
        before = os.times()
        subprocess.run(words, check=True, env=environment, stdout=subprocess.DEVNULL)
        after = os.times()
        spent = after.children_user - before.children_user
        seconds.append(spent + after.children_system - before.children_system)
    print(f"first start {seconds[0]:.1f} s of one core, second {seconds[1]:.1f} s")


def main() -> None:
    """Run all, or (``--peak``) one comparison whose peak memory is printed."""
    if "--peak" in sys.argv:
        measure_shift(sys.argv[-2], [sys.argv[-1]], settings=Settings(workers=2))
        # Not getrusage: its peak is handed down by the process that started this one.
        status = Path("/proc/self/status").read_text()
        print(int(status.split("VmHWM:")[1].split()[0]) / 1000)
        return
    for dtype in (np.float32, np.float16):
        kernel(dtype)
    with tempfile.TemporaryDirectory() as folder:
        starts(Path(folder))
        stores(Path(folder), 200, 5)
        if "--large" in sys.argv:
            stores(Path(folder), 2000, 1)


if __name__ == "__main__":
    main()
