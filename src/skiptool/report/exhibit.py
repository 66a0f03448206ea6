"""What a part of the report shows, whoever computed it: a picture, its numbers, what they say."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from skiptool.analysis.distances import (
    LEVEL,
    Averaged,
    Compared,
    LayerDistance,
    NetworkDistances,
)
from skiptool.cautions import Caution, joined
from skiptool.names import ShiftKind

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from skiptool.records import Table

__all__ = [
    "Number",
    "Shown",
    "binning",
    "bins_of",
    "counted",
    "counted_at_most",
    "facts_of",
    "interval_note",
    "known",
    "measure_of",
    "numbers_of",
    "of_split",
    "part_of",
    "samples_of",
    "section_of",
    "shift_name",
    "sides",
    "split_of",
    "tied_text",
    "tied_with",
    "title_of",
    "trained",
    "warned",
]

Number: TypeAlias = Mapping[str, str | int | float | None]
"""One measured number with what it is of: a row of the table ``report``."""


class Shown(Protocol):
    """One exhibit of the report."""

    @property
    def topic(self) -> str:
        """Stem of its anchor and file name, ``iou``: small letters, digits and hyphens.

        One that also has a text ``part`` is named by it, ``layers-brightness-0.5``, else by its
        number, ``iou-1``.
        """

    @property
    def heading(self) -> str:
        """Section that it stands in, with those before and after it of the same heading."""

    @property
    def title(self) -> str:
        """What it shows, in a line."""

    @property
    def caption(self) -> str:
        """What is seen, with n, folds, shift, B and units."""

    def draw(self) -> Figure | None:
        """Draw it; None where the table is all there is."""

    def table(self) -> Table:
        """Return its numbers as people read them; each of them is in ``numbers`` as well."""

    def numbers(self) -> list[Number]:
        """Return its numbers as rows of the table ``report``, without ``figure`` and ``title``.

        What was not measured is NaN or left out.
        """

    def sentences(self) -> tuple[str, ...]:
        """Say in words what is to be seen."""


def known(value: float) -> float | None:
    """Return a number as a table shows it: None where there is none.

    Examples
    --------
    >>> known(0.5), known(math.nan)
    (0.5, None)
    """
    return None if math.isnan(value) else value


# -------------------------------------------------------------------------------------------------
# How many trainings a mean is over, in words.


def counted(trainings: Iterable[tuple[int | None, int | None]]) -> str:
    """Say over how many trainings something was averaged, one network each.

    Parameters
    ----------
    trainings : iterable of (fold, repeat)
        One entry for each network; None where others trained it.

    Examples
    --------
    >>> counted([(0, 0), (1, 0)]), counted([(0, 0), (0, 1), (1, 0), (1, 1)])
    ('2 folds', '2 folds x 2 repeats')
    >>> counted([(0, 0), (0, 1)]), counted([(0, 0), (0, 1), (1, 0)])
    ('2 repeats of one fold', '3 trainings of 2 folds')
    >>> counted([(2, 0)]), counted([(None, None), (None, None)])
    ('one training', '2 networks')
    """
    known = list(trainings)
    number = len(known)
    if number == 1:
        return "one training"
    folds, repeats = ({each[place] for each in known} for place in (0, 1))
    if None in folds:
        return f"{number} networks"
    if len(set(known)) == number == len(folds):
        return f"{number} folds"
    if len(set(known)) == number == len(folds) * len(repeats):
        if len(folds) == 1:
            return f"{number} repeats of one fold"
        return f"{len(folds)} folds x {len(repeats)} repeats"
    of = "one fold" if len(folds) == 1 else f"{len(folds)} folds"
    return f"{number} trainings of {of}"


def counted_at_most(networks: Iterable[Iterable[tuple[int | None, int | None]]]) -> str:
    """Say the same of the network that was trained most often; say so where others were less.

    Parameters
    ----------
    networks : iterable of iterables of (fold, repeat)
        The trainings of each network; at least one network has one.

    Examples
    --------
    >>> counted_at_most([[(0, 0)], [(0, 0), (1, 0)]]), counted_at_most([[(0, 0)], [(3, 0)]])
    ('up to 2 folds', 'one training')
    """
    found = [list(each) for each in networks]
    most = max(found, key=len)
    head = "up to " if any(len(each) < len(most) for each in found) else ""
    return head + counted(most)


# -------------------------------------------------------------------------------------------------
# What a comparison is called in titles and captions, and in the table of a report's numbers.


_MEASURES: Final = {
    "hellinger": "Hellinger distance",
    "bhattacharyya": "Bhattacharyya distance 1 - BC",
    "jensen-shannon": "Jensen-Shannon distance",
    "total-variation": "Total variation distance",
    "kl": "Kullback-Leibler divergence",
    "kolmogorov-smirnov": "Kolmogorov-Smirnov distance",
    "wasserstein": "Wasserstein distance, in shares of the range",
    "wasserstein-exact": "Wasserstein distance of activations",
    "representation-shift": "Representation shift",
    "covariance": "Covariance distance",
    "classifier": "Accuracy of a linear classifier",
    "paired-difference": "Paired difference, relative to the spread",
}
_RANGES: Final = {
    "minmax": "equal width over the joint range of each channel",
    "p0.1": "equal width between the 0.1 % and 99.9 % quantiles of each channel",
    "reference": "equal width over the range of the reference in each channel",
    "quantile": "equal shares of all values of each channel",
    "literal-eq5": "equal width, eq. (5) as printed",
}
_FACTS: Final = (
    *("dataset", "reference_domain", "reference_shift", "reference_factor"),
    *("domain", "shift", "factor", "metric", "bins", "reference_split", "split"),
)


def measure_of(facts: Mapping[str, Any]) -> str:
    """Return what was measured, in words."""
    return _MEASURES.get(facts["metric"], str(facts["metric"]))


def binning(facts: Mapping[str, Any]) -> str:
    """Return how values were binned, as the tail of a clause; nothing where there are no bins."""
    if facts["bins"] is None:
        return ""
    return f", B = {facts['bins']} bins of {_RANGES.get(facts['range_rule'], '')}".removesuffix(
        " of "
    )


def bins_of(facts: Mapping[str, Any]) -> str:
    """Return the number of bins as the tail of a title; nothing where there are none."""
    return "" if facts["bins"] is None else f", B = {facts['bins']}"


def trained(*compared: Compared) -> str:
    """Say over how many trainings means are, at the most, of one architecture."""
    return counted_at_most(network.trainings for one in compared for network in one.networks)


def interval_note(compared: Compared, *, of_input: bool = False) -> str:
    """Say what the interval of a layer's mean is, or its share of the input's; or nothing."""
    layers = [layer for network in compared.networks for layer in network.layers]
    if all(layer.distance.interval is None for layer in layers):
        return ""
    once = all(len(network.trainings) == 1 for network in compared.networks)
    ends = "" if once else ", its ends averaged over trainings"
    unit = str(compared.facts["unit"] or "image")
    what = f"of the {'share' if of_input else 'estimate'}{ends}"
    return f"{LEVEL:.0%} interval over {unit}s {what}".replace("%", " %")


def samples_of(facts: Mapping[str, Any]) -> str:
    """Say how many images, and units where these are not images, a comparison rests on."""
    text = f"{facts['n_reference']} and {facts['n_other']} images"
    unit = facts["unit"] or "image"
    if unit != "image" and facts["units_reference"] is not None:
        text += f" of {facts['units_reference']} and {facts['units_other']} {unit}s"
    return text


def warned(cautions: Iterable[Caution]) -> str:
    """Return cautions as the end of a caption.

    Examples
    --------
    >>> warned([Caution("3 of 64 channels vary", ("enc1",)), Caution("the sets differ in size")])
    ' Caution: enc1: 3 of 64 channels vary; the sets differ in size.'
    """
    found = [str(caution) for caution in joined(cautions)]
    return f" Caution: {'; '.join(found)}." if found else ""


def sides(facts: Mapping[str, Any]) -> tuple[str, str]:
    """Name what is compared by its shifts, with domains that differ; else by its stores."""
    if facts["shift"] is None or facts["reference_shift"] is None:
        return str(facts["other"]), str(facts["reference"])
    here, there = shift_name(facts), shift_name(facts, "reference_")
    if facts["domain"] != facts["reference_domain"]:
        if here == there == ShiftKind.ORIGINAL:
            return str(facts["domain"]), str(facts["reference_domain"])
        return f"{facts['domain']} {here}", f"{facts['reference_domain']} {there}"
    return here, there


def part_of(facts: Mapping[str, Any]) -> str:
    """Say of which comparison a figure is, as a part of its file's name.

    Returns
    -------
    str
        The domain where it is another than that of the reference, the shift where there is one,
        the measure where it is not the Hellinger distance; else the name of the other store.

    Examples
    --------
    >>> facts = {"domain": "A", "reference_domain": "A", "metric": "kl", "other": "o.zarr"}
    >>> part_of(facts | {"shift": "brightness", "factor": 0.5})
    'brightness 0.5 kl'
    >>> part_of(facts | {"shift": None, "factor": None, "metric": "hellinger"})
    'o.zarr'
    """
    found = [str(facts["domain"])] if facts["domain"] != facts["reference_domain"] else []
    if facts["shift"] not in (None, ShiftKind.ORIGINAL):
        found.append(shift_name(facts))
    found = found or [str(facts["other"] if facts["shift"] is None else facts["domain"])]
    return " ".join([*found, *([] if facts["metric"] == "hellinger" else [str(facts["metric"])])])


def section_of(name: str) -> str:
    """Return the heading under which all exhibits of one comparison stand."""
    return f"Distance by layer: {name}"


def shift_name(facts: Mapping[str, Any], side: str = "") -> str:
    """Name a shift, ``brightness 0.75``; ``side`` is the head of its columns."""
    factor = facts[f"{side}factor"]
    return str(facts[f"{side}shift"]) + ("" if factor is None else f" {factor:g}")


def title_of(facts: Mapping[str, Any]) -> str:
    """Name a comparison: ``brightness 0.75 against original, Aperio CS2``."""
    here, there = sides(facts)
    same = facts["domain"] == facts["reference_domain"] and facts["domain"] is not None
    domain = f", {facts['domain']}" if same else ""
    return f"{here} against {there}{domain}{split_of(facts)}"


def split_of(facts: Mapping[str, Any]) -> str:
    """Name the images of a comparison as the tail of a title; nothing where all are test images.

    Examples
    --------
    >>> split_of({"reference_split": "validation", "split": "validation"})
    ', validation images'
    >>> split_of({"reference_split": "validation", "split": "test"})
    ', test against validation images'
    """
    other, reference = facts["split"], facts["reference_split"]
    if other == reference or {other, reference} <= {None, "test"}:
        return of_split(other or "test")
    return f", {other or 'unknown'} against {reference or 'unknown'} images"


def of_split(split: str) -> str:
    """Name images that are not test images as the tail of a title.

    Examples
    --------
    >>> of_split("validation"), of_split("test")
    (', validation images', '')
    """
    return "" if split == "test" else f", {split} images"


def facts_of(facts: Mapping[str, Any], network: NetworkDistances | None = None) -> Number:
    """Return the columns of the table ``report`` that say of what a number is."""
    found = {name: facts[name] for name in _FACTS if facts[name] is not None}
    if network is not None:
        named = {"arch": network.arch, "encoder": network.encoder, "pruning": network.pruning}
        found |= {name: value for name, value in named.items() if value}
    return found


def numbers_of(
    compared: Compared, quantity: str, pick: Callable[[LayerDistance], Averaged | None]
) -> list[Number]:
    """Return a number of each network and layer as rows of the table ``report``."""
    found: list[Number] = []
    for network in compared.networks:
        facts = facts_of(compared.facts, network)
        for layer in network.layers:
            number = pick(layer)
            if number is not None:
                of = {**facts, "layer": layer.layer, "quantity": quantity}
                found.append({**of, **_columns(number), "images": network.images})
    return found


def _columns(number: Averaged) -> Number:
    columns: dict[str, float | int] = {"value": number.value, "folds": number.trainings}
    if number.trainings > 1:
        columns["sd_folds"] = number.spread
    if number.interval is not None:
        columns |= {"ci_low": number.low, "ci_high": number.high, "level": LEVEL}
    return columns


# -------------------------------------------------------------------------------------------------
# No winner where there is none: which numbers a sentence must not tell apart.


_SHOWN: Final = 3
"""Names that a sentence lists; of more it says how many."""


def tied_with(
    best: int, values: Sequence[float], ends: Sequence[tuple[float, float] | None] = ()
) -> list[int]:
    """Return which other values cannot be told apart from one: no winner where there is none.

    Parameters
    ----------
    best : int
        Place of the one.
    values : sequence of float
        NaN is told apart from all.
    ends : sequence of (float, float) or None
        Interval of each, where known.

    Returns
    -------
    list of int
        Places of those equal to two digits, or with an interval that overlaps with that of the one.

    Examples
    --------
    >>> tied_with(1, [0.501, 0.504, 0.45, 0.1])
    [0]
    >>> tied_with(1, [0.501, 0.504, 0.45, 0.1], [None, (0.4, 0.6), (0.3, 0.41), (0.0, 0.2)])
    [0, 2]
    """
    found = []
    for place, value in enumerate(values):
        known = (ends[best], ends[place]) if ends else (None, None)
        alike = round(value, 2) == round(values[best], 2)
        if known[0] is not None and known[1] is not None:
            alike |= known[0][0] <= known[1][1] and known[1][0] <= known[0][1]
        if place != best and not math.isnan(value) and alike:
            found.append(place)
    return found


def tied_text(names: Sequence[str]) -> str:
    """Name what something cannot be told apart from, as the tail of a clause; nothing of nothing.

    Examples
    --------
    >>> tied_text(["L1"]), tied_text(["L1", "L2", "L3", "L4"])
    (', not told apart from L1', ', not told apart from L1, L2 and 2 more')
    """
    if not names:
        return ""
    shown = names if len(names) <= _SHOWN else names[: _SHOWN - 1]
    more = len(names) - len(shown)
    return f", not told apart from {', '.join(shown)}{f' and {more} more' if more else ''}"
