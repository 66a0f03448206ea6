"""``examples/paper/manifests.py``: manifests of data sets that lie as their authors pack them."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from skiptool.names import Split
from skiptool.records import check_name
from skiptool.sources.slides.manifest import slide_rows
from skiptool.sources.volumes.manifest import Frame, volume_rows

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "paper" / "manifests.py"


def run(*words: object) -> subprocess.CompletedProcess[str]:
    """Run it without any installed package: the standard library has to do."""
    command = [sys.executable, "-I", "-S", str(SCRIPT), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def listed(*words: object) -> list[dict[str, str]]:
    found = run(*words)
    assert found.returncode == 0, found.stderr
    return list(csv.DictReader(io.StringIO(found.stdout)))


def refused(*words: object) -> str:
    found = run(*words)
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr.startswith("manifests.py: ")
    assert found.stderr.count("\n") == 1
    return found.stderr


def empty(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.fixture
def cct(tmp_path: Path) -> Path:
    """Three slides of three scanners, with the authors' table: a BOM, semicolons, CRLF."""
    tags = ("cs2", "nz20", "p1000")
    names = [f"images/scc_{number:02}_{tag}.tif" for number in (1, 2, 3) for tag in tags]
    empty(tmp_path, *names, "images/scc.json", "images/._scc_01_cs2.tif")
    split = "\ufeffSlide;Dataset\r\nscc_01;train\r\nscc_02;val\r\nscc_03;test\r\n"
    (tmp_path / "scc_dataset.csv").write_text(split, newline="")
    return tmp_path


def test_slides_of_the_carcinoma_set(cct: Path) -> None:
    rows = listed("ms-cct", cct)
    assert [(row["subject"], row["domain"], row["split"]) for row in rows[:4]] == [
        ("scc_01", "Aperio ScanScope CS2", "train"),
        ("scc_01", "NanoZoomer 2.0-HT", "train"),
        ("scc_01", "Pannoramic 1000", "train"),
        ("scc_02", "Aperio ScanScope CS2", "train"),
    ]
    assert {row["split"] for row in rows if row["subject"] == "scc_03"} == {"test"}
    assert [bool(row["annotations"]) for row in rows] == [True, False, False] * 3
    assert "mpp" not in rows[0]


def test_what_it_writes_is_a_manifest(cct: Path) -> None:
    rows, rejected, failures = slide_rows(run("ms-cct", cct, "--mpp", 4).stdout)
    assert (len(rows), rejected, failures) == (9, [], [])
    assert rows[0].path == cct / "images" / "scc_01_cs2.tif"
    assert rows[0].annotations == cct / "images" / "scc.json"
    assert [row.mpp[0] for row in rows[:3]] == [1.0, 0.92, 1.0]
    assert rows[-1].split is Split.TEST


def test_the_table_of_the_split_may_lie_elsewhere(cct: Path, tmp_path: Path) -> None:
    elsewhere = (cct / "scc_dataset.csv").rename(tmp_path / "split.csv")
    assert "scc_dataset.csv: no such table of the split" in refused("ms-cct", cct)
    assert len(listed("ms-cct", cct, "--split", elsewhere)) == 9


def test_scans_in_folders_of_their_scanners(tmp_path: Path) -> None:
    first, second = "Aperio ScanScope CS2", "SG60"
    empty(tmp_path, f"{first}/a.svs", f"{first}/b.svs", f"{second}/a.tiff", "marks.sqlite")
    (tmp_path / "split.csv").write_text("Slide,Dataset\na.svs,train\nb.svs,test\n")
    rows = listed("ms-mf", tmp_path, "--mpp", 1)
    told = [tuple(row[name] for name in ("domain", "subject", "split", "mpp")) for row in rows]
    assert told == [
        (first, "a", "train", "0.25"),
        (first, "b", "test", "0.25"),
        (second, "a", "train", "0.25"),
    ]
    assert [Path(row["annotations"]).name for row in rows] == ["marks.sqlite"] * 2 + [""]
    empty(tmp_path, "Philips/a.tiff")
    assert "Philips: expected folders named Aperio ScanScope CS2, " in refused("ms-mf", tmp_path)


def test_regions_of_one_tumor_on_several_scanners(tmp_path: Path) -> None:
    empty(tmp_path, "images/001.tiff", "images/051.tiff", "images/201.tiff", "images/MIDOGpp.json")
    lines = ("Slide;Dataset;Tumor;Scanner;Origin;Species", "1;train;human breast cancer;XR;U;H")
    more = ("51;test;human breast cancer;S360;U;H", "201;train;canine lung cancer;3D;V;C")
    (tmp_path / "datasets_xvalidation.csv").write_text("\n".join((*lines, *more)))
    rows = listed("midog", tmp_path)
    assert [(row["domain"], row["subject"], row["split"]) for row in rows] == [
        ("XR", "001", "train"),
        ("S360", "051", "test"),
    ]
    assert all(row["annotations"].endswith("MIDOGpp.json") for row in rows)
    (lung,) = listed("midog", tmp_path, "--tumor", "canine lung cancer")
    assert lung["domain"] == "3D"


