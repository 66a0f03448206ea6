"""Sites into the store; then the table of registration that lies beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from skiptool.errors import SourceError
from skiptool.names import Kind
from skiptool.sources.slides.pool import SlidePool
from skiptool.steps.extract_wsi.plan import Plan, Work, read_work
from skiptool.steps.extract_wsi.registration import Site
from skiptool.steps.extract_wsi.settings import PatchSettings, Run
from skiptool.steps.extract_wsi.survey import Labelling
from skiptool.stores.dataset import Packed, pack
from skiptool.stores.dataset_writer import DatasetWriter
from skiptool.stores.lineage import Making, lineage
from skiptool.stores.staging import staged
from skiptool.stores.tables import REGISTRATION, write_table
from skiptool.stores.zarrs import keep_failures

__all__ = ["write_dataset", "write_registration", "write_sites"]

AT_ONCE = 4
"""Sites read by one call: enough to make up for sending them, few enough to bound memory."""


def write_dataset(
    run: Run, path: Path, plan: Plan, labels: Labelling, making: Making, failures: list[str]
) -> None:
    """Write all sites into a growing store and close it; failures are added to the list.

    Raises
    ------
    SourceError
        If not a single site could be read.
    ExistsError, FormatError, MismatchError
        As :class:`skiptool.stores.dataset_writer.DatasetWriter`.
    """
    writer = DatasetWriter(path, labels.classes, making)
    unread = write_sites(run, writer, plan)
    failures += unread
    domains = {scene.slide.row.domain for scene in plan.scenes.values()}
    if not any(writer.holds(domain, site.id) for site in plan.sites for domain in domains):
        raise SourceError(f"no patch could be read; the first failure: {unread[0]}")
    writer.finish()
    keep_failures(path, failures)


def write_sites(run: Run, writer: DatasetWriter, plan: Plan) -> list[str]:
    """Read all sites and append them in the order of the plan.

    Returns
    -------
    list of str
        One line for each slide of which sites could not be read; these are in no domain.
    """
    failed: Counter[int] = Counter()
    first: dict[int, str] = {}
    work = list(_work(writer, plan))
    with run.progress.task("extract", len(plan.sites)) as task:
        task.advance(len(plan.sites) - sum(len(each.sites) for each in work))
        read = run.mapper(partial(_packed, run.settings, run.pool, writer.classes), work)
        for each, results in zip(work, read, strict=True):
            for site, found in zip(each.sites, results, strict=True):
                place = site.views[0].slide
                if isinstance(found, str):
                    failed[place] += 1
                    first.setdefault(place, found)
                    continue
                for sample in found:
                    if not writer.holds(sample.domain, sample.row["id"]):
                        writer.append(sample)
            task.advance(len(each.sites), note=each.scenes[each.sites[0].views[0].slide].slide.name)
    return [
        f"{plan.scenes[place].slide.row.path}: {count} patches could not be read and are left out "
        f"in all domains, the first: {first[place]}"
        for place, count in failed.items()
    ]


def _packed(
    settings: PatchSettings, pool: SlidePool, classes: Sequence[str], work: Work
) -> list[list[Packed] | str]:
    """Read sites and make them ready for the store, where they are read."""
    return [
        found if isinstance(found, str) else [pack(sample, classes) for sample in found]
        for found in read_work(settings, pool, work)
    ]


def _work(writer: DatasetWriter, plan: Plan) -> Iterator[Work]:
    """Cut what is not in the store yet into pieces; a piece is of one reference slide."""

    def there(site: Site) -> bool:
        return all(
            writer.holds(plan.scenes[view.slide].slide.row.domain, site.id) for view in site.views
        )

    piece: list[Site] = []
    for site in (site for site in plan.sites if not there(site)):
        if piece and (len(piece) == AT_ONCE or piece[0].views[0].slide != site.views[0].slide):
            yield _piece(piece, plan)
            piece = []
        piece.append(site)
    if piece:
        yield _piece(piece, plan)


def _piece(sites: Sequence[Site], plan: Plan) -> Work:
    places = {view.slide for site in sites for view in site.views}
    return Work(tuple(sites), {place: plan.scenes[place] for place in sorted(places)})


def write_registration(folder: Path, making: Making, rows: Sequence[dict[str, Any]]) -> Path:
    """Write ``registration.parquet``: what became of each patch on each scan."""
    folder.mkdir(exist_ok=True)
    path = folder / "registration.parquet"
    columns = {name: [row.get(name) for row in rows] for name in REGISTRATION}
    header = lineage(Kind.REGISTRATION, making, [list(row.values()) for row in rows])
    with staged(path, overwrite=True) as partial_path:
        write_table(partial_path, header, columns, len(rows))
    return path
