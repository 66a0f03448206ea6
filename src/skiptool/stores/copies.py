"""Local copies of what is behind URLs, and by which names users know them.

Models are fetched as a whole, and what is written to a URL is made here first (see ``uploads``). A
copy is a temporary folder (``TMPDIR``) that takes the place of the folder at the URL; it is removed
when the step ends. Users see nothing of it: :func:`shown` puts the URL, without credentials, where
the path of a copy stands in a message or a lineage.
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
from skiptool.stores.addresses import beside, last_part, parent_of, public

__all__ = ["Copy", "check_absent", "copies_held", "shown"]

_URLS: dict[str, str] = {}
"""Folder of each copy that there is, and the URL that it takes the place of, as users see it."""

_TARGETS: dict[str, str] = {}
"""Folder of each copy that is going to be uploaded, and the URL of the output in it."""

_HELD: ContextVar[list[Copy] | None] = ContextVar("copies", default=None)

_UNHELD: list[Copy] = []
"""Copies that are there until the process ends."""


class Copy:
    """A temporary folder that takes the place of the folder at a URL.

    Parameters
    ----------
    url : str
        Of an artifact or a file.
    target : bool
        It is going to be written there.

    Attributes
    ----------
    folder : Path
        The temporary folder; it holds what is in the same folder at the URL.
    path : Path
        What takes the place of the artifact itself; nothing is there yet.

    Raises
    ------
    ArgumentError
        If the URL has no name at its end.
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
        """Leave the folder where it is, for the user, under its own name from now on."""
        self._end.detach()
        _forget(str(self.folder))

    def remove(self) -> None:
        """Delete the folder; nothing happens the second time."""
        self._end()


def _remove(folder: str) -> None:
    _forget(folder)
    shutil.rmtree(folder, ignore_errors=True)


def _forget(folder: str) -> None:
    _URLS.pop(folder, None)
    _TARGETS.pop(folder, None)


@contextmanager
def copies_held() -> Iterator[None]:
    """Keep all copies that are made in the block until it ends, and remove them then.

    Made outside of any such block, a copy is removed when the process ends.
    """
    held: list[Copy] = []
    token = _HELD.set(held)
    try:
        yield
    finally:
        _HELD.reset(token)
        for copy in held:
            copy.remove()


def shown(text: str) -> str:
    """Return a text in which the URL stands for the path of each copy.

    Examples
    --------
    >>> shown("runs/fold0: no model folder")
    'runs/fold0: no model folder'
    """
    for folder, url in [*_URLS.items()]:
        text = text.replace(f"{folder}/", f"{url}/")
    return text


def check_absent(out: Path, *, overwrite: bool) -> None:
    """Refuse an output that is going to be uploaded to where something is already.

    Parameters
    ----------
    out : Path
        Of any output; there is nothing to check of those that stay on this machine.
    overwrite : bool
        A file, a store, a model, and what is left of a broken upload may be replaced.

    Raises
    ------
    ExistsError
        If it is there; or if it is a folder of the user's, which nothing replaces.
    SourceError
        If the host cannot be reached or refuses.
    """
    folder = next((each for each in out.parents if str(each) in _TARGETS), None)
    if folder is None:
        return
    from skiptool.stores.remote import RemoteFolder  # not in front of --help: it imports Zarr

    place = RemoteFolder(beside(_TARGETS[str(folder)], out.relative_to(folder).as_posix()))
    kind = place.kind()
    if kind is not None and not overwrite:
        raise ExistsError(
            f"{place.where}: exists already; give another --out, or --overwrite to replace it"
        )
    if kind == "folder" and not _OURS.intersection(place.names()[0]):
        raise ExistsError(
            f"{place.where}: is a folder with other things in it, and --overwrite replaces stores, "
            "models and overlays only; give another --out, or remove the folder yourself"
        )


_OURS = frozenset({"zarr.json", "config.json", "overlays.json", ".uploading"})
"""One of these is in every folder that skiptool uploads as a whole."""
