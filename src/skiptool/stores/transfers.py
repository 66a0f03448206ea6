"""Whole artifacts from and to URLs.

The files of an artifact to be fetched are known without listing its folder, which web servers
cannot do: those of a model have fixed names, the seal of a Zarr store names its members, whose
metadata imply the chunks, and overlays have an index.

Outputs for URLs are first made completely on this machine, then uploaded. A file is one upload. Of
a folder (a Zarr store, a model, overlays) the file at its root that readers open first
(``zarr.json``, ``config.json``, ``overlays.json``) is uploaded last, and removed first if an
artifact is replaced: until all is there, readers find no artifact. An empty file ``.uploading`` in
the folder says that an upload is under way, or was broken off; then ``--overwrite`` replaces the
remains. Two processes must not write to one URL at a time. If an upload fails, the result stays in
the temporary folder, which the error names.
"""

from __future__ import annotations

import inspect
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial, wraps
from itertools import product
from math import ceil, prod
from pathlib import Path
from typing import Any, ParamSpec

import zarr

from skiptool.errors import ArgumentError, ExistsError, FormatError, SkiptoolError, SourceError
from skiptool.parallel import ordered_map
from skiptool.records import SILENT, Outcome, Progress, Task
from skiptool.stores.addresses import join_url, last_part, located, public, sibling_url
from skiptool.stores.copies import HEADERS, LocalCopy, check_absent, restore_urls, temporary_copies
from skiptool.stores.dataset import DatasetStore
from skiptool.stores.models import CONFIG, WEIGHTS
from skiptool.stores.overlays import INDEX
from skiptool.stores.remote import AT_ONCE, UPLOADING, RemoteFolder, is_access_denied
from skiptool.stores.seals import SEAL
from skiptool.stores.staging import FULL, Form, check_target

ZARR = ("zarr.json", ".zgroup", ".zarray")
"""Every Zarr store, of either format, has one of these at its root."""

FILES = (*Form.TABLE.value[1], ".npy", ".npz", ".pt", ".pth", ".ckpt", ".safetensors")
"""Suffixes of files fetched as a whole; other URLs are those of folders."""

_ROOTS = (*ZARR, CONFIG, INDEX, WEIGHTS)
"""Every artifact that is a folder has one of these."""

_OF_A_MODEL = (CONFIG, WEIGHTS, "history.parquet", "last.ckpt")

_SPARED = 2**29
"""Bytes of a disk that a copy leaves free."""

_MOST_FILES = 10**7
"""Chunks of a store that is copied, at most: a few bytes of metadata can claim more."""


def root_of(folder: RemoteFolder) -> str | None:
    """Return the file that reveals the artifact at a URL (store, model, overlays), or None."""
    if not folder.lists:
        return _root_at(folder)
    try:
        files, _ = folder.names()
    except FormatError:
        return None
    return next((name for name in _ROOTS if name in files), None)


def is_store_at(url: str) -> bool:
    """Tell whether a URL is that of a Zarr store, by its name or else its content."""
    name = last_part(url)
    if name.endswith((".zarr", *FILES)):
        return name.endswith(".zarr")
    return root_of(RemoteFolder(url)) in ZARR


def is_folder_at(url: str) -> bool:
    """Tell whether a URL is neither a file nor an artifact: a folder of them, or nothing."""
    return not last_part(url).endswith((".zarr", *FILES)) and root_of(RemoteFolder(url)) is None


def fetch_models(url: str) -> list[Path]:
    """Fetch the model at a URL, or those in the folders below it.

    Returns
    -------
    list of Path
        Copies of the model folders, see ``copies``.

    Raises
    ------
    FormatError
        If there is none, or the URL is of a folder on a web server, which lists none.
    SourceError
        If the host cannot be reached or refuses, or the copy does not fit on the disk.
    """
    folder = RemoteFolder(url)
    names = _model_names(folder)
    copy = LocalCopy(url)
    for name in names:
        files = [f"{name}/{file}".lstrip("/") for file in (CONFIG, WEIGHTS)]
        _fetch(folder, files, copy.path, SILENT)
    return [copy.path / name for name in names]


def models_at(url: str) -> list[str]:
    """Return the URL of the model at a URL, or those of the models in the folders below it."""
    return [join_url(url, name) if name else url for name in _model_names(RemoteFolder(url))]


def _model_names(folder: RemoteFolder) -> list[str]:
    """Return the names of the folders with models; the empty name is the folder itself."""
    root = root_of(folder)
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


