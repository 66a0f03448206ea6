"""Which slide of an annotation file is the one at hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from skiptool.errors import SourceError, near
from skiptool.names import composed
from skiptool.sources.annotations.annotated import Listed, Size

__all__ = ["check_size", "choose"]


def choose(listed: Sequence[Listed], slide: str, size: Size | None, where: str) -> Listed:
    """Find a slide by its file name, then without suffix, then as the only one of this size.

    Parameters
    ----------
    listed : sequence of Listed
        Slides of the file.
    slide : str
        File name of the slide at hand, with suffix.
    size : tuple of int or None
        Its width and height at level 0, where known: decides between namesakes, and stands for a
        name where the file is about a single slide of that size.
    where : str
        The file, for the message.

    Raises
    ------
    SourceError
        If none or several are meant.
    """
    whole = [one for one in listed if composed(one.name) == composed(slide)]
    found = whole or [one for one in listed if _stem(one.name) == _stem(slide)]
    if len(found) > 1 and size is not None:
        found = [one for one in found if one.size == size] or found
    if len(found) > 1:
        raise SourceError(
            f"{where}: slide {slide} may be any of its {', '.join(one.name for one in found)}; "
            "rename the slide as the file does"
        )
    if found:
        return found[0]
    if len(listed) == 1 and size is not None and listed[0].size == size:
        return listed[0]
    raise SourceError(
        f"{where}: has no slide {slide} among its {_count(listed)}"
        f"{near(slide, [one.name for one in listed]) or _first(listed)}; expected the file name of "
        "the slide, with or without its suffix"
    )


def check_size(recorded: Size | None, size: Size | None, slide: str, where: str) -> None:
    """Refuse annotations that were made on a slide of another size.

    Raises
    ------
    SourceError
        If both sizes are known and differ.
    """
    if recorded is not None and size is not None and recorded != size:
        raise SourceError(
            f"{where}: annotates {slide} as {recorded[0]} x {recorded[1]} pixels, the slide has "
            f"{size[0]} x {size[1]}; expected the slide that was annotated, not a resized copy"
        )


def _stem(name: str) -> str:
    return PurePath(composed(name)).stem.casefold()


def _count(listed: Sequence[Listed]) -> str:
    return "1 slide" if len(listed) == 1 else f"{len(listed)} slides"


def _first(listed: Sequence[Listed]) -> str:
    names = [one.name for one in listed]
    return f" ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else ""
