"""No command writes over an input, whatever it is called; no name promises another format."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from skiptool.cli import ORDER
from skiptool.cli.outputs import WRITTEN, words_read

Run = Callable[..., SimpleNamespace]

KEPT = "no input is written over"


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
        *("train", "{data}", "--fold", "0", "--epochs", "1", "-o", "own"),
        *("--encoder-weights", "own/resnet18-L0/fold0/model.safetensors"),
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("case", ONTO_INPUTS)
def test_no_input_is_written_over(
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


def test_stdin_names_inputs_too(inputs: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(inputs)
    shutil.copy("shift.parquet", "shift-numbers.parquet")
    before = tree(inputs)
    found = run("report", "-", "-o", "shift.html", "--overwrite", stdin="shift-numbers.parquet\n")
    assert found.code == 2
    assert KEPT in found.line()
    assert tree(inputs) == before


@pytest.mark.long
def test_a_page_leaves_the_table_of_its_name(
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
def test_other_names_are_taken(
    name: str, inputs: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(inputs)
    assert run(*STORES, "-o", name).code == 0


def test_every_command_that_writes_says_where(run: Run) -> None:
    assert {name.partition(" ")[0] for name in WRITTEN} == {*ORDER} - {"info"}


def test_options_that_are_written_are_not_read() -> None:
    given = {"models": ["a", "-"], "data": Path("d.zarr"), "masks": Path("m.zarr"), "out": "o"}
    assert words_read("predict", given) == ["d.zarr", "a"]
    assert words_read("extract images", {"images": Path("i"), "masks": Path("m")}) == ["i", "m"]
    assert words_read("extract wsi", {"manifest": "m.csv", "mask": "model:runs"}) == [
        "m.csv",
        "runs",
    ]
