"""Skip substitution: which skip connection carries a shift into the decoder."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from skiptool.analysis.differences import PairedDifference
from skiptool.analysis.substitution import Substitution, TrainingMean, substitution_effects
from skiptool.figures.heatmap import (
    Column,
    Row,
    Scale,
    difference_matrix,
    difference_scale,
    iou_matrix,
)
from skiptool.figures.style import in_paper_order, label_text
from skiptool.names import ENSEMBLE_FOLD, Kind
from skiptool.records import ORIGINAL, Shade, Shift, Table
from skiptool.report.exhibit import Exhibit, group_by, nan_to_none
from skiptool.report.paired import how_compared, interval_columns
from skiptool.report.scores import ScoreGrid, shift_column, shift_order
from skiptool.report.wording import (
    capitalised,
    count_noun,
    iou_name,
    shift_text,
    signed,
    split_suffix,
    tied_with,
)
from skiptool.stats.permutation import holm

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from skiptool.records import Float64
    from skiptool.report.exhibit import Number

_HEADING: Final = "Which skip connection carries the shift"
_PLAIN: Final = "nothing clean"
_TOGETHER: Final = 6  # networks on a sheet; of more, each encoder has sheets of its own
_NEGLIGIBLE: Final = 0.005  # smaller differences are written as 0.00

_Place: TypeAlias = tuple[int, int]
"""Row and column of a cell."""

_Networks: TypeAlias = Mapping[str, Sequence[Substitution]]
"""By name, in the order of families and of the paper's prunings."""


def substitutions(
    totals: Mapping[str, Sequence[Any]],
    *,
    clean_domain: str | None = None,
    level: float = 0.95,
) -> list[Exhibit]:
    """Show what predictions with clean inputs of the decoder regain under shifts.

    Parameters
    ----------
    totals : mapping of column name to values
        The columns ``skiptool.metrics.GROUP_COLUMNS``, ``subject`` and ``pixels``, of plain rows
        and those with ``clean_skips``; see :mod:`skiptool.analysis.substitution`.
    clean_domain : str, optional
        Domain of the clean images if it is not that of the samples.
    level : float
        Of the intervals.

    Returns
    -------
    list of Exhibit
        For each dataset, domain and split a matrix of IoU and one of the regained IoU, or several
        of both for more than six networks. Empty without substitutions.

    Raises
    ------
    ArgumentError
        If the level is not between 0 and 1.
    """
    effects = substitution_effects(totals, clean_domain=clean_domain, level=level)
    groups = group_by(
        (one for one in effects if one.is_shifted),
        lambda one: (one.regained.dataset_id, one.regained.domain, one.regained.split),
    )
    exhibits: list[Exhibit] = []
    for (_, domain, split), group in groups.items():
        if group[0].clean_domain is not None:
            domain = f"{domain} (clean: {group[0].clean_domain})"
        for suffix, networks in _sheets(_by_network(group)):
            name = f"{domain}{split_suffix(split)}{suffix}"
            shifts = sorted(
                {one.regained.shift for found in networks.values() for one in found},
                key=shift_order,
            )
            exhibits.append(_iou_exhibit(name, networks, shifts))
            exhibits.append(_regained_exhibit(name, networks, shifts, level))
    return exhibits


def _by_network(group: Sequence[Substitution]) -> _Networks:
    families = list(dict.fromkeys(one.regained.family for one in group))
    prunings = in_paper_order(one.regained.pruning for one in group)

    def rank(one: Substitution) -> tuple[int, int, bool]:
        gain = one.regained
        return families.index(gain.family), prunings.index(gain.pruning), gain.ensemble

    return group_by(
        sorted(group, key=rank), lambda one: f"{one.regained.family} {one.regained.network}".strip()
    )


def _sheets(networks: _Networks) -> list[tuple[str, _Networks]]:
    """Divide networks into sheets, named by family and number if there are several."""
    if len(networks) <= _TOGETHER:
        return [("", networks)]
    families = group_by(networks, lambda name: networks[name][0].regained.family)
    sheets: list[tuple[str, _Networks]] = []
    for family, names in families.items():
        parts = [names[start : start + _TOGETHER] for start in range(0, len(names), _TOGETHER)]
        for number, part in enumerate(parts, 1):
            which = f" {number} of {len(parts)}" if len(parts) > 1 else ""
            sheets.append((f", {family}{which}", {name: networks[name] for name in part}))
    return sheets


# The matrix of IoU: rows are clean inputs, columns shifts.


