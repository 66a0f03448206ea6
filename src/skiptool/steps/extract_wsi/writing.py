"""Writing of the samples of all sites to a dataset store, and of the table of registration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from skiptool.errors import SourceError
from skiptool.names import Kind
from skiptool.sources.slides.pool import SlidePool
from skiptool.steps.extract_wsi.plan import PatchBatch, PatchPlan, read_batch
from skiptool.steps.extract_wsi.registration import PatchSite
from skiptool.steps.extract_wsi.settings import ExtractionContext, PatchSettings
from skiptool.steps.extract_wsi.survey import Labelling
from skiptool.stores.dataset import PackedSample, pack
from skiptool.stores.dataset_writer import DatasetWriter
from skiptool.stores.lineage import Invocation, create_lineage
from skiptool.stores.staging import atomic_output
from skiptool.stores.tables import REGISTRATION, write_table

BATCH = 4
"""Sites read by one call: enough to outweigh the transfer, few enough to bound memory."""


def write_patches(
    context: ExtractionContext,
    path: Path,
    plan: PatchPlan,
    labels: Labelling,
    invocation: Invocation,
    failures: list[str],
) -> None:
    """Write all sites that a partial store lacks and finish it; add failures to the list.

    It is an error if no site can be read.
    """
    writer = DatasetWriter(path, labels.classes, invocation)
    unread = write_sites(context, writer, plan)
    failures += unread
    domains = {painted.slide.row.domain for painted in plan.painted.values()}
    if not any(writer.holds(domain, site.id) for site in plan.sites for domain in domains):
        raise SourceError(f"no patch could be read; the first failure: {unread[0]}")
    writer.finish()


def write_sites(context: ExtractionContext, writer: DatasetWriter, plan: PatchPlan) -> list[str]:
    """Read all sites and append their samples in the order of the plan.

    Return one line for each slide with unreadable sites, which are left out in all domains.
    """
    failed: Counter[int] = Counter()
    first_errors: dict[int, str] = {}
    batches = list(_batches(writer, plan))
    with context.progress.task("extract", len(plan.sites)) as task:
        task.advance(len(plan.sites) - sum(len(batch.sites) for batch in batches))
        pack_batch = partial(_read_packed, context.settings, context.pool, writer.classes)
        for batch, results in zip(batches, context.mapper(pack_batch, batches), strict=True):
            slide = batch.sites[0].views[0].slide
            for samples in results:
                if isinstance(samples, str):
                    failed[slide] += 1
                    first_errors.setdefault(slide, samples)
                    continue
                for sample in samples:
                    if not writer.holds(sample.domain, sample.row["id"]):
                        writer.append(sample)
            task.advance(len(batch.sites), note=batch.painted[slide].slide.name)
    return [
        f"{plan.painted[slide].slide.row.path}: {count} patches could not be read and are left out "
        f"in all domains, the first: {first_errors[slide]}"
        for slide, count in failed.items()
    ]


def _read_packed(
    settings: PatchSettings, pool: SlidePool, classes: Sequence[str], batch: PatchBatch
) -> list[list[PackedSample] | str]:
    """Read sites and pack their samples for the store in the same thread or process."""
    return [
        samples if isinstance(samples, str) else [pack(sample, classes) for sample in samples]
        for samples in read_batch(settings, pool, batch)
    ]


def _batches(writer: DatasetWriter, plan: PatchPlan) -> Iterator[PatchBatch]:
    """Group the sites that the store lacks into batches of one reference slide."""

    def is_stored(site: PatchSite) -> bool:
        domains = (plan.painted[view.slide].slide.row.domain for view in site.views)
        return all(writer.holds(domain, site.id) for domain in domains)

    todo = (site for site in plan.sites if not is_stored(site))
    for _, group in groupby(todo, key=lambda site: site.views[0].slide):
        sites = list(group)
        for start in range(0, len(sites), BATCH):
            batch = tuple(sites[start : start + BATCH])
            slides = {view.slide for site in batch for view in site.views}
            yield PatchBatch(batch, {slide: plan.painted[slide] for slide in sorted(slides)})


def write_registration(
    folder: Path, invocation: Invocation, rows: Sequence[dict[str, Any]]
) -> Path:
    """Write ``registration.parquet``: the residual of each patch on each scan."""
    folder.mkdir(exist_ok=True)
    path = folder / "registration.parquet"
    columns = {name: [row.get(name) for row in rows] for name in REGISTRATION}
    header = create_lineage(Kind.REGISTRATION, invocation, [list(row.values()) for row in rows])
    with atomic_output(path, overwrite=True) as partial_path:
        write_table(partial_path, header, columns, len(rows))
    return path
