"""Predicted masks beside the tables that count them: which belong together, how each sample did."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from skiptool.errors import FormatError
from skiptool.metrics import KEYS, Score, mean_iou, scores
from skiptool.names import Kind
from skiptool.records import Shift
from skiptool.stores.dataset import DatasetStore
from skiptool.stores.masks import MaskStore
from skiptool.stores.tables import MetricTable

if TYPE_CHECKING:
    from skiptool.records import UInt8

__all__ = ["Masked", "check_masks", "masked_scores", "sample_ious"]

Key: TypeAlias = tuple[str, str, str, str, float | None]
"""Id of the dataset, id of the model, domain, kind and factor of the shift."""


@dataclass(frozen=True, slots=True, eq=False)
class Masked:
    """A score whose masks are there.

    Attributes
    ----------
    score : Score
    table : MetricTable
        Holds its counts, sample by sample.
    masks : MaskStore
    entry : str
        Name of the entry in it.
    size : tuple of int
        Height and width of its masks.
    """

    score: Score
    table: MetricTable
    masks: MaskStore
    entry: str
    size: tuple[int, ...]

    def has(self, sample: str) -> bool:
        """Say whether the mask of a sample is there."""
        return sample in self.masks.ids(self.entry)

    def labels(self, sample: str) -> UInt8:
        """Read the mask (H, W) of a sample that is there."""
        return self.masks.read_one(self.entry, self.masks.ids(self.entry).index(sample))


def check_masks(datasets: Sequence[DatasetStore], masks: Sequence[MaskStore]) -> None:
    """Refuse masks that were made from none of the datasets.

    Raises
    ------
    FormatError
        If there are such.
    """
    known = {store.lineage.id for store in datasets}
    for store in masks:
        if known and store.lineage.inputs.get("dataset") not in known:
            raise FormatError(
                f"{store.path}: masks predicted from another dataset than "
                f"{', '.join(str(data.path) for data in datasets)}; give the dataset that they "
                "were predicted from"
            )


def masked_scores(tables: Iterable[MetricTable], masks: Iterable[MaskStore]) -> list[Masked]:
    """Pair the scores of prediction tables with masks of the same model, data and shift.

    Each model, split of a domain and shift comes once, from the first table and store that have it.
    """
    places: dict[Key, tuple[MaskStore, str, tuple[int, ...]]] = {}
    for store in masks:
        source = store.lineage.inputs.get("dataset", "")
        for name, (facts, shape) in zip(store.names(), store.entries(), strict=True):
            found = (facts.get(part) for part in ("model_id", "domain", "shift", "factor"))
            places.setdefault((source, *found), (store, name, shape[1:]))  # type: ignore[arg-type]
    kept: dict[tuple[Key, str], Masked] = {}
    for table in tables:
        if table.lineage.kind is not Kind.PREDICTIONS:
            continue
        for score in scores(table.totals(KEYS, "pixels")):
            shift = (score.shift.kind.value, score.shift.factor)
            key = (score.dataset_id, score.model_id, score.domain, *shift)
            if key in places and (key, score.split) not in kept:
                kept[key, score.split] = Masked(score, table, *places[key])
    return list(kept.values())


def sample_ious(found: Masked, classes: Sequence[str]) -> Mapping[str, float]:
    """Mean IoU of each sample over the foreground classes, from its counts.

    Parameters
    ----------
    found : Masked
    classes : sequence of str
        Name of each label from 0.

    Returns
    -------
    mapping of sample id to float
        NaN where a sample holds no foreground, true or predicted.

    Raises
    ------
    FormatError
        If the table counts a class that is none of these.
    """
    score = found.score
    rows = found.table.where(
        {
            **{"model_id": score.model_id, "dataset_id": score.dataset_id, "domain": score.domain},
            **{"split": score.split, **_factor(score.shift), "clean_skips": None},
        }
    ).columns(("sample", "truth", "predicted", "pixels"))
    names, sample = np.unique(np.array(rows["sample"], dtype=str), return_inverse=True)
    labels = {name: label for label, name in enumerate(classes)}
    unknown = {*rows["truth"], *rows["predicted"]} - {*labels}
    if unknown:
        raise FormatError(
            f"{found.table.path}: counts a class {min(unknown)!r} that its dataset does not have; "
            "predict again"
        )
    counts = np.zeros((len(names), len(classes), len(classes)), dtype=np.int64)
    truth = np.array([labels[name] for name in rows["truth"]], dtype=np.int64)
    predicted = np.array([labels[name] for name in rows["predicted"]], dtype=np.int64)
    np.add.at(counts, (sample, truth, predicted), np.array(rows["pixels"], dtype=np.int64))
    return dict(zip(names.tolist(), mean_iou(counts).tolist(), strict=True))


def _factor(shift: Shift) -> Mapping[str, str | float | None]:
    return {"shift": shift.kind.value, "factor": shift.factor}
