"""``skiptool extract mri`` as it is typed: streams, exit codes, what is left behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from skiptool.stores.dataset import open_dataset
from skiptool.stores.zarrs import kept_failures
from volume_cases import affine, challenge, cine, heart, image_of, row, save, write_table

Run = Callable[..., Any]

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
        ("four.nii.gz: mask holds value 4", "--labels VALUE=CLASS"),
    ),
    "half integers": (
        bad("one.nii.gz", "half.nii.gz"),
        ("half.nii.gz: mask holds", "no whole number", "nearest neighbour"),
    ),
    "elsewhere": (
        bad("one.nii.gz", "moved.nii.gz"),
        ("moved.nii.gz: its header puts it up to 40 mm beside its image",),
    ),
    "image ends early": (
        bad("early.nii.gz", "p1_sa_gt.nii.gz"),
        ("early.nii.gz: the file ends early or is damaged", "copy it again"),
    ),
    "mask ends early": (
        bad("p1_sa.nii.gz", "early_gt.nii.gz", id="again"),
        ("early_gt.nii.gz: the file ends early or is damaged",),
    ),
    "no NIfTI": (bad("text.nii.gz"), ("text.nii.gz: no NIfTI that can be read",)),
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
def test_one_bad_volume_does_not_end_the_night(
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
    assert kept_failures(out) == [line.removeprefix("skiptool: failed: ")]
    alone = write_table(folder / f"{name.replace(' ', '-')}-alone.csv", [fault])
    found = run("extract", "mri", alone, "-o", tmp_path / "e.zarr", *QUICK, "--quiet")
    assert found.code == 1
    assert words[0] in found.line()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.zarr"]


@pytest.mark.long
def test_stdout_is_the_store_and_stderr_the_counts(run: Run, folder: Path, tmp_path: Path) -> None:
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
    assert "information.csv: has no column ED; frames in which masks hold labels" in found.err
    columns = open_dataset(out).domain("A").columns
    assert set(columns["frame"]) == {0, 3}
    found = run("extract", "mri", folder, "-o", out, *QUICK, "--overwrite", "--centre", "A=2")
    assert found.code == 1
    assert "--centre asks for; there are A=1" in found.err


def test_a_qform_that_disagrees_is_a_warning(run: Run, tmp_path: Path) -> None:
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
        (("--test-subjects", "16"), "--test-subjects 16: domain A has 1 subjects for it"),
    ],
)
def test_a_wrong_command_line(
    run: Run, folder: Path, tmp_path: Path, words: tuple[str, ...], line: str
) -> None:
    out = tmp_path / "d.zarr"
    found = run("extract", "mri", folder / "volumes.csv", "-o", out, *QUICK, *words)
    assert found.code == 2
    assert line in found.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_one_domain_is_trained_on_and_an_axis_named(run: Run, tmp_path: Path) -> None:
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
