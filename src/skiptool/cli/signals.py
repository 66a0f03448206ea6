"""SIGTERM ends a command as Ctrl-C does: what can be resumed is kept, the rest is cleared away."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Terminated", "terminable"]


class Terminated(KeyboardInterrupt):
    """A SIGTERM, raised where the work is: whatever heeds Ctrl-C heeds it too."""


@contextmanager
def terminable() -> Iterator[None]:
    """Raise :class:`Terminated` at SIGTERM while the block runs.

    Python hears signals in its main thread only; elsewhere, and where somebody listens already,
    nothing is changed.
    """
    heard = threading.current_thread() is threading.main_thread()
    if not heard or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _raise)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _raise(*_: object) -> None:
    raise Terminated
