"""Count pixels by true and predicted class; each image is read and shifted once for all models.

With skip substitution, the decoder of each model gets some feature maps of the clean image and all
others of the shifted one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from skiptool.errors import ArgumentError, MismatchError
from skiptool.model.inference import (
    SegmentedBatch,
    check_labels,
    count_substituted,
    forward_batches,
    map_concurrently,
    read_ahead,
    segment,
)
from skiptool.names import Precision
from skiptool.parallel import available_cores, ordered_map
from skiptool.records import Progress, Shift
from skiptool.shifts import apply_shifts
from skiptool.stores.dataset import DatasetStore, Domain
from skiptool.stores.models import Ensemble, StoredModel
from skiptool.substitution import PIXEL_SIZES, SAME_SCALE, Substitution, format_parts

if TYPE_CHECKING:
    from skiptool.records import Float64, Image, Int64, UInt8

CHUNK = 16
"""Images read at once: a shard of the store."""

PASSES = 16
"""Maximum forward passes of a batch per round; an interrupt waits for the end of a round."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model folder and its network."""

    stored: StoredModel
    network: Any


@dataclass(frozen=True, slots=True)
class Part:
    """Samples of a domain, and the numbers of the models that segment them."""

    domain: Domain
    indices: tuple[int, ...]
    models: tuple[int, ...]


class Prediction(NamedTuple):
    """One prediction of each sample of a part.

    ``number`` is that of the model or ensemble; ``clean_skips`` names the feature maps that the
    decoder gets from the clean image, or is None for a plain prediction.
    """

    number: int
    shift: Shift
    clean_skips: str | None


@dataclass(frozen=True, slots=True)
class Run:
    """One call of ``predict`` on one dataset.

    Attributes
    ----------
    ensembles : sequence of Ensemble
        Numbered after the models.
    split : str
        The option ``--split``.
    substitutions : sequence of Substitution
        Feature maps taken from the clean image; empty for plain predictions.
    clean : Domain, optional
        Domain whose sample of the same id is the clean image; by default the clean image is the
        unshifted one.
    workers : int, optional
        Threads that shift images while a GPU predicts, by default one per core.
    """

    store: DatasetStore
    models: Sequence[LoadedModel]
    ensembles: Sequence[Ensemble]
    parts: Sequence[Part]
    shifts: Sequence[Shift]
    split: str
    device: str
    precision: Precision
    substitutions: Sequence[Substitution] = ()
    clean: Domain | None = None
    workers: int | None = None

    def predictor(self, number: int) -> StoredModel | Ensemble:
        """Return a model or an ensemble by its number."""
        if number < len(self.models):
            return self.models[number].stored
        return self.ensembles[number - len(self.models)]

    def predictors(self, part: Part) -> list[int]:
        """Return the numbers of the models of a part, then those of the ensembles."""
        first = len(self.models)
        return [*part.models, *range(first, first + len(self.ensembles))]

    def clean_parts(self, number: int) -> list[tuple[int, ...]]:
        """Return the distinct sets of feature maps to substitute in a model."""
        skips = self.models[number].stored.architecture.skips
        sets = (substitution.clean(skips) for substitution in self.substitutions)
        return list(dict.fromkeys(parts for parts in sets if parts is not None))

    def predictions(self, part: Part) -> list[Prediction]:
        """Return the predictions of each sample of a part, in the order of the table."""
        if not self.substitutions:
            return [
                Prediction(number, shift, None)
                for number in self.predictors(part)
                for shift in self.shifts
            ]
        return [
            Prediction(number, shift, format_parts(parts))
            for number in part.models
            for shift in self.shifts
            for parts in self.clean_parts(number)
        ]


class Sink(Protocol):
    """Receives predicted labels chunk by chunk, for a store of masks or for pictures."""

    def begin(self, part: Part) -> None:
        """Prepare for the samples of a part."""

    def wants(self, shift: Shift) -> bool:
        """Return True to receive the labels of images under this shift."""

    def take(self, number: int, shift: Shift, rows: range, labels: UInt8, counts: Int64) -> None:
        """Receive labels (n, H, W) and counts (n, J, J) of consecutive rows of the part."""


