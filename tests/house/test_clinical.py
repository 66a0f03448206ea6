"""The scripts of the paper's clinical experiments, from a data set as unpacked to the report."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pyramids import write_pyramid
from scans import glass, scanned, turned
from skiptool.names import LAYERS
from skiptool.stores.dataset import open_dataset
from volume_cases import challenge

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "paper"
SCRIPTS = ("ms_mf.sh", "ms_cct.sh", "mv_mr.sh", "across_domains.sh")
TINY = {"EPOCHS": "1", "WEIGHTS": "none", "ENCODERS": "resnet18", "PRUNE": "0 1", "FOLD": "0"}
SIDE = 900


def script(
    name: str,
    *words: object,
    cwd: Path,
    **settings: str,
) -> subprocess.CompletedProcess[str]:
    """Run one in a folder, with the interpreter of the tests."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    command = ["bash", str(EXAMPLES / name), *map(str, words)]
    return subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | {"PATH": path} | settings,
        capture_output=True,
        text=True,
        check=False,
    )


def manifest(name: str, folder: Path, out: Path, *options: str) -> Path:
    command = [sys.executable, str(EXAMPLES / "manifests.py"), name, str(folder), *options]
    with out.open("w") as file:
        subprocess.run(command, stdout=file, stderr=subprocess.PIPE, check=True)
    return out


def column(path: Path, name: str) -> set[Any]:
    return set(pq.read_table(path, columns=[name]).column(0).to_pylist())


def domains(store: Path) -> Mapping[str, set[str]]:
    """Subjects by domain."""
    found = open_dataset(store).domains.values()
    return {domain.name: set(map(str, domain.columns["subject"])) for domain in found}


def told(folder: Path) -> str:
    """Return what the report says, without its pictures."""
    page = (folder / "report.html").read_text()
    page = re.sub(r"<(script|style|svg).*?</\1>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def write_scans(folder: Path, names: Mapping[str, int], end: str, scanner: int) -> None:
    """Write slides that a scanner of its own colour and position has seen."""
    where = turned(0.3 * scanner, 1 + 0.01 * scanner, (7.0 * scanner, -4.0 * scanner))
    for name, seed in names.items():
        seen = scanned(glass(SIDE, seed), where, (SIDE, SIDE)).astype(np.float64)
        tint = np.clip(seen * (1 - np.array([0.0, 0.06, 0.02]) * scanner), 0, 255)
        path = folder / f"{name}{end}"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_pyramid(path, tint.astype(np.uint8), mpp=None, quality=None)


@pytest.fixture(scope="module")
def cct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lay out five slides of two scanners, with CATCH's annotations, as the carcinoma set does."""
    folder = tmp_path_factory.mktemp("cct")
    names = {f"scc_{number:02}": number for number in range(1, 6)}
    for number, tag in enumerate(("cs2", "nz20")):
        write_scans(folder, names, f"_{tag}.tif", number)
    sides = ["train", "val", "train", "test", "test"]
    lines = [f"{name};{side}" for name, side in zip(names, sides, strict=True)]
    (folder / "scc_dataset.csv").write_text("\n".join(("Slide;Dataset", *lines)))
    files = [path.name for path in sorted(folder.glob("*.tif"))]
    areas = ((3, [20, 20, 880, 20, 880, 880, 20, 880]), (11, [300, 200, 700, 300, 600, 700]))
    notes = {
        "images": [
            {"id": at, "file_name": name, "width": SIDE, "height": SIDE}
            for at, name in enumerate(files)
        ],
        "categories": [{"id": 3, "name": "Dermis"}, {"id": 11, "name": "SCC"}],
        "annotations": [
            {"id": 10 * at + kind, "image_id": at, "category_id": kind, "segmentation": ring}
            for at in range(len(files))
            for kind, ring in areas
        ],
    }
    (folder / "scc.json").write_text(json.dumps(notes))
    return folder


@pytest.mark.parametrize("name", SCRIPTS)
def test_without_arguments_it_says_how_it_is_called(name: str, tmp_path: Path) -> None:
    found = script(name, cwd=tmp_path)
    assert found.returncode != 0
    assert f"usage: {name}" in found.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["ms_mf.sh", "ms_cct.sh"])
