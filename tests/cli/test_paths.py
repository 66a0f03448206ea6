"""Tests of ``paths``."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from skiptool.cli import ORDER
from skiptool.cli.paths import WRITTEN, input_path, input_paths, stdin_text, typed_inputs
from skiptool.errors import ArgumentError


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def read(self, _size: int | None = -1) -> str:
        raise AssertionError("must not wait for a terminal")


def test_input_paths_are_parsed() -> None:
    assert input_paths(["a", "b/", "c d"]) == [Path("a"), Path("b"), Path("c d")]
    with pytest.raises(ArgumentError, match="empty path"):
        input_paths(["a", ""])


def test_dash_reads_paths_from_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("a b\n\n  \nruns/ä\r\nlast "))
    expected = [Path("first"), Path("a b"), Path("runs/ä"), Path("last "), Path("z")]
    assert input_paths(["first", "-", "z"]) == expected


def test_inputs_may_be_urls(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "s3://bucket/f.zarr"
    assert input_paths(["a b", url]) == [Path("a b"), url]
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{url}/\r\nb.npy\n"))
    assert input_paths(["-", "c"]) == [f"{url}/", Path("b.npy"), Path("c")]
    with pytest.raises(ArgumentError, match="empty path"):
        input_paths([url, ""])


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("s3:/bucket/deep/f.zarr/", "s3:/.../f.zarr: a URL has two slashes"),
        ("https:/me:secret@host/f.zarr?key=secret/x", "https:/.../f.zarr: a URL has two slashes"),
        ("https:/me:secret@host", "https:/.../host: a URL has two slashes"),
    ],
)
def test_broken_urls_are_reported_without_secrets(
    word: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ArgumentError) as caught:
        input_paths(["a", word])
    assert str(caught.value).startswith(shown)
    assert "secret" not in str(caught.value)
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{word}\n"))
    with pytest.raises(ArgumentError, match="two slashes"):
        input_path("-", "dataset store")


def test_file_urls_are_local_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [tmp_path / "a.zarr"]
    for start in ("file://", "file://localhost", "file:"):
        assert input_paths([f"{start}{tmp_path}/a.zarr"]) == expected
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s3:").mkdir()
    (tmp_path / "s3:" / "f.zarr").touch()
    assert input_paths(["s3:/f.zarr"]) == [
        Path("s3:/f.zarr")
    ]  # it is there, whatever it looks like


def test_single_input_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("s.zarr\n"))
    assert input_path("-", "dataset store") == Path("s.zarr")
    monkeypatch.setattr(sys, "stdin", io.StringIO("a\nb\n"))
    with pytest.raises(ArgumentError, match="2 paths, expected one dataset store"):
        input_path("-", "dataset store")


@pytest.mark.parametrize(
    ("stdin", "reason"),
    [
        (Terminal(), "is a terminal"),
        (None, "is closed"),
        (io.StringIO(""), "holds no path"),
        (io.StringIO("\n \n"), "holds no path"),
        (io.StringIO("PAR1\0\0"), "holds no text"),
        (io.TextIOWrapper(io.BytesIO(b"\xff\xfe\x80"), encoding="utf-8"), "holds no text"),
    ],
    ids=["terminal", "closed", "empty", "blank", "binary", "no UTF-8"],
)
def test_unusable_stdin_is_refused(
    stdin: io.TextIOBase | None, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", stdin)
    with pytest.raises(ArgumentError, match=reason):
        input_paths(["-"])


def test_stdin_text_is_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("a,b\n1,2\n"))
    assert stdin_text("the manifest") == "a,b\n1,2\n"


def test_real_terminal_and_closed_stdin() -> None:
    """In a process of its own: a pseudo-terminal is not waited for, nor is what is not there."""
    tool = [sys.executable, "-m", "skiptool", "report", "-"]
    ours, theirs = os.openpty()
    try:
        found = subprocess.run(tool, stdin=theirs, capture_output=True, text=True, timeout=60)
    finally:
        os.close(ours)
        os.close(theirs)
    assert found.returncode == 2
    assert found.stderr.splitlines() == [
        "skiptool report: '-' reads paths from stdin, but stdin is a terminal; give it a pipe"
    ]
    closed = subprocess.run(
        ["bash", "-c", '"$@" <&-', "bash", *tool], capture_output=True, text=True, timeout=60
    )
    assert closed.returncode == 2
    assert closed.stderr.count("\n") == 1
    assert "stdin is closed" in closed.stderr


# -------------------------------------------------------------------------------------------------
# No command writes over an input, whatever it is called; no name promises another format.


Run = Callable[..., SimpleNamespace]

KEPT = "inputs are never overwritten"


@pytest.fixture
def inputs(experiment: SimpleNamespace, tmp_path: Path) -> Path:
    """Folder with copies of a shift table, predictions, feature stores and a model, and links."""
    folder = tmp_path / "inputs"
    folder.mkdir()
    for name in ("shift", "predictions"):
        shutil.copy(getattr(experiment, name), folder / f"{name}.parquet")
    for name in ("plain", "dark"):
        shutil.copytree(getattr(experiment, name), folder / f"{name}.zarr")
    shutil.copytree(experiment.baseline, folder / "runs" / "a" / "fold0")
    (folder / "link.parquet").symlink_to("shift.parquet")
    (folder / "link").symlink_to(folder, target_is_directory=True)
    os.link(folder / "shift.parquet", folder / "hard.parquet")
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


STORES = ("hellinger", "plain.zarr", "dark.zarr", "--permutations", "0")
PREDICT = ("predict", "runs/a/fold0", "--data", "{data}")

ONTO_INPUTS = {
    "a numbers table": ("report", "shift-numbers.parquet", "-o", "shift.html"),
    "through a link": ("hellinger", "plain.zarr", "dark.zarr", "-o", "link/plain.zarr"),
    "from a link": ("hellinger", "link/plain.zarr", "dark.zarr", "-o", "plain.zarr"),
    "with dots": (*STORES, "-o", "link/../inputs/dark.zarr"),
    "absolute": (*STORES, "-o", "{here}/dark.zarr/"),
    "inside a store": (*STORES, "-o", "plain.zarr/zarr.json"),
    "a model's history": (*PREDICT, "-o", "runs/a/fold0/history.parquet"),
    "of a folder of models": (
        "predict",
        "runs",
        *PREDICT[2:],
        "-o",
        "runs/a/fold0/history.parquet",
    ),
    "masks onto data": (*PREDICT, "-o", "new.parquet", "--masks", "{data}"),
    "overlays onto models": (
        "predict",
        "runs",
        *PREDICT[2:],
        "-o",
        "n.parquet",
        "--overlays",
        "runs",
    ),
    "figures onto tables": ("report", "report.parquet", "--figures", "."),
    "training onto its weights": (
        "train",
        "{data}",
        "--fold",
        "0",
        "--epochs",
        "1",
        "-o",
        "own",
        "--encoder-weights",
        "own/resnet18-L0/fold0/model.safetensors",
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("case", ONTO_INPUTS)
def test_inputs_are_not_overwritten(
    case: str,
    inputs: Path,
    run: Run,
    experiment: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(inputs)
    shutil.copy("shift.parquet", "report.parquet")
    shutil.copy("shift.parquet", "shift-numbers.parquet")
    shutil.copytree("runs/a/fold0", "own/resnet18-L0/fold0")
    before, data = tree(inputs), tree(experiment.data)
    words = [word.format(data=experiment.data, here=inputs) for word in ONTO_INPUTS[case]]
    found = run(*words, "--overwrite")
    after = tree(inputs)
    assert {name: after.get(name) for name in before} == before
    assert tree(experiment.data) == data
    assert found.code == 2, found
    assert "input of this command" in found.line()


def test_inputs_from_stdin_are_not_overwritten(
    inputs: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(inputs)
    shutil.copy("shift.parquet", "shift-numbers.parquet")
    before = tree(inputs)
    found = run("report", "-", "-o", "shift.html", "--overwrite", stdin="shift-numbers.parquet\n")
    assert found.code == 2
    assert KEPT in found.line()
    assert tree(inputs) == before


@pytest.mark.long
def test_page_does_not_overwrite_a_table_of_its_name(
    inputs: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(inputs)
    before = (inputs / "shift.parquet").read_bytes()
    for _ in range(2):  # the second time over its own outputs
        found = run(
            "report", "predictions.parquet", "shift.parquet", "-o", "shift.html", "--overwrite"
        )
        assert found.code == 0, found
        assert (inputs / "shift.parquet").read_bytes() == before
        assert (inputs / "shift-numbers.parquet").is_file()


@pytest.mark.long
@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (("report", "shift.parquet", "-o", "r.pdf"), ".pdf"),
        (("report", "shift.parquet", "-o", "r.PNG"), ".png"),
        (("report", "shift.parquet", "-o", "r.parquet"), ".parquet"),
        (("report", "shift.parquet", "--figures", "f.svg"), ".svg"),
        ((*PREDICT, "-o", "zz.csv"), ".csv"),
        ((*PREDICT, "-o", "zz.tsv.gz"), ".gz"),
        ((*PREDICT, "-o", "zz.parquet", "--masks", "m.png"), ".png"),
        (("features", "runs", "--data", "{data}", "-o", "f.npy"), ".npy"),
        ((*STORES, "-o", "shift.xlsx"), ".xlsx"),
        ((*STORES, "-o", "shift.html"), ".html"),
        (("synth", "--n", "4", "-o", "s.h5"), ".h5"),
        (("train", "{data}", "-o", "runs.pt"), ".pt"),
        (("extract", "images", "m.csv", "-o", "d.nii"), ".nii"),
    ],
)
def test_suffixes_of_other_formats_are_refused(
    words: tuple[str, ...],
    wrong: str,
    inputs: Path,
    run: Run,
    experiment: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(inputs)
    before = tree(inputs)
    found = run(*(word.format(data=experiment.data) for word in words))
    assert found.code == 2
    assert f"the suffix {wrong} promises another format" in found.line()
    assert tree(inputs) == before


@pytest.mark.long
@pytest.mark.parametrize("name", ["shift-0.5", "shift", "shift.PARQUET", "shift.v2"])
def test_other_suffixes_are_accepted(
    name: str, inputs: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(inputs)
    assert run(*STORES, "-o", name).code == 0


def test_outputs_of_every_command_are_listed(run: Run) -> None:
    assert {name.partition(" ")[0] for name in WRITTEN} == {*ORDER} - {"info"}


def test_outputs_are_not_inputs() -> None:
    given = {"models": ["a", "-"], "data": Path("d.zarr"), "masks": Path("m.zarr"), "out": "o"}
    assert typed_inputs("predict", given) == ["a", "d.zarr"]
    assert typed_inputs("extract images", {"images": Path("i"), "masks": Path("m")}) == ["i", "m"]
    assert typed_inputs("extract wsi", {"manifest": "m.csv", "mask": "model:runs"}) == [
        "m.csv",
        "runs",
    ]
