"""The pool: few slides open, none closed under a reader."""

from __future__ import annotations

import pickle
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from weakref import WeakSet

import numpy as np
import pytest

from skiptool.errors import SourceError
from skiptool.sources.slides import slide as door
from skiptool.sources.slides.pool import SlidePool
from small_stores import refused

NATIVE = (1.0, 1.0)


@pytest.fixture
def paths(tmp_path: Path, pyramid: SimpleNamespace) -> list[Path]:
    return [Path(shutil.copy(pyramid.path, tmp_path / f"{number}.tiff")) for number in range(6)]


@pytest.fixture
def handles(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """Watch OpenSlide: handles that are alive (``open``), and how many were ever ``made``."""
    found = SimpleNamespace(open=WeakSet(), made=0, lock=threading.Lock())
    make = door.OpenSlide

    def counted(path: Path) -> object:
        handle = make(path)
        with found.lock:
            found.open.add(handle)
            found.made += 1
        return handle

    monkeypatch.setattr(door, "OpenSlide", counted)
    return found


def test_number_of_open_slides_is_limited(paths: list[Path], handles: SimpleNamespace) -> None:
    with SlidePool(2) as pool:
        for path in (*paths, *paths[-2:]):
            with pool.get(path) as slide:
                slide.read(0, 0, (8, 8), NATIVE)
            assert len(handles.open) <= 2
        assert handles.made == len(paths)  # the last two were open still
    del slide
    assert not handles.open


def test_least_recently_used_slide_is_closed_first(
    paths: list[Path], handles: SimpleNamespace
) -> None:
    pool = SlidePool(2)
    for number in (0, 1, 0, 2, 0):
        with pool.get(paths[number]):
            pass
    assert handles.made == 3
    with pool.get(paths[1]):
        assert handles.made == 4


def test_slides_in_use_are_not_closed(paths: list[Path], handles: SimpleNamespace) -> None:
    pool = SlidePool(1)
    with ExitStack() as stack:
        slides = [stack.enter_context(pool.get(path)) for path in paths[:4]]
        assert len(handles.open) == 4
        for slide in slides:
            slide.read(0, 0, (8, 8), NATIVE)
        assert handles.made == 4
    del slides, slide
    assert len(handles.open) == 1


def test_one_slide_is_shared(paths: list[Path]) -> None:
    pool = SlidePool()
    with pool.get(paths[0]) as first, pool.get(paths[0]) as second:
        assert first is second
    with pool.get(paths[0], (0.5, None)) as other:
        assert other is not first
        assert other.mpp == (0.5, 0.5)


@pytest.mark.long
def test_many_threads_share_many_slides(
    paths: list[Path], pyramid: SimpleNamespace, handles: SimpleNamespace
) -> None:
    pool = SlidePool(2, cache_bytes=1 << 20)

    def read(number: int) -> bool:
        x = number % 700
        with pool.get(paths[number * 7 % len(paths)]) as slide:
            found = slide.read(x, 100, (100, 100), NATIVE)
        return np.array_equal(found, pyramid.image[100:200, x : x + 100])

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(read, range(300)))
    assert len(handles.open) <= 2


def test_failed_slides_are_not_cached(tmp_path: Path, paths: list[Path]) -> None:
    pool, late = SlidePool(), tmp_path / "late.tiff"
    for _ in range(2):
        with refused(SourceError, late, "no such slide"), pool.get(late):
            pass
    shutil.copy(paths[0], late)
    with pool.get(late) as slide:
        assert slide.size == (1001, 799)


def test_pool_is_pickled_empty(paths: list[Path]) -> None:
    pool = SlidePool(3, 1 << 20)
    with pool.get(paths[0]) as slide, pickle.loads(pickle.dumps(pool)).get(paths[0]) as other:
        assert slide is not other
        assert slide.size == other.size