def _iou_exhibit(name: str, networks: _Networks, shifts: Sequence[Shift]) -> Exhibit:
    effects = [one for group in networks.values() for one in group]
    unshifted = any(one.original is not None for one in effects)
    columns = [*([None] if unshifted else []), *shifts]
    grid, rows = _grid(networks, columns, plain=True)
    cells: dict[_Place, TrainingMean] = {}
    for network, group in networks.items():
        for one in group:
            column = columns.index(one.regained.shift)
            cells[rows[network, one.clean_skips], column] = one.clean
            cells[rows[network, None], column] = one.plain
            if one.original is not None:
                cells[rows[network, None], 0] = one.original
    means = dict(sorted(cells.items()))
    values, spread = (_filled(grid, means, name) for name in ("value", "sd_trainings"))
    measure = iou_name(effects[0].regained.classes)
    title = f"IoU with clean skip connections, {name}"
    return Exhibit(
        topic="substitution",
        heading=_HEADING,
        title=title,
        caption=substituted_caption(effects, measure),
        sentences=findings(dict(sorted(networks.items(), key=_pruned_last))),
        table=_iou_table(f"{measure}: {title}", grid, values),
        numbers=[_iou_number(grid, place, mean) for place, mean in means.items()],
        draw=lambda: iou_matrix(
            values,
            grid.rows,
            grid.columns,
            spread=None if np.isnan(spread).all() else spread,
            label=measure,
        ),
        sources=(Kind.PREDICTIONS,),
        summary=1,
    )


def _pruned_last(named: tuple[str, Sequence[Substitution]]) -> bool:
    return named[1][0].regained.pruning != "baseline"


def _iou_table(title: str, grid: ScoreGrid, values: Float64) -> Table:
    columns: dict[str, Sequence[str | float | None]] = {
        "architecture": [row.group for row in grid.rows],
        "clean": [row.label for row in grid.rows],
    }
    for name, column in zip(grid.column_names(), values.T, strict=True):
        columns[name] = [nan_to_none(float(value)) for value in column]
    return Table(title, columns, shade=Shade(0.0, 1.0))


def _iou_number(grid: ScoreGrid, place: _Place, mean: TrainingMean) -> Number:
    return {
        "quantity": "IoU",
        **grid.row_facts[place[0]],
        **grid.column_facts[place[1]],
        "value": mean.value,
        "sd_folds": mean.sd_trainings,
        "folds": mean.trainings,
    }


def _filled(
    grid: ScoreGrid, cells: Mapping[_Place, TrainingMean | PairedDifference], name: str
) -> Float64:
    """Return an attribute of the cells as a matrix (R, C), NaN without a cell."""
    matrix = np.full((len(grid.rows), len(grid.columns)), np.nan)
    for place, cell in cells.items():
        matrix[place] = getattr(cell, name)
    return matrix


# The matrix of regained IoU.


def _regained_exhibit(
    name: str, networks: _Networks, shifts: Sequence[Shift], level: float
) -> Exhibit:
    grid, rows = _grid(networks, shifts, plain=False)
    places = {
        (rows[network, one.clean_skips], shifts.index(one.regained.shift)): one
        for network, group in networks.items()
        for one in group
    }
    cells = {place: places[place] for place in sorted(places)}
    effects = [*cells.values()]
    adjusted = holm(np.array([one.regained.p_value for one in effects])).tolist()
    scale = difference_scale(np.array([one.regained.value for one in effects]))
    measure = iou_name(effects[0].regained.classes)
    title = f"IoU regained by clean skip connections, {name}"
    return Exhibit(
        topic="regained",
        heading=_HEADING,
        title=title,
        caption=regained_caption(effects, measure, level, scale),
        table=_regained_table(f"{measure}: {title}", grid, cells, adjusted),
        numbers=_regained_numbers(grid, cells, adjusted, level),
        draw=lambda: _draw_regained(grid, cells, f"regained {measure}"),
        sources=(Kind.PREDICTIONS,),
        printed=False,
    )


def _regained_table(
    title: str, grid: ScoreGrid, cells: Mapping[_Place, Substitution], adjusted: Sequence[float]
) -> Table:
    rows = [grid.rows[row] for row, _ in cells]
    effects = [*cells.values()]
    gains = [one.regained for one in effects]
    columns: dict[str, Sequence[Any]] = {
        "architecture": [row.group for row in rows],
        "clean": [row.label for row in rows],
        "shift": [shift_text(gain.shift) for gain in gains],
        "IoU": [nan_to_none(one.clean.value) for one in effects],
        "plain IoU": [nan_to_none(one.plain.value) for one in effects],
        "regained": [nan_to_none(gain.value) for gain in gains],
        "CI low": [nan_to_none(gain.ci_low) for gain in gains],
        "CI high": [nan_to_none(gain.ci_high) for gain in gains],
        "p": [nan_to_none(gain.p_value) for gain in gains],
        "p (Holm)": [nan_to_none(p) for p in adjusted],
    }
    losses = [one.lost for one in effects]
    if any(losses):
        heads = {"lost": "value", "lost CI low": "ci_low", "lost CI high": "ci_high"}
        for head, name in heads.items():
            columns[head] = [None if n is None else nan_to_none(getattr(n, name)) for n in losses]
    columns["subjects"] = [gain.subjects for gain in gains]
    columns["trainings"] = [gain.trainings for gain in gains]
    spare = ("p", "subjects", "trainings", "plain IoU")
    return Table(title, columns, uniform=("architecture",), spare=spare)


