"""Stores and files behind a URL: the one door of fsspec, for stores through zarr's own.

Only reading. A file (a table, a ``.npy``) is fetched as a whole, see :func:`fetched`. Zarr takes a
chunk that is not there for its fill value; looking for each of them in advance, as is done on a
local disk, would cost a request a chunk. So :class:`RemoteStore` is told which arrays have all of
their chunks and refuses an absent one when it is read. Of shards, only the index and the chunks
that are asked for are fetched. A server that sends whole files only is asked once for each of
them as long as the next chunk is in the same one.

Where credentials stand in a URL (``user:password@``, a signed query), messages leave them out. The
query of an ``https`` URL goes with every request, so that signed folders can be read.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
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

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest, Store
    from zarr.core.buffer import Buffer, BufferPrototype

T = TypeVar("T")

__all__ = [
    "MOST_FETCHED",
    "RemoteStore",
    "each",
    "explained",
    "fetched",
    "last_part",
    "located",
    "open_store",
    "public",
]

MOST_FETCHED = 4 * 2**30
"""Bytes of a file that is fetched as a whole."""

NOT_SATISFIABLE = 416
"""What a web server answers where a file ends before the part that is asked for."""

_AT_ONCE = 8
_PIECE = 2**24

_URL = re.compile(r"://(?:[^/\s'\"]*@)?([^\s'\"?]*)(?:\?[^\s'\"]*)?")


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
    with _named(url):
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
    with _named(url):
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
    web = address.startswith(("http://", "https://"))
    options = {"params": dict(parse_qsl(query, keep_blank_values=True))} if web and query else {}
    return address if web else url, options


@contextmanager
def _named(url: str) -> Iterator[None]:
    """Say of errors of fsspec where they come from, in one line."""
    try:
        yield
    except ImportError as error:
        raise ArgumentError(
            f"{public(url)}: reading it needs a package that is not installed ({error}); "
            "pip install 'skiptool[remote]' for https and s3"
        ) from error
    except FileNotFoundError as error:
        cause = error.__cause__  # of the web's files: whatever it was
        if cause is not None and getattr(cause, "status", None) != 404:
            raise SourceError(f"{public(url)}: {_failure(cause)}") from error
        raise FormatError(f"{public(url)}: no such file; check the address") from error
    except SkiptoolError as error:
        raise type(error)(f"{public(url)}: {error}") from error
    except ValueError as error:
        raise ArgumentError(
            f"{public(url)}: no address that can be read ({public(str(error))}); expected a "
            "folder, or a URL such as s3://bucket/feats.zarr or https://host/feats.zarr"
        ) from error
    except Exception as error:  # each back end has its own kinds
        raise SourceError(f"{public(url)}: {_failure(error)}") from error


def each(store: Store, function: Callable[[str], T], names: Iterable[str]) -> list[T]:
    """Call a function for each name; several at a time where a remote host is waited for."""
    if not isinstance(store, RemoteStore):
        return [function(name) for name in names]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(function, names))


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


def located(place: str | Path) -> str | Path:
    """Return a local place as a path (``file://`` too), any other URL as it is.

    Examples
    --------
    >>> str(located("file:///data/f.zarr")), located("s3://bucket/f.zarr")
    ('/data/f.zarr', 's3://bucket/f.zarr')
    """
    if isinstance(place, str) and "://" in place and not place.startswith("file://"):
        return place
    return Path(str(place).removeprefix("file://"))


def public(text: str) -> str:
    """Return a URL, or a message with URLs in it, without credentials and queries.

    Examples
    --------
    >>> public("https://me:secret@host/f.zarr?signature=abc")
    'https://host/f.zarr'
    """
    return _URL.sub(r"://\1", text)


def last_part(place: str | Path) -> str:
    """Return the last component of a path or URL, for tables.

    Examples
    --------
    >>> last_part("https://host/a/f.zarr/?signature=a/b"), last_part(Path("a/f.zarr"))
    ('f.zarr', 'f.zarr')
    """
    if isinstance(place, Path):
        return place.name or place.resolve().name
    return public(place).rstrip("/").rpartition("/")[2]


def _failure(error: BaseException) -> SkiptoolError:
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
        f"cannot be fetched ({reason}); check the address, the network and your credentials{hint}"
    )
