"""Which skip connection carries a shift into the decoder: exhibits of skip substitution."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from skiptool.figures.style import in_paper_order, readable
from skiptool.names import ENSEMBLE_FOLD
from skiptool.records import ORIGINAL, Shade, Shift, Table
from skiptool.report.exhibit import Shown, known, of_split, tied_with
from skiptool.report.paired import how_compared
from skiptool.report.scores import ScoreGrid, shift_column, shift_order
from skiptool.stats.permutation import holm

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from skiptool.records import Float64
    from skiptool.report.exhibit import Number

__all__ = [
    "Place",
    "RegainedMatrix",
    "SubstitutionMatrix",
    "about_regained",
    "about_substituted",
    "filled",
    "findings",
    "interval_below",
    "shift_words",
    "substitutions",
]

# -------------------------------------------------------------------------------------------------
# What skip substitution says in words: how it was made, how far it goes, and what it found.


_NOTHING: Final = 0.005  # what is below it is written as 0.00


def shift_words(shift: Shift) -> str:
    """Name a shift within a sentence.

    Examples
    --------
    >>> shift_words(Shift.parse("brightness=0.5"))
    'brightness 0.5'
    """
    return shift.kind.value if shift.factor is None else f"{shift.kind.value} {shift.factor:g}"


def interval_below(found: Substitution) -> str:
    """Write an interval as short as a cell needs: without the zeros before the points.

    Returns
    -------
    str
        ``.55, .63``; empty where there is no interval.
    """
    ends = (found.regained.ci_low, found.regained.ci_high)
    return "" if any(map(math.isnan, ends)) else ", ".join(map(_short, ends))


def _short(value: float) -> str:
    text = f"{abs(value):.2f}".removeprefix("0")
    return f"\N{MINUS SIGN}{text}" if value <= -_NOTHING else text


def about_substituted(found: Sequence[Substitution], measure: str) -> str:
    """Say what the matrix of IoU shows, and what substitution can and cannot say.

    Parameters
    ----------
    found : sequence of Substitution
        All of one exhibit.
    measure : str
        ``cell IoU``.
    """
    first = found[0].regained
    several = max(one.clean.trainings for one in found) > 1
    spread = ", standard deviation below it" if several else ""
    clean, rest = "the unshifted image of the same sample", "the shifted one (columns)"
    if found[0].clean_domain is not None:
        clean = f"the image of the same sample in domain {found[0].clean_domain}"
        rest = f"that in domain {first.domain} (columns)"
    return (
        f"{_capital(measure)} where the decoder is fed some feature maps (rows: skip connections, "
        "L1 the uppermost, or the deepest map of the encoder, the bottleneck) as the network "
        f"computes them from {clean}, all others from {rest}. From confusion counts accumulated "
        f"over the {first.split} samples of {first.dataset} (n = {_subjects(found)}); "
        f"{_averaged(found)}{spread}. Nothing "
        "clean: the plain prediction. This is an intervention (activation patching). One part "
        "clean that brings the IoU back is enough to do so; whether it carries the shift alone, "
        "only its reverse says, in which that part alone is shifted (predict --shifted-skips). "
        "Limits: the decoder is fed a mixture that it never saw in training, and a network that "
        "is trained without the connection may behave otherwise."
    )


def about_regained(found: Sequence[Substitution], measure: str, level: float, scale: Scale) -> str:
    """Say what the matrix of regained IoU shows, what its intervals are of, how it was tested.

    Parameters
    ----------
    found : sequence of Substitution
        All of one exhibit.
    measure : str
    level : float
        Of the intervals.
    scale : Scale
        Of the colours.
    """
    first = found[0].regained
    low, _, high = map(scale.written, scale.ticks)
    text = (
        f"{_capital(measure)} with clean inputs of the decoder (rows) minus that of the plain "
        "prediction by the same network under the same shift, over the same "
        f"{first.split} subjects of {first.dataset}; {_averaged(found)}. Blue: regained, red: "
        f"lost. The colours end at {low} and {high}, the greatest difference. "
    )
    gains = [one.regained for one in found]
    if max(gain.subjects for gain in gains) > 1:
        text += "Below a value, where cells have room: its interval, zeros before the points left "
        text += "out. "
    return text + how_compared(gains, level)


def _subjects(found: Sequence[Substitution]) -> str:
    counts = sorted({one.regained.subjects for one in found})
    if len(counts) > 1:
        return f"{counts[0]} to {counts[-1]} subjects"
    return f"{counts[0]} subject{'s'[: counts[0] - 1]}"


def _capital(measure: str) -> str:
    return f"{measure[0].upper()}{measure[1:]}"


def _averaged(found: Sequence[Substitution]) -> str:
    trainings = max(one.clean.trainings for one in found)
    return f"mean over {trainings} trainings" if trainings > 1 else "one training"


def findings(networks: Mapping[str, Sequence[Substitution]]) -> tuple[str, ...]:
    """Say of each network what brings it back where it is worst, and where one part alone does.

    Parameters
    ----------
    networks : mapping of str to sequence of Substitution
        By name, in the order to tell them in.

    Returns
    -------
    tuple of str
        One or two a network: under the shift of lowest plain IoU of those that were substituted,
        and under that where a single clean input regains most, if it is another.
    """
    sentences = []
    for name, found in networks.items():
        known = [one for one in found if not math.isnan(one.regained.value)]
        if not known:
            continue
        worst = min(known, key=lambda one: one.plain.value)
        several = len({one.regained.shift for one in known}) > 1
        told = {worst.regained.shift: _why_worst(worst) if several else ""}
        alone = [one for one in known if len(one.parts) == 1]
        if alone:
            most = max(alone, key=lambda one: one.regained.value).regained.shift
            told.setdefault(most, _why_most(most, alone))
        head = f"{readable(name, limit=64)} ({_averaged(known)})"
        for shift, why in told.items():
            here = [one for one in known if one.regained.shift == shift]
            sentences.append(f"{head}: {_where(here[0])}{why} {_told(here)}.")
    return tuple(sentences)


def _why_worst(worst: Substitution) -> str:
    shift, value = worst.lowest
    if shift == worst.regained.shift:
        return ", where its IoU is lowest,"
    return (
        ", where its IoU is lowest of the shifts that were substituted (lowest of all: "
        f"{value:.2f} under {shift_words(shift)}),"
    )


def _why_most(most: Shift, alone: Sequence[Substitution]) -> str:
    """Say that one part alone regains most there, with the other shifts where it is as much."""
    best: dict[Shift, float] = {}
    for one in alone:
        shift = one.regained.shift
        best[shift] = max(one.regained.value, best.get(shift, -math.inf))
    shifts = [*best]
    others = [shifts[at] for at in tied_with(shifts.index(most), [*best.values()])]
    also = f" (as under {', '.join(map(shift_words, others))})" if others else ""
    return f", where one alone regains most{also},"


def _where(one: Substitution) -> str:
    under = f"under {shift_words(one.regained.shift)}"
    if one.clean_domain is None:
        return under
    domain = f"in domain {readable(one.regained.domain, limit=64)}"
    return domain if one.regained.shift == ORIGINAL else f"{under} {domain}"


def _told(here: Sequence[Substitution]) -> str:
    """Tell the best single input under one shift, the others, all together, and the reverse."""
    alone = [one for one in here if len(one.parts) == 1]
    best = max(alone or here, key=lambda one: one.regained.value)
    if best.regained.value >= _NOTHING:
        text = _regained_text(best, alone)
    elif best.original is not None and best.original.value - best.plain.value < _NOTHING:
        text = f"it is {best.plain.value:.2f}, so nothing is lost that could be regained"
    else:
        text = _nothing_regained(best, alone)
    by_label = {one.label: one for one in here if one is not best}
    if "all skips" in by_label:
        text += f"; with all skips clean it is {by_label['all skips'].clean.value:.2f}"
    text += _reverse(here)
    original = best.original
    if original is None or math.isnan(original.value):
        return text
    clean = best.clean_domain
    where = "without a shift" if clean is None else f"in domain {readable(clean, limit=64)}"
    return f"{text}; {where} {original.value:.2f}"


def _nothing_regained(best: Substitution, alone: Sequence[Substitution]) -> str:
    by = " by 0.01 or more" if best.regained.value > 0 else ""
    if not alone:
        none = "no choice of clean inputs"
    elif _all_tried(alone):
        none = "no clean feature map alone"
    else:
        names = ", ".join(readable(one.label) for one in sorted(alone, key=lambda one: one.order))
        none = f"no clean feature map of those tried alone ({names})"
    return f"{none} raises it{by} ({best.plain.value:.2f})"


def _regained_text(best: Substitution, alone: Sequence[Substitution]) -> str:
    name = readable(best.label)
    only = "alone"
    if best.shifted == ():
        only = "(all that its decoder is fed)"
    elif len(alone) == 1:
        only = "alone (the only one tried)"
    who = f"a clean {name} {only} brings" if alone else f"{name} clean bring"
    change = f"{_signed(best.regained.value)}{_ends(best.regained)}"
    text = f"{who} it from {best.plain.value:.2f} to {best.clean.value:.2f} ({change})"
    others = sorted((one for one in alone if one is not best), key=lambda one: -one.regained.value)
    tied = [one for one in others if _is_tied(one)]
    if tied:
        names = (f"{readable(one.label)} ({_signed(one.regained.value)})" for one in tied)
        text += f", not told apart from {', '.join(names)}"
    rest = [one.regained.value for one in others if one not in tied]
    if rest:
        most = max(rest)
        limit = f"more than {math.ceil(100 * most - 1e-9) / 100:.2f}" if most > 0 else "anything"
        text += f"; nothing else {'' if _all_tried(alone) else 'tried '}alone regains {limit}"
    return text


def _all_tried(alone: Sequence[Substitution]) -> bool:
    """Whether each input of the decoder was clean alone, as far as the network's label tells."""
    rest = alone[0].shifted
    return rest is not None and {one.parts[0] for one in alone} >= {*alone[0].parts, *rest}


