"""What is behind a URL: the one door of fsspec, for stores through zarr's own.

A file (a table, a ``.npy``) is fetched as a whole, see :func:`fetched`. :class:`RemoteFolder`
lists, fetches, writes and removes single files. Zarr takes a chunk that is not there for its fill
value; looking for each of them in advance, as is done on a local disk, would cost a request a
chunk. So :class:`RemoteStore` is told which arrays have all of their chunks and refuses an absent
one when it is read. Of shards, only the index and the chunks that are asked for are fetched. A
server that sends whole files only is asked once for each of them as long as the next chunk is in
the same one.

Where credentials stand in a URL (``user:password@``, a signed query), messages leave them out. The
query of an ``https`` URL goes with every request, so that signed folders can be read.
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

__all__ = [
    "AT_ONCE",
    "MOST_FETCHED",
    "UPLOADING",
    "RemoteFolder",
    "RemoteStore",
    "each",
    "explained",
    "fetched",
    "is_refusal",
    "open_store",
]

MOST_FETCHED = 4 * 2**30
"""Bytes of a file that is fetched as a whole."""

AT_ONCE = 8
"""Requests that wait for an answer at the same time."""

NOT_SATISFIABLE = 416
"""What a web server answers where a file ends before the part that is asked for."""

UPLOADING = ".uploading"
"""File in the folder of an artifact while it is uploaded; it stays where that was broken off."""

_PIECE = 2**24
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class RemoteStore(FsspecStore):
    """A store that tells lost chunks from zeros, and failures of the network from both.

    Attributes
    ----------
    whole : set of str
        Paths of arrays all of whose chunks were written.
    """

    def __init__(self, *given: Any, **named: Any) -> None:  # noqa: ANN401 - as zarr's own
        super().__init__(*given, **named)
        self.whole: set[str] = set()
        self._sent: tuple[str, Buffer] | None = None  # the last file sent instead of a part of it

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_sent": None}

    def part(self, key: str, offset: int, size: int) -> bytes:
        """Fetch bytes of a file; fewer come if it is shorter.

        Parameters
        ----------
        key : str
        offset, size : int
            An offset of ``-size`` asks for the last bytes.

        Raises
        ------
        SourceError, FormatError
            As :meth:`get`.
        """
        wanted = SuffixByteRequest(size) if offset < 0 else RangeByteRequest(offset, offset + size)
        found = sync(self.get(key, default_buffer_prototype(), wanted))
        return b"" if found is None else found.to_bytes()

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Fetch the bytes under a key, None where there are none.

        Raises
        ------
        SourceError
            If the host cannot be reached or refuses.
        FormatError
            If a chunk of a whole array is not there.
        """
        try:
            found = await self._get(key, prototype, byte_range)
        except Exception as error:  # each back end has its own kinds
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
        """Fetch the bytes; where the server sends all of a file, cut the part out of it."""
        if self._sent is not None and byte_range is not None and self._sent[0] == key:
            return _cut(self._sent[1], byte_range)
        found = await super().get(key, prototype, byte_range)
        if found is None or byte_range is None or len(found) <= _length(byte_range):
            return found
        self._sent = key, found
        return _cut(found, byte_range)

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names in a folder; none where the host keeps no lists.

        Raises
        ------
        SourceError
            If the host cannot be reached or refuses.
        """
        try:
            async for name in super().list_dir(prefix):
                yield name
        except Exception as error:  # each back end has its own kinds
            raise _failure(error) from error


def _length(wanted: ByteRequest) -> float:
    """Return how many bytes are asked for."""
    if isinstance(wanted, RangeByteRequest):
        return wanted.end - wanted.start
    return wanted.suffix if isinstance(wanted, SuffixByteRequest) else inf


def _cut(whole: Buffer, wanted: ByteRequest) -> Buffer:
    """Return the part of a file that was asked for."""
    if isinstance(wanted, RangeByteRequest):
        return whole[wanted.start : wanted.end]
    return whole[-wanted.suffix :] if isinstance(wanted, SuffixByteRequest) else whole


class RemoteFolder:
    """Files below a URL, by their names relative to it; safe in every thread.

    Attributes
    ----------
    where : str
        The URL without credentials, for messages.
    lists : bool
        Whether its files can be listed; a web server's cannot.
    """

    def __init__(self, url: str) -> None:
        """Prepare the requests; nothing is sent yet.

        Raises
        ------
        ArgumentError, SourceError
            As :func:`open_store`.
        """
        self.where, self.lists = public(url).rstrip("/"), not is_web(url)
        if "://" not in url:  # fsspec would take it for a local path
            raise ArgumentError(f"{url}: is no URL; give one such as s3://bucket/feats.zarr")
        address, options = _asked(url)
        with _named(self.where):
            import fsspec

            self._files, path = fsspec.url_to_fs(address, **options)
        self._path = path.rstrip("/")

    def fetch(self, name: str, path: Path) -> bool:
        """Copy a file to a local path, whose folder is made; return False where there is none.

        Raises
        ------
        FormatError
            If the name is none of a file below the URL.
        SourceError
            If the host cannot be reached or refuses.
        OSError
            If there is no space for it here.
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
        """Return the bytes of a file, 0 where the host does not say, None where there is none."""
        try:
            with self._at(name):
                found = self._files.info(self._address(name))
        except FormatError:
            return None
        return None if found.get("type") == "directory" else int(found.get("size") or 0)

    def is_half_uploaded(self) -> bool:
        """Say whether an upload to the folder is under way, or was broken off."""
        return self.lists and self.size(UPLOADING) is not None

    def kind(self) -> str | None:
        """Return ``file`` or ``folder``, what is at the URL itself, None where nothing is."""
        try:
            with _named(self.where):
                self._files.invalidate_cache()
                found = self._files.info(self._path)
        except FormatError:
            return None
        return "folder" if found.get("type") == "directory" else "file"

    def names(self, below: str = "") -> tuple[list[str], list[str]]:
        """Return the names of the files and of the folders in a folder, each sorted.

        Raises
        ------
        FormatError
            If there is no such folder.
        SourceError
            If the host cannot be reached or refuses.
        """
        here = self._address(below) if below else self._path
        with self._at(below):
            entries = self._files.ls(here, detail=True)
        found: tuple[list[str], list[str]] = ([], [])
        for entry in entries:
            name = str(entry["name"]).rstrip("/").rpartition("/")[2]
            if _is_plain(name) and str(entry["name"]).strip("/") != here.strip("/"):
                found[entry["type"] == "directory"].append(name)
        return sorted(found[0]), sorted(found[1])

    def files(self) -> dict[str, int]:
        """Return names and bytes of all files below the URL; none where there is no folder.

        Raises
        ------
        SourceError
            If the host cannot be reached or refuses.
        """
        try:
            with _named(self.where):
                self._files.invalidate_cache()
                found = self._files.find(self._path, detail=True)
        except FormatError:
            return {}
        below = f"{self._path.strip('/')}/"
        sizes = {
            str(name).strip("/").removeprefix(below): int(each.get("size") or 0)
            for name, each in found.items()
        }
        return {name: sizes[name] for name in sorted(sizes) if _is_relative(name)}

    def put(self, path: Path, name: str = "") -> None:
        """Write a local file under a name, or, without one, under the URL itself.

        Raises
        ------
        SourceError
            If the host cannot be reached or refuses.
        OSError
            If the local file cannot be read.
        """
        with self._at(name, str(path), "written"):
            self._files.put_file(str(path), self._address(name) if name else self._path)

    def remove(self, name: str = "") -> None:
        """Delete a file, or, without a name, the one at the URL; nothing happens without any.

        Raises
        ------
        SourceError
            If the host cannot be reached or refuses.
        """
        with suppress(FormatError), self._at(name, verb="removed"):
            self._files.rm_file(self._address(name) if name else self._path)

    def _address(self, name: str) -> str:
        if not _is_relative(name):
            raise FormatError(f"{self.where}: {name!r} is no name of a file; make it again")
        return f"{self._path}/{name}"

    def _at(self, name: str, here: str = "", verb: str = "fetched") -> AbstractContextManager[None]:
        return _named(f"{self.where}/{name}" if name else self.where, here, verb)


