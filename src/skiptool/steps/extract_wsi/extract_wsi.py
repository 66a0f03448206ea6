"""``skiptool extract wsi``: slides of one or several scanners to a dataset store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skiptool.errors import ArgumentError, ExistsError, SourceError, near
from skiptool.exports.folders import check_export, qc_folder
from skiptool.exports.png import export_pairs
from skiptool.names import PatchMode, Split
from skiptool.parallel import available_cores, dask_mapper, threaded
from skiptool.records import SILENT, Outcome, Progress, Table, as_path, as_table
from skiptool.sources.slides.manifest import SlideRow, content_key, slide_rows
from skiptool.sources.slides.pool import SlidePool
from skiptool.steps.extract_wsi.pictures import draw_pictures
from skiptool.steps.extract_wsi.plan import Plan, make_plan, reference_sites, unseen, why_nothing
from skiptool.steps.extract_wsi.registration import Site
from skiptool.steps.extract_wsi.settings import Notes, PatchSettings, Run, notes_of
from skiptool.steps.extract_wsi.survey import Labelling, Surveyed, dealt, labelling, survey
from skiptool.steps.extract_wsi.writing import write_dataset, write_registration
from skiptool.stores.artifacts import finished
from skiptool.stores.contents import tell_contents
from skiptool.stores.lineage import Making, digest
from skiptool.stores.models import open_model
from skiptool.stores.staging import Form, check_free, staged
from skiptool.stores.transfers import places_may_be_urls
from skiptool.stores.zarrs import kept_failures, telling_failures

if TYPE_CHECKING:
    from skiptool.comparison.activations import Mapper

__all__ = ["check_places", "check_words", "extract_slides", "forecast", "made_from"]

# -------------------------------------------------------------------------------------------------
# What is wrong with a command is said before any work is done.


def check_words(
    rows: Sequence[SlideRow], settings: PatchSettings, wanted: Sequence[str], split: str
) -> None:
    """Refuse domains that the manifest does not have, and splits that do not exist.

    Raises
    ------
    ArgumentError
        Says which there are.
    """
    if split not in ("all", *Split):
        raise ArgumentError(f"--split {split}: expected train, test or all")
    found = dict.fromkeys(row.domain for row in rows)
    asked = [("domain", name) for name in wanted]
    if settings.register is not None:
        asked.append(("register", settings.register))
    for option, name in asked if rows else ():
        if name not in found or (wanted and name not in wanted):
            known = [each for each in found if each in wanted or not wanted or option == "domain"]
            raise ArgumentError(
                f"--{option} {name}: the manifest's domains are {', '.join(known)}"
                f"{near(name, known)}"
            )


def check_places(
    out: Path, side: Path, export: Path | None, *, overwrite: bool, resume: bool
) -> None:
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
    if notes_of(out).exists() and not (overwrite or resume):
        raise ExistsError(
            f"{out}: {notes_of(out).name} is left of an interrupted run, or another process writes "
            "it now; give --resume to go on with it or --overwrite to start again"
        )
    if export is not None:
        check_export(export, out, resume=resume)


# -------------------------------------------------------------------------------------------------
# What an extraction is made from: files by their content, wherever they lie.


def made_from(rows: Sequence[SlideRow], settings: PatchSettings) -> dict[str, str]:
    """Return the ids of all inputs by role: a resumed run must find the same.

    Raises
    ------
    FormatError
        If the model of ``--mask model`` is missing or damaged.
    """
    found = {"files": _fingerprint(rows)}
    return found if settings.model is None else found | {"model": open_model(settings.model).id}


def _fingerprint(rows: Sequence[SlideRow]) -> str:
    found = []
    for row in rows:
        facts = asdict(row) | {"path": row.path.name, "annotations": None}
        found.append([facts, _known(row.path), _known(row.annotations)])
    return digest(found)


def _known(path: Path | None) -> list[str] | None:
    """Return name and content key of a file, None where there is none to be read."""
    try:
        return None if path is None else [path.name, content_key(path)]
    except SourceError:
        return None


# -------------------------------------------------------------------------------------------------
# ``--dry-run``: what is in the slides, and what would come of them.


def forecast(
    slides: Sequence[Surveyed],
    sites: Sequence[Site],
    labels: Labelling,
    settings: PatchSettings,
    failures: Sequence[str],
) -> Outcome:
    """Lay out a row a slide: vendor, size, resolution, annotations by class, patches, bytes.

    Where slides are registered, the counts are those before misaligned patches are left out. A
    slide without patches is a failure, with the reason.
    """
    patches = Counter(view.slide for site in sites for view in site.views)
    empty = [
        why_nothing(slide, settings)
        for place, slide in enumerate(slides)
        if not patches[place] and settings.register in (None, slide.row.domain)
    ]
    failures = (*failures, *empty)
    if settings.register is not None:
        patches = _in_all_domains(slides, patches)
    each = settings.size * settings.size * 4
    names = ("slide", "domain", "subject", "vendor", "width", "height", "levels", "mpp", "mpp_y")
    columns: dict[str, list[str | int | float | None]] = {name: [] for name in names}
    columns |= {name: [] for name in ("annotations", "patches", "bytes")}
    for place, slide in enumerate(slides):
        row: tuple[str | int | float | None, ...] = (
            *(slide.name, slide.row.domain, slide.row.subject, slide.vendor),
            *(*slide.size, slide.levels, *(slide.mpp or (None, None))),
            *(_annotations(slide, labels), patches[place], patches[place] * each),
        )
        for cells, value in zip(columns.values(), row, strict=True):
            cells.append(value)
    summary = {
        "slides": len(slides),
        "patches": patches.total(),
        "bytes before compression": patches.total() * each,
        "failed": len(failures),
    }
    if settings.mode is PatchMode.SAMPLED:
        summary["draws"] = settings.draws
    title = f"{settings.mode.value} patches of {settings.size} px"
    table = Table(title, columns, uniform=("subject", "domain"), spare=("bytes", "levels"))
    return Outcome(summary=summary, failures=failures, tables=(table,))


def _in_all_domains(slides: Sequence[Surveyed], patches: Counter[int]) -> Counter[int]:
    """Give all scans of a glass slide the patches of its scan in the reference domain."""
    glass = [(slide.row.subject, slide.row.slide) for slide in slides]
    of_reference = {glass[place]: count for place, count in patches.items()}
    return Counter({place: of_reference.get(key, 0) for place, key in enumerate(glass)})


def _annotations(slide: Surveyed, labels: Labelling) -> str:
    """Count by class, those in no class by name: ``tumor 12, Bone (no class) 3``."""
    counts: Counter[str] = Counter()
    for shape in slide.shapes:
        label = labels.label(slide, shape)
        unknown = f"{shape.name or 'unnamed'} (no class)"
        counts[unknown if label is None else labels.name(label)] += 1
    for what, count in slide.dropped.items():
        counts[f"left out ({what})"] += count
    counts["cannot be read"] += len(slide.faults)
    counts = +counts
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"


@places_may_be_urls(out=Form.STORE)
def extract_slides(
    manifest: Path | str,
    out: Path | str,
    *,
    settings: PatchSettings | None = None,
    domains: Sequence[str] = (),
    split: str = "all",
    test_fraction: float = 0.2,
    folds: int = 5,
    train_domain: str | None = None,
    seed: int = 0,
    qc: Path | str | None = None,
    pictures: bool = True,
    export: Path | str | None = None,
    workers: int | None = None,
    dask: str | None = None,
    overwrite: bool = False,
    resume: bool = False,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> Outcome:
    """Cut whole-slide images into patches with masks, sections III.B and III.C.

    Parameters
    ----------
    manifest : Path or str
        Table of slides (see :func:`skiptool.sources.slides.manifest.slide_rows`); a ``str`` of
        several lines is the table itself.
    out : Path or str
        Dataset store to write (a path or a URL), a group for each domain.
    settings : PatchSettings, optional
        Which patches, which masks; by default a grid of 512 px.
    domains : sequence of str
        Domains to take; all of them by default.
    split : str
        ``train``, ``test`` or ``all``: slides to take.
    test_fraction : float
        Share of subjects held out for testing where the manifest has no column split.
    folds : int
        Validation folds of the training samples, grouped by subject.
    train_domain : str, optional
        Train on this domain: all subjects of the others are for testing, beside the share of its
        own.
    seed : int
    qc : Path or str, optional
        Folder of pictures to check by eye and of ``registration.parquet``; by default beside
        ``out``, its stem with ``-qc``.
    pictures : bool
        Whether to draw them.
    export : Path or str, optional
        Folder for image and mask as PNG, and a manifest that takes them back.
    workers : int, optional
        Threads that read; all usable cores by default.
    dask : str, optional
        Address of a scheduler, or ``local``: slides are read on that cluster.
    overwrite, resume, dry_run : bool
    progress : Progress

    Returns
    -------
    Outcome
        Output: the store. Failures: one line for each input that was left out.

    Raises
    ------
    SourceError
        If the manifest is unusable or all slides fail.
    ArgumentError
        If options contradict each other or the manifest.
    ExistsError
        If the output exists.
    """
    manifest, out, qc, export = as_table(manifest), Path(out), as_path(qc), as_path(export)
    chosen = settings or PatchSettings()
    rows, rejected, failures = slide_rows(manifest)
    check_words(rows, chosen, domains, split)
    rows = [row for row in rows if row.domain in domains or not domains]
    rejected = [row for row in rejected if row.domain in domains or not domains]
    side = qc_folder(out, qc)
    making = Making(
        "extract wsi",
        (manifest if isinstance(manifest, Path) else "-",),
        {
            **chosen.asked,
            **{"domain": list(domains), "split": split},
            **{"test_fraction": test_fraction, "folds": folds, "seed": seed},
            **({} if train_domain is None else {"train_domain": train_domain}),
        },
        {"out": out, "qc": qc, "no_pictures": not pictures, "export": export, "dask": dask},
        made_from(rows, chosen),
    )
    whole = finished(out, making, resume=resume, clear=not dry_run)
    if whole and not notes_of(out).exists():
        return Outcome((out,))
    if not dry_run:
        check_places(out, side, export, overwrite=overwrite, resume=resume)
    with ExitStack() as stack:
        pool, mapper = stack.enter_context(SlidePool()), _mapper(stack, workers, dask)
        notes = None if dry_run else stack.enter_context(Notes(out, making, resume=resume))
        run = Run(chosen, seed, pool, mapper, progress, notes)
        sides = test_fraction, folds, train_domain
        slides, dealing, others = _surveyed(run, rows, split, failures, sides)
        labels, unsorted = labelling(slides, chosen, progress)
        failures += unsorted
        if notes is None:
            sites = reference_sites(slides, labels, dealing, run)
            return forecast(slides, sites, labels, chosen, failures)
        listed = [row for row in (*rows, *rejected) if row.subject not in others]
        plan = make_plan(run, slides, listed, labels, dealing)
        failures += plan.failures
        if not plan.sites:
            raise _nothing(failures)
        for line in unseen(plan, labels, chosen.mode):
            progress.warn(line)
        if whole:
            failures = kept_failures(out)
        else:
            with staged(out, overwrite=overwrite, resume=resume) as partial_out:
                write_dataset(run, partial_out, plan, labels, making, failures)
        folder = side if pictures else None
        beside = _beside(run, (out, side, folder, export), making, plan, labels)
    tables = tell_contents(out, progress)
    return Outcome((out,), beside, _summary(plan, failures), tuple(failures), tables)


def _beside(
    run: Run,
    places: tuple[Path, Path, Path | None, Path | None],
    making: Making,
    plan: Plan,
    labels: Labelling,
) -> tuple[Path, ...]:
    """Make what lies beside the finished store: table, pictures and pairs where asked for."""
    out, side, pictures, export = places
    made = []
    if run.settings.register is not None:
        made.append(write_registration(side, making, plan.rows))
    if pictures is not None:
        made.append(draw_pictures(run, pictures, out, plan, labels))
    if export is not None:
        made.append(export_pairs(out, export, run.progress))
    return tuple(made)


def _mapper(stack: ExitStack, workers: int | None, dask: str | None) -> Mapper:
    threads = available_cores() if workers is None else workers
    if dask is not None:
        return stack.enter_context(dask_mapper(dask, workers=threads))
    return partial(threaded, workers=threads)


def _surveyed(
    run: Run,
    rows: Sequence[SlideRow],
    split: str,
    failures: list[str],
    sides: tuple[float, int, str | None],
) -> tuple[list[Surveyed], list[tuple[Split, int]], set[str]]:
    """Survey all slides, deal them out to splits and folds, and keep those asked for.

    Returns slides, split and fold of each, and the subjects of the other split.
    """
    slides, failed = survey(run, rows)
    failures += failed
    if not slides:
        raise SourceError(f"all {len(failures)} slides failed, the first: {failures[0]}")
    told = SILENT if split == Split.TEST else run.progress
    with telling_failures(failures, run.progress):
        dealing = dealt(slides, *sides[:2], run.seed, told, sides[2])
    chosen = [i for i, (side, _) in enumerate(dealing) if split in ("all", side)]
    if not chosen:
        raise SourceError(f"no slide is in split {split}; see the manifest's column split")
    kept = [slides[i] for i in chosen]
    others = {slide.row.subject for slide in slides} - {slide.row.subject for slide in kept}
    return kept, [dealing[i] for i in chosen], others


def _nothing(failures: Sequence[str]) -> SourceError:
    first = f"; the first of {len(failures)} failures: {failures[0]}" if failures else ""
    return SourceError(
        "no patch at all: no slide has annotations or tissue that the options ask for; see "
        f"--dry-run{first}"
    )


def _summary(plan: Plan, failures: Sequence[str]) -> dict[str, Any]:
    views = [view for site in plan.sites for view in site.views]
    splits = Counter(plan.scenes[site.views[0].slide].split.value for site in plan.sites)
    found: dict[str, Any] = {
        "samples": dict(Counter(plan.scenes[view.slide].slide.row.domain for view in views)),
        **{"slides": len(plan.scenes), "sites": len(plan.sites), **splits},
    }
    if plan.rows:
        dropped = {row["sample"] for row in plan.rows if not row["kept"] and row["sample"]}
        found["left out by registration"] = len(dropped)
    return found | {"failed": len(failures)}
