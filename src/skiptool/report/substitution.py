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
_MAX_NETWORKS: Final = 6  # of one exhibit; more are divided by encoder
_NEGLIGIBLE: Final = 0.005  # smaller differences are written as 0.00

_Cell: TypeAlias = tuple[int, int]
"""Row and column of a cell."""

_Networks: TypeAlias = Mapping[str, Sequence[Substitution]]
"""Effects by network, in the order of families and of the paper's prunings."""


def substitution_exhibits(
    totals: Mapping[str, Sequence[Any]],
    *,
    clean_domain: str | None = None,
    level: float = 0.95,
) -> list[Exhibit]:
    """Show the IoU that networks regain under shifts with clean inputs of the decoder.

    Parameters
    ----------
    totals : mapping of column name to values
        The columns ``skiptool.metrics.GROUP_COLUMNS``, ``subject`` and ``pixels``, of plain rows
        and those with ``clean_skips``; see :mod:`skiptool.analysis.substitution`.
    clean_domain : str, optional
        Domain of the clean images if it differs from that of the samples.
    level : float
        Confidence level of the intervals.

    Returns
    -------
    list of Exhibit
        For each dataset, domain and split a matrix of IoU and one of the regained IoU, or several
        of both for more than six networks. Empty without substitutions.
    """
    effects = substitution_effects(totals, clean_domain=clean_domain, level=level)
    groups = group_by(
        (effect for effect in effects if effect.is_shifted),
        lambda effect: (effect.regained.dataset_id, effect.regained.domain, effect.regained.split),
    )
    exhibits: list[Exhibit] = []
    for (_, domain, split), group in groups.items():
        if group[0].clean_domain is not None:
            domain = f"{domain} (clean: {group[0].clean_domain})"
        for suffix, networks in _divide(_by_network(group)):
            name = f"{domain}{split_suffix(split)}{suffix}"
            shifts = sorted(
                {effect.regained.shift for effects in networks.values() for effect in effects},
                key=shift_order,
            )
            exhibits.append(_iou_exhibit(name, networks, shifts))
            exhibits.append(_regained_exhibit(name, networks, shifts, level))
    return exhibits


def _by_network(group: Sequence[Substitution]) -> _Networks:
    families = list(dict.fromkeys(effect.regained.family for effect in group))
    prunings = in_paper_order(effect.regained.pruning for effect in group)

    def rank(effect: Substitution) -> tuple[int, int, bool]:
        gain = effect.regained
        return families.index(gain.family), prunings.index(gain.pruning), gain.ensemble

    return group_by(
        sorted(group, key=rank),
        lambda effect: f"{effect.regained.family} {effect.regained.network}".strip(),
    )


def _divide(networks: _Networks) -> list[tuple[str, _Networks]]:
    """Divide networks among exhibits, named by family and number if there are several."""
    if len(networks) <= _MAX_NETWORKS:
        return [("", networks)]
    families = group_by(networks, lambda name: networks[name][0].regained.family)
    parts: list[tuple[str, _Networks]] = []
    for family, names in families.items():
        chunks = [names[n : n + _MAX_NETWORKS] for n in range(0, len(names), _MAX_NETWORKS)]
        for number, chunk in enumerate(chunks, 1):
            position = f" {number} of {len(chunks)}" if len(chunks) > 1 else ""
            parts.append((f", {family}{position}", {name: networks[name] for name in chunk}))
    return parts


# The matrix of IoU: rows are clean inputs, columns shifts.


