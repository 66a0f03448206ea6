"""Atomic outputs: everything is made beside its final name and renamed when whole.

An output ``dir/name`` grows as ``dir/.name.partial``. A process killed on the way leaves that
hidden sibling and nothing under the final name; ``--resume`` goes on in it, ``--overwrite``
starts again. No output takes the place of an input: see :func:`guarded`.
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
from skiptool.stores.copies import check_absent, target_of

__all__ = [
    "Form",
    "check_form",
    "check_free",
    "check_spared",
    "check_target",
    "clear_leftovers",
    "guarded",
    "held",
    "lock_of",
    "parents_made",
    "partial_of",
    "protect",
    "remove",
    "staged",
    "whole_file",
]

# -------------------------------------------------------------------------------------------------
# One process makes an output: a second one is told, and a dead one is in nobody's way.


UNKNOWN = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)
"""What file systems answer that know no locks."""


@contextmanager
def held(out: Path) -> Iterator[None]:
    """Hold the right to make ``out`` while the block runs.

    A hidden file beside it carries the lock (``flock``), which ends with the process, however that
    ends. Where the file system knows no locks, nothing is held.

    Raises
    ------
    ExistsError
        If another process holds it.
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
    """Return the open file, None where another process has the lock."""
    while True:
        # a link in its place would have a file made elsewhere
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(file, path):
                return file
        except BlockingIOError:
            os.close(file)
            return None
        except OSError as error:
            if error.errno in UNKNOWN:
                return file
            os.close(file)
            raise
        os.close(file)  # its holder has just finished and deleted it


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


_INPUTS: ContextVar[tuple[Path | str, ...] | None] = ContextVar("inputs", default=None)
"""Local paths, and URLs as text."""


class Form(Enum):
    """What an output is: its name for people, and the suffixes that it may have."""

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


_FORMATS: Final = frozenset(
    {
        *(".csv", ".tsv", ".txt", ".md", ".json", ".geojson", ".xml", ".xlsx", ".xls", ".ods"),
        *(".parquet", ".parq", ".pq", ".feather", ".arrow", ".html", ".htm", ".pdf", ".svg"),
        *(".png", ".jpg", ".jpeg", ".tif", ".tiff", ".gif", ".bmp", ".svs", ".ndpi", ".mrxs"),
        *(".zarr", ".h5", ".hdf5", ".npy", ".npz", ".nii", ".mat", ".pkl", ".sqlite"),
        *(".pt", ".pth", ".ckpt", ".onnx", ".safetensors", ".zip", ".tar", ".gz", ".docx", ".tex"),
    }
)
"""Suffixes that promise a format; any other is part of a name, as in ``shift-0.5``."""


def check_form(out: Path | str, form: Form, option: str = "--out") -> None:
    """Refuse an output whose name promises another format, or that would replace another form.

    Parameters
    ----------
    out : Path or str
        Final name of the output, text is a URL; nothing need be there.
    form : Form
    option : str
        How it was given, for messages.

    Raises
    ------
    ArgumentError
        If its suffix is that of another format.
    ExistsError
        If a folder stands where a file is to be, or the other way round; nothing replaces that.

    Examples
    --------
    >>> check_form(Path("shift-0.5"), Form.TABLE)
    >>> check_form(Path("r.pdf"), Form.PAGE)
    Traceback (most recent call last):
    skiptool.errors.ArgumentError: --out r.pdf: the suffix .pdf promises another format, and a \
page (HTML) is written; give a name that ends in .html
    """
    what, suffixes = form.value
    if isinstance(out, Path) and os.path.lexists(out) and out.is_dir() is form.is_file:
        raise ExistsError(
            f"{out}: exists already and is {'a folder' if form.is_file else 'a file'}, but {what} "
            f"is written, which replaces no such thing; give another {option}"
        )
    suffix = Path(last_part(out)).suffix.lower()
    if suffix in _FORMATS and suffix not in suffixes:
        remedy = f"that ends in {suffixes[0]}" if suffixes else "without such a suffix"
        raise ArgumentError(
            f"{option} {public(str(out))}: the suffix {suffix} promises another format, and {what} "
            f"is written; give a name {remedy}"
        )