def _is_plain(name: str) -> bool:
    """Whether it is a name of one file or folder: names from elsewhere become local paths."""
    return name not in ("", ".", "..") and "/" not in name and "\0" not in name


def _is_relative(name: str) -> bool:
    return all(map(_is_plain, name.split("/")))


def open_store(url: str) -> RemoteStore:
    """Return the Zarr store at a URL; nothing is fetched yet.

    Raises
    ------
    ArgumentError
        If fsspec does not know the protocol, or a package for it is not installed.
    SourceError
        If the back end cannot be set up.
    """
    address, options = _asked(url)
    with _named(public(url)):
        store = RemoteStore.from_url(address, options, read_only=True)
    return cast("RemoteStore", store)  # of the class that was asked, says Zarr in prose only


def fetched(url: str) -> bytes:
    """Fetch a file.

    Raises
    ------
    FormatError
        If there is none, or it holds more than :data:`MOST_FETCHED` bytes.
    ArgumentError, SourceError
        As :func:`open_store`; or if the host cannot be reached or refuses.
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
                        f"holds more than {MOST_FETCHED:,} bytes, which are not fetched; copy it "
                        "here first"
                    )
    return b"".join(parts)


def _asked(url: str) -> tuple[str, dict[str, Any]]:
    """Return the address, and what goes with every request: the query of a web page."""
    address, _, query = url.partition("?")
    web = is_web(address)
    options = {"params": dict(parse_qsl(query, keep_blank_values=True))} if web and query else {}
    return address if web else url, options


@contextmanager
def _named(where: str, here: str = "", verb: str = "fetched") -> Iterator[None]:
    """Say of errors of fsspec where they come from, in one line.

    Parameters
    ----------
    where : str
        What is read or written, without credentials.
    here : str
        Local file that takes part: errors of this machine's disk are its own.
    verb : str
        What could not be done: ``fetched``, ``written``, ``removed``.
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
            f"{where}: no address that can be read ({public(str(error))}); expected a "
            "folder, or a URL such as s3://bucket/feats.zarr or https://host/feats.zarr"
        ) from error
    except Exception as error:  # each back end has its own kinds
        if here and isinstance(error, OSError) and error.errno in _FULL:
            error.filename = error.filename or here
            raise
        raise SourceError(f"{where}: {_failure(error, verb)}") from error


