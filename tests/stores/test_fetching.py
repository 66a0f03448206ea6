"""Models, stores and overlays fetched from URLs: whole, without a list, and never too much."""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from remote_hosts import fail, in_memory, serving
from skiptool.errors import FormatError, SourceError
from skiptool.names import Kind
from skiptool.stores import fetching
from skiptool.stores.addresses import below, parent_of
from skiptool.stores.checkpoint import open_model
from skiptool.stores.copies import copies_held, shown
from skiptool.stores.dataset import open_dataset
from skiptool.stores.fetching import (
    entries_at,
    fetch_artifact,
    fetch_models,
    is_folder_at,
    with_copy,
)
from skiptool.stores.remote import RemoteFolder
from skiptool.stores.runs import feature_folder, model_folders, model_places
from skiptool.stores.soundness import check_sound
from skiptool.stores.unchanged import check_unchanged
from small_artifacts import write_small_model
from small_stores import flip, refused, unseal

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

pytest.importorskip("aiohttp", reason="http:// needs aiohttp (extra remote)")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a model, ``m/fold0``, without its 100 tensors' worth of training."""
    folder = tmp_path_factory.mktemp("models")
    write_small_model(folder / "m/fold0")
    return folder


@pytest.fixture
def web(made: Path, dataset: Path) -> Iterator[SimpleNamespace]:
    """Serve a folder with ``d.zarr`` and ``m/fold0``: what `serving` yields."""
    shutil.copytree(made / "m", dataset.parent / "m")
    with serving(dataset.parent) as host:
        yield host


@pytest.fixture
def memory(made: Path, dataset: Path, features: Path) -> Iterator[AbstractFileSystem]:
    """File system in memory with models, stores, a table and a hidden folder below ``/all``."""
    with in_memory() as files:
        for name in ("a/fold0", "a/fold1", "b/fold10", "b/fold9", "b/.c.partial"):
            files.put(str(made / "m/fold0"), f"/all/runs/{name}", recursive=True)
        files.put(str(dataset), "/all/d.zarr", recursive=True)
        files.put(str(features), "/all/f.zarr", recursive=True)
        files.put(str(features), "/all/deep/g.zarr", recursive=True)
        files.pipe("/all/t.parquet", b"PAR1")
        yield files


def names(folder: Path) -> list[str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in files)


def test_a_model_from_a_web_server(web: SimpleNamespace, made: Path) -> None:
    url = f"{web.host.replace('//', '//me:secret@')}/m/fold0?sig=secret"
    with copies_held():
        (folder,) = model_folders([url])
        found, local = open_model(folder), open_model(made / "m/fold0")
        assert (found.id, found.name, found.config) == (local.id, local.name, local.config)
        tensors = found.tensors()
        assert all((tensors[name] == each).all() for name, each in local.tensors().items())
        assert names(folder) == ["config.json", "model.safetensors"]
        assert shown(f"{folder}: is a model") == f"{web.host}/m/fold0: is a model"
        flip(folder / "model.safetensors")
        with refused(FormatError, folder, "weights are not as written"):
            open_model(folder).tensors()
    assert not folder.parent.exists()
    assert shown(str(folder)) == str(folder)


def test_a_web_server_lists_no_models(web: SimpleNamespace) -> None:
    where = f"{web.host}/m: no model folder, it has no config.json"
    with refused(FormatError, where, "a web server does not list", "URL of each model folder"):
        fetch_models(f"{web.host}/m")
    web.answers["fold0"] = fail(500)
    with refused(SourceError, f"{web.host}/m/fold0/", "the server answers 500"):
        fetch_models(f"{web.host}/m/fold0")


