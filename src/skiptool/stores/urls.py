"""Steps that read from URLs and write to URLs.

Outputs for URLs are first completed on this machine, then uploaded (see ``transfers``). Two
processes must not write to the same URL at a time. If an upload fails, the result stays in the
temporary folder, which the error names.

Zarr is imported only if an output is a URL.
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

from skiptool.errors import ArgumentError, SkiptoolError, SourceError
from skiptool.records import SILENT, Outcome, Progress, Task
from skiptool.stores.addresses import path_or_url, redact
from skiptool.stores.copies import LocalCopy, restore_urls, temporary_copies
from skiptool.stores.staging import DISK_FULL, OutputType, check_target

P = ParamSpec("P")


def accept_urls(
    **outputs: OutputType,
) -> Callable[[Callable[P, Outcome]], Callable[P, Outcome]]:
    """Let a step read from URLs and write to them; a decorator.

    The step returns an Outcome. Messages, errors and the Outcome name the URLs, never paths of
    temporary copies.

    Parameters
    ----------
    **outputs : OutputType
        Parameters of the step that name its outputs, and the type of each. A URL among them is
        replaced by a path in a temporary folder, whose content is uploaded when the step ends. If
        that fails, the result stays in the temporary folder.
    """

    def decorate(step: Callable[P, Outcome]) -> Callable[P, Outcome]:
        signature = inspect.signature(step)

        @wraps(step)
        def call(*positional: P.args, **named: P.kwargs) -> Outcome:
            bound = signature.bind(*positional, **named)
            bound.apply_defaults()
            arguments = bound.arguments
            arguments["progress"] = progress = _UrlProgress(arguments.get("progress", SILENT))
            with temporary_copies(), urls_in_errors():
                targets = _replace_outputs(arguments, outputs, progress)
                outcome = step(*bound.args, **bound.kwargs)
                _upload_all(targets, bool(arguments.get("overwrite")), progress)
                return replace(
                    outcome,
                    outputs=tuple(map(_with_url, outcome.outputs)),
                    side_outputs=tuple(map(_with_url, outcome.side_outputs)),
                    failures=tuple(map(restore_urls, outcome.failures)),
                )

        return call

    return decorate


def _replace_outputs(
    arguments: dict[str, Any], outputs: Mapping[str, OutputType], progress: Progress
) -> list[LocalCopy]:
    """Replace URLs of outputs by temporary paths, and return the copies."""
    targets: list[LocalCopy] = []
    for name, output in outputs.items():
        place = arguments[name]
        arguments[name] = place = path_or_url(place) if isinstance(place, str) else place
        if not isinstance(place, str):
            continue
        option = f"--{name.replace('_', '-')}"
        check_target(place, output, option, resume=bool(arguments.get("resume")))
        if any(place.rstrip("/") == other.url.rstrip("/") for other in targets):
            raise ArgumentError(
                f"{option} {redact(place)}: is given twice; give each output its own"
            )
        from skiptool.stores.transfers import check_target_writable  # lazy: it imports Zarr

        copy = LocalCopy(place, target=True)
        check_target_writable(copy, output, arguments)
        targets.append(copy)
        arguments[name] = copy.path
        progress.say(f"{redact(place)}: is made in {tempfile.gettempdir()} first, then uploaded")
    return targets


def _upload_all(targets: Sequence[LocalCopy], overwrite: bool, progress: Progress) -> None:
    """Upload the temporary folders; keep the remaining ones if that fails."""
    for number, copy in enumerate(targets):
        from skiptool.stores.transfers import upload_copy  # lazy: it imports Zarr

        try:
            upload_copy(copy, overwrite=overwrite, progress=progress)
        except BaseException as error:
            message = restore_urls(str(error))
            remaining = targets[number:]
            for target in remaining:
                target.keep()
            paths = ", ".join(str(target.path) for target in remaining)
            hint = f"the result is complete and kept in {paths}; copy it from there"
            if isinstance(error, SkiptoolError | OSError):
                raise SourceError(f"{message}; {hint}") from error
            progress.warn(f"{redact(copy.url)}: is not uploaded; {hint}")
            raise


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
        if error.errno in DISK_FULL and restore_urls(path) != path:
            raise SourceError(
                f"{restore_urls(path)}: is made in {tempfile.gettempdir()} first, where no space "
                "is left; set TMPDIR to a folder with more"
            ) from error
        raise


class _UrlProgress:
    """A Progress that shows URLs, not temporary paths."""

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
        """True if nothing is shown."""
        return self._progress.quiet


def _with_url(path: Path | str) -> Path | str:
    text = restore_urls(str(path))
    return path if text == str(path) else text
