"""Atomic outputs: written next to their final path and renamed when complete.

An output ``dir/name`` grows as ``dir/.name.partial``. A killed process leaves that hidden sibling
and nothing under the final name; ``--resume`` continues it, ``--overwrite`` starts again. Only one
process at a time writes an output (see :func:`lock_output`), and no output replaces an input of its
command (see :func:`protect_inputs`).
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from enum import Enum
from pathlib import Path
from typing import Final

from skiptool.errors import ArgumentError, ExistsError, LeftoverError, SourceError
from skiptool.stores.addresses import check_slashes, is_web, last_part, path_or_url, redact
from skiptool.stores.copies import HEADERS, check_absent, target_url

# Locks

NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)
"""Errors of file systems without locks."""


@contextmanager
def lock_output(out: Path) -> Iterator[None]:
    """Lock ``out`` while the block runs; refuse if another process holds the lock.

    The lock (``flock``) is on a hidden file next to it, and ends with the process in any case. On
    file systems without locks, this does nothing.
    """
    path = lock_path(out)
    file = _open_locked(path)
    if file is None:
        raise ExistsError(
            f"{out}: another process is making it now; wait for that one, or give another --out"
        )
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(file)


def lock_path(out: Path) -> Path:
    """Return the path of the hidden lock file of ``out``."""
    return out.with_name(f".{out.name}.lock")


def _open_locked(path: Path) -> int | None:
    """Return a descriptor of the locked file, or None if another process holds the lock."""
    while True:
        # O_NOFOLLOW: a link would create a file elsewhere
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_same_file(file, path):
                return file
        except BlockingIOError:
            os.close(file)
            return None
        except OSError as error:
            if error.errno in NO_LOCKS:
                return file
            os.close(file)
            raise
        os.close(file)  # the process that held the lock has just deleted the file


def _is_same_file(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


# Checks before any work

_INPUTS: ContextVar[tuple[Path | str, ...] | None] = ContextVar("inputs", default=None)
"""Local paths, and URLs as text."""


class OutputType(Enum):
    """Type of an output: its description, and the suffixes it may have."""

    TABLE = ("a table (Parquet)", (".parquet", ".parq", ".pq"))
    PAGE = ("a page (HTML)", (".html", ".htm"))
    STORE = ("a store (Zarr)", (".zarr",))
    FOLDER = ("a folder", ())
    FILES = ("a folder of files", ())
    STORES = ("a store or a folder of stores", (".zarr",))

    def __init__(self, description: str, suffixes: tuple[str, ...]) -> None:
        self.description = description
        self.suffixes = suffixes

    @property
    def is_file(self) -> bool:
        """True for a single file, False for a folder."""
        return self in (OutputType.TABLE, OutputType.PAGE)

    def adds_to_folder(self, name: str) -> bool:
        """Return whether an output of this name adds to an existing folder."""
        if self is OutputType.STORES:
            return not name.endswith(".zarr")
        return self is OutputType.FILES


_TEXTS = (".csv", ".tsv", ".txt", ".md", ".json", ".geojson", ".xml", ".html", ".htm", ".tex")
_TABLES = (".xlsx", ".xls", ".ods", ".parquet", ".parq", ".pq", ".feather", ".arrow", ".sqlite")
_PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".gif", ".bmp", ".svg", ".pdf", ".docx")
_IMAGES = (".svs", ".ndpi", ".mrxs", ".nii", ".zarr", ".h5", ".hdf5", ".npy", ".npz", ".mat")
_MODELS = (".pt", ".pth", ".ckpt", ".onnx", ".safetensors", ".pkl", ".zip", ".tar", ".gz")
_FORMATS: Final = frozenset({*_TEXTS, *_TABLES, *_PICTURES, *_IMAGES, *_MODELS})
"""Suffixes of known formats; any other is part of a name, as in ``shift-0.5``."""


def check_output_type(out: Path | str, output: OutputType, option: str = "--out") -> None:
    """Refuse the suffix of another format, a folder in place of a file, and vice versa.

    Parameters
    ----------
    out : Path or str
        Final path of the output, or its URL as text.
    option : str
        Command-line option, for messages.

    Examples
    --------
    >>> check_output_type(Path("shift-0.5"), OutputType.TABLE)
    >>> check_output_type(Path("r.pdf"), OutputType.PAGE)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    skiptool.errors.ArgumentError: --out r.pdf: the suffix .pdf promises another format, ...
    """
    if isinstance(out, Path) and os.path.lexists(out) and out.is_dir() is output.is_file:
        existing = "a folder" if output.is_file else "a file"
        raise ExistsError(
            f"{out}: exists already and is {existing}, but {output.description} is written, which "
            f"cannot replace it; give another {option}"
        )
    suffix = Path(last_part(out)).suffix.lower()
    if suffix in _FORMATS and suffix not in output.suffixes:
        remedy = "without such a suffix"
        if output.suffixes:
            remedy = f"that ends in {output.suffixes[0]}"
        raise ArgumentError(
            f"{option} {redact(str(out))}: the suffix {suffix} promises another format, and "
            f"{output.description} is written; give a name {remedy}"
        )


def check_target(url: str, output: OutputType, option: str, *, resume: bool = False) -> None:
    """Refuse a URL that cannot be written to, or that would destroy an input.

    Web servers, chains of protocols, the suffix of another format, resuming, and URLs that are,
    contain or are part of an input (see :func:`protect_inputs`) are refused.

    Parameters
    ----------
    option : str
        Command-line option, for messages.
    resume : bool
        Whether the command is to resume an output, which is only possible locally.
    """
    where = redact(url)
    if is_web(url) or "::" in url:
        sources = "web servers" if is_web(url) else "chains of protocols"
        raise ArgumentError(
            f"{option} {where}: {sources} are for reading only; give a local path, or a URL such "
            "as s3://bucket/NAME"
        )
    if resume:
        raise ArgumentError(
            f"{option} {where}: --resume continues an output on this machine; write to a local "
            "path, and copy the result when it is complete"
        )
    check_output_type(url, output, option)
    adds = output.adds_to_folder(last_part(url))
    target = _without_query(url)
    for source in _input_urls():
        inside = source.endswith(".zarr") and target.startswith(f"{source}/")
        if inside or (target == source and not adds):
            raise ArgumentError(
                f"{option} {where}: is an input of this command or lies in one "
                f"({redact(source)}), and inputs are never overwritten; give another URL"
            )
        if source.startswith(f"{target}/") and not adds:
            raise ArgumentError(
                f"{option} {where}: holds {redact(source)}, an input of this command, and would be "
                "replaced as a whole; give another URL"
            )


def _check_url_not_in_input(url: str) -> None:
    """Refuse to replace a part of an input or of a folder of inputs."""
    for source in _input_urls():
        if f"{_without_query(url)}/".startswith(f"{source}/"):
            raise ArgumentError(
                f"{redact(url)}: is a part of {redact(source)}, an input of this command; give "
                "another URL"
            )


def _input_urls() -> list[str]:
    return [_without_query(place) for place in _INPUTS.get() or () if isinstance(place, str)]


def _without_query(url: str) -> str:
    return url.partition("?")[0].rstrip("/")


@contextmanager
def protect_inputs(inputs: Iterable[str | Path] = ()) -> Iterator[None]:
    """Refuse, while the block runs, every output that would destroy one of these inputs.

    :func:`check_writable` and :func:`atomic_output` compare resolved paths. Blocks nest;
    :func:`add_protected_inputs` adds inputs that become known later.
    """
    token = _INPUTS.set(_INPUTS.get() or ())
    try:
        add_protected_inputs(inputs)
        yield
    finally:
        _INPUTS.reset(token)


def add_protected_inputs(inputs: Iterable[str | Path]) -> None:
    """Add inputs to those of the enclosing block of :func:`protect_inputs`."""
    protected = _INPUTS.get()
    if protected is not None:
        places = map(path_or_url, inputs)
        existing = [place for place in places if isinstance(place, str) or os.path.lexists(place)]
        _INPUTS.set((*protected, *existing))


def check_not_input(out: Path, *, replaces: bool = False) -> None:
    """Refuse an output that is an input (see :func:`protect_inputs`), or an existing part of one.

    If the output ``replaces`` a folder, that folder must not contain an input either.
    """
    for source in dict.fromkeys(_INPUTS.get() or ()):
        if isinstance(source, str):  # a URL: see check_target
            continue
        if _is_same_path(out, source):
            raise ArgumentError(
                f"{out}: is an input of this command ({source}), and inputs are never overwritten; "
                "give another path"
            )
        parents = Path(os.path.realpath(source)).parents
        if replaces and any(_is_same_path(out, parent) for parent in parents):
            raise ArgumentError(
                f"{out}: holds {source}, an input of this command, and would be replaced as a "
                "whole; give another path"
            )
        if os.path.lexists(out) and _is_part(out, source):
            raise ArgumentError(
                f"{out}: is a part of {source}, an input of this command; give another path"
            )


def _is_part(out: Path, source: Path) -> bool:
    """Return whether a path is in an artifact that is an input, or in a folder of inputs."""
    if not source.is_dir():
        return False
    for parent in Path(os.path.realpath(out)).parents:
        if _is_artifact(parent):
            top = Path(os.path.realpath(source))
            return any(_is_same_path(top, folder) for folder in (parent, *parent.parents))
        if _is_same_path(parent, source):
            return False
    return False


def _is_artifact(folder: Path) -> bool:
    return any((folder / name).is_file() for name in HEADERS)


def _is_same_path(first: Path, second: Path) -> bool:
    """Return whether two paths lead to the same file, through links and on any file system."""
    try:
        return first.samefile(second)
    except OSError:  # one of them does not exist
        return os.path.realpath(first) == os.path.realpath(second)


def partial_path(out: Path) -> Path:
    """Return the hidden sibling in which ``out`` grows."""
    return out.with_name(f".{out.name}.partial")


def check_writable(out: Path, *, overwrite: bool, resume: bool) -> None:
    """Refuse an output that cannot be written, before any work starts.

    Parameters
    ----------
    out : Path
        Final path of the output.
    overwrite : bool
        Whether an existing output may be replaced: a file, an artifact, or an empty folder.
    resume : bool
        Whether partial results may be continued.

    Raises
    ------
    ArgumentError
        If it is, contains or is part of an input (see :func:`protect_inputs`), or is a URL.
    SourceError
        If the parent folder is missing, or the name cannot be a file.
    ExistsError
        If the output or the remains of an interrupted run exist and must not be replaced.
    """
    if out.name in ("", ".."):
        raise SourceError(f"{out}: has no file name; give --out a path that ends in a name")
    check_slashes(out)
    check_not_input(out, replaces=overwrite and out.is_dir())
    if not out.parent.is_dir():
        raise SourceError(f"{out}: the folder {out.parent} does not exist; create it first")
    if not os.access(out.parent, os.W_OK):
        raise SourceError(f"{out}: the folder {out.parent} may not be written; choose another")
    if resume:
        return
    url = target_url(out)
    if url is not None and check_absent(url, overwrite=overwrite):
        _check_url_not_in_input(url)
    if overwrite:
        _check_replaceable(out)
        return
    if os.path.lexists(out):
        raise ExistsError(
            f"{out}: exists already; give another --out, or --overwrite to replace it"
        )
    if os.path.lexists(partial_path(out)):
        raise LeftoverError(
            f"{out}: {partial_path(out).name} is left of an interrupted run, or another process "
            "writes it now; give --overwrite to start again"
        )


# Writing

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a full disk, an exceeded quota, and too large a file."""