def _regained_numbers(
    grid: ScoreGrid,
    cells: Mapping[_Place, Substitution],
    adjusted: Sequence[float],
    level: float,
) -> list[Number]:
    """Return what is regained and lost, and the scores behind both."""
    gains: list[Number] = []
    losses: list[Number] = []
    scores: list[Number] = []
    plain: dict[tuple[object, ...], Number] = {}
    for (place, one), p in zip(cells.items(), adjusted, strict=True):
        gain = one.regained
        facts = {**grid.row_facts[place[0]], **grid.column_facts[place[1]]}
        numbers = interval_columns(gain, level)
        gains.append(
            {
                "quantity": "regained",
                **facts,
                **numbers,
                "p_value": gain.p_value,
                "p_adjusted": p,
            }
        )
        if one.lost is not None:
            losses.append({"quantity": "lost", **facts, **interval_columns(one.lost, level)})
        scores.append(_iou_number(grid, place, one.clean))
        key = (grid.rows[place[0]].group, gain.shift)
        plain[key] = {**_iou_number(grid, place, one.plain), "clean_skips": None}
    return [*gains, *losses, *scores, *plain.values()]


def _draw_regained(grid: ScoreGrid, cells: Mapping[_Place, Substitution], label: str) -> Figure:
    gains = {place: one.regained for place, one in cells.items()}
    texts = {place: short_interval(gain) for place, gain in gains.items()}
    width = range(len(grid.columns))
    below = [[texts.get((r, c), "") for c in width] for r in range(len(grid.rows))]
    return difference_matrix(
        _filled(grid, gains, "value"),
        grid.rows,
        grid.columns,
        below=below if any(texts.values()) else None,
        label=label,
    )


def short_interval(gain: PairedDifference) -> str:
    """Write an interval for a cell, ``.55, .63``, without leading zeros; empty if unknown."""
    ends = (gain.ci_low, gain.ci_high)
    return "" if any(map(math.isnan, ends)) else ", ".join(map(_short, ends))


def _short(value: float) -> str:
    text = f"{abs(value):.2f}".removeprefix("0")
    return f"\N{MINUS SIGN}{text}" if value <= -_NEGLIGIBLE else text


# Rows and columns of both matrices.

_Rows: TypeAlias = dict[tuple[str, str | None], int]
"""Row index by network and choice of clean inputs."""


def _grid(
    networks: _Networks, shifts: Sequence[Shift | None], *, plain: bool
) -> tuple[ScoreGrid, _Rows]:
    """Lay out rows and columns; the shift None is the column of clean images."""
    rows: list[Row] = []
    facts: list[Number] = []
    places: _Rows = {}
    for network, group in networks.items():
        gain = group[0].regained
        ordered = sorted(group, key=lambda one: one.order)
        named: dict[str | None, str] = {None: _PLAIN} if plain else {}
        named.update({one.clean_skips: one.label for one in ordered})
        for clean, label in named.items():
            places[network, clean] = len(rows)
            rows.append(Row(label, network))
            facts.append(
                {
                    "arch": gain.arch,
                    "encoder": gain.encoder,
                    "pruning": gain.pruning,
                    "fold": ENSEMBLE_FOLD if gain.ensemble else None,
                    "clean_skips": clean,
                }
            )
    first = next(iter(networks.values()))[0]
    columns, column_facts = zip(*(_column(first, shift) for shift in shifts), strict=True)
    return ScoreGrid("shift", tuple(rows), columns, tuple(facts), column_facts), places


def _column(first: Substitution, shift: Shift | None) -> tuple[Column, Number]:
    data = first.regained
    domain = (first.clean_domain or data.domain) if shift is None else data.domain
    shown = shift or ORIGINAL
    facts: Number = {
        "dataset": data.dataset,
        "domain": domain,
        "split": data.split,
        "shift": shown.kind.value,
        "factor": shown.factor,
    }
    across = first.clean_domain is not None and shown == ORIGINAL
    return (Column(domain, "") if across else shift_column(shown)), facts