def check_target(url: str, form: Form, option: str, *, resume: bool = False) -> None:
    """Refuse a URL that nothing can be written to, or whose name promises another format.

    Parameters
    ----------
    url : str
    form : Form
        What is to be written.
    option : str
        How it was given, for messages.
    resume : bool
        The command is to go on with what is there.

    Raises
    ------
    ArgumentError
        If it is that of a web server or a chain of protocols, its suffix is that of another format,
        it is an input, holds one or is a part of one (see :func:`guarded`), or is to be resumed.
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
            "path, and copy the result when it is whole"
        )
    check_form(url, form, option)
    adds = form is Form.FILLED or (form is Form.STORES and not last_part(url).endswith(".zarr"))
    ours = _plain(url)
    for given in filter(_is_url, _INPUTS.get() or ()):
        theirs = _plain(str(given))
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
    """Refuse to replace what is there, in an input or in a folder of such."""
    for given in filter(_is_url, _INPUTS.get() or ()):
        theirs = _plain(str(given))
        if f"{_plain(url)}/".startswith(f"{theirs}/"):
            raise ArgumentError(
                f"{public(url)}: is a part of {public(theirs)}, an input of this command; give "
                "another URL"
            )


def _is_url(given: Path | str) -> bool:
    return isinstance(given, str)


def _plain(url: str) -> str:
    return url.partition("?")[0].rstrip("/")


@contextmanager
def guarded(inputs: Iterable[str | Path] = ()) -> Iterator[None]:
    """Refuse, while the block runs, every output that would destroy one of these inputs.

    What is refused is told by :func:`check_free` and :func:`staged`, however the path is spelled.
    Blocks nest; :func:`protect` adds inputs that become known later.
    """
    token = _INPUTS.set(_INPUTS.get() or ())
    try:
        protect(inputs)
        yield
    finally:
        _INPUTS.reset(token)


def protect(inputs: Iterable[str | Path]) -> None:
    """Add inputs to those that the block of :func:`guarded` around it keeps."""
    known = _INPUTS.get()
    if known is not None:
        places = list(map(located, inputs))
        found = [each for each in places if isinstance(each, str) or os.path.lexists(each)]
        _INPUTS.set((*known, *found))


def check_spared(out: Path, *, replaces: bool = False) -> None:
    """Refuse an output that is an input (see :func:`guarded`), or what is there of a part of one.

    Parameters
    ----------
    out : Path
    replaces : bool
        It takes the place of a folder, so that it may not hold an input either.

    Raises
    ------
    ArgumentError
        Names the input.
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
    """Whether it lies in an artifact that is an input, or in a folder of such."""
    if not given.is_dir():
        return False
    for above in Path(os.path.realpath(out)).parents:
        if _is_artifact(above):
            top = Path(os.path.realpath(given))
            return any(_same(top, each) for each in (above, *above.parents))
        if _same(above, given):
            return False
    return False


def _is_artifact(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _OURS)


def _same(first: Path, second: Path) -> bool:
    """Whether two paths lead to one place, through links and in any case of letters."""
    try:
        return first.samefile(second)
    except OSError:  # one of them is not there
        return os.path.realpath(first) == os.path.realpath(second)


def partial_of(out: Path) -> Path:
    """Return the hidden sibling in which ``out`` grows."""
    return out.with_name(f".{out.name}.partial")


def check_free(out: Path, *, overwrite: bool, resume: bool) -> None:
    """Refuse an output that cannot be written, before any work is done.

    Parameters
    ----------
    out : Path
        Final name of the output.
    overwrite : bool
        What is there may be replaced.
    resume : bool
        What is there may be gone on with.

    Raises
    ------
    ArgumentError
        If it is, holds or is a part of an input (see :func:`guarded`), or is a URL.
    SourceError
        If the parent folder is missing, or the name cannot be a file.
    ExistsError
        If the output or a leftover of an interrupted run is there; or if what would be replaced
        is a folder of the user's: neither a Zarr store, nor a model, nor overlays, nor empty.
    """
    if out.name in ("", ".."):
        raise SourceError(f"{out}: no file name; give --out a path that ends in a name")
    check_slashes(out)
    check_spared(out, replaces=overwrite and out.is_dir())
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


