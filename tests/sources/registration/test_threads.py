from __future__ import annotations

import threading
from collections.abc import Iterator

import cv2
import pytest

from skiptool.sources.registration.threads import one_thread


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    yield
    cv2.setNumThreads(before)


def test_one_inside_and_as_before_outside() -> None:
    with one_thread():
        assert cv2.getNumThreads() == 1
        with one_thread():
            assert cv2.getNumThreads() == 1
        assert cv2.getNumThreads() == 1
    assert cv2.getNumThreads() == 2


def test_put_back_after_an_error() -> None:
    with pytest.raises(ValueError, match="inside"), one_thread():
        raise ValueError("inside")
    assert cv2.getNumThreads() == 2


def test_the_last_of_several_callers_puts_it_back() -> None:
    entered, leave = threading.Event(), threading.Event()

    def inside() -> None:
        with one_thread():
            entered.set()
            leave.wait(10)

    caller = threading.Thread(target=inside)
    with one_thread():
        caller.start()
        assert entered.wait(10)
    assert cv2.getNumThreads() == 1
    leave.set()
    caller.join()
    assert cv2.getNumThreads() == 2
