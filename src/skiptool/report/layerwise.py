"""What the distance of single channels does not show: measures of whole layers beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from skiptool.analysis.distances import (
    LEVEL,
    SIGNIFICANT,
    Changed,
    Measure,
    Network,
    read_beyond,
)
from skiptool.figures.heatmap import Heat, HeatRow, heat_sheet
from skiptool.names import Metric, ShiftKind
from skiptool.records import Shade, Table
from skiptool.report.exhibit import (
    binning,
    facts_of,
    known,
    shift_name,
    sides,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from skiptool.records import Bool, Float64
    from skiptool.report.exhibit import Number

__all__ = ["Beyond", "beyond_marginals"]

_NAMES: Final = {
    Metric.HELLINGER: "Hellinger distance of channels",
    Metric.COVARIANCE: "Covariance distance",
    Metric.CLASSIFIER: "Accuracy of a linear classifier",
    Metric.PAIRED_DIFFERENCE: "Paired difference",
}
_CHANCE: Final = 0.5
_TOLD: Final = (Metric.COVARIANCE, Metric.CLASSIFIER)


@dataclass(frozen=True, slots=True, eq=False)
class Beyond:
    """One matrix a measure, shifts or domains by layers, of one architecture.

    Attributes
    ----------
    network : Network
    """

    network: Network

    topic: str = "beyond"
    heading: str = "What single channels do not show"

    @property
    def title(self) -> str:
        """What is compared, of which architecture."""
        facts = self.network.rows[0].facts
        if facts["shift"] is None:
            return f"Channels and whole layers, against {facts['reference']}"
        where = facts["reference_domain"] if self._by_domain else facts["domain"]
        of = f"other domains against {where}" if self._by_domain else f"shifts, {where}"
        return f"Channels and whole layers: {self.network.name}, {of}"

    @property
    def _by_domain(self) -> bool:
        return len({row.facts["domain"] for row in self.network.rows}) > 1

    @property
    def caption(self) -> str:
        """What each measure is, and what cannot be seen from it."""
        rows, metrics = self.network.rows, self.network.metrics
        facts = next(
            (r.facts for r in rows if r.facts["metric"] == Metric.HELLINGER), rows[0].facts
        )
        images = sorted({int(row.facts["n_other"]) for row in rows})
        span = f"{images[0]}" if len(images) == 1 else f"{images[0]} to {images[-1]}"
        told = [_EXPLAINED[metric].format(binning=binning(facts)) for metric in metrics]
        folds, unit = self._folds, f"{facts['unit'] or 'image'}s"
        of = "domain" if self._by_domain else "shift"
        return (
            f"Measures of each layer (columns) for each {of} (rows), {facts['n_reference']} and "
            f"{span} images, {folds} training{'' if folds == 1 else 's'}. {' '.join(told)} Each "
            f"matrix has a scale of its own, from 0 (classifier: 0.5). Bold: p < {SIGNIFICANT:g} "
            f"by permutation of {unit}, adjusted over the layers, in every training; grey: not."
        )

    @property
    def _folds(self) -> int:
        cells = (c for r in self.network.rows for m in r.measures.values() for c in m.values())
        return max((cell.folds for cell in cells), default=1)

    def draw(self) -> Figure:
        """Draw a matrix for each measure."""
        heats = [
            Heat(
                _NAMES[metric],
                self._values(metric),
                low=_CHANCE if metric is Metric.CLASSIFIER else 0.0,
                strong=self._strong(metric),
            )
            for metric in self.network.metrics
        ]
        rows = [self._label(row) for row in self.network.rows]
        label = "lowest to highest, each matrix"
        return heat_sheet(
            heats, rows, self.network.layers, title=self.title, label=label, own_scales=True
        )

    def _values(self, metric: Metric) -> Float64:
        return np.array(
            [
                [math.nan if cell is None else cell.value for cell in self._cells(row, metric)]
                for row in self.network.rows
            ]
        )

    def _strong(self, metric: Metric) -> Bool | None:
        cells = [self._cells(row, metric) for row in self.network.rows]
        if not any(cell.p_values for row in cells for cell in row if cell is not None):
            return None
        return np.array([[cell is not None and cell.differs for cell in row] for row in cells])

    def _cells(self, row: Changed, metric: Metric) -> list[Measure | None]:
        measured = row.measures.get(metric, {})
        return [measured.get(layer) for layer in self.network.layers]

    def _label(self, row: Changed) -> HeatRow:
        facts = row.facts
        if facts["shift"] is None:
            return HeatRow(str(facts["other"]))
        if self._by_domain or facts["shift"] == ShiftKind.ORIGINAL:
            return HeatRow(str(facts["domain"]))
        factor = facts["factor"]
        return HeatRow("" if factor is None else f"{factor:g}", str(facts["shift"]))

    def table(self) -> Table:
        """Return the numbers of the cells, layers across."""
        metrics, rows = self.network.metrics, self.network.rows
        columns: dict[str, list[str | int | float | None]] = {
            "measure": [_NAMES[metric] for metric in metrics for _ in rows],
            "domain" if self._by_domain else "shift": [_name(r) for _ in metrics for r in rows],
        }
        for place, layer in enumerate(self.network.layers):
            cells = [self._cells(row, metric)[place] for metric in metrics for row in rows]
            columns[layer] = [None if cell is None else known(cell.value) for cell in cells]
        shade = Shade.of([columns[layer] for layer in self.network.layers], digits=3)
        return Table(self.title, columns, shade=shade)

    def numbers(self) -> list[Number]:
        """Return the numbers of the cells with their p-values and intervals."""
        network = self.network
        found: list[Number] = []
        named = {"arch": network.arch, "encoder": network.encoder, "pruning": network.pruning}
        of = {name: value for name, value in named.items() if value}
        for row in network.rows:
            for metric, layers in row.measures.items():
                facts = {**facts_of({**row.facts, "metric": metric.value, "bins": None}), **of}
                found += [
                    {**facts, "layer": layer, "quantity": _QUANTITIES[metric], **_columns(cell)}
                    | {"images": int(row.facts["n_other"])}
                    for layer, cell in layers.items()
                ]
        return found

    def sentences(self) -> tuple[str, ...]:
        """Say where the distributions of channels agree and the layer as a whole differs.

        The shifts of the greatest covariance distance come first.
        """
        told = [_beyond_channels(self.network, row) for row in self.network.rows]
        return tuple(text for _, text in sorted(filter(None, told), key=lambda each: -each[0]))


_EXPLAINED: Final = {
    Metric.HELLINGER: (
        "Hellinger distance: mean over channels, eq. (10), corrected for bias{binning}; it looks "
        "at one channel at a time."
    ),
    Metric.COVARIANCE: (
        "Covariance distance: between the covariance matrices of the standardised channels, 0 "
        "equal and 1 nothing in common; above 0 on any finite sample."
    ),
    Metric.CLASSIFIER: (
        "Accuracy with which linear discriminant analysis tells the sets apart, balanced and "
        "cross-validated over units: 0.5 is chance, 1 tells all. It does not see changes of "
        "covariance alone."
    ),
    Metric.PAIRED_DIFFERENCE: (
        "Paired difference: mean change of an activation between an image and its shifted version, "
        "in standard deviations of the channel; 1.13 between unrelated images (normal values). It "
        "has no p-value, as any change at all is above 0."
    ),
}

_QUANTITIES: Final = {
    Metric.HELLINGER: "corrected distance",
    Metric.COVARIANCE: "covariance distance",
    Metric.CLASSIFIER: "classifier accuracy",
    Metric.PAIRED_DIFFERENCE: "paired difference",
}


def beyond_marginals(table: Mapping[str, Sequence[Any]]) -> list[Beyond]:
    """Make an exhibit of each architecture that has a measure of whole layers.

    Parameters
    ----------
    table : mapping of column name to values
        See :func:`skiptool.analysis.distances.read_beyond`.
    """
    return [Beyond(network) for network in read_beyond(table)]


def _name(row: Changed) -> str:
    facts = row.facts
    if facts["shift"] is None:
        return str(facts["other"])
    shift = shift_name(facts)
    across = facts["domain"] != facts["reference_domain"]
    return f"{facts['domain']} {shift}" if across else shift


def _columns(cell: Measure) -> Number:
    columns: dict[str, float | int] = {"value": cell.value, "folds": cell.folds}
    if cell.folds > 1:
        columns["sd_folds"] = cell.spread
    if cell.interval is not None:
        columns |= {"ci_low": cell.interval[0], "ci_high": cell.interval[1], "level": LEVEL}
    if cell.p_values:
        columns["p_adjusted"] = max(cell.p_values)
    return columns


def _beyond_channels(network: Network, row: Changed) -> tuple[float, str] | None:
    """Say at which layers another measure differs though the channels agree, with one example.

    Returns the covariance distance of the example as well; the example is the layer nearest to the
    output.
    """
    channels = row.measures.get(Metric.HELLINGER, {})
    agreeing = [layer for layer in network.layers if layer in channels and channels[layer].agrees]
    layers = [layer for layer in agreeing if _differing(row, layer)]
    if not layers:
        return None
    last = layers[-1]
    others = [_measured(metric, row.measures[metric][last]) for metric in _differing(row, last)]
    moved = ""
    if last in row.measures.get(Metric.PAIRED_DIFFERENCE, {}):
        own = row.measures[Metric.PAIRED_DIFFERENCE][last].value
        moved = f"; on average an activation changes by {own:.2f} standard deviations"
    more = ""
    if len(layers) > 1:
        more = f" So it is at {len(layers)} of {len(channels)} layers ({', '.join(layers)})."
    here, there = sides(row.facts)
    whole = row.measures.get(Metric.COVARIANCE, {}).get(last)
    return 0.0 if whole is None else whole.value, (
        f"{network.name}, {here} against {there}: at {last} the marginal distributions of channels "
        f"agree ({_measured(Metric.HELLINGER, channels[last])}), but the layer as a whole differs: "
        f"{' and '.join(others)}{moved}.{more}"
    )


def _differing(row: Changed, layer: str) -> list[Metric]:
    """List the measures of whole layers by which the sets differ."""
    found = ((metric, row.measures.get(metric, {}).get(layer)) for metric in _TOLD)
    return [metric for metric, cell in found if cell is not None and cell.differs]


def _measured(metric: Metric, cell: Measure) -> str:
    names = {
        Metric.HELLINGER: "corrected Hellinger distance",
        Metric.COVARIANCE: "covariance distance",
        Metric.CLASSIFIER: "classifier accuracy",
    }
    p = f"p = {max(cell.p_values):.2g}" if cell.p_values else ""
    if metric is Metric.HELLINGER:
        return f"{names[metric]} {cell.value:.2f}{', ' if p else ''}{p}"
    return f"{names[metric]} {cell.value:.2f} ({p})"