def _models_below(folder: RemoteFolder, here: str) -> Iterator[str]:
    """Yield the names of folders with models, at any depth; skip hidden ones."""
    files, folders = folder.names(here)
    if {CONFIG, WEIGHTS}.intersection(files):
        yield here
    elif not set(ZARR).intersection(files):
        for name in folders:
            if not name.startswith("."):
                yield from _models_below(folder, f"{here}/{name}".lstrip("/"))


def _root_at(folder: RemoteFolder) -> str | None:
    """Request each of the files from a web server; many refuse missing ones."""
    refused = None
    for name in _ROOTS:
        try:
            if folder.size(name) is not None:
                return name
        except SourceError as error:
            if not is_access_denied(error):
                raise
            refused = refused or error
    if refused is not None:
        raise refused
    return None


def entries_at(url: str) -> Iterator[tuple[str, str | None]]:
    """Yield URLs of what is below a folder, each with the file that reveals its artifact.

    That is None for files and empty for hidden folders. Nothing within artifacts is yielded. A
    folder on a web server, which lists none, is refused.
    """
    folder = RemoteFolder(url)
    if not folder.lists:
        raise FormatError(
            f"{folder.where}: nothing of skiptool is there, and a web server lists no folders; "
            "give the URL of each store or table"
        )
    yield from ((join_url(url, name), root) for name, root in _entries_below(folder, ""))


def _entries_below(folder: RemoteFolder, here: str) -> Iterator[tuple[str, str | None]]:
    files, folders = folder.names(here)
    root = next((name for name in _ROOTS if name in files), None) if here else None
    if root is not None:
        yield here, root
        return
    yield from ((f"{here}/{name}".lstrip("/"), None) for name in files)
    for name in folders:
        path = f"{here}/{name}".lstrip("/")
        if name.startswith("."):
            yield path, ""
        else:
            yield from _entries_below(folder, path)


def fetch_artifact(url: str, progress: Progress = SILENT) -> Path:
    """Fetch a complete store, model folder or overlays.

    Returns
    -------
    Path
        The copy, see ``copies``; it does not exist if nothing is at the URL.

    Raises
    ------
    FormatError
        If a store on a web server does not name its files.
    SourceError
        If the host cannot be reached or refuses, or the copy does not fit on the disk.
    """
    folder, copy = RemoteFolder(url), LocalCopy(url)
    root = root_of(folder)
    if root is None:
        return copy.path
    if folder.lists:
        names: Sequence[str] = [*folder.files()]
    elif root in (CONFIG, WEIGHTS):
        names = _OF_A_MODEL
    elif root == INDEX:
        names = _pictures(folder, copy.path)
    else:
        names = _sealed(folder, copy.path)
    _fetch(folder, names, copy.path, progress)
    return copy.path


def _pictures(folder: RemoteFolder, path: Path) -> list[str]:
    """Fetch the index of overlays, and return the names of the pictures in it."""
    folder.fetch(INDEX, path / INDEX)
    try:
        pictures = json.loads((path / INDEX).read_bytes())["pictures"]
        return [str(picture["file"]) for picture in pictures]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []  # opening them explains the error


def _sealed(folder: RemoteFolder, path: Path) -> list[str]:
    """Fetch all metadata named in the seal of a Zarr store; return the names of its chunks."""
    folder.fetch("zarr.json", path / "zarr.json")
    try:
        members = json.loads((path / "zarr.json").read_bytes())["attributes"][SEAL]
        return _metadata(folder, [str(name) for name in dict(members)], path)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise FormatError(
            f"{folder.where}: has no seal that names its files, and a web server does not list "
            "them; copy it here first"
        ) from None


def local_domain(store: DatasetStore, domain: str, progress: Progress) -> DatasetStore:
    """Copy the pixels of one domain of a dataset behind a URL into a temporary folder.

    Returns
    -------
    DatasetStore
        Reads that domain from the copy, which is removed when the step ends; a local dataset
        itself.

    Raises
    ------
    SourceError
        If the host cannot be reached or refuses, or the copy does not fit on the disk.
    """
    if isinstance(store.place, Path):
        return store
    folder, copy = RemoteFolder(store.place), LocalCopy(store.place)
    members = [".", domain, f"{domain}/images", f"{domain}/masks"]
    chunks = _metadata(folder, members, copy.path)
    _fetch(folder, chunks, copy.path, progress, f"{public(store.place)}: domain {domain}")
    return replace(store, copy=copy.path)


