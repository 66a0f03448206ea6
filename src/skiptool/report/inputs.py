"""Inputs of a report: tables and stores by kind, and the columns that exhibits read from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from skiptool.analysis import correlation
from skiptool.analysis.distances import BEYOND_COLUMNS, CHANNEL_KEYS, LAYER_COLUMNS
from skiptool.metrics import GROUP_COLUMNS
from skiptool.names import Kind
from skiptool.stores.dataset import DatasetStore
from skiptool.stores.lineage import FORMAT_VERSIONS, Lineage
from skiptool.stores.masks import MaskStore
from skiptool.stores.tables import MetricTable

_IMAGES: Final = ("dataset_id", "domain", "split")

_MEASUREMENT: Final = (
    "dataset_id",
    "domain",
    "split",
    "model_id",
    "shift",
    "factor",
    "clean_skips",
)
"""Columns that identify a measurement of a prediction table, also in two tables."""

_LAYERS: Final = tuple(dict.fromkeys((*LAYER_COLUMNS, *correlation.COLUMNS, *BEYOND_COLUMNS)))

_FIRST_FORMAT: Final = (
    "the distances were measured by version 0.1, whose estimates are too high with few images or "
    "sparse channels and whose p-values are wrong for units of unequal size (make the table again)"
)


@dataclass(frozen=True, slots=True)
class Inputs:
    """Artifacts by kind, in the order given; ``origins`` holds the name and header of each."""

    predictions: list[MetricTable] = field(default_factory=list)
    shifts: list[MetricTable] = field(default_factory=list)
    histories: list[MetricTable] = field(default_factory=list)
    registrations: list[MetricTable] = field(default_factory=list)
    datasets: list[DatasetStore] = field(default_factory=list)
    masks: list[MaskStore] = field(default_factory=list)
    origins: list[tuple[str, Lineage]] = field(default_factory=list)

    def by_clean_domain(self) -> dict[str | None, list[MetricTable]]:
        """Group prediction tables by the domain of their clean images, None if it is their own.

        Tables without clean images belong to each group.
        """
        groups: dict[str | None, list[MetricTable]] = {None: []}
        for table in self.predictions:
            groups.setdefault(table.lineage.parameters.get("clean_domain"), [])
        for table in self.predictions:
            asked = table.lineage.parameters
            plain = not {"clean_skips", "shifted_skips"} & set(asked)
            for domain in groups if plain else [asked.get("clean_domain")]:
                groups[domain].append(table)
        return groups

    def sizes(self) -> dict[tuple[str, str, str], tuple[int, int]]:
        """Count samples and subjects by id of the dataset, domain and split."""
        ids: dict[tuple[str, str, str], tuple[set[str], set[str]]] = {}
        for table in self.predictions:
            columns = table.distinct((*_IMAGES, "sample", "subject"))
            for *key, sample, subject in zip(*columns.values(), strict=True):
                samples, subjects = ids.setdefault((key[0], key[1], key[2]), (set(), set()))
                samples.add(sample)
                subjects.add(subject)
        return {key: (len(samples), len(subjects)) for key, (samples, subjects) in ids.items()}

    def unlabelled(self) -> dict[tuple[Any, ...], str]:
        """Name the domains without a labelled pixel, by id of the dataset, domain and split."""
        pixels: dict[tuple[Any, ...], int] = {}
        names: dict[tuple[Any, ...], str] = {}
        for table in self.predictions:
            totals = table.totals((*_IMAGES, "dataset"), "pixels")
            for *key, dataset, count in zip(*totals.values(), strict=True):
                pixels[tuple(key)] = pixels.get(tuple(key), 0) + (count or 0)
                names[tuple(key)] = f"{dataset}, domain {key[1]} ({key[2]})"
        return {key: names[key] for key, count in pixels.items() if not count}

    def totals(
        self, *further: str, tables: Sequence[MetricTable] | None = None
    ) -> dict[str, list[Any]]:
        """Sum the pixels of prediction tables by `GROUP_COLUMNS` of `skiptool.metrics` and others.

        A measurement in several tables counts once. Domains without a labelled pixel
        (:meth:`unlabelled`) are left out. By default all prediction tables are summed.
        """
        unlabelled = self.unlabelled()
        names = (*GROUP_COLUMNS, *further)
        columns: dict[str, list[Any]] = {name: [] for name in (*names, "pixels")}
        known: set[tuple[Any, ...]] = set()
        for table in self.predictions if tables is None else tables:
            totals = table.totals(names, "pixels")
            keys = list(zip(*(totals[name] for name in _MEASUREMENT), strict=True))
            new = set(keys) - known
            kept = [i for i, key in enumerate(keys) if key in new and key[:3] not in unlabelled]
            for name, column in columns.items():
                column += [totals[name][index] for index in kept]
            known |= new
        return columns

    def layers(self) -> dict[str, list[Any]]:
        """Read the rows of layers of all shift tables; those of the first format get a warning."""

        def read(table: MetricTable) -> dict[str, list[Any]]:
            columns = table.where_null("channel").columns(_LAYERS)
            if table.lineage.format_version < FORMAT_VERSIONS[Kind.SHIFT]:
                columns["warnings"] = [_FIRST_FORMAT] * len(columns["warnings"])
            return columns

        return concatenate(self.shifts, read)

    def channels(self) -> dict[str, list[Any]]:
        """Gather the channels of all shift tables."""
        names = ("channel", "value", "corrected")
        return concatenate(self.shifts, lambda table: table.collect(CHANNEL_KEYS, names))

    def parameters(self) -> dict[tuple[str, str, str], int]:
        """Return the parameter counts by architecture, encoder and pruning, as far as known."""
        names = ("arch", "encoder", "pruning", "parameter_count")
        columns = self.distinct(*names)
        return {
            (arch, encoder, pruning): count
            for arch, encoder, pruning, count in zip(*columns.values(), strict=True)
            if None not in (arch, encoder, pruning, count)
        }

    def distinct(self, *names: str, predictions_only: bool = False) -> dict[str, list[Any]]:
        """Read the distinct rows of some columns of each prediction and shift table."""
        tables = self.predictions if predictions_only else [*self.predictions, *self.shifts]
        columns = concatenate(tables, lambda table: table.distinct(names))
        return {name: columns.get(name, []) for name in names}


def concatenate(
    tables: Iterable[MetricTable], read: Callable[[MetricTable], dict[str, list[Any]]]
) -> dict[str, list[Any]]:
    """Concatenate the columns that are read from several tables."""
    columns: dict[str, list[Any]] = {}
    for table in tables:
        for name, column in read(table).items():
            columns.setdefault(name, []).extend(column)
    return columns