def _iou_exhibit(name: str, networks: _Networks, shifts: Sequence[Shift]) -> Exhibit:
    effects = [effect for group in networks.values() for effect in group]
    has_unshifted = any(effect.original is not None for effect in effects)
    columns = [None, *shifts] if has_unshifted else [*shifts]
    grid, rows = _grid(networks, columns, plain=True)
    cells: dict[_Cell, TrainingMean] = {}
    for network, group in networks.items():
        for effect in group:
            column = columns.index(effect.regained.shift)
            cells[rows[network, effect.clean_skips], column] = effect.clean
            cells[rows[network, None], column] = effect.plain
            if effect.original is not None:
                cells[rows[network, None], 0] = effect.original
    means = dict(sorted(cells.items()))
    values = _as_matrix(grid, {cell: mean.value for cell, mean in means.items()})
    spread = _as_matrix(grid, {cell: mean.sd_trainings for cell, mean in means.items()})
    measure = iou_name(effects[0].regained.classes)
    title = f"IoU with clean skip connections, {name}"
    return Exhibit(
        topic="substitution",
        heading=_HEADING,
        title=title,
        caption=substituted_caption(effects, measure),
        sentences=findings(_baselines_first(networks)),
        table=_iou_table(f"{measure}: {title}", grid, values),
        numbers=[_iou_number(grid, cell, mean) for cell, mean in means.items()],
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


def _iou_table(title: str, grid: ScoreGrid, values: Float64) -> Table:
    columns: dict[str, Sequence[str | float | None]] = {
        "architecture": [row.group for row in grid.rows],
        "clean": [row.label for row in grid.rows],
    }
    for name, column in zip(grid.column_names(), values.T, strict=True):
        columns[name] = [nan_to_none(float(value)) for value in column]
    return Table(title, columns, shade=Shade(0.0, 1.0))


def _baselines_first(networks: _Networks) -> _Networks:
    baselines = {
        name: effects
        for name, effects in networks.items()
        if effects[0].regained.pruning == "baseline"
    }
    return {**baselines, **networks}


def _iou_number(grid: ScoreGrid, cell: _Cell, mean: TrainingMean) -> Number:
    row, column = cell
    return {
        "quantity": "IoU",
        **grid.row_facts[row],
        **grid.column_facts[column],
        "value": mean.value,
        "sd_folds": mean.sd_trainings,
        "folds": mean.trainings,
    }


def _as_matrix(grid: ScoreGrid, values: Mapping[_Cell, float]) -> Float64:
    """Arrange values by cell as a matrix (R, C), NaN without a value."""
    matrix = np.full((len(grid.rows), len(grid.columns)), np.nan)
    for cell, value in values.items():
        matrix[cell] = value
    return matrix


# The matrix of regained IoU.


def _regained_exhibit(
    name: str, networks: _Networks, shifts: Sequence[Shift], level: float
) -> Exhibit:
    grid, rows = _grid(networks, shifts, plain=False)
    unsorted = {
        (rows[network, effect.clean_skips], shifts.index(effect.regained.shift)): effect
        for network, group in networks.items()
        for effect in group
    }
    cells = {cell: unsorted[cell] for cell in sorted(unsorted)}
    effects = [*cells.values()]
    adjusted = holm(np.array([effect.regained.p_value for effect in effects])).tolist()
    scale = difference_scale(np.array([effect.regained.value for effect in effects]))
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
    title: str, grid: ScoreGrid, cells: Mapping[_Cell, Substitution], adjusted: Sequence[float]
) -> Table:
    rows = [grid.rows[row] for row, _ in cells]
    effects = [*cells.values()]
    gains = [effect.regained for effect in effects]
    columns: dict[str, Sequence[Any]] = {
        "architecture": [row.group for row in rows],
        "clean": [row.label for row in rows],
        "shift": [shift_text(gain.shift) for gain in gains],
        "IoU": [nan_to_none(effect.clean.value) for effect in effects],
        "plain IoU": [nan_to_none(effect.plain.value) for effect in effects],
        "regained": [nan_to_none(gain.value) for gain in gains],
        "CI low": [nan_to_none(gain.ci_low) for gain in gains],
        "CI high": [nan_to_none(gain.ci_high) for gain in gains],
        "p": [nan_to_none(gain.p_value) for gain in gains],
        "p (Holm)": [nan_to_none(p) for p in adjusted],
    }
    losses = [effect.lost for effect in effects]
    if any(losses):
        columns["lost"] = [loss and nan_to_none(loss.value) for loss in losses]
        columns["lost CI low"] = [loss and nan_to_none(loss.ci_low) for loss in losses]
        columns["lost CI high"] = [loss and nan_to_none(loss.ci_high) for loss in losses]
    columns["subjects"] = [gain.subjects for gain in gains]
    columns["trainings"] = [gain.trainings for gain in gains]
    spare = ("p", "subjects", "trainings", "plain IoU")
    return Table(title, columns, uniform=("architecture",), spare=spare)


