"""Extraction from registered scans: one texture scanned three times, one scan partly torn."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from heard import Heard
from pyramids import Pixels, stained, write_pyramid
from scans import scanned
from skiptool.analysis.registration import ELSEWHERE
from skiptool.names import PatchMode
from skiptool.records import Sample
from skiptool.steps.extract_wsi import registration, writing
from skiptool.steps.extract_wsi.extract_wsi import extract_slides
from skiptool.steps.extract_wsi.settings import PatchSettings
from skiptool.steps.info import describe
from skiptool.stores.dataset import open_dataset
from skiptool.stores.dataset_writer import DatasetWriter
from slide_cases import centres, covered, write_geojson, write_manifest

pytestmark = pytest.mark.long

SIZE = (900, 760)
TUMOR = [(150.0, 110.0), (520.0, 130.0), (490.0, 600.0), (165.0, 520.0)]
TORN = (560, 320, 820, 580)
"""Left, top, right and bottom of the displaced part of the third scan, in its level-0 pixels."""

ANGLE, ZOOM = math.radians(3), 1.1
TURNED = np.array(
    [
        [ZOOM * math.cos(ANGLE), -ZOOM * math.sin(ANGLE), 80.0],
        [ZOOM * math.sin(ANGLE), ZOOM * math.cos(ANGLE), 20.0],
    ]
)
MOVED = np.array([[1.0, 0.0, 25.0], [0.0, 1.0, -15.0]])
PAIRS = {"B": TURNED, "C": MOVED}


def glass() -> Pixels:
    image = np.full((SIZE[1], SIZE[0], 3), (244, 243, 245), np.uint8)
    image[60:700, 70:830] = stained(7)(0, 0, 760, 640)
    return image


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a manifest of scans in A, B (finer, turned) and C (torn)."""
    folder = tmp_path_factory.mktemp("registered")
    image = glass()
    third = scanned(image, MOVED, SIZE)
    left, top, right, bottom = TORN
    third[top:bottom, left:right] = third[top + 9 : bottom + 9, left - 12 : right - 12]
    images = {"A": image, "B": scanned(image, TURNED, (1090, 920)), "C": third}
    sizes = {"A": 0.275, "B": 0.25, "C": 0.275}
    rows: list[dict[str, Any]] = []
    for domain, pixels in images.items():
        path = folder / f"{domain}.tiff"
        write_pyramid(path, pixels, levels=2, mpp=sizes[domain], quality=None)
        rows.append({"path": path.name, "domain": domain, "subject": "s"})
    rows[0]["annotations"] = write_geojson(folder / "a.json", [("tumor", [TUMOR], "1")]).name
    write_manifest(folder / "slides.csv", rows)
    return folder


GRID = PatchSettings(patch_size=80, mpp=0.275, min_tissue=0.4, register="A", max_residual=1.0)


@pytest.fixture(scope="module")
def done(scans: Path) -> SimpleNamespace:
    """Return the outcome, the store, and the rows of the table of registration."""
    outcome = extract_slides(
        scans / "slides.csv", scans / "d.zarr", settings=GRID, pictures=False, workers=1
    )
    return SimpleNamespace(
        outcome=outcome,
        store=open_dataset(scans / "d.zarr"),
        table=scans / "d-qc" / "registration.parquet",
        rows=pq.read_table(scans / "d-qc" / "registration.parquet").to_pylist(),
    )


def torn_share(x: float, y: float, reach: float) -> float:
    """Return the share of a square around a reference point that is torn on the third scan."""
    shifts = (25, -15, 25, -15)
    left, top, right, bottom = (edge - by for edge, by in zip(TORN, shifts, strict=True))
    across = max(min(x + reach, right) - max(x - reach, left), 0)
    down = max(min(y + reach, bottom) - max(y - reach, top), 0)
    return across * down / (2 * reach) ** 2


def test_patches_are_in_all_domains_or_in_none(done: SimpleNamespace) -> None:
    ids = [list(domain.columns["id"]) for domain in done.store.domains.values()]
    assert list(done.store.domains) == ["A", "B", "C"]
    assert ids[0] == ids[1] == ids[2]
    assert done.outcome.failures == ()
    lost = {row["sample"] for row in done.rows if not row["kept"]}
    assert lost.isdisjoint(ids[0])
    assert lost | set(ids[0]) == {row["sample"] for row in done.rows}
    assert done.outcome.summary["left out by registration"] == len(lost)
    assert len(lost) > 3
    assert len(ids[0]) > 20


def test_torn_patches_are_left_out_with_a_reason(done: SimpleNamespace) -> None:
    seen = set()
    for row in done.rows:
        if row["domain"] == "B":
            assert row["reason"] == (None if row["kept"] else ELSEWHERE)
            assert row["residual"] < 0.3
        elif torn_share(row["x"], row["y"], 64) > 0.8:
            seen.add(row["sample"])
            assert row["reason"] == "residual above 1 px"
            assert row["residual"] == pytest.approx(15, abs=1)
            assert row["residual_um"] == pytest.approx(row["residual"] * 0.275, rel=1e-3)
            assert not row["kept"]
        elif torn_share(row["x"], row["y"], 128) == 0:
            assert row["kept"]
            assert row["residual"] < 0.3
    assert len(seen) >= 2


