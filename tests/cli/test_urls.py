"""Inputs and outputs at URLs, and what is said where only local paths will do."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from remote_hosts import fail, in_memory, serving
from small_stores import flip

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

pytest.importorskip("aiohttp", reason="http:// needs aiohttp (extra remote)")

Run = Callable[..., Any]


@pytest.fixture
def web(experiment: SimpleNamespace, tmp_path: Path) -> Iterator[SimpleNamespace]:
    """Serve a folder with a table of each kind, stores, models, arrays: what `serving` yields."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "runs").symlink_to(experiment.folder / "runs", target_is_directory=True)
    for name in ("predictions", "shift"):
        shutil.copy(getattr(experiment, name), folder / f"{name}.parquet")
    shutil.copy(experiment.baseline / "history.parquet", folder)
    for name in ("plain", "data", "masks"):
        shutil.copytree(getattr(experiment, name), folder / f"{name}.zarr")
    rng = np.random.default_rng(0)
    np.save(folder / "a.npy", rng.normal(size=(20, 3, 4)).astype(np.float32))
    np.save(folder / "b.npy", np.asfortranarray(rng.normal(1.0, size=(15, 3, 4))))
    np.save(folder / "i.npy", np.arange(12).reshape(6, 2))
    np.save(folder / "o.npy", np.array([{}, {}]), allow_pickle=True)
    huge = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 9), }"
    (folder / "huge.npy").write_bytes(b"\x93NUMPY\x01\x00" + bytes([len(huge), 0]) + huge)
    (folder / "torn.parquet").write_bytes((folder / "shift.parquet").read_bytes()[:-100])
    with serving(folder) as host:
        yield host


@pytest.fixture
def memory(experiment: SimpleNamespace) -> Iterator[AbstractFileSystem]:
    """File system in memory with data, a model and features below ``/in``."""
    with in_memory() as files:
        files.put(str(experiment.data), "/in/s.zarr", recursive=True)
        for name in ("config.json", "model.safetensors", "history.parquet"):
            files.put(str(experiment.pruned / name), f"/in/runs/a/fold0/{name}")
        for name in ("plain_pruned", "dark_pruned"):
            files.put(str(getattr(experiment, name)), f"/in/feats/{name}.zarr", recursive=True)
        yield files


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of temporary files; nothing is left in it at the end of a test."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def alike(first: Path, second: Path) -> None:
    """Compare two tables but for what they say of their invocation."""
    tables = [pq.read_table(path).replace_schema_metadata(None) for path in (first, second)]
    assert tables[0].equals(tables[1])


CHEAP = ("--device", "cpu", "--precision", "32")


@pytest.mark.long
def test_page_of_remote_tables(run: Run, web: SimpleNamespace, tmp_path: Path) -> None:
    names = ("predictions", "shift", "history")
    out, here = tmp_path / "r.html", tmp_path / "here.html"
    found = run("report", *(f"{web.host}/{name}.parquet" for name in names), "-o", out)
    assert (found.code, found.out) == (0, f"{out}\n"), found
    run("report", *(web.folder / f"{name}.parquet" for name in names), "-o", here)
    tables = [pq.read_table(path.with_name(f"{path.stem}-numbers.parquet")) for path in (out, here)]
    assert tables[0].equals(tables[1])
    command = run("info", tmp_path / "r-numbers.parquet", "--command").out
    assert command.startswith(f"skiptool report {web.host}/predictions.parquet")
    mixed = run("report", f"{web.host}/predictions.parquet", web.folder / "data.zarr", "-o", here,
                "--overwrite")  # fmt: skip
    assert mixed.code == 0


@pytest.mark.long
def test_remote_arrays_equal_local_ones(run: Run, web: SimpleNamespace) -> None:
    here = run("hellinger", web.folder / "a.npy", web.folder / "b.npy").rows()
    there = run("hellinger", f"{web.host}/a.npy?token=x", f"{web.host}/b.npy").rows()
    assert there == here
    file = f"file://{web.folder}/a.npy"
    assert run("hellinger", file, f"{web.host}/b.npy").rows() == here


