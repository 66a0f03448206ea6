"""Outputs at URLs: made whole on this machine first, then uploaded.

A file is one upload. Of an artifact that is a folder (a Zarr store, a model, overlays) the file at
its root that readers look for first (``zarr.json``, ``config.json``, ``overlays.json``) is uploaded
last, and removed first where an artifact is replaced: until all is there, a reader finds none. An
empty file ``.uploading`` in the folder says that an upload is under way, or was broken off; then
``--overwrite`` replaces what is there. Two processes must not write to one URL at a time.

Where an upload fails, the result stays in the temporary folder, which the error names.
"""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

from skiptool.errors import ArgumentError, ExistsError, SkiptoolError, SourceError
from skiptool.parallel import mapped
from skiptool.records import SILENT, Outcome, Progress, Task
from skiptool.stores.addresses import below, beside, located, public
from skiptool.stores.copies import Copy, check_absent, copies_held, shown
from skiptool.stores.remote import AT_ONCE, UPLOADING, RemoteFolder
from skiptool.stores.staging import FULL, Form, check_target

__all__ = ["naming_urls", "places_may_be_urls", "upload"]

P = ParamSpec("P")

_ROOTS = ("zarr.json", "config.json", "overlays.json")
"""What readers of an artifact that is a folder look for first."""


def places_may_be_urls(
    **outputs: Form,
) -> Callable[[Callable[P, Outcome]], Callable[P, Outcome]]:
    """Let a step read from URLs and write to them.

    Parameters
    ----------
    **outputs : Form
        Parameters of the step that name its outputs, and what each of them is. A URL among them
        is replaced by a path of a temporary folder, whose content is uploaded when the step ends.

    Returns
    -------
    callable
        Decorator of functions that return an Outcome. Paths of temporary copies do not leave the
        function: messages, errors and the Outcome name the URLs.

    Raises
    ------
    ArgumentError
        By the function: if an output cannot be a URL, or is to be resumed at one.
    ExistsError
        If it is there already.
    SourceError
        If it cannot be written; what was made stays in the temporary folder then.
    """

    def decorate(step: Callable[P, Outcome]) -> Callable[P, Outcome]:
        signature = inspect.signature(step)

        @wraps(step)
        def call(*positional: P.args, **named: P.kwargs) -> Outcome:
            given = signature.bind(*positional, **named)
            given.apply_defaults()
            asked = given.arguments
            asked["progress"] = progress = _Naming(asked.get("progress", SILENT))
            with copies_held(), naming_urls():
                targets = _replaced(asked, outputs, progress)
                outcome = step(*given.args, **given.kwargs)
                _upload_all(targets, bool(asked.get("overwrite")), progress)
                return _named(outcome)

        return call

    return decorate


def _replaced(asked: dict[str, Any], outputs: Mapping[str, Form], progress: Progress) -> list[Copy]:
    """Put temporary paths in the place of the URLs of outputs, and return the copies."""
    targets: list[Copy] = []
    for name, form in outputs.items():
        place = located(asked[name]) if isinstance(asked[name], str) else asked[name]
        asked[name] = place
        if not isinstance(place, str):
            continue
        option = f"--{name.replace('_', '-')}"
        check_target(place, form, option, resume=bool(asked.get("resume")))
        if any(place.rstrip("/") == other.url.rstrip("/") for other in targets):
            raise ArgumentError(
                f"{option} {public(place)}: is given twice; give each output its own"
            )
        copy = Copy(place, target=True)
        _check_ready(copy, form, asked)
        targets.append(copy)
        asked[name] = copy.path
        progress.say(f"{public(place)}: is made in {tempfile.gettempdir()} first, then uploaded")
    return targets


def _check_ready(copy: Copy, form: Form, asked: Mapping[str, Any]) -> None:
    """Ask the host before any work is done: what is there, and whether anything may be written."""
    kind = RemoteFolder(copy.url).kind()
    if kind is not None and (kind == "file") is not form.is_file:
        raise ExistsError(
            f"{public(copy.url)}: exists already and is a {kind}, but {form.value[0]} is written, "
            "which replaces no such thing; give another URL"
        )
    if form is Form.FILLED or (form is Form.STORES and copy.path.suffix != ".zarr"):
        copy.path.mkdir()  # a folder that is there is filled further; its parts are looked for
    else:
        check_absent(copy.url, overwrite=bool(asked.get("overwrite")))
    if not asked.get("dry_run"):
        _try_writing(copy)