def _absent(error: FileNotFoundError, where: str, verb: str) -> SkiptoolError:
    """Say of a file that is not found what the host says, if it says anything else."""
    cause = error.__cause__  # of the web's files: whatever it was
    if cause is not None and getattr(cause, "status", None) != 404:
        return SourceError(f"{where}: {_failure(cause, verb)}")
    if verb == "written":
        reason = public(str(error)) or "no such bucket or folder"
        return SourceError(f"{where}: cannot be written ({reason}); check the address")
    return FormatError(f"{where}: no such file; check the address")


def each(store: Store, function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Call a function for each item; several at a time where a remote host is waited for."""
    if not isinstance(store, RemoteStore):
        return [function(item) for item in items]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(function, items))


def is_refusal(error: BaseException | None) -> bool:
    """Say whether a web server has answered 401 or 403, as some do for what is not there."""
    while error is not None:
        if getattr(error, "status", None) in (401, 403):
            return True
        error = error.__cause__
    return False


def explained(error: Exception, where: str, damage: str) -> SkiptoolError:
    """Return the error to raise for one that Zarr let through.

    Parameters
    ----------
    error : Exception
        One of a :class:`RemoteStore` says what happened; any other came of damaged data.
    where, damage : str
        The place, and what to say of it where it is damaged.
    """
    if isinstance(error, SkiptoolError):
        return type(error)(f"{where}: {error}")
    if isinstance(error, MemoryError):
        return OutOfMemoryError(f"{where}: there is too little memory to read it; free memory")
    return FormatError(f"{where}: {damage}")


def _failure(error: BaseException, verb: str = "fetched") -> SkiptoolError:
    """Say in one sentence why nothing could be fetched."""
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
