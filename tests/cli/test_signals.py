from __future__ import annotations

import os
import signal
import threading
from typing import NoReturn

import pytest

from skiptool.cli.signals import Terminated, terminable


def test_sigterm_is_raised_where_the_work_is() -> None:
    with pytest.raises(Terminated), terminable():
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
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
