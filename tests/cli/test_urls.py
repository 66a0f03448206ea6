"""Tables, stores and arrays behind URLs, and what is said where only local paths will do."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

pytest.importorskip("aiohttp", reason="http:// needs aiohttp (extra remote)")

Run = Callable[..., Any]


@pytest.fixture
def web(experiment: SimpleNamespace, tmp_path: Path) -> Iterator[SimpleNamespace]:
    """Serve a folder with a table of each kind, stores, arrays: ``host``, ``folder``."""
    folder = tmp_path / "served"
    folder.mkdir()
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


def test_a_page_from_tables_elsewhere(run: Run, web: SimpleNamespace, tmp_path: Path) -> None:
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


def test_arrays_elsewhere_are_those_here(run: Run, web: SimpleNamespace) -> None:
    here = run("hellinger", web.folder / "a.npy", web.folder / "b.npy").rows()
    there = run("hellinger", f"{web.host}/a.npy?token=x", f"{web.host}/b.npy").rows()
    assert there == here
    file = f"file://{web.folder}/a.npy"
    assert run("hellinger", file, f"{web.host}/b.npy").rows() == here


def test_info_of_what_lies_elsewhere(run: Run, web: SimpleNamespace) -> None:
    for name in ("shift.parquet", "plain.zarr", "a.npy"):
        there = run("info", f"{web.host}/{name}", "--json").json["summary"]
        here = run("info", web.folder / name, "--json").json["summary"]
        (there,), (here,) = there.values(), here.values()
        there["id"], here["id"] = None, None
        assert there == here
    for name, kind in (("data.zarr", "dataset"), ("masks.zarr", "masks")):
        found = run("info", f"{web.host}/{name}", "--json").json["summary"][f"{web.host}/{name}"]
        assert found["kind"] == kind == found["lineage"]["kind"]
        assert found["classes"] == ["background", "cell"]
    local = run("info", f"file://{web.folder}/data.zarr", "--json").json["summary"]
    assert [entry["kind"] for entry in local.values()] == ["dataset"]


@pytest.mark.parametrize(
    ("words", "code", "fragment"),
    [
        (("report", "{host}/gone.parquet"), 1, "{host}/gone.parquet: no such file"),
        (("report", "{host}/torn.parquet"), 1, "{host}/torn.parquet: no Parquet file, or cut"),
        (("report", "{host}/data.zarr"), 1, "{host}/data.zarr: is a store"),
        (("report", "http://127.0.0.1:9/a.parquet"), 1, "cannot be fetched"),
        (("report", "nonsense://a/b.parquet"), 2, "nonsense://a/b.parquet: no address"),
        (("info", "{host}/gone.zarr"), 1, "{host}/gone.zarr: no Zarr group"),
        (("info", "{host}/data.zarr", "--check"), 1, "--check reads local artifacts only"),
        (("hellinger", "{host}/i.npy", "{host}/a.npy"), 1, "i.npy: is (6, 2) int64"),
        (("hellinger", "{host}/o.npy", "{host}/a.npy"), 1, "it holds Python objects"),
        (("hellinger", "{host}/huge.npy", "{host}/a.npy"), 1, "huge.npy: cannot be read"),
        (("hellinger", "{host}/shift.parquet", "{host}/a.npy"), 1, "shift.parquet"),
        (("train", "{host}/data.zarr"), 2, "data.zarr: only hellinger, report and info read URLs"),
        (("predict", "{host}/runs", "--data", "d.zarr"), 2, "runs: only hellinger"),
        (("predict", "runs", "--data", "{host}/data.zarr"), 2, "data.zarr: is read from a local"),
        (("features", "runs", "--data", "s3://b/d.zarr"), 2, "s3://.../d.zarr: is read from a"),
        (("extract", "images", "--images", "{host}/i", "--masks", "m"), 2, "is read from a local"),
        (
            ("report", "t.parquet", "-o", "s3://b/r.html"),
            2,
            "--out is written to a local disk only",
        ),
        (("synth", "-o", "memory://s.zarr"), 2, "--out is written to a local disk only"),
        (("predict", "runs", "--data", "d.zarr", "--masks", "gs://b/m.zarr"), 2, "--masks is writ"),
        (("predict", "runs", "--data", "https://me:secret@host/d.zarr"), 2, "https://.../d.zarr"),
    ],
)
def test_what_cannot_be_is_one_line(
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
    assert "secret" not in found.err
    assert [path.name for path in tmp_path.iterdir()] == ["served"]
