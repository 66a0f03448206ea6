"""An exhibit: a figure or table of the report with its numbers, caption and findings."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from skiptool.analysis.distances import (
    LEVEL,
    LayerDistance,
    Network,
    NetworkDistances,
    ShiftDistances,
    TrainingAverage,
)
from skiptool.names import Kind

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

    from skiptool.analysis.correlation import SettingKey
    from skiptool.records import Table

Cell: TypeAlias = str | int | float | None
Number: TypeAlias = Mapping[str, Cell]
"""A row of the table ``report``: a number with the columns that identify it."""

_Item = TypeVar("_Item")
_Key = TypeVar("_Key", bound=Hashable)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Exhibit:
    """A figure or table of the report.

    Attributes
    ----------
    topic : str
        Stem of its anchor and file name, ``iou``: lower-case letters, digits and hyphens.
    part : str
        Name within its topic, ``layers-brightness-0.5``. Exhibits without a part are numbered,
        ``iou-1``.
    heading : str
        Heading of its section; exhibits with the same heading are grouped.
    caption : str
        Description of the figure, with n, folds, shift, B and units.
    sentences : sequence of str
        Findings. The page collapses those after the third.
    table : Table
        Selected numbers as displayed; each of them is also in ``numbers``.
    numbers : sequence of Number
        Rows of the table ``report``, without the columns ``figure`` and ``title``. Quantities that
        were not measured are NaN or left out.
    draw : callable, optional
        Draws the figure. None if the exhibit is a table.
    sources : tuple of Kind
        Kinds of input files behind the exhibit, to which the caption links.
    printed : bool
        Print the table in the terminal if no page is written. Tables with False are long, and
        printed only if there are no others.
    summary : int, optional
        Include the first two sentences in the summary of the page, once per topic. The summary is
        sorted by section, and by this number within a section.
    anchor : str
        Unique name of the exhibit and its files, set by `name_exhibits`.
    figure : Markup, optional
        The drawn figure as SVG, set when the page is rendered.
    """

    topic: str
    heading: str
    title: str
    caption: str
    table: Table
    numbers: Sequence[Number]
    sentences: Sequence[str] = ()
    draw: Callable[[], Figure] | None = None
    sources: tuple[Kind, ...] = ()
    part: str = ""
    printed: bool = True
    summary: int | None = None
    anchor: str = ""
    figure: Markup | None = None


_MAX_SLUG: Final = 60  # characters


def name_exhibits(exhibits: Iterable[Exhibit]) -> list[Exhibit]:
    """Group exhibits by heading and set their anchors from topic and part, or a number.

    Headings keep the order of their first exhibits. Anchors are unique and in lower case.
    """
    sections = group_by(exhibits, lambda exhibit: exhibit.heading)
    counts: Counter[str] = Counter()
    named: dict[str, Exhibit] = {}
    for exhibit in (exhibit for section in sections.values() for exhibit in section):
        part = _slug(exhibit.part)
        stem = f"{exhibit.topic}-{part}" if part else exhibit.topic
        counts[stem] += 1
        name = stem if part and counts[stem] == 1 else f"{stem}-{counts[stem]}"
        while name in named:  # a part may end in a number
            counts[stem] += 1
            name = f"{stem}-{counts[stem]}"
        named[name] = replace(exhibit, anchor=name)
    return [*named.values()]


def _slug(text: str) -> str:
    """Reduce a text to characters that are allowed in anchors and file names.

    Examples
    --------
    >>> _slug("Aperio CS2 brightness 0.5"), _slug("../α")
    ('aperio-cs2-brightness-0.5', '')
    """
    return re.sub(r"[^a-z0-9.]+", "-", text.lower())[:_MAX_SLUG].strip("-.")


def group_by(items: Iterable[_Item], key: Callable[[_Item], _Key]) -> dict[_Key, list[_Item]]:
    """Group items by key, in the order of first appearance.

    Examples
    --------
    >>> group_by(["ab", "c", "de"], len)
    {2: ['ab', 'de'], 1: ['c']}
    """
    groups: dict[_Key, list[_Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def nan_to_none(value: float) -> float | None:
    """Return a number as a table cell, with None for NaN.

    Examples
    --------
    >>> nan_to_none(0.5), nan_to_none(float("nan"))
    (0.5, None)
    """
    return None if math.isnan(value) else value


# Rows of the table ``report``.

_FACTS: Final = (
    "dataset",
    "reference_domain",
    "reference_shift",
    "reference_factor",
    "domain",
    "shift",
    "factor",
    "metric",
    "bins",
    "reference_split",
    "split",
)


def setting_columns(setting: SettingKey, *, metric: bool = False) -> dict[str, Cell]:
    """Return the columns that identify networks, their dataset and optionally the metric."""
    columns: dict[str, Cell] = {
        "dataset": setting.dataset,
        "arch": setting.arch or None,
        "encoder": setting.encoder or None,
    }
    if metric:
        columns |= {"metric": setting.metric, "bins": setting.bins}
    return columns


def fact_columns(
    facts: Mapping[str, Any], network: NetworkDistances | Network | None = None
) -> Number:
    """Return the columns that identify a comparison, and optionally its network."""
    columns = {name: facts[name] for name in _FACTS if facts[name] is not None}
    if network is not None:
        names = {"arch": network.arch, "encoder": network.encoder, "pruning": network.pruning}
        columns |= {column: name for column, name in names.items() if name}
    return columns


def layer_numbers(
    compared: ShiftDistances, quantity: str, pick: Callable[[LayerDistance], TrainingAverage | None]
) -> list[Number]:
    """Return a quantity of each network and layer as rows."""
    rows: list[Number] = []
    for network in compared.networks:
        facts = fact_columns(compared.facts, network)
        for layer in network.layers:
            mean = pick(layer)
            if mean is not None:
                rows.append(
                    {
                        **facts,
                        "layer": layer.layer,
                        "quantity": quantity,
                        **_mean_columns(mean),
                        "images": network.images,
                    }
                )
    return rows


def _mean_columns(mean: TrainingAverage) -> Number:
    columns: dict[str, float | int] = {"value": mean.value, "folds": mean.trainings}
    if mean.trainings > 1:
        columns["sd_folds"] = mean.spread
    if mean.interval is not None:
        columns |= {"ci_low": mean.low, "ci_high": mean.high, "level": LEVEL}
    return columns
