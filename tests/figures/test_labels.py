from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from skiptool.figures.dots import DOTS
from skiptool.figures.labels import fitted, wrapped
from skiptool.figures.style import text_width

TEXTS = st.text(st.characters(max_codepoint=0x17F, exclude_categories=["C"]), max_size=60)


@given(TEXTS, st.integers(60, 900), st.integers(1, 3))
def test_no_line_is_wider_than_its_room(text: str, width: int, lines: int) -> None:
    broken = wrapped(text, 6.5, width, lines)
    assert len(broken) <= lines
    assert text_width(broken, 6.5) * DOTS <= width


@given(TEXTS)
def test_what_has_room_is_left_whole(text: str) -> None:
    assert fitted(text, 6.5, 1e6) == " ".join(text.split())


def test_lines_break_where_asked_or_else_between_words() -> None:
    assert wrapped("id 7\ntumor", 6.5, 900) == ["id 7", "tumor"]
    assert wrapped("id 7\ntumor\nmore", 6.5, 900) == ["id 7", "tumor more"]
    assert wrapped("Leica GT 450", 6.5, 170) == ["Leica GT", "450"]
    assert wrapped("id 7\ntumor", 6.5, 900, lines=3) == ["id 7", "tumor"]
    assert wrapped("", 6.5, 170) == []
    assert wrapped("one two", 6.5, 900, lines=1) == ["one two"]


def test_nothing_fits_into_no_room() -> None:
    assert fitted("", 6.5, 0) == ""
    assert fitted("abc", 6.5, 0) == "…"
