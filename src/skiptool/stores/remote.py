"""Access to URLs: all use of fsspec, also by Zarr stores.

A file (a table, a ``.npy``) is fetched as a whole, see :func:`fetch_file`. :class:`RemoteFolder`
lists, fetches, writes and removes single files. Zarr reads a missing chunk as its fill value;
checking for each chunk in advance, as on a local disk, would cost a request per chunk. Instead
:class:`RemoteStore` knows which arrays have all of their chunks and refuses a missing one when it
is read. Of shards, only the index and the requested chunks are fetched. If a server sends whole
files only, a file is kept as long as the next chunk is in the same one.

Messages omit credentials in URLs (``user:password@``, a signed query). The query of an ``https``
URL is sent with every request, so that signed folders can be read.
"""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import parse_qsl

from zarr.abc.store import RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import FsspecStore

from skiptool.errors import (
    ArgumentError,
    FormatError,
    OutOfMemoryError,
    SkiptoolError,
    SourceError,
)
from skiptool.stores.addresses import is_web, public

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest, Store
    from zarr.core.buffer import Buffer, BufferPrototype

T = TypeVar("T")
R = TypeVar("R")

MOST_FETCHED = 4 * 2**30
"""Bytes of a file that is fetched as a whole, at most."""

AT_ONCE = 8
"""Concurrent requests."""

NOT_SATISFIABLE = 416
"""HTTP status if a file ends before the requested range."""

UPLOADING = ".uploading"
"""File in the folder of an artifact while it is uploaded; it remains if that fails."""

_PIECE = 2**24
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class RemoteStore(FsspecStore):
    """A store that tells lost chunks and failures of the network from zeros.

    Attributes
    ----------
    whole : set of str
        Paths of arrays all of whose chunks were written.
    """

    def __init__(self, *given: Any, **named: Any) -> None:  # noqa: ANN401 - as zarr's own
        super().__init__(*given, **named)
        self.whole: set[str] = set()
        self._sent: tuple[str, Buffer] | None = None  # the last file sent instead of its part

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_sent": None}

    def part(self, key: str, offset: int, size: int) -> bytes:
        """Fetch bytes of a file; fewer if it is shorter.

        An offset of ``-size`` requests the last bytes.
        """
        wanted = SuffixByteRequest(size) if offset < 0 else RangeByteRequest(offset, offset + size)
        found = sync(self.get(key, default_buffer_prototype(), wanted))
        return b"" if found is None else found.to_bytes()

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Fetch the bytes under a key, None if there are none.

        Raises
        ------
        SourceError
            If the host cannot be reached or refuses.
        FormatError
            If a chunk of a whole array is missing.
        """
        try:
            found = await self._get(key, prototype, byte_range)
        except Exception as error:  # back ends raise many kinds
            if byte_range is None or getattr(error, "status", None) != NOT_SATISFIABLE:
                raise _failure(error) from error
            found = None
        array, mark, chunk = key.rpartition("/c/")
        if not found and mark and array in self.whole:
            raise FormatError(f"chunk c/{chunk} is missing; the store is damaged, make it again")
        return found

    async def _get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None
    ) -> Buffer | None:
        """Fetch the bytes; if the server sends the whole file, cut out the requested part."""
        if self._sent is not None and byte_range is not None and self._sent[0] == key:
            return _cut(self._sent[1], byte_range)
        found = await super().get(key, prototype, byte_range)
        if found is None or byte_range is None or len(found) <= _length(byte_range):
            return found
        self._sent = key, found
        return _cut(found, byte_range)

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names in a folder; none if the host keeps no lists."""
        try:
            async for name in super().list_dir(prefix):
                yield name
        except Exception as error:  # back ends raise many kinds
            raise _failure(error) from error


def _length(wanted: ByteRequest) -> float:
    if isinstance(wanted, RangeByteRequest):
        return wanted.end - wanted.start
    return wanted.suffix if isinstance(wanted, SuffixByteRequest) else inf


def _cut(whole: Buffer, wanted: ByteRequest) -> Buffer:
    if isinstance(wanted, RangeByteRequest):
        return whole[wanted.start : wanted.end]
    return whole[-wanted.suffix :] if isinstance(wanted, SuffixByteRequest) else whole


