"""Tests of ``extract``."""

from __future__ import annotations

import io
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pyarrow.parquet as pq
import pytest

from skiptool.stores.dataset import open_dataset
from skiptool.stores.zarrs import recorded_failures
from slide_cases import POINTS, write_geojson, write_manifest, write_slide, write_sliderunner
from volume_cases import affine, challenge, cine, heart, image_of, row, save, write_table

Run = Callable[..., Any]


def test_extract_without_a_source_prints_help(run: Run) -> None:
    found = run("extract")
    assert (found.code, found.out) == (2, "")
    for word in ("wsi", "images"):
        assert word in found.err


def test_unknown_sources_are_refused_in_one_line(run: Run) -> None:
    pytest.importorskip("typer.exceptions", reason="typer before 0.28 names no similar command")
    found = run("extract", "image")
    assert found.code == 2
    assert "images" in found.line()


@pytest.mark.long
def test_manifest_makes_a_store(run: Run, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "d.zarr"
    found = run("extract", "images", pictures / "manifest.csv", "-o", out, "--folds", "2")
    assert (found.code, found.out) == (0, f"{out}\n")
    assert "samples: A 10, B 10" in found.err
    assert list(open_dataset(out).domains) == ["A", "B"]


def test_folders_and_options(run: Run, pictures: Path, tmp_path: Path) -> None:
    words = ("extract", "images", "--images", pictures / "images", "--masks", pictures / "masks")
    options = ("--classes", "none,cell", "--labels", "0=none", "--labels", "1=cell")
    more = ("--domain", "phone", "--test-fraction", "0", "--folds", "4", "--seed", "3")
    out = tmp_path / "d.zarr"
    found = run(*words, *options, *more, "-o", out, "--json")
    assert found.json["command"] == "extract images"
    assert found.json["outputs"] == [str(out)]
    assert found.json["summary"] == {
        "samples": {"phone": 20},
        "train": 20,
        "test": 0,
        "failed": 0,
    }
    store = open_dataset(out)
    assert store.classes == ("none", "cell")
    assert set(store.domain("phone").columns["fold"]) == {0, 1, 2, 3}
    (table,) = found.json["tables"]
    masks = np.stack([store.samples("phone", [n]).read(0)[1] for n in range(20)])
    assert (table["columns"]["domain"], table["columns"]["samples"]) == (["phone"], [20])
    assert table["columns"]["cell"] == [pytest.approx((masks == 1).mean())]
    assert "What came in" in found.err


@pytest.mark.long
def test_manifest_on_stdin(
    run: Run, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pictures)
    text = (pictures / "manifest.csv").read_text()
    out = tmp_path / "d.zarr"
    assert run("extract", "images", "-", "--folds", "2", "-o", out, stdin=text).code == 0
    assert len(open_dataset(out).domain("A")) == 10
    empty = run("extract", "images", "-", "-o", tmp_path / "e.zarr", stdin="")
    assert (empty.code, "stdin" in empty.line()) == (1, True)


def test_terminal_on_stdin_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    found = run("extract", "images", "-")
    assert found.code == 2
    assert "stdin is a terminal" in found.line()


@pytest.mark.long
def test_unreadable_picture_is_listed_and_others_extracted(
    run: Run, pictures: Path, tmp_path: Path
) -> None:
    (pictures / "images" / "04.png").write_bytes(b"\x89PNG cut off")
    words = ("extract", "images", pictures / "manifest.csv", "--folds", "2", "--quiet")
    found = run(*words, "-o", tmp_path / "d.zarr")
    assert (found.code, found.out) == (3, f"{tmp_path / 'd.zarr'}\n")
    (line,) = found.err.splitlines()
    assert line.startswith("skiptool: failed: ")
    assert "04.png" in line
    assert "04" not in open_dataset(tmp_path / "d.zarr").domain("A").columns["id"]
    assert len(recorded_failures(tmp_path / "d.zarr")) == 1
    assert "04.png" in run("info", tmp_path / "d.zarr").out
    assert run(*words, "-o", tmp_path / "e.zarr", "--json").json["failures"] == recorded_failures(
        tmp_path / "d.zarr"
    )
    # Resumed, it is whole.
    assert run(*words, "-o", tmp_path / "d.zarr", "--resume").code == 0


def test_dry_run(run: Run, pictures: Path, tmp_path: Path) -> None:
    words = ("extract", "images", pictures / "manifest.csv", "--folds", "2", "--dry-run")
    found = run(*words, "-o", tmp_path / "d.zarr")
    assert (found.code, found.out) == (0, "")
    assert f"bytes before compression: {20 * 16 * 16 * 4}" in found.err
    assert not (tmp_path / "d.zarr").exists()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.long
def test_overwrite_and_resume(run: Run, pictures: Path, tmp_path: Path) -> None:
    words = ("extract", "images", pictures / "manifest.csv", "-o", tmp_path / "d.zarr")
    assert run(*words, "--folds", "2").code == 0
    assert run(*words, "--folds", "2").code == 4
    other = run(*words, "--folds", "3", "--resume")
    assert (other.code, "folds was 2, now 3" in other.line()) == (4, True)
    assert run(*words, "--folds", "3", "--overwrite").code == 0
    assert run(*words, "--folds", "3", "--resume").lines == [str(tmp_path / "d.zarr")]


@pytest.mark.long
def test_recorded_command_reproduces_the_store(run: Run, pictures: Path, tmp_path: Path) -> None:
    folders = ("--images", pictures / "images", "--masks", pictures / "masks")
    labels = ("--labels", "0=background", "--labels", "1=foreground", "--folds", "2")
    run("extract", "images", *folders, *labels, "-o", tmp_path / "a b.zarr")
    words = shlex.split(run("info", "--command", tmp_path / "a b.zarr").lines[0])
    words[words.index("--out") + 1] = str(tmp_path / "again.zarr")
    assert run(*words[1:]).code == 0
    first, again = (open_dataset(tmp_path / name) for name in ("a b.zarr", "again.zarr"))
    assert first.lineage.id == again.lineage.id


@pytest.mark.long
def test_every_option_changes_the_store(run: Run, pictures: Path, tmp_path: Path) -> None:
    folders = ("--images", pictures / "images", "--masks", pictures / "masks")
    names = ("--pattern", "{subject}.png", "--domain", "phone", "--mask-pattern", "{}.png")
    values = ("--labels", "1=cell", "--channels", "3", "--scale", "10:200")
    tiles = ("--patch-size", "10", "--stride", "5", "--folds", "2", "--upright")
    out, sheets, pairs = (tmp_path / name for name in ("d.zarr", "sheets", "Dataset001_Cells"))
    beside = ("--qc", sheets, "--export", "nnunet", pairs)
    found = run("extract", "images", *folders, *names, *values, *tiles, *beside, "-o", out)
    assert (found.code, found.out) == (0, f"{out}\n")
    assert f"wrote {sheets}\n" in found.err
    assert f"wrote {pairs}\n" in found.err
    assert "images: 20" in found.err
    store = open_dataset(out)
    domain = store.domain("phone")
    assert (store.classes, len(domain)) == (("background", "cell"), 20 * 9)
    assert domain.columns["id"][1] == "00-x5-y0"
    words = shlex.split(run("info", "--command", out).lines[0])
    words[words.index("--out") + 1] = str(tmp_path / "again.zarr")
    assert run(*words[1:], "--no-pictures").code == 0
    assert open_dataset(tmp_path / "again.zarr").lineage.id == store.lineage.id
    back = run("extract", "images", pairs, "-o", tmp_path / "back.zarr", "--no-pictures")
    assert back.code == 0
    columns = open_dataset(tmp_path / "back.zarr").domain("phone").columns
    assert set(columns["digest"]) == set(domain.columns["digest"])


@pytest.mark.long
def test_exported_pairs_can_be_extracted(run: Run, pictures: Path, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs"
    words = ("--classes", "glass,cell", "--folds", "3", "--no-pictures")
    first = ("extract", "images", pictures / "manifest.csv", *words, "--export", "png", pairs)
    assert run(*first, "-o", tmp_path / "d.zarr").code == 0
    assert run("extract", "images", pairs, "-o", tmp_path / "e.zarr", "--no-pictures").code == 0
    first, again = (open_dataset(tmp_path / name) for name in ("d.zarr", "e.zarr"))
    assert first.lineage.id == again.lineage.id


# -------------------------------------------------------------------------------------------------
# ``skiptool extract mri`` as it is typed: streams, exit codes, what is left behind.


QUICK = ("--folds", "2", "--no-pictures", "--workers", "1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with three good cines and their manifest, and with all that may be wrong."""
    folder = tmp_path_factory.mktemp("mri")
    for number in range(3):
        cine(folder, f"p{number}", seed=number)
    write_table(folder / "volumes.csv", GOOD)
    save(folder / "one.nii.gz", image_of(heart()))
    save(folder / "four.nii.gz", np.where(heart() == 3, 4, heart()).astype(np.uint8))
    save(folder / "half.nii.gz", heart() / 2.0)
    save(folder / "flat.nii.gz", heart(40, 40, 2))
    moved = affine()
    moved[1, 3] += 40.0
    save(folder / "moved.nii.gz", heart(), moved)
    whole = (folder / "p1_sa.nii.gz").read_bytes()
    (folder / "early.nii.gz").write_bytes(whole[: len(whole) // 2])
    whole = (folder / "p1_sa_gt.nii.gz").read_bytes()
    (folder / "early_gt.nii.gz").write_bytes(whole[: len(whole) // 2])
    (folder / "text.nii.gz").write_text("not a volume\n")
    return folder


GOOD = [
    row(f"p{n}_sa.nii.gz", f"p{n}_sa_gt.nii.gz", subject=f"p{n}", frames="ED=0;ES=3", split=s)
    for n, s in enumerate(("train", "train", "test"))
]


def bad(image: str, mask: str = "", **columns: object) -> dict[str, object]:
    return row(image, mask, subject="bad", split="train") | columns


FAULTS: dict[str, tuple[dict[str, object], tuple[str, ...]]] = {
    "another shape": (bad("one.nii.gz", "flat.nii.gz"), ("flat.nii.gz: mask is 40 x 40 x 2",)),
    "label 4": (
        bad("one.nii.gz", "four.nii.gz"),
        ("four.nii.gz: mask contains value 4", "--labels VALUE=CLASS"),
    ),
    "half integers": (
        bad("one.nii.gz", "half.nii.gz"),
        ("half.nii.gz: mask contains", "not integers", "nearest neighbour"),
    ),
    "elsewhere": (
        bad("one.nii.gz", "moved.nii.gz"),
        ("moved.nii.gz: its header puts it up to 40 mm beside its image",),
    ),
    "image ends early": (
        bad("early.nii.gz", "p1_sa_gt.nii.gz"),
        ("early.nii.gz: the file is truncated or damaged", "copy it again"),
    ),
    "mask ends early": (
        bad("p1_sa.nii.gz", "early_gt.nii.gz", id="again"),
        ("early_gt.nii.gz: the file is truncated or damaged",),
    ),
    "no NIfTI": (bad("text.nii.gz"), ("text.nii.gz: not a readable NIfTI",)),
    "no file": (bad("gone.nii.gz"), ("gone.nii.gz: no such file",)),
    "no mask file": (bad("one.nii.gz", "gone_gt.nii.gz"), ("gone_gt.nii.gz: no such file",)),
    "frames": (
        bad("p1_sa.nii.gz", "p1_sa_gt.nii.gz", frames="ED=0;ES=30"),
        ("p1_sa.nii.gz: has no frame 30 (ES), it has 0 to 4",),
    ),
    "split": (bad("one.nii.gz", split="val"), ("one.nii.gz: split 'val'", "train or test")),
}


@pytest.mark.long
@pytest.mark.parametrize("name", FAULTS)
def test_bad_volume_is_listed_and_others_extracted(
    run: Run, folder: Path, tmp_path: Path, name: str
) -> None:
    fault, words = FAULTS[name]
    manifest = write_table(folder / f"{name.replace(' ', '-')}.csv", [*GOOD, fault])
    out = tmp_path / "d.zarr"
    found = run("extract", "mri", manifest, "-o", out, *QUICK, "--quiet")
    assert (found.code, found.out) == (3, f"{out}\n"), found
    (line,) = found.err.splitlines()
    assert line.startswith("skiptool: failed: ")
    assert all(word in line for word in words), line
    assert len(open_dataset(out).domain("A")) == 18
    assert recorded_failures(out) == [line.removeprefix("skiptool: failed: ")]
    alone = write_table(folder / f"{name.replace(' ', '-')}-alone.csv", [fault])
    found = run("extract", "mri", alone, "-o", tmp_path / "e.zarr", *QUICK, "--quiet")
    assert found.code == 1
    assert words[0] in found.line()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.zarr"]


@pytest.mark.long
def test_stdout_has_the_store_and_stderr_the_counts(run: Run, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "d.zarr"
    found = run("extract", "mri", folder / "volumes.csv", "-o", out, "--folds", "2")
    assert (found.code, found.out) == (0, f"{out}\n")
    lv = 6 * int((heart() == 1).sum())
    assert f"voxels in masks: LV {lv}, " in found.err
    assert f"pixels in the store: LV {lv}, " in found.err
    assert "labelled pixels cut off: 0" in found.err
    assert (tmp_path / "d-qc" / "slices-A.png").is_file()
    found = run("extract", "mri", folder / "volumes.csv", "-o", out)
    assert found.code == 4
    found = run("info", "--command", out)
    assert found.out.startswith("skiptool extract mri ")


@pytest.mark.long
def test_config_reproduces_the_mri_store(run: Run, folder: Path, tmp_path: Path) -> None:
    first, again, file = (tmp_path / name for name in ("a.zarr", "b.zarr", "made.toml"))
    words = ("--size", "A=32", "--percentiles", "1,99", "--slice-axis", "A=3", "--domain", "A")
    assert run("extract", "mri", folder / "volumes.csv", "-o", first, *QUICK, *words).code == 0
    file.write_text(run("info", "--config", first).out)
    assert run("extract", "mri", "--config", file, "-o", again).code == 0
    assert len({open_dataset(path).lineage.id for path in (first, again)}) == 1


def test_a_manifest_on_stdin(run: Run, folder: Path, tmp_path: Path) -> None:
    text = f"image,mask,domain,subject\n{folder}/p0_sa.nii.gz,{folder}/p0_sa_gt.nii.gz,A,p0\n"
    words = ("extract", "mri", "-", "-o", tmp_path / "d.zarr", *QUICK, "--test-fraction", "0")
    found = run(*words, "--json", "--quiet", stdin=text)
    assert found.code == 0
    assert found.json["summary"]["samples"] == {"A": 6}
    assert found.json["tables"][0]["columns"]["samples"] == [6]
    assert 0 < found.json["tables"][0]["columns"]["LV"][0] < 0.5


def test_options_reach_the_step(run: Run, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "d.zarr"
    words = ("--labels", "1=RV,2=MYO,3=LV", "--size", "32", "--size", "A=96", "--spacing", "1.0")
    words += ("--percentiles", "1,99", "--keep-unlabelled", "--domain", "A")
    words += ("--train-subjects", "A=1", "--test-subjects", "1")
    found = run("extract", "mri", folder / "volumes.csv", "-o", out, *QUICK, *words)
    assert found.code == 0
    store = open_dataset(out)
    domain = store.domain("A")
    assert store.classes == ("background", "LV", "MYO", "RV")
    assert (len(domain), domain.height) == (30, 96)
    assert set(domain.columns["spacing"]) == {1.0}
    _, mask = store.samples("A", [0]).read(0)
    assert (mask == 3).sum() == pytest.approx(2.25 * (heart()[..., 0] == 1).sum(), rel=0.2)


def test_a_dry_run_prints_a_table_of_domains(run: Run, folder: Path, tmp_path: Path) -> None:
    found = run("extract", "mri", folder / "volumes.csv", "-o", tmp_path / "d.zarr", "--dry-run")
    assert found.code == 0
    (line,) = found.rows()
    assert (line["domain"], line["subjects"], line["frames"], line["slices"]) == (
        "A",
        "3",
        "6",
        "18",
    )
    assert (line["found"], line["size"], line["orientation"]) == ("40 x 40", "64", "LPS")
    assert line["labels"].startswith("LV ")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_the_column_ed(run: Run, tmp_path: Path) -> None:
    folder = challenge(tmp_path / "mnms", {f"A{n}": ("Training", "A", "1") for n in range(3)})
    table = folder / "information.csv"
    table.write_text(table.read_text().replace(",ED,", ",end-diastole,"))
    out = tmp_path / "d.zarr"
    found = run("extract", "mri", folder, "-o", out, *QUICK, "--quiet")
    assert (found.code, found.out) == (3, f"{out}\n")
    assert "information.csv: has no column ED; frames in which masks have labels" in found.err
    columns = open_dataset(out).domain("A").columns
    assert set(columns["frame"]) == {0, 3}
    found = run("extract", "mri", folder, "-o", out, *QUICK, "--overwrite", "--centre", "A=2")
    assert found.code == 1
    assert "given by --centre; there are A=1" in found.err


def test_contradictory_qform_is_a_warning(run: Run, tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(image_of(heart()), affine())
    moved = affine()
    moved[0, 3] += 25.0
    image.set_sform(affine(), 1)
    image.set_qform(moved, 1)
    image.to_filename(tmp_path / "i.nii.gz")
    save(tmp_path / "m.nii.gz", heart())
    manifest = write_table(tmp_path / "m.csv", [row("i.nii.gz", "m.nii.gz")])
    words = ("-o", tmp_path / "d.zarr", *QUICK, "--test-fraction", "0")
    found = run("extract", "mri", manifest, *words)
    assert found.code == 0
    assert "i.nii.gz: sform and qform disagree by 25 mm; the sform is used" in found.err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--size", "200"), "--size 200: expected a multiple of 32"),
        (("--size", "Z=192"), "--size Z: the source's domains are A"),
        (("--spacing", "0"), "--spacing 0.0: expected"),
        (("--percentiles", "5"), "--percentiles '5': expected LOW,HIGH"),
        (("--centre", "1"), "--centre 1: expected DOMAIN=CENTRE"),
        (("--labels", "LV"), "--labels 'LV': expected VALUE=CLASS"),
        (("--test-subjects", "16"), "--test-subjects 16: domain A has only 1 subjects for it"),
    ],
)
def test_invalid_mri_options_are_refused(
    run: Run, folder: Path, tmp_path: Path, words: tuple[str, ...], line: str
) -> None:
    out = tmp_path / "d.zarr"
    found = run("extract", "mri", folder / "volumes.csv", "-o", out, *QUICK, *words)
    assert found.code == 2
    assert line in found.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_train_domain_and_slice_axis(run: Run, tmp_path: Path) -> None:
    rows = []
    for number in range(6):
        cine(tmp_path, f"p{number}", seed=number)
        files = f"p{number}_sa.nii.gz", f"p{number}_sa_gt.nii.gz"
        rows.append(row(*files, subject=f"p{number}", domain="AB"[number // 3]))
    table, out = write_table(tmp_path / "v.csv", rows), tmp_path / "d.zarr"
    words = ("extract", "mri", table, *QUICK, "--test-fraction", "0", "--train-domain", "A")
    found = run(*words, "--slice-axis", "B=2", "-o", out)
    assert (found.code, found.out) == (0, f"{out}\n")
    data = open_dataset(out)
    assert set(data.domain("A").columns["split"]) == {"train"}
    assert set(data.domain("B").columns["split"]) == {"test"}
    assert (len(data.domain("A")), len(data.domain("B"))) == (3 * 2 * 3, 3 * 2 * 40)
    assert data.lineage.parameters["train_domain"] == "A"
    assert "--train-domain A" in data.lineage.command
    assert "--slice-axis B=2" in data.lineage.command
    assert run(*words, "--slice-axis", "B=2", "-o", out, "--resume").code == 0
    refused = run(*words[:-1], "C", "-o", tmp_path / "e.zarr")
    assert (refused.code, "expected one of A, B" in refused.line()) == (2, True)


# -------------------------------------------------------------------------------------------------
# ``skiptool extract wsi`` as it is typed: streams, exit codes, what is left behind.


Contents = Callable[[Path], dict[str, bytes]]

CLASSES = ("--classes", "tumor=SCC;non-tumor=Dermis,Bone")
GRID = ("--patch-size", "64", "--folds", "2", "--no-pictures", "--workers", "1", *CLASSES)
SAMPLED = (*GRID, "--mode", "sampled", "--patches", "8")


def last(*words: str) -> list[str]:
    """Leave out what is given again later: an option takes one value."""
    found: list[str] = []
    for word in words:
        if word.startswith("--") and word in found and word != "--no-pictures":
            place = found.index(word)
            del found[place : place + 2]
        found.append(word)
    return found


@pytest.fixture(scope="module")
def folder_of_extract_wsi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with three good slides and their manifest, and with all that may be wrong."""
    folder = tmp_path_factory.mktemp("wsi")
    write_geojson(folder / "areas.json")
    good = []
    for number in range(3):
        write_slide(folder / f"s{number}.tiff", number)
        good.append({"path": f"s{number}.tiff", "domain": "A", "subject": f"p{number}"})
        good[-1]["annotations"] = "areas.json"
    write_manifest(folder / "slides.csv", good)
    (folder / "sub").mkdir()
    write_slide(folder / "sub" / "s0.tiff", 9)
    write_slide(folder / "bare.tiff", 10, mpp=None)
    write_slide(folder / "odd.tiff", 11, mpp=1000.0)
    whole = (folder / "s1.tiff").read_bytes()
    (folder / "cut.tiff").write_bytes(whole[: len(whole) // 2])
    (folder / "text.svs").write_text("not a slide\n")
    (folder / "nothing.tiff").write_bytes(b"")
    (folder / "empty.json").write_text("")
    (folder / "darwin.json").write_text('{"version": "2.0", "item": {}, "annotations": []}')
    write_geojson(folder / "bone.json", [("Void", [[(90, 90), (200, 90), (90, 200)]], "1")])
    write_geojson(folder / "far.json", [], [("SCC", (9e4, 9e4), "1")])
    write_sliderunner(folder / "wide.sqlite", {"sub.tiff": (9000, 480), "s9.tiff": (600, 480)})
    return folder


def listed(folder: Path, rows: list[dict[str, object]], name: str) -> Path:
    return write_manifest(folder / f"{name.replace(' ', '-')}.csv", rows)


def row_of_extract_wsi(path: str, **columns: object) -> dict[str, object]:
    return {"path": path, "domain": "A", "subject": "bad"} | columns


GOOD_EXTRACT_WSI: list[dict[str, object]] = [
    {"path": f"s{n}.tiff", "domain": "A", "subject": f"p{n}", "annotations": "areas.json"}
    for n in (1, 2)
]

FAULTS_EXTRACT_WSI: dict[str, tuple[dict[str, object], tuple[str, ...]]] = {
    "truncated": (row_of_extract_wsi("cut.tiff"), ("cut.tiff",)),
    "no slide": (row_of_extract_wsi("text.svs"), ("text.svs",)),
    "no bytes": (
        row_of_extract_wsi("nothing.tiff"),
        ("nothing.tiff: is empty", "copy it again"),
    ),
    "no file": (row_of_extract_wsi("gone.tiff"), ("gone.tiff: no such slide", "check the path")),
    "a folder": (row_of_extract_wsi("sub"), ("sub: a folder; expected a slide file",)),
    "mpp 1000": (
        row_of_extract_wsi("s0.tiff", mpp=1000),
        ("s0.tiff", "column mpp says 1000", "0.05 to 20"),
    ),
    "mpp text": (
        row_of_extract_wsi("s0.tiff", mpp="0.25 um"),
        ("s0.tiff: mpp '0.25 um' is not a number",),
    ),
    "level": (row_of_extract_wsi("s0.tiff", level=7), ("s0.tiff: has no level 7", "column level")),
    "split": (
        row_of_extract_wsi("s0.tiff", split="val"),
        ("s0.tiff: split 'val'", "train or test"),
    ),
    "annotations gone": (
        row_of_extract_wsi("s0.tiff", annotations="x.json"),
        ("x.json: cannot be read",),
    ),
    "annotations empty": (
        row_of_extract_wsi("s0.tiff", annotations="empty.json"),
        ("empty.json: is empty",),
    ),
    "annotations unknown": (
        row_of_extract_wsi("s0.tiff", annotations="darwin.json"),
        ("darwin.json", "expected one of SlideRunner sqlite, MIDOG json", "QuPath GeoJSON"),
    ),
    "annotations outside": (
        row_of_extract_wsi("s0.tiff", annotations="far.json"),
        ("far.json: 1 of 1 annotations lie outside of", "x_offset"),
    ),
    "another size": (
        row_of_extract_wsi("s0.tiff", annotations="wide.sqlite", annotated_as="sub.tiff"),
        ("wide.sqlite", "9000", "600"),
    ),
    "not in the file": (
        row_of_extract_wsi("s0.tiff", annotations="wide.sqlite"),
        ("wide.sqlite", "s0.tiff", "s9.tiff"),
    ),
    "label map": (
        row_of_extract_wsi("s0.tiff", label_map="a=b;a=c"),
        ("s0.tiff: column label_map",),
    ),
    "listed twice": (row_of_extract_wsi("s1.tiff"), ("s1.tiff: is the same file as",)),
}


@pytest.mark.long
@pytest.mark.parametrize("name", FAULTS_EXTRACT_WSI)
def test_bad_slide_is_listed_and_others_extracted(
    run: Run, folder_of_extract_wsi: Path, tmp_path: Path, name: str
) -> None:
    bad, words = FAULTS_EXTRACT_WSI[name]
    manifest, out = (
        listed(folder_of_extract_wsi, [*GOOD_EXTRACT_WSI, bad], name),
        tmp_path / "d.zarr",
    )
    found = run(
        "extract", "wsi", manifest, "-o", out, *last(*GRID, "--patch-size", "150"), "--quiet"
    )
    assert (found.code, found.out) == (3, f"{out}\n"), found
    (line,) = found.err.splitlines()
    assert line.startswith("skiptool: failed: ")
    for word in words:
        assert word in line
    assert recorded_failures(out) == [line.removeprefix("skiptool: failed: ")]
    assert set(open_dataset(out).domain("A").columns["slide"]) == {"s1", "s2"}
    assert [path.name for path in tmp_path.iterdir()] == ["d.zarr"]


@pytest.mark.parametrize("name", [name for name in FAULTS_EXTRACT_WSI if name != "listed twice"])
def test_nothing_is_written_if_all_slides_fail(
    run: Run, folder_of_extract_wsi: Path, tmp_path: Path, name: str
) -> None:
    bad, words = FAULTS_EXTRACT_WSI[name]
    manifest = listed(folder_of_extract_wsi, [bad], f"only {name}")
    for dry in ((), ("--dry-run",)):
        found = run("extract", "wsi", manifest, "-o", tmp_path / "d.zarr", *GRID, *dry)
        assert found.code == 1
        line = found.line()
        assert "all 1 slides failed, the first: " in line
        for word in words:
            assert word in line
        assert list(tmp_path.iterdir()) == []


@pytest.mark.long
@pytest.mark.parametrize("name", ["bare.tiff", "odd.tiff"])
def test_unknown_pixel_size_is_a_warning_unless_required(
    run: Run, folder_of_extract_wsi: Path, tmp_path: Path, name: str
) -> None:
    bad = row_of_extract_wsi(name, annotations="areas.json")
    manifest, out = (
        listed(folder_of_extract_wsi, [*GOOD_EXTRACT_WSI, bad], f"size of {name}"),
        tmp_path / "d.zarr",
    )
    found = run("extract", "wsi", manifest, "-o", out, *GRID)
    assert found.code == 0
    assert f"no plausible pixel size (0.05 to 20 um): {name}; patches are taken" in found.err
    columns = open_dataset(out).domain("A").columns
    unknown = columns["slide"] == name.partition(".")[0]
    assert np.isnan(columns["mpp"][unknown]).all()
    assert np.allclose(columns["mpp"][~unknown], 0.25, rtol=1e-3)
    (tmp_path / "needed").mkdir()
    for words in (("--mpp", "0.5"), ("--mode", "centred", "--mask", "disc:4")):
        out = tmp_path / "needed" / f"{len(words)}.zarr"
        found = run("extract", "wsi", manifest, "-o", out, *GRID, *words)
        assert found.code == 3
        lines = [each for each in found.err.splitlines() if "failed: " in each and name in each]
        assert "column mpp" in lines[0]
        assert name.partition(".")[0] not in open_dataset(out).domain("A").columns["slide"]


def test_dry_run_explains_missing_patches(
    run: Run, folder_of_extract_wsi: Path, tmp_path: Path
) -> None:
    words = ("--patch-size", "300", "--min-tissue", "0.99", "--dry-run")
    found = run(
        "extract",
        "wsi",
        folder_of_extract_wsi / "slides.csv",
        *last(*GRID, *words),
        "-o",
        tmp_path / "d.zarr",
    )
    assert found.code == 3
    lines = [line for line in found.err.splitlines() if "no patch of 300 px" in line]
    assert len(lines) == 3
    assert all("--min-tissue 0.4 would give 2" in line for line in lines)


@pytest.mark.long
def test_class_map_without_an_annotated_name_is_refused(
    run: Run, folder_of_extract_wsi: Path, tmp_path: Path
) -> None:
    # Its pixels are ignored, which is a failure unless they may be; so is a slide of which nothing
    # is left to draw.
    words = ("--patch-size", "150", "--classes", "tumor=SCC;non-tumor=Dermis")
    out = tmp_path / "d.zarr"
    found = run(
        "extract", "wsi", folder_of_extract_wsi / "slides.csv", "-o", out, *last(*GRID, *words)
    )
    assert (found.code, found.out) == (3, f"{out}\n")
    (line,) = [line for line in found.err.splitlines() if line.startswith("skiptool: failed: ")]
    assert "annotations in no class are ignored (255): Bone (3);" in line
    assert "'ignore=Bone'" in line
    may = f"{words[-1]};ignore=Bone"
    over = run(
        "extract",
        "wsi",
        folder_of_extract_wsi / "slides.csv",
        "-o",
        out,
        "--overwrite",
        *last(*GRID, *words, "--classes", may),
    )
    assert (over.code, over.err.count("skiptool: failed: ")) == (0, 0)
    assert open_dataset(out).classes == ("background", "tumor", "non-tumor")

    manifest = listed(
        folder_of_extract_wsi,
        [*GOOD_EXTRACT_WSI, row_of_extract_wsi("s0.tiff", annotations="bone.json")],
        "bone",
    )
    found = run("extract", "wsi", manifest, "-o", tmp_path / "e.zarr", *SAMPLED)
    assert found.code == 3
    (line,) = [line for line in found.err.splitlines() if "failed: " in line and "s0" in line]
    assert "bone.json has 1 annotations of this slide, none of which gives a patch" in line
    assert "Void (1)" in found.err

    near = run(
        "extract",
        "wsi",
        folder_of_extract_wsi / "slides.csv",
        "-o",
        tmp_path / "f.zarr",
        *last(*GRID, "--classes", "tumor=SSC;non-tumor=Dermis,Bone"),
    )
    assert "no slide has annotations named 'SSC'" in near.err
    assert "SCC" in near.err


def test_two_slides_of_one_stem(run: Run, folder_of_extract_wsi: Path, tmp_path: Path) -> None:
    rows = [row_of_extract_wsi("s0.tiff"), row_of_extract_wsi("sub/s0.tiff", subject="other")]
    out = tmp_path / "d.zarr"
    found = run("extract", "wsi", listed(folder_of_extract_wsi, rows, "stems"), "-o", out, *GRID)
    assert found.code == 0
    assert found.err.count("domain A has several slides named s0; this one is called s0-") == 2
    columns = open_dataset(out).domain("A").columns
    assert len(set(columns["slide"])) == 2
    assert len(set(columns["id"])) == len(columns["id"])


WRONG: dict[str, tuple[int, tuple[str, ...], tuple[str, ...]]] = {
    "manifest missing": (1, ("gone.csv",), ("gone.csv: no such manifest",)),
    "no manifest": (2, (), ("Missing argument",)),
    "mode": (2, ("{m}", "--mode", "random"), ("--mode", "centred", "sampled")),
    "mpp 1000": (2, ("{m}", "--mpp", "1000"), ("--mpp 1000.0", "0.05 to 20")),
    "size": (2, ("{m}", "--patch-size", "0"), ("--patch-size 0",)),
    "mask": (2, ("{m}", "--mode", "centred", "--mask", "disk:3"), ("--mask disk:3", "disc:UM")),
    "mask and grid": (2, ("{m}", "--mask", "stain"), ("--mode centred",)),
    "classes": (2, ("{m}", "--classes", "a=x;b=x"), ("'x' occurs twice",)),
    "register": (2, ("{m}", "--register", "B"), ("--register B", "domains are A")),
    "split": (2, ("{m}", "--split", "val"), ("--split val", "train, test or all")),
    "fraction": (2, ("{m}", "--test-fraction", "1.5"), ("test fraction 1.5",)),
    "folds": (2, ("{m}", "--folds", "0"), ("0 folds",)),
    "resume and overwrite": (2, ("{m}", "--resume", "--overwrite"), ("give only one",)),
    "out is the manifest": (
        2,
        ("{m}", "-o", "{m}", "--overwrite"),
        ("is an input of this command",),
    ),
    "parent missing": (1, ("{m}", "-o", "no/d.zarr"), ("folder no does not exist",)),
    "export parent": (1, ("{m}", "--export", "no/pairs"), ("folder no does not exist",)),
    "qc parent": (1, ("{m}", "--qc", "no/qc"), ("folder no does not exist",)),
    "model missing": (
        1,
        ("{m}", "--mode", "centred", "--mask", "model:gone"),
        ("gone: no model folder",),
    ),
    "no patch": (1, ("{m}", "--patch-size", "4096"), ("no patch at all", "--dry-run")),
    "few subjects": (2, ("{m}", "--test-fraction", "nan"), ("test fraction nan",)),
}


@pytest.mark.parametrize("name", WRONG)
def test_invalid_wsi_options_are_reported_in_one_line(
    run: Run,
    folder_of_extract_wsi: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    code, words, fragments = WRONG[name]
    monkeypatch.chdir(tmp_path)
    before = sorted(folder_of_extract_wsi.rglob("*"))
    found = run(
        "extract", "wsi", *(word.format(m=folder_of_extract_wsi / "slides.csv") for word in words)
    )
    assert found.code == code, found
    line = found.err.splitlines()[-1] if "no patch" in name else found.line()
    for fragment in fragments:
        assert fragment in line
    assert list(tmp_path.iterdir()) == []
    assert sorted(folder_of_extract_wsi.rglob("*")) == before


@pytest.mark.long
def test_wsi_outputs_and_pictures(run: Run, folder_of_extract_wsi: Path, tmp_path: Path) -> None:
    words = [word for word in GRID if word != "--no-pictures"]
    words[1] = "128"
    out = tmp_path / "d.zarr"
    found = run("extract", "wsi", folder_of_extract_wsi / "slides.csv", "-o", out, *words)
    assert (found.code, found.out) == (0, f"{out}\n")
    assert f"wrote {tmp_path / 'd-qc'}" in found.err
    assert "samples: A " in found.err
    assert len(list((tmp_path / "d-qc").glob("slide-A-s?-*.png"))) == 3
    again = run("extract", "wsi", folder_of_extract_wsi / "slides.csv", "-o", out, *words)
    assert (again.code, "exists already" in again.line()) == (4, True)
    done = run(
        "extract", "wsi", folder_of_extract_wsi / "slides.csv", "-o", out, *words, "--resume"
    )
    assert (done.code, done.out) == (0, f"{out}\n")
    other = run(
        "extract",
        "wsi",
        folder_of_extract_wsi / "slides.csv",
        "-o",
        out,
        *words,
        "--resume",
        "--seed=1",
    )
    assert (other.code, "seed was 0, now 1" in other.line()) == (4, True)
    over = run(
        "extract",
        "wsi",
        folder_of_extract_wsi / "slides.csv",
        "-o",
        out,
        *GRID,
        "--overwrite",
        "--json",
    )
    assert over.json["command"] == "extract wsi"
    assert over.json["outputs"] == [str(out)]
    assert over.json["summary"]["slides"] == 3
    columns = over.json["tables"][0]["columns"]
    assert columns["samples"] == list(over.json["summary"]["samples"].values())
    assert 0 < columns["ignored"][0] < 1


@pytest.mark.long
def test_manifest_on_stdin_of_extract_wsi(
    run: Run, folder_of_extract_wsi: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder_of_extract_wsi)
    text = (folder_of_extract_wsi / "slides.csv").read_text().replace(",", ";")
    found = run("extract", "wsi", "-", "-o", tmp_path / "d.zarr", *GRID, stdin=f"\ufeff{text}")
    assert found.code == 0
    run("extract", "wsi", folder_of_extract_wsi / "slides.csv", "-o", tmp_path / "e.zarr", *GRID)
    ids = {open_dataset(tmp_path / name).lineage.id for name in ("d.zarr", "e.zarr")}
    assert len(ids) == 1


def test_dry_run_is_a_table(run: Run, folder_of_extract_wsi: Path, tmp_path: Path) -> None:
    manifest = listed(
        folder_of_extract_wsi, [*GOOD_EXTRACT_WSI, row_of_extract_wsi("gone.tiff")], "dry"
    )
    words = ("extract", "wsi", manifest, "-o", tmp_path / "d.zarr", *SAMPLED, "--draws", "3")
    found = run(*words, "--dry-run")
    assert found.code == 3
    first, second = found.rows()
    assert (first["slide"], first["vendor"], first["width"], first["levels"]) == (
        "s1",
        "generic-tiff",
        "600",
        "2",
    )
    assert float(first["mpp"]) == pytest.approx(0.25, rel=1e-3)
    assert first["annotations"] == "non-tumor 2, tumor 1"
    assert {first["patches"], second["patches"]} == {"8", "24"}
    assert int(second["bytes"]) == int(second["patches"]) * 64 * 64 * 4
    assert "bytes before compression: 524288" in found.err
    assert "draws" in found.err
    assert "gone.tiff: no such slide" in found.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
@pytest.mark.parametrize(
    "words", [("--export", "png"), pytest.param(("--export",), marks=pytest.mark.slow)]
)
def test_corrected_pairs_can_be_extracted(
    run: Run, folder_of_extract_wsi: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    out, pairs, back = (tmp_path / name for name in ("d.zarr", "pairs", "back.zarr"))
    found = run(
        "extract", "wsi", folder_of_extract_wsi / "slides.csv", "-o", out, *SAMPLED, *words, pairs
    )
    assert (found.code, found.out) == (0, f"{out}\n")
    assert f"wrote {pairs}" in found.err
    classes = (pairs / "classes.txt").read_text().strip()
    again = run(
        "extract",
        "images",
        pairs / "manifest.csv",
        "--classes",
        classes,
        "-o",
        back,
        "--folds",
        "2",
    )
    assert again.code == 0
    first, second = open_dataset(out), open_dataset(back)
    assert first.classes == second.classes
    for column in ("id", "subject", "split"):
        assert list(first.domain("A").columns[column]) == list(second.domain("A").columns[column])
    for index in range(len(first.domain("A"))):
        pair = [store.samples("A", [index]).read(0) for store in (first, second)]
        assert np.array_equal(pair[0][0], pair[1][0])
        assert np.array_equal(pair[0][1], pair[1][1])


@pytest.mark.long
def test_config_reproduces_the_wsi_store(
    run: Run, folder_of_extract_wsi: Path, tmp_path: Path
) -> None:
    first, again, file = (tmp_path / name for name in ("a.zarr", "b.zarr", "made.toml"))
    manifest = folder_of_extract_wsi / "slides.csv"
    words = (*SAMPLED, "--draws", "2", "--seed", "5", "--export", tmp_path / "p")
    assert run("extract", "wsi", manifest, "-o", first, *words).code == 0
    file.write_text(run("info", "--config", first).out)
    typed = ("-o", again, "--export", tmp_path / "q")
    assert run("extract", "wsi", "--config", file, *typed).code == 0
    assert len({open_dataset(path).lineage.id for path in (first, again)}) == 1
    assert (tmp_path / "q").is_dir()


@pytest.mark.long
def test_recorded_command_reproduces_the_wsi_store(
    run: Run, folder_of_extract_wsi: Path, tmp_path: Path
) -> None:
    words = (*SAMPLED, "--background", "0.2", "--draws", "2", "--mpp", "0.5", "--seed", "5")
    run("extract", "wsi", folder_of_extract_wsi / "slides.csv", "-o", tmp_path / "a b.zarr", *words)
    again = shlex.split(run("info", "--command", tmp_path / "a b.zarr").lines[0])
    again[again.index("--out") + 1] = str(tmp_path / "again.zarr")
    assert run(*again[1:]).code == 0
    ids = {open_dataset(tmp_path / name).lineage.id for name in ("a b.zarr", "again.zarr")}
    assert len(ids) == 1
    checked = run("info", "--check", tmp_path / "again.zarr")
    assert checked.code == 0


def test_centred_patches_of_a_database(
    run: Run, folder_of_extract_wsi: Path, tmp_path: Path
) -> None:
    write_sliderunner(
        folder_of_extract_wsi / "points.sqlite", {"s1.tiff": (600, 480), "s2.tiff": (600, 480)}
    )
    rows = [each | {"annotations": "points.sqlite"} for each in GOOD_EXTRACT_WSI]
    out = tmp_path / "d.zarr"
    words = ("--mode", "centred", "--mask", "disc:4", "--classes", "mitosis;look-alike")
    found = run(
        "extract",
        "wsi",
        listed(folder_of_extract_wsi, rows, "points"),
        "-o",
        out,
        *words,
        "--no-pictures",
        "--patch-size",
        "40",
        "--test-fraction",
        "0",
        "--folds",
        "2",
    )
    assert found.code == 0, found.err
    store = open_dataset(out)
    assert store.classes == ("background", "mitosis", "look-alike")
    columns = store.domain("A").columns
    assert list(columns["annotation"]) == ["mitosis", "look-alike"] * 2
    rows_, columns_ = np.mgrid[:40, :40] + 0.5
    disc = np.hypot(rows_ - 20, columns_ - 20) <= 16
    for index, name in enumerate(columns["annotation"]):
        image, mask = store.samples("A", [index]).read(0)
        label = store.classes.index(name)
        assert set(np.unique(mask)) == {0, label}
        assert ((mask == label) != disc).mean() < 0.01
        x, y = dict((kind, at) for kind, at, _ in POINTS)[name]
        assert (columns["x"][index], columns["y"][index]) == (x - 20, y - 20)
        assert image.shape == (40, 40, 3)


@pytest.mark.long
def test_killed_run_can_be_resumed(
    run: Run, folder_of_extract_wsi: Path, tmp_path: Path, contents: Contents
) -> None:
    words = ["extract", "wsi", str(folder_of_extract_wsi / "slides.csv"), *GRID, "--stride", "24"]
    out, whole = tmp_path / "d.zarr", tmp_path / "whole.zarr"
    process = subprocess.Popen(
        [sys.executable, "-m", "skiptool", *words, "-o", str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    journal = tmp_path / ".d.zarr.partial" / "journal.jsonl"
    while process.poll() is None and not (
        journal.is_file() and journal.read_bytes().count(b"\n") > 4
    ):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not out.exists()
    other = run(*words, "-o", out, "--resume", "--min-tissue", "0.7")
    assert (other.code, "min_tissue was 0.5, now 0.7" in other.line()) == (4, True)
    assert run(*words, "-o", out).code == 4
    assert run(*words, "-o", out, "--resume").code == 0
    assert run(*words, "-o", whole).code == 0
    assert contents(out) == contents(whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.zarr", "whole.zarr"]


@pytest.mark.slow
def test_training_uses_the_draws_in_turn(
    run: Run, folder_of_extract_wsi: Path, tmp_path: Path
) -> None:
    out, runs = tmp_path / "d.zarr", tmp_path / "runs"
    words = (*SAMPLED, "--draws", "2", "--test-fraction", "0")
    assert run("extract", "wsi", folder_of_extract_wsi / "slides.csv", "-o", out, *words).code == 0
    found = run(
        "train",
        out,
        "--epochs",
        "2",
        "--fold",
        "0",
        "--encoder-weights",
        "none",
        "--precision",
        "32",
        "--device",
        "cpu",
        "-o",
        runs,
    )
    assert found.code == 0, found.err
    history = pq.read_table(Path(found.lines[0]) / "history.parquet").to_pydict()
    assert history["epoch"] == [0, 0, 1, 1]
    assert all(np.isfinite(history["loss"]))