@pytest.mark.long
def test_remote_data_and_models(
    run: Run, web: SimpleNamespace, experiment: SimpleNamespace, tmp_path: Path, temporary: Path
) -> None:
    """The same numbers, ids and names as on this machine; only the host gets the password."""
    host = web.host.replace("//", "//me:secret@")
    model, data = f"{host}/runs/resnet18-L1/fold0?sig=secret", f"{host}/data.zarr?sig=secret"
    shift = ("--shift", "original", "--shift", "brightness=0.5")
    out = tmp_path / "p.parquet"
    found = run("predict", "-", "--data", data, *shift, "-o", out, *CHEAP, stdin=f"{model}\n")
    assert (found.code, found.out) == (0, f"{out}\n"), found
    shutil.copytree(experiment.data, tmp_path / "data.zarr")
    here = tmp_path / "here.parquet"
    run("predict", experiment.pruned, "--data", tmp_path / "data.zarr", *shift, "-o", here, *CHEAP)
    alike(out, here)
    inputs = [run("info", path, "--json").json["summary"][str(path)] for path in (out, here)]
    assert inputs[0]["lineage"]["id"] == inputs[1]["lineage"]["id"]
    command = run("info", out, "--command").out
    assert command.startswith(f"skiptool predict {web.host}/runs/resnet18-L1/fold0 --shift")
    assert f"--data {web.host}/data.zarr " in command
    feats = tmp_path / "f.zarr"
    made = run("features", model, "--data", data, "--layers", "enc1,head", "-o", feats)
    assert (made.code, made.out) == (0, f"{feats}\n"), made
    again = run("hellinger", feats, experiment.plain_pruned, "--permutations", "0").rows()
    assert [row["value"] for row in again] == ["0.0", "0.0"]
    assert f"{web.host}/data.zarr: is read over the network" in found.err
    for text in (found.err, made.err, inputs[0]["lineage"]["command"]):
        assert "secret" not in text
    assert {header for _, header in web.requests if header} == {"Basic bWU6c2VjcmV0"}
    assert not [*temporary.iterdir()]


@pytest.mark.long
def test_training_copies_remote_data(
    run: Run, web: SimpleNamespace, experiment: SimpleNamespace, tmp_path: Path, temporary: Path
) -> None:
    words = ("--encoder-weights", "none", "--epochs", "1", "--fold", "0", "--prune", "1", *CHEAP)
    asked = ("train", f"{web.host}/data.zarr", *words, "--encoder", "tu-mobilenetv3_small_050")
    dry = run(*asked, "-o", tmp_path / "runs", "--dry-run")
    assert dry.code == 0, dry
    assert not [path for path, _ in web.requests if "/images/c/" in path]
    found = run(*asked, "-o", tmp_path / "runs")
    assert found.code == 0, found
    assert f"{web.host}/data.zarr: domain synthetic: " in found.err
    assert "the copy is removed at the end" in found.err
    assert not [*temporary.iterdir()]
    folder = tmp_path / "runs/tu-mobilenetv3_small_050-L1/fold0"
    assert found.out == f"{folder}\n"
    here = run(asked[0], experiment.data, *asked[2:], "-o", tmp_path / "here")
    weights = [Path(each.out.strip(), "model.safetensors").read_bytes() for each in (found, here)]
    assert weights[0] == weights[1]
    command = run("info", folder, "--command").out
    assert command.startswith(f"skiptool train {web.host}/data.zarr")
    again = run(*asked, "-o", tmp_path / "runs", "--resume")
    assert (again.code, again.out) == (0, found.out)


