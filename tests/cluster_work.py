"""What tests send to the workers of a cluster: it must be importable there."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from small_activations import Noted


class Deadly(Noted):
    """Activations that kill the process which first reads of their last layer, but the main one."""

    def __init__(self, flag: Path, *words: Any, **how: Any) -> None:  # noqa: ANN401
        super().__init__(*words, **how)
        self.flag, self.home = flag, os.getpid()

    def read(self, layer: str, rows: slice) -> Any:  # noqa: ANN401
        if os.getpid() != self.home and layer == self.layers[-1]:
            die_once(self.flag)
        return super().read(layer, rows)


def die_once(flag: Path) -> None:
    """Kill this process with SIGKILL, unless it or another one died so before."""
    try:
        flag.touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def squared(item: int) -> list[int]:
    """Square, slower for early items."""
    time.sleep(0.05 if item % 7 == 0 else 0.0)
    return [item * item]


def process(_item: int) -> int:
    """Say which process works."""
    time.sleep(0.05)
    return os.getpid()


def divided(item: int) -> int:
    """Fail at item 5."""
    return 60 // (5 - item)


def together(parts: Sequence[list[int]]) -> list[int]:
    """Join lists; more than eight at once would be a wide tree."""
    assert len(parts) <= 8
    return [value for part in parts for value in part]