class _Batch(NamedTuple):
    images: Image
    truth: UInt8
    clean: Image


@dataclass(frozen=True, slots=True)
class _Round:
    """Predictions of a batch under a few shifts.

    Attributes
    ----------
    predictors : sequence of (int, str or None), length P
        Number and clean skips of each prediction under one shift.
    passes : int
        Forward passes per image.
    segment : callable
        Returns P predictions of a batch for each shift.
    sinks : sequence of Sink
        Take the labels.
    """

    shifts: Sequence[Shift]
    predictors: Sequence[tuple[int, str | None]]
    passes: int
    segment: Callable[[_Batch], list[SegmentedBatch]]
    sinks: Sequence[Sink] = ()


def count_part(
    run: Run, part: Part, sinks: Sequence[Sink], progress: Progress
) -> Mapping[Prediction, Int64]:
    """Count pixels by [truth, predicted] of every sample of a part, and pass labels to the sinks.

    Returns
    -------
    mapping of Prediction to int64 (N, J, J)
        In the order of `Run.predictions`.

    Raises
    ------
    FormatError
        If the data are damaged.
    ArgumentError
        If a mask holds an unknown label.
    MismatchError
        If the clean domain lacks a sample, or has images of another size.
    MemoryError
        If the device runs out of memory.
    """
    total, classes, domain = len(part.indices), len(run.store.classes), part.domain.name
    counts = {
        prediction: np.empty((total, classes, classes), dtype=np.int64)
        for prediction in run.predictions(part)
    }
    for sink in sinks:
        sink.begin(part)
    rounds = list(_plan_rounds(run, part, sinks))
    chunks = [range(at, min(at + CHUNK, total)) for at in range(0, total, CHUNK)]
    passes = total * sum(part_round.passes for part_round in rounds)
    activity = "substitute" if run.substitutions else "predict"
    with progress.task(f"{activity} {domain}", passes) as task:
        for rows, (images, truth, clean) in zip(
            chunks, read_ahead(_reader(run, part), chunks), strict=True
        ):
            check_labels(truth, classes, f"{run.store.path}: domain {domain}")
            batches = list(_split_batches(images, truth, clean, run.device))
            for part_round in rounds:
                by_shift = zip(*map_concurrently(part_round.segment, batches), strict=True)
                for shift, segmented in zip(part_round.shifts, by_shift, strict=True):
                    _collect(segmented, part_round, shift, rows, counts)
                task.advance(len(rows) * part_round.passes, note=str(part_round.shifts[-1]))
    return counts


def _reader(run: Run, part: Part) -> Callable[[range], tuple[Image, UInt8, Image]]:
    """Return a function that reads images, truth and clean images of some rows of a part."""
    samples = run.store.samples(part.domain.name, part.indices)
    clean_samples = None
    if run.clean is not None:
        clean_samples = run.store.samples(run.clean.name, _partners(run, run.clean, part))

    def read(rows: range) -> tuple[Image, UInt8, Image]:
        images, truth = samples.read_many(rows)
        clean = images if clean_samples is None else clean_samples.read_many(rows)[0]
        return images, truth, clean

    return read


def _split_batches(images: Image, truth: UInt8, clean: Image, device: str) -> Iterator[_Batch]:
    start = 0
    for batch in forward_batches(images, device):
        rows = slice(start, start + len(batch))
        yield _Batch(batch, truth[rows], clean[rows])
        start = rows.stop


