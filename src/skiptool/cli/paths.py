"""Paths on the command line: inputs as typed or read from stdin, and checks of outputs."""

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

# Inputs


def input_paths(words: Sequence[str]) -> list[Path | str]:
    """Parse input paths and URLs; ``-`` is replaced by the lines of stdin.

    The paths are protected from being overwritten (`skiptool.stores.staging.protect_inputs`).

    Raises
    ------
    ArgumentError
        If ``-`` is given and stdin is a terminal or holds no path, a path is empty, or a URL has
        lost a slash.
    """
    names: list[str] = []
    for word in words:
        names += _stdin_lines() if word == "-" else [word]
    paths = [parse_path(name) for name in names]
    add_protected_inputs(paths)
    return paths


def input_path(word: str, kind: str) -> Path | str:
    """Parse a single input path or URL; ``-`` is replaced by the line of stdin.

    ``kind`` names what is expected, for the error if stdin holds several paths.
    """
    paths = input_paths([word])
    if len(paths) != 1:
        raise ArgumentError(f"stdin names {len(paths)} paths, expected one {kind}")
    return paths[0]


def parse_path(word: str) -> Path | str:
    """Parse a path or URL, which must not be empty or have lost a slash."""
    if not word:
        raise ArgumentError("an empty path is given; is a variable of the shell not set?")
    check_slashes(word)
    return path_or_url(word)


def _stdin_lines() -> list[str]:
    lines = [line.rstrip("\r") for line in stdin_text("paths").split("\n")]
    paths = [line for line in lines if line.strip()]
    if not paths:
        raise ArgumentError("'-': stdin holds no path; did the command before it fail?")
    return paths


def stdin_text(content: str) -> str:
    """Read all of stdin, without ever waiting for a terminal.

    Parameters
    ----------
    content : str
        Expected content, for errors: ``paths``.

    Raises
    ------
    ArgumentError
        If stdin is a terminal, is closed, or holds no text.
    """
    if sys.stdin is None or sys.stdin.isatty():
        state = "closed" if sys.stdin is None else "a terminal"
        raise ArgumentError(f"'-' reads {content} from stdin, but stdin is {state}; give it a pipe")
    try:
        text = sys.stdin.read()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise ArgumentError(
            f"'-' reads {content} from stdin, but stdin holds no text; name the file"
        )
    return text


# Parameters of each command that are paths


_EXTRACT: Final = {"out": OutputType.STORE, "qc": OutputType.FOLDER, "export": OutputType.FOLDER}

WRITTEN: Final[Mapping[str, Mapping[str, OutputType]]] = {
    "synth": {
        "out": OutputType.STORE,
        "export": OutputType.FOLDER,
        "save_templates": OutputType.FOLDER,
    },
    "extract wsi": _EXTRACT,
    "extract images": _EXTRACT,
    "extract mri": _EXTRACT,
    "train": {"out": OutputType.FOLDER},
    "predict": {"out": OutputType.TABLE, "masks": OutputType.STORE, "overlays": OutputType.FOLDER},
    "features": {"out": OutputType.STORES},
    "hellinger": {"out": OutputType.TABLE},
    "report": {"out": OutputType.PAGE, "figures": OutputType.FILES},
    "study": {"out": OutputType.FOLDER},
}
"""Outputs of each command, and their forms."""

_READ: Final = frozenset(
    {
        "annotations",
        "config",
        "data",
        "encoder_weights",
        "images",
        "manifest",
        "mask",
        "masks",
        "models",
        "paths",
        "reference",
        "source",
        "stores",
        "table",
        "tables",
        "templates",
        "test",
        "weights",
    }
)
"""Inputs of any command, unless they are outputs of it.

``ranges`` of ``features`` is not among them, as new stores may be added to that folder; the stores
in it are protected by `input_paths`.
"""

_URL_INPUTS: Final[Mapping[str, tuple[str, ...]]] = {
    "predict": ("data", "models"),
    "features": ("data", "models"),
    "train": ("data",),
    "hellinger": ("stores", "reference"),
    "report": ("tables",),
    "info": ("paths",),
    "study": ("data", "test"),
}
"""Inputs that may be URLs."""

_URL_OUTPUTS: Final[Mapping[str, tuple[str, ...]]] = {
    "synth": ("out",),
    "extract wsi": ("out",),
    "extract images": ("out",),
    "extract mri": ("out",),
    "features": ("out",),
    "hellinger": ("out",),
    "predict": ("out", "masks", "overlays"),
    "report": ("out", "figures"),
}
"""Outputs that may be URLs."""


def typed_inputs(command: str, arguments: Mapping[str, Any]) -> list[str]:
    """Return the input paths of a command as typed; stdin is not read."""
    names = [name for name in arguments if name in _READ - WRITTEN.get(command, {}).keys()]
    return [word for name in names for word in _words(arguments[name]) if word not in ("", "-")]


def writes_to_url(command: str, arguments: Mapping[str, Any]) -> bool:
    """Return True if an output is a URL; such a command cannot be resumed."""
    words = [word for name in WRITTEN.get(command, {}) for word in _words(arguments.get(name))]
    return any(isinstance(path_or_url(word), str) for word in words)


def check_outputs(command: str, arguments: Mapping[str, Any]) -> None:
    """Check the paths of a command before it runs.

    Parameters
    ----------
    command : str
        Name of the command: ``extract wsi``.
    arguments : mapping
        Values of its parameters, as typed.

    Raises
    ------
    ArgumentError
        If a suffix belongs to another format, two outputs are the same path, an output would
        replace an input, a URL is given where a local path is required, or ``--overwrite`` and
        ``--resume`` are combined.
    ExistsError
        If a file exists where a folder is to be made, or the other way round.
    """
    if arguments.get("overwrite") and arguments.get("resume"):
        raise ArgumentError("--overwrite, --resume: give only one of them")
    written = WRITTEN.get(command, {})
    for name in arguments:
        if name in _READ and name not in written and name not in _URL_INPUTS.get(command, ()):
            for word in _words(arguments[name]):
                refuse_url(word, "is read from a local disk only; copy it here first")
    options: dict[Path | str, str] = {}
    for name, form in written.items():
        option = f"--{name.replace('_', '-')}"
        for word in _words(arguments.get(name)):
            if name not in _URL_OUTPUTS.get(command, ()):
                refuse_url(word, f"{option} is written to a local disk only; give a local path")
            check_slashes(word)
            path = path_or_url(word)
            if isinstance(path, str):
                check_target(path, form, option, resume=bool(arguments.get("resume")))
            else:
                check_not_input(path)
                check_output_type(path, form, option)
            key = path.rstrip("/") if isinstance(path, str) else Path(os.path.realpath(path))
            if key in options:
                raise ArgumentError(
                    f"{option} {word}: is the same as {options[key]}; give another path"
                )
            options[key] = option


_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)", re.DOTALL)


def refuse_url(word: str, remedy: str) -> None:
    """Refuse a URL, even one that has lost a slash, where a local path is required.

    The error names the URL without its host and credentials.
    """
    match = _URL.match(word)
    if match is not None and not os.path.lexists(word):
        scheme, address = match.groups()
        raise ArgumentError(f"{scheme}://.../{redacted_name(f'://{address}')}: {remedy}")


def _words(value: object) -> Iterator[str]:
    """Yield the paths in a value from typer: of ``--export FORM DIR`` the folder."""
    if isinstance(value, tuple):
        value = value[-1]
    for word in value if isinstance(value, list) else [value]:
        if isinstance(word, str | os.PathLike):
            yield str(word).removeprefix("model:")  # of extract wsi --mask
