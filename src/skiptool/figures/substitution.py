"""Which skip connection carries a shift into the decoder: exhibits of skip substitution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from skiptool.analysis.substitution import Substitution, TrainingMean, substitution_effects
from skiptool.figures.colour_scale import difference_scale
from skiptool.figures.exhibit import Shown
from skiptool.figures.grid import Column, Row
from skiptool.figures.measures import of_split
from skiptool.figures.score_grid import ScoreGrid, shift_column, shift_order
from skiptool.figures.style import in_paper_order
from skiptool.figures.substitution_matrix import Place, RegainedMatrix, SubstitutionMatrix
from skiptool.figures.substitution_words import about_regained, about_substituted, findings
from skiptool.names import ENSEMBLE_FOLD
from skiptool.records import ORIGINAL, Shift
from skiptool.stats.permutation import holm

if TYPE_CHECKING:
    from skiptool.figures.exhibit import Number

__all__ = ["substitutions"]

_PLAIN: Final = "nothing clean"
_TOGETHER: Final = 6  # networks on a sheet; of more, each encoder has sheets of its own
_Networks: TypeAlias = Mapping[str, Sequence[Substitution]]
"""By name, in the order of families and of the paper's prunings."""


def substitutions(
    totals: Mapping[str, Sequence[Any]],
    *,
    clean_domain: str | None = None,
    level: float = 0.95,
) -> list[Shown]:
    """Show what predictions with clean inputs of the decoder regain under shifts.

    Parameters
    ----------
    totals : mapping of column name to values
        The columns ``skiptool.metrics.KEYS``, ``subject`` and ``pixels``, plain rows and
        those with ``clean_skips``; see :mod:`skiptool.analysis.substitution`.
    clean_domain : str, optional
        Domain that the clean images are from, where it is another.
    level : float
        Of the intervals.

    Returns
    -------
    list of Shown
        For each dataset, domain and split a matrix of IoU and one of what is regained; of more
        than six networks several of both. None where nothing was substituted.

    Raises
    ------
    ArgumentError
        If the level is not between 0 and 1.
    """
    groups: dict[tuple[str, ...], list[Substitution]] = {}
    effects = substitution_effects(totals, clean_domain=clean_domain, level=level)
    for one in effects:
        gain = one.regained
        if one.is_shifted:
            groups.setdefault((gain.dataset_id, gain.domain, gain.split), []).append(one)
    shown: list[Shown] = []
    for group in groups.values():
        of = group[0].regained.domain
        if group[0].clean_domain is not None:
            of = f"{of} (clean: {group[0].clean_domain})"
        of += of_split(group[0].regained.split)
        for name, networks in _sheets(_networks(group)):
            shown += _matrices(f"{of}{name}", networks, level)
    return shown


def _networks(group: Sequence[Substitution]) -> _Networks:
    families = list(dict.fromkeys(one.regained.family for one in group))
    prunings = in_paper_order(one.regained.pruning for one in group)

    def rank(one: Substitution) -> tuple[int, int, bool]:
        gain = one.regained
        return families.index(gain.family), prunings.index(gain.pruning), gain.ensemble

    networks: dict[str, list[Substitution]] = {}
    for one in sorted(group, key=rank):
        name = f"{one.regained.family} {one.regained.network}".strip()
        networks.setdefault(name, []).append(one)
    return networks


def _sheets(networks: _Networks) -> list[tuple[str, _Networks]]:
    """Divide networks among sheets, and say what each is of where there are several."""
    if len(networks) <= _TOGETHER:
        return [("", networks)]
    families: dict[str, list[str]] = {}
    for name, found in networks.items():
        families.setdefault(found[0].regained.family, []).append(name)
    sheets: list[tuple[str, _Networks]] = []
    for family, names in families.items():
        parts = [names[start : start + _TOGETHER] for start in range(0, len(names), _TOGETHER)]
        for number, part in enumerate(parts, 1):
            of = f" {number} of {len(parts)}" if len(parts) > 1 else ""
            sheets.append((f", {family}{of}", {name: networks[name] for name in part}))
    return sheets


