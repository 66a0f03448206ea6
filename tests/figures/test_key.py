from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from skiptool.figures.dots import dot_axes
from skiptool.figures.key import Entry, plan_key
from skiptool.figures.pens import Pen, class_pens
from skiptool.figures.style import drawing

Check = Callable[[Figure], list[str]]


def entries(count: int) -> list[Entry]:
    names = [f"class {place}" for place in range(count)]
    return [Entry(name, pen, 0.8, 4.0) for name, pen in class_pens(names).items()]


def test_entries_stand_in_rows_within_the_width(labels: Check) -> None:
    key = plan_key(entries(12), 900)
    assert key.width <= 900
    assert len({y for _, y in key.places}) > 1
    with drawing():
        figure, axes = dot_axes(900, key.height)
        key.draw(axes, 0, 0)
    assert labels(figure) == [f"class {place}" for place in range(12)]


def test_too_many_are_counted() -> None:
    key = plan_key(entries(30), 900, limit=5)
    assert [entry.name for entry in key.entries][-2:] == ["class 3", "and 26 more"]
    assert key.entries[-1].pen is None
    assert len(plan_key(entries(5), 900, limit=5).entries) == 5


def test_a_name_alone_is_cut_to_the_width() -> None:
    key = plan_key([Entry("x" * 200)], 400)
    assert key.width <= 400
    assert "…" in key.entries[0].name


def test_no_entry_takes_no_room() -> None:
    assert (plan_key([], 400).width, plan_key([], 400).height) == (0, 0)


def test_each_sample_shows_what_it_stands_for() -> None:
    pen = Pen("#ff0000", "#0000ff")
    shown = [
        Entry("a", pen, 0.8),
        Entry("a", pen, marker=4.0),
        Entry("a", pen, 0.8, boxed=True),
        Entry("a", striped=True),
        Entry("a"),
    ]
    images = []
    for entry in shown:
        with drawing():
            figure, axes = dot_axes(120, 40)
            plan_key([entry], 120).draw(axes, 0, 0)
            canvas = FigureCanvasAgg(figure)
            canvas.draw()
        images.append(np.asarray(canvas.buffer_rgba())[:, :70, :3].astype(int))
    assert (images[-1] == 255).all()
    assert [bool((image[..., 0] - image[..., 1] > 200).any()) for image in images] == [
        True, True, True, False, False,
    ]  # fmt: skip
    assert len({image.tobytes() for image in images}) == 5
