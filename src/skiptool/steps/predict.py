"""``skiptool predict``: truth x predicted pixel counts of every sample, model and shift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import product
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skiptool.errors import ArgumentError, MismatchError
from skiptool.metrics.confusion import count
from skiptool.metrics.overlap import mean_iou
from skiptool.metrics.scores import mean_and_spread
from skiptool.model.hardware import choose_device, choose_precision
from skiptool.model.infer import predict_labels
from skiptool.model.unet import restore
from skiptool.names import Kind, Precision
from skiptool.records import ORIGINAL, SILENT, Outcome, Progress, Shift, Table
from skiptool.shifts.photometric import apply_all
from skiptool.stores.checkpoint import StoredModel, open_model
from skiptool.stores.dataset import DatasetStore, Domain, open_dataset
from skiptool.stores.header import Making, lineage
from skiptool.stores.lookup import finished
from skiptool.stores.masks import MaskWriter
from skiptool.stores.predictions import prediction_columns
from skiptool.stores.staging import check_free, staged
from skiptool.stores.tables import TableWriter

if TYPE_CHECKING:
    from skiptool.records import Int64

__all__ = ["BATCH_SIZE", "predict_dataset"]

BATCH_SIZE = 16


@dataclass(frozen=True, slots=True)
class _Run:
    """What is predicted: models on the samples of domains under shifts, on one device."""

    models: Sequence[StoredModel]
    networks: Sequence[Any]
    store: DatasetStore
    domains: Sequence[Domain]
    shifts: Sequence[Shift]
    split: str
    device: str
    precision: Precision

    def indices(self, domain: Domain) -> list[int]:
        return domain.select(None if self.split == "all" else self.split)


def predict_dataset(
    models: Sequence[Path],
    data: Path,
    out: Path,
    *,
    shifts: Sequence[Shift] = (ORIGINAL,),
    domains: Sequence[str] = (),
    split: str = "test",
    masks: Path | None = None,
    device: str = "auto",
    precision: Precision = Precision.AUTO,
    overwrite: bool = False,
    resume: bool = False,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> Outcome:
    """Predict every sample under every shift with every model, in one reading of the data.

    Section V: IoU comes from the confusion matrix accumulated over the whole split; kept here
    are its addends, one matrix a sample, so that every score and interval can be derived later.

    Parameters
    ----------
    models : sequence of Path
        Model folders.
    data : Path
        Dataset store.
    out : Path
        Prediction table to write.
    shifts : sequence of Shift
    domains : sequence of str
        Domains to read, all by default.
    split : str
        ``train``, ``test`` or ``all``.
    masks : Path, optional
        Store to which the predicted masks are written as well.
    device, precision : str, Precision
    overwrite, resume, dry_run : bool
        ``resume`` begins an interrupted run anew: the table is written in one go.
    progress : Progress

    Returns
    -------
    Outcome
        Output: the table. Its ``tables``: IoU by model and shift.

    Raises
    ------
    ArgumentError
        If names are unknown or nothing is selected.
    FormatError
        If an input is missing or damaged.
    MismatchError
        If a model's channels or classes are not those of the data.
    ExistsError
        If an output exists.
    """
    store = open_dataset(data)
    stored = [open_model(path) for path in models]
    chosen = [store.domain(name) for name in domains or store.domains]
    target = choose_device(device)
    arithmetic = choose_precision(precision, target)
    run = _Run(stored, (), store, chosen, shifts, split, target, arithmetic)
    _check(run)
    making = Making(
        "predict",
        tuple(models),
        {
            "shift": [str(shift) for shift in shifts],
            "domain": [domain.name for domain in chosen],
            **{"split": split, "precision": arithmetic.value},
        },
        {"data": data, "out": out, "masks": masks},
        {"dataset": store.lineage.id, **{f"model{i}": m.id for i, m in enumerate(stored)}},
    )
    side = () if masks is None else (masks,)
    whole = [finished(path, making, resume=resume) for path in (out, *side)]
    for path in (out, *side):
        check_free(path, overwrite=overwrite, resume=resume)
    if all(whole) and not dry_run:
        return Outcome((out,), side)
    run = replace(run, networks=[restore(m.architecture, m.tensors()) for m in stored])
    if dry_run:
        return Outcome(summary=_forecast(run, masks is not None))
    summary = _write(run, making, out, masks, progress)
    return Outcome((out,), side, {"precision": arithmetic.value}, tables=(summary,))


def _check(run: _Run) -> None:
    if run.split not in ("train", "test", "all"):
        raise ArgumentError(f"--split {run.split}: expected train, test or all")
    domains, models = [d.name for d in run.domains], [m.id for m in run.models]
    for what, found in (("shift", run.shifts), ("domain", domains), ("model", models)):
        if len(set(found)) < len(found):
            raise ArgumentError(f"a {what} is given twice, its pixels would count twice; drop one")
    for domain, model in product(run.domains, run.models):
        where = f"{run.store.path}: domain {domain.name}"
        if not run.indices(domain):
            raise ArgumentError(f"{where} has no {run.split} samples; choose by --domain, --split")
        model.check_fits(domain.channels, where)
        ours, theirs = run.store.classes, model.architecture.classes
        if len(ours) != len(theirs):
            raise MismatchError(
                f"{model.path}: predicts {len(theirs)} classes, {run.store.path} has {len(ours)} "
                f"({', '.join(ours)}); they must be the same"
            )


def _forecast(run: _Run, masks: bool) -> dict[str, int]:
    images = [len(run.indices(domain)) for domain in run.domains]
    passes = len(run.models) * len(run.shifts)
    pixels = sum(n * d.height * d.width for n, d in zip(images, run.domains, strict=True))
    rows = sum(images) * passes * len(run.store.classes) ** 2
    size = rows * np.int64().itemsize + pixels * passes * masks
    found = {"models": len(run.models), "shifts": len(run.shifts), "images": sum(images)}
    return found | {"rows": rows, "bytes before compression": size}


def _write(run: _Run, making: Making, out: Path, masks: Path | None, progress: Progress) -> Table:
    header = lineage(Kind.PREDICTIONS, making, making.determinants)
    totals: dict[tuple[int, str, Shift], Int64] = {}
    with ExitStack() as stack:
        partial = stack.enter_context(staged(out, overwrite=True))
        keeper = None
        if masks is not None:
            place = stack.enter_context(staged(masks, overwrite=True))
            header_masks = lineage(Kind.MASKS, making, making.determinants)
            keeper = MaskWriter(place, header_masks, run.store.classes)
        writer = stack.enter_context(TableWriter(partial, header))
        for domain in run.domains:
            counts = _count(run, domain, keeper, progress)
            for (number, shift), matrices in counts.items():
                totals[number, domain.name, shift] = matrices.sum(axis=0)
                model, indices = run.models[number], run.indices(domain)
                rows = prediction_columns(model, run.store, domain, shift, indices, matrices)
                writer.append(rows, matrices.size)
    return _summary(run, totals)


def _count(
    run: _Run, domain: Domain, keeper: MaskWriter | None, progress: Progress
) -> dict[tuple[int, Shift], Int64]:
    """Confusion counts (N, J, J) of a domain by model number and shift."""
    indices = run.indices(domain)
    reader = run.store.samples(domain.name, indices)
    classes = len(run.store.classes)
    pairs = [(number, shift) for number in range(len(run.models)) for shift in run.shifts]
    counts = {pair: np.empty((len(indices), classes, classes), dtype=np.int64) for pair in pairs}
    entries = _entries(run, domain, keeper, pairs)
    with progress.task(f"predict {domain.name}", len(indices) * len(pairs)) as task:
        for start in range(0, len(indices), BATCH_SIZE):
            rows = slice(start, min(start + BATCH_SIZE, len(indices)))
            images, truth = reader.read_many(range(rows.start, rows.stop))
            for shift in run.shifts:
                shifted = apply_all(images, shift)
                for number, network in enumerate(run.networks):
                    labels = predict_labels(network, shifted, run.device, run.precision)
                    counts[number, shift][rows] = count(truth, labels, classes)
                    if keeper is not None:
                        keeper.append(entries[number, shift], labels)
                    task.advance(len(images), note=str(shift))
    return counts


def _entries(
    run: _Run, domain: Domain, keeper: MaskWriter | None, pairs: Sequence[tuple[int, Shift]]
) -> dict[tuple[int, Shift], str]:
    if keeper is None:
        return {}
    ids = list(domain.columns["id"][run.indices(domain)])
    entries = {}
    for number, shift in pairs:
        facts = {
            **{"model": run.models[number].name, "model_id": run.models[number].id},
            **{"domain": domain.name, "shift": shift.kind.value, "factor": shift.factor},
        }
        entries[number, shift] = keeper.begin(facts, ids, (domain.height, domain.width))
    return entries


def _summary(run: _Run, totals: Mapping[tuple[int, str, Shift], Int64]) -> Table:
    """Mean IoU accumulated over the split: a row a domain and shift, a column an architecture."""
    names = [model.name.rpartition("/fold")[0] or model.name for model in run.models]
    rows = [(domain.name, shift) for domain in run.domains for shift in run.shifts]
    columns: dict[str, Sequence[str | float | None]] = {"domain": [domain for domain, _ in rows]}
    columns["shift"] = [str(shift) for _, shift in rows]
    for name in dict.fromkeys(names):
        folds = [number for number, found in enumerate(names) if found == name]
        scores = [[float(mean_iou(totals[number, *row])) for number in folds] for row in rows]
        columns[name] = [None if isnan(mean := mean_and_spread(s)[0]) else mean for s in scores]
    title = f"IoU of {', '.join(run.store.classes[1:])}, {run.split} samples, mean over folds"
    return Table(title, columns)
