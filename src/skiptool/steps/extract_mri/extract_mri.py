"""``skiptool extract mri``: cardiac and other volumes to a dataset store, section III.D."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skiptool.errors import ArgumentError, SourceError, near
from skiptool.exports.folders import qc_folder
from skiptool.parallel import available_cores
from skiptool.records import SILENT, Outcome, Progress, Table, as_path, as_table
from skiptool.sources.volumes.manifest import VolumeRow, folder_rows, volume_rows
from skiptool.sources.volumes.slices import fitting_size
from skiptool.steps.extract_mri.settings import ALL, SliceSettings
from skiptool.steps.extract_mri.survey import Surveyed, dealt, survey
from skiptool.steps.extract_mri.writing import Plan, draw_sheets, sheets_drawn, write_dataset
from skiptool.stores.artifacts import finished
from skiptool.stores.contents import tell_contents
from skiptool.stores.lineage import Making, digest
from skiptool.stores.staging import Form, check_free, staged
from skiptool.stores.transfers import places_may_be_urls
from skiptool.stores.zarrs import telling_failures

if TYPE_CHECKING:
    from skiptool.records import Int64

__all__ = ["check_domains", "check_places", "extract_mri", "forecast", "summed", "tell", "tell_cut"]

# -------------------------------------------------------------------------------------------------
# What is wrong with a command is said before any work is done.


def check_domains(
    rows: Sequence[VolumeRow], settings: SliceSettings, wanted: Sequence[str]
) -> None:
    """Refuse options for domains that the source does not have.

    Raises
    ------
    ArgumentError
        Says which there are.
    """
    found = list(dict.fromkeys(row.domain for row in rows))
    asked = [
        ("domain", wanted),
        ("size", settings.sizes),
        ("centre", settings.centres),
        ("slice-axis", settings.slice_axes),
        ("train-subjects", settings.train_subjects),
        ("test-subjects", settings.test_subjects),
    ]
    for option, names in asked if rows else ():
        for name in names:
            if name != ALL and name not in found:
                raise ArgumentError(
                    f"--{option} {name}: the source's domains are {', '.join(sorted(found))}"
                    f"{near(name, found)}"
                )


def check_places(out: Path, side: Path, *, overwrite: bool, resume: bool) -> None:
    """Refuse places that cannot be written.

    Raises
    ------
    SourceError
        If a parent folder is missing or may not be written.
    ExistsError
        If something is there that may not be replaced.
    """
    check_free(out, overwrite=overwrite, resume=resume)
    check_free(side, overwrite=False, resume=True)  # what lies there already is added to


# -------------------------------------------------------------------------------------------------
# Volumes in numbers: the table of ``--dry-run``, and the summary of what was written.


BYTES = 5
"""Of a pixel: float32 in the image, uint8 in the mask."""


def forecast(plan: Plan, left: Mapping[str, Any], failures: Sequence[str]) -> Outcome:
    """Lay out a row a domain: subjects, frames, slices, sizes, spacings, labels, bytes."""
    columns: dict[str, list[str | int | float | None]] = {}
    total = 0
    for domain, size in plan.sizes.items():
        volumes = [volume for volume in plan.volumes if volume.row.domain == domain]
        if not volumes:
            continue
        slices = sum(len(volume.ids) for volume in volumes)
        written = slices * size * size * BYTES
        total += written
        row: dict[str, str | int] = {
            "domain": domain,
            "subjects": len({volume.row.subject for volume in volumes}),
            "training": len(_training(plan, volumes)),
            "frames": sum(len(volume.frames) for volume in volumes),
            "slices": slices,
            "found": _listed("{} x {}".format(*volume.grid[:0:-1]) for volume in volumes),
            "size": size,
            "spacing": _span(volume.pixel[1] for volume in volumes),
            "slice_spacing": _span(volume.spacing[0] for volume in volumes),
            "orientation": _listed(volume.view.codes or "unknown" for volume in volumes),
            "labels": _counted(plan, volumes, lambda volume: volume.voxels),
            "cut off": _counted(plan, volumes, lambda volume: volume.whole - volume.kept),
            "bytes": written,
        }
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    summary = summed(plan, plan.volumes, left, failures) | {"bytes before compression": total}
    table = Table("slices", columns, spare=("bytes", "slice_spacing", "training", "cut off"))
    return Outcome(summary=summary, failures=tuple(failures), tables=(table,))


def summed(
    plan: Plan, written: Sequence[Surveyed], left: Mapping[str, Any], failures: Sequence[str]
) -> dict[str, Any]:
    """Return numbers of what was written: slices by domain and split, labels before and after."""
    samples, sides = Counter[str](), Counter[str]()
    for volume in written:
        samples[volume.row.domain] += len(volume.ids)
        sides["test" if plan.folds[volume.row.subject] < 0 else "train"] += len(volume.ids)
    found: dict[str, Any] = {
        "samples": dict(samples),
        "subjects": len({volume.row.subject for volume in written}),
        **{side: sides[side] for side in ("train", "test")},
        "size": {domain: plan.sizes[domain] for domain in samples},
        "voxels in masks": _counts(plan, written, lambda volume: volume.voxels),
    }
    if plan.settings.spacing is not None:
        found["pixels resampled"] = _counts(plan, written, lambda volume: volume.whole)
    found["pixels in the store"] = _counts(plan, written, lambda volume: volume.kept)
    lost = sum(int((volume.whole - volume.kept)[1:].sum()) for volume in written)
    return found | {"labelled pixels cut off": lost} | dict(left) | {"failed": len(failures)}


def _training(plan: Plan, volumes: Iterable[Surveyed]) -> set[str]:
    subjects = {volume.row.subject for volume in volumes}
    return {subject for subject in subjects if plan.folds[subject] >= 0}


def _counts(
    plan: Plan, volumes: Iterable[Surveyed], of: Callable[[Surveyed], Int64]
) -> dict[str, int]:
    """Sum counts by class, without the background."""
    totals = Counter[str]()
    for volume in volumes:
        for name, count in list(zip(plan.settings.classes, of(volume).tolist(), strict=True))[1:]:
            totals[name] += count
    return dict(totals)


def _counted(plan: Plan, volumes: Iterable[Surveyed], of: Callable[[Surveyed], Int64]) -> str:
    counts = _counts(plan, volumes, of)
    return ", ".join(f"{name} {count}" for name, count in counts.items() if count) or "none"


def _listed(words: Iterable[str]) -> str:
    """Join different words, the most frequent first."""
    return ", ".join(word for word, _ in Counter(words).most_common())


def _span(numbers: Iterable[float]) -> str:
    found = sorted(numbers)
    low, high = f"{found[0]:.4g}", f"{found[-1]:.4g}"
    return low if low == high else f"{low} to {high}"


# -------------------------------------------------------------------------------------------------
# What a user should know of the volumes, in a few lines however many there are.


SAID = 3
"""Lines of a kind before the others are only counted."""


def tell(volumes: Sequence[Surveyed], progress: Progress) -> None:
    """Warn of what was noted of the volumes; of many notes alike, the first few and the number."""
    kinds: dict[str, list[str]] = {}
    for volume in volumes:
        for line in volume.notes:
            # notes of a kind differ in the path in front and in numbers
            kind = re.sub(r"[\d.e+-]+", "#", line.rpartition(": ")[2])
            kinds.setdefault(kind, []).append(line)
    for lines in kinds.values():
        for line in lines[:SAID]:
            progress.warn(line)
        if len(lines) > SAID:
            progress.warn(f"... and {len(lines) - SAID} more notes like the last")


def tell_cut(plan: Plan, progress: Progress) -> None:
    """Warn of labelled pixels that cropping cuts off, domain by domain."""
    classes = plan.settings.classes
    for domain, size in plan.sizes.items():
        there = [volume for volume in plan.volumes if volume.row.domain == domain]
        cut = [volume for volume in there if (volume.whole - volume.kept)[1:].any()]
        if not cut:
            continue
        lost = [
            (name, sum(int((volume.whole - volume.kept)[label]) for volume in cut))
            for label, name in enumerate(classes)
        ]
        counts = ", ".join(f"{name} {count}" for name, count in lost[1:] if count)
        progress.warn(
            f"domain {domain}: --size {size} cuts labelled pixels off ({counts}) in {len(cut)} of "
            f"{len(there)} volumes, the first: {cut[0].row.image}; take a larger size to keep them"
        )


@places_may_be_urls(out=Form.STORE)
def extract_mri(
    source: Path | str,
    out: Path | str,
    *,
    table: Path | str | None = None,
    settings: SliceSettings | None = None,
    domains: Sequence[str] = (),
    test_fraction: float = 0.2,
    folds: int = 5,
    train_domain: str | None = None,
    seed: int = 0,
    qc: Path | str | None = None,
    pictures: bool = True,
    workers: int | None = None,
    overwrite: bool = False,
    resume: bool = False,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> Outcome:
    """Cut volumes of one or several vendors into slices with masks, section III.D.

    Parameters
    ----------
    source : Path or str
        Table of volumes (see :func:`skiptool.sources.volumes.manifest.volume_rows`), a ``str`` of
        several lines is the table itself; or the folder of the M&Ms challenge.
    out : Path or str
        Dataset store to write (a path or a URL), a group for each domain: images float32 (H, W, 1)
        in [0, 1].
    table : Path or str, optional
        CSV of the challenge; by default the one in its folder.
    settings : SliceSettings, optional
        Which frames and labels, and what slices are made into.
    domains : sequence of str
        Domains to take; all of them by default.
    test_fraction : float
        Share of subjects held out for testing where no split is given.
    folds : int
        Validation folds of the training samples, grouped by subject.
    train_domain : str, optional
        Train on this domain: all subjects of the others are for testing, beside the share of its
        own.
    seed : int
    qc : Path or str, optional
        Folder of pictures to check by eye; by default beside ``out``, its stem with ``-qc``.
    pictures : bool
        Whether to draw them.
    workers : int, optional
        Threads that read; all usable cores by default.
    overwrite, resume, dry_run : bool
    progress : Progress

    Returns
    -------
    Outcome
        Output: the store. Failures: one line for each input that was left out.

    Raises
    ------
    SourceError
        If the source is unusable, or all volumes fail or have no labels.
    ArgumentError
        If options contradict each other or the source.
    ExistsError
        If the output exists.
    """
    source, out, table, qc = as_table(source), Path(out), as_path(table), as_path(qc)
    chosen = settings or SliceSettings()
    threads = available_cores() if workers is None else workers
    rows, failures = _rows(source, table, chosen, domains, progress)
    making = Making(
        "extract mri",
        (source if isinstance(source, Path) else "-",),
        {
            **chosen.asked,
            **{"domain": list(domains), "test_fraction": test_fraction},
            **{"folds": folds, "seed": seed},
            **({} if train_domain is None else {"train_domain": train_domain}),
        },
        {"table": table, "out": out, "qc": qc, "no_pictures": not pictures},
        {"files": _fingerprint(rows)},
    )
    side = qc_folder(out, qc)
    if finished(out, making, resume=resume, clear=not dry_run):
        drawn = not pictures or sheets_drawn(side, out)
        return Outcome((out,), () if drawn else (draw_sheets(side, out, progress),))
    if not dry_run:
        check_places(out, side, overwrite=overwrite, resume=resume)
    volumes, failed = survey(rows, chosen, threads, progress)
    failures += failed
    tell(volumes, progress)
    dealing = test_fraction, folds, seed, train_domain
    plan, left = _planned(volumes, chosen, dealing, failures, progress)
    tell_cut(plan, progress)
    if dry_run:
        return forecast(plan, left, failures)
    with staged(out, overwrite=overwrite, resume=resume) as partial:
        written = write_dataset(partial, plan, making, failures, threads, progress)
    sheets = (draw_sheets(side, out, progress),) if pictures else ()
    summary, tables = summed(plan, written, left, failures), tell_contents(out, progress)
    return Outcome((out,), sheets, summary, tuple(failures), tables)


def _rows(
    source: Path | str,
    table: Path | None,
    settings: SliceSettings,
    domains: Sequence[str],
    progress: Progress,
) -> tuple[list[VolumeRow], list[str]]:
    """List the volumes of the wanted domains and hospitals, domain by domain."""
    if isinstance(source, Path) and source.is_dir():
        rows, failures, validation = folder_rows(source, table)
        if validation:
            progress.warn(
                f"{source}: {len(validation)} subjects of the challenge's validation set are in "
                "neither split and left out; to take them, list the volumes in a manifest"
            )
    else:
        rows, failures = volume_rows(source)
    check_domains(rows, settings, domains)
    rows = [row for row in rows if row.domain in domains or not domains]
    wanted = [row for row in rows if settings.centres.get(row.domain, row.centre) == row.centre]
    if rows and not wanted:
        raise SourceError(
            f"no volume is of the hospitals that --centre asks for; there are "
            f"{', '.join(sorted({f'{row.domain}={row.centre}' for row in rows}))}"
        )
    return sorted(wanted, key=lambda row: row.domain), failures


def _planned(
    volumes: Sequence[Surveyed],
    settings: SliceSettings,
    dealing: tuple[float, int, int, str | None],
    failures: Sequence[str],
    progress: Progress,
) -> tuple[Plan, Mapping[str, Any]]:
    """Decide what is written; returns beside it what is left out on purpose."""
    bare = [volume for volume in volumes if not volume.frames]
    usable = [volume for volume in volumes if volume.frames]
    if bare:
        names = ", ".join(dict.fromkeys(volume.row.subject for volume in bare))
        progress.warn(
            f"{len(bare)} volumes have no mask and are left out (subjects {names}); "
            "--keep-unlabelled takes them with masks of 255"
        )
    if not usable:
        first = f", the first: {failures[0]}" if failures else ""
        raise SourceError(
            f"no volume can be used: {len(bare)} have no mask, {len(failures)} failed{first}"
        )
    with telling_failures(failures, progress):
        folds = dealt(usable, settings, *dealing[:3], progress, dealing[3])
    taken = [volume for volume in usable if volume.row.subject in folds]
    if not taken:
        raise SourceError("no subject is left; see --train-subjects and --test-subjects")
    longest: dict[str, int] = {}
    for volume in usable:  # of all, so that a size does not depend on what is drawn
        domain = volume.row.domain
        longest[domain] = max(longest.get(domain, 0), *volume.grid[1:])
    sizes = {
        domain: settings.size_of(domain) or fitting_size(length)
        for domain, length in longest.items()
    }
    left = {"without masks": len(bare)} if bare else {}
    undrawn = {volume.row.subject for volume in usable} - set(folds)
    if undrawn:
        left["subjects not drawn"] = len(undrawn)
    return Plan(settings, taken, sizes, folds), left


def _fingerprint(rows: Sequence[VolumeRow]) -> str:
    """Hash the rows and the sizes of their files: a resumed run must find the same inputs."""
    found = []
    for row in rows:
        files = [path for path in (row.image, row.mask) if path is not None]
        sizes = [path.stat().st_size if path.is_file() else None for path in files]
        facts = [row.domain, row.subject, list(map(str, row.frames)), row.split, row.centre, row.id]
        found.append([[path.name for path in files], sizes, facts])
    return digest(found)
