"""Folders of exported pictures, which are never overwritten.

Exported masks may have been corrected by hand since. ``lineage.json`` holds the header of the
dataset that a folder was made from; a folder with this file is complete.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skiptool.errors import ExistsError, FormatError
from skiptool.stores.dataset import DatasetStore, open_dataset
from skiptool.stores.staging import atomic_output, check_writable, clear_leftovers

LINEAGE = "lineage.json"


def qc_folder(out: Path, qc: Path | None) -> Path:
    """Return the folder of pictures for visual checks, by default next to the store.

    Examples
    --------
    >>> qc_folder(Path("hearts.zarr"), None).name
    'hearts-qc'
    """
    return out.with_name(f"{out.stem}-qc") if qc is None else qc


def check_export(folder: Path, out: Path, *, resume: bool) -> None:
    """Check that a folder can be filled, before any work starts.

    Parameters
    ----------
    folder : Path
        Destination of the pictures.
    out : Path
        Store that they are made from; it need not exist yet.
    resume : bool
        Accept a folder that the resumed run has filled.

    Raises
    ------
    SourceError
        If the parent folder is missing or not writable.
    ExistsError
        If the folder holds anything else, including pictures of another dataset.
    """
    check_writable(folder, overwrite=False, resume=True)
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    source_id = _source_id(folder)
    if resume and source_id is not None:
        if out.exists() and source_id != _dataset_id(out):
            raise _other_dataset_error(folder, out)
        return
    raise ExistsError(
        f"{folder}: exists already, and its masks may have been corrected by hand; give another "
        "--export, or remove it yourself"
    )


@contextmanager
def export_folder(folder: Path, data: DatasetStore) -> Iterator[Path | None]:
    """Yield a folder to fill, renamed when it is complete; None if it is complete already.

    Raises
    ------
    ExistsError
        If the folder holds pictures of another dataset.
    """
    source_id = _source_id(folder)
    if source_id is None:
        with atomic_output(folder, overwrite=True) as partial:
            partial.mkdir()
            yield partial
    elif source_id == data.lineage.id:
        clear_leftovers(folder)
        yield None
    else:
        raise _other_dataset_error(folder, data.path)


def write_lineage(folder: Path, data: DatasetStore) -> None:
    """Record in a filled folder which dataset it was made from."""
    text = json.dumps(data.lineage.as_json(), indent=2, ensure_ascii=False)
    (folder / LINEAGE).write_text(text + "\n", encoding="utf-8")


def _other_dataset_error(folder: Path, out: Path | str) -> ExistsError:
    return ExistsError(
        f"{folder}: holds an export of another dataset than {out}; give another --export, or "
        "remove it yourself"
    )


def _source_id(folder: Path) -> str | None:
    """Return the id of the dataset that a folder was made from, None if unknown."""
    if not (folder / LINEAGE).is_file():
        return None
    try:
        return str(json.loads((folder / LINEAGE).read_text(encoding="utf-8"))["id"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _dataset_id(out: Path) -> str | None:
    try:
        return open_dataset(out).lineage.id
    except FormatError:
        return None
