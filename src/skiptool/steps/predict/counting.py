"""Every image of a part read once, shifted once, and run through all networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from skiptool.model.inference import (
    Segmented,
    check_labels,
    forward_batches,
    read_ahead,
    segment,
    side_by_side,
)
from skiptool.parallel import available_cores, mapped
from skiptool.records import Progress, Shift
from skiptool.shifts import apply_all
from skiptool.steps.predict.run import Part, Run, Sink

if TYPE_CHECKING:
    from skiptool.records import Image, Int64, UInt8

    Batch = tuple[Image, UInt8]
    Counts = Mapping[tuple[int, Shift], Int64]

__all__ = ["count_part"]

CHUNK = 16
"""Images read at once: a shard of the store."""

PASSES = 16
"""Forward passes of a batch before the next round: an interrupt waits for no more."""


def count_part(run: Run, part: Part, sinks: Sequence[Sink], progress: Progress) -> Counts:
    """Count true against predicted pixels.

    Parameters
    ----------
    run : Run
    part : Part
    sinks : sequence of Sink
        Are handed the labels.
    progress : Progress

    Returns
    -------
    mapping of (number of model or ensemble, shift) to int64 (N, J, J)

    Raises
    ------
    FormatError
        If the data are damaged.
    ArgumentError
        If a mask holds a label that is no class.
    MemoryError
        If the device has not enough memory.
    """
    numbers, total, classes = run.predictors(part), len(part.indices), len(run.store.classes)
    counts = {
        (number, shift): np.empty((total, classes, classes), dtype=np.int64)
        for number in numbers
        for shift in run.shifts
    }
    for sink in sinks:
        sink.begin(part)
    reader = run.store.samples(part.domain.name, part.indices)
    chunks = [range(at, min(at + CHUNK, total)) for at in range(0, total, CHUNK)]
    where = f"{run.store.path}: domain {part.domain.name}"
    passes = total * len(part.models) * len(run.shifts)
    with progress.task(f"predict {part.domain.name}", passes) as task:
        for rows, (images, truth) in zip(chunks, read_ahead(reader.read_many, chunks), strict=True):
            check_labels(truth, classes, where)
            batches = list(_batches(images, truth, run.device))
            for shifts, takers in _rounds(run, part, sinks):
                work = partial(_segment, run, part, shifts, bool(takers))
                for shift, found in _by_shift(shifts, side_by_side(work, batches)):
                    _hand_over(found, (numbers, shift, rows), counts, takers)
                task.advance(len(rows) * len(part.models) * len(shifts), note=str(shifts[-1]))
    return counts


def _batches(images: Image, truth: UInt8, device: str) -> Iterator[Batch]:
    start = 0
    for batch in forward_batches(images, device):
        yield batch, truth[start : start + len(batch)]
        start += len(batch)


def _rounds(
    run: Run, part: Part, sinks: Sequence[Sink]
) -> Iterator[tuple[Sequence[Shift], Sequence[Sink]]]:
    """Split the shifts into rounds; labels are held for one shift at a time."""
    takers = {shift: [sink for sink in sinks if sink.wants(shift)] for shift in run.shifts}
    for shift, wanting in takers.items():
        if wanting:
            yield (shift,), wanting
    rest = [shift for shift, wanting in takers.items() if not wanting]
    size = max(1, PASSES // len(part.models))
    for start in range(0, len(rest), size):
        yield rest[start : start + size], ()


def _segment(
    run: Run, part: Part, shifts: Sequence[Shift], keep: bool, batch: Batch
) -> list[Segmented]:
    """Segment one batch under each shift; on a GPU other cores shift the images to come."""
    images, truth = batch
    beside = available_cores() if run.workers is None else max(1, run.workers)
    workers = 1 if run.device == "cpu" else beside
    networks = [run.models[number].network for number in part.models]
    places = {number: place for place, number in enumerate(part.models)}
    members = [[places[number] for number in each.members] for each in run.ensembles]
    classes, how = len(run.store.classes), (run.device, run.precision)
    return [
        segment(networks, members, shifted, truth, classes, *how, keep=keep)
        for shifted in mapped(partial(apply_all, images), shifts, workers)
    ]


def _by_shift(
    shifts: Sequence[Shift], results: Sequence[Sequence[Segmented]]
) -> Iterator[tuple[Shift, list[Segmented]]]:
    for place, shift in enumerate(shifts):
        yield shift, [result[place] for result in results]


def _hand_over(
    found: Sequence[Segmented],
    what: tuple[Sequence[int], Shift, range],
    counts: Counts,
    sinks: Sequence[Sink],
) -> None:
    """Sort what came of the batches of a chunk under one shift by model and ensemble."""
    numbers, shift, rows = what
    joined = np.concatenate([each.counts for each in found], axis=1)
    labels = [each.labels for each in found if each.labels is not None]
    for place, number in enumerate(numbers):
        counts[number, shift][rows.start : rows.stop] = joined[place]
        for sink in sinks:
            shown = np.concatenate([each[place] for each in labels])
            sink.take(number, shift, rows, shown, joined[place])
