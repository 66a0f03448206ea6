"""Local copies of artifacts at URLs, and the names under which users know them.

Models are fetched as a whole, and outputs for a URL are made here first (see ``transfers``). A copy
is a temporary folder (``TMPDIR``), removed when the step ends. Users see nothing of it:
:func:`restore_urls` replaces its path in messages and lineages by the URL, without credentials.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from tempfile import mkdtemp
from weakref import finalize

from skiptool.errors import ArgumentError, ExistsError
from skiptool.stores.addresses import last_part, parent_of, public, sibling_url

HEADERS = ("zarr.json", "config.json", "overlays.json")
"""First files to be read of artifacts that are folders: each has one of these."""

_URLS: dict[str, str] = {}
"""Folder of each existing copy to the URL that it stands for, without credentials."""

_TARGETS: dict[str, str] = {}
"""Folder of each copy to be uploaded, and the URL of the output in it."""

_HELD: ContextVar[list[LocalCopy] | None] = ContextVar("copies", default=None)

_UNHELD: list[LocalCopy] = []
"""Copies kept until the process ends."""


class LocalCopy:
    """A temporary folder that stands for the folder at a URL.

    Parameters
    ----------
    url : str
        URL of an artifact or a file; refused if it has no name at its end.
    target : bool
        It is an output to be uploaded.

    Attributes
    ----------
    folder : Path
        The temporary folder; stands for the parent folder at the URL.
    path : Path
        Local path of the artifact itself; nothing exists there yet.
    """

    def __init__(self, url: str, *, target: bool = False) -> None:
        name, place = last_part(url), public(url).partition("://")[2].strip("/")
        if not (place and name.strip(".")) or (
            target and "/" not in place and not url.startswith("memory:")
        ):
            raise ArgumentError(f"{public(url)}: has no name at its end; give s3://bucket/NAME")
        self.url = url
        self.folder = Path(os.path.realpath(mkdtemp(prefix="skiptool-")))
        self.path = self.folder / name
        _URLS[str(self.folder)] = public(parent_of(url))
        if target:
            _TARGETS[str(self.folder)] = url
        self._end = finalize(self, _remove, str(self.folder))
        held = _HELD.get()
        (_UNHELD if held is None else held).append(self)

    def keep(self) -> None:
        """Keep the folder for the user, under its own name from now on."""
        self._end.detach()
        _forget(str(self.folder))

    def remove(self) -> None:
        """Delete the folder; calling it twice does no harm."""
        self._end()


def _remove(folder: str) -> None:
    _forget(folder)
    shutil.rmtree(folder, ignore_errors=True)


def _forget(folder: str) -> None:
    _URLS.pop(folder, None)
    _TARGETS.pop(folder, None)


@contextmanager
def temporary_copies() -> Iterator[None]:
    """Remove all copies made in the block when it ends.

    Copies made outside of such a block are removed when the process ends.
    """
    held: list[LocalCopy] = []
    token = _HELD.set(held)
    try:
        yield
    finally:
        _HELD.reset(token)
        for copy in held:
            copy.remove()


def restore_urls(text: str) -> str:
    """Replace the path of each copy in a text by its URL.

    Examples
    --------
    >>> restore_urls("runs/fold0: no model folder")
    'runs/fold0: no model folder'
    """
    for folder, url in [*_URLS.items()]:
        text = text.replace(f"{folder}/", f"{url}/")
    return text


def target_of(out: Path) -> str | None:
    """Return the URL that an output will be uploaded to, None if it stays local."""
    folder = next((parent for parent in out.parents if str(parent) in _TARGETS), None)
    if folder is None:
        return None
    return sibling_url(_TARGETS[str(folder)], out.relative_to(folder).as_posix())


def check_absent(url: str, *, overwrite: bool) -> bool:
    """Refuse to write to a URL in use; return whether something will be replaced.

    ``overwrite`` permits replacing a file, a store, a model, or the remains of a broken upload, but
    never a folder with other files in it.
    """
    from skiptool.stores.remote import UPLOADING, RemoteFolder  # lazy: it imports Zarr

    place = RemoteFolder(url)
    kind = place.kind()
    if kind is not None and not overwrite:
        raise ExistsError(
            f"{place.where}: exists already; give another --out, or --overwrite to replace it"
        )
    if kind == "folder" and not {*HEADERS, UPLOADING}.intersection(place.names()[0]):
        raise ExistsError(
            f"{place.where}: is a folder with other things in it, and --overwrite replaces only "
            "stores, models and overlays; give another --out, or remove the folder yourself"
        )
    return kind is not None
