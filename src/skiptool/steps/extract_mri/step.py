"""``skiptool extract mri``: cardiac and other volumes to a dataset store, section III.D."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from skiptool.errors import SourceError
from skiptool.exports.folders import qc_folder
from skiptool.parallel import available_cores
from skiptool.records import SILENT, Outcome, Progress, as_path, as_table
from skiptool.sources.volumes.manifest import VolumeRow, folder_rows, volume_rows
from skiptool.sources.volumes.slices import fitting_size
from skiptool.steps.extract_mri.checks import check_domains, check_places
from skiptool.steps.extract_mri.dealing import dealt
from skiptool.steps.extract_mri.forecast import forecast, summed
from skiptool.steps.extract_mri.notes import tell, tell_cut
from skiptool.steps.extract_mri.pictures import draw_sheets, sheets_drawn
from skiptool.steps.extract_mri.settings import SliceSettings
from skiptool.steps.extract_mri.survey import Surveyed, survey
from skiptool.steps.extract_mri.writing import Plan, write_dataset
from skiptool.stores.artifacts import finished
from skiptool.stores.contents import tell_contents
from skiptool.stores.lineage import Making, digest
from skiptool.stores.staging import Form, staged
from skiptool.stores.transfers import places_may_be_urls
from skiptool.stores.zarrs import telling_failures

__all__ = ["extract_mri"]


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
