"""Folders of exported pictures: whose they are, and that nothing replaces them.

Pairs that were exported may have been corrected by hand since. ``lineage.json`` in the folder holds
the header of the dataset that they were made from; a folder is whole where it is there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skiptool.errors import ExistsError, FormatError
from skiptool.stores.dataset import DatasetStore, open_dataset
from skiptool.stores.staging import check_free, clear_leftovers, staged

__all__ = ["check_export", "exported", "keep_lineage", "qc_folder"]

LINEAGE = "lineage.json"


def qc_folder(out: Path, qc: Path | None) -> Path:
    """Return the folder of pictures to check by eye: as asked for, or beside the store.

    Examples
    --------
    >>> qc_folder(Path("hearts.zarr"), None).name
    'hearts-qc'
    """
    return out.with_name(f"{out.stem}-qc") if qc is None else qc


def check_export(folder: Path, out: Path, *, resume: bool) -> None:
    """Refuse a folder that cannot be filled, before any work is done.

    Parameters
    ----------
    folder : Path
        Where the pictures are to go.
    out : Path
        Store that they are made from; it need not be there yet.
    resume : bool
        A folder that the resumed run has filled is fine.

    Raises
    ------
    SourceError
        If the parent folder is missing or may not be written.
    ExistsError
        If the folder holds anything else, pictures of another dataset too.
    """
    check_free(folder, overwrite=False, resume=True)
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    made_from = _made_from(folder)
    if resume and made_from is not None:
        if out.exists() and made_from != _id(out):
            raise _of_another(folder, out)
        return
    raise ExistsError(
        f"{folder}: is there already, and masks in it may have been corrected by hand; give "
        "another --export, or remove it yourself"
    )


@contextmanager
def exported(folder: Path, data: DatasetStore) -> Iterator[Path | None]:
    """Yield a folder to fill, which takes the final name when it is whole; None if it is already.

    Raises
    ------
    ExistsError
        If the pictures that are there are of another dataset.
    """
    made_from = _made_from(folder)
    if made_from is not None and made_from != data.lineage.id:
        raise _of_another(folder, data.path)
    if made_from is not None:
        clear_leftovers(folder)
        yield None
        return
    with staged(folder, overwrite=True) as partial:
        partial.mkdir()
        yield partial


def keep_lineage(folder: Path, data: DatasetStore) -> None:
    """Note in a filled folder which dataset it was made from."""
    text = json.dumps(data.lineage.as_json(), indent=2, ensure_ascii=False)
    (folder / LINEAGE).write_text(text + "\n", encoding="utf-8")


def _of_another(folder: Path, out: Path | str) -> ExistsError:
    return ExistsError(
        f"{folder}: holds what was exported of another dataset than {out}; give another --export, "
        "or remove it yourself"
    )


def _made_from(folder: Path) -> str | None:
    """Return the id of the dataset that a folder was filled from, None where nothing says it."""
    if not (folder / LINEAGE).is_file():
        return None
    try:
        return str(json.loads((folder / LINEAGE).read_text(encoding="utf-8"))["id"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _id(out: Path) -> str | None:
    try:
        return open_dataset(out).lineage.id
    except FormatError:
        return None
