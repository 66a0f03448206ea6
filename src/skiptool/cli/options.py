"""Options that several subcommands share: one definition each."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from skiptool.errors import ArgumentError
from skiptool.names import (
    SKIP_LEVELS,
    Arch,
    ExportFormat,
    Precision,
    ShiftKind,
    split_names,
    unquote_name,
)
from skiptool.records import ORIGINAL, PAPER_SWEEP, Shift

Choice = TypeVar("Choice", bound=StrEnum)


def complete_with(*names: str) -> Callable[[str], list[str]]:
    """Return the completion of an option that takes one of these names."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return complete


def alternatives(names: Sequence[str]) -> str:
    """List names of which one is chosen.

    Examples
    --------
    >>> alternatives(["a", "b", "c"])
    'a, b or c'
    """
    return f"{', '.join(names[:-1])} or {names[-1]}"


_SHIFTED_KINDS = tuple(kind for kind in ShiftKind if kind is not ShiftKind.ORIGINAL)
"""Kinds of shift that take a factor."""


def _shift_words() -> list[str]:
    """Complete shifts of the paper, and ``KIND=`` of kinds beyond it."""
    paper = {shift.kind for shift in PAPER_SWEEP}
    further = [f"{kind}=" for kind in ShiftKind if kind not in paper]
    return [*map(str, (ORIGINAL, *PAPER_SWEEP)), *further]