def _try_writing(copy: Copy) -> None:
    """Write an empty file beside the output, and remove it: nothing else tells what is allowed."""
    trial = RemoteFolder(beside(copy.url, f"{copy.path.name}{UPLOADING}"))
    trial.put(_empty(copy.folder))
    trial.remove()


def _empty(folder: Path) -> Path:
    path = folder / UPLOADING
    path.touch()
    return path


def _upload_all(targets: Sequence[Copy], overwrite: bool, progress: Progress) -> None:
    """Upload what is in the temporary folders; keep those that are left where that fails."""
    for number, copy in enumerate(targets):
        try:
            for path in _visible(copy.folder):
                url = beside(copy.url, path.name)
                upload(path, url, overwrite=overwrite, progress=progress)
        except BaseException as error:
            text = shown(str(error))
            for left in targets[number:]:
                left.keep()
            kept = ", ".join(str(left.path) for left in targets[number:])
            told = f"what was made is whole and kept in {kept}; copy it from there"
            if isinstance(error, SkiptoolError | OSError):
                raise SourceError(f"{text}; {told}") from error
            progress.warn(f"{public(copy.url)}: is not uploaded; {told}")
            raise


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def upload(path: Path, url: str, *, overwrite: bool = False, progress: Progress = SILENT) -> None:
    """Write a file, an artifact, or a folder of them to a URL; hidden files are left out.

    Parameters
    ----------
    path : Path
        What is whole on this machine.
    url : str
        What it is called there. Files in a folder that is no artifact are put into the folder
        there, whatever else is in it.
    overwrite : bool
        Remove what an earlier artifact has left there.
    progress : Progress

    Raises
    ------
    SourceError
        If the host cannot be reached or refuses.
    """
    if path.is_file():
        RemoteFolder(url).put(path)
        return
    root = next((name for name in _ROOTS if (path / name).is_file()), None)
    if root is not None:
        _upload_artifact(path, RemoteFolder(url), root, overwrite, progress)
        return
    for child in _visible(path):
        upload(child, below(url, child.name), overwrite=overwrite, progress=progress)


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
        for _ in mapped(lambda name: place.put(path / name, name), rest, AT_ONCE):
            task.advance()
        for name in sorted({*before} - {*names, UPLOADING}):
            place.remove(name)
        place.put(path / root, root)
        task.advance()
    place.remove(UPLOADING)


@contextmanager
def naming_urls() -> Iterator[None]:
    """Name URLs, not temporary paths, in errors; say where there is no space for what is made."""
    try:
        yield
    except SkiptoolError as error:
        text = shown(str(error))
        if text == str(error):
            raise
        raise type(error)(text) from error
    except OSError as error:
        path = str(error.filename or "")
        if error.errno in FULL and shown(path) != path:
            raise SourceError(
                f"{shown(path)}: is made in {tempfile.gettempdir()} first, where no space is left; "
                "set TMPDIR to a folder with more"
            ) from error
        raise


class _Naming:
    """A Progress that names URLs, not temporary paths."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def task(self, text: str, total: int) -> AbstractContextManager[Task]:
        """Open a task of the progress within."""
        return self._progress.task(shown(text), total)

    def warn(self, line: str) -> None:
        """Show a line as it is for users."""
        self._progress.warn(shown(line))

    def say(self, line: str) -> None:
        """Show a line as it is for users."""
        self._progress.say(shown(line))

    @property
    def quiet(self) -> bool:
        """Whether nothing is shown."""
        return self._progress.quiet


def _named(outcome: Outcome) -> Outcome:
    """Name URLs, not temporary paths, in what a step returns."""
    return replace(
        outcome,
        outputs=tuple(map(_as_shown, outcome.outputs)),
        side_outputs=tuple(map(_as_shown, outcome.side_outputs)),
        failures=tuple(map(shown, outcome.failures)),
    )


def _as_shown(path: Path | str) -> Path | str:
    text = shown(str(path))
    return path if text == str(path) else text