@pytest.mark.long
def test_remote_outputs(run: Run, memory: AbstractFileSystem, temporary: Path) -> None:
    """Everything behind URLs, from one command to the next."""
    there = "memory://out"
    given = ("--data", "memory://in/s.zarr", "--device", "cpu")
    predict = ("predict", "memory://in/runs", *given, "-o", f"{there}/p.parquet")
    sides = ("--masks", f"{there}/m.zarr", "--overlays", f"{there}/o", "--overlay-count", "1")
    made = run(*predict, *sides, "--precision", "32", "--json")
    assert made.code == 0, made
    assert made.json["outputs"] == [f"{there}/p.parquet"]
    assert made.json["side_outputs"] == [f"{there}/m.zarr", f"{there}/o"]
    both = ("--shift", "original", "--shift", "brightness=0.5", "--layers", "enc1,head")
    feats = run("features", "memory://in/runs/a/fold0", *given, *both, "-o", f"{there}/f/")
    assert feats.lines == [
        f"{there}/f/resnet18-L1-fold0_synthetic_{shift}.zarr"
        for shift in ("original", "brightness-0.5")
    ]
    shift = run("hellinger", f"{there}/f", "-o", f"{there}/s.parquet", "--permutations", "0")
    assert (shift.code, shift.out) == (0, f"{there}/s.parquet\n"), shift
    page = run("report", "-", f"{there}/m.zarr", "memory://in/s.zarr", "-o", f"{there}/r.html",
               "--figures", f"{there}/figs", "--format", "svg",
               stdin=f"{there}/p.parquet\n{there}/s.parquet\n")  # fmt: skip
    assert (page.code, page.out) == (0, f"{there}/r.html\n"), page
    names = {path for path in memory.store if path.startswith("/out/figs/")}
    assert names
    assert all(path.endswith(".svg") for path in names)
    assert "/out/r-numbers.parquet" in memory.store
    assert b"/tmp" not in memory.cat("/out/r.html")
    assert str(temporary) not in (page.err + made.err).replace(f"in {temporary} first", "")
    found = run("info", there, "memory://in", "--check", "--json")
    assert found.code == 0, found
    ours = [f"memory://in/feats/{name}_pruned.zarr" for name in ("plain", "dark")]
    kinds = {name: entry["kind"] for name, entry in found.json["summary"].items()}
    assert kinds == {
        f"{there}/m.zarr": "masks",
        f"{there}/o": "overlays",
        f"{there}/p.parquet": "predictions",
        f"{there}/r-numbers.parquet": "report",
        f"{there}/s.parquet": "shift",
        **dict.fromkeys([*feats.lines, *ours], "features"),
        "memory://in/runs/a/fold0": "model",
        "memory://in/s.zarr": "dataset",
    }
    assert all("every byte read" in entry["check"] for entry in found.json["summary"].values())
    command = found.json["summary"][f"{there}/p.parquet"]["lineage"]["command"]
    assert f"--out {there}/p.parquet --masks {there}/m.zarr --overlays {there}/o" in command
    before = dict(memory.store)
    again = run(*predict)
    assert (again.code, "memory://out/p.parquet: exists already" in again.line()) == (4, True)
    assert memory.store == before
    assert not [*temporary.iterdir()]


@pytest.mark.long
def test_remote_counts_stores(run: Run, memory: AbstractFileSystem, temporary: Path) -> None:
    """Ranges are read where stores join them."""
    given = ("features", "memory://in/runs", "--data", "memory://in/s.zarr", "--device", "cpu")
    asked = (*given, "--layers", "enc1", "--counts", "-o", "memory://c")
    assert run(*asked, "--shift", "original").code == 0
    added = run(*asked, "--shift", "brightness=0.5", "--ranges", "memory://c")
    assert (added.code, len(added.lines)) == (0, 1), added
    (row,) = run("hellinger", "memory://c", "--permutations", "0").rows()
    whole = run("info", "memory://c", "--check", "--json").json["summary"]
    assert [entry["kind"] for entry in whole.values()] == ["counts", "counts"]
    assert float(row["value"]) > 0
    assert not [*temporary.iterdir()]


