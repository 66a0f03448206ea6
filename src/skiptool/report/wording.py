"""Phrases shared by several exhibits: counts, measures, comparisons, shifts, ties."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from skiptool.analysis.distances import LEVEL, ShiftDistances
from skiptool.cautions import Caution, merge_cautions
from skiptool.names import Metric, ShiftKind
from skiptool.records import Shift

Training: TypeAlias = tuple[int | None, int | None]
"""Fold and repeat; None for a network of unknown training."""

# Numbers and nouns.


def count_noun(number: int, noun: str) -> str:
    """Write a number with its noun.

    Examples
    --------
    >>> count_noun(1, "kind"), count_noun(3, "kind")
    ('1 kind', '3 kinds')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def number_range(numbers: Iterable[int], spec: str = "") -> str:
    """Write the range of integers, with a format specification.

    Examples
    --------
    >>> number_range([3, 2]), number_range([1000, 1000], ",")
    ('2 to 3', '1,000')
    """
    ordered = sorted(numbers)
    low, high = ordered[0], ordered[-1]
    return f"{low:{spec}}" if low == high else f"{low:{spec}} to {high:{spec}}"


def signed(value: float) -> str:
    """Write a difference with two digits and its sign.

    Examples
    --------
    >>> signed(0.1), signed(-0.001), signed(-0.25)
    ('+0.10', '0.00', '−0.25')
    """
    text = f"{value:+.2f}"
    return "0.00" if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


def capitalised(text: str) -> str:
    """Return a text with its first letter in upper case and all others unchanged."""
    return f"{text[0].upper()}{text[1:]}"


def iou_name(classes: Sequence[str]) -> str:
    """Name the score: ``cell IoU``, or ``mean IoU`` of several classes."""
    return f"{classes[0]} IoU" if len(classes) == 1 else "mean IoU"


def count_trainings(trainings: Iterable[Training]) -> str:
    """Describe the trainings behind a mean.

    Examples
    --------
    >>> count_trainings([(0, 0), (1, 0)]), count_trainings([(0, 0), (0, 1), (1, 0), (1, 1)])
    ('2 folds', '2 folds x 2 repeats')
    >>> count_trainings([(0, 0), (0, 1)]), count_trainings([(0, 0), (0, 1), (1, 0)])
    ('2 repeats of one fold', '3 trainings of 2 folds')
    >>> count_trainings([(2, 0)]), count_trainings([(None, None), (None, None)])
    ('one training', '2 networks')
    """
    pairs = list(trainings)
    number = len(pairs)
    if number == 1:
        return "one training"
    folds, repeats = {fold for fold, _ in pairs}, {repeat for _, repeat in pairs}
    if None in folds:
        return f"{number} networks"
    if len(set(pairs)) == number == len(folds):
        return f"{number} folds"
    if len(set(pairs)) == number == len(folds) * len(repeats):
        if len(folds) == 1:
            return f"{number} repeats of one fold"
        return f"{len(folds)} folds x {len(repeats)} repeats"
    return f"{number} trainings of {'one fold' if len(folds) == 1 else f'{len(folds)} folds'}"


def most_trainings(networks: Iterable[Iterable[Training]]) -> str:
    """Describe the trainings of the network with most, ``up to`` if others have fewer.

    Examples
    --------
    >>> most_trainings([[(0, 0)], [(0, 0), (1, 0)]]), most_trainings([[(0, 0)], [(3, 0)]])
    ('up to 2 folds', 'one training')
    """
    by_network = [list(trainings) for trainings in networks]
    most = max(by_network, key=len)
    fewer = any(len(trainings) < len(most) for trainings in by_network)
    return f"up to {count_trainings(most)}" if fewer else count_trainings(most)


# Comparisons of feature maps; ``facts`` are those of `skiptool.analysis.distances.ShiftDistances`.

_MEASURES: Final = {metric.value: metric.label for metric in Metric}
_RANGES: Final = {
    "minmax": "equal width over the joint range of each channel",
    "p0.1": "equal width between the 0.1 % and 99.9 % quantiles of each channel",
    "reference": "equal width over the range of the reference in each channel",
    "quantile": "equal shares of all values of each channel",
    "literal-eq5": "equal width, eq. (5) as printed",
}