def test_slides_without_a_split_are_refused_before_anything_is_made(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / "m.csv").write_text("path,domain,subject,split\na.tif,A,a,\n")
    found = script(name, "m.csv", "A", "made", cwd=tmp_path)
    assert (found.returncode, found.stdout) == (1, "")
    assert "m.csv, line 2: split is ''" in found.stderr
    assert not (tmp_path / "made").exists()


@pytest.mark.slow
def test_tissue_of_a_carcinoma_on_all_scanners(cct: Path, tmp_path: Path) -> None:
    listed = manifest("ms-cct", cct, tmp_path / "cct.csv", "--mpp", "4")
    reference, other = "Aperio ScanScope CS2", "NanoZoomer 2.0-HT"
    settings = TINY | {"FOLDS": "3", "FOLD": "0 2", "DRAWS": "2", "PATCHES": "4", "SIZE": "128"}
    settings |= {"TISSUE": "0.1"}
    words = ("ms_cct.sh", listed, reference, "made")
    found = script(*words, cwd=tmp_path, **settings)
    assert found.returncode == 0, found.stderr
    made = tmp_path / "made"
    assert domains(made / "train.zarr") == {reference: {"scc_01", "scc_02", "scc_03"}}
    tested = domains(made / "test.zarr")
    assert tested == {key: {"scc_04", "scc_05"} for key in (reference, other)}
    assert open_dataset(made / "test.zarr").classes[1:] == ("non-tumor", "tumor")
    for pruning in ("L0", "L1"):
        for fold in (0, 2):
            table = made / f"shift-resnet18-{pruning}-fold{fold}.parquet"
            assert column(table, "domain") == {other}
            assert column(table, "layer") == set(LAYERS)
            assert column(table, "fold") == {fold}
    assert column(made / "predictions.parquet", "domain") == {reference, other}
    assert column(made / "substituted.parquet", "domain") == {other}
    assert {"1", "2", "3", "4", "bottleneck"} < column(made / "substituted.parquet", "clean_skips")
    assert not (made / "features").exists()
    for words_of_it in (other, "L1-pruned", "tumor", "skip connection", "Residual"):
        assert words_of_it.lower() in told(made).lower()
    again = script(*words, cwd=tmp_path, **settings)
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[-1] == "report.html"
    assert "features/" not in again.stdout  # nothing is computed anew


@pytest.mark.slow
def test_objects_that_other_cases_show_on_every_scanner(tmp_path: Path) -> None:
    folder = tmp_path / "midog"
    names = {number: f"{number:03}.tiff" for number in (1, 2, 3, 51, 52)}
    for number, name in names.items():
        write_scans(folder, {Path(name).stem: number}, ".tiff", number // 50)
    scanner = {number: "S360" if number > 50 else "XR" for number in names}
    lines = [
        f"{number};{'train' if number < 3 else 'test'};human breast cancer;{scanner[number]};U;H"
        for number in names
    ]
    header = "Slide;Dataset;Tumor;Scanner;Origin;Species"
    (folder / "datasets_xvalidation.csv").write_text("\n".join((header, *lines)))
    corners = [(x, y) for x in (200, 400, 600) for y in (200, 500)]
    notes = {
        "images": [
            {"id": number, "file_name": name, "width": SIDE, "height": SIDE}
            for number, name in names.items()
        ],
        "categories": [{"id": 1, "name": "mitotic figure"}, {"id": 2, "name": "imposter"}],
        "annotations": [
            {"id": 100 * number + at, "image_id": number, "category_id": 1 + at % 2}
            | {"bbox": [x, y, x + 50, y + 50]}
            for number in names
            for at, (x, y) in enumerate(corners)
        ],
    }
    (folder / "MIDOGpp.json").write_text(json.dumps(notes))
    listed = manifest("midog", folder, tmp_path / "midog.csv")
    text = listed.read_text().splitlines()
    listed.write_text("\n".join([f"{text[0]},mpp", *(f"{line},0.25" for line in text[1:])]))
    settings = TINY | {
        "REGISTER": "no",
        "FOLDS": "2",
        "CLASSES": "mitosis=mitotic figure;ignore=imposter",
    }
    found = script("ms_mf.sh", listed, "XR", "made", cwd=tmp_path, **settings)
    assert found.returncode == 0, found.stderr
    made = tmp_path / "made"
    assert domains(made / "train.zarr") == {"XR": {"001", "002"}}
    assert domains(made / "test.zarr") == {"XR": {"003"}, "S360": {"051", "052"}}
    assert open_dataset(made / "test.zarr").classes[1:] == ("mitosis",)
    assert column(made / "shift-resnet18-L1-fold0.parquet", "domain") == {"S360"}
    assert not (made / "substituted.parquet").exists()


@pytest.mark.slow
def test_objects_of_one_glass_slide_on_four_real_scanners(
    shared_data: Path, tmp_path: Path
) -> None:
    demo = [sys.executable, EXAMPLES / "multiscanner_demo.py", shared_data / "multiscanner", "demo"]
    subprocess.run(demo, cwd=tmp_path, check=True, capture_output=True)
    for path in (tmp_path / "demo").glob("*-points.geojson"):
        notes = json.loads(path.read_text())
        notes["features"] = notes["features"][::8]
        path.write_text(json.dumps(notes))
    settings = TINY | {"FOLDS": "2", "PRUNE": "1", "MASKS": "yes", "FEATURES": "keep"}
    found = script("ms_mf.sh", "demo/points.csv", "Aperio", "made", cwd=tmp_path, **settings)
    assert found.returncode == 0, found.stderr
    made = tmp_path / "made"
    scanners = {"Aperio", "AxioScan", "NanoZoomer2.0HT", "NanoZoomerS210"}
    assert domains(made / "train.zarr") == {"Aperio": {"north-west", "south-east"}}
    assert domains(made / "test.zarr") == {key: {"north-east", "south-west"} for key in scanners}
    assert column(made / "substituted.parquet", "domain") == scanners - {"Aperio"}
    assert len(list((made / "features" / "resnet18-L1-fold0").glob("*.zarr"))) == 4
    assert "worst and median predictions" in told(made).lower()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["folder", "manifest"])