@pytest.mark.long
def test_remote_datasets_are_written(run: Run, memory: AbstractFileSystem, pictures: Path) -> None:
    asked = ("extract", "images", pictures / "manifest.csv", "--folds", "2", "-o")
    dry = run(*asked, "memory://d/x.zarr", "--dry-run")
    assert (dry.code, [path for path in memory.store if path.startswith("/d/")]) == (0, [])
    found = run(*asked, "memory://d/x.zarr")
    assert (found.code, found.out) == (0, "memory://d/x.zarr\n"), found
    assert [path for path in memory.store if path.startswith("/d/x-qc/")]
    assert run("info", "memory://d/x.zarr", "--json").json["summary"]["memory://d/x.zarr"][
        "domains"
    ].keys() == {"A", "B"}
    made = run("synth", "--n", "6", "--size", "32", "--canvas", "300", "--cells", "1:2", "--folds",
               "2", "-o", "memory://d/s.zarr")  # fmt: skip
    assert (made.code, made.out) == (0, "memory://d/s.zarr\n"), made
    assert "wrote memory://d/x-qc" in found.err


@pytest.mark.long
def test_info_of_remote_artifacts(run: Run, web: SimpleNamespace) -> None:
    names = ("shift.parquet", "plain.zarr", "data.zarr", "masks.zarr", "a.npy")
    for name in (*names, "runs/resnet18-L0/fold0"):
        there = run("info", f"{web.host}/{name}", "--json").json["summary"]
        here = run("info", web.folder / name, "--json").json["summary"]
        assert [*there] == [f"{web.host}/{name}"]
        (there,), (here,) = there.values(), here.values()
        if name == "a.npy":
            there["id"], here["id"] = None, None
        assert there == here
    local = run("info", f"file://{web.folder}/data.zarr", "--json").json["summary"]
    assert [entry["kind"] for entry in local.values()] == ["dataset"]


def test_unreachable_host(run: Run, web: SimpleNamespace) -> None:
    found = run("info", "http://127.0.0.1:9/runs", f"{web.host}/shift.parquet", "--json")
    assert found.code == 3
    assert [*found.json["summary"]] == [f"{web.host}/shift.parquet"]
    (line,) = found.json["failures"]
    assert line.startswith("http://127.0.0.1:9/runs/zarr.json: cannot be fetched")


def test_remote_damage_is_found(run: Run, web: SimpleNamespace, temporary: Path) -> None:
    whole = run("info", f"{web.host}/data.zarr", "--check")
    assert whole.code == 0
    assert "every byte read, checksums and seals hold" in whole.out
    (file,) = web.folder.glob("data.zarr/synthetic/images/c/1/0/0/0")
    flip(file, 3)
    found = run("info", f"{web.host}/data.zarr", "--check")
    assert found.code == 1
    assert found.line().startswith(
        f"skiptool info: {web.host}/data.zarr: damaged: domain synthetic"
    )
    assert str(temporary) not in found.err
    assert not [*temporary.iterdir()]


@pytest.mark.long
def test_host_that_disconnects(run: Run, web: SimpleNamespace, tmp_path: Path) -> None:
    web.answers["/masks/c/"] = fail(503)
    out = tmp_path / "p.parquet"
    model = web.folder / "runs/resnet18-L1/fold0"
    found = run("predict", model, "--data", f"{web.host}/data.zarr", "-o", out, *CHEAP, "-q")
    assert found.code == 1
    assert f"{web.host}/data.zarr: domain synthetic, sample" in found.line()
    assert "cannot be fetched (the server answers 503 Service Unavailable)" in found.line()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith((".", "p."))] == []


