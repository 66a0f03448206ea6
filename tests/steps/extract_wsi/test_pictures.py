"""Pictures for visual checks: which are drawn, and that a failure stops nothing."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from skiptool.errors import SourceError
from skiptool.names import PatchMode
from skiptool.sources.pictures.files import read_picture
from skiptool.sources.slides.manifest import SlideRow
from skiptool.steps.extract_wsi import pictures
from skiptool.steps.extract_wsi.pictures import draw_pictures
from skiptool.steps.extract_wsi.plan import PatchPlan, make_plan
from skiptool.steps.extract_wsi.settings import ExtractionContext
from skiptool.steps.extract_wsi.survey import Labelling, ScanGroup, assign_labels, survey_slides
from skiptool.steps.extract_wsi.writing import write_sites
from skiptool.stores.dataset_writer import DatasetWriter
from skiptool.stores.lineage import Invocation
from slide_cases import POINTS, Affine, make_run, write_geojson, write_slide


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Return the store of a slide that was scanned twice, its plan, run and labels."""
    folder = tmp_path_factory.mktemp("pictures")
    annotations = write_geojson(folder / "a.json", points=POINTS)
    scans = [write_slide(folder / f"scan {seed}.tiff", seed) for seed in range(2)]
    rows = [
        SlideRow(path, domain, "s", slide="block 1", annotations=annotations)
        for path, domain in zip(scans, "AB", strict=True)
    ]
    run = make_run(mode=PatchMode.SAMPLED, patch_size=64, patches=6)
    slides, _ = survey_slides(run, rows)
    labels, _ = assign_labels(slides, run.settings, run.progress)
    plan = make_plan(run, slides, rows, labels, [0, 0])
    out = folder / "d.zarr"
    writer = DatasetWriter(out, labels.classes, Invocation("extract wsi"))
    write_sites(run, writer, plan)
    writer.finish()
    plan.groups[:] = [ScanGroup(0, {1: Affine([[1.0, 0, 0], [0, 1.0, 0]])})]
    return SimpleNamespace(run=run, plan=plan, out=out, labels=labels)


@pytest.fixture(autouse=True)
def _overlay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "overlay", lambda first, *_: first.overview(200)[0])


def draw(made: SimpleNamespace, folder: Path) -> list[str]:
    run: ExtractionContext = made.run
    plan: PatchPlan = made.plan
    labels: Labelling = made.labels
    assert draw_pictures(run, folder, made.out, plan, labels) == folder
    return sorted(path.name for path in folder.iterdir())


def test_slides_overlays_and_sheets_are_drawn(made: SimpleNamespace, tmp_path: Path) -> None:
    names = draw(made, tmp_path / "qc")
    keys = [slide.key[:6] for slide in made.plan.slides]
    assert names == [
        "matched.png",
        f"overlay-B-s-block_1-{keys[1]}.png",
        *("patches-A.png", "patches-B.png"),
        f"slide-A-s-block_1-{keys[0]}.png",
        f"slide-B-s-block_1-{keys[1]}.png",
    ]
    for name in names:
        assert min(read_picture(tmp_path / "qc" / name).shape[:2]) > 100


@pytest.mark.long
def test_failed_pictures_give_warnings_and_old_ones_are_replaced(
    made: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise SourceError("scan 1.tiff: is torn")

    monkeypatch.setattr(pictures, "overlay", failing)
    made.run.progress.lines.clear()
    (tmp_path / "qc").mkdir()
    (tmp_path / "qc" / "patches-A.png").write_bytes(b"old")
    names = draw(made, tmp_path / "qc")
    assert len(names) == 5
    assert read_picture(tmp_path / "qc" / "patches-A.png").ndim == 3
    assert made.run.progress.lines == ["a picture is left out: scan 1.tiff: is torn"]