def test_volumes_of_one_hospital_a_vendor(tmp_path: Path) -> None:
    codes = {"A0": ("Training/Labeled", "A", "1"), "A6": ("Testing", "A", "6")}
    codes |= {"B2": ("Testing", "B", "2"), "C4": ("Training/Unlabeled", "C", "4")}
    lines = [",External code,VendorName,Vendor,Centre,ED,ES"]
    for code, (part, vendor, centre) in codes.items():
        empty(tmp_path, *(f"{part}/{code}/{code}_sa{end}.nii.gz" for end in ("", "_gt")))
        lines.append(f"0,{code},x,{vendor},{centre},0,9")
    (tmp_path / "information.csv").write_text("\n".join(lines))
    rows, failures = volume_rows(run("mv-mr", tmp_path).stdout)
    assert failures == []
    told = [(row.subject, row.domain, str(row.split), row.centre) for row in rows]
    assert told == [("A0", "MAGNETOM Avanto", "train", "1"), ("B2", "Achieva", "test", "2")]
    assert rows[0].image == tmp_path / "Training/Labeled/A0/A0_sa.nii.gz"
    assert rows[0].mask == tmp_path / "Training/Labeled/A0/A0_sa_gt.nii.gz"
    assert rows[0].frames == (Frame(0, "ED"), Frame(9, "ES"))


def test_what_is_wrong_is_one_line(cct: Path) -> None:
    assert "no such folder" in refused("ms-cct", cct / "nowhere")
    assert "holds no file named MIDOGpp.json or MIDOG++.json" in refused(
        "midog", cct, "--split", cct / "scc_dataset.csv"
    )
    empty(cct, "images/scc_04_cs2.tif")
    assert "slide scc_04 is not in the table of the split" in refused("ms-cct", cct)
    (cct / "images/scc_04_cs2.tif").rename(cct / "images/scc_01_old.tif")
    assert "scc_01_old.tif: name ends in none of cs2, nz210" in refused("ms-cct", cct)
    (cct / "scc_dataset.csv").write_text("Slide;Dataset\nscc_01;dev\n")
    assert "scc_01 is for 'dev'" in refused("ms-cct", cct)
    assert "leave it out" in refused("midog", cct, "--mpp", 2)
    assert "leave them out" in refused("mv-mr", cct, "--mpp", 2)


def test_every_row_of_a_manifest_has_to_name_its_split(tmp_path: Path) -> None:
    manifest = tmp_path / "m.csv"
    manifest.write_text("path,split\na,train\nb,\n")
    assert f"{manifest}, line 3: split is ''" in refused("check", manifest)
    manifest.write_text("path,subject\na,b\n")
    assert "has no rows with the column split" in refused("check", manifest)
    manifest.write_text("path,split\na,train\nb,test\n")
    assert listed("check", manifest) == []


def test_scanners_are_brought_to_the_coarsest_pixel_size(tmp_path: Path) -> None:
    slides = tmp_path / "slides.tsv"
    slides.write_text("slide\tmpp\tmpp_y\na\t0.25\t0.25\nb\t0.9\t1.0\nc\t0.9\t0.9\n")
    assert run("coarsest", slides).stdout == "1.0\n"
    for text in ("slide\tmpp\n", "slide\ta\nb\t1\n", ""):
        slides.write_text(text)
        assert "lists no slide whose pixel size is known" in refused("coarsest", slides)


# -------------------------------------------------------------------------------------------------
# The scanners of Table I, as they stand in ``examples/paper/scanners.csv``.


TABLE = Path(__file__).resolve().parents[2] / "examples" / "paper" / "scanners.csv"


def test_every_domain_of_the_paper_is_there_and_can_be_a_name() -> None:
    rows = list(csv.DictReader(TABLE.read_text().splitlines()))
    assert Counter(row["dataset"] for row in rows) == {"MS-MF": 6, "MS-CCT": 5, "MV-MR": 4}
    for dataset in ("MS-MF", "MS-CCT", "MV-MR"):
        found = [row for row in rows if row["dataset"] == dataset]
        assert [row["label"] for row in found] == list("ABCDEF"[: len(found)])
        assert [row["training"] for row in found].count("yes") == 1
        assert found[0]["training"] == "yes"
    for row in rows:
        assert check_name(row["domain"], "domain") == row["domain"]
        assert 0.1 < float(row["pixel_size"]) < 2
        assert row["unit"] == ("mm" if row["dataset"] == "MV-MR" else "um")
