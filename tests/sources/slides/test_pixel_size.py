"""Whom to believe about the size of pixels."""

from __future__ import annotations

import pytest

from skiptool.errors import SourceError
from skiptool.sources.slides.pixel_size import is_sane, pixel_size
from small_stores import refused

NOTHING = (None, None)


@pytest.mark.parametrize(
    ("given", "recorded", "expected"),
    [
        (NOTHING, ("0.25", "0.26"), (0.25, 0.26)),
        ((0.5, None), ("0.25", "0.26"), (0.5, 0.5)),
        ((0.5, 0.6), ("1000", "1000"), (0.5, 0.6)),
        ((None, 0.6), ("0.25", "0.25"), (0.25, 0.6)),
        (NOTHING, ("1000", "1000"), None),
        (NOTHING, ("0.25", "1000"), None),
        (NOTHING, ("0.25", None), None),
        (NOTHING, NOTHING, None),
        (NOTHING, ("0,25", "0,25"), None),
        (NOTHING, ("nan", "nan"), None),
        (NOTHING, ("", ""), None),
        (NOTHING, ("0", "-1"), None),
    ],
)
def test_manifest_wins_and_the_file_must_be_sane(
    given: tuple[float | None, float | None],
    recorded: tuple[str | None, str | None],
    expected: tuple[float, float] | None,
) -> None:
    assert pixel_size("a.svs", given, recorded) == expected


@pytest.mark.parametrize("value", [0.0, -0.25, 1000.0, 250.0, float("nan"), float("inf")])
def test_nonsense_in_the_manifest_names_slide_and_column(value: float) -> None:
    with refused(SourceError, "a.svs", "column mpp says", "0.05 to 20"):
        pixel_size("a.svs", (value, None), ("0.25", "0.25"))
    with refused(SourceError, "a.svs", "column mpp_y says"):
        pixel_size("a.svs", (0.25, value), ("0.25", "0.25"))


def test_vertical_size_alone_needs_a_horizontal_one() -> None:
    with refused(SourceError, "a.svs", "mpp_y", "mpp is empty", "fill in mpp"):
        pixel_size("a.svs", (None, 0.25), ("1000", "1000"))


def test_limits_are_inside() -> None:
    assert [is_sane(value) for value in (0.049, 0.05, 20.0, 20.1)] == [False, True, True, False]
