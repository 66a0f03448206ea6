"""Progress that can be asked what it was told."""

from __future__ import annotations

from contextlib import AbstractContextManager

from skiptool.records import SILENT, Task


class Heard:
    """Progress that keeps the warnings, what else was said, and the names of tasks."""

    quiet = False

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.said: list[str] = []
        self.tasks: list[str] = []

    def task(self, text: str, total: int) -> AbstractContextManager[Task]:
        self.tasks.append(text)
        return SILENT.task(text, total)

    def say(self, line: str) -> None:
        self.said.append(line)

    def warn(self, line: str) -> None:
        self.lines.append(line)
