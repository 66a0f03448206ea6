"""Access to URLs: everything that uses fsspec, including Zarr stores.

A file (a table, a ``.npy``) is fetched as a whole, see :func:`fetch_file`. :class:`RemoteFolder`
lists, fetches, writes and removes single files. Zarr reads a missing chunk as its fill value, and
checking for each chunk in advance, as on a local disk, would take a request per chunk. Instead,
:class:`RemoteStore` knows which arrays have all of their chunks, and raises an error when a missing
one is read. Of shards, only the index and the requested chunks are fetched. If a server can only
send whole files, the last one is kept while chunks are read from it.

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

from skiptool.errors import ArgumentError, FormatError, SkiptoolError, SourceError
from skiptool.stores.addresses import is_web, redact

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest, Store
    from zarr.core.buffer import Buffer, BufferPrototype

T = TypeVar("T")
R = TypeVar("R")

MAX_FETCHED_BYTES = 4 * 2**30
"""Size of a file that is fetched as a whole, at most."""

MAX_REQUESTS = 8
"""Concurrent requests, at most."""

NOT_SATISFIABLE = 416
"""HTTP status if a file ends before the requested range."""

UPLOADING = ".uploading"
"""File in the folder of an artifact during its upload; it remains if that fails."""

_READ_BYTES = 2**24
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class RemoteStore(FsspecStore):
    """A store that distinguishes lost chunks and network failures from zeros.

    Attributes
    ----------
    complete : set of str
        Paths of arrays all of whose chunks were written.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as zarr's own
        super().__init__(*args, **kwargs)
        self.complete: set[str] = set()
        self._whole_file: tuple[str, Buffer] | None = None  # last one sent instead of a range

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_whole_file": None}

    def part(self, key: str, offset: int, size: int) -> bytes:
        """Fetch bytes of a file, or fewer if it is shorter.

        An offset of ``-size`` requests the last bytes.
        """
        request = SuffixByteRequest(size) if offset < 0 else RangeByteRequest(offset, offset + size)
        buffer = sync(self.get(key, default_buffer_prototype(), request))
        return b"" if buffer is None else buffer.to_bytes()

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Fetch the bytes under a key, or return None if there are none.

        A missing chunk of a complete array is an error.
        """
        try:
            buffer = await self._get(key, prototype, byte_range)
        except Exception as error:  # back ends raise many kinds
            if byte_range is None or getattr(error, "status", None) != NOT_SATISFIABLE:
                raise _request_error(error) from error
            buffer = None
        array, separator, chunk = key.rpartition("/c/")
        if not buffer and separator and array in self.complete:
            raise FormatError(f"chunk c/{chunk} is missing; the store is damaged, make it again")
        return buffer

    async def _get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None
    ) -> Buffer | None:
        """Fetch the bytes; if the server sends the whole file, slice the requested range."""
        if self._whole_file is not None and byte_range is not None and self._whole_file[0] == key:
            return _slice(self._whole_file[1], byte_range)
        buffer = await super().get(key, prototype, byte_range)
        if buffer is None or byte_range is None or len(buffer) <= _length(byte_range):
            return buffer
        self._whole_file = key, buffer
        return _slice(buffer, byte_range)

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names in a folder; none if the host does not list folders."""
        try:
            async for name in super().list_dir(prefix):
                yield name
        except Exception as error:  # back ends raise many kinds
            raise _request_error(error) from error


def _length(request: ByteRequest) -> float:
    if isinstance(request, RangeByteRequest):
        return request.end - request.start
    return request.suffix if isinstance(request, SuffixByteRequest) else inf