def test_true_transform_is_found(done: SimpleNamespace) -> None:
    for row in done.rows:
        affine = PAIRS[row["domain"]]
        truth = affine[:, :2] @ (row["x"], row["y"]) + affine[:, 2]
        assert math.hypot(truth[0] - row["x_other"], truth[1] - row["y_other"]) < 0.3
        found = [row[name] for name in ("xx", "xy", "yx", "yy")]
        assert found == pytest.approx(affine[:, :2].ravel().tolist(), abs=2e-3)
        assert not row["mirrored"]
        assert row["reference_domain"] == "A"


def test_annotations_are_transferred_to_the_right_pixels(done: SimpleNamespace) -> None:
    for domain, affine in (("A", None), *PAIRS.items()):
        columns = done.store.domain(domain).columns
        reader = done.store.samples(domain, range(len(columns["id"])))
        wrong, edge = 0, 0
        for index in range(len(columns["id"])):
            _, mask = reader.read(index)
            scale = 0.275 / (0.25 if domain == "B" else 0.275)
            corner = columns["x"][index], columns["y"][index]
            points = np.stack(centres(*corner, 80, (scale, scale)), axis=-1)
            if affine is not None:
                points = (points - affine[:, 2]) @ np.linalg.inv(affine[:, :2]).T
            truth = covered([TUMOR], points[..., 0], points[..., 1])
            wrong += int(((mask == 1) != truth).sum())
            edge += int((truth[1:] != truth[:-1]).sum() + (truth[:, 1:] != truth[:, :-1]).sum())
        assert edge > 500
        assert wrong <= (0 if affine is None else 0.2 * edge)


def test_all_domains_show_the_same_field(done: SimpleNamespace) -> None:
    columns = {name: domain.columns for name, domain in done.store.domains.items()}
    for index in range(0, len(columns["A"]["id"]), 7):
        images = [
            done.store.samples(domain, [index]).read(0)[0].astype(float).mean(axis=2)
            for domain in columns
        ]
        for other in images[1:]:  # the second one is turned by 3 degrees about its middle
            middle = slice(25, 55)
            pair = [image[middle, middle].ravel() for image in (images[0], other)]
            assert np.corrcoef(pair)[0, 1] > 0.75
    assert np.allclose(columns["B"]["mpp"], 0.275, rtol=1e-3)
    assert (columns["A"]["residual"] == 0).all()
    assert (columns["C"]["residual"] <= 1).all()


def test_wrong_pixel_size_in_the_manifest_gives_a_warning(scans: Path, tmp_path: Path) -> None:
    """B has 1.1 times the pixels of A, so they are 0.909 times as large, as the manifest denies."""
    rows = [
        {"path": scans / f"{domain}.tiff", "domain": domain, "subject": "s", "mpp": 0.275}
        for domain in "AB"
    ]
    heard = Heard()
    settings = replace(GRID, mpp=None, patch_size=200)
    manifest = write_manifest(tmp_path / "m.csv", rows)
    how = {"settings": settings, "pictures": False, "workers": 1, "progress": heard}
    extract_slides(manifest, tmp_path / "d.zarr", **how)
    (line,) = [each for each in heard.lines if "registration" in each]
    assert line.startswith(
        "B: its pixels are 0.909 times as large as those of A by registration, 1"
    )
    columns = {name: d.columns for name, d in open_dataset(tmp_path / "d.zarr").domains.items()}
    assert np.allclose(columns["A"]["mpp"], 0.275)
    assert np.allclose(columns["B"]["mpp"], 0.25, rtol=1e-3)
    assert np.allclose(columns["B"]["relative_mpp"], 1 / 1.1, rtol=1e-3)


def test_registration_table_can_be_described(done: SimpleNamespace) -> None:
    found = describe([done.table], check=True)
    assert found.failures == ()
    (facts,) = found.summary.values()
    assert facts["kind"] == "registration"
    assert facts["rows"] == len(done.rows)


@pytest.mark.slow
def test_interrupted_registration_can_be_resumed(
    scans: Path,
    tmp_path: Path,
    contents: Callable[[Path], dict[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = replace(GRID, mode=PatchMode.SAMPLED, patches=12, draws=1, min_tissue=0.5)
    whole, out = tmp_path / "whole.zarr", tmp_path / "d.zarr"
    found = extract_slides(scans / "slides.csv", whole, settings=settings, workers=2)
    names = {path.name.partition("-")[0] for path in (tmp_path / "whole-qc").iterdir()}
    assert names == {"slide", "overlay", "patches", "matched.png", "registration.parquet"}
    assert found.side_outputs[0] == tmp_path / "whole-qc" / "registration.parquet"

    class Interrupted(DatasetWriter):
        def append(self, sample: Sample) -> None:
            raise KeyboardInterrupt

    def refuse(*_: object) -> None:
        raise AssertionError("cached results must not be computed again")

    with monkeypatch.context() as patch:
        patch.setattr(writing, "DatasetWriter", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            extract_slides(scans / "slides.csv", out, settings=settings, workers=1)
    with monkeypatch.context() as patch:
        patch.setattr(registration, "align", refuse)
        patch.setattr(registration, "residual", refuse)
        extract_slides(scans / "slides.csv", out, settings=settings, workers=1, resume=True)
    assert contents(out) == contents(whole)
    tables = [
        pq.read_table(tmp_path / f"{name}-qc" / "registration.parquet").to_pylist()
        for name in ("d", "whole")
    ]
    assert tables[0] == tables[1]
    assert not list(tmp_path.glob(".*"))
