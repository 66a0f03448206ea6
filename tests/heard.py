"""Progress that can be asked what it was told."""

from __future__ import annotations

from contextlib import AbstractContextManager

from skiptool.records import SILENT, Task


class Heard:
    """Progress that keeps the warnings."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def task(self, text: str, total: int) -> AbstractContextManager[Task]:
        return SILENT.task(text, total)

    def warn(self, line: str) -> None:
        self.lines.append(line)