def _slice(file: Buffer, request: ByteRequest) -> Buffer:
    if isinstance(request, RangeByteRequest):
        return file[request.start : request.end]
    return file[-request.suffix :] if isinstance(request, SuffixByteRequest) else file


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
        self.where, self.lists = redact(url).rstrip("/"), not is_web(url)
        if "://" not in url:  # fsspec would take it for a local path
            raise ArgumentError(f"{url}: is not a URL; give one such as s3://bucket/feats.zarr")
        address, options = _address_and_options(url)
        with _readable_errors(self.where):
            import fsspec

            self._files, path = fsspec.url_to_fs(address, **options)
        self._path = path.rstrip("/")

    def fetch(self, name: str, path: Path) -> bool:
        """Copy a file to a local path, whose folder is created; return whether it exists.

        Raises
        ------
        SourceError
            If the host cannot be reached or refuses the request.
        OSError
            If the local disk is full.
        """
        address = self._address(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._errors(name, str(path)):
                self._files.get_file(address, str(path))
        except FormatError:
            path.unlink(missing_ok=True)
            return False
        return True

    def size(self, name: str) -> int | None:
        """Return the bytes of a file: 0 if unknown, None if there is no file."""
        try:
            with self._errors(name):
                info = self._files.info(self._address(name))
        except FormatError:
            return None
        return None if info.get("type") == "directory" else int(info.get("size") or 0)

    def is_partly_uploaded(self) -> bool:
        """Return whether an upload to the folder is in progress or was interrupted."""
        return self.lists and self.size(UPLOADING) is not None

    def kind(self) -> str | None:
        """Return ``file`` or ``folder`` for the URL itself, or None if it does not exist."""
        try:
            with _readable_errors(self.where):
                self._files.invalidate_cache()
                info = self._files.info(self._path)
        except FormatError:
            return None
        return "folder" if info.get("type") == "directory" else "file"

    def names(self, below: str = "") -> tuple[list[str], list[str]]:
        """Return the names of the files and of the folders in a folder, each sorted."""
        folder = self._address(below) if below else self._path
        with self._errors(below):
            entries = self._files.ls(folder, detail=True)
        files: list[str] = []
        folders: list[str] = []
        for entry in entries:
            name = str(entry["name"]).rstrip("/").rpartition("/")[2]
            if _is_plain(name) and str(entry["name"]).strip("/") != folder.strip("/"):
                (folders if entry["type"] == "directory" else files).append(name)
        return sorted(files), sorted(folders)

    def files(self) -> dict[str, int]:
        """Return names and bytes of all files below the URL; none if there is no folder."""
        try:
            with _readable_errors(self.where):
                self._files.invalidate_cache()
                infos = self._files.find(self._path, detail=True)
        except FormatError:
            return {}
        prefix = f"{self._path.strip('/')}/"
        sizes = {
            str(name).strip("/").removeprefix(prefix): int(info.get("size") or 0)
            for name, info in infos.items()
        }
        return {name: sizes[name] for name in sorted(sizes) if _is_relative(name)}

    def put(self, path: Path, name: str = "") -> None:
        """Write a local file under a name, or to the URL itself without one."""
        with self._errors(name, str(path), "written"):
            self._files.put_file(str(path), self._address(name) if name else self._path)

    def remove(self, name: str = "") -> None:
        """Delete a file, or the one at the URL without a name, if it exists."""
        with suppress(FormatError), self._errors(name, verb="removed"):
            self._files.rm_file(self._address(name) if name else self._path)

    def _address(self, name: str) -> str:
        if not _is_relative(name):
            raise FormatError(f"{self.where}: {name!r} is not a file name; make it again")
        return f"{self._path}/{name}"

    def _errors(
        self, name: str, local: str = "", verb: str = "fetched"
    ) -> AbstractContextManager[None]:
        return _readable_errors(f"{self.where}/{name}" if name else self.where, local, verb)


def _is_plain(name: str) -> bool:
    """Return whether a remote name is a single component, as it becomes part of a local path."""
    return name not in ("", ".", "..") and "/" not in name and "\0" not in name


def _is_relative(name: str) -> bool:
    return all(map(_is_plain, name.split("/")))


def open_store(url: str) -> RemoteStore:
    """Return the Zarr store at a URL; nothing is fetched yet."""
    address, options = _address_and_options(url)
    with _readable_errors(redact(url)):
        store = RemoteStore.from_url(address, options, read_only=True)
    return cast("RemoteStore", store)  # from_url returns the class that it is called on


def fetch_file(url: str) -> bytes:
    """Fetch a file.

    Raises
    ------
    FormatError
        If there is none, or it has more than :data:`MAX_FETCHED_BYTES`.
    SourceError
        If the host cannot be reached or refuses the request.
    ArgumentError
        If fsspec does not know the protocol, or lacks a package for it.
    """
    address, options = _address_and_options(url)
    parts, size = [], 0
    with _readable_errors(redact(url)):
        import fsspec

        with fsspec.open(address, "rb", **options) as file:
            while part := file.read(_READ_BYTES):
                parts.append(part)
                size += len(part)
                if size > MAX_FETCHED_BYTES:
                    raise FormatError(
                        f"holds more than {MAX_FETCHED_BYTES:,} bytes, too many to fetch; copy it "
                        "here first"
                    )
    return b"".join(parts)


def _address_and_options(url: str) -> tuple[str, dict[str, Any]]:
    """Split off the query of a web address, which is sent with every request."""
    address, _, query = url.partition("?")
    if not is_web(address):
        return url, {}
    return address, {"params": dict(parse_qsl(query, keep_blank_values=True))} if query else {}


@contextmanager
def _readable_errors(where: str, local: str = "", verb: str = "fetched") -> Iterator[None]:
    """Turn errors of fsspec into a line that names the address.

    Parameters
    ----------
    where : str
        Address without credentials.
    local : str
        Local file involved: a full local disk is reported as such.
    verb : str
        Operation: ``fetched``, ``written`` or ``removed``.
    """
    try:
        yield
    except ImportError as error:
        raise ArgumentError(
            f"{where}: needs a package that is not installed ({error}); "
            "pip install 'skiptool[remote]' for https and s3"
        ) from error
    except FileNotFoundError as error:
        raise _missing_file_error(error, where, verb) from error
    except SkiptoolError as error:
        raise type(error)(f"{where}: {error}") from error
    except ValueError as error:
        raise ArgumentError(
            f"{where}: not a readable address ({redact(str(error))}); expected a folder, or a URL "
            "such as s3://bucket/feats.zarr or https://host/feats.zarr"
        ) from error
    except Exception as error:  # back ends raise many kinds
        if local and isinstance(error, OSError) and error.errno in _DISK_FULL:
            error.filename = error.filename or local
            raise
        raise SourceError(f"{where}: {_request_error(error, verb)}") from error


def _missing_file_error(error: FileNotFoundError, where: str, verb: str) -> SkiptoolError:
    """Return the error for a missing file, or for another reason that the host gives."""
    cause = error.__cause__  # fsspec raises FileNotFoundError for other HTTP errors too
    if cause is not None and getattr(cause, "status", None) != 404:
        return SourceError(f"{where}: {_request_error(cause, verb)}")
    if verb == "written":
        reason = redact(str(error)) or "no such bucket or folder"
        return SourceError(f"{where}: cannot be written ({reason}); check the address")
    return FormatError(f"{where}: no such file; check the address")


def map_items(store: Store, function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Call a function for each item, concurrently for a remote store."""
    if not isinstance(store, RemoteStore):
        return [function(item) for item in items]
    with ThreadPoolExecutor(MAX_REQUESTS) as pool:
        return list(pool.map(function, items))


def is_access_denied(error: BaseException | None) -> bool:
    """Return whether a web server answered 401 or 403, as some do for missing files."""
    while error is not None:
        if getattr(error, "status", None) in (401, 403):
            return True
        error = error.__cause__
    return False


def _request_error(error: BaseException, verb: str = "fetched") -> SkiptoolError:
    """Return an error that explains why a request failed."""
    if isinstance(error, SkiptoolError):
        return error
    status = getattr(error, "status", None)
    reason = redact(str(error)) or type(error).__name__
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