def _is_tied(one: Substitution) -> bool:
    """Whether its difference to the best is 0 to two digits, or its interval reaches 0."""
    behind = one.behind
    if behind is None:
        return False
    return round(behind.value, 2) == 0 or behind.ci_low <= 0 <= behind.ci_high


def _reverse(here: Sequence[Substitution]) -> str:
    """Tell what each input costs where it alone is shifted, the costliest first."""
    found = [one for one in here if one.shifted is not None and len(one.shifted) == 1]
    if not any(one.label.startswith("all but") for one in found):
        return ""
    parts = []
    for one in sorted(found, key=lambda one: one.clean.value):
        name = one.label.removeprefix("all but ") if one.label != "all skips" else "bottleneck"
        lost = one.lost
        change = "" if lost is None else f" ({_signed(lost.value)}{_ends(lost)})"
        parts.append(f"{readable(name)} takes it to {one.clean.value:.2f}{change}")
    return f"; shifted alone, {', '.join(parts)}"


def _signed(value: float) -> str:
    text = f"{value:+.2f}"
    return "0.00" if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


def _ends(found: PairedDifference) -> str:
    if math.isnan(found.ci_low):
        return ""
    low, high = (_signed(end).removeprefix("+") for end in (found.ci_low, found.ci_high))
    return f" [{low}, {high}]"