def test_hearts_of_several_vendors(how: str, tmp_path: Path) -> None:
    parts = {"A": ("Training/Labeled", "1"), "a": ("Testing", "1"), "B": ("Testing", "2")}
    codes = {
        f"{part}{number}": (folder, part.upper(), centre)
        for part, (folder, centre) in parts.items()
        for number in range(3)
    }
    source = challenge(tmp_path / "OpenDataset", codes)
    reference, other, select = "A", "B", "--test-subjects 2 --size 64"
    if how == "manifest":
        source = manifest("mv-mr", source, tmp_path / "hearts.csv")
        reference, other = "MAGNETOM Avanto", "Achieva"
        select = f"--test-subjects 2 --size '{reference}=64' --size {other}=32"
    settings = TINY | {"FOLDS": "3", "PRUNE": "1", "SELECT": select}
    found = script("mv_mr.sh", source, reference, "made", cwd=tmp_path, **settings)
    assert found.returncode == 0, found.stderr
    made = tmp_path / "made"
    stored = open_dataset(made / "slices.zarr").domains.values()
    sizes = {domain.name: domain.width for domain in stored}
    assert sizes == {reference: 64, other: 64 if how == "folder" else 32}
    assert column(made / "predictions.parquet", "domain") == {reference, other}
    assert column(made / "shift-resnet18-L1-fold0.parquet", "domain") == {other}
    assert not (made / "substituted.parquet").exists()


@pytest.mark.slow
def test_real_hearts(shared_data: Path, tmp_path: Path) -> None:
    """Of the subject of vendor A with a mask, and of those of B and C; nobody is to spare."""
    lines = ["image,mask,domain,subject,split"]
    for code, vendor, split in (
        ("H1N8S6", "A", "train"),
        ("B5F8L9", "A", "train"),
        ("G1K1V3", "B", "test"),
        ("C8O0P2", "C", "test"),
    ):
        for image in sorted((shared_data / "mnms").glob(f"*_{code}_sa_E?.nii.gz")):
            mask = image.with_name(image.name.replace(".nii", "_gt.nii"))
            lines.append(f"{image},{mask},{vendor},{code},{split}")
    (tmp_path / "hearts.csv").write_text("\n".join(lines))
    settings = TINY | {"FOLDS": "2", "PRUNE": "0", "SPLIT": "all", "SELECT": "--size 192"}
    found = script("mv_mr.sh", "hearts.csv", "A", "made", cwd=tmp_path, **settings)
    assert found.returncode == 0, found.stderr
    made = tmp_path / "made"
    assert column(made / "predictions.parquet", "domain") == {"A", "B", "C"}
    assert column(made / "shift-resnet18-L0-fold0.parquet", "domain") == {"B", "C"}
