"""SIGTERM ends a command as Ctrl-C does: what can be resumed is kept, the rest is cleared away."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Terminated", "terminable"]


class Terminated(KeyboardInterrupt):
    """A SIGTERM, raised where the work is: whatever heeds Ctrl-C heeds it too."""


RAISED = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Terminated}
DEFAULT = (signal.SIG_DFL, signal.default_int_handler)


@contextmanager
def terminable() -> Iterator[None]:
    """Raise :class:`Terminated` at SIGTERM, KeyboardInterrupt at SIGINT while the block runs.

    Either comes out of the block even where a library has made another error of it on the way, as
    compiled code does. Python hears signals in its main thread only; elsewhere, and where somebody
    listens already, nothing is changed.
    """
    heard: list[signal.Signals] = []

    def interrupt(number: int, _: FrameType | None) -> None:
        heard.append(signal.Signals(number))
        raise RAISED[heard[0]]

    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in RAISED}
    for number, handler in before.items():
        if handler in DEFAULT:
            signal.signal(number, interrupt)
    try:
        yield
    except (Exception, SystemExit) as error:
        if heard:
            raise RAISED[heard[0]] from error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
