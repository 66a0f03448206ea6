"""``skiptool extract wsi --mode grid`` compared with bare reading of the same patches.

Run: ``python tests/benchmarks/extract.py [SIDE [ROUNDS]]`` (20480, 3). A slide of SIDE x SIDE
pixels (256-px JPEG tiles) is made by the tests' helper and cut into all its patches of 512 px. Bare
reading calls ``read_region`` of OpenSlide in the same order and throws the pixels away. Both run in
turn, on one and on two threads; survey, planning and the store are all counted. Seconds are the
least of the rounds, ratios the median of those within a round. Peak memory is that of a process of
its own that runs the command on two threads.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from openslide import OpenSlide

import skiptool
from skiptool.parallel import ordered_map
from skiptool.steps.extract_wsi.settings import PatchSettings

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pyramids import stained, write_pyramid

SIZE = 512
EVERYTHING = PatchSettings(min_tissue=0.0)
MEASURED = """
import resource, sys
from pathlib import Path
import skiptool
from skiptool.steps.extract_wsi.settings import PatchSettings
how = {"pictures": False, "workers": 2, "overwrite": True}
skiptool.extract_slides(
    Path(sys.argv[1]), Path(sys.argv[2]), settings=PatchSettings(min_tissue=0.0), **how
)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def read_all(slide: Path, side: int, workers: int) -> None:
    """Read every patch and throw it away."""
    handle = OpenSlide(slide)
    places = [(x, y) for y in range(0, side, SIZE) for x in range(0, side, SIZE)]
    for _ in ordered_map(lambda at: handle.read_region(at, 0, (SIZE, SIZE)), places, workers):
        pass


def seconds(work: Callable[[], object]) -> float:
    """Return the wall seconds of a call."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def main() -> None:
    """Make a slide and time both."""
    side, rounds = [*map(int, sys.argv[1:]), *(20_480, 3)[len(sys.argv) - 1 :]]
    with TemporaryDirectory() as name:
        folder = Path(name)
        slide, manifest, out = folder / "slide.tif", folder / "slides.csv", folder / "d.zarr"
        write_pyramid(slide, stained(), (side, side), levels=6, mpp=0.25)
        manifest.write_text(f"path,domain,subject\n{slide.name},A,s\n")
        how = {"settings": EVERYTHING, "pictures": False, "overwrite": True}
        runs: dict[str, Callable[[], object]] = {}
        for workers in (1, 2):
            runs[f"read_region, {workers} thread(s)"] = lambda w=workers: read_all(slide, side, w)
            runs[f"extract wsi, {workers} thread(s)"] = lambda w=workers: skiptool.extract_slides(
                manifest, out, workers=w, **how
            )
        times = np.array([[seconds(work) for work in runs.values()] for _ in range(rounds)])
        patches = (side // SIZE) ** 2
        for label, least in zip(runs, times.min(axis=0), strict=True):
            print(f"{label:26s} {least:7.2f} s  {patches / least:6.0f} patches/s")
        for place, workers in ((0, 1), (2, 2)):
            share = np.median(times[:, place] / times[:, place + 1])
            print(f"{workers} thread(s): extract runs at {share:.2f} of read_region")
        words = [sys.executable, "-c", MEASURED, str(manifest), str(out)]
        print(f"peak memory {subprocess.check_output(words, text=True).strip()} MB")


if __name__ == "__main__":
    main()
