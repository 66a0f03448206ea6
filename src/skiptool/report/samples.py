"""What a dataset holds, as a part of the report: a sheet of samples for each domain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from skiptool.exports.png import spread
from skiptool.figures.masks import (
    block_side,
    block_told,
    small_image,
    small_mask,
)
from skiptool.figures.sheets import contact_sheet
from skiptool.names import IGNORE, Split
from skiptool.records import Table
from skiptool.stores.dataset import DatasetStore, Domain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from skiptool.report.exhibit import Number

__all__ = ["DataSheet", "data_sheets"]

_SHOWN: Final = (16, 8)  # samples of a domain; so many fewer where there are several domains
_SEVERAL: Final = 3
_SIDE: Final = 160  # pixels of a sample in the page: two for each dot of a screen
_COLUMNS: Final = 8  # at most
_SCALES: Final = (("mpp", "µm/px"), ("spacing", "mm/px"))  # columns of the sources


@dataclass(frozen=True, slots=True, eq=False)
class DataSheet:
    """Samples of a domain with the outlines of their masks, read when they are drawn.

    Attributes
    ----------
    store : DatasetStore
    domain : Domain
        One of the store.
    chosen : tuple of int
        Places of the samples that are shown.
    """

    store: DatasetStore
    domain: Domain
    chosen: tuple[int, ...]
    topic: str = "data"
    heading: str = "Images"

    @property
    def title(self) -> str:
        """Domain, and the store it belongs to."""
        return f"{self.domain.name}, {self.store.name}"

    @property
    def caption(self) -> str:
        """What the sheet shows of how much."""
        everything, splits = self._counts()[-1], self._counts()[:-1]
        told = ", ".join(f"{samples} {split}" for split, samples, _ in splits)
        held = f" ({told})" if splits else ""
        name, block = self.domain.name, self._block()
        return (
            f"{len(self.chosen)} of {everything[1]} samples{held} of domain {name} of "
            f"{self.store.name}, evenly spread, with the outlines of their masks; "
            f"{everything[2]} {'subject' if everything[2] == 1 else 'subjects'}; images of "
            f"{self._size()}{self._scale()}. Below each: sample and subject, where it is not the "
            f"sample itself.{block_told(block)}{self._draws()}"
        )

    def draw(self) -> Figure:
        """Read the chosen samples, one at a time, and draw them.

        Raises
        ------
        FormatError
            If a chunk of them is damaged.
        """
        reader = self.store.samples(self.domain.name, self.chosen)
        block, images, masks = self._block(), [], []
        for place in range(len(self.chosen)):
            image, mask = reader.read(place)
            images.append(small_image(image, block))
            masks.append(small_mask(mask, block))
        known = any((mask != IGNORE).any() for mask in masks)
        columns = self.domain.columns
        pairs = [(str(columns["id"][i]), str(columns["subject"][i])) for i in self.chosen]
        return contact_sheet(
            images,
            masks if known else None,
            self.store.classes,
            [name if name == subject else f"{name}\n{subject}" for name, subject in pairs],
            columns=-(-len(pairs) // -(-len(pairs) // _COLUMNS)),  # rows of about one length
        )

    def table(self) -> Table:
        """Return how many samples and subjects each split holds."""
        counts = self._counts()
        return Table(
            f"Samples: {self.title}",
            {
                "domain": [self.domain.name] * len(counts),
                "split": [split or "all" for split, _, _ in counts],
                "samples": [samples for _, samples, _ in counts],
                "subjects": [subjects for _, _, subjects in counts],
                "size": [self._size()] * len(counts),
            },
        )

    def numbers(self) -> list[Number]:
        """Return the same numbers, those of all splits together without ``split``."""
        return [
            {
                **{"dataset": self.store.name, "domain": self.domain.name, "split": split},
                **{"quantity": quantity, "value": float(value)},
            }
            for split, samples, subjects in self._counts()
            for quantity, value in (("samples", samples), ("subjects", subjects))
        ]

    def sentences(self) -> tuple[str, ...]:
        """Say nothing: what there is to say is the caption."""
        return ()

    def _counts(self) -> list[tuple[str | None, int, int]]:
        """Count samples and subjects of each split that there is, and of all."""
        splits, subjects = (self.domain.columns[name] for name in ("split", "subject"))
        found: list[tuple[str | None, int, int]] = []
        for split in Split:
            here = splits == split.value
            if here.any() and not here.all():
                found.append((split.value, int(here.sum()), len(set(subjects[here]))))
        only = str(splits[0]) if not found else None
        return [*found, (only, len(subjects), len(set(subjects)))]

    def _block(self) -> int:
        return block_side(self.domain.height, self.domain.width, _SIDE)

    def _size(self) -> str:
        return f"{self.domain.width} x {self.domain.height} px"

    def _scale(self) -> str:
        for name, unit in _SCALES:
            values = np.asarray(self.domain.columns.get(name, ()))
            known = values[np.isfinite(values)] if values.dtype.kind in "fi" else values[:0]
            if known.size:
                low, high = f"{known.min():.3g}", f"{known.max():.3g}"
                return f", {low} {unit}" if low == high else f", {low} to {high} {unit}"
        return ""

    def _draws(self) -> str:
        draws = np.asarray(self.domain.columns.get("draw", ()))
        number = len(set(draws.tolist()))
        return f" Training patches were drawn {number} times; all count." if number > 1 else ""


def data_sheets(store: DatasetStore) -> list[DataSheet]:
    """Make a sheet for each domain of a dataset: up to 16 samples, 8 beyond three domains."""
    most = _SHOWN[len(store.domains) > _SEVERAL]
    return [
        DataSheet(store, domain, tuple(spread(len(domain), most).tolist()))
        for domain in store.domains.values()
    ]