# -------------------------------------------------------------------------------------------------
# Two matrices of skip substitution: IoU, and what of it is regained.


_HEADING: Final = "Which skip connection carries the shift"

Place: TypeAlias = tuple[int, int]
"""Row and column of a cell."""


@dataclass(frozen=True, slots=True, eq=False)
class SubstitutionMatrix:
    """Mean IoU by clean inputs of the decoder, of several networks, and by shift.

    Attributes
    ----------
    title, caption, measure : str
        ``measure`` is what the colours mean: ``cell IoU``.
    grid : ScoreGrid
        R rows, of each network first the plain prediction; C shifts.
    means : mapping of (row, column) to TrainingMean
        What was measured, in the order of rows and columns.
    told : tuple of str
        What is to be seen.
    """

    title: str
    caption: str
    measure: str
    grid: ScoreGrid
    means: Mapping[Place, TrainingMean]
    told: tuple[str, ...]
    topic: str = "substitution"
    heading: str = _HEADING

    def draw(self) -> Figure:
        """Draw the matrix; the spread stands below each value of several trainings."""
        values, spread = (filled(self.grid, self._each(name)) for name in ("value", "sd_trainings"))
        known = None if np.isnan(spread).all() else spread
        rows, columns = self.grid.rows, self.grid.columns
        return iou_matrix(values, rows, columns, spread=known, label=self.measure)

    def table(self) -> Table:
        """Return the same numbers as a table, shifts across."""
        values = filled(self.grid, self._each("value"))
        columns: dict[str, Sequence[str | float | None]] = {
            "architecture": [row.group for row in self.grid.rows],
            "clean": [row.label for row in self.grid.rows],
        }
        for name, column in zip(self.grid.column_names(), values.T, strict=True):
            columns[name] = [known(float(value)) for value in column]
        title = f"{self.measure}: {self.title}"
        return Table(title, columns, shade=Shade(0.0, 1.0))

    def numbers(self) -> list[Number]:
        """Return each cell as a row of the table ``report``."""
        return [_iou(self.grid, place, mean) for place, mean in self.means.items()]

    def sentences(self) -> tuple[str, ...]:
        """Say in words what brings each network back."""
        return self.told

    def _each(self, name: str) -> dict[Place, float]:
        return {place: float(getattr(mean, name)) for place, mean in self.means.items()}


