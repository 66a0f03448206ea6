"""``skiptool extract wsi`` as it is typed: streams, exit codes, what is left behind."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from skiptool.stores.dataset import open_dataset
from skiptool.stores.zarrs import kept_failures
from slide_cases import (
    POINTS,
    write_geojson,
    write_manifest,
    write_slide,
    write_sliderunner,
)

Run = Callable[..., Any]
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
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
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


def row(path: str, **columns: object) -> dict[str, object]:
    return {"path": path, "domain": "A", "subject": "bad"} | columns


GOOD: list[dict[str, object]] = [
    {"path": f"s{n}.tiff", "domain": "A", "subject": f"p{n}", "annotations": "areas.json"}
    for n in (1, 2)
]

FAULTS: dict[str, tuple[dict[str, object], tuple[str, ...]]] = {
    "truncated": (row("cut.tiff"), ("cut.tiff",)),
    "no slide": (row("text.svs"), ("text.svs",)),
    "no bytes": (row("nothing.tiff"), ("nothing.tiff: holds no bytes", "copy it again")),
    "no file": (row("gone.tiff"), ("gone.tiff: no such slide", "check the path")),
    "a folder": (row("sub"), ("sub: a folder; expected the file of a slide",)),
    "mpp 1000": (row("s0.tiff", mpp=1000), ("s0.tiff", "column mpp says 1000", "0.05 to 20")),
    "mpp text": (row("s0.tiff", mpp="0.25 um"), ("s0.tiff: mpp '0.25 um' is no number",)),
    "level": (row("s0.tiff", level=7), ("s0.tiff: has no level 7", "column level")),
    "split": (row("s0.tiff", split="val"), ("s0.tiff: split 'val'", "train or test")),
    "annotations gone": (row("s0.tiff", annotations="x.json"), ("x.json: cannot be read",)),
    "annotations empty": (row("s0.tiff", annotations="empty.json"), ("empty.json: is empty",)),
    "annotations unknown": (
        row("s0.tiff", annotations="darwin.json"),
        ("darwin.json", "expected one of SlideRunner sqlite, MIDOG json", "QuPath GeoJSON"),
    ),
    "annotations outside": (
        row("s0.tiff", annotations="far.json"),
        ("far.json: 1 of 1 annotations lie outside of", "x_offset"),
    ),
    "another size": (
        row("s0.tiff", annotations="wide.sqlite", annotated_as="sub.tiff"),
        ("wide.sqlite", "9000", "600"),
    ),
    "not in the file": (
        row("s0.tiff", annotations="wide.sqlite"),
        ("wide.sqlite", "s0.tiff", "s9.tiff"),
    ),
    "label map": (row("s0.tiff", label_map="a=b;a=c"), ("s0.tiff: column label_map",)),
    "listed twice": (row("s1.tiff"), ("s1.tiff: is the same file as",)),
}


@pytest.mark.long
@pytest.mark.parametrize("name", FAULTS)
def test_one_bad_slide_does_not_end_the_night(
    run: Run, folder: Path, tmp_path: Path, name: str
) -> None:
    bad, words = FAULTS[name]
    manifest, out = listed(folder, [*GOOD, bad], name), tmp_path / "d.zarr"
    found = run(
        "extract", "wsi", manifest, "-o", out, *last(*GRID, "--patch-size", "150"), "--quiet"
    )
    assert (found.code, found.out) == (3, f"{out}\n"), found
    (line,) = found.err.splitlines()
    assert line.startswith("skiptool: failed: ")
    for word in words:
        assert word in line
    assert kept_failures(out) == [line.removeprefix("skiptool: failed: ")]
    assert set(open_dataset(out).domain("A").columns["slide"]) == {"s1", "s2"}
    assert [path.name for path in tmp_path.iterdir()] == ["d.zarr"]


@pytest.mark.parametrize("name", [name for name in FAULTS if name != "listed twice"])
def test_where_nothing_is_left_nothing_is_written(
    run: Run, folder: Path, tmp_path: Path, name: str
) -> None:
    bad, words = FAULTS[name]
    manifest = listed(folder, [bad], f"only {name}")
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
def test_an_unknown_size_of_pixels_is_told_unless_it_is_needed(
    run: Run, folder: Path, tmp_path: Path, name: str
) -> None:
    bad = row(name, annotations="areas.json")
    manifest, out = listed(folder, [*GOOD, bad], f"size of {name}"), tmp_path / "d.zarr"
    found = run("extract", "wsi", manifest, "-o", out, *GRID)
    assert found.code == 0
    assert f"no plausible size of pixels (0.05 to 20 um): {name}; patches are taken" in found.err
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


def test_a_dry_run_tells_why_there_is_no_patch(run: Run, folder: Path, tmp_path: Path) -> None:
    words = ("--patch-size", "300", "--min-tissue", "0.99", "--dry-run")
    found = run(
        "extract", "wsi", folder / "slides.csv", *last(*GRID, *words), "-o", tmp_path / "d.zarr"
    )
    assert found.code == 3
    lines = [line for line in found.err.splitlines() if "no patch of 300 px" in line]
    assert len(lines) == 3
    assert all("--min-tissue 0.4 would give 2" in line for line in lines)


@pytest.mark.long
def test_a_class_map_that_misses_a_name(run: Run, folder: Path, tmp_path: Path) -> None:
    # Its pixels are ignored, which is a failure unless they may be; so is a slide of which nothing
    # is left to draw.
    words = ("--patch-size", "150", "--classes", "tumor=SCC;non-tumor=Dermis")
    out = tmp_path / "d.zarr"
    found = run("extract", "wsi", folder / "slides.csv", "-o", out, *last(*GRID, *words))
    assert (found.code, found.out) == (3, f"{out}\n")
    (line,) = [line for line in found.err.splitlines() if line.startswith("skiptool: failed: ")]
    assert "annotations in no class are ignored (255): Bone (3);" in line
    assert "'ignore=Bone'" in line
    may = f"{words[-1]};ignore=Bone"
    over = run(
        *("extract", "wsi", folder / "slides.csv", "-o", out, "--overwrite"),
        *last(*GRID, *words, "--classes", may),
    )
    assert (over.code, over.err.count("skiptool: failed: ")) == (0, 0)
    assert open_dataset(out).classes == ("background", "tumor", "non-tumor")

    manifest = listed(folder, [*GOOD, row("s0.tiff", annotations="bone.json")], "bone")
    found = run("extract", "wsi", manifest, "-o", tmp_path / "e.zarr", *SAMPLED)
    assert found.code == 3
    (line,) = [line for line in found.err.splitlines() if "failed: " in line and "s0" in line]
    assert "bone.json has 1 annotations of this slide, none of which gives a patch" in line
    assert "Void (1)" in found.err

    near = run(
        *("extract", "wsi", folder / "slides.csv", "-o", tmp_path / "f.zarr"),
        *last(*GRID, "--classes", "tumor=SSC;non-tumor=Dermis,Bone"),
    )
    assert "no slide has annotations named 'SSC'" in near.err
    assert "SCC" in near.err


def test_two_slides_of_one_stem(run: Run, folder: Path, tmp_path: Path) -> None:
    rows = [row("s0.tiff"), row("sub/s0.tiff", subject="other")]
    out = tmp_path / "d.zarr"
    found = run("extract", "wsi", listed(folder, rows, "stems"), "-o", out, *GRID)
    assert found.code == 0
    assert found.err.count("domain A has several slides named s0; this one is called s0-") == 2
    columns = open_dataset(out).domain("A").columns
    assert len(set(columns["slide"])) == 2
    assert len(set(columns["id"])) == len(columns["id"])


WRONG: dict[str, tuple[int, tuple[str, ...], tuple[str, ...]]] = {
    "manifest missing": (1, ("gone.csv",), ("gone.csv: no such manifest",)),
    "no manifest": (2, (), ("Missing argument 'manifest'",)),
    "mode": (2, ("{m}", "--mode", "random"), ("--mode", "centred", "sampled")),
    "mpp 1000": (2, ("{m}", "--mpp", "1000"), ("--mpp 1000.0", "0.05 to 20")),
    "size": (2, ("{m}", "--patch-size", "0"), ("--patch-size 0",)),
    "mask": (2, ("{m}", "--mode", "centred", "--mask", "disk:3"), ("--mask disk:3", "disc:UM")),
    "mask and grid": (2, ("{m}", "--mask", "stain"), ("--mode centred",)),
    "classes": (2, ("{m}", "--classes", "a=x;b=x"), ("'x' is there twice",)),
    "register": (2, ("{m}", "--register", "B"), ("--register B", "domains are A")),
    "split": (2, ("{m}", "--split", "val"), ("--split val", "train, test or all")),
    "fraction": (2, ("{m}", "--test-fraction", "1.5"), ("test fraction 1.5",)),
    "folds": (2, ("{m}", "--folds", "0"), ("0 folds",)),
    "resume and overwrite": (2, ("{m}", "--resume", "--overwrite"), ("give one",)),
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
def test_what_is_wrong_is_one_line(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    code, words, fragments = WRONG[name]
    monkeypatch.chdir(tmp_path)
    before = sorted(folder.rglob("*"))
    found = run("extract", "wsi", *(word.format(m=folder / "slides.csv") for word in words))
    assert found.code == code, found
    line = found.err.splitlines()[-1] if "no patch" in name else found.line()
    for fragment in fragments:
        assert fragment in line
    assert list(tmp_path.iterdir()) == []
    assert sorted(folder.rglob("*")) == before


@pytest.mark.long
def test_outputs_and_pictures(run: Run, folder: Path, tmp_path: Path) -> None:
    words = [word for word in GRID if word != "--no-pictures"]
    words[1] = "128"
    out = tmp_path / "d.zarr"
    found = run("extract", "wsi", folder / "slides.csv", "-o", out, *words)
    assert (found.code, found.out) == (0, f"{out}\n")
    assert f"wrote {tmp_path / 'd-qc'}" in found.err
    assert "samples: A " in found.err
    assert len(list((tmp_path / "d-qc").glob("slide-A-s?-*.png"))) == 3
    again = run("extract", "wsi", folder / "slides.csv", "-o", out, *words)
    assert (again.code, "exists already" in again.line()) == (4, True)
    done = run("extract", "wsi", folder / "slides.csv", "-o", out, *words, "--resume")
    assert (done.code, done.out) == (0, f"{out}\n")
    other = run("extract", "wsi", folder / "slides.csv", "-o", out, *words, "--resume", "--seed=1")
    assert (other.code, "seed was 0, now 1" in other.line()) == (4, True)
    over = run("extract", "wsi", folder / "slides.csv", "-o", out, *GRID, "--overwrite", "--json")
    assert over.json["command"] == "extract wsi"
    assert over.json["outputs"] == [str(out)]
    assert over.json["summary"]["slides"] == 3
    columns = over.json["tables"][0]["columns"]
    assert columns["samples"] == list(over.json["summary"]["samples"].values())
    assert 0 < columns["ignored"][0] < 1


@pytest.mark.long
def test_manifest_on_stdin(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    text = (folder / "slides.csv").read_text().replace(",", ";")
    found = run("extract", "wsi", "-", "-o", tmp_path / "d.zarr", *GRID, stdin=f"\ufeff{text}")
    assert found.code == 0
    run("extract", "wsi", folder / "slides.csv", "-o", tmp_path / "e.zarr", *GRID)
    ids = {open_dataset(tmp_path / name).lineage.id for name in ("d.zarr", "e.zarr")}
    assert len(ids) == 1


def test_dry_run_is_a_table(run: Run, folder: Path, tmp_path: Path) -> None:
    manifest = listed(folder, [*GOOD, row("gone.tiff")], "dry")
    words = ("extract", "wsi", manifest, "-o", tmp_path / "d.zarr", *SAMPLED, "--draws", "3")
    found = run(*words, "--dry-run")
    assert found.code == 3
    first, second = found.rows()
    assert (first["slide"], first["vendor"], first["width"], first["levels"]) == (
        *("s1", "generic-tiff", "600", "2"),
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
def test_pairs_come_back(run: Run, folder: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    out, pairs, back = (tmp_path / name for name in ("d.zarr", "pairs", "back.zarr"))
    found = run("extract", "wsi", folder / "slides.csv", "-o", out, *SAMPLED, *words, pairs)
    assert (found.code, found.out) == (0, f"{out}\n")
    assert f"wrote {pairs}" in found.err
    classes = (pairs / "classes.txt").read_text().strip()
    again = run(
        *("extract", "images", pairs / "manifest.csv", "--classes", classes, "-o", back),
        *("--folds", "2"),
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
def test_the_command_of_a_store_makes_it_again(run: Run, folder: Path, tmp_path: Path) -> None:
    words = (*SAMPLED, "--background", "0.2", "--draws", "2", "--mpp", "0.5", "--seed", "5")
    run("extract", "wsi", folder / "slides.csv", "-o", tmp_path / "a b.zarr", *words)
    again = shlex.split(run("info", "--command", tmp_path / "a b.zarr").lines[0])
    again[again.index("--out") + 1] = str(tmp_path / "again.zarr")
    assert run(*again[1:]).code == 0
    ids = {open_dataset(tmp_path / name).lineage.id for name in ("a b.zarr", "again.zarr")}
    assert len(ids) == 1
    checked = run("info", "--check", tmp_path / "again.zarr")
    assert checked.code == 0


def test_centred_on_what_a_database_marks(run: Run, folder: Path, tmp_path: Path) -> None:
    write_sliderunner(folder / "points.sqlite", {"s1.tiff": (600, 480), "s2.tiff": (600, 480)})
    rows = [each | {"annotations": "points.sqlite"} for each in GOOD]
    out = tmp_path / "d.zarr"
    words = ("--mode", "centred", "--mask", "disc:4", "--classes", "mitosis;look-alike")
    found = run(
        *("extract", "wsi", listed(folder, rows, "points"), "-o", out, *words, "--no-pictures"),
        *("--patch-size", "40", "--test-fraction", "0", "--folds", "2"),
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
def test_killed_run_goes_on(run: Run, folder: Path, tmp_path: Path, contents: Contents) -> None:
    words = ["extract", "wsi", str(folder / "slides.csv"), *GRID, "--stride", "24"]
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
def test_training_takes_the_draws_in_turn(run: Run, folder: Path, tmp_path: Path) -> None:
    out, runs = tmp_path / "d.zarr", tmp_path / "runs"
    words = (*SAMPLED, "--draws", "2", "--test-fraction", "0")
    assert run("extract", "wsi", folder / "slides.csv", "-o", out, *words).code == 0
    found = run(
        *("train", out, "--epochs", "2", "--fold", "0", "--encoder-weights", "none"),
        *("--precision", "32", "--device", "cpu", "-o", runs),
    )
    assert found.code == 0, found.err
    history = pq.read_table(Path(found.lines[0]) / "history.parquet").to_pydict()
    assert history["epoch"] == [0, 0, 1, 1]
    assert all(np.isfinite(history["loss"]))
