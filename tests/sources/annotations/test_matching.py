"""Slides are found by name, by stem, or as the only one of a size; never by chance."""

from __future__ import annotations

import pytest

from skiptool.errors import SourceError
from skiptool.sources.annotations.annotated import Listed
from skiptool.sources.annotations.matching import check_size, choose


def listed(*names: str, size: tuple[int, int] | None = None) -> list[Listed]:
    return [Listed(name, size, str(at)) for at, name in enumerate(names)]


@pytest.mark.parametrize(
    ("names", "slide", "key"),
    [
        (["b.svs", "a.svs"], "a.svs", "1"),
        (["a.svs", "a.tif"], "a.tif", "1"),
        (["A.svs", "a.svs"], "a.svs", "1"),
        (["b.svs", "A.SVS"], "a.tiff", "1"),
        (["a.b.svs", "a.svs"], "a.b.tif", "0"),
        (["Mu\u0308ller.svs", "b.svs"], "M\u00fcller.svs", "0"),
    ],
)
def test_the_whole_name_goes_before_the_stem(names: list[str], slide: str, key: str) -> None:
    assert choose(listed(*names), slide, None, "f").key == key


def test_a_single_slide_of_the_same_size_may_have_another_name() -> None:
    assert choose(listed("x.svs", size=(9, 8)), "a.svs", (9, 8), "f").name == "x.svs"


@pytest.mark.parametrize(
    ("slides", "size"),
    [
        (listed("x.svs", size=(9, 8)), (8, 9)),
        (listed("x.svs", size=(9, 8)), None),
        (listed("x.svs"), (9, 8)),
        (listed("x.svs", "y.svs", size=(9, 8)), (9, 8)),
        ([], (9, 8)),
    ],
)
def test_otherwise_the_slide_is_unknown(slides: list[Listed], size: tuple[int, int] | None) -> None:
    with pytest.raises(SourceError, match=rf"^f: has no slide a.svs among its {len(slides)} slide"):
        choose(slides, "a.svs", size, "f")


def test_an_unknown_slide_is_told_with_near_ones() -> None:
    with pytest.raises(SourceError, match=r"did you mean TUPAC-01\.svs"):
        choose(listed("TUPAC-01.svs", "other.svs"), "TUPAC-1.svs", None, "f")
    with pytest.raises(SourceError, match=r"4 slides \(b.svs, c.svs, d.svs, ...\)"):
        choose(listed("b.svs", "c.svs", "d.svs", "e.svs"), "zzz", None, "f")


def test_namesakes_are_told_apart_by_size_alone() -> None:
    pair = [Listed("a.svs", (9, 8), "0"), Listed("a.ndpi", (5, 4), "1")]
    assert choose(pair, "a.tif", (5, 4), "f").key == "1"
    for size in (None, (1, 1)):
        with pytest.raises(SourceError, match=r"slide a.tif may be any of its a.svs, a.ndpi"):
            choose(pair, "a.tif", size, "f")


def test_sizes_have_to_agree_where_both_are_known() -> None:
    check_size(None, (1, 2), "a.svs", "f")
    check_size((1, 2), None, "a.svs", "f")
    check_size((1, 2), (1, 2), "a.svs", "f")
    with pytest.raises(SourceError, match=r"^f: annotates a.svs as 4 x 2 pixels, .* has 2 x 1;"):
        check_size((4, 2), (2, 1), "a.svs", "f")