def test_a_web_server_that_refuses_what_is_not_there(web: SimpleNamespace) -> None:
    """Buckets behind https do where listing is not allowed."""
    web.answers[r"zarr\.json|zgroup|zarray|last\.ckpt"] = fail(403)
    with copies_held():
        assert open_model(fetch_models(f"{web.host}/m/fold0")[0]).fold == 0
        assert "history.parquet" in names(fetch_artifact(f"{web.host}/m/fold0"))
    with refused(SourceError, f"{web.host}/gone/zarr.json", "the server answers 403"):
        fetch_models(f"{web.host}/gone")


@pytest.mark.long
def test_a_copy_that_nothing_holds_is_there_until_the_end(memory: AbstractFileSystem) -> None:
    (folder,) = fetch_models("memory://all/runs/a/fold0")
    gc.collect()
    assert open_model(folder).fold == 0
    shutil.rmtree(folder.parent)


def test_models_below_a_folder(memory: AbstractFileSystem, made: Path) -> None:
    with copies_held():
        found = model_folders(["memory://all/runs", made])
        where = [shown(str(folder)) for folder in found[:-1]]
        assert where == [
            f"memory://all/runs/{name}" for name in ("a/fold0", "a/fold1", "b/fold9", "b/fold10")
        ]
        assert found[-1] == made / "m/fold0"
        assert len({open_model(folder).id for folder in found}) == 1
        urls = model_places(["memory://all/runs", made])
    assert urls == [*where, made / "m/fold0"]
    for url, words in (
        ("memory://all/d.zarr", "no model folder, and none is below it"),
        ("memory://all/deep", "no model folder, and none is below it"),
        ("memory://gone", "no such file"),
    ):
        with refused(FormatError, url, words):
            fetch_models(url)


def test_stores_below_a_folder(memory: AbstractFileSystem) -> None:
    """Models are none, other kinds are counted, as on this machine."""
    memory.pipe("/all/.x.zarr.partial/zarr.json", b"{}")
    memory.pipe("/all/runs/v.npy", b"")
    expected = ["memory://all/deep/g.zarr", "memory://all/f.zarr"]
    assert feature_folder("memory://all") == (
        expected,
        ("1 unfinished", "1 of kind dataset", "1 .npy files"),
    )
    kinds = dict(entries_at("memory://all"))
    assert kinds["memory://all/runs/a/fold0"] == "config.json"
    assert kinds["memory://all/t.parquet"] is None
    assert kinds["memory://all/.x.zarr.partial"] == ""
    assert [is_folder_at(f"memory://all{name}") for name in ("", "/f.zarr", "/t.parquet")] == [
        *(True, False, False)
    ]
    with refused(FormatError, "http://127.0.0.1:9/x: nothing", "a web server does not list"):
        feature_folder("http://127.0.0.1:9/x")


def test_a_copy_holds_one_domain(web: SimpleNamespace, dataset: Path) -> None:
    lines: list[str] = []
    store, local = open_dataset(f"{web.host}/d.zarr"), open_dataset(dataset)
    with copies_held():
        copied = with_copy(store, "a", told(lines))
        assert copied.copy is not None
        assert {name.partition("/")[0] for name in names(copied.copy)} == {"a", "zarr.json"}
        del web.requests[:]
        rows = range(20)
        for part, expected in zip(
            *(each.samples("a", rows).read_many(rows) for each in (copied, local)), strict=True
        ):
            np.testing.assert_array_equal(part, expected)
        check_unchanged(copied)
        assert web.requests == []
        chunks = [*dataset.glob("a/images/c/*/0/0/0"), *dataset.glob("a/masks/c/*/0/0")]
        size = sum(path.stat().st_size for path in chunks)
        (line,) = lines
        assert line.startswith(f"{web.host}/d.zarr: domain a: {size:,} bytes are copied to")
        flip(next(p for p in (copied.copy / "a/images/c").rglob("*") if p.is_file()), 3)
        with refused(FormatError, f"{web.host}/d.zarr: domain a, sample 0", "damaged"):
            copied.samples("a", [0]).read(0)
    assert not copied.copy.exists()
    assert with_copy(local, "a", told(lines)) is local


