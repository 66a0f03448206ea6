"""Atomic outputs: made next to their final name and renamed when complete.

An output ``dir/name`` grows as ``dir/.name.partial``. A killed process leaves that hidden sibling
and nothing under the final name; ``--resume`` continues it, ``--overwrite`` starts again. One
process at a time makes an output (see :func:`lock_output`), and no output replaces an input of its
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
from skiptool.stores.addresses import check_slashes, is_web, last_part, located, public
from skiptool.stores.copies import HEADERS, check_absent, target_of

# Locks

NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)
"""Errors of file systems without locks."""


@contextmanager
def lock_output(out: Path) -> Iterator[None]:
    """Lock ``out`` while the block runs; refuse if another process holds the lock.

    A hidden file next to it carries the lock (``flock``), which ends with the process in any case.
    Without locks in the file system, nothing is held.
    """
    path = lock_of(out)
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


def lock_of(out: Path) -> Path:
    """Return the hidden file that carries the lock of ``out``."""
    return out.with_name(f".{out.name}.lock")


def _open_locked(path: Path) -> int | None:
    """Return the open file, None if another process holds the lock."""
    while True:
        # O_NOFOLLOW: a link would create a file elsewhere
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(file, path):
                return file
        except BlockingIOError:
            os.close(file)
            return None
        except OSError as error:
            if error.errno in NO_LOCKS:
                return file
            os.close(file)
            raise
        os.close(file)  # its holder has just finished and deleted it


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


# Checks before any work

_INPUTS: ContextVar[tuple[Path | str, ...] | None] = ContextVar("inputs", default=None)
"""Local paths, and URLs as text."""


class Form(Enum):
    """Type of an output: its description, and the suffixes it may have."""

    TABLE = ("a table (Parquet)", (".parquet", ".parq", ".pq"))
    PAGE = ("a page (HTML)", (".html", ".htm"))
    STORE = ("a store (Zarr)", (".zarr",))
    FOLDER = ("a folder", ())
    FILLED = ("a folder of files", ())
    STORES = ("a store or a folder of stores", (".zarr",))

    @property
    def is_file(self) -> bool:
        """Whether it is one file, not a folder."""
        return self in (Form.TABLE, Form.PAGE)


_TEXTS = (".csv", ".tsv", ".txt", ".md", ".json", ".geojson", ".xml", ".html", ".htm", ".tex")
_TABLES = (".xlsx", ".xls", ".ods", ".parquet", ".parq", ".pq", ".feather", ".arrow", ".sqlite")
_PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".gif", ".bmp", ".svg", ".pdf", ".docx")
_IMAGES = (".svs", ".ndpi", ".mrxs", ".nii", ".zarr", ".h5", ".hdf5", ".npy", ".npz", ".mat")
_MODELS = (".pt", ".pth", ".ckpt", ".onnx", ".safetensors", ".pkl", ".zip", ".tar", ".gz")
_FORMATS: Final = frozenset({*_TEXTS, *_TABLES, *_PICTURES, *_IMAGES, *_MODELS})
"""Suffixes of known formats; any other is part of a name, as in ``shift-0.5``."""


def check_form(out: Path | str, form: Form, option: str = "--out") -> None:
    """Refuse an output whose suffix belongs to another format, or that exists with another form.

    Parameters
    ----------
    out : Path or str
        Final name of the output; text is a URL.
    option : str
        Command-line option, for messages.

    Raises
    ------
    ArgumentError
        If its suffix belongs to another format.
    ExistsError
        If it is a folder where a file is to be written, or the other way round.

    Examples
    --------
    >>> check_form(Path("shift-0.5"), Form.TABLE)
    >>> check_form(Path("r.pdf"), Form.PAGE)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    skiptool.errors.ArgumentError: --out r.pdf: the suffix .pdf promises another format, ...
    """
    what, suffixes = form.value
    if isinstance(out, Path) and os.path.lexists(out) and out.is_dir() is form.is_file:
        raise ExistsError(
            f"{out}: exists already and is {'a folder' if form.is_file else 'a file'}, but {what} "
            f"is written, which cannot replace it; give another {option}"
        )
    suffix = Path(last_part(out)).suffix.lower()
    if suffix in _FORMATS and suffix not in suffixes:
        remedy = f"that ends in {suffixes[0]}" if suffixes else "without such a suffix"
        raise ArgumentError(
            f"{option} {public(str(out))}: the suffix {suffix} promises another format, and {what} "
            f"is written; give a name {remedy}"
        )


def check_target(url: str, form: Form, option: str, *, resume: bool = False) -> None:
    """Refuse a URL that cannot be written to, or whose suffix belongs to another format.

    Parameters
    ----------
    option : str
        Command-line option, for messages.
    resume : bool
        The command is to resume an output, which is local only.

    Raises
    ------
    ArgumentError
        If it is on a web server or a chain of protocols, has a wrong suffix, is to be resumed, or
        is, holds or is part of an input (see :func:`protect_inputs`).
    """
    where = public(url)
    if is_web(url) or "::" in url:
        what = "web servers are" if is_web(url) else "chains of protocols are"
        raise ArgumentError(
            f"{option} {where}: {what} for reading only; give a local path, or a URL such as "
            "s3://bucket/NAME"
        )
    if resume:
        raise ArgumentError(
            f"{option} {where}: --resume goes on with what is on this machine; write to a local "
            "path, and copy the result when it is complete"
        )
    check_form(url, form, option)
    adds = form is Form.FILLED or (form is Form.STORES and not last_part(url).endswith(".zarr"))
    ours = _plain(url)
    for theirs in _input_urls():
        inside = theirs.endswith(".zarr") and ours.startswith(f"{theirs}/")
        if inside or (ours == theirs and not adds):
            raise ArgumentError(
                f"{option} {where}: is an input of this command or lies in one "
                f"({public(theirs)}), and no input is written over; give another URL"
            )
        if theirs.startswith(f"{ours}/") and not adds:
            raise ArgumentError(
                f"{option} {where}: holds {public(theirs)}, an input of this command, and would be "
                "replaced as a whole; give another URL"
            )


def _check_url_spared(url: str) -> None:
    """Refuse to replace something in an input or in a folder of inputs."""
    for theirs in _input_urls():
        if f"{_plain(url)}/".startswith(f"{theirs}/"):
            raise ArgumentError(
                f"{public(url)}: is a part of {public(theirs)}, an input of this command; give "
                "another URL"
            )


def _input_urls() -> list[str]:
    return [_plain(given) for given in _INPUTS.get() or () if isinstance(given, str)]


def _plain(url: str) -> str:
    return url.partition("?")[0].rstrip("/")


@contextmanager
def protect_inputs(inputs: Iterable[str | Path] = ()) -> Iterator[None]:
    """Refuse, while the block runs, every output that would destroy one of these inputs.

    :func:`check_free` and :func:`staged` compare the places, however they are spelled. Blocks nest;
    :func:`add_protected` adds inputs that become known later.
    """
    token = _INPUTS.set(_INPUTS.get() or ())
    try:
        add_protected(inputs)
        yield
    finally:
        _INPUTS.reset(token)


def add_protected(inputs: Iterable[str | Path]) -> None:
    """Add inputs to those of the enclosing block of :func:`protect_inputs`."""
    known = _INPUTS.get()
    if known is not None:
        places = map(located, inputs)
        existing = [place for place in places if isinstance(place, str) or os.path.lexists(place)]
        _INPUTS.set((*known, *existing))


def check_not_input(out: Path, *, replaces: bool = False) -> None:
    """Refuse an output that is an input (see :func:`protect_inputs`), or an existing part of one.

    ``replaces``: it takes the place of a folder, which must not hold an input either.
    """
    for given in dict.fromkeys(_INPUTS.get() or ()):
        if isinstance(given, str):  # a URL: see check_target
            continue
        if _same(out, given):
            raise ArgumentError(
                f"{out}: is an input of this command ({given}), and no input is written over; give "
                "another path"
            )
        if replaces and any(_same(out, above) for above in Path(os.path.realpath(given)).parents):
            raise ArgumentError(
                f"{out}: holds {given}, an input of this command, and would be replaced as a "
                "whole; give another path"
            )
        if os.path.lexists(out) and _is_part(out, given):
            raise ArgumentError(
                f"{out}: is a part of {given}, an input of this command; give another path"
            )


def _is_part(out: Path, given: Path) -> bool:
    """Tell whether it is in an artifact that is an input, or in a folder of inputs."""
    if not given.is_dir():
        return False
    for above in Path(os.path.realpath(out)).parents:
        if _is_artifact(above):
            top = Path(os.path.realpath(given))
            return any(_same(top, folder) for folder in (above, *above.parents))
        if _same(above, given):
            return False
    return False


def _is_artifact(folder: Path) -> bool:
    return any((folder / name).is_file() for name in HEADERS)


def _same(first: Path, second: Path) -> bool:
    """Tell whether two paths lead to the same place, through links and on any file system."""
    try:
        return first.samefile(second)
    except OSError:  # one of them is not there
        return os.path.realpath(first) == os.path.realpath(second)


def partial_of(out: Path) -> Path:
    """Return the hidden sibling in which ``out`` grows."""
    return out.with_name(f".{out.name}.partial")


def check_free(out: Path, *, overwrite: bool, resume: bool) -> None:
    """Refuse an output that cannot be written, before any work starts.

    Parameters
    ----------
    out : Path
        Final name of the output.
    overwrite : bool
        An existing output may be replaced.
    resume : bool
        Partial results may be continued.

    Raises
    ------
    ArgumentError
        If it is, holds or is part of an input (see :func:`protect_inputs`), or is a URL.
    SourceError
        If the parent folder is missing, or the name cannot be a file.
    ExistsError
        If the output or remains of an interrupted run exist; or if a folder would be replaced that
        is not a Zarr store, model or overlays, and not empty.
    """
    if out.name in ("", ".."):
        raise SourceError(f"{out}: no file name; give --out a path that ends in a name")
    check_slashes(out)
    check_not_input(out, replaces=overwrite and out.is_dir())
    if not out.parent.is_dir():
        raise SourceError(f"{out}: the folder {out.parent} does not exist; create it first")
    if not os.access(out.parent, os.W_OK):
        raise SourceError(f"{out}: the folder {out.parent} may not be written; choose another")
    if resume:
        return
    url = target_of(out)
    if url is not None and check_absent(url, overwrite=overwrite):
        _check_url_spared(url)
    if overwrite:
        _check_replaceable(out)
        return
    if os.path.lexists(out):
        raise ExistsError(
            f"{out}: exists already; give another --out, or --overwrite to replace it"
        )
    if os.path.lexists(partial_of(out)):
        raise LeftoverError(
            f"{out}: {partial_of(out).name} is left of an interrupted run, or another process "
            "writes it now; give --overwrite to start again"
        )


# Writing

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a full disk, an exceeded quota, and too large a file."""