# Captions.


def substituted_caption(effects: Sequence[Substitution], measure: str) -> str:
    """Describe the matrix of IoU, and what substitution can and cannot show."""
    first = effects[0].regained
    several = max(one.clean.trainings for one in effects) > 1
    spread = ", standard deviation below it" if several else ""
    clean, rest = "the unshifted image of the same sample", "the shifted one (columns)"
    if effects[0].clean_domain is not None:
        clean = f"the image of the same sample in domain {effects[0].clean_domain}"
        rest = f"that in domain {first.domain} (columns)"
    return (
        f"{capitalised(measure)} when some inputs of the decoder (rows: skip connections, L1 being "
        "the uppermost, or the bottleneck, the deepest feature map of the encoder) are computed "
        f"from {clean} and all others from {rest}. From confusion counts "
        f"accumulated over the {first.split} samples of {first.dataset} (n = {_subjects(effects)});"
        f" {_averaged(effects)}{spread}. Nothing "
        "clean: the plain prediction. This is an intervention (activation patching). A clean input "
        "that restores the IoU is sufficient for it; whether this input alone carries the shift is "
        "shown only by the reverse, in which it alone is shifted (predict --shifted-skips). "
        "Limits: the decoder receives a mixture that it never saw in training, and a network that "
        "is trained without the connection may behave differently."
    )


def regained_caption(
    effects: Sequence[Substitution], measure: str, level: float, scale: Scale
) -> str:
    """Describe the matrix of regained IoU, its colours, intervals and tests."""
    first = effects[0].regained
    low, _, high = map(scale.written, scale.ticks)
    gains = [one.regained for one in effects]
    interval = (
        "Below each value, if there is room: its interval, without leading zeros. "
        if max(gain.subjects for gain in gains) > 1
        else ""
    )
    return (
        f"{capitalised(measure)} with clean inputs of the decoder (rows) minus that of the plain "
        "prediction by the same network under the same shift, over the same "
        f"{first.split} subjects of {first.dataset}; {_averaged(effects)}. Blue: regained, red: "
        f"lost. The colour scale ends at {low} and {high}, the largest difference. {interval}"
        f"{how_compared(gains, level)}"
    )


def _subjects(effects: Sequence[Substitution]) -> str:
    counts = sorted({one.regained.subjects for one in effects})
    if len(counts) > 1:
        return f"{counts[0]} to {counts[-1]} subjects"
    return count_noun(counts[0], "subject")


def _averaged(effects: Sequence[Substitution]) -> str:
    trainings = max(one.clean.trainings for one in effects)
    return f"mean over {trainings} trainings" if trainings > 1 else "one training"


# Findings.


def findings(networks: _Networks) -> tuple[str, ...]:
    """State for each network what brings it back under its worst shift.

    Returns
    -------
    tuple of str
        One or two for each network: under the substituted shift with the lowest plain IoU, and
        under that where a single clean input regains most, if it is another.
    """
    sentences = []
    for name, effects in networks.items():
        measured = [one for one in effects if not math.isnan(one.regained.value)]
        if not measured:
            continue
        worst = min(measured, key=lambda one: one.plain.value)
        several = len({one.regained.shift for one in measured}) > 1
        reasons = {worst.regained.shift: _why_worst(worst) if several else ""}
        alone = [one for one in measured if len(one.parts) == 1]
        if alone:
            most = max(alone, key=lambda one: one.regained.value).regained.shift
            reasons.setdefault(most, _why_most(most, alone))
        head = f"{label_text(name, limit=64)} ({_averaged(measured)})"
        for shift, reason in reasons.items():
            here = [one for one in measured if one.regained.shift == shift]
            sentences.append(f"{head}: {_where(here[0])}{reason} {_effects_text(here)}.")
    return tuple(sentences)


def _why_worst(worst: Substitution) -> str:
    shift, value = worst.lowest
    if shift == worst.regained.shift:
        return ", where its IoU is lowest,"
    return (
        ", where its IoU is lowest of the shifts that were substituted (lowest of all: "
        f"{value:.2f} under {shift_text(shift)}),"
    )


def _why_most(most: Shift, alone: Sequence[Substitution]) -> str:
    """Name the shift where one part alone regains most, and shifts tied with it."""
    best: dict[Shift, float] = {}
    for one in alone:
        shift = one.regained.shift
        best[shift] = max(one.regained.value, best.get(shift, -math.inf))
    shifts = [*best]
    tied = [shifts[at] for at in tied_with(shifts.index(most), [*best.values()])]
    also = f" (as under {', '.join(map(shift_text, tied))})" if tied else ""
    return f", where a single input regains most{also},"


