"""Progress of a grid of models: that of the one in training, and that of all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from skiptool.records import Progress, Task

__all__ = ["whole_grid"]


@contextmanager
def whole_grid(progress: Progress, steps: Sequence[int]) -> Iterator[Progress]:
    """Open a task for all models where there are several; tasks inside move it too.

    Parameters
    ----------
    progress : Progress
    steps : sequence of int
        Steps of each model, in the order in which their tasks will be opened.
    """
    if len(steps) < 2:
        yield progress
        return
    with progress.task(f"all {len(steps)} models", sum(steps)) as whole:
        yield _Grid(progress, whole, len(steps))


class _Grid:
    def __init__(self, progress: Progress, whole: Task, count: int) -> None:
        self._progress = progress
        self._whole = whole
        self._count = count
        self._begun = 0

    @contextmanager
    def task(self, text: str, total: int) -> Iterator[Task]:
        """Open the task of a model; what it leaves out (it ended early) counts as done."""
        self._begun += 1
        with self._progress.task(text, total) as own:
            both = _Both(own, self._whole, f"model {self._begun} of {self._count}")
            yield both
        both.leap(total - both.done)

    def warn(self, line: str) -> None:
        """Hand a warning on."""
        self._progress.warn(line)

    def say(self, line: str) -> None:
        """Hand a line on."""
        self._progress.say(line)

    @property
    def quiet(self) -> bool:
        """Whether nothing is shown."""
        return self._progress.quiet


class _Both:
    def __init__(self, own: Task, whole: Task, note: str) -> None:
        self._own, self._whole, self._note = own, whole, note
        self.done = 0

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Move both."""
        self._own.advance(steps, note)
        self.leap(steps)

    def leap(self, steps: int) -> None:
        """Move the task of all alone."""
        self.done += steps
        self._whole.advance(steps, self._note)
