"""What a report is made from, sorted by kind, each artifact once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skiptool.errors import FormatError
from skiptool.metrics import KEYS
from skiptool.names import Kind
from skiptool.steps.report.checks import check_table
from skiptool.stores.addresses import last_part, located
from skiptool.stores.artifacts import at_hand, kind_of, lineage_of
from skiptool.stores.dataset import DatasetStore, open_dataset
from skiptool.stores.lineage import Lineage
from skiptool.stores.masks import MaskStore, open_masks
from skiptool.stores.tables import MetricTable, open_table
from skiptool.stores.transfers import is_store_at

__all__ = ["Inputs", "Origins", "read_inputs"]

Origins = list[tuple[str, Lineage]]
"""Name and header of each artifact behind a report."""

_IMAGES = ("dataset_id", "domain", "split")

_MEASURED = ("dataset_id", "domain", "split", "model_id", "shift", "factor", "clean_skips")
"""Columns of a prediction table that make one measurement: what stands in two tables is one."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """Artifacts by kind, in the order given."""

    predictions: list[MetricTable] = field(default_factory=list)
    shifts: list[MetricTable] = field(default_factory=list)
    histories: list[MetricTable] = field(default_factory=list)
    registrations: list[MetricTable] = field(default_factory=list)
    datasets: list[DatasetStore] = field(default_factory=list)
    masks: list[MaskStore] = field(default_factory=list)
    origins: Origins = field(default_factory=list)

    def by_clean_domain(self) -> dict[str | None, list[MetricTable]]:
        """Sort prediction tables by the domain of their clean images: None is the samples' own.

        Tables without any clean images stand with each.
        """
        found: dict[str | None, list[MetricTable]] = {None: []}
        for table in self.predictions:
            found.setdefault(table.lineage.parameters.get("clean_domain"), [])
        for table in self.predictions:
            asked = table.lineage.parameters
            plain = not {"clean_skips", "shifted_skips"} & set(asked)
            for domain in found if plain else [asked.get("clean_domain")]:
                found[domain].append(table)
        return found

    def sizes(self) -> dict[tuple[str, str, str], tuple[int, int]]:
        """Count samples and subjects by id of the dataset, domain and split."""
        found: dict[tuple[str, str, str], tuple[set[str], set[str]]] = {}
        for table in self.predictions:
            columns = table.distinct((*_IMAGES, "sample", "subject"))
            for *key, sample, subject in zip(*columns.values(), strict=True):
                samples, subjects = found.setdefault((key[0], key[1], key[2]), (set(), set()))
                samples.add(sample)
                subjects.add(subject)
        return {key: (len(samples), len(subjects)) for key, (samples, subjects) in found.items()}

    def unlabelled(self) -> dict[tuple[Any, ...], str]:
        """Name the domains in which no pixel has a label, by id of the dataset, domain, split."""
        pixels: dict[tuple[Any, ...], int] = {}
        names: dict[tuple[Any, ...], str] = {}
        for table in self.predictions:
            found = table.totals((*_IMAGES, "dataset"), "pixels")
            for *key, dataset, count in zip(*found.values(), strict=True):
                pixels[tuple(key)] = pixels.get(tuple(key), 0) + (count or 0)
                names[tuple(key)] = f"{dataset}, domain {key[1]} ({key[2]})"
        return {key: names[key] for key, count in pixels.items() if not count}

    def totals(
        self, *further: str, tables: Sequence[MetricTable] | None = None
    ) -> dict[str, list[Any]]:
        """Sum the pixels of all prediction tables by ``scores.KEYS`` and further columns.

        What was measured in several tables counts once. ``tables`` names some of them. Domains
        without a labelled pixel (:attr:`unlabelled`) are left out: nothing can be said of them.
        """
        unlabelled = self.unlabelled()
        names = (*KEYS, *further)
        found: dict[str, list[Any]] = {name: [] for name in (*names, "pixels")}
        known: set[tuple[Any, ...]] = set()
        for table in self.predictions if tables is None else tables:
            totals = table.totals(names, "pixels")
            keys = list(zip(*(totals[name] for name in _MEASURED), strict=True))
            new = set(keys) - known
            kept = [
                place for place, key in enumerate(keys) if key in new and key[:3] not in unlabelled
            ]
            for name, column in found.items():
                column += [totals[name][place] for place in kept]
            known |= new
        return found


def read_inputs(places: Sequence[Path | str]) -> Inputs:
    """Open what a report is to be made from.

    Parameters
    ----------
    places : sequence of Path or str
        Tables of predictions, shifts, training and registration; dataset and mask stores. Local
        paths or URLs.

    Returns
    -------
    Inputs
        What has the same id counts once.

    Raises
    ------
    FormatError
        If something is missing, damaged, of a kind that has no figure, or holds what
        :func:`skiptool.steps.report.checks.check_table` refuses.
    ArgumentError, SourceError
        If a URL cannot be read.
    """
    inputs = Inputs()
    known: set[tuple[Kind, str]] = set()
    for place in map(located, places):
        if isinstance(place, str) and is_store_at(place):
            _add(inputs, place, known)
            continue
        with at_hand(place) as path:
            _add(inputs, path, known)
    return inputs


def _add(inputs: Inputs, path: Path | str, known: set[tuple[Kind, str]]) -> None:
    """Open one input and put it in its place, unless it is known."""
    tables = {
        Kind.PREDICTIONS: inputs.predictions,
        Kind.SHIFT: inputs.shifts,
        Kind.HISTORY: inputs.histories,
        Kind.REGISTRATION: inputs.registrations,
    }
    kind = kind_of(path)
    if kind not in (*tables, Kind.DATASET, Kind.MASKS):
        raise FormatError(
            f"{path}: of kind {kind.value}, which has no figure; give tables of 'skiptool "
            "predict', 'hellinger', 'train' and 'extract wsi', or the stores of the images and "
            "of the predicted masks"
        )
    table = open_table(path, kind) if kind in tables and isinstance(path, Path) else None
    header = lineage_of(path) if table is None else table.lineage
    if header is None or (kind, header.id) in known:
        return
    known.add((kind, header.id))
    inputs.origins.append((_origin(path, kind), header))
    if table is not None:
        check_table(table)
        tables[kind].append(table)
    elif kind is Kind.DATASET:
        inputs.datasets.append(open_dataset(path))
    else:
        inputs.masks.append(open_masks(path))


def _origin(path: Path | str, kind: Kind) -> str:
    """Name an input; all histories are called alike, and their run and fold tell them apart."""
    if isinstance(path, Path) and kind is Kind.HISTORY and path.parent.name.startswith("fold"):
        return "/".join(path.parts[-3:])
    return last_part(path)
