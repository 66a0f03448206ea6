from __future__ import annotations

from collections.abc import Callable

import pytest
from matplotlib.figure import Figure

from skiptool.figures.dots import dot_axes
from skiptool.figures.heading import MARGIN, plan_heading
from skiptool.figures.key import Entry
from skiptool.figures.style import drawing

Check = Callable[[Figure], list[str]]


@pytest.mark.parametrize("title", ["", "a title", "t" * 300])
@pytest.mark.parametrize("notes", ["", "one line", "many words " * 60])
@pytest.mark.parametrize("count", [0, 1, 9])
def test_it_ends_where_it_says(labels: Check, title: str, notes: str, count: int) -> None:
    heading = plan_heading(title, notes, [Entry(f"class {place}") for place in range(count)], 700)
    with drawing():
        figure, axes = dot_axes(700 + 2 * MARGIN, heading.bottom)
        heading.draw(axes)
    if not (title or notes or count):
        assert heading.bottom == MARGIN
        return
    written = labels(figure)
    assert len(written) == bool(title) + len(heading.notes) + count
    assert len(heading.notes) <= 3
