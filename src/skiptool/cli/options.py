"""Options shared by several subcommands, and parsers of option values."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from skiptool.errors import ArgumentError, suggestion
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
    """Return a completion function for an option that takes one of these names."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return complete


def alternatives(names: Sequence[str]) -> str:
    """List names for a help text.

    Examples
    --------
    >>> alternatives(["a", "b", "c"])
    'a, b or c'
    """
    return f"{', '.join(names[:-1])} or {names[-1]}"


_SHIFT_KINDS = tuple(kind for kind in ShiftKind if kind is not ShiftKind.ORIGINAL)
"""Kinds of shift that take a factor."""


def _shift_completions() -> list[str]:
    """Return the shifts of the paper, and ``KIND=`` of all other kinds."""
    paper = {shift.kind for shift in PAPER_SWEEP}
    others = [f"{kind}=" for kind in ShiftKind if kind not in paper]
    return [*map(str, (ORIGINAL, *PAPER_SWEEP)), *others]


ArchOption = Annotated[
    str,
    typer.Option(
        "--arch",
        metavar="NAME",
        help=f"{alternatives(list(Arch))}.",
        autocompletion=complete_with(*Arch),
    ),
]
DatasetOut = Annotated[
    str, typer.Option("--out", "-o", metavar="PATH", help="Dataset store, a path or URL.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Continue an interrupted run of the same command.")
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Open all inputs, print what would be made, write nothing."),
]
Seed = Annotated[
    int, typer.Option("--seed", min=0, help="Random seed; equal seeds give equal results.")
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", min=0, help="Threads or processes [default: one per usable core]."),
]
TrainDomain = Annotated[
    str | None,
    typer.Option(
        "--train-domain",
        help="Train on this domain, except for its test subjects, and test on all others.",
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        help="Threads that compute on the CPU [default: one per idle usable core].",
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps.")]
PrecisionOption = Annotated[
    Precision, typer.Option("--precision", help="auto: bf16 if the hardware supports it, else 32.")
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
        help="Input scaling of a network that skiptool did not train.",
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
        help=f"Shift of the images: {', '.join(_SHIFT_KINDS)}; or original. Repeatable.",
        autocompletion=complete_with(*_shift_completions()),
    ),
]
Sweep = Annotated[
    str | None,
    typer.Option(
        "--sweep",
        help="Named set of shifts: paper (Fig. 7).",
        autocompletion=complete_with("paper"),
    ),
]
SplitOption = Annotated[
    str,
    typer.Option(
        "--split", help="Samples: train, test, all, or fold (each model's validation fold)."
    ),
]


# Lists and numbers


def parse_list(words: Sequence[str] | None) -> tuple[str, ...]:
    """Split repeated and comma-separated values; a value with a comma is in double quotes.

    Examples
    --------
    >>> parse_list(["enc1,enc2", 'head,"a, b"'])
    ('enc1', 'enc2', 'head', 'a, b')
    """
    parts = [unquote_name(part) for word in words or () for part in split_names(word, ",")]
    return tuple(part for part in parts if part)


def parse_range(text: str, option: str) -> tuple[int, int]:
    """Parse ``LOW:HIGH``, or one number for both.

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


def parse_interval(text: str | None, option: str) -> tuple[float, float] | None:
    """Parse ``LOW,HIGH``.

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


def parse_grid(text: str) -> tuple[int, int]:
    """Parse ``ROWSxCOLUMNS``, both at least 1.

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
    """Parse repeated ``TOP,LEFT,BOTTOM,RIGHT`` in pixels, none of which is empty.

    Examples
    --------
    >>> parse_boxes(["10,20,60,90"], "--artifact-box")
    ((10, 20, 60, 90),)
    """
    boxes = []
    for word in words or ():
        try:
            top, left, bottom, right = map(int, word.split(","))
        except ValueError:
            top, left, bottom, right = 0, 0, 0, 0
        if not (0 <= top < bottom and 0 <= left < right):
            raise ArgumentError(
                f"{option} {word!r}: expected TOP,LEFT,BOTTOM,RIGHT in pixels, such as 10,20,60,90"
            )
        boxes.append((top, left, bottom, right))
    return tuple(boxes)


# Names


def parse_choices(text: str, choices: type[Choice], option: str) -> tuple[Choice, ...]:
    """Parse a comma-separated list of the values of an enumeration, without repetitions."""
    words = parse_list([text])
    unknown = next((word for word in words if word not in set(choices)), "")
    if not words or unknown:
        near = suggestion(unknown, choices)
        raise ArgumentError(f"{option} {text!r}: expected some of {', '.join(choices)}{near}")
    return tuple(choices(word) for word in dict.fromkeys(words))


def parse_shifts(words: Sequence[str] | None) -> tuple[Shift, ...]:
    """Parse the shifts of ``--shift``."""
    return tuple(Shift.parse(word) for word in parse_list(words))


def parse_skips(
    prune: Sequence[int] | None, skips: Sequence[str] | None
) -> tuple[tuple[int, ...], ...]:
    """Return the sets of skip levels that remain after ``--prune``, and those of ``--skips``.

    Examples
    --------
    >>> parse_skips([0, 1], ["1,3", "none"])
    ((1, 2, 3, 4), (2, 3, 4), (1, 3), ())
    """
    subsets: list[tuple[int, ...]] = []
    if not prune and not skips:
        prune = [0]
    for count in prune or ():
        if not 0 <= count <= len(SKIP_LEVELS):
            raise ArgumentError(
                f"--prune {count}: expected 0 (baseline) to {len(SKIP_LEVELS)} (all removed)"
            )
        subsets.append(SKIP_LEVELS[count:])
    for word in skips or ():
        levels = () if word == "none" else word.split(",")
        if not all(level in map(str, SKIP_LEVELS) for level in levels):
            raise ArgumentError(f"--skips {word}: expected levels out of 1,2,3,4, or none")
        subsets.append(tuple(sorted({int(level) for level in levels})))
    return tuple(dict.fromkeys(subsets))


def parse_export(
    value: tuple[str, Path] | None, formats: Sequence[ExportFormat]
) -> tuple[ExportFormat, Path] | None:
    """Return format and folder of ``--export FORMAT DIR``."""
    if value is None:
        return None
    name, folder = value
    if name not in formats:
        usage = " or ".join(f"--export {form} DIR" for form in formats)
        raise ArgumentError(f"--export {name}: unknown format; write {usage}")
    return ExportFormat(name), folder


# Values by class or domain


def parse_weights(words: Sequence[str] | None, option: str) -> tuple[tuple[str, float], ...]:
    """Parse repeated ``CLASS=WEIGHT``."""
    weights = []
    for word in parse_list(words):
        name, _, number = word.rpartition("=")
        try:
            weight = float(number)
        except ValueError:
            name, weight = "", 0.0
        if not name:
            raise ArgumentError(f"{option} {word!r}: expected CLASS=WEIGHT, such as cell=2.5")
        weights.append((unquote_name(name), weight))
    return tuple(weights)


def parse_words(words: Sequence[str] | None, option: str) -> dict[str, str]:
    """Parse repeated ``VALUE`` or ``DOMAIN=VALUE``; the key of a value for all domains is empty.

    Examples
    --------
    >>> parse_words(["192", "B=320"], "--size")
    {'': '192', 'B': '320'}
    """
    values: dict[str, str] = {}
    for word in parse_list(words):
        domain, _, value = word.rpartition("=")
        if not value or domain in values:
            reason = "a second value for the same domain" if value else "has no value"
            raise ArgumentError(f"{option} {word!r}: {reason}; write VALUE or DOMAIN=VALUE")
        values[domain.strip()] = value.strip()
    return values


def parse_numbers(words: Sequence[str] | None, option: str) -> dict[str, int]:
    """Parse repeated ``N`` or ``DOMAIN=N``; the key of a number for all domains is empty."""
    numbers: dict[str, int] = {}
    for domain, value in parse_words(words, option).items():
        if not value.isdecimal():
            raise ArgumentError(
                f"{option} {value!r}: expected a whole number, such as 16, or DOMAIN=16"
            )
        numbers[domain] = int(value)
    return numbers


_LABEL = re.compile(
    r"\s*(#[0-9a-fA-F]{6}|[0-9]+\s*,\s*[0-9]+\s*,\s*[0-9]+|[0-9]+)"
    r"\s*=(\s*\"(?:[^\"]|\"\")*\"\s*(?=,|\Z)|[^,]+)",
    re.ASCII,
)
_LABELS = re.compile(rf"{_LABEL.pattern}(?:,{_LABEL.pattern})*,?", re.ASCII)
_LABEL_USAGE = (
    "expected VALUE=CLASS or COLOUR=CLASS, such as 255=cell, #ff0000=tumor or 255,0,0=tumor"
)


def parse_labels(words: Sequence[str] | None, option: str) -> dict[int | tuple[int, int, int], str]:
    """Parse repeated ``VALUE=CLASS``, ``RED,GREEN,BLUE=CLASS`` or ``#RRGGBB=CLASS``.

    Values are up to 65535, a class with a comma in its name is in double quotes.

    Examples
    --------
    >>> parse_labels(["#ff0000=tumor,0,0,0=glass"], "--labels")
    {(255, 0, 0): 'tumor', (0, 0, 0): 'glass'}
    """
    labels: dict[int | tuple[int, int, int], str] = {}
    for word in words or ():
        if not _LABELS.fullmatch(word):
            raise ArgumentError(f"{option} {word!r}: {_LABEL_USAGE}")
        for text, name in _LABEL.findall(word):
            key = _value_or_colour(text)
            if key is None or not unquote_name(name):
                raise ArgumentError(f"{option} {word!r}: {_LABEL_USAGE}")
            if key in labels:
                raise ArgumentError(f"{option} {word!r}: the value {text} is given a class twice")
            labels[key] = unquote_name(name)
    return labels


def parse_values(words: Sequence[str] | None, option: str) -> dict[int, str]:
    """Parse repeated ``VALUE=CLASS``, refusing colours."""
    values: dict[int, str] = {}
    for key, name in parse_labels(words, option).items():
        if not isinstance(key, int):
            raise ArgumentError(f"{option}: {key} is a colour, expected VALUE=CLASS such as 1=LV")
        values[key] = name
    return values


def _value_or_colour(text: str) -> int | tuple[int, int, int] | None:
    """Return a pixel value or a colour, None if it is too large for a mask."""
    if text.startswith("#"):
        return int(text[1:3], 16), int(text[3:5], 16), int(text[5:], 16)
    numbers = [int(part) for part in text.split(",")]
    if len(numbers) == 1:
        return numbers[0] if numbers[0] < 1 << 16 else None
    return (numbers[0], numbers[1], numbers[2]) if max(numbers) < 256 else None
