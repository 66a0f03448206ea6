"""Samples of a dataset: a contact sheet of each domain."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from skiptool.exports.sheets import evenly_spaced
from skiptool.figures.masks import block_note, block_side, small_image, small_mask
from skiptool.figures.sheets import contact_sheet
from skiptool.names import IGNORE_LABEL, Kind, Split
from skiptool.records import Table
from skiptool.report.exhibit import Cell, Exhibit
from skiptool.report.wording import count_noun
from skiptool.stores.dataset import DatasetStore, Domain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MAX_SAMPLES: Final = 16  # of a domain
_FEWER_SAMPLES: Final = 8  # with more than three domains
_FEW_DOMAINS: Final = 3
_MAX_SIDE: Final = 160  # pixels of a sample in the page, two for each dot of a screen
_MAX_COLUMNS: Final = 8
_SCALES: Final = {"mpp": "µm/px", "spacing": "mm/px"}  # units by column


def sample_exhibits(store: DatasetStore) -> list[Exhibit]:
    """Show up to 16 samples of each domain of a dataset, 8 for more than three domains."""
    most = _MAX_SAMPLES if len(store.domains) <= _FEW_DOMAINS else _FEWER_SAMPLES
    return [
        _exhibit(store, domain, evenly_spaced(len(domain), most).tolist())
        for domain in store.domains.values()
    ]


def _exhibit(store: DatasetStore, domain: Domain, chosen: Sequence[int]) -> Exhibit:
    title = f"{domain.name}, {store.name}"
    counts = _counts(domain)
    columns: dict[str, list[Cell]] = {
        "domain": [domain.name] * len(counts),
        "split": [split or "all" for split, _, _ in counts],
        "samples": [samples for _, samples, _ in counts],
        "subjects": [subjects for _, _, subjects in counts],
        "size": [_size(domain)] * len(counts),
    }
    return Exhibit(
        topic="data",
        heading="Images",
        title=title,
        caption=_caption(store, domain, chosen),
        table=Table(f"Samples: {title}", columns),
        numbers=[
            {
                "dataset": store.name,
                "domain": domain.name,
                "split": split,
                "quantity": quantity,
                "value": float(value),
            }
            for split, samples, subjects in counts
            for quantity, value in (("samples", samples), ("subjects", subjects))
        ],
        draw=partial(_draw, store, domain, chosen),
        sources=(Kind.DATASET,),
    )


def _caption(store: DatasetStore, domain: Domain, chosen: Sequence[int]) -> str:
    *splits, (_, samples, subjects) = _counts(domain)
    parts = ", ".join(f"{number} {split}" for split, number, _ in splits)
    return (
        f"{len(chosen)} of {samples} samples{f' ({parts})' if parts else ''} of domain "
        f"{domain.name} of {store.name}, evenly spread, with the outlines of their masks; "
        f"{count_noun(subjects, 'subject')}; images of "
        f"{_size(domain)}{_scale(domain)}. Below each: sample, and subject if "
        f"it differs.{block_note(_block(domain))}{_draws(domain)}"
    )


def _draw(store: DatasetStore, domain: Domain, chosen: Sequence[int]) -> Figure:
    """Read the chosen samples, one at a time, and draw them."""
    reader = store.samples(domain.name, chosen)
    block, images, masks = _block(domain), [], []
    for index in range(len(chosen)):
        image, mask = reader.read(index)
        images.append(small_image(image, block))
        masks.append(small_mask(mask, block))
    labelled = any((mask != IGNORE_LABEL).any() for mask in masks)
    columns = domain.columns
    pairs = [(str(columns["id"][i]), str(columns["subject"][i])) for i in chosen]
    return contact_sheet(
        images,
        masks if labelled else None,
        store.classes,
        [name if name == subject else f"{name}\n{subject}" for name, subject in pairs],
        columns=-(-len(pairs) // -(-len(pairs) // _MAX_COLUMNS)),  # rows of about equal length
    )


def _counts(domain: Domain) -> list[tuple[str | None, int, int]]:
    """Count samples and subjects of each split; the last entry counts all."""
    splits, subjects = (domain.columns[name] for name in ("split", "subject"))
    counts: list[tuple[str | None, int, int]] = []
    for split in Split:
        own = splits == split.value
        if own.any() and not own.all():
            counts.append((split.value, int(own.sum()), len(set(subjects[own]))))
    only = str(splits[0]) if not counts else None
    return [*counts, (only, len(subjects), len(set(subjects)))]


def _block(domain: Domain) -> int:
    return block_side(domain.height, domain.width, _MAX_SIDE)


def _size(domain: Domain) -> str:
    return f"{domain.width} x {domain.height} px"


def _scale(domain: Domain) -> str:
    for name, unit in _SCALES.items():
        values = np.asarray(domain.columns.get(name, ()))
        finite = values[np.isfinite(values)] if values.dtype.kind in "fi" else values[:0]
        if finite.size:
            low, high = f"{finite.min():.3g}", f"{finite.max():.3g}"
            return f", {low} {unit}" if low == high else f", {low} to {high} {unit}"
    return ""


def _draws(domain: Domain) -> str:
    number = len(set(np.asarray(domain.columns.get("draw", ())).tolist()))
    return f" Training patches were drawn {number} times; all are counted." if number > 1 else ""
