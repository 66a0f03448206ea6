"""Download and upload whole artifacts.

Artifacts are downloaded without listing folders, which web servers do not support: the files of a
model have fixed names, the seal of a Zarr store names its members, whose metadata determines the
chunks, and overlays have an index.

Outputs for URLs are first completed on this machine, then uploaded. In a folder (a Zarr store, a
model, overlays), the file at its root that readers open first (``zarr.json``, ``config.json``,
``overlays.json``) is uploaded last, and removed first if an artifact is replaced: readers find no
artifact until the upload is complete. An empty file ``.uploading`` in the folder indicates that an
upload is in progress or was interrupted; ``--overwrite`` replaces the remains.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from math import ceil, prod
from pathlib import Path
from typing import Any

import zarr

from skiptool.errors import ExistsError, FormatError, SourceError
from skiptool.parallel import ordered_map
from skiptool.records import SILENT, Progress
from skiptool.stores.addresses import join_url, last_part, redact, sibling_url
from skiptool.stores.copies import HEADERS, ZARR, LocalCopy, check_absent
from skiptool.stores.dataset import DatasetStore
from skiptool.stores.models import CONFIG, WEIGHTS
from skiptool.stores.overlays import INDEX
from skiptool.stores.remote import MAX_REQUESTS, UPLOADING, RemoteFolder, is_access_denied
from skiptool.stores.seals import SEAL
from skiptool.stores.staging import OutputType

FILES = (*OutputType.TABLE.suffixes, ".npy", ".npz", ".pt", ".pth", ".ckpt", ".safetensors")
"""Suffixes of files fetched as a whole; other URLs are those of folders."""

_ROOT_FILES = (*ZARR, CONFIG, INDEX, WEIGHTS)
"""Every artifact that is a folder has one of these files at its root."""

_MODEL_FILES = (CONFIG, WEIGHTS, "history.parquet", "last.ckpt")

_RESERVED_BYTES = 2**29
"""Disk space that a copy leaves free."""

_MAX_CHUNKS = 10**7
"""Chunks of a store that is copied, at most: a few bytes of metadata can claim more."""


def root_file(folder: RemoteFolder) -> str | None:
    """Return the file at the root of an artifact (store, model, overlays), or None."""
    if not folder.lists:
        return _request_root_file(folder)
    try:
        files, _ = folder.names()
    except FormatError:
        return None
    return next((name for name in _ROOT_FILES if name in files), None)


def is_store_at(url: str) -> bool:
    """Return whether a URL is that of a Zarr store, by its name or else its content."""
    name = last_part(url)
    if name.endswith((".zarr", *FILES)):
        return name.endswith(".zarr")
    return root_file(RemoteFolder(url)) in ZARR


def is_folder_at(url: str) -> bool:
    """Return whether a URL is neither a file nor an artifact, but a folder of them or nothing."""
    return not last_part(url).endswith((".zarr", *FILES)) and root_file(RemoteFolder(url)) is None


def fetch_models(url: str) -> list[Path]:
    """Fetch the model at a URL, or those in the folders below it, as copies (see ``copies``)."""
    folder = RemoteFolder(url)
    names = _model_names(folder)
    copy = LocalCopy(url)
    for name in names:
        files = [f"{name}/{file}".lstrip("/") for file in (CONFIG, WEIGHTS)]
        _fetch(folder, files, copy.path, SILENT)
    return [copy.path / name for name in names]


def model_urls(url: str) -> list[str]:
    """Return the URLs of the model at a URL, or of the models in the folders below it."""
    return [join_url(url, name) if name else url for name in _model_names(RemoteFolder(url))]


def _model_names(folder: RemoteFolder) -> list[str]:
    """Return the names of folders with models; the empty name is the folder itself."""
    root = root_file(folder)
    if root is None and not folder.lists:
        raise FormatError(
            f"{folder.where}: no model folder, it has no {CONFIG}; a web server lists no folders, "
            "so give the URL of each model folder"
        )
    names = [""] if root in (CONFIG, WEIGHTS) else [*_models_below(folder, "")]
    if not names:
        raise FormatError(
            f"{folder.where}: no model folder, and none is below it; check the address"
        )
    return names


def _models_below(folder: RemoteFolder, path: str) -> Iterator[str]:
    """Yield the names of folders with models, at any depth; skip hidden ones."""
    files, folders = folder.names(path)
    if {CONFIG, WEIGHTS}.intersection(files):
        yield path
    elif not set(ZARR).intersection(files):
        for name in folders:
            if not name.startswith("."):
                yield from _models_below(folder, f"{path}/{name}".lstrip("/"))


def _request_root_file(folder: RemoteFolder) -> str | None:
    """Request each of the files from a web server; many deny access to missing ones."""
    denied = None
    for name in _ROOT_FILES:
        try:
            if folder.size(name) is not None:
                return name
        except SourceError as error:
            if not is_access_denied(error):
                raise
            denied = denied or error
    if denied is not None:
        raise denied
    return None


def entries_below(url: str) -> Iterator[tuple[str, str | None]]:
    """Yield the URLs of artifacts, files and hidden folders below a folder.

    Each URL comes with the name of the file at the root of the artifact, None for files, and the
    empty string for hidden folders. Files within artifacts are not yielded.
    """
    folder = RemoteFolder(url)
    if not folder.lists:
        raise FormatError(
            f"{folder.where}: nothing of skiptool is there, and a web server lists no folders; "
            "give the URL of each store or table"
        )
    yield from ((join_url(url, name), root) for name, root in _entries_below(folder, ""))


def _entries_below(folder: RemoteFolder, path: str) -> Iterator[tuple[str, str | None]]:
    files, folders = folder.names(path)
    root = next((name for name in _ROOT_FILES if name in files), None) if path else None
    if root is not None:
        yield path, root
        return
    yield from ((f"{path}/{name}".lstrip("/"), None) for name in files)
    for name in folders:
        child = f"{path}/{name}".lstrip("/")
        if name.startswith("."):
            yield child, ""
        else:
            yield from _entries_below(folder, child)


def fetch_artifact(url: str, progress: Progress = SILENT) -> Path:
    """Fetch a complete store, model folder or overlays, as a copy (see ``copies``).

    The path that is returned does not exist if there is nothing at the URL.
    """
    folder, copy = RemoteFolder(url), LocalCopy(url)
    root = root_file(folder)
    if root is None:
        return copy.path
    if folder.lists:
        names: Sequence[str] = [*folder.files()]
    elif root in (CONFIG, WEIGHTS):
        names = _MODEL_FILES
    elif root == INDEX:
        names = _fetch_index(folder, copy.path)
    else:
        names = _fetch_sealed_metadata(folder, copy.path)
    _fetch(folder, names, copy.path, progress)
    return copy.path


def _fetch_index(folder: RemoteFolder, path: Path) -> list[str]:
    """Fetch the index of overlays, and return the names of its pictures."""
    folder.fetch(INDEX, path / INDEX)
    try:
        pictures = json.loads((path / INDEX).read_bytes())["pictures"]
        return [str(picture["file"]) for picture in pictures]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []  # opening them explains the error


def _fetch_sealed_metadata(folder: RemoteFolder, path: Path) -> list[str]:
    """Fetch all metadata named in the seal of a Zarr store, and return the names of its chunks."""
    folder.fetch("zarr.json", path / "zarr.json")
    try:
        members = json.loads((path / "zarr.json").read_bytes())["attributes"][SEAL]
        return _fetch_metadata(folder, [str(name) for name in dict(members)], path)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise FormatError(
            f"{folder.where}: has no seal that names its files, and a web server does not list "
            "them; copy it here first"
        ) from None


def fetch_domain(store: DatasetStore, domain: str, progress: Progress) -> DatasetStore:
    """Return a dataset that reads a domain from a local copy of its pixels.

    A dataset behind a URL is copied to a temporary folder, which is removed when the step ends; a
    local dataset is returned as it is.
    """
    if isinstance(store.place, Path):
        return store
    folder, copy = RemoteFolder(store.place), LocalCopy(store.place)
    members = [".", domain, f"{domain}/images", f"{domain}/masks"]
    chunks = _fetch_metadata(folder, members, copy.path)
    _fetch(folder, chunks, copy.path, progress, f"{redact(store.place)}: domain {domain}")
    return replace(store, copy=copy.path)


def _fetch_metadata(folder: RemoteFolder, members: Iterable[str], path: Path) -> list[str]:
    """Fetch the metadata of members of a Zarr store, and return the names of their chunks."""
    names = [f"{name}/zarr.json".removeprefix("./") for name in members]
    for _ in ordered_map(lambda name: folder.fetch(name, path / name), names, MAX_REQUESTS):
        pass
    chunks: list[str] = []
    for name in names:
        chunks += _chunk_names(path / name, name.rpartition("zarr.json")[0], folder.where)
    return chunks


def _chunk_names(file: Path, prefix: str, where: str) -> Iterator[str]:
    """Yield the names of the chunks of an array, or of its shards."""
    if not file.is_file():
        return
    try:
        array = zarr.open(file.parent, mode="r", zarr_format=3)
    except Exception:  # opening it explains the error
        return
    if not isinstance(array, zarr.Array):
        return
    steps = array.shards or array.chunks
    counts = [ceil(size / step) for size, step in zip(array.shape, steps, strict=True)]
    if prod(counts) > _MAX_CHUNKS:
        raise FormatError(
            f"{where}: {prefix} claims to have {prod(counts):,} chunks; make it again"
        )
    for index in product(*map(range, counts)):
        yield prefix + array.metadata.encode_chunk_key(index)


def _size(folder: RemoteFolder, name: str) -> int | None:
    try:
        return folder.size(name)
    except SourceError as error:
        if folder.lists or not is_access_denied(error):
            raise
        return None  # the file at the root was readable, so this one is missing


def _fetch(
    folder: RemoteFolder,
    names: Sequence[str],
    path: Path,
    progress: Progress,
    content: str = "",
) -> None:
    """Copy existing files concurrently; announce it to the user if ``content`` describes them."""
    sizes = list(ordered_map(partial(_size, folder), names, MAX_REQUESTS))
    existing = [name for name, size in zip(names, sizes, strict=True) if size is not None]
    required = sum(size or 0 for size in sizes)
    temporary = tempfile.gettempdir()
    free = shutil.disk_usage(temporary).free
    if required > free - _RESERVED_BYTES:
        raise SourceError(
            f"{folder.where}: its {required:,} bytes are copied to {temporary} first, where only "
            f"{free:,} are free; set TMPDIR to a folder with more"
        )
    if content:
        progress.say(
            f"{content}: {required:,} bytes are copied to {temporary}, as they are read many "
            "times; the copy is removed at the end"
        )
    with progress.task(f"fetch {path.name}", len(existing)) as task:
        for _ in ordered_map(lambda name: folder.fetch(name, path / name), existing, MAX_REQUESTS):
            task.advance()


def check_target_writable(
    copy: LocalCopy, output: OutputType, arguments: Mapping[str, Any]
) -> None:
    """Ask the host, before any work starts, whether the output may be written."""
    kind = RemoteFolder(copy.url).kind()
    if kind is not None and (kind == "file") is not output.is_file:
        raise ExistsError(
            f"{redact(copy.url)}: exists already and is a {kind}, but {output.description} is "
            "written, which cannot replace it; give another URL"
        )
    if output.adds_to_folder(copy.path.name):
        copy.path.mkdir()  # parts are added to an existing folder after a check of each
    else:
        check_absent(copy.url, overwrite=bool(arguments.get("overwrite")))
    if not arguments.get("dry_run"):
        # an empty file next to the output is written and removed: nothing else reveals permissions
        trial = RemoteFolder(sibling_url(copy.url, f"{copy.path.name}{UPLOADING}"))
        trial.put(_upload_mark(copy.folder))
        trial.remove()


def _upload_mark(folder: Path) -> Path:
    """Create the empty file ``.uploading`` in a local folder."""
    path = folder / UPLOADING
    path.touch()
    return path


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def upload_copy(copy: LocalCopy, *, overwrite: bool, progress: Progress) -> None:
    """Upload everything that was made in a temporary folder."""
    for path in _visible(copy.folder):
        url = sibling_url(copy.url, path.name)
        upload(path, url, overwrite=overwrite, progress=progress)


def upload(path: Path, url: str, *, overwrite: bool = False, progress: Progress = SILENT) -> None:
    """Write a file, an artifact, or a folder of them to a URL, without hidden files.

    Parameters
    ----------
    path : Path
        Complete output on this machine.
    url : str
        Its target. Files in a folder that is not an artifact are added to the folder there.
    overwrite : bool
        Whether to remove the remains of an earlier artifact.
    """
    if path.is_file():
        RemoteFolder(url).put(path)
        return
    root = next((name for name in HEADERS if (path / name).is_file()), None)
    if root is not None:
        _upload_artifact(path, RemoteFolder(url), root, overwrite, progress)
        return
    for child in _visible(path):
        upload(child, join_url(url, child.name), overwrite=overwrite, progress=progress)


def _upload_artifact(
    path: Path, folder: RemoteFolder, root: str, overwrite: bool, progress: Progress
) -> None:
    files = [file for file in sorted(path.rglob("*")) if file.is_file()]
    names = [file.relative_to(path).as_posix() for file in files]
    replaced = folder.files() if overwrite else {}
    folder.put(_upload_mark(path.parent), UPLOADING)
    if root in replaced:
        folder.remove(root)
    others = [name for name in names if name != root]
    with progress.task(f"upload {path.name}", len(names)) as task:
        for _ in ordered_map(lambda name: folder.put(path / name, name), others, MAX_REQUESTS):
            task.advance()
        for name in sorted({*replaced} - {*names, UPLOADING}):
            folder.remove(name)
        folder.put(path / root, root)
        task.advance()
    folder.remove(UPLOADING)