def _regained_numbers(
    grid: ScoreGrid,
    cells: Mapping[_Cell, Substitution],
    adjusted: Sequence[float],
    level: float,
) -> list[Number]:
    """Return the regained and the lost IoU, and the scores behind them."""
    gains: list[Number] = []
    losses: list[Number] = []
    scores: list[Number] = []
    plain: dict[tuple[object, ...], Number] = {}
    for (cell, effect), p in zip(cells.items(), adjusted, strict=True):
        row, column = cell
        gain = effect.regained
        facts = {**grid.row_facts[row], **grid.column_facts[column]}
        gains.append(
            {
                "quantity": "regained",
                **facts,
                **interval_columns(gain, level),
                "p_value": gain.p_value,
                "p_adjusted": p,
            }
        )
        if effect.lost is not None:
            losses.append({"quantity": "lost", **facts, **interval_columns(effect.lost, level)})
        scores.append(_iou_number(grid, cell, effect.clean))
        key = (grid.rows[row].group, gain.shift)
        plain[key] = {**_iou_number(grid, cell, effect.plain), "clean_skips": None}
    return [*gains, *losses, *scores, *plain.values()]


def _draw_regained(grid: ScoreGrid, cells: Mapping[_Cell, Substitution], label: str) -> Figure:
    texts = {cell: short_interval(effect.regained) for cell, effect in cells.items()}
    below = [
        [texts.get((r, c), "") for c in range(len(grid.columns))] for r in range(len(grid.rows))
    ]
    return difference_matrix(
        _as_matrix(grid, {cell: effect.regained.value for cell, effect in cells.items()}),
        grid.rows,
        grid.columns,
        below=below if any(texts.values()) else None,
        label=label,
    )


def short_interval(gain: PairedDifference) -> str:
    """Write an interval for a cell, ``.55, .63``, without leading zeros; empty if unknown."""
    if math.isnan(gain.ci_low) or math.isnan(gain.ci_high):
        return ""
    return f"{_without_zero(gain.ci_low)}, {_without_zero(gain.ci_high)}"


def _without_zero(value: float) -> str:
    text = f"{abs(value):.2f}".removeprefix("0")
    return f"\N{MINUS SIGN}{text}" if value <= -_NEGLIGIBLE else text


# Rows and columns of both matrices.

_RowIndex: TypeAlias = dict[tuple[str, str | None], int]
"""Row by network and clean inputs."""


def _grid(
    networks: _Networks, shifts: Sequence[Shift | None], *, plain: bool
) -> tuple[ScoreGrid, _RowIndex]:
    """Lay out rows and columns; the shift None stands for the column of clean images."""
    rows: list[Row] = []
    facts: list[Number] = []
    row_index: _RowIndex = {}
    for network, group in networks.items():
        gain = group[0].regained
        ordered = sorted(group, key=lambda effect: effect.order)
        labels: dict[str | None, str] = {None: _PLAIN} if plain else {}
        labels |= {effect.clean_skips: effect.label for effect in ordered}
        for clean, label in labels.items():
            row_index[network, clean] = len(rows)
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
    return ScoreGrid("shift", tuple(rows), columns, tuple(facts), column_facts), row_index


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
    """Describe the matrix of IoU and the limits of substitution."""
    first = effects[0].regained
    several = max(effect.clean.trainings for effect in effects) > 1
    spread = ", standard deviation below it" if several else ""
    clean, shifted = "the unshifted image of the same sample", "the shifted one (columns)"
    if effects[0].clean_domain is not None:
        clean = f"the image of the same sample in domain {effects[0].clean_domain}"
        shifted = f"that in domain {first.domain} (columns)"
    return (
        f"{capitalised(measure)} when some inputs of the decoder (rows: skip connections, L1 being "
        "the uppermost, or the bottleneck, the deepest feature map of the encoder) are computed "
        f"from {clean} and all others from {shifted}. From confusion counts "
        f"accumulated over the {first.split} samples of {first.dataset} (n = {_subjects(effects)});"
        f" {_averaged(effects)}{spread}. Nothing "
        "clean: the plain prediction. This is an intervention (activation patching). A clean input "
        "that restores the IoU is sufficient to do so; only the reverse, in which it alone is "
        "shifted (predict --shifted-skips), shows whether it alone carries the shift. "
        "Limits: the decoder receives a mixture that it never saw in training, and a network "
        "trained without the connection may behave differently."
    )


