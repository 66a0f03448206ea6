"""Atomic outputs: everything is made beside its final name and renamed when whole.

An output ``dir/name`` grows as ``dir/.name.partial``. A process killed on the way leaves that
hidden sibling and nothing under the final name; ``--resume`` goes on in it, ``--overwrite``
starts again.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from skiptool.errors import ExistsError, LeftoverError, SourceError
from skiptool.stores.lock import held, lock_of

__all__ = ["check_free", "clear_leftovers", "partial_of", "remove", "staged", "whole_file"]


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
    SourceError
        If the parent folder is missing, or the name cannot be a file.
    ExistsError
        If the output or a leftover of an interrupted run is there; or if what would be replaced
        is a folder of the user's: neither a Zarr store, nor a model, nor overlays, nor empty.
    """
    if out.name in ("", ".."):
        raise SourceError(f"{out}: no file name; give --out a path that ends in a name")
    if not out.parent.is_dir():
        raise SourceError(f"{out}: the folder {out.parent} does not exist; create it first")
    if not os.access(out.parent, os.W_OK):
        raise SourceError(f"{out}: the folder {out.parent} may not be written; choose another")
    if resume:
        return
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
    SourceError, ExistsError
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
    ours = any((out / name).is_file() for name in _OURS)
    if not ours and any(out.iterdir()):
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
