"""The bytes of a slide: whether there are any, and what tells it from another."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from skiptool.errors import SourceError
from skiptool.sources.regular import refuse_pipe, refuse_pointer

__all__ = ["AGAIN", "check_file", "check_tiles", "content_key"]

AGAIN: Final = "copy it again from its source, or leave the slide out"
"""What to do about a file that is damaged."""

_START: Final = 64
"""Bytes that tell a pointer from a slide."""

_END: Final = 1 << 20

LARGEST_TILE: Final = 1 << 26
"""Pixels of a tile that OpenSlide may be asked to decode: 256 MB."""


def check_file(path: Path) -> None:
    """Tell in one line why a path cannot be a slide, before OpenSlide says "unsupported".

    Raises
    ------
    SourceError
        If there is no such file, it is a folder, cannot be read or holds nothing.
    """
    refuse_pipe(path)
    try:
        with path.open("rb") as file:
            start = file.read(_START)
        if start:
            refuse_pointer(path, start)
            return
    except FileNotFoundError:
        raise SourceError(f"{path}: no such slide; check the path") from None
    except IsADirectoryError:
        raise SourceError(
            f"{path}: a folder; expected the file of a slide (of MRXS the file beside its folder)"
        ) from None
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror}); check its rights") from error
    raise SourceError(f"{path}: holds no bytes; {AGAIN}")


def content_key(path: Path) -> str:
    """Hash of a slide's size and of its first and last MB.

    Parameters
    ----------
    path : Path
        The slide's file. Of ``.mrxs``, whose pixels lie in a folder beside it, names and sizes of
        the files therein are hashed too (OpenSlide takes none for MRXS that is not called so).

    Returns
    -------
    str
        32 hexadecimal digits: equal for a copy of other name or place, whatever its times.

    Raises
    ------
    SourceError
        If the file cannot be read.
    """
    refuse_pipe(path)
    digest = hashlib.blake2b(digest_size=16)
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            digest.update(str(size).encode())
            for start in (0, max(size - _END, 0)):
                file.seek(start)
                digest.update(file.read(_END))
        for name, length in _companions(path):
            digest.update(f"\0{name}\0{length}".encode())
    except OSError as error:
        raise SourceError(
            f"{path}: cannot be read ({error.strerror}); check that it is still in its place"
        ) from error
    return digest.hexdigest()


def check_tiles(facts: Mapping[str, str], levels: int, path: Path) -> None:
    """Refuse tiles so large that OpenSlide, which ends the process then, finds no memory for one.

    Raises
    ------
    SourceError
        As said.
    """
    for level in range(levels):
        names = (f"openslide.level[{level}].tile-{side}" for side in ("width", "height"))
        width, height = (int(facts.get(name, 0)) for name in names)
        if width * height > LARGEST_TILE:
            raise SourceError(
                f"{path}: has tiles of {width:,} x {height:,} pixels, expected at most "
                f"{LARGEST_TILE:,} pixels a tile; convert it to a tiled, pyramidal TIFF"
            )


def _companions(path: Path) -> list[tuple[str, int]]:
    folder = path.with_suffix("")
    if path.suffix.lower() != ".mrxs" or not folder.is_dir():
        return []
    return sorted(
        (file.relative_to(folder).as_posix(), file.stat().st_size)
        for file in folder.rglob("*")
        if file.is_file()
    )