@pytest.mark.parametrize(
    ("words", "code", "fragment"),
    [
        (("report", "{host}/gone.parquet"), 1, "{host}/gone.parquet: no such file"),
        (("report", "{host}/torn.parquet"), 1, "{host}/torn.parquet: not a Parquet file, or tr"),
        (("report", "{host}/data.zarr"), 1, "data.zarr: no numbers to print"),
        (("report", "{host}/plain.zarr"), 1, "{host}/plain.zarr: of kind features, which has no"),
        (("report", "http:/me:secret@h/a.parquet"), 2, "http:/.../a.parquet: a URL has two slash"),
        (("report", "http://127.0.0.1:9/a.parquet"), 1, "cannot be fetched"),
        (("report", "nonsense://a/b.parquet"), 2, "nonsense://a/b.parquet: not a readable address"),
        (("info", "{host}/gone.zarr"), 1, "{host}/gone.zarr: not a Zarr group"),
        (("info", "{host}/gone"), 1, "{host}/gone: not a Zarr group"),
        (("info", "{host}/gone.zarr", "--check"), 1, "{host}/gone.zarr: not a Zarr group"),
        (("hellinger", "{host}/gone"), 1, "{host}/gone: nothing of skiptool is there, and a web"),
        (("hellinger", "{host}/i.npy", "{host}/a.npy"), 1, "i.npy: is (6, 2) int64"),
        (("hellinger", "{host}/o.npy", "{host}/a.npy"), 1, "it holds Python objects"),
        (("hellinger", "{host}/huge.npy", "{host}/a.npy"), 1, "huge.npy: cannot be read"),
        (("hellinger", "{host}/shift.parquet", "{host}/a.npy"), 1, "shift.parquet"),
        (("train", "{host}/gone.zarr"), 1, "{host}/gone.zarr: not a Zarr group"),
        (("predict", "{host}/runs", "--data", "{host}/data.zarr"), 1, "give the URL of each model"),
        (("predict", "{host}/a", "--data", "{host}/shift.parquet"), 1, "shift.parquet: not a Zarr"),
        (("features", "runs", "--data", "gs://b/d.zarr"), 2, "gs://b/d.zarr: needs a package"),
        (("features", "runs", "--data", "https:/host/d.zarr"), 2, "https:/.../d.zarr: a URL has"),
        (
            ("extract", "images", "s3://b/m.csv"),
            2,
            "s3://.../m.csv: is read from a local disk only",
        ),
        (("extract", "wsi", "m.csv", "--mask", "model:s3://b/r"), 2, "s3://.../r: is read from a"),
        (
            ("train", "d.zarr", "--encoder-weights", "s3://b/w.pth"),
            2,
            "w.pth: is read from a local",
        ),
        (("study", "d.zarr", "--models", "{host}/runs"), 2, "runs: is read from a local disk only"),
        (("train", "d.zarr", "-o", "s3://b/runs"), 2, "--out is written to a local disk only"),
        (("study", "d.zarr", "-o", "s3://b/study"), 2, "--out is written to a local disk only"),
        (("extract", "images", "--images", "{host}/i", "--masks", "m"), 2, "is read from a local"),
        (
            ("report", "t.parquet", "-o", "https://me:secret@h/r.html?sig=secret"),
            2,
            "--out https://h/r.html: web servers are for reading only",
        ),
        (("synth", "-o", "memory://s.zarr", "--resume"), 2, "--resume continues an output on"),
        (("synth", "-o", "s3:/b/s.zarr"), 2, "s3:/.../s.zarr: a URL has two slashes"),
        (("synth", "-o", "memory://s.png"), 2, "--out memory://s.png: the suffix .png promises"),
        (("synth", "--export", "png", "s3://b/pairs"), 2, "--export is written to a local disk"),
        (
            ("predict", "r", "--data", "memory://d.zarr", "-o", "p", "--masks", "memory://d.zarr"),
            2,
            "--masks memory://d.zarr: is an input of this command",
        ),
        (
            ("predict", "r", "--data", "d", "-o", "memory://p", "--overlays", "memory://p/"),
            2,
            "--overlays memory://p/: is the same as --out",
        ),
    ],
)
def test_invalid_arguments_are_reported_in_one_line(
    words: tuple[str, ...],
    code: int,
    fragment: str,
    run: Run,
    web: SimpleNamespace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    found = run(*(word.format(host=web.host) for word in words))
    assert found.code == code, found
    assert fragment.format(host=web.host) in found.line()
    assert "http:/1" not in found.err
    assert not [*(tmp_path / "temporary").iterdir()]
    assert "secret" not in found.err
    assert {path.name for path in tmp_path.iterdir()} == {"served", "temporary"}
