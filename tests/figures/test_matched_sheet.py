from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from skiptool.errors import ArgumentError
from skiptool.figures.matched_sheet import matched_sheet

Check = Callable[[Figure], list[str]]
RNG = np.random.default_rng(0)
CLASSES = ("background", "cell")


def patch(side: int = 16) -> np.ndarray:
    return RNG.integers(0, 256, (side, side, 3), dtype=np.uint8)


def mask(side: int = 16) -> np.ndarray:
    cover = np.zeros((side, side), dtype=np.uint8)
    cover[4:9, 4:9] = 1
    return cover


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (7, 6), (2, 12)])
def test_every_label_has_its_own_place_on_the_sheet(labels: Check, rows: int, columns: int) -> None:
    places = [f"canine cutaneous tumour {row}, mitotic figure {row}" for row in range(rows)]
    domains = ["Hamamatsu NanoZoomer 2.0-HT", "x"] * (columns // 2) or ["aperio"]
    images = [[patch() for _ in domains] for _ in places]
    covers = [[mask() for _ in domains] for _ in places]
    figure = matched_sheet(
        images, covers, CLASSES, places, domains, title="the same place", notes="test"
    )
    texts = labels(figure)
    assert texts[:3] == ["the same place", "test", "cell"]
    assert len(texts) == 3 + columns + rows


def test_names_stand_at_their_rows_and_columns() -> None:
    images = [[patch(), patch()], [patch(), patch()]]
    figure = matched_sheet(images, None, CLASSES, ["p", "q"], ["a", "b"])
    at = {text.get_text(): text.get_position() for text in figure.findobj(Text)}
    assert at["p"][1] < at["q"][1]
    assert at["a"][0] < at["b"][0]
    assert at["a"][1] == at["b"][1] < at["p"][1]


def test_a_missing_place_is_a_hatched_field() -> None:
    images = [[patch(), None], [None, patch()]]
    figure = matched_sheet(images, [[mask(), None], [None, None]], CLASSES, ["p", "q"], ["a", "b"])
    hatched = [field for field in figure.findobj(Rectangle) if field.get_hatch()]
    assert len(hatched) == 2


def test_numbers_must_agree() -> None:
    with pytest.raises(ArgumentError, match="expected 1 places, 2 domains"):
        matched_sheet([[patch()]], None, CLASSES, ["p"], ["a", "b"])
    with pytest.raises(ArgumentError, match="1 rows of images and 2 of masks"):
        matched_sheet([[patch()]], [[None], [None]], CLASSES, ["p"], ["a"])
    with pytest.raises(ArgumentError, match="at least one image"):
        matched_sheet([[None]], None, CLASSES, ["p"], ["a"])
    with pytest.raises(ArgumentError, match="at least one image"):
        matched_sheet([], None, CLASSES, [], [])