def measure_name(metric: str) -> str:
    """Return the name of a metric in text; unknown metrics keep their key."""
    return _MEASURES.get(metric, metric)


def bins_suffix(bins: int | None) -> str:
    """Return the number of bins as the end of a title; empty without bins."""
    return "" if bins is None else f", B = {bins}"


def range_suffix(bins: int | None, rule: str | None) -> str:
    """Return the number of bins and their range as the end of a clause; empty without bins."""
    if bins is None:
        return ""
    text = f", B = {bins} bins"
    return f"{text} of {_RANGES[rule]}" if rule in _RANGES else text


def trainings_behind(*compared: ShiftDistances) -> str:
    """Describe the trainings behind the means, of the architecture with most."""
    return most_trainings(network.trainings for one in compared for network in one.networks)


def interval_note(compared: ShiftDistances, *, of_input: bool = False) -> str:
    """Explain the interval of a layer's mean, or of its share of the input; empty without one."""
    layers = [layer for network in compared.networks for layer in network.layers]
    if all(layer.distance.interval is None for layer in layers):
        return ""
    single = all(len(network.trainings) == 1 for network in compared.networks)
    averaged = "" if single else ", with its ends averaged over trainings"
    quantity = "share" if of_input else "estimate"
    unit = compared.facts["unit"] or "image"
    return f"{100 * LEVEL:g} % interval of the {quantity} over {unit}s{averaged}"


def sample_counts(facts: Mapping[str, Any]) -> str:
    """Count the images of a comparison, and its units if these are not images."""
    text = f"{facts['n_reference']} and {facts['n_other']} images"
    unit = facts["unit"] or "image"
    if unit != "image" and facts["units_reference"] is not None:
        text += f" of {facts['units_reference']} and {facts['units_other']} {unit}s"
    return text


def caution_text(cautions: Iterable[Caution]) -> str:
    """Return cautions as the end of a caption.

    Examples
    --------
    >>> caution_text([Caution("3 of 64 channels vary", ("enc1",)), Caution("the sets differ")])
    ' Caution: enc1: 3 of 64 channels vary; the sets differ.'
    """
    texts = [str(caution) for caution in merge_cautions(cautions)]
    return f" Caution: {'; '.join(texts)}." if texts else ""


def compared_names(facts: Mapping[str, Any]) -> tuple[str, str]:
    """Name a set of images and its reference: by shift, and domain if these differ, or by store."""
    if facts["shift"] is None or facts["reference_shift"] is None:
        return str(facts["other"]), str(facts["reference"])
    shift, reference_shift = shift_name(facts), shift_name(facts, "reference_")
    if facts["domain"] == facts["reference_domain"]:
        return shift, reference_shift
    if shift == reference_shift == ShiftKind.ORIGINAL:
        return str(facts["domain"]), str(facts["reference_domain"])
    return f"{facts['domain']} {shift}", f"{facts['reference_domain']} {reference_shift}"


def comparison_part(facts: Mapping[str, Any]) -> str:
    """Name a comparison within file names.

    Returns
    -------
    str
        The domain if it is not that of the reference, the shift if there is one (else the domain,
        or the other store), and the metric if it is not the Hellinger distance.

    Examples
    --------
    >>> facts = {"domain": "A", "reference_domain": "A", "metric": "kl", "other": "o.zarr"}
    >>> comparison_part(facts | {"shift": "brightness", "factor": 0.5})
    'brightness 0.5 kl'
    >>> comparison_part(facts | {"shift": None, "factor": None, "metric": "hellinger"})
    'o.zarr'
    """
    words = [str(facts["domain"])] if facts["domain"] != facts["reference_domain"] else []
    if facts["shift"] not in (None, ShiftKind.ORIGINAL):
        words.append(shift_name(facts))
    if not words:
        words.append(str(facts["other"] if facts["shift"] is None else facts["domain"]))
    if facts["metric"] != "hellinger":
        words.append(str(facts["metric"]))
    return " ".join(words)


def comparison_heading(name: str) -> str:
    """Return the heading of all exhibits of one comparison."""
    return f"Distance by layer: {name}"