def told(lines: list[str]) -> SimpleNamespace:
    """Return a Progress that keeps its lines."""
    from skiptool.records import SILENT

    return SimpleNamespace(say=lines.append, task=SILENT.task)


def test_a_copy_lacks_what_is_lost(web: SimpleNamespace, dataset: Path) -> None:
    store = open_dataset(f"{web.host}/d.zarr")
    shutil.rmtree(dataset / "a/images/c/1")
    with copies_held():
        copied = with_copy(store, "a", told([]))
        with refused(FormatError, f"{web.host}/d.zarr: domain a", "chunk c/1/0/0/0 is missing"):
            copied.samples("a", [0]).read(0)
    web.answers["/masks/c/1"] = fail(503)
    with copies_held(), refused(SourceError, f"{web.host}/d.zarr/a/masks", "answers 503"):
        with_copy(store, "a", told([]))


def test_a_copy_leaves_space(web: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    room = fetching._SPARED + 2000
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda _: SimpleNamespace(free=room))
    store = open_dataset(f"{web.host}/d.zarr")
    with copies_held(), refused(SourceError, "bytes are copied to", f"{room:,} are free", "TMPDIR"):
        with_copy(store, "a", told([]))


def test_whole_stores_without_a_list(web: SimpleNamespace, dataset: Path) -> None:
    with copies_held():
        copy = fetch_artifact(f"{web.host}/d.zarr")
        assert names(copy) == names(dataset)
        assert check_sound(copy, Kind.DATASET)
        model = fetch_artifact(f"{web.host}/m/fold0")
        assert names(model) == names(dataset.parent / "m/fold0")
        assert not fetch_artifact(f"{web.host}/gone").exists()
        unseal(dataset)
        with refused(FormatError, f"{web.host}/d.zarr: has no seal", "copy it here first"):
            fetch_artifact(f"{web.host}/d.zarr")


def test_whole_stores_from_a_list(memory: AbstractFileSystem, dataset: Path) -> None:
    memory.pipe("/all/d.zarr/strange", b"")
    with copies_held():
        assert names(fetch_artifact("memory://all/d.zarr")) == sorted([*names(dataset), "strange"])


def test_names_lead_nowhere_else(web: SimpleNamespace, dataset: Path, tmp_path: Path) -> None:
    """Whoever makes an artifact must not write beside the copy of it."""
    seal = json.loads((dataset / "zarr.json").read_text())
    seal["attributes"]["seal"]["../../stolen"] = "0" * 8
    (dataset / "zarr.json").write_text(json.dumps(seal))
    (tmp_path / "o").mkdir()
    index = {"pictures": [{"file": "../../stolen.png"}, {"file": "/stolen.png"}]}
    (tmp_path / "o/overlays.json").write_text(json.dumps(index))
    with copies_held():
        with refused(FormatError, "'../../stolen/zarr.json' is no name of a file"):
            fetch_artifact(f"{web.host}/d.zarr")
        copy = fetch_artifact(f"{web.host}/o")
        assert names(copy.parent) == ["o/overlays.json"]
    for name in ("..", "a/../b", "a//b", "/a", ""):
        with refused(FormatError, "is no name of a file"):
            RemoteFolder(web.host).fetch(name, tmp_path / "x")


def test_a_store_of_too_many_chunks(web: SimpleNamespace, dataset: Path) -> None:
    file = dataset / "a/images/zarr.json"
    found = json.loads(file.read_text())
    found["shape"][0] = 10**12
    file.write_text(json.dumps(found))
    with copies_held(), refused(FormatError, f"{web.host}/d.zarr: a/images/", "chunks; make it"):
        fetch_artifact(f"{web.host}/d.zarr")


def test_addresses() -> None:
    assert below("s3://b", "c/d") == "s3://b/c/d"
    assert parent_of("https://host/a/b/?sig=x/y") == "https://host/a"
