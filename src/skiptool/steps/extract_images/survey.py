"""Look at every picture and mask once: what is sound, and what fails and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from skiptool.errors import MismatchError, SkiptoolError, SourceError
from skiptool.names import IGNORE
from skiptool.parallel import mapped
from skiptool.records import Progress
from skiptool.sources.pictures.intensities import FULL
from skiptool.sources.pictures.labels import colour_name
from skiptool.sources.pictures.manifest import Row
from skiptool.sources.pictures.samples import Item, Reading, survey

__all__ = ["check_forms", "survey_all"]

_BLACK = (0, 0, 0)

DARK = 0.25
"""Share of the range: where all grey images are darker, their scale is likely another."""


def survey_all(
    rows: Sequence[Row], reading: Reading, threads: int, progress: Progress
) -> tuple[list[Item], list[str]]:
    """Read every row.

    Returns
    -------
    items : list of Item
        Those that are sound, in the order of the rows.
    failures : list of str
        One line for each of the others.

    Raises
    ------
    SourceError
        If none is sound.
    """
    items: list[Item] = []
    failures: list[str] = []

    def look(row: Row) -> Item | str:
        try:
            return survey(row, reading)
        except SkiptoolError as error:
            return str(error)

    with progress.task("survey", len(rows)) as task:
        for found in mapped(look, rows, threads):
            task.advance()
            if isinstance(found, str):
                failures.append(found)
            else:
                items.append(found)
    if not items:
        raise SourceError(f"all {len(failures)} inputs failed, the first: {failures[0]}")
    _warn(items, reading, progress)
    return items, failures


def _warn(items: Sequence[Item], reading: Reading, progress: Progress) -> None:
    deep = [item.brightest for item in items if item.dtype == "float32"]
    brightest = max(deep, default=1.0)
    if brightest < DARK and reading.scale == FULL:
        progress.warn(
            f"no pixel is brighter than {brightest:.1%} of what the files can hold; a camera of 12 "
            "bits counts to 4095, for example: --scale 0:4095"
        )
    grey = sum(item.grey for item in items)
    if grey and reading.channels is None:
        progress.say(
            f"{grey} of {len(items)} images are grey and are stored as colour, with three equal "
            "channels; --channels 1 stores one channel"
        )
    masked = [item for item in items if item.row.get("mask")]
    if all(item.foreground == 0 for item in masked) and any(item.ignored for item in masked):
        progress.warn(
            f"no mask has any foreground, but pixels of value {IGNORE}, which means 'ignored'; "
            "where it is a class, say so: --labels 255=foreground"
        )
    _warn_of_palettes(items, reading, progress)


def _warn_of_palettes(items: Sequence[Item], reading: Reading, progress: Progress) -> None:
    """Say where palettes show labels in colours that speak against them."""
    colours = "if the colours are meant, map them with --labels '#RRGGBB=CLASS'"
    first: dict[int, Item] = {}
    for item in items:
        for index, colour in item.shown.items():
            other = first.setdefault(index, item)
            if other.shown[index] != colour:
                progress.warn(
                    f"palette index {index} is {colour_name(other.shown[index])} in "
                    f"{other.row['mask']} and {colour_name(colour)} in {item.row['mask']}; the "
                    f"indices are used as labels: {colours}"
                )
                return
    table = reading.labels.table
    for item in items:
        black = [index for index, colour in item.shown.items() if colour == _BLACK]
        if black and item.shown.get(0, _BLACK) != _BLACK and table[0] == 0 < table[black].max():
            progress.warn(
                f"{item.row['mask']}: its palette shows index 0, the background, in "
                f"{colour_name(item.shown[0])} and index {black[0]} in black; the indices are "
                f"used as labels: {colours}"
            )
            return


def check_forms(items: Sequence[Item]) -> None:
    """Refuse images of several sizes or kinds in one domain, as the store would, but in time.

    Raises
    ------
    MismatchError
        Names the first that differs from most of its domain.
    """
    usual: dict[str, Item] = {}
    for domain in dict.fromkeys(item.row["domain"] for item in items):
        here = [item for item in items if item.row["domain"] == domain]
        counts = Counter((item.shape, item.dtype) for item in here)
        usual[domain] = max(here, key=lambda item: counts[item.shape, item.dtype])
    for item in items:
        other = usual[item.row["domain"]]
        where = f"domain {item.row['domain']}, sample {item.name}"
        if (item.shape[2], item.dtype) != (other.shape[2], other.dtype):
            raise MismatchError(
                f"{where}: image is {item.shape} {item.dtype}, but {other.name} is {other.shape} "
                f"{other.dtype}; images of one domain are all in colour or all grey: give "
                "--channels 3 or 1, or another domain"
            )
        if item.shape != other.shape:
            raise MismatchError(
                f"{where}: image is {item.shape} {item.dtype}, but {other.name} is {other.shape}; "
                "images of one domain have one size: cut tiles with --patch-size, crop them, or "
                "give them another domain"
            )