ArchOption = Annotated[
    str,
    typer.Option(
        "--arch",
        metavar="NAME",
        help=f"{alternatives(list(Arch))}.",
        autocompletion=complete_with(*Arch),
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on where an interrupted run of the same stopped.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Open every input, say what would be made, write nothing.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Same seed, same result.")]
Workers = Annotated[
    int | None,
    typer.Option("--workers", min=0, help="Threads or processes [default: all usable cores]."),
]
TrainDomain = Annotated[
    str | None,
    typer.Option(
        "--train-domain",
        help="Train on this domain (but for its share of test subjects), test on all others.",
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        help="Threads that compute on a processor [default: as many as usable cores are idle].",
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps.")]
PrecisionOption = Annotated[
    Precision, typer.Option("--precision", help="auto: bf16 where the hardware has it, else 32.")
]
Models = Annotated[
    list[str], typer.Argument(help="Model folders (paths or URLs), or - for paths on stdin.")
]
DataStores = Annotated[
    list[str],
    typer.Option("--data", metavar="PATH", help="Dataset store (path or URL), repeatable."),
]
Normalise = Annotated[
    str | None,
    typer.Option(
        "--normalise",
        metavar="imagenet|none|MEAN/STD",
        help="How images are scaled for a network that skiptool did not train.",
    ),
]
Domains = Annotated[
    list[str] | None, typer.Option("--domain", help="Domain to read, repeatable [default: all].")
]
Shifts = Annotated[
    list[str] | None,
    typer.Option(
        "--shift",
        metavar="KIND=FACTOR",
        help=f"Shift of the images, repeatable: {', '.join(_SHIFTED_KINDS)}; or original.",
        autocompletion=complete_with(*_shift_words()),
    ),
]
Sweep = Annotated[
    str | None,
    typer.Option(
        "--sweep",
        help="A set of shifts by name: paper (Fig. 7).",
        autocompletion=complete_with("paper"),
    ),
]
SplitOption = Annotated[
    str,
    typer.Option(
        "--split", help="Samples: train, test, all, or fold (each model's validation fold)."
    ),
]


def parse_list(words: Sequence[str] | None) -> tuple[str, ...]:
    """Split repeated and comma-separated values into one flat tuple.

    What holds a comma stands in double quotes.

    Examples
    --------
    >>> parse_list(["enc1,enc2", 'head,"a, b"'])
    ('enc1', 'enc2', 'head', 'a, b')
    """
    parts = [unquote_name(part) for word in words or () for part in split_names(word, ",")]
    return tuple(part for part in parts if part)


def parse_range(text: str, option: str) -> tuple[int, int]:
    """Read ``LOW:HIGH``, or one number for both.

    Raises
    ------
    ArgumentError
        If it is not of that form.

    Examples
    --------
    >>> parse_range("1:100", "--cells"), parse_range("20", "--cells")
    ((1, 100), (20, 20))
    """
    low, _, high = text.partition(":")
    try:
        return int(low), int(high or low)
    except ValueError:
        raise ArgumentError(f"{option} {text!r}: expected LOW:HIGH, such as 1:100") from None


def parse_grid(text: str) -> tuple[int, int]:
    """Read ``ROWSxCOLUMNS``.

    Raises
    ------
    ArgumentError
        If it is not of that form, or a side is 0.

    Examples
    --------
    >>> parse_grid("8x6")
    (8, 6)
    """
    rows, _, columns = text.partition("x")
    if not (rows.isdecimal() and columns.isdecimal() and int(rows) and int(columns)):
        raise ArgumentError(f"--grid {text!r}: expected ROWSxCOLUMNS, such as 8x8")
    return int(rows), int(columns)


def parse_boxes(words: Sequence[str] | None, option: str) -> tuple[tuple[int, int, int, int], ...]:
    """Read repeated ``TOP,LEFT,BOTTOM,RIGHT``, pixels.

    Raises
    ------
    ArgumentError
        If one is not of that form, or empty.

    Examples
    --------
    >>> parse_boxes(["10,20,60,90"], "--artifact-box")
    ((10, 20, 60, 90),)
    """
    found = []
    for word in words or ():
        numbers = [int(part) if part.strip().isdecimal() else -1 for part in word.split(",")]
        if len(numbers) != 4 or min(numbers) < 0 or numbers[0] >= numbers[2]:
            numbers = []
        if not numbers or numbers[1] >= numbers[3]:
            raise ArgumentError(
                f"{option} {word!r}: expected TOP,LEFT,BOTTOM,RIGHT in pixels, such as 10,20,60,90"
            )
        found.append((numbers[0], numbers[1], numbers[2], numbers[3]))
    return tuple(found)


def export_folder(given: tuple[str, Path] | None) -> Path | None:
    """Return the folder of ``--export png DIR``.

    Raises
    ------
    ArgumentError
        If the format is not png.
    """
    found = export_form(given, (ExportFormat.PNG,))
    return None if found is None else found[1]


def export_form(
    given: tuple[str, Path] | None, known: Sequence[ExportFormat] = tuple(ExportFormat)
) -> tuple[ExportFormat, Path] | None:
    """Return form and folder of ``--export FORM DIR``.

    Raises
    ------
    ArgumentError
        If the form is unknown.
    """
    if given is None:
        return None
    if given[0] not in known:
        usage = " or ".join(f"--export {form} DIR" for form in known)
        raise ArgumentError(f"--export {given[0]}: unknown format; write {usage}")
    return ExportFormat(given[0]), given[1]


def parse_weights(words: Sequence[str] | None, option: str) -> tuple[tuple[str, float], ...]:
    """Read repeated ``CLASS=WEIGHT``.

    Raises
    ------
    ArgumentError
        If one is not of that form.
    """
    found = []
    for word in parse_list(words):
        name, _, number = word.rpartition("=")
        try:
            found.append((unquote_name(name), float(number)))
        except ValueError:
            name = ""
        if not name:
            raise ArgumentError(f"{option} {word!r}: expected CLASS=WEIGHT, such as cell=2.5")
    return tuple(found)


def parse_shifts(words: Sequence[str] | None) -> tuple[Shift, ...]:
    """Return the shifts of ``--shift``.

    Raises
    ------
    ArgumentError
        If one is unknown.
    """
    return tuple(Shift.parse(word) for word in parse_list(words))


def parse_skips(
    prune: Sequence[int] | None, kept: Sequence[str] | None
) -> tuple[tuple[int, ...], ...]:
    """Return the subsets of skip levels that ``--prune`` and ``--skips`` name.

    Raises
    ------
    ArgumentError
        If a level or a number of levels does not exist.

    Examples
    --------
    >>> parse_skips([0, 1], ["1,3", "none"])
    ((1, 2, 3, 4), (2, 3, 4), (1, 3), ())
    """
    found: list[tuple[int, ...]] = []
    for count in prune or (() if kept else (0,)):
        if not 0 <= count <= len(SKIP_LEVELS):
            raise ArgumentError(
                f"--prune {count}: expected 0 (baseline) to {len(SKIP_LEVELS)} (all removed)"
            )
        found.append(SKIP_LEVELS[count:])
    for word in kept or ():
        levels = () if word == "none" else word.split(",")
        if not all(level in map(str, SKIP_LEVELS) for level in levels):
            raise ArgumentError(f"--skips {word}: expected levels out of 1,2,3,4, or none")
        found.append(tuple(sorted({int(level) for level in levels})))
    return tuple(dict.fromkeys(found))


def parse_choices(text: str, known: type[Choice], option: str) -> tuple[Choice, ...]:
    """Read a comma-separated list of the values of an enumeration.

    Raises
    ------
    ArgumentError
        If one is unknown.
    """
    found = parse_list([text])
    unknown = [word for word in found if word not in list(known)]
    if unknown or not found:
        raise ArgumentError(f"{option} {text!r}: expected some of {', '.join(known)}")
    return tuple(known(word) for word in dict.fromkeys(found))


# -------------------------------------------------------------------------------------------------
# Options whose value may differ from domain to domain: ``192`` or ``A=192``.


def parse_words(given: Sequence[str] | None, option: str) -> dict[str, str]:
    """Read repeated ``VALUE`` or ``DOMAIN=VALUE``; the key of a value for all is empty.

    Raises
    ------
    ArgumentError
        If a value is missing, or there are two for one domain.

    Examples
    --------
    >>> parse_words(["192", "B=320"], "--size")
    {'': '192', 'B': '320'}
    """
    found: dict[str, str] = {}
    for word in parse_list(given):
        domain, _, value = word.rpartition("=")
        if not value or domain in found:
            reason = "has no value" if not value else "a second value for the same"
            raise ArgumentError(f"{option} {word!r}: {reason}; write VALUE or DOMAIN=VALUE")
        found[domain.strip()] = value.strip()
    return found


def parse_numbers(given: Sequence[str] | None, option: str) -> dict[str, int]:
    """Read repeated ``N`` or ``DOMAIN=N``, whole numbers.

    Raises
    ------
    ArgumentError
        As :func:`parse_words`, or if a value is no whole number.
    """
    found: dict[str, int] = {}
    for domain, value in parse_words(given, option).items():
        if not value.isdecimal():
            raise ArgumentError(
                f"{option} {value!r}: expected a whole number, such as 16, or DOMAIN=16"
            )
        found[domain] = int(value)
    return found


def parse_interval(text: str | None, option: str) -> tuple[float, float] | None:
    """Read ``LOW,HIGH``.

    Raises
    ------
    ArgumentError
        If it is not of that form.

    Examples
    --------
    >>> parse_interval("1,99.5", "--percentiles")
    (1.0, 99.5)
    """
    if text is None:
        return None
    low, _, high = text.partition(",")
    try:
        return float(low), float(high)
    except ValueError:
        raise ArgumentError(f"{option} {text!r}: expected LOW,HIGH, such as 1,99") from None


# -------------------------------------------------------------------------------------------------
# ``--labels``: which pixel value, or which colour, of a mask is which class.


_LABEL = re.compile(
    r"\s*(#[0-9a-fA-F]{6}|[0-9]+\s*,\s*[0-9]+\s*,\s*[0-9]+|[0-9]+)\s*=(\s*\"(?:[^\"]|\"\")*\"\s*(?=,|\Z)|[^,]+)",
    re.ASCII,
)
_LABELS = re.compile(rf"{_LABEL.pattern}(?:,{_LABEL.pattern})*,?", re.ASCII)


def parse_labels(words: Sequence[str] | None, option: str) -> dict[int | tuple[int, int, int], str]:
    """Read repeated ``VALUE=CLASS``, ``RED,GREEN,BLUE=CLASS`` or ``#RRGGBB=CLASS``.

    A class whose name holds a comma stands in double quotes.

    Raises
    ------
    ArgumentError
        If one is not of that form, a value is no label of 8 or 16 bits, or a colour has a channel
        above 255.

    Examples
    --------
    >>> parse_labels(["#ff0000=tumor,0,0,0=glass"], "--labels")
    {(255, 0, 0): 'tumor', (0, 0, 0): 'glass'}
    """
    found: dict[int | tuple[int, int, int], str] = {}
    for word in words or ():
        if not _LABELS.fullmatch(word):
            raise _no_label(word, option)
        for text, name in _LABEL.findall(word):
            key = _key(text)
            if key is None or not unquote_name(name):
                raise _no_label(word, option)
            if key in found:
                raise ArgumentError(f"{option} {word!r}: the value {text} is given a class twice")
            found[key] = unquote_name(name)
    return found


def parse_values(words: Sequence[str] | None, option: str) -> dict[int, str]:
    """Read repeated ``VALUE=CLASS``, where masks hold no colours.

    Raises
    ------
    ArgumentError
        As `parse_labels`, or if one is of a colour.
    """
    found: dict[int, str] = {}
    for key, name in parse_labels(words, option).items():
        if not isinstance(key, int):
            raise ArgumentError(f"{option}: {key} is a colour, expected VALUE=CLASS such as 1=LV")
        found[key] = name
    return found


def _key(text: str) -> int | tuple[int, int, int] | None:
    """Return a pixel value or a colour; None where no mask can hold it."""
    if text.startswith("#"):
        return int(text[1:3], 16), int(text[3:5], 16), int(text[5:], 16)
    numbers = [int(part) for part in text.split(",")]
    if len(numbers) == 1:
        return numbers[0] if numbers[0] < 1 << 16 else None
    return (numbers[0], numbers[1], numbers[2]) if max(numbers) < 256 else None


def _no_label(word: str, option: str) -> ArgumentError:
    return ArgumentError(
        f"{option} {word!r}: expected VALUE=CLASS or COLOUR=CLASS, such as 255=cell, #ff0000=tumor "
        "or 255,0,0=tumor"
    )
