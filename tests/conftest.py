"""Fixtures shared by all tests."""

from __future__ import annotations

import ctypes
import gc
import json
import mmap
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

os.environ.setdefault("OMP_NUM_THREADS", "1")
"""Else each command that runs a network measures for half a second how many cores are idle."""

_SLOW_DRAWS = [HealthCheck.too_slow, HealthCheck.filter_too_much]  # of a busy machine, not faults
settings.register_profile(
    "default", max_examples=40, deadline=None, suppress_health_check=_SLOW_DRAWS
)
settings.register_profile(
    "thorough", max_examples=400, deadline=None, suppress_health_check=_SLOW_DRAWS
)
settings.load_profile("default")


def pytest_configure(config: pytest.Config) -> None:
    """Run long tests too where ``CI`` is set, unless other tests are asked for."""
    if os.environ.get("CI") and config.option.markexpr == "not slow and not long":
        config.option.markexpr = "not slow"


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> Iterator[None]:
    """Hear SIGINT, which is ignored where a shell or ``nohup`` started the tests in background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def _frugal() -> Iterator[None]:
    """Give memory back that a test has left behind: several processes of tests share a machine.

    Trained networks hang in cycles, which Python collects late, and the C library keeps what was
    freed.
    """
    yield
    if _resident() > _LEFT["most"]:
        gc.collect()
        if hasattr(_LIBC, "malloc_trim"):
            _LIBC.malloc_trim(0)
        _LEFT["most"] = _resident() + _SPARE


_SPARE: Final = 200 << 20
_LEFT = {"most": 0}
"""Bytes at which memory is given back: what was left the last time, and some more."""

_LIBC: Final = ctypes.CDLL(None)


def _resident() -> int:
    """Bytes of memory that this process has; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE
    except OSError:
        return 0


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real inputs made by others, beside the checkout; tests skip without it."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the shared real data (../shared/data) is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """One tiny experiment, made once: every artifact that a command reads, by name.

    ``data`` (24 images of 64 px), ``baseline`` and ``pruned`` (L1; one epoch), ``predictions`` and
    ``masks`` (of both, original and brightness 0.5), ``features`` (folder with ``plain``, ``dark``
    of the baseline and ``plain_pruned``, ``dark_pruned``), ``shift`` (plain against dark).
    """
    import torch

    import skiptool
    from skiptool.names import Precision
    from skiptool.records import ORIGINAL, Shift, Training

    torch.set_num_threads(1)  # networks are tiny: several threads only wait for each other
    folder = tmp_path_factory.mktemp("experiment")
    data, dark = folder / "s.zarr", Shift.parse("brightness=0.5")
    skiptool.synthesise_dataset(data, n=24, size=64, canvas=300, cells=(1, 4), folds=3)
    protocol = Training(fold=0, epochs=1, encoder_weights="none", precision=Precision.FLOAT32)
    levels = [(1, 2, 3, 4), (2, 3, 4)]
    trained = skiptool.train_models(
        data, folder / "runs", skips=levels, fold=[0], protocol=protocol
    )
    both, shifts = trained.outputs, (ORIGINAL, dark)
    names = {"predictions": "p.parquet", "masks": "m.zarr", "shift": "shift.parquet"}
    made = {"data": data, "baseline": both[0], "pruned": both[1], "features": folder / "features"}
    made |= {name: folder / file for name, file in names.items()}
    skiptool.predict_dataset(
        both,
        data,
        made["predictions"],
        shifts=shifts,
        masks=made["masks"],
        precision=Precision.FLOAT32,
    )
    stores = skiptool.extract_features(both, data, made["features"], shifts=shifts).outputs
    made |= dict(zip(("plain", "dark", "plain_pruned", "dark_pruned"), stores, strict=True))
    skiptool.measure_shift(made["plain"], [made["dark"]], made["shift"])
    return SimpleNamespace(folder=folder, **made)


@pytest.fixture(scope="session")
def contents() -> Callable[[Path], dict[str, bytes]]:
    """Return a function: bytes of every file of a folder, lineage about the invocation left out."""
    return _contents


def _contents(folder: Path) -> dict[str, bytes]:
    found = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    root = json.loads(found["zarr.json"])
    for key in ("command", "created", "arithmetic", "seal"):
        root["attributes"].pop(key, None)
    found["zarr.json"] = json.dumps(root, sort_keys=True).encode()
    return found


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Tables of a small study: a sweep, three domains, the shifts of the sweep at each layer."""
    import simulated
    from skiptool.records import ORIGINAL, Shift

    kinds = ("brightness=0.5", "brightness=1.5", "contrast=0.5", "saturation=0", "saturation=0.5")
    shifts = (ORIGINAL, *map(Shift.parse, kinds))
    folder, domains = tmp_path_factory.mktemp("study"), simulated.DOMAINS[:3]
    paths = [folder / f"{name}.parquet" for name in ("sweep", "domains", "shift")]
    simulated.predictions(paths[0], domains[:1], shifts, samples=12, subjects=6, folds=2)
    simulated.predictions(paths[1], domains, (ORIGINAL,), samples=8, subjects=4, folds=2)
    simulated.distances(paths[2], shifts, domains[0], folds=2)
    return paths


@pytest.fixture(scope="session")
def substituted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Predictions of a small sweep, plain ones and those with clean skips."""
    import simulated
    from skiptool.records import ORIGINAL, Shift

    path = tmp_path_factory.mktemp("substituted") / "clean.parquet"
    shifts = (ORIGINAL, *map(Shift.parse, ("brightness=0.5", "contrast=0.5")))
    domains = simulated.DOMAINS[:1]
    simulated.predictions(path, domains, shifts, 12, subjects=6, folds=2, substituted=True)
    return path


@pytest.fixture
def labels() -> Callable[[Figure], list[str]]:
    """Return the labels of a figure after checking that each lies on the sheet and on no other."""

    def check(figure: Figure) -> list[str]:
        texts, boxes = _boxes(figure)
        left, low, right, high = boxes.T
        sheet = figure.bbox
        for name, outside in {
            "left": left < sheet.x0,
            "right": right > sheet.x1,
            "below": low < sheet.y0,
            "above": high > sheet.y1,
        }.items():
            assert [texts[place] for place in np.flatnonzero(outside)] == [], name
        wide = np.minimum.outer(right, right) - np.maximum.outer(left, left)
        tall = np.minimum.outer(high, high) - np.maximum.outer(low, low)
        common = np.triu((wide > 2.0) & (tall > 2.0), k=1)
        assert [(texts[a], texts[b]) for a, b in np.argwhere(common)] == []
        return texts

    return check


def _boxes(figure: Figure) -> tuple[list[str], Any]:
    """Texts, and their boxes (left, low, right, high) in pixels at 100 dots an inch."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    from skiptool.figures.style import drawing_style

    with drawing_style():
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        renderer = canvas.get_renderer()
        shown = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
        boxes = [text.get_window_extent(renderer).extents for text in shown]
    return [text.get_text() for text in shown], np.array(boxes)