@contextmanager
def staged(
    out: Path, *, overwrite: bool = False, resume: bool = False, worth: str | None = None
) -> Iterator[Path]:
    """Yield the hidden sibling of ``out``; rename it to ``out`` if the block succeeds.

    Partial results are kept after Ctrl-C and after an error of the system (a full disk, no memory),
    to be resumed; after any other error they are removed.

    Parameters
    ----------
    out : Path
        Final name of the output.
    overwrite, resume : bool
        As of :func:`check_free`.
    worth : str, optional
        Name of a file within; if it exists, partial results are kept after any error, as they took
        hours.

    Raises
    ------
    ArgumentError, SourceError, ExistsError
        As :func:`check_free`; or if partial results hold a link to another place.
    """
    check_free(out, overwrite=overwrite, resume=resume)
    with lock_output(out):
        # again, now that no other process can be making it
        check_free(out, overwrite=overwrite, resume=resume)
        partial = partial_of(out)
        if resume:
            _refuse_links(partial)
        else:
            remove(partial)
        try:
            yield partial
        except BaseException as error:
            _name(error, out)
            keep = isinstance(error, KeyboardInterrupt | OSError | MemoryError)
            if not keep and not (worth and (partial / worth).exists()):
                remove(partial)
            raise
        _put_in_place(partial, out)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a hidden sibling with the suffix of ``path``, for one file of a growing folder.

    It replaces ``path`` if the block succeeds, and is removed otherwise; one left by a killed
    process is overwritten by the next.
    """
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        _name(error, path)
        raise
    finally:
        partial.unlink(missing_ok=True)


def _name(error: BaseException, out: Path) -> None:
    """Name the full place: Arrow and plain writes do not."""
    if isinstance(error, OSError) and error.errno in FULL and error.filename is None:
        error.filename = str(out)


def _check_replaceable(out: Path) -> None:
    """Keep ``--overwrite`` from deleting a folder of the user."""
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
    # A folder cannot be renamed over anything, nor anything over a folder: then the old artifact is
    # moved away first, so that a complete one always exists under the final or the moved name.
    partial.lstat()  # if nothing was made, fail before the old one is touched
    old = _replaced(out)
    if os.path.lexists(out) and (partial.is_dir() or out.is_dir()):
        remove(old)
        out.rename(old)
        partial.rename(out)
    else:
        partial.replace(out)
    remove(old)


def _replaced(out: Path) -> Path:
    return out.with_name(f".{out.name}.replaced")


def clear_leftovers(out: Path) -> None:
    """Remove what killed processes left next to a complete output.

    Does nothing while another process makes it anew, or without permission.
    """
    leftovers = (partial_of(out), _replaced(out))
    if any(map(os.path.lexists, (*leftovers, lock_of(out)))):
        with suppress(OSError), lock_output(out):
            for path in leftovers:
                remove(path)


def remove(path: Path) -> None:
    """Delete a file or folder with its content, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def parents_made(out: Path) -> Iterator[None]:
    """Create the missing folders above ``out``; remove those that are empty at the end."""
    missing = [folder for folder in out.parents if not folder.exists()]
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for folder in missing:
            with suppress(OSError):  # it is not empty, or another process was quicker
                folder.rmdir()