_OURS = ("zarr.json", "config.json", "overlays.json")
"""One of these stands in every folder that skiptool makes as a whole."""


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The system's words for no more space: of the disk, of the user, of a file."""


@contextmanager
def staged(
    out: Path, *, overwrite: bool = False, resume: bool = False, worth: str | None = None
) -> Iterator[Path]:
    """Yield the hidden sibling of ``out``; rename it to ``out`` when the block ends well.

    The leftover is kept after Ctrl-C and after an error of the system (a full disk, no memory), so
    that ``--resume`` can go on; after any other error it is removed.

    Parameters
    ----------
    out : Path
        Final name of the output.
    overwrite, resume : bool
        As of :func:`check_free`.
    worth : str, optional
        Name of a file within; where it is there, the leftover is kept whatever the error: hours of
        work stand in it.

    Raises
    ------
    ArgumentError, SourceError, ExistsError
        As :func:`check_free`; or if the leftover to go on with holds a link to another place.
    """
    check_free(out, overwrite=overwrite, resume=resume)
    with held(out):
        # once more, now that nobody else can be making it
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
            kept = isinstance(error, KeyboardInterrupt | OSError | MemoryError)
            if not kept and not (worth and (partial / worth).exists()):
                remove(partial)
            raise
        _put_in_place(partial, out)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a hidden sibling with the suffix of ``path``, for one file of a folder that grows.

    It takes the place of whatever is there when the block ends well, and goes otherwise; one that
    a killed process has left is written over by the next.
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
    """Say where it is full: Arrow and plain writes do not."""
    if isinstance(error, OSError) and error.errno in FULL and error.filename is None:
        error.filename = str(out)


def _check_replaceable(out: Path) -> None:
    """Keep ``--overwrite`` from deleting a folder that somebody else filled."""
    if not out.is_dir() or out.is_symlink():
        return
    if not _is_artifact(out) and any(out.iterdir()):
        raise ExistsError(
            f"{out}: is a folder with other things in it, and --overwrite replaces stores, "
            "models and overlays only; give another --out, or remove the folder yourself"
        )


def _refuse_links(partial: Path) -> None:
    """Keep a resumed run from writing through a link to what lies elsewhere."""
    below = (
        Path(folder, name)
        for folder, folders, files in os.walk(partial)
        for name in (*folders, *files)
    )
    for path in (partial, *below):
        if path.is_symlink():
            raise ExistsError(
                f"{path}: is a link to another place, and no run of skiptool makes any; give "
                "--overwrite to start again"
            )


def _put_in_place(partial: Path, out: Path) -> None:
    # A folder cannot be renamed over anything, nor anything over a folder: then the old one steps
    # aside first, so that at every moment one whole artifact stands under the final name or under
    # that of the old one.
    partial.lstat()  # where nothing was made, fail before the old one is touched
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
    """Remove what killed processes left beside an output that is whole.

    Nothing happens while another process makes it anew, or where nothing may be removed.
    """
    beside = (partial_of(out), _replaced(out))
    if any(map(os.path.lexists, (*beside, lock_of(out)))):
        with suppress(OSError), held(out):
            for path in beside:
                remove(path)


def remove(path: Path) -> None:
    """Delete a file or a folder with what is in it; nothing happens where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


# -------------------------------------------------------------------------------------------------
# Folders above an output: made when its work begins, gone again if nothing came of it.


@contextmanager
def parents_made(out: Path) -> Iterator[None]:
    """Make the missing folders above ``out``; those that are empty at the end go again.

    Parameters
    ----------
    out : Path
        What is going to be made inside the block. Folders that stood before are left alone.
    """
    missing = [folder for folder in out.parents if not folder.exists()]
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for folder in missing:
            with suppress(OSError):  # it is not empty, or another process was quicker
                folder.rmdir()