def _metadata(folder: RemoteFolder, members: Iterable[str], path: Path) -> list[str]:
    """Fetch the metadata of members of a Zarr store, and return the names of their chunks."""
    names = [f"{name}/zarr.json".removeprefix("./") for name in members]
    for _ in ordered_map(lambda name: folder.fetch(name, path / name), names, AT_ONCE):
        pass
    chunks: list[str] = []
    for name in names:
        chunks += _chunks(path / name, name.rpartition("zarr.json")[0], folder.where)
    return chunks


def _chunks(file: Path, prefix: str, where: str) -> Iterator[str]:
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
    if prod(counts) > _MOST_FILES:
        raise FormatError(
            f"{where}: {prefix} says that it has {prod(counts):,} chunks; make it again"
        )
    for place in product(*map(range, counts)):
        yield prefix + array.metadata.encode_chunk_key(place)


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
    told: str = "",
) -> None:
    """Copy files concurrently, without those that do not exist; ``told`` names them to the user."""
    sizes = list(ordered_map(partial(_size, folder), names, AT_ONCE))
    existing = [name for name, size in zip(names, sizes, strict=True) if size is not None]
    need = sum(size or 0 for size in sizes)
    here = tempfile.gettempdir()
    free = shutil.disk_usage(here).free
    if need > free - _SPARED:
        raise SourceError(
            f"{folder.where}: its {need:,} bytes are copied to {here} first, where only {free:,} "
            "are free; set TMPDIR to a folder with more"
        )
    if told:
        progress.say(
            f"{told}: {need:,} bytes are copied to {here}, as they are read many times; the copy "
            "is removed at the end"
        )
    with progress.task(f"fetch {path.name}", len(existing)) as task:
        for _ in ordered_map(lambda name: folder.fetch(name, path / name), existing, AT_ONCE):
            task.advance()


# Outputs

P = ParamSpec("P")


def places_may_be_urls(
    **outputs: Form,
) -> Callable[[Callable[P, Outcome]], Callable[P, Outcome]]:
    """Let a step read from URLs and write to them.

    Parameters
    ----------
    **outputs : Form
        Parameters of the step that name its outputs, and the type of each. A URL among them is
        replaced by a path of a temporary folder, whose content is uploaded when the step ends.

    Returns
    -------
    callable
        Decorator of functions that return an Outcome. Messages, errors and the Outcome name the
        URLs, never paths of temporary copies.

    Raises
    ------
    ArgumentError
        By the function: if an output cannot be a URL, or is to be resumed there.
    ExistsError
        If it exists already.
    SourceError
        If it cannot be written; the result then stays in the temporary folder.
    """

    def decorate(step: Callable[P, Outcome]) -> Callable[P, Outcome]:
        signature = inspect.signature(step)

        @wraps(step)
        def call(*positional: P.args, **named: P.kwargs) -> Outcome:
            bound = signature.bind(*positional, **named)
            bound.apply_defaults()
            arguments = bound.arguments
            arguments["progress"] = progress = _Naming(arguments.get("progress", SILENT))
            with temporary_copies(), urls_in_errors():
                targets = _replaced(arguments, outputs, progress)
                outcome = step(*bound.args, **bound.kwargs)
                _upload_all(targets, bool(arguments.get("overwrite")), progress)
                return _named(outcome)

        return call

    return decorate


def _replaced(
    arguments: dict[str, Any], outputs: Mapping[str, Form], progress: Progress
) -> list[LocalCopy]:
    """Replace URLs of outputs by temporary paths, and return the copies."""
    targets: list[LocalCopy] = []
    for name, form in outputs.items():
        place = arguments[name]
        arguments[name] = place = located(place) if isinstance(place, str) else place
        if not isinstance(place, str):
            continue
        option = f"--{name.replace('_', '-')}"
        check_target(place, form, option, resume=bool(arguments.get("resume")))
        if any(place.rstrip("/") == other.url.rstrip("/") for other in targets):
            raise ArgumentError(
                f"{option} {public(place)}: is given twice; give each output its own"
            )
        copy = LocalCopy(place, target=True)
        _check_ready(copy, form, arguments)
        targets.append(copy)
        arguments[name] = copy.path
        progress.say(f"{public(place)}: is made in {tempfile.gettempdir()} first, then uploaded")
    return targets


