"""Every image of a part read once, shifted once, and run through all networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from skiptool.errors import ArgumentError, MismatchError
from skiptool.model.inference import (
    Segmented,
    check_labels,
    count_substituted,
    forward_batches,
    read_ahead,
    segment,
    side_by_side,
)
from skiptool.names import Precision
from skiptool.parallel import available_cores, mapped
from skiptool.records import Progress, Shift
from skiptool.shifts import apply_all
from skiptool.stores.dataset import DatasetStore, Domain
from skiptool.stores.models import Ensemble, StoredModel
from skiptool.substitution import PIXEL_SIZES, SAME_SCALE, Substitution, named_parts

if TYPE_CHECKING:
    from skiptool.records import Float64, Image, Int64, UInt8

    Batch = tuple[Image, UInt8]
    Counts = Mapping[tuple[int, Shift], Int64]

__all__ = [
    "Counted",
    "Loaded",
    "Part",
    "Run",
    "Sink",
    "check_partners",
    "check_substitutions",
    "clean_parts",
    "count_part",
    "count_with_substitution",
]

# -------------------------------------------------------------------------------------------------
# What is predicted: models and ensembles on samples of domains under shifts, on one device.


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model folder that was read, and its network."""

    stored: StoredModel
    network: Any


@dataclass(frozen=True, slots=True)
class Part:
    """Samples of one domain, and the numbers of the models that segment them."""

    domain: Domain
    indices: tuple[int, ...]
    models: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Counted:
    """What one model or ensemble made of a part under one shift.

    Attributes
    ----------
    number : int
        Of the model or ensemble.
    shift : Shift
    clean_skips : str or None
        Parts that the decoder got from the clean image, None for a plain prediction.
    matrices : int64, shape (N, J, J)
        Pixels by [truth, predicted] of each sample of the part.
    """

    number: int
    shift: Shift
    clean_skips: str | None
    matrices: Int64


@dataclass(frozen=True, slots=True)
class Run:
    """One call of ``predict``.

    Attributes
    ----------
    store : DatasetStore
    models : sequence of Loaded
    ensembles : sequence of Ensemble
        Numbered on after the models.
    parts : sequence of Part
    shifts : sequence of Shift
    split : str
        Name of the split as typed.
    device : str
    precision : Precision
    substitutions : sequence of Substitution
        Feature maps that decoders get from the clean image; none for plain predictions.
    clean : Domain, optional
        Where clean images are found by the samples' ids; by default they are the unshifted ones.
    workers : int, optional
        Threads that shift images while a GPU predicts, by default one for each core.
    """

    store: DatasetStore
    models: Sequence[Loaded]
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
        """Return the numbers of what segments a part: its models, then the ensembles."""
        first = len(self.models)
        return [*part.models, *range(first, first + len(self.ensembles))]


class Sink(Protocol):
    """Takes predicted labels as they come: a store of masks, pictures."""

    def begin(self, part: Part) -> None:
        """Prepare for the samples of a part."""

    def wants(self, shift: Shift) -> bool:
        """Say whether it takes the labels of images under this shift."""

    def take(self, number: int, shift: Shift, rows: range, labels: UInt8, counts: Int64) -> None:
        """Take labels (n, H, W) and counts (n, J, J) of some rows of the part, in order."""


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


# -------------------------------------------------------------------------------------------------
# Every image of a part under every shift, some feature maps taken from the clean image.


def clean_parts(run: Run, number: int) -> list[tuple[int, ...]]:
    """Return the sets of clean parts that a model of a run has, each once."""
    skips = run.models[number].stored.architecture.skips
    found = (each.clean(skips) for each in run.substitutions)
    return list(dict.fromkeys(parts for parts in found if parts is not None))


