"""Temporary local copies of artifacts at URLs.

Models are fetched as a whole, and outputs for a URL are first made on this machine (see
``transfers``). A copy is a temporary folder (``TMPDIR``), removed when the step ends. Messages and
lineages never show its path: :func:`restore_urls` replaces it by the URL, without credentials.
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
from skiptool.stores.addresses import last_part, parent_url, redact, sibling_url

HEADERS = ("zarr.json", "config.json", "overlays.json")
"""Headers of artifacts that are folders: each has one of these files at its root."""

ZARR = ("zarr.json", ".zgroup", ".zarray")
"""Every Zarr store, in either format, has one of these files at its root."""

_URLS: dict[str, str] = {}
"""Folder of each existing copy to the URL that it represents, without credentials."""

_TARGETS: dict[str, str] = {}
"""Folder of each copy to be uploaded to the URL of the output in it."""

_COPIES_OF_BLOCK: ContextVar[list[LocalCopy] | None] = ContextVar("copies", default=None)

_COPIES_OF_PROCESS: list[LocalCopy] = []
"""Copies made outside of a block, kept until the process ends."""


class LocalCopy:
    """A temporary folder that represents the folder at a URL.

    Parameters
    ----------
    url : str
        URL of an artifact or a file; refused if it does not end in a name.
    target : bool
        Whether it is an output to be uploaded.

    Attributes
    ----------
    folder : Path
        The temporary folder, which represents the parent folder at the URL.
    path : Path
        Local path of the artifact itself; it does not exist yet.
    """

    def __init__(self, url: str, *, target: bool = False) -> None:
        name, address = last_part(url), redact(url).partition("://")[2].strip("/")
        is_bucket = "/" not in address and not url.startswith("memory:")
        if not address or not name.strip(".") or (target and is_bucket):
            raise ArgumentError(f"{redact(url)}: has no name at its end; give s3://bucket/NAME")
        self.url = url
        self.folder = Path(os.path.realpath(mkdtemp(prefix="skiptool-")))
        self.path = self.folder / name
        _URLS[str(self.folder)] = redact(parent_url(url))
        if target:
            _TARGETS[str(self.folder)] = url
        self._finalizer = finalize(self, _remove, str(self.folder))
        copies = _COPIES_OF_BLOCK.get()
        (_COPIES_OF_PROCESS if copies is None else copies).append(self)

    def keep(self) -> None:
        """Keep the folder for the user; messages name its own path from now on."""
        self._finalizer.detach()
        _forget(str(self.folder))

    def remove(self) -> None:
        """Delete the folder; idempotent."""
        self._finalizer()


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
    copies: list[LocalCopy] = []
    token = _COPIES_OF_BLOCK.set(copies)
    try:
        yield
    finally:
        _COPIES_OF_BLOCK.reset(token)
        for copy in copies:
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


def target_url(out: Path) -> str | None:
    """Return the URL that an output will be uploaded to, or None if it stays local."""
    folder = next((parent for parent in out.parents if str(parent) in _TARGETS), None)
    if folder is None:
        return None
    return sibling_url(_TARGETS[str(folder)], out.relative_to(folder).as_posix())


def check_absent(url: str, *, overwrite: bool) -> bool:
    """Refuse to write to a URL in use; return whether something will be replaced.

    ``overwrite`` permits replacing a file, a store, a model, or the remains of an interrupted
    upload, but never a folder with other files in it.
    """
    from skiptool.stores.remote import UPLOADING, RemoteFolder  # lazy: it imports Zarr

    folder = RemoteFolder(url)
    kind = folder.kind()
    if kind is not None and not overwrite:
        raise ExistsError(
            f"{folder.where}: exists already; give another --out, or --overwrite to replace it"
        )
    if kind == "folder" and not {*HEADERS, UPLOADING}.intersection(folder.names()[0]):
        raise ExistsError(
            f"{folder.where}: is a folder with other things in it, and --overwrite replaces only "
            "stores, models and overlays; give another --out, or remove the folder yourself"
        )
    return kind is not None