@contextmanager
def atomic_output(
    out: Path, *, overwrite: bool = False, resume: bool = False, keep_if: str | None = None
) -> Iterator[Path]:
    """Yield the hidden sibling of ``out``; rename it to ``out`` if the block succeeds.

    Partial results are kept for resuming after Ctrl-C and after system errors (a full disk, no
    memory); after any other error they are removed. Outputs are checked by :func:`check_writable`;
    partial results that contain links are not resumed.

    Parameters
    ----------
    keep_if : str, optional
        Name of a file within the output: if it exists, partial results are kept after any error,
        as they took hours.
    """
    check_writable(out, overwrite=overwrite, resume=resume)
    with lock_output(out):
        # again, now that no other process can be writing it
        check_writable(out, overwrite=overwrite, resume=resume)
        partial = partial_path(out)
        if resume:
            _refuse_links(partial)
        else:
            remove(partial)
        try:
            yield partial
        except BaseException as error:
            _add_filename(error, out)
            keep = isinstance(error, KeyboardInterrupt | OSError | MemoryError)
            if not keep and not (keep_if and (partial / keep_if).exists()):
                remove(partial)
            raise
        _put_in_place(partial, out)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a hidden sibling with the suffix of ``path``, for a single file of a growing folder.

    It replaces ``path`` if the block succeeds, and is removed otherwise. One left by a killed
    process is overwritten by the next.
    """
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        _add_filename(error, path)
        raise
    finally:
        partial.unlink(missing_ok=True)


def _add_filename(error: BaseException, out: Path) -> None:
    """Name the output in a full-disk error: Arrow and plain writes do not."""
    if isinstance(error, OSError) and error.errno in DISK_FULL and error.filename is None:
        error.filename = str(out)


def _check_replaceable(out: Path) -> None:
    """Keep ``--overwrite`` from deleting a user's folder."""
    if not out.is_dir() or out.is_symlink():
        return
    if not _is_artifact(out) and any(out.iterdir()):
        raise ExistsError(
            f"{out}: is a folder with other things in it, and --overwrite replaces only stores, "
            "models and overlays; give another --out, or remove the folder yourself"
        )