@dataclass(frozen=True, slots=True, eq=False)
class RegainedMatrix:
    """What clean inputs of the decoder regain against the plain prediction under the same shift.

    Attributes
    ----------
    title, caption, measure : str
    grid : ScoreGrid
        R rows, C shifts.
    found : mapping of (row, column) to Substitution
        What was measured, in the order of rows and columns.
    adjusted : tuple of float
        p-value of each after Holm's adjustment over all; NaN where there was no test.
    level : float
        Of the intervals.
    """

    title: str
    caption: str
    measure: str
    grid: ScoreGrid
    found: Mapping[Place, Substitution]
    adjusted: tuple[float, ...]
    level: float
    topic: str = "regained"
    heading: str = _HEADING

    def draw(self) -> Figure:
        """Draw the matrix; below each value stands its interval, where cells have room."""
        rows, columns = self.grid.rows, self.grid.columns
        values = filled(self.grid, {at: one.regained.value for at, one in self.found.items()})
        texts = {place: interval_below(one) for place, one in self.found.items()}
        below = [[texts.get((r, c), "") for c in range(len(columns))] for r in range(len(rows))]
        known = below if any(texts.values()) else None
        label = f"regained {self.measure}"
        return difference_matrix(values, rows, columns, below=known, label=label)

    def table(self) -> Table:
        """Return all numbers, a row for each network, choice of clean inputs and shift."""
        rows = [self.grid.rows[row] for row, _ in self.found]
        found = [*self.found.values()]
        regained = [one.regained for one in found]
        columns: dict[str, Sequence[Any]] = {
            "architecture": [row.group for row in rows],
            "clean": [row.label for row in rows],
            "shift": [shift_words(one.shift) for one in regained],
            "IoU": [known(one.clean.value) for one in found],
            "plain IoU": [known(one.plain.value) for one in found],
            "regained": [known(one.value) for one in regained],
            "CI low": [known(one.ci_low) for one in regained],
            "CI high": [known(one.ci_high) for one in regained],
            "p": [known(one.p_value) for one in regained],
            "p (Holm)": [known(p) for p in self.adjusted],
            **self._losses(),
            "subjects": [one.subjects for one in regained],
            "trainings": [one.trainings for one in regained],
        }
        spare = ("p", "subjects", "trainings", "plain IoU")
        title = f"{self.measure}: {self.title}"
        return Table(title, columns, uniform=("architecture",), spare=spare)

    def numbers(self) -> list[Number]:
        """Return what is regained and what is lost, and the IoU that they are differences of."""
        gains: list[Number] = []
        losses: list[Number] = []
        scores: list[Number] = []
        plain: dict[tuple[object, ...], Number] = {}
        for (place, one), p in zip(self.found.items(), self.adjusted, strict=True):
            gain = one.regained
            of = {**self.grid.row_facts[place[0]], **self.grid.column_facts[place[1]]}
            gains.append(
                {
                    **{"quantity": "regained", **of},
                    **_facts(gain, self.level),
                    **{"p_value": gain.p_value, "p_adjusted": p},
                }
            )
            if one.lost is not None:
                losses.append({"quantity": "lost", **of, **_facts(one.lost, self.level)})
            scores.append(_iou(self.grid, place, one.clean))
            key = (self.grid.rows[place[0]].group, gain.shift)
            plain[key] = {**_iou(self.grid, place, one.plain), "clean_skips": None}
        return [*gains, *losses, *scores, *plain.values()]

    def sentences(self) -> tuple[str, ...]:
        """Say nothing more: the matrix of IoU says it all."""
        return ()

    def _losses(self) -> dict[str, list[float | None]]:
        """Columns of what is lost against the clean images, where that is known of any."""
        lost = [one.lost for one in self.found.values()]
        if not any(lost):
            return {}
        names = {"lost": "value", "lost CI low": "ci_low", "lost CI high": "ci_high"}
        return {
            head: [None if one is None else known(getattr(one, name)) for one in lost]
            for head, name in names.items()
        }


def filled(grid: ScoreGrid, values: Mapping[Place, float]) -> Float64:
    """Return values by place as a matrix (R, C), NaN where there is none."""
    matrix = np.full((len(grid.rows), len(grid.columns)), np.nan)
    for place, value in values.items():
        matrix[place] = value
    return matrix


def _facts(found: PairedDifference, level: float) -> Number:
    return {
        **{"value": found.value, "sd_folds": found.sd_trainings, "level": level},
        **{"se_trainings": found.se_trainings, "se_subjects": found.se_subjects},
        **{"ci_low": found.ci_low, "ci_high": found.ci_high},
        **{"folds": found.trainings, "trainings": found.trainings},
        "subjects": found.subjects,
    }


def _iou(grid: ScoreGrid, place: Place, mean: TrainingMean) -> Number:
    return {
        **{"quantity": "IoU", **grid.row_facts[place[0]], **grid.column_facts[place[1]]},
        **{"value": mean.value, "sd_folds": mean.sd_trainings, "folds": mean.trainings},
    }


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
