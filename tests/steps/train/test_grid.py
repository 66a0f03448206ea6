from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from skiptool.records import Progress
from skiptool.steps.train.grid import whole_grid


class Bar:
    def __init__(self) -> None:
        self.done = 0
        self.note = ""

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.done += steps
        self.note = note


class Display:
    def __init__(self) -> None:
        self.bars: dict[tuple[str, int], Bar] = {}
        self.lines: list[str] = []

    @contextmanager
    def task(self, text: str, total: int) -> Iterator[Bar]:
        self.bars[text, total] = Bar()
        yield self.bars[text, total]

    def warn(self, line: str) -> None:
        self.lines.append(line)


def test_all_models_and_each() -> None:
    display = Display()
    with whole_grid(display, [4, 6]) as shown:
        with shown.task("first", 4) as task:
            task.advance(1, "epoch 1")
            assert display.bars["all 2 models", 10].done == 1
            assert display.bars["all 2 models", 10].note == "model 1 of 2"
        shown.warn("careful")
        assert display.bars["all 2 models", 10].done == 4  # it had ended early
        with shown.task("second", 6) as task:
            task.advance(6)
    assert (display.bars["first", 4].done, display.bars["first", 4].note) == (1, "epoch 1")
    assert display.bars["second", 6].done == 6
    assert display.bars["all 2 models", 10].done == 10
    assert display.bars["all 2 models", 10].note == "model 2 of 2"
    assert display.lines == ["careful"]


def test_one_model_has_one_task() -> None:
    display: Progress = Display()
    with whole_grid(display, [4]) as shown:
        assert shown is display