def _refuse_links(partial: Path) -> None:
    """Keep a resumed run from writing through a link."""
    below = (
        Path(folder, name)
        for folder, folders, files in os.walk(partial)
        for name in (*folders, *files)
    )
    for path in (partial, *below):
        if path.is_symlink():
            raise ExistsError(
                f"{path}: is a link to another place, which skiptool never creates; give "
                "--overwrite to start again"
            )


def _put_in_place(partial: Path, out: Path) -> None:
    # A folder cannot be renamed over an existing path, nor a file over a folder. The old artifact
    # is then moved away first, so that a complete one always exists under the final or moved name.
    partial.lstat()  # if nothing was written, fail before the old artifact is touched
    old = _replaced_path(out)
    if os.path.lexists(out) and (partial.is_dir() or out.is_dir()):
        remove(old)
        out.rename(old)
        partial.rename(out)
    else:
        partial.replace(out)
    remove(old)


def _replaced_path(out: Path) -> Path:
    return out.with_name(f".{out.name}.replaced")


def clear_leftovers(out: Path) -> None:
    """Remove leftovers of killed processes next to a complete output.

    Does nothing while another process writes it anew, or without permission.
    """
    leftovers = (partial_path(out), _replaced_path(out))
    if any(map(os.path.lexists, (*leftovers, lock_path(out)))):
        with suppress(OSError), lock_output(out):
            for path in leftovers:
                remove(path)


def remove(path: Path) -> None:
    """Delete a file, or a folder with its content, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def make_parents(out: Path) -> Iterator[None]:
    """Create the missing parent folders of ``out``; remove those that are empty at the end."""
    missing = [folder for folder in out.parents if not folder.exists()]
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for folder in missing:
            with suppress(OSError):  # not empty, or already removed by another process
                folder.rmdir()
