"""Every image of a part under every shift, some feature maps taken from the clean image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from skiptool.errors import ArgumentError, MismatchError
from skiptool.model.inference import (
    check_labels,
    count_substituted,
    forward_batches,
    read_ahead,
    side_by_side,
)
from skiptool.records import Progress, Shift
from skiptool.shifts import apply_all
from skiptool.steps.predict.counting import CHUNK, PASSES
from skiptool.steps.predict.run import Counted, Part, Run
from skiptool.stores.dataset import Domain
from skiptool.substitution import PIXEL_SIZES, SAME_SCALE, named_parts

if TYPE_CHECKING:
    from skiptool.records import Float64, Image, Int64, UInt8

__all__ = ["check_partners", "check_substitutions", "clean_parts", "count_with_substitution"]


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
            batches = _batches(images, truth, own, run.device)
            for number in (n for n in part.models if sets[n]):
                for shifts in _rounds(run.shifts, len(sets[number])):
                    work = partial(_segment, run, number, sets[number], shifts)
                    found = np.concatenate(side_by_side(work, batches), axis=2)
                    for shift, matrices in zip(shifts, found, strict=True):
                        counts[number, shift][:, rows.start : rows.stop] = matrices
                    task.advance(len(rows) * len(sets[number]) * len(shifts), note=str(shifts[-1]))
    for (number, shift), found in counts.items():
        for parts, matrices in zip(sets[number], found, strict=True):
            yield Counted(number, shift, named_parts(parts), matrices)


def _batches(
    images: Image, truth: UInt8, own: Image, device: str
) -> list[tuple[Image, UInt8, Image]]:
    batches, start = [], 0
    for each, clean in zip(
        forward_batches(images, device), forward_batches(own, device), strict=True
    ):
        batches.append((each, truth[start : start + len(each)], clean))
        start += len(each)
    return batches


def _rounds(shifts: Sequence[Shift], sets: int) -> Iterator[Sequence[Shift]]:
    """Split the shifts so that an interrupt waits for no more than a few passes."""
    size = max(1, PASSES // sets)
    for start in range(0, len(shifts), size):
        yield shifts[start : start + size]


def _segment(
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
