"""What people see of the counts: IoU in a small table, and classes that are nowhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from math import isnan
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from skiptool.metrics import iou, mean_and_spread, mean_iou
from skiptool.names import Arch
from skiptool.records import Shift, Table
from skiptool.steps.predict.run import Run
from skiptool.steps.predict.selection import FOLD
from skiptool.stores.models import Ensemble, StoredModel

if TYPE_CHECKING:
    from skiptool.records import Int64

    Totals: TypeAlias = Mapping[tuple[int, str, Shift, str | None], Int64]

__all__ = ["absent_classes", "iou_table"]


def iou_table(run: Run, totals: Totals) -> Table:
    """IoU accumulated over the split: a row a domain and shift, a column an architecture.

    Trainings are averaged, ensembles have columns of their own. Where there are several foreground
    classes, the row of their mean is followed by one for each.

    Parameters
    ----------
    run : Run
    totals : mapping of (number, domain, shift, clean skips) to int64 (J, J)
        Numbers of models and ensembles; clean skips are None for plain predictions.
    """
    columns: dict[str, list[int]] = {}
    for number in range(len(run.models) + len(run.ensembles)):
        columns.setdefault(_column(run.predictor(number)), []).append(number)
    domains = list(dict.fromkeys(part.domain.name for part in run.parts))
    classes = run.store.classes
    measures = [None, *range(1, len(classes))] if len(classes) > 2 else [None]
    clean = list(dict.fromkeys(skips for _, _, _, skips in totals))
    rows = list(product(domains, run.shifts, clean, measures))
    cells: dict[str, Sequence[str | float | None]] = {"domain": [row[0] for row in rows]}
    cells["shift"] = [str(row[1]) for row in rows]
    if run.substitutions:
        cells["clean skips"] = [row[2] for row in rows]
    if len(measures) > 1:
        cells["class"] = ["mean" if label is None else classes[label] for *_, label in rows]
    for name, numbers in columns.items():
        cells[name] = [_mean(totals, numbers, row[:3], row[3]) for row in rows]
    samples = "samples of each model's validation fold" if run.split == FOLD else run.split
    words = samples if run.split == FOLD else f"{samples} samples"
    title = f"IoU of {', '.join(classes[1:])}, {words}, mean over {_trained(run)}"
    return Table(title, cells)


def _trained(run: Run) -> str:
    """Say whether folds alone are averaged, or repeats of them as well."""
    repeated = any(model.stored.repeat for model in run.models)
    return "folds and their repeats" if repeated else "folds"


def _column(model: StoredModel | Ensemble) -> str:
    """Name an architecture; a foreign folder may be called like that of another one."""
    name, arch = model.name.rpartition("/fold")[0] or model.name, model.architecture.arch
    return name if arch == Arch.UNET or name.startswith(arch) else f"{arch} {name}"


def _mean(
    totals: Totals,
    numbers: Sequence[int],
    row: tuple[str, Shift, str | None],
    label: int | None,
) -> float | None:
    found = [totals[number, *row] for number in numbers if (number, *row) in totals]
    scores = [float(mean_iou(each) if label is None else iou(each)[label]) for each in found]
    mean, _ = mean_and_spread(scores)
    return None if isnan(mean) else mean


def absent_classes(run: Run, totals: Totals) -> str | None:
    """Name the classes that no mask holds, in one line; None where all are there.

    Parameters
    ----------
    run : Run
    totals : mapping of (number, domain, shift, clean skips) to int64 (J, J)
    """
    seen: dict[str, Int64] = {}
    for (_, domain, shift, _), counts in totals.items():
        if shift == run.shifts[0]:
            pixels = counts.sum(axis=1)
            seen[domain] = np.maximum(seen.get(domain, pixels), pixels)
    lacking = [
        f"{', '.join(names)} in no mask of domain {domain}"
        for domain, pixels in seen.items()
        if (names := [run.store.classes[k] for k in np.flatnonzero(pixels == 0) if k])
    ]
    if not lacking:
        return None
    return (
        f"{run.store.path}: {'; '.join(lacking)}: the IoU of such a class is 0 where it is "
        "predicted all the same, else it has none (NaN) and is left out of means"
    )
