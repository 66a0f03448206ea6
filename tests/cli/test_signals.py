from __future__ import annotations

import os
import signal
import threading
from typing import NoReturn

import pytest

from skiptool.cli.signals import Terminated, terminable


def test_sigterm_is_raised_where_the_work_is() -> None:
    with pytest.raises(Terminated), terminable():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_another_listener_is_left_alone() -> None:
    heard: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        with terminable():
            os.kill(os.getpid(), signal.SIGTERM)
            assert heard == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@pytest.mark.parametrize(
    ("number", "kind"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)]
)
@pytest.mark.parametrize("error", [ValueError("Invalid bounding box"), SystemExit(1)])
def test_what_a_library_makes_of_it_is_an_interrupt_still(
    number: signal.Signals, kind: type[KeyboardInterrupt], error: BaseException
) -> None:
    def library() -> NoReturn:
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            raise error from None
        raise AssertionError

    with pytest.raises(KeyboardInterrupt) as found, terminable():
        library()
    assert found.type is kind
    with pytest.raises(type(error)), terminable():
        raise error


def test_other_threads_cannot_listen() -> None:
    found: list[object] = []

    def work() -> None:
        with terminable():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.SIG_DFL]


def test_it_passes_as_ctrl_c() -> None:
    def interrupted() -> NoReturn:
        raise Terminated

    with pytest.raises(KeyboardInterrupt):
        interrupted()
