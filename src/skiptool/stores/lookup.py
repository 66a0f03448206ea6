"""Any artifact by its path: which kind it is, its header, and whether it is what is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from reprlib import repr as brief
from tempfile import TemporaryDirectory

from skiptool.errors import ExistsError, FormatError, SkiptoolError
from skiptool.names import Kind
from skiptool.stores.addresses import last_part, located, public
from skiptool.stores.checkpoint import CONFIG, open_model
from skiptool.stores.header import Lineage, Making, check_same, parse_lineage, prolongs
from skiptool.stores.overlays import INDEX, open_overlays
from skiptool.stores.remote import fetched
from skiptool.stores.runs import by_numbers, is_store
from skiptool.stores.staging import clear_leftovers
from skiptool.stores.tables import open_table, table_kind
from skiptool.stores.zarrs import open_root

__all__ = [
    "TABLES",
    "artifacts_below",
    "at_hand",
    "finished",
    "is_artifact",
    "kind_of",
    "lineage_of",
]

TABLES = (".parquet", ".parq", ".pq")
"""How the names of tables end."""

STORES = (Kind.DATASET, Kind.FEATURES, Kind.COUNTS, Kind.MASKS)
"""Kinds that are Zarr stores."""


@contextmanager
def at_hand(place: Path | str) -> Iterator[Path]:
    """Yield a local path of a file or folder; a file behind a URL is fetched for the while.

    Raises
    ------
    FormatError
        If there is no such file behind the URL.
    ArgumentError, SourceError
        If the URL cannot be read.
    """
    here = located(place)
    if isinstance(here, Path):
        yield here
        return
    where, name = public(here), last_part(here)
    with TemporaryDirectory() as folder:
        path = Path(folder, name if name.strip(".") else "file")
        path.write_bytes(fetched(here))
        try:
            yield path
        except SkiptoolError as error:
            raise type(error)(str(error).replace(str(path), where)) from error


def kind_of(path: Path | str) -> Kind:
    """Return what kind of artifact stands at a path, or which store at a URL.

    Raises
    ------
    FormatError
        If nothing is there, or it was not made by skiptool.
    SourceError, ArgumentError
        If a URL cannot be read.
    """
    if isinstance(path, str):
        return _kind_of_store(path)
    if not path.exists():
        raise FormatError(f"{path}: no such file or folder; check the path")
    if path.is_file():
        return table_kind(path)
    if (path / CONFIG).is_file():
        return Kind.MODEL
    if (path / INDEX).is_file():
        return Kind.OVERLAYS
    if not (path / "zarr.json").is_file():
        raise FormatError(f"{path}: a folder that is neither a store nor a model of skiptool")
    return _kind_of_store(path)


def _kind_of_store(place: Path | str) -> Kind:
    found = open_root(place, "skiptool").attrs.get("kind")
    if found not in STORES:
        where = public(str(place))
        raise FormatError(f"{where}: a Zarr store, but not made by skiptool (kind {brief(found)})")
    return Kind(str(found))


def is_artifact(folder: Path) -> bool:
    """Say whether a folder is a Zarr store, a model or a folder of overlays."""
    return is_store(folder) or any((folder / name).is_file() for name in (CONFIG, INDEX))


def artifacts_below(folder: Path) -> list[Path]:
    """Find stores, models, overlays and tables below a folder, at any depth.

    Parameters
    ----------
    folder : Path
        No artifact itself.

    Returns
    -------
    list of Path
        Sorted by name, numbers in names by their value; those of one folder before those of the
        folders in it. Hidden ones are passed over, links to folders lead to artifacts only.
    """
    found: list[Path] = []
    folders: list[Path] = []
    for child in sorted(folder.iterdir(), key=by_numbers):
        if child.name.startswith("."):
            continue
        if child.is_dir():
            if is_artifact(child):
                found.append(child)
            elif not child.is_symlink():
                folders.append(child)
        elif child.suffix in TABLES or child.suffix == ".npy":
            found.append(child)
    return [*found, *(path for each in folders for path in artifacts_below(each))]


def lineage_of(path: Path | str) -> Lineage | None:
    """Return the header of the artifact at a path or URL, None for a foreign model folder.

    Raises
    ------
    FormatError
        As :func:`kind_of`, or if the header is damaged.
    """
    kind = kind_of(path)
    if isinstance(path, str):
        return parse_lineage(dict(open_root(path, kind.value).attrs), public(path), kind)
    if kind is Kind.MODEL:
        return open_model(path).lineage
    if kind is Kind.OVERLAYS:
        return open_overlays(path)[0]
    if path.is_file():
        return open_table(path, kind).lineage
    return parse_lineage(dict(open_root(path, kind.value).attrs), str(path), kind)


def finished(out: Path, making: Making, *, resume: bool, clear: bool = False) -> bool:
    """Say whether a resumed run finds its output whole already.

    Parameters
    ----------
    out : Path
    making : Making
    resume : bool
        What it has less of than ``making.grows`` asks for is not finished.
    clear : bool
        Remove what killed processes left beside it.

    Raises
    ------
    ExistsError
        If the output is there but was made with other parameters or from other inputs, or is
        nothing that was made by skiptool.
    """
    if not (resume and out.exists()):
        return False
    try:
        header = lineage_of(out)
    except FormatError as error:
        raise ExistsError(
            f"{out}: exists already and is nothing to resume ({error}); give another --out, or "
            "--overwrite to replace it"
        ) from error
    if header is None:
        raise ExistsError(f"{out}: exists already and was not made by skiptool; give --overwrite")
    made = {"parameters": header.parameters, "inputs": header.inputs}
    check_same(made, making, str(out))
    if prolongs(made, making):
        return False
    if clear:
        clear_leftovers(out)
    return True