def check_substitutions(run: Run, progress: Progress) -> None:
    """Say which models lack parts that were named.

    Raises
    ------
    ArgumentError
        If no model has any of them.
    """
    folders = [model.stored.architecture.folder for model in run.models]
    having = {name for number, name in enumerate(folders) if clean_parts(run, number)}
    lacking = ", ".join(dict.fromkeys(name for name in folders if name not in having))
    if not having:
        raise ArgumentError(
            f"{lacking}: has none of the skip connections to substitute; name some that it has"
        )
    if lacking:
        progress.warn(f"{lacking}: has none of the skip connections to substitute, left out")


def count_with_substitution(run: Run, part: Part, progress: Progress) -> Iterator[Counted]:
    """Count true against predicted pixels with each set of clean parts.

    Parameters
    ----------
    run : Run
    part : Part
    progress : Progress

    Yields
    ------
    Counted
        By model, shift and set.

    Raises
    ------
    FormatError
        If the data are damaged.
    ArgumentError
        If a mask holds a label that is no class.
    MismatchError
        If the clean domain lacks a sample, or has it in another size.
    MemoryError
        If the device has not enough memory.
    """
    total, classes = len(part.indices), len(run.store.classes)
    sets = {number: clean_parts(run, number) for number in part.models}
    counts = {
        (number, shift): np.empty((len(sets[number]), total, classes, classes), dtype=np.int64)
        for number in part.models
        for shift in run.shifts
    }
    shifted = run.store.samples(part.domain.name, part.indices)
    clean = shifted
    if run.clean is not None:
        places = _partners(run, run.clean, part)
        clean = run.store.samples(run.clean.name, places)
    chunks = [range(at, min(at + CHUNK, total)) for at in range(0, total, CHUNK)]
    where = f"{run.store.path}: domain {part.domain.name}"

    def read(rows: range) -> tuple[Image, UInt8, Image]:
        images, truth = shifted.read_many(rows)
        return images, truth, images if clean is shifted else clean.read_many(rows)[0]

    passes = sum(map(len, sets.values())) * total * len(run.shifts)
    with progress.task(f"substitute {part.domain.name}", passes) as task:
        for rows, (images, truth, own) in zip(chunks, read_ahead(read, chunks), strict=True):
            check_labels(truth, classes, where)
            batches = _paired_batches(images, truth, own, run.device)
            for number in (n for n in part.models if sets[n]):
                for shifts in _substituted_rounds(run.shifts, len(sets[number])):
                    work = partial(_segment_substituted, run, number, sets[number], shifts)
                    found = np.concatenate(side_by_side(work, batches), axis=2)
                    for shift, matrices in zip(shifts, found, strict=True):
                        counts[number, shift][:, rows.start : rows.stop] = matrices
                    task.advance(len(rows) * len(sets[number]) * len(shifts), note=str(shifts[-1]))
    for (number, shift), found in counts.items():
        for parts, matrices in zip(sets[number], found, strict=True):
            yield Counted(number, shift, named_parts(parts), matrices)


def _paired_batches(
    images: Image, truth: UInt8, own: Image, device: str
) -> list[tuple[Image, UInt8, Image]]:
    batches, start = [], 0
    for each, clean in zip(
        forward_batches(images, device), forward_batches(own, device), strict=True
    ):
        batches.append((each, truth[start : start + len(each)], clean))
        start += len(each)
    return batches


