"""What every figure must hold to, whatever it shows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from skiptool.figures.style import drawing

Check = Callable[[Figure], list[str]]


@pytest.fixture
def labels() -> Check:
    """Return the labels of a figure after checking that each lies on the sheet and on no other."""

    def check(figure: Figure) -> list[str]:
        texts, boxes = _boxes(figure)
        left, low, right, high = boxes.T
        sheet = figure.bbox
        for name, outside in {
            "left": left < sheet.x0,
            "right": right > sheet.x1,
            "below": low < sheet.y0,
            "above": high > sheet.y1,
        }.items():
            assert [texts[place] for place in np.flatnonzero(outside)] == [], name
        wide = np.minimum.outer(right, right) - np.maximum.outer(left, left)
        tall = np.minimum.outer(high, high) - np.maximum.outer(low, low)
        common = np.triu((wide > 2.0) & (tall > 2.0), k=1)
        assert [(texts[a], texts[b]) for a, b in np.argwhere(common)] == []
        return texts

    return check


def _boxes(figure: Figure) -> tuple[list[str], np.ndarray]:
    """Texts, and their boxes (left, low, right, high) in pixels at 100 dots an inch."""
    with drawing():
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        renderer = canvas.get_renderer()
        shown = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
        boxes = [text.get_window_extent(renderer).extents for text in shown]
    return [text.get_text() for text in shown], np.array(boxes)
