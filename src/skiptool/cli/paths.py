"""Input paths as they are typed, or piped in: ``-`` stands for stdin."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from skiptool.errors import ArgumentError
from skiptool.stores.addresses import check_slashes, path_or_url, redacted_name
from skiptool.stores.staging import (
    OutputType,
    add_protected_inputs,
    check_not_input,
    check_output_type,
    check_target,
)


def input_paths(words: Sequence[str]) -> list[Path | str]:
    """Return input paths, and URLs as the text that they are; ``-`` stands for lines of stdin.

    None of them is written over from now on (:func:`skiptool.stores.staging.protect_inputs`).

    Raises
    ------
    ArgumentError
        If ``-`` is given and stdin is a terminal or holds no path, a word is empty, or a URL has
        lost a slash.
    """
    found: list[str] = []
    for word in words:
        found += _from_stdin() if word == "-" else [word]
    places = [parse_path(word) for word in found]
    add_protected_inputs(places)
    return places


def input_path(word: str, what: str) -> Path | str:
    """Return the one path or URL that a word or stdin names.

    Raises
    ------
    ArgumentError
        If stdin names several.
    """
    found = input_paths([word])
    if len(found) != 1:
        raise ArgumentError(f"stdin names {len(found)} paths, expected one {what}")
    return found[0]


def parse_path(word: str) -> Path | str:
    """Return the path or URL that an option names.

    Raises
    ------
    ArgumentError
        If it is empty, or a URL that has lost a slash.
    """
    if not word:
        raise ArgumentError("an empty path is given; is a variable of the shell not set?")
    check_slashes(word)
    return path_or_url(word)


def refuse_url(word: str | Path, remedy: str) -> None:
    """Refuse a URL where a local path is needed, also one that has lost a slash.

    Raises
    ------
    ArgumentError
        Without what may be a password.
    """
    found = _URL.match(str(word))
    if found is not None and not os.path.lexists(word):
        raise ArgumentError(f"{found[1]}://.../{redacted_name('://' + found[2])}: {remedy}")


_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)", re.DOTALL)


def _from_stdin() -> list[str]:
    lines = [line.rstrip("\r") for line in stdin_text("paths").split("\n")]
    found = [line for line in lines if line.strip()]
    if not found:
        raise ArgumentError("'-': stdin holds no path; did the command before it fail?")
    return found


def stdin_text(what: str) -> str:
    """Read all of stdin.

    Raises
    ------
    ArgumentError
        If stdin is a terminal, which is never waited for, is closed, or holds no text.
    """
    if sys.stdin is None or sys.stdin.isatty():
        state = "closed" if sys.stdin is None else "a terminal"
        raise ArgumentError(f"'-' reads {what} from stdin, but stdin is {state}; give it a pipe")
    try:
        text = sys.stdin.read()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise ArgumentError(f"'-' reads {what} from stdin, but stdin holds no text; name the file")
    return text


# -------------------------------------------------------------------------------------------------
# Output paths as they are typed: what each command writes where, and what it must not touch.


_EXTRACTED: Final = {"out": OutputType.STORE, "qc": OutputType.FOLDER, "export": OutputType.FOLDER}

WRITTEN: Final[Mapping[str, Mapping[str, OutputType]]] = {
    "synth": {
        "out": OutputType.STORE,
        "export": OutputType.FOLDER,
        "save_templates": OutputType.FOLDER,
    },
    "extract wsi": _EXTRACTED,
    "extract images": _EXTRACTED,
    "extract mri": _EXTRACTED,
    "train": {"out": OutputType.FOLDER},
    "predict": {"out": OutputType.TABLE, "masks": OutputType.STORE, "overlays": OutputType.FOLDER},
    "features": {"out": OutputType.STORES},
    "hellinger": {"out": OutputType.TABLE},
    "report": {"out": OutputType.PAGE, "figures": OutputType.FILES},
    "study": {"out": OutputType.FOLDER},
}
"""Options that name what a command writes, and what that is."""

_FETCHED: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(("predict", "features"), ("data", "models")),
    "train": ("data",),
    "hellinger": ("stores", "reference"),
    "report": ("tables",),
    "info": ("paths",),
    "study": ("data", "test"),
}
"""Parameters of these that may be URLs."""

_UPLOADED: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(("synth", "extract wsi", "extract images", "extract mri"), ("out",)),
    **dict.fromkeys(("features", "hellinger"), ("out",)),
    "predict": ("out", "masks", "overlays"),
    "report": ("out", "figures"),
}
"""Options of these that may be URLs."""

_READ: Final = (
    *("data", "models", "stores", "reference", "tables", "paths", "manifest", "source", "table"),
    *("images", "masks", "templates", "annotations", "encoder_weights", "weights", "mask", "test"),
)
"""Parameters that name what a command reads, unless it writes there.

``--ranges`` of ``features`` is none of them: new stores may join the folder that it names. The
stores in it are spared when their paths are read (see ``inputs``).
"""

_MODEL: Final = "model:"
"""What stands before the folder of ``extract wsi --mask``."""


def check_outputs(command: str, given: Mapping[str, Any]) -> None:
    """Refuse URLs where they cannot be, and outputs that are alike, inputs or of another format.

    Parameters
    ----------
    command : str
        Its name, ``extract wsi``.
    given : mapping
        Its parameters as they were typed.

    Raises
    ------
    ArgumentError
        If a suffix is wrong, two outputs are one path, an output would destroy an input, or a URL
        is given where a local path is needed.
    ExistsError
        If a file stands where a folder is to be made, or the other way round.
    """
    written = WRITTEN.get(command, {})
    for name in _READ:
        if name not in written and name not in _FETCHED.get(command, ()):
            for word in _words(given.get(name)):
                refuse_url(word, "is read from a local disk only; copy it here first")
    found: dict[Path | str, str] = {}
    for name, form in written.items():
        option = f"--{name.replace('_', '-')}"
        for word in _words(given.get(name)):
            if name not in _UPLOADED.get(command, ()):
                refuse_url(word, f"{option} is written to a local disk only; give a local path")
            check_slashes(word)
            place = path_or_url(word)
            if isinstance(place, str):
                check_target(place, form, option, resume=bool(given.get("resume")))
            else:
                check_not_input(place)
                check_output_type(place, form, option)
            key = place.rstrip("/") if isinstance(place, str) else Path(os.path.realpath(place))
            if key in found:
                raise ArgumentError(f"{option} {word}: is {found[key]} too; give another path")
            found[key] = option


def goes_to_url(command: str, given: Mapping[str, Any]) -> bool:
    """Say whether a command was asked to write to a URL: nothing of it can be gone on with."""
    words = [word for name in WRITTEN.get(command, {}) for word in _words(given.get(name))]
    return any(isinstance(path_or_url(word), str) for word in words)


def typed_inputs(command: str, given: Mapping[str, Any]) -> list[str]:
    """Return the paths that a command reads, as they were typed; stdin is not looked at."""
    written = WRITTEN.get(command, {})
    names = [name for name in _READ if name not in written]
    return [word for name in names for word in _words(given.get(name)) if word not in ("", "-")]


def _words(value: object) -> Iterator[str]:
    """Yield the paths in what typer hands over: of ``--export FORM DIR`` the folder."""
    if isinstance(value, tuple):
        value = value[-1]
    for word in value if isinstance(value, list) else [value]:
        if isinstance(word, str | os.PathLike):
            yield str(word).removeprefix(_MODEL)
