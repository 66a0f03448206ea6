from __future__ import annotations

import io
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skiptool.stores.dataset import open_dataset
from skiptool.stores.zarrs import kept_failures

Run = Callable[..., Any]


@pytest.mark.long
def test_manifest_becomes_a_store(run: Run, pictures: Path, tmp_path: Path) -> None:
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
        **{"train": 20, "test": 0, "failed": 0},
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
def test_one_unreadable_picture_among_good_ones(run: Run, pictures: Path, tmp_path: Path) -> None:
    (pictures / "images" / "04.png").write_bytes(b"\x89PNG cut off")
    words = ("extract", "images", pictures / "manifest.csv", "--folds", "2", "--quiet")
    found = run(*words, "-o", tmp_path / "d.zarr")
    assert (found.code, found.out) == (3, f"{tmp_path / 'd.zarr'}\n")
    (line,) = found.err.splitlines()
    assert line.startswith("skiptool: failed: ")
    assert "04.png" in line
    assert "04" not in open_dataset(tmp_path / "d.zarr").domain("A").columns["id"]
    assert len(kept_failures(tmp_path / "d.zarr")) == 1
    assert "04.png" in run("info", tmp_path / "d.zarr").out
    assert run(*words, "-o", tmp_path / "e.zarr", "--json").json["failures"] == kept_failures(
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
def test_command_of_the_store_makes_it_again(run: Run, pictures: Path, tmp_path: Path) -> None:
    folders = ("--images", pictures / "images", "--masks", pictures / "masks")
    labels = ("--labels", "0=background", "--labels", "1=foreground", "--folds", "2")
    run("extract", "images", *folders, *labels, "-o", tmp_path / "a b.zarr")
    words = shlex.split(run("info", "--command", tmp_path / "a b.zarr").lines[0])
    words[words.index("--out") + 1] = str(tmp_path / "again.zarr")
    assert run(*words[1:]).code == 0
    first, again = (open_dataset(tmp_path / name) for name in ("a b.zarr", "again.zarr"))
    assert first.lineage.id == again.lineage.id


@pytest.mark.long
def test_every_option_shapes_the_store(run: Run, pictures: Path, tmp_path: Path) -> None:
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
def test_pairs_are_taken_back_by_their_folder(run: Run, pictures: Path, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs"
    words = ("--classes", "glass,cell", "--folds", "3", "--no-pictures")
    first = ("extract", "images", pictures / "manifest.csv", *words, "--export", "png", pairs)
    assert run(*first, "-o", tmp_path / "d.zarr").code == 0
    assert run("extract", "images", pairs, "-o", tmp_path / "e.zarr", "--no-pictures").code == 0
    first, again = (open_dataset(tmp_path / name) for name in ("d.zarr", "e.zarr"))
    assert first.lineage.id == again.lineage.id
