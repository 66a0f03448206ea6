from __future__ import annotations

from collections.abc import Callable

import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from skiptool.figures.facets import plan_facets
from skiptool.figures.style import ONE_COLUMN, TWO_COLUMNS, drawing

Check = Callable[[Figure], list[str]]


def entries(count: int, name: str = "entry") -> list[Line2D]:
    return [Line2D([], [], label=f"{name} {number}") for number in range(count)]


@pytest.mark.parametrize(
    ("panels", "rows", "columns"),
    [(1, 1, 1), (2, 1, 2), (3, 1, 3), (4, 1, 4), (5, 2, 3), (9, 3, 3), (12, 3, 4), (15, 4, 4)],
)
def test_rows_are_even_and_panels_apart(panels: int, rows: int, columns: int) -> None:
    facets = plan_facets(panels, [entries(3)])
    assert (len(facets.tops), len(facets.lefts)) == (rows, columns)
    assert facets.size[0] == (ONE_COLUMN if panels < 3 else TWO_COLUMNS)
    places = [facets.rectangle(number) for number in range(panels)]
    for place, (left, bottom, width, height) in enumerate(places):
        assert left > 0 < bottom
        assert left + width < 1 > bottom + height
        for other in places[:place]:
            aside = other[0] + other[2] < left or left + width < other[0]
            assert aside or bottom + height < other[1]
    assert [facets.first(number) for number in range(columns + 1)] == [
        *(number % columns == 0 for number in range(columns + 1)),
    ]


@pytest.mark.parametrize("count", [1, 5, 20, 60])
def test_legends_have_room_below_the_panels(labels: Check, count: int) -> None:
    with drawing():
        facets = plan_facets(5, [entries(count, "a rather long name"), entries(4)])
        figure = Figure(figsize=facets.size)
        for number in range(5):
            axes = figure.add_axes(facets.rectangle(number))
            axes.set_xticks([0.5], ["number"])
            axes.set_yticks([])
        facets.surround(figure, "distance", "loss")
    texts = labels(figure)
    assert {"distance", "loss", f"a rather long name {count - 1}", "entry 3"} <= {*texts}