def _check_ready(copy: LocalCopy, form: Form, arguments: Mapping[str, Any]) -> None:
    """Ask the host, before any work starts, whether the output may be written."""
    kind = RemoteFolder(copy.url).kind()
    if kind is not None and (kind == "file") is not form.is_file:
        raise ExistsError(
            f"{public(copy.url)}: exists already and is a {kind}, but {form.value[0]} is written, "
            "which cannot replace it; give another URL"
        )
    if form is Form.FILLED or (form is Form.STORES and copy.path.suffix != ".zarr"):
        copy.path.mkdir()  # an existing folder is filled further, after a check of each part
    else:
        check_absent(copy.url, overwrite=bool(arguments.get("overwrite")))
    if not arguments.get("dry_run"):
        _try_writing(copy)


def _try_writing(copy: LocalCopy) -> None:
    """Write and remove an empty file next to the output: nothing else reveals permissions."""
    trial = RemoteFolder(sibling_url(copy.url, f"{copy.path.name}{UPLOADING}"))
    trial.put(_empty(copy.folder))
    trial.remove()


def _empty(folder: Path) -> Path:
    path = folder / UPLOADING
    path.touch()
    return path


def _upload_all(targets: Sequence[LocalCopy], overwrite: bool, progress: Progress) -> None:
    """Upload the temporary folders; keep those that are left if that fails."""
    for number, copy in enumerate(targets):
        try:
            for path in _visible(copy.folder):
                url = sibling_url(copy.url, path.name)
                upload(path, url, overwrite=overwrite, progress=progress)
        except BaseException as error:
            text = restore_urls(str(error))
            for left in targets[number:]:
                left.keep()
            kept = ", ".join(str(left.path) for left in targets[number:])
            hint = f"the result is complete and kept in {kept}; copy it from there"
            if isinstance(error, SkiptoolError | OSError):
                raise SourceError(f"{text}; {hint}") from error
            progress.warn(f"{public(copy.url)}: is not uploaded; {hint}")
            raise


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def upload(path: Path, url: str, *, overwrite: bool = False, progress: Progress = SILENT) -> None:
    """Write a file, an artifact, or a folder of them to a URL; hidden files are left out.

    Parameters
    ----------
    path : Path
        Complete output on this machine.
    url : str
        Its name there. Files in a folder that is not an artifact are added to the folder there.
    overwrite : bool
        Remove what remains there of an earlier artifact.

    Raises
    ------
    SourceError
        If the host cannot be reached or refuses.
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
    path: Path, place: RemoteFolder, root: str, overwrite: bool, progress: Progress
) -> None:
    files = [file for file in sorted(path.rglob("*")) if file.is_file()]
    names = [file.relative_to(path).as_posix() for file in files]
    before = place.files() if overwrite else {}
    place.put(_empty(path.parent), UPLOADING)
    if root in before:
        place.remove(root)
    rest = [name for name in names if name != root]
    with progress.task(f"upload {path.name}", len(names)) as task:
        for _ in ordered_map(lambda name: place.put(path / name, name), rest, AT_ONCE):
            task.advance()
        for name in sorted({*before} - {*names, UPLOADING}):
            place.remove(name)
        place.put(path / root, root)
        task.advance()
    place.remove(UPLOADING)


@contextmanager
def urls_in_errors() -> Iterator[None]:
    """Name URLs, not temporary paths, in errors; name the temporary folder if it is full."""
    try:
        yield
    except SkiptoolError as error:
        text = restore_urls(str(error))
        if text == str(error):
            raise
        raise type(error)(text) from error
    except OSError as error:
        path = str(error.filename or "")
        if error.errno in FULL and restore_urls(path) != path:
            raise SourceError(
                f"{restore_urls(path)}: is made in {tempfile.gettempdir()} first, where no space "
                "is left; set TMPDIR to a folder with more"
            ) from error
        raise


class _Naming:
    """A Progress that names URLs, not temporary paths."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def task(self, text: str, total: int) -> AbstractContextManager[Task]:
        """Open a task of the wrapped progress."""
        return self._progress.task(restore_urls(text), total)

    def warn(self, line: str) -> None:
        """Show a line with URLs."""
        self._progress.warn(restore_urls(line))

    def say(self, line: str) -> None:
        """Show a line with URLs."""
        self._progress.say(restore_urls(line))

    @property
    def quiet(self) -> bool:
        """Whether nothing is shown."""
        return self._progress.quiet


def _named(outcome: Outcome) -> Outcome:
    """Name URLs, not temporary paths, in the outcome of a step."""
    return replace(
        outcome,
        outputs=tuple(map(_with_url, outcome.outputs)),
        side_outputs=tuple(map(_with_url, outcome.side_outputs)),
        failures=tuple(map(restore_urls, outcome.failures)),
    )


def _with_url(path: Path | str) -> Path | str:
    text = restore_urls(str(path))
    return path if text == str(path) else text