def comparison_title(facts: Mapping[str, Any]) -> str:
    """Name a comparison: ``brightness 0.75 against original, Aperio CS2``."""
    other, reference = compared_names(facts)
    same_domain = facts["domain"] == facts["reference_domain"] and facts["domain"] is not None
    domain = f", {facts['domain']}" if same_domain else ""
    return f"{other} against {reference}{domain}{splits_suffix(facts)}"


def shift_name(facts: Mapping[str, Any], prefix: str = "") -> str:
    """Name the shift of a table row, ``brightness 0.75``, from its columns with a prefix."""
    factor = facts[f"{prefix}factor"]
    return str(facts[f"{prefix}shift"]) + ("" if factor is None else f" {factor:g}")


def shift_text(shift: Shift) -> str:
    """Name a shift for people.

    Examples
    --------
    >>> shift_text(Shift.parse("brightness=0.50")), shift_text(Shift.parse("original"))
    ('brightness 0.5', 'original')
    """
    return shift.kind.value if shift.factor is None else f"{shift.kind.value} {shift.factor:g}"


def splits_suffix(facts: Mapping[str, Any]) -> str:
    """Name the splits of a comparison as the end of a title; empty if both are test images.

    Examples
    --------
    >>> splits_suffix({"reference_split": "validation", "split": "validation"})
    ', validation images'
    >>> splits_suffix({"reference_split": "validation", "split": "test"})
    ', test against validation images'
    """
    other, reference = facts["split"], facts["reference_split"]
    if other == reference or {other, reference} <= {None, "test"}:
        return split_suffix(other or "test")
    return f", {other or 'unknown'} against {reference or 'unknown'} images"


def split_suffix(split: str) -> str:
    """Name a split as the end of a title; empty for test images.

    Examples
    --------
    >>> split_suffix("validation"), split_suffix("test")
    (', validation images', '')
    """
    return "" if split == "test" else f", {split} images"


def assumed_text(assumed: int, points: int, split: str) -> str:
    """State the number of points from shift tables that do not name their split, if any."""
    if not assumed:
        return ""
    return (
        f"{assumed} of {points} points come from shift tables that do not name one split; their "
        f"images are assumed to be the {split} images."
    )


# Ties: values that a sentence must not rank.

_MAX_LISTED: Final = 3  # tied names in a sentence; of more, the rest is counted


def tied_with(
    best: int, values: Sequence[float], intervals: Sequence[tuple[float, float] | None] = ()
) -> list[int]:
    """Find the values that cannot be distinguished from the one at index ``best``.

    Parameters
    ----------
    values : sequence of float
        NaN is never tied.
    intervals : sequence of (float, float) or None, optional
        Interval of each value, None if unknown.

    Returns
    -------
    list of int
        Indices of the values that are equal to two digits or whose interval overlaps that of
        ``best``.

    Examples
    --------
    >>> tied_with(1, [0.501, 0.504, 0.45, 0.1])
    [0]
    >>> tied_with(1, [0.501, 0.504, 0.45, 0.1], [None, (0.4, 0.6), (0.3, 0.41), (0.0, 0.2)])
    [0, 2]
    """
    tied = []
    for index, value in enumerate(values):
        if index == best or math.isnan(value):
            continue
        equal = round(value, 2) == round(values[best], 2)
        if equal or (intervals and _overlap(intervals[best], intervals[index])):
            tied.append(index)
    return tied


def _overlap(first: tuple[float, float] | None, second: tuple[float, float] | None) -> bool:
    if first is None or second is None:
        return False
    return first[0] <= second[1] and second[0] <= first[1]


def tied_text(names: Sequence[str]) -> str:
    """List tied names as the end of a clause; empty without names.

    Examples
    --------
    >>> tied_text(["L1"]), tied_text(["L1", "L2", "L3", "L4"])
    (', not distinguishable from L1', ', not distinguishable from L1, L2 and 2 more')
    """
    if not names:
        return ""
    listed = names if len(names) <= _MAX_LISTED else names[: _MAX_LISTED - 1]
    more = len(names) - len(listed)
    text = f", not distinguishable from {', '.join(listed)}"
    return f"{text} and {more} more" if more else text