class RemoteFolder:
    """Files below a URL, by their names relative to it; thread-safe.

    Attributes
    ----------
    where : str
        The URL without credentials, for messages.
    lists : bool
        Whether its files can be listed; those of a web server cannot.
    """

    def __init__(self, url: str) -> None:
        """Prepare the requests; nothing is sent yet."""
        self.where, self.lists = public(url).rstrip("/"), not is_web(url)
        if "://" not in url:  # fsspec would take it for a local path
            raise ArgumentError(f"{url}: is not a URL; give one such as s3://bucket/feats.zarr")
        address, options = _asked(url)
        with _named(self.where):
            import fsspec

            self._files, path = fsspec.url_to_fs(address, **options)
        self._path = path.rstrip("/")

    def fetch(self, name: str, path: Path) -> bool:
        """Copy a file to a local path, whose folder is created; return False if there is none.

        Raises
        ------
        SourceError
            If the host cannot be reached or refuses.
        OSError
            If the local disk is full.
        """
        address = self._address(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._at(name, str(path)):
                self._files.get_file(address, str(path))
        except FormatError:
            path.unlink(missing_ok=True)
            return False
        return True

    def size(self, name: str) -> int | None:
        """Return the bytes of a file, 0 if unknown, None if there is no file."""
        try:
            with self._at(name):
                found = self._files.info(self._address(name))
        except FormatError:
            return None
        return None if found.get("type") == "directory" else int(found.get("size") or 0)

    def is_half_uploaded(self) -> bool:
        """Tell whether an upload to the folder is under way or was broken off."""
        return self.lists and self.size(UPLOADING) is not None

    def kind(self) -> str | None:
        """Return ``file`` or ``folder`` for the URL itself, None if nothing is there."""
        try:
            with _named(self.where):
                self._files.invalidate_cache()
                found = self._files.info(self._path)
        except FormatError:
            return None
        return "folder" if found.get("type") == "directory" else "file"

    def names(self, below: str = "") -> tuple[list[str], list[str]]:
        """Return the names of the files and of the folders in a folder, each sorted."""
        here = self._address(below) if below else self._path
        with self._at(below):
            entries = self._files.ls(here, detail=True)
        files: list[str] = []
        folders: list[str] = []
        for entry in entries:
            name = str(entry["name"]).rstrip("/").rpartition("/")[2]
            if _is_plain(name) and str(entry["name"]).strip("/") != here.strip("/"):
                (folders if entry["type"] == "directory" else files).append(name)
        return sorted(files), sorted(folders)

    def files(self) -> dict[str, int]:
        """Return names and bytes of all files below the URL; none if there is no folder."""
        try:
            with _named(self.where):
                self._files.invalidate_cache()
                found = self._files.find(self._path, detail=True)
        except FormatError:
            return {}
        below = f"{self._path.strip('/')}/"
        sizes = {
            str(name).strip("/").removeprefix(below): int(info.get("size") or 0)
            for name, info in found.items()
        }
        return {name: sizes[name] for name in sorted(sizes) if _is_relative(name)}

    def put(self, path: Path, name: str = "") -> None:
        """Write a local file under a name, or, without one, under the URL itself."""
        with self._at(name, str(path), "written"):
            self._files.put_file(str(path), self._address(name) if name else self._path)

    def remove(self, name: str = "") -> None:
        """Delete a file, or, without a name, the one at the URL, if it exists."""
        with suppress(FormatError), self._at(name, verb="removed"):
            self._files.rm_file(self._address(name) if name else self._path)

    def _address(self, name: str) -> str:
        if not _is_relative(name):
            raise FormatError(f"{self.where}: {name!r} is not a file name; make it again")
        return f"{self._path}/{name}"

    def _at(self, name: str, here: str = "", verb: str = "fetched") -> AbstractContextManager[None]:
        return _named(f"{self.where}/{name}" if name else self.where, here, verb)


def _is_plain(name: str) -> bool:
    """Tell whether a name is a single component: remote names become local paths."""
    return name not in ("", ".", "..") and "/" not in name and "\0" not in name


def _is_relative(name: str) -> bool:
    return all(map(_is_plain, name.split("/")))


def open_store(url: str) -> RemoteStore:
    """Return the Zarr store at a URL; nothing is fetched yet."""
    address, options = _asked(url)
    with _named(public(url)):
        store = RemoteStore.from_url(address, options, read_only=True)
    return cast("RemoteStore", store)  # of the class that was asked, says Zarr in prose only


def fetch_file(url: str) -> bytes:
    """Fetch a file.

    Raises
    ------
    FormatError
        If there is none, or it holds more than :data:`MOST_FETCHED` bytes.
    SourceError
        If the host cannot be reached or refuses.
    ArgumentError
        If fsspec does not know the protocol, or lacks a package for it.
    """
    address, options = _asked(url)
    parts, size = [], 0
    with _named(public(url)):
        import fsspec

        with fsspec.open(address, "rb", **options) as file:
            while piece := file.read(_PIECE):
                parts.append(piece)
                size += len(piece)
                if size > MOST_FETCHED:
                    raise FormatError(
                        f"holds more than {MOST_FETCHED:,} bytes, too many to fetch; copy it here "
                        "first"
                    )
    return b"".join(parts)


def _asked(url: str) -> tuple[str, dict[str, Any]]:
    """Return the address, and the query of a web page, which is sent with every request."""
    address, _, query = url.partition("?")
    web = is_web(address)
    options = {"params": dict(parse_qsl(query, keep_blank_values=True))} if web and query else {}
    return address if web else url, options


@contextmanager
def _named(where: str, here: str = "", verb: str = "fetched") -> Iterator[None]:
    """Turn errors of fsspec into one line that names the place.

    Parameters
    ----------
    where : str
        Place without credentials.
    here : str
        Local file involved: a full local disk is reported as such.
    verb : str
        What failed: ``fetched``, ``written``, ``removed``.
    """
    try:
        yield
    except ImportError as error:
        raise ArgumentError(
            f"{where}: needs a package that is not installed ({error}); "
            "pip install 'skiptool[remote]' for https and s3"
        ) from error
    except FileNotFoundError as error:
        raise _absent(error, where, verb) from error
    except SkiptoolError as error:
        raise type(error)(f"{where}: {error}") from error
    except ValueError as error:
        raise ArgumentError(
            f"{where}: no address that can be read ({public(str(error))}); expected a folder, or "
            "a URL such as s3://bucket/feats.zarr or https://host/feats.zarr"
        ) from error
    except Exception as error:  # back ends raise many kinds
        if here and isinstance(error, OSError) and error.errno in _FULL:
            error.filename = error.filename or here
            raise
        raise SourceError(f"{where}: {_failure(error, verb)}") from error


def _absent(error: FileNotFoundError, where: str, verb: str) -> SkiptoolError:
    """Turn a missing file into an error, with the reason of the host if it gives another one."""
    cause = error.__cause__  # web files hide the actual error
    if cause is not None and getattr(cause, "status", None) != 404:
        return SourceError(f"{where}: {_failure(cause, verb)}")
    if verb == "written":
        reason = public(str(error)) or "no such bucket or folder"
        return SourceError(f"{where}: cannot be written ({reason}); check the address")
    return FormatError(f"{where}: no such file; check the address")


def map_items(store: Store, function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Call a function for each item; concurrently for a remote store."""
    if not isinstance(store, RemoteStore):
        return [function(item) for item in items]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(function, items))


def is_access_denied(error: BaseException | None) -> bool:
    """Tell whether a web server answered 401 or 403, as some do for missing files."""
    while error is not None:
        if getattr(error, "status", None) in (401, 403):
            return True
        error = error.__cause__
    return False


def read_error(error: Exception, where: str, damage: str) -> SkiptoolError:
    """Return the error to raise for one that passed through Zarr.

    Errors of skiptool keep their kind; any other means damaged data, which ``damage`` describes.
    """
    if isinstance(error, SkiptoolError):
        return type(error)(f"{where}: {error}")
    if isinstance(error, MemoryError):
        return OutOfMemoryError(f"{where}: not enough memory to read it; free memory")
    return FormatError(f"{where}: {damage}")


def _failure(error: BaseException, verb: str = "fetched") -> SkiptoolError:
    """Explain in one sentence why a request failed."""
    if isinstance(error, SkiptoolError):
        return error
    status = getattr(error, "status", None)
    reason = public(str(error)) or type(error).__name__
    if isinstance(error, TimeoutError):
        reason = "no answer in time"
    elif status is not None:
        reason = f"the server answers {status} {getattr(error, 'message', '')}".rstrip()
    hint = ""
    if type(error).__name__ == "NoCredentialsError":  # botocore's: it may not be installed
        hint = "; a public bucket needs none: set FSSPEC_S3_ANON=true"
    return SourceError(
        f"cannot be {verb} ({reason}); check the address, the network and your credentials{hint}"
    )