def regained_caption(
    effects: Sequence[Substitution], measure: str, level: float, scale: Scale
) -> str:
    """Describe the matrix of regained IoU, its colours, intervals and tests."""
    first = effects[0].regained
    low, _, high = map(scale.written, scale.ticks)
    gains = [effect.regained for effect in effects]
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
    counts = sorted({effect.regained.subjects for effect in effects})
    if len(counts) > 1:
        return f"{counts[0]} to {counts[-1]} subjects"
    return count_noun(counts[0], "subject")


def _averaged(effects: Sequence[Substitution]) -> str:
    trainings = max(effect.clean.trainings for effect in effects)
    return f"mean over {trainings} trainings" if trainings > 1 else "one training"


# Findings.


def findings(networks: _Networks) -> tuple[str, ...]:
    """State for each network which clean inputs restore it under its worst shift.

    One or two sentences for each network: on the substituted shift with the lowest plain IoU, and
    on the shift where a single clean input regains most, if it is another one.
    """
    sentences = []
    for name, effects in networks.items():
        measured = [effect for effect in effects if not math.isnan(effect.regained.value)]
        if not measured:
            continue
        worst = min(measured, key=lambda effect: effect.plain.value)
        several = len({effect.regained.shift for effect in measured}) > 1
        reasons = {worst.regained.shift: _why_worst(worst) if several else ""}
        single = _single_inputs(measured)
        if single:
            most = max(single, key=lambda effect: effect.regained.value).regained.shift
            reasons.setdefault(most, _why_most(most, single))
        subject = f"{label_text(name, limit=64)} ({_averaged(measured)})"
        for shift, reason in reasons.items():
            under_shift = [effect for effect in measured if effect.regained.shift == shift]
            condition = _condition(under_shift[0])
            sentences.append(f"{subject}: {condition}{reason} {_effects_text(under_shift)}.")
    return tuple(sentences)


def _single_inputs(effects: Sequence[Substitution]) -> list[Substitution]:
    """Select the effects of one clean input."""
    return [effect for effect in effects if len(effect.parts) == 1]


def _why_worst(worst: Substitution) -> str:
    shift, value = worst.lowest
    if shift == worst.regained.shift:
        return ", where its IoU is lowest,"
    return (
        ", where its IoU is lowest of the shifts that were substituted (lowest of all: "
        f"{value:.2f} under {shift_text(shift)}),"
    )


def _why_most(most: Shift, single: Sequence[Substitution]) -> str:
    """Say that a single input regains most under a shift, and name the shifts tied with it."""
    best: dict[Shift, float] = {}
    for effect in single:
        shift = effect.regained.shift
        best[shift] = max(effect.regained.value, best.get(shift, -math.inf))
    shifts = [*best]
    tied = [shifts[index] for index in tied_with(shifts.index(most), [*best.values()])]
    others = f" (as under {', '.join(map(shift_text, tied))})" if tied else ""
    return f", where a single input regains most{others},"


def _condition(effect: Substitution) -> str:
    under = f"under {shift_text(effect.regained.shift)}"
    if effect.clean_domain is None:
        return under
    domain = f"in domain {label_text(effect.regained.domain, limit=64)}"
    return domain if effect.regained.shift == ORIGINAL else f"{under} {domain}"


