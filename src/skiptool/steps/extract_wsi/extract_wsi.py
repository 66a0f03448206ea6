"""``skiptool extract wsi``: slides of one or several scanners to a dataset store.

Slides are listed and surveyed, assigned to splits and classes, and planned patch by patch before
any is written; pictures show the result.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skiptool.errors import ArgumentError, ExistsError, SourceError, suggestion
from skiptool.exports.folders import qc_folder
from skiptool.exports.png import export_pairs
from skiptool.extraction import Extraction, ExtractionTarget
from skiptool.names import PatchMode, Split
from skiptool.parallel import available_cores, dask_mapper, thread_map
from skiptool.records import SILENT, Outcome, Progress, Table, as_path, as_table
from skiptool.sources.slides.manifest import SlideRow, content_key, slide_rows
from skiptool.sources.slides.pool import SlidePool
from skiptool.splits import SplitOptions, split_of
from skiptool.steps.extract_wsi.pictures import draw_pictures
from skiptool.steps.extract_wsi.plan import (
    PatchPlan,
    make_plan,
    reason_for_no_patches,
    reference_sites,
    unseen_classes,
)
from skiptool.steps.extract_wsi.registration import PatchSite
from skiptool.steps.extract_wsi.settings import (
    ExtractionContext,
    PatchSettings,
    RegistrationCache,
    registration_cache_folder,
)
from skiptool.steps.extract_wsi.survey import (
    Labelling,
    SurveyedSlide,
    assign_labels,
    assign_slides,
    survey_slides,
)
from skiptool.steps.extract_wsi.writing import write_patches, write_registration
from skiptool.stores.lineage import Invocation, hash_json
from skiptool.stores.models import open_model
from skiptool.stores.staging import OutputType
from skiptool.stores.urls import accept_urls
from skiptool.stores.zarrs import report_failures

if TYPE_CHECKING:
    from skiptool.comparison.activations import Mapper

ALL_SPLITS = "all"


@accept_urls(out=OutputType.STORE)
def extract_slides(
    manifest: Path | str,
    out: Path | str,
    *,
    settings: PatchSettings | None = None,
    domains: Sequence[str] = (),
    split: str = ALL_SPLITS,
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
        Placement of patches and content of masks; by default a grid of 512 px.
    domains : sequence of str
        Domains to extract; all of them by default.
    split : str
        Slides to extract: ``train``, ``test`` or ``all``.
    test_fraction : float
        Share of subjects held out for testing if the manifest has no column split.
    folds : int
        Validation folds of the training samples, grouped by subject.
    train_domain : str, optional
        Train on this domain only; test on ``test_fraction`` of its subjects and on all other
        domains.
    qc : Path or str, optional
        Folder of pictures for visual checks and of ``registration.parquet``; by default next to
        ``out``, its stem with ``-qc``.
    pictures : bool
        Draw the pictures.
    export : Path or str, optional
        Folder for images and masks as PNG, with a manifest to import them again.
    workers : int, optional
        Threads that read slides; all usable cores by default.
    dask : str, optional
        Address of a scheduler, or ``local``: slides are read on that cluster.

    Returns
    -------
    Outcome
        Output: the store. Failures: one line for each input left out.

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
    settings = settings or PatchSettings()
    rows, rejected, failures = slide_rows(manifest)
    check_options(rows, settings, domains, split)
    rows = [row for row in rows if row.domain in domains or not domains]
    rejected = [row for row in rejected if row.domain in domains or not domains]
    splits = SplitOptions(test_fraction, folds, seed, train_domain)
    invocation = Invocation(
        "extract wsi",
        (manifest if isinstance(manifest, Path) else "-",),
        {**settings.recorded, "domain": list(domains), "split": split, **splits.recorded},
        {"out": out, "qc": qc, "no_pictures": not pictures, "export": export, "dask": dask},
        input_ids(rows, settings),
    )
    return _PatchExtraction(
        target=ExtractionTarget(
            out, qc_folder(out, qc), pictures, export, overwrite, resume, dry_run
        ),
        invocation=invocation,
        failures=failures,
        progress=progress,
        rows=rows,
        rejected=rejected,
        settings=settings,
        split=split,
        splits=splits,
        workers=workers,
        dask=dask,
    ).run()


@dataclass
class _PatchExtraction(Extraction):
    rows: Sequence[SlideRow]
    rejected: Sequence[SlideRow]
    settings: PatchSettings
    split: str
    splits: SplitOptions
    workers: int | None
    dask: str | None
    context: ExtractionContext = field(init=False)
    slides: Sequence[SurveyedSlide] = field(init=False)
    labels: Labelling = field(init=False)
    folds: Sequence[int] = field(init=False)
    plan: PatchPlan = field(init=False)

    def outcome_of_finished(self) -> Outcome | None:
        out = self.target.out
        return None if registration_cache_folder(out).exists() else Outcome((out,))

    def check_target(self) -> None:
        if not self.target.dry_run:
            check_target(self.target)

    @contextmanager
    def resources(self) -> Iterator[None]:
        with ExitStack() as stack:
            pool = stack.enter_context(SlidePool())
            workers = available_cores() if self.workers is None else self.workers
            mapper: Mapper = partial(thread_map, workers=workers)
            if self.dask is not None:
                mapper = stack.enter_context(dask_mapper(self.dask, workers=workers))
            cache = None
            if not self.target.dry_run:
                cache = RegistrationCache(
                    self.target.out, self.invocation, resume=self.target.resume
                )
                stack.enter_context(cache)
            self.context = ExtractionContext(
                self.settings, self.splits.seed, pool, mapper, self.progress, cache
            )
            yield

    def prepare(self) -> None:
        excluded = self._survey()
        self.labels, failed = assign_labels(self.slides, self.settings, self.progress)
        self.failures += failed
        if self.target.dry_run:
            return
        listed = [row for row in (*self.rows, *self.rejected) if row.subject not in excluded]
        self.plan = make_plan(self.context, self.slides, listed, self.labels, self.folds)
        self.failures += self.plan.failures
        if not self.plan.sites:
            count = len(self.failures)
            first = f"; the first of {count} failures: {self.failures[0]}" if count else ""
            raise SourceError(
                "no patch at all: no slide has the annotations or tissue that the options require; "
                f"see --dry-run{first}"
            )
        for line in unseen_classes(self.plan, self.labels, self.settings.mode):
            self.progress.warn(line)

    def _survey(self) -> set[str]:
        """Survey all slides and keep those of the given split; return the excluded subjects."""
        slides, failed = survey_slides(self.context, self.rows)
        self.failures += failed
        if not slides:
            raise SourceError(
                f"all {len(self.failures)} slides failed, the first: {self.failures[0]}"
            )
        progress = SILENT if self.split == Split.TEST else self.progress
        with report_failures(self.failures, self.progress):
            folds = assign_slides(slides, self.splits, progress)
        selected = [i for i, fold in enumerate(folds) if self.split in (ALL_SPLITS, split_of(fold))]
        if not selected:
            raise SourceError(f"no slide is in split {self.split}; see the manifest's column split")
        self.slides, self.folds = [slides[i] for i in selected], [folds[i] for i in selected]
        return {slide.row.subject for slide in slides} - {s.row.subject for s in self.slides}

    def dry_run_outcome(self) -> Outcome:
        sites = reference_sites(self.slides, self.labels, self.folds, self.context)
        return dry_run_table(self.slides, sites, self.labels, self.settings, self.failures)

    def write(self, path: Path) -> None:
        write_patches(self.context, path, self.plan, self.labels, self.invocation, self.failures)

    def write_side_outputs(self) -> tuple[Path, ...]:
        target, outputs = self.target, []
        if self.settings.register is not None:
            outputs.append(write_registration(target.qc, self.invocation, self.plan.rows))
        if target.pictures:
            outputs.append(
                draw_pictures(self.context, target.qc, target.out, self.plan, self.labels)
            )
        if target.export is not None:
            outputs.append(export_pairs(target.out, target.export, self.progress))
        return tuple(outputs)

    def summary(self) -> dict[str, Any]:
        painted, sites = self.plan.painted, self.plan.sites
        views = [view for site in sites for view in site.views]
        summary: dict[str, Any] = {
            "samples": dict(Counter(painted[view.slide].slide.row.domain for view in views)),
            "slides": len(painted),
            "sites": len(sites),
            **Counter(painted[site.views[0].slide].split.value for site in sites),
        }
        if self.plan.rows:
            dropped = {row["sample"] for row in self.plan.rows if not row["kept"]}
            summary["left out by registration"] = len(dropped)
        return summary | {"failed": len(self.failures)}


def check_options(
    rows: Sequence[SlideRow], settings: PatchSettings, domains: Sequence[str], split: str
) -> None:
    """Refuse domains that the manifest does not have, and splits that do not exist."""
    if split not in (ALL_SPLITS, *Split):
        raise ArgumentError(f"--split {split}: expected train, test or all")
    if not rows:
        return
    available = list(dict.fromkeys(row.domain for row in rows))
    for name in domains:
        _check_domain("domain", name, available)
    if settings.register is not None:
        selected = [name for name in available if name in domains or not domains]
        _check_domain("register", settings.register, selected)


def _check_domain(option: str, name: str, available: Sequence[str]) -> None:
    if name not in available:
        raise ArgumentError(
            f"--{option} {name}: the manifest's domains are {', '.join(available)}"
            f"{suggestion(name, available)}"
        )


def check_target(target: ExtractionTarget) -> None:
    """Refuse outputs that cannot be written, or a registration cache of an interrupted run."""
    target.check()
    cache = registration_cache_folder(target.out)
    if cache.exists() and not (target.overwrite or target.resume):
        raise ExistsError(
            f"{target.out}: {cache.name} was left by an interrupted run, or another process is "
            "writing it; give --resume to continue that run or --overwrite to start again"
        )


def input_ids(rows: Sequence[SlideRow], settings: PatchSettings) -> dict[str, str]:
    """Return ids of all inputs by role; files are identified by content, not by location."""
    entries = []
    for row in rows:
        columns = asdict(row) | {"path": row.path.name, "annotations": None}
        entries.append([columns, _file_id(row.path), _file_id(row.annotations)])
    ids = {"files": hash_json(entries)}
    return ids if settings.model is None else ids | {"model": open_model(settings.model).id}


def _file_id(path: Path | None) -> list[str] | None:
    """Return name and content key of a file, None if it cannot be read."""
    try:
        return None if path is None else [path.name, content_key(path)]
    except SourceError:
        return None


def dry_run_table(
    slides: Sequence[SurveyedSlide],
    sites: Sequence[PatchSite],
    labels: Labelling,
    settings: PatchSettings,
    failures: Sequence[str],
) -> Outcome:
    """Tabulate each slide: vendor, size, resolution, annotations by class, patches, bytes.

    With registration, the counts include patches that will be left out as misaligned. A slide
    without patches is a failure, with the reason.
    """
    patches = Counter(view.slide for site in sites for view in site.views)
    empty = [
        reason_for_no_patches(slide, settings)
        for index, slide in enumerate(slides)
        if not patches[index] and settings.register in (None, slide.row.domain)
    ]
    failures = (*failures, *empty)
    if settings.register is not None:
        patches = _counts_of_all_scans(slides, patches)
    patch_bytes = settings.size * settings.size * 4
    columns: dict[str, list[str | int | float | None]] = {}
    for index, slide in enumerate(slides):
        mpp, mpp_y = slide.mpp or (None, None)
        row: dict[str, str | int | float | None] = {
            "slide": slide.name,
            "domain": slide.row.domain,
            "subject": slide.row.subject,
            "vendor": slide.vendor,
            "width": slide.size[0],
            "height": slide.size[1],
            "levels": slide.levels,
            "mpp": mpp,
            "mpp_y": mpp_y,
            "annotations": _annotation_counts(slide, labels),
            "patches": patches[index],
            "bytes": patches[index] * patch_bytes,
        }
        for name, cell in row.items():
            columns.setdefault(name, []).append(cell)
    summary = {
        "slides": len(slides),
        "patches": patches.total(),
        "bytes before compression": patches.total() * patch_bytes,
        "failed": len(failures),
    }
    if settings.mode is PatchMode.SAMPLED:
        summary["draws"] = settings.draws
    title = f"{settings.mode.value} patches of {settings.size} px"
    table = Table(title, columns, uniform=("subject", "domain"), spare=("bytes", "levels"))
    return Outcome(summary=summary, failures=failures, tables=(table,))


def _counts_of_all_scans(slides: Sequence[SurveyedSlide], patches: Counter[int]) -> Counter[int]:
    """Give all scans of a glass slide the patch count of its scan in the reference domain."""
    keys = [(slide.row.subject, slide.row.slide) for slide in slides]
    counts = {keys[index]: count for index, count in patches.items()}
    return Counter({index: counts.get(key, 0) for index, key in enumerate(keys)})


def _annotation_counts(slide: SurveyedSlide, labels: Labelling) -> str:
    """Count annotations by class, those in no class by name: ``tumor 12, Bone (no class) 3``."""
    counts: Counter[str] = Counter()
    for shape in slide.shapes:
        label = labels.label(slide, shape)
        unknown = f"{shape.name or 'unnamed'} (no class)"
        counts[unknown if label is None else labels.name(label)] += 1
    for kind, count in slide.dropped.items():
        counts[f"left out ({kind})"] += count
    counts["cannot be read"] += len(slide.faults)
    return ", ".join(f"{name} {count}" for name, count in sorted((+counts).items())) or "none"