def _matrices(name: str, networks: _Networks, level: float) -> list[Shown]:
    """Lay out one sheet twice: IoU with the plain rows, and what is regained without them."""
    found = [one for group in networks.values() for one in group]
    shifts = sorted({one.regained.shift for one in found}, key=shift_order)
    classes = found[0].regained.classes
    measure = f"{classes[0]} IoU" if len(classes) == 1 else "mean IoU"
    return [
        _substituted(name, networks, measure, shifts),
        _regained(name, networks, measure, shifts, level),
    ]


def _substituted(
    name: str, networks: _Networks, measure: str, shifts: Sequence[Shift]
) -> SubstitutionMatrix:
    found = [one for group in networks.values() for one in group]
    unshifted = any(one.original is not None for one in found)
    columns = [*([None] if unshifted else []), *shifts]
    grid, rows = _grid(networks, columns, plain=True)
    means: dict[Place, TrainingMean] = {}
    for head, group in networks.items():
        for one in group:
            column = columns.index(one.regained.shift)
            means[rows[head, one.clean_skips], column] = one.clean
            means[rows[head, None], column] = one.plain
            if one.original is not None:
                means[rows[head, None], 0] = one.original
    title = f"IoU with clean skip connections, {name}"
    caption = about_substituted(found, measure)
    ordered = dict(sorted(means.items()))
    told = findings(dict(sorted(networks.items(), key=_not_baseline)))
    return SubstitutionMatrix(title, caption, measure, grid, ordered, told)


def _not_baseline(named: tuple[str, Sequence[Substitution]]) -> bool:
    return named[1][0].regained.pruning != "baseline"


def _regained(
    name: str, networks: _Networks, measure: str, shifts: Sequence[Shift], level: float
) -> RegainedMatrix:
    grid, rows = _grid(networks, shifts, plain=False)
    places = {
        (rows[head, one.clean_skips], shifts.index(one.regained.shift)): one
        for head, group in networks.items()
        for one in group
    }
    ordered = {place: places[place] for place in sorted(places)}
    found = [*ordered.values()]
    p_values = np.array([one.regained.p_value for one in found])
    scale = difference_scale(np.array([one.regained.value for one in found]))
    caption = about_regained(found, measure, level, scale)
    title = f"IoU regained by clean skip connections, {name}"
    adjusted = tuple(holm(p_values).tolist())
    return RegainedMatrix(title, caption, measure, grid, ordered, adjusted, level)


_Rows: TypeAlias = dict[tuple[str, str | None], int]
"""Place of the row of a network and choice of clean inputs."""


def _grid(
    networks: _Networks, shifts: Sequence[Shift | None], *, plain: bool
) -> tuple[ScoreGrid, _Rows]:
    """Lay out rows and columns; None among the shifts stands for the clean images."""
    rows: list[Row] = []
    facts: list[Number] = []
    places: _Rows = {}
    for head, group in networks.items():
        gain = group[0].regained
        fold = ENSEMBLE_FOLD if gain.ensemble else None
        of = {"arch": gain.arch, "encoder": gain.encoder, "pruning": gain.pruning, "fold": fold}
        labels = {one.clean_skips: one.label for one in sorted(group, key=lambda one: one.order)}
        named: dict[str | None, str] = {None: _PLAIN} if plain else {}
        named.update(labels)
        for clean, label in named.items():
            places[head, clean] = len(rows)
            rows.append(Row(label, head))
            facts.append({**of, "clean_skips": clean})
    first = next(iter(networks.values()))[0]
    columns, column_facts = zip(*(_column(first, shift) for shift in shifts), strict=True)
    return ScoreGrid("shift", tuple(rows), columns, tuple(facts), column_facts), places


def _column(of: Substitution, shift: Shift | None) -> tuple[Column, Number]:
    data = of.regained
    domain = (of.clean_domain or data.domain) if shift is None else data.domain
    shown = shift or ORIGINAL
    facts: Number = {
        **{"dataset": data.dataset, "domain": domain, "split": data.split},
        **{"shift": shown.kind.value, "factor": shown.factor},
    }
    across = of.clean_domain is not None and shown == ORIGINAL
    return (Column(domain, "") if across else shift_column(shown)), facts