def _effects_text(effects: Sequence[Substitution]) -> str:
    """Describe the best single input under one shift, the others, all together, the reverse."""
    single = _single_inputs(effects)
    best = max(single or effects, key=lambda effect: effect.regained.value)
    original = best.original
    if best.regained.value >= _NEGLIGIBLE:
        text = _regained_text(best, single)
    elif original is not None and original.value - best.plain.value < _NEGLIGIBLE:
        text = f"it is {best.plain.value:.2f}, so there is no loss to regain"
    else:
        text = _nothing_regained(best, single)
    by_label = {effect.label: effect for effect in effects if effect is not best}
    if "all skips" in by_label:
        text += f"; with all skips clean it is {by_label['all skips'].clean.value:.2f}"
    text += _reverse(effects)
    if original is None or math.isnan(original.value):
        return text
    domain = best.clean_domain
    clean = "unshifted" if domain is None else f"in domain {label_text(domain, limit=64)}"
    return f"{text}; {clean} {original.value:.2f}"


def _nothing_regained(best: Substitution, single: Sequence[Substitution]) -> str:
    amount = " by 0.01 or more" if best.regained.value > 0 else ""
    if not single:
        subject = "no combination of clean inputs"
    elif _all_tried(single):
        subject = "no clean feature map alone"
    else:
        ordered = sorted(single, key=lambda effect: effect.order)
        names = ", ".join(label_text(effect.label) for effect in ordered)
        subject = f"none of the clean feature maps tried alone ({names})"
    return f"{subject} raises it{amount} ({best.plain.value:.2f})"


def _regained_text(best: Substitution, single: Sequence[Substitution]) -> str:
    name = label_text(best.label)
    alone = "alone"
    if best.shifted == ():
        alone = "(the only input of its decoder)"
    elif len(single) == 1:
        alone = "alone (the only one tried)"
    subject = f"a clean {name} {alone} raises" if single else f"clean {name} raise"
    change = f"{signed(best.regained.value)}{_interval(best.regained)}"
    text = f"{subject} it from {best.plain.value:.2f} to {best.clean.value:.2f} ({change})"
    others = [effect for effect in single if effect is not best]
    others.sort(key=lambda effect: -effect.regained.value)
    tied = [effect for effect in others if _is_tied(effect)]
    if tied:
        names = (f"{label_text(effect.label)} ({signed(effect.regained.value)})" for effect in tied)
        text += f", not distinguishable from {', '.join(names)}"
    lower = [effect.regained.value for effect in others if effect not in tied]
    if lower:
        most = max(lower)
        limit = f"more than {math.ceil(100 * most - 1e-9) / 100:.2f}" if most > 0 else "anything"
        tried = "" if _all_tried(single) else " that was tried"
        text += f"; no other single input{tried} regains {limit}"
    return text


def _all_tried(single: Sequence[Substitution]) -> bool:
    """Return whether each input of the decoder was clean alone, as far as labels show."""
    first = single[0]
    if first.shifted is None:
        return False
    return {effect.parts[0] for effect in single} >= {*first.parts, *first.shifted}


def _is_tied(effect: Substitution) -> bool:
    """Return whether its difference to the best is 0 to two digits, or its interval reaches 0."""
    deficit = effect.behind
    if deficit is None:
        return False
    return round(deficit.value, 2) == 0 or deficit.ci_low <= 0 <= deficit.ci_high


def _reverse(effects: Sequence[Substitution]) -> str:
    """Describe the IoU with each input alone shifted, from the lowest; empty if not tried."""
    reverse = [
        effect for effect in effects if effect.shifted is not None and len(effect.shifted) == 1
    ]
    if not any(effect.label.startswith("all but") for effect in reverse):
        return ""
    parts = []
    for effect in sorted(reverse, key=lambda effect: effect.clean.value):
        name = (
            effect.label.removeprefix("all but ") if effect.label != "all skips" else "bottleneck"
        )
        change = (
            "" if effect.lost is None else f" ({signed(effect.lost.value)}{_interval(effect.lost)})"
        )
        parts.append(f"{effect.clean.value:.2f} for {label_text(name)}{change}")
    return f"; with a single input shifted it is {', '.join(parts)}"


def _interval(difference: PairedDifference) -> str:
    if math.isnan(difference.ci_low):
        return ""
    low, high = (signed(end).removeprefix("+") for end in (difference.ci_low, difference.ci_high))
    return f" [{low}, {high}]"
