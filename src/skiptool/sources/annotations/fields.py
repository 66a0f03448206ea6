"""What readers take out of parsed JSON, checked, with a place in each message."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from skiptool.errors import SourceError
from skiptool.sources.annotations.annotated import Size

__all__ = ["Fields", "entries", "file_name", "label", "objects", "records", "size", "size_of"]

Fields = Mapping[str, Any]
"""A parsed JSON object."""


def entries(content: Fields, key: str, where: str) -> list[object]:
    """Take a list, whatever it holds.

    Raises
    ------
    SourceError
        If it is not there or no list.
    """
    found = content.get(key)
    if not isinstance(found, list):
        raise SourceError(f"{where}: holds no list {key!r}; export the annotations again")
    return found


def objects(content: Fields, key: str, where: str) -> list[Fields]:
    """Take a list of objects.

    Raises
    ------
    SourceError
        If it is not there, no list, or holds something else.
    """
    found: list[Fields] = []
    for at, entry in enumerate(entries(content, key, where)):
        if not isinstance(entry, dict):
            raise SourceError(
                f"{where}: entry {at} of {key!r} is no object; export the annotations again"
            )
        found.append(entry)
    return found


def label(value: object) -> str:
    """Take a name as text without blanks around it; "" for what is no name.

    Examples
    --------
    >>> label(" mitotic figure "), label(13), label(None)
    ('mitotic figure', '13', '')
    """
    if value is None or isinstance(value, bool | dict | list):
        return ""
    # half a surrogate pair is legal in JSON and in no store
    return str(value).strip().encode("utf-8", "replace").decode("utf-8")


def file_name(value: object) -> str:
    r"""Take the file name out of a path of any system.

    Examples
    --------
    >>> file_name("D:\\Slides\\a.svs"), file_name("/slides/b.svs")
    ('a.svs', 'b.svs')
    """
    return PurePosixPath(label(value).replace("\\", "/")).name


def size_of(entry: Fields) -> Size | None:
    """Take ``width`` and ``height``; None where one is missing or not positive."""
    return size(entry.get("width"), entry.get("height"))


def size(width: object, height: object) -> Size | None:
    """Make a size of two values; None where one is no positive number."""
    sides = (width, height)
    pair = [int(one) for one in sides if isinstance(one, int | float) and 0 < one < math.inf]
    return (pair[0], pair[1]) if len(pair) == 2 else None


def records(ids: Sequence[object]) -> list[str]:
    """Make an id of each record: its own where no other has it, its place in the file otherwise.

    Examples
    --------
    >>> records([7, "a", "a", None])
    ['7', '#1', '#2', '#3']
    """
    names = [label(one) for one in ids]
    shared = Counter(names)
    return [name if name and shared[name] == 1 else f"#{at}" for at, name in enumerate(names)]