def _plan_rounds(run: Run, part: Part, sinks: Sequence[Sink]) -> Iterator[_Round]:
    """Divide the predictions of a part into rounds; labels are kept for one shift at a time."""
    if run.substitutions:
        for number in part.models:
            sets = run.clean_parts(number)
            predictors = [(number, format_parts(parts)) for parts in sets]
            for shifts in _limited_slices(run.shifts, len(sets)) if sets else ():
                work = partial(_substitute, run, number, sets, shifts)
                yield _Round(shifts, predictors, len(sets) * len(shifts), work)
        return
    receivers = {shift: [sink for sink in sinks if sink.wants(shift)] for shift in run.shifts}
    counted = [shift for shift, takers in receivers.items() if not takers]
    groups = [([shift], takers) for shift, takers in receivers.items() if takers]
    groups += [(shifts, []) for shifts in _limited_slices(counted, len(part.models))]
    for shifts, takers in groups:
        work = partial(_segment, run, part, shifts, bool(takers))
        plain = [(number, None) for number in run.predictors(part)]
        yield _Round(shifts, plain, len(part.models) * len(shifts), work, takers)


def _limited_slices(shifts: Sequence[Shift], passes: int) -> Iterator[list[Shift]]:
    """Divide shifts into slices of at most `PASSES` forward passes; each shift has ``passes``."""
    size = max(1, PASSES // passes)
    for start in range(0, len(shifts), size):
        yield list(shifts[start : start + size])


def _segment(
    run: Run, part: Part, shifts: Sequence[Shift], keep: bool, batch: _Batch
) -> list[SegmentedBatch]:
    """Segment a batch under each shift with the models of a part and with the ensembles."""
    positions = {number: position for position, number in enumerate(part.models)}
    return [
        segment(
            [run.models[number].network for number in part.models],
            [[positions[number] for number in ensemble.members] for ensemble in run.ensembles],
            shifted,
            batch.truth,
            len(run.store.classes),
            run.device,
            run.precision,
            keep=keep,
        )
        for shifted in _shift_images(run, batch.images, shifts)
    ]


def _substitute(
    run: Run, number: int, sets: Sequence[tuple[int, ...]], shifts: Sequence[Shift], batch: _Batch
) -> list[SegmentedBatch]:
    """Segment a batch under each shift with one model and each set of clean feature maps."""
    counts = count_substituted(
        run.models[number].network,
        sets,
        batch.clean,
        list(_shift_images(run, batch.images, shifts)),
        batch.truth,
        len(run.store.classes),
        run.device,
        run.precision,
    )
    return [SegmentedBatch(matrices, None) for matrices in counts]


def _shift_images(run: Run, images: Image, shifts: Sequence[Shift]) -> Iterator[Image]:
    """Yield images under each shift, computed on other cores while a GPU predicts."""
    workers = available_cores() if run.workers is None else max(1, run.workers)
    return ordered_map(partial(apply_shifts, images), shifts, 1 if run.device == "cpu" else workers)


def _collect(
    batches: Sequence[SegmentedBatch],
    part_round: _Round,
    shift: Shift,
    rows: range,
    counts: Mapping[Prediction, Int64],
) -> None:
    """Concatenate the batches of a chunk; store their counts and pass their labels on."""
    matrices = np.concatenate([batch.counts for batch in batches], axis=1)
    for position, (number, clean_skips) in enumerate(part_round.predictors):
        own = matrices[position]
        counts[Prediction(number, shift, clean_skips)][rows.start : rows.stop] = own
        for sink in part_round.sinks:
            labels = [batch.labels[position] for batch in batches if batch.labels is not None]
            sink.take(number, shift, rows, np.concatenate(labels), own)


def check_substitutions(run: Run, progress: Progress) -> None:
    """Warn about models that have none of the skip connections to substitute.

    Raises
    ------
    ArgumentError
        If no model has any of them.
    """
    folders = [model.stored.architecture.folder for model in run.models]
    usable = {name for number, name in enumerate(folders) if run.clean_parts(number)}
    unusable = ", ".join(dict.fromkeys(name for name in folders if name not in usable))
    if not usable:
        raise ArgumentError(
            f"{unusable}: has none of the skip connections to substitute; name some that it has"
        )
    if unusable:
        progress.warn(f"{unusable}: has none of the skip connections to substitute, left out")


def check_partners(run: Run, progress: Progress) -> None:
    """Check that the clean domain shows the same fields of view, at the same scale.

    Raises
    ------
    MismatchError
        If it lacks a sample, or has it with another size, subject or scale.
    """
    if run.clean is None:
        return
    for part in run.parts:
        if part.domain is not run.clean:
            indices = _partners(run, run.clean, part)
            _check_subjects(run, run.clean, part, indices)
            _check_scales(run, run.clean, part, indices, progress)


def _partners(run: Run, clean: Domain, part: Part) -> list[int]:
    """Find the samples of a part in the clean domain by their ids."""
    domain = part.domain
    shape = (domain.height, domain.width, domain.channels)
    if shape != (clean.height, clean.width, clean.channels):
        raise MismatchError(
            f"{run.store.path}: domains {domain.name} and {clean.name} hold images of different "
            "sizes; --clean-domain needs the same samples in both"
        )
    by_id = {str(name): index for index, name in enumerate(clean.columns["id"])}
    names = [str(name) for name in domain.columns["id"][list(part.indices)]]
    missing = [name for name in names if name not in by_id]
    if missing:
        raise MismatchError(
            f"{run.store.path}: domain {clean.name} lacks {len(missing)} of {len(names)} samples "
            f"of {domain.name} ({missing[0]}); --clean-domain needs the same samples in both"
        )
    return [by_id[name] for name in names]


def _check_subjects(run: Run, clean: Domain, part: Part, indices: Sequence[int]) -> None:
    """Refuse samples of the same id that belong to different subjects."""
    domain, rows = part.domain, list(part.indices)
    ours = domain.columns["subject"][rows]
    theirs = clean.columns["subject"][list(indices)]
    differing = np.flatnonzero(ours != theirs)
    if differing.size:
        first = int(differing[0])
        name = domain.columns["id"][rows][first]
        raise MismatchError(
            f"{run.store.path}: {differing.size} of {len(rows)} samples of domain {domain.name} "
            f"are of another subject in {clean.name} ({name}: {ours[first]} and {theirs[first]}), "
            "so they do not show the same place; --clean-domain needs the same samples in both"
        )


def _check_scales(
    run: Run, clean: Domain, part: Part, indices: Sequence[int], progress: Progress
) -> None:
    """Refuse samples of different pixel size, as far as the sizes are known."""
    domain, rows = part.domain, list(part.indices)
    unknown = False
    for column in PIXEL_SIZES:
        ours = _pixel_sizes(domain, column, rows)
        theirs = _pixel_sizes(clean, column, indices)
        both = np.isfinite(ours) & np.isfinite(theirs)
        unknown |= bool((np.isfinite(ours) != np.isfinite(theirs)).any())
        ratio = np.maximum(ours / theirs, theirs / ours, where=both, out=np.ones(len(rows)))
        worst = int(ratio.argmax())
        if ratio[worst] > 1 + SAME_SCALE:
            raise MismatchError(
                f"{run.store.path}: {column} of sample {domain.columns['id'][rows[worst]]} is "
                f"{ours[worst]:g} in domain {domain.name} and {theirs[worst]:g} in {clean.name}: "
                "their feature maps do not show the same place; bring both to one pixel size "
                "(extract wsi --mpp, extract mri --spacing)"
            )
    if unknown:
        progress.warn(
            f"{run.store.path}: the pixel size is known for only one of the domains {domain.name} "
            f"and {clean.name}; equal scale is assumed"
        )


def _pixel_sizes(domain: Domain, column: str, rows: Sequence[int]) -> Float64:
    """Return the positive values of a column, NaN elsewhere."""
    if column not in domain.columns or domain.columns[column].dtype.kind not in "iuf":
        return np.full(len(rows), np.nan)
    sizes = domain.columns[column][list(rows)].astype(np.float64)
    return np.where(sizes > 0, sizes, np.nan)