def _substituted_rounds(shifts: Sequence[Shift], sets: int) -> Iterator[Sequence[Shift]]:
    """Split the shifts so that an interrupt waits for no more than a few passes."""
    size = max(1, PASSES // sets)
    for start in range(0, len(shifts), size):
        yield shifts[start : start + size]


def _segment_substituted(
    run: Run,
    number: int,
    sets: Sequence[tuple[int, ...]],
    shifts: Sequence[Shift],
    batch: tuple[Image, UInt8, Image],
) -> Int64:
    images, truth, clean = batch
    shifted = [apply_all(images, shift) for shift in shifts]
    network, classes = run.models[number].network, len(run.store.classes)
    how = (classes, run.device, run.precision)
    return count_substituted(network, sets, clean, shifted, truth, *how)


def check_partners(run: Run, progress: Progress) -> None:
    """Look whether the clean domain shows the same places, of the same subjects, equally large.

    Raises
    ------
    MismatchError
        If it lacks a sample, or has it of another size, subject or scale.
    """
    if run.clean is None:
        return
    for part in run.parts:
        if part.domain is not run.clean:
            places = _partners(run, run.clean, part)
            _check_subjects(run, run.clean, part, places)
            _check_scales(run, run.clean, part, places, progress)


def _partners(run: Run, clean: Domain, part: Part) -> list[int]:
    """Find the same samples in the clean domain, by their ids."""
    domain = part.domain
    if (domain.height, domain.width, domain.channels) != (
        *(clean.height, clean.width, clean.channels),
    ):
        raise MismatchError(
            f"{run.store.path}: domains {domain.name} and {clean.name} hold images of different "
            "sizes; --clean-domain needs the same samples in both"
        )
    places = {str(name): place for place, name in enumerate(clean.columns["id"])}
    names = [str(name) for name in domain.columns["id"][list(part.indices)]]
    missing = [name for name in names if name not in places]
    if missing:
        raise MismatchError(
            f"{run.store.path}: domain {clean.name} lacks {len(missing)} of {len(names)} samples "
            f"of {domain.name} ({missing[0]}); --clean-domain needs the same samples in both"
        )
    return [places[name] for name in names]


def _check_subjects(run: Run, clean: Domain, part: Part, places: Sequence[int]) -> None:
    """Refuse samples of the same name that are of different subjects."""
    domain, rows = part.domain, list(part.indices)
    ours = domain.columns["subject"][rows]
    theirs = clean.columns["subject"][list(places)]
    strange = np.flatnonzero(ours != theirs)
    if strange.size:
        name, first = domain.columns["id"][rows][strange[0]], int(strange[0])
        raise MismatchError(
            f"{run.store.path}: {strange.size} of {len(rows)} samples of domain {domain.name} are "
            f"of another subject in {clean.name} ({name}: {ours[first]} and {theirs[first]}), so "
            "they do not show the same place; --clean-domain needs the same samples in both"
        )


def _check_scales(
    run: Run, clean: Domain, part: Part, places: Sequence[int], progress: Progress
) -> None:
    """Refuse samples whose pixels are not equally large, as far as the columns tell."""
    domain, rows = part.domain, list(part.indices)
    unknown = False
    for column in PIXEL_SIZES:
        ours = _numbers(domain, column, rows)
        theirs = _numbers(clean, column, places)
        both = np.isfinite(ours) & np.isfinite(theirs)
        unknown |= bool((np.isfinite(ours) != np.isfinite(theirs)).any())
        apart = np.maximum(ours / theirs, theirs / ours, where=both, out=np.ones(len(rows)))
        worst = int(apart.argmax())
        if apart[worst] > 1 + SAME_SCALE:
            raise MismatchError(
                f"{run.store.path}: {column} of sample {domain.columns['id'][rows[worst]]} is "
                f"{ours[worst]:g} in domain {domain.name} and {theirs[worst]:g} in {clean.name}: "
                "their feature maps do not show the same place; bring both to one pixel size "
                "(extract wsi --mpp, extract mri --spacing)"
            )
    if unknown:
        progress.warn(
            f"{run.store.path}: the size of a pixel is known of domain {domain.name} or "
            f"{clean.name} alone; that both have the same scale is assumed"
        )


def _numbers(domain: Domain, column: str, rows: Sequence[int]) -> Float64:
    """Return the positive numbers of a column, NaN where there is none."""
    if column not in domain.columns or domain.columns[column].dtype.kind not in "iuf":
        return np.full(len(rows), np.nan)
    found = domain.columns[column][list(rows)].astype(np.float64)
    return np.where(found > 0, found, np.nan)
