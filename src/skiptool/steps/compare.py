"""Compare anybody's features: arrays in, a shift table out. Nothing is read or written."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from skiptool.comparison.activations import BINS, PERMUTATIONS, Settings, as_activations
from skiptool.comparison.pairs import columns_of, in_order, left_out, measure_pairs
from skiptool.errors import ArgumentError, MismatchError, near
from skiptool.names import Kind, Metric, RangeRule
from skiptool.parallel import available_cores, threaded
from skiptool.stores.tables import as_table

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["compare_features"]

Word = TypeVar("Word", bound=StrEnum)


def compare_features(
    reference: Any,  # noqa: ANN401 - whatever NumPy takes for an array
    other: Any,  # noqa: ANN401
    *,
    metrics: str | Sequence[str] = "hellinger",
    bins: int | Sequence[int] = BINS,
    range_rule: str = "minmax",
    permutations: int = PERMUTATIONS,
    groups: tuple[Sequence[object], Sequence[object]] | None = None,
    paired: bool = False,
    seed: int = 0,
    workers: int | None = None,
) -> pa.Table:
    """Measure how far two sets of features are apart, layer by layer and channel by channel.

    Works on the features of any network: nothing here knows of U-nets.

    Parameters
    ----------
    reference, other : array, or mapping of str to array, shapes (N, D) or (N, D, K)
        Float features of N images in D channels, K vectors an image. N may differ between the
        two; the layers of a mapping and their channels may not.
    metrics : str or sequence of str
        Names out of :class:`skiptool.names.Metric`.
    bins : int or sequence of int
        B; several are counted once.
    range_rule : str
        ``minmax`` (eqs. (6) and (7)), ``p0.1``, ``reference`` or ``quantile``.
    permutations : int
        Relabellings behind the null; 0 leaves it out.
    groups : pair of sequences, optional
        Group (patient, slide) of each image of either set: the unit of statistics. Without it
        images are taken to be independent.
    paired : bool
        Image i (or the group of one name) of both sets belongs together.
    seed : int
    workers : int, optional
        Threads; all cores by default.

    Returns
    -------
    pyarrow.Table
        Columns of a shift table (``skiptool.stores.tables.SHIFT``): for each metric and number
        of bins a row a layer, whose ``channel`` is null, and a row a channel. ``covariance``,
        ``classifier`` and ``paired-difference`` (which needs ``paired``) have no rows of channels.
        What a reader must know of the numbers of a layer is in the column ``warnings``.

    Raises
    ------
    ArgumentError
        If an array or an option is not as described.
    MismatchError
        If layers, channels or pairs do not match.
    FormatError
        If a feature is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.normal(size=(2, 50, 8, 16))
    >>> table = compare_features(x, y + 1.0)
    >>> table.num_rows, table["layer"][0].as_py(), round(table["p_value"][0].as_py(), 3)
    (9, 'features', 0.005)
    """
    names = (metrics,) if isinstance(metrics, str) else metrics
    settings = Settings(
        metrics=tuple(_known(name, Metric) for name in names),
        bins=tuple(np.atleast_1d(bins).tolist()),
        range_rule=_known(range_rule, RangeRule),
        permutations=permutations,
        group=None if groups is None else "group",
        paired=paired,
        seed=seed,
        workers=available_cores() if workers is None else workers,
    )
    mine, theirs = groups or (None, None)
    sets = [
        as_activations(reference, "reference", mine),
        as_activations(other, "other", theirs),
    ]
    missing, extra = (
        ", ".join(name for name in one.layers if name not in two.layers) or "none"
        for one, two in (sets, sets[::-1])
    )
    if left_out(*sets):  # nobody reads a warning of a function
        raise MismatchError(
            f"other against reference: layers differ (missing: {missing}; extra: {extra}); give "
            "both the same layers"
        )
    mapper = partial(threaded, workers=settings.workers)
    (design,), (measured,) = measure_pairs(sets, [(0, 1)], settings, mapper)
    columns: dict[str, list[Any]] = {"reference": [], "other": []}
    for each in in_order(measured, settings):
        made = columns_of(each, design)
        rows = len(made["channel"])
        for name, values in made.items():
            column = values if isinstance(values, list) else [values] * rows
            columns.setdefault(name, []).extend(column)
    size = len(columns["layer"])
    columns["reference"], columns["other"] = ["reference"] * size, ["other"] * size
    return as_table(Kind.SHIFT, columns, size)


def _known(word: str, vocabulary: type[Word]) -> Word:
    if word not in list(vocabulary):
        raise ArgumentError(
            f"{word!r}: expected one of {', '.join(vocabulary)}{near(str(word), vocabulary)}"
        )
    return vocabulary(word)