def _where(one: Substitution) -> str:
    under = f"under {shift_text(one.regained.shift)}"
    if one.clean_domain is None:
        return under
    domain = f"in domain {label_text(one.regained.domain, limit=64)}"
    return domain if one.regained.shift == ORIGINAL else f"{under} {domain}"


def _effects_text(here: Sequence[Substitution]) -> str:
    """Describe the best single input under one shift, the others, all together, the reverse."""
    alone = [one for one in here if len(one.parts) == 1]
    best = max(alone or here, key=lambda one: one.regained.value)
    original = best.original
    if best.regained.value >= _NEGLIGIBLE:
        text = _regained_text(best, alone)
    elif original is not None and original.value - best.plain.value < _NEGLIGIBLE:
        text = f"it is {best.plain.value:.2f}, so there is no loss to regain"
    else:
        text = _nothing_regained(best, alone)
    by_label = {one.label: one for one in here if one is not best}
    if "all skips" in by_label:
        text += f"; with all skips clean it is {by_label['all skips'].clean.value:.2f}"
    text += _reverse(here)
    if original is None or math.isnan(original.value):
        return text
    clean = best.clean_domain
    where = "unshifted" if clean is None else f"in domain {label_text(clean, limit=64)}"
    return f"{text}; {where} {original.value:.2f}"


def _nothing_regained(best: Substitution, alone: Sequence[Substitution]) -> str:
    by = " by 0.01 or more" if best.regained.value > 0 else ""
    if not alone:
        none = "no combination of clean inputs"
    elif _all_tried(alone):
        none = "no clean feature map alone"
    else:
        names = ", ".join(label_text(one.label) for one in sorted(alone, key=lambda one: one.order))
        none = f"none of the clean feature maps tried alone ({names})"
    return f"{none} raises it{by} ({best.plain.value:.2f})"


def _regained_text(best: Substitution, alone: Sequence[Substitution]) -> str:
    name = label_text(best.label)
    only = "alone"
    if best.shifted == ():
        only = "(the only input of its decoder)"
    elif len(alone) == 1:
        only = "alone (the only one tried)"
    who = f"a clean {name} {only} raises" if alone else f"clean {name} raise"
    change = f"{signed(best.regained.value)}{_interval(best.regained)}"
    text = f"{who} it from {best.plain.value:.2f} to {best.clean.value:.2f} ({change})"
    others = sorted((one for one in alone if one is not best), key=lambda one: -one.regained.value)
    tied = [one for one in others if _is_tied(one)]
    if tied:
        names = (f"{label_text(one.label)} ({signed(one.regained.value)})" for one in tied)
        text += f", not distinguishable from {', '.join(names)}"
    rest = [one.regained.value for one in others if one not in tied]
    if rest:
        most = max(rest)
        limit = f"more than {math.ceil(100 * most - 1e-9) / 100:.2f}" if most > 0 else "anything"
        tried = "" if _all_tried(alone) else " that was tried"
        text += f"; no other single input{tried} regains {limit}"
    return text


def _all_tried(alone: Sequence[Substitution]) -> bool:
    """Return whether each input of the decoder was clean alone, as far as the label tells."""
    rest = alone[0].shifted
    return rest is not None and {one.parts[0] for one in alone} >= {*alone[0].parts, *rest}


def _is_tied(one: Substitution) -> bool:
    """Return whether its difference to the best is 0 to two digits, or its interval reaches 0."""
    behind = one.behind
    if behind is None:
        return False
    return round(behind.value, 2) == 0 or behind.ci_low <= 0 <= behind.ci_high


def _reverse(here: Sequence[Substitution]) -> str:
    """Describe what each input costs where it alone is shifted, the costliest first."""
    reverse = [one for one in here if one.shifted is not None and len(one.shifted) == 1]
    if not any(one.label.startswith("all but") for one in reverse):
        return ""
    parts = []
    for one in sorted(reverse, key=lambda one: one.clean.value):
        name = one.label.removeprefix("all but ") if one.label != "all skips" else "bottleneck"
        change = "" if one.lost is None else f" ({signed(one.lost.value)}{_interval(one.lost)})"
        parts.append(f"{one.clean.value:.2f} for {label_text(name)}{change}")
    return f"; with a single input shifted it is {', '.join(parts)}"


def _interval(difference: PairedDifference) -> str:
    if math.isnan(difference.ci_low):
        return ""
    low, high = (signed(end).removeprefix("+") for end in (difference.ci_low, difference.ci_high))
    return f" [{low}, {high}]"
