"""Models, stores and overlays fetched from URLs: whole, without a list, and never too much."""

from __future__ import annotations

import gc
import inspect
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from remote_hosts import fail, in_memory, serving
from skiptool.errors import ArgumentError, ExistsError, FormatError, SourceError
from skiptool.names import Kind
from skiptool.records import SILENT, Outcome, Progress
from skiptool.stores import transfers
from skiptool.stores.activations import find_feature_stores
from skiptool.stores.addresses import join_url, parent_url
from skiptool.stores.artifacts import check_unchanged, model_folders, model_places, verify
from skiptool.stores.copies import restore_urls, temporary_copies
from skiptool.stores.dataset import open_dataset
from skiptool.stores.features import open_features
from skiptool.stores.lineage import Invocation
from skiptool.stores.models import open_model
from skiptool.stores.remote import RemoteFolder
from skiptool.stores.staging import OutputType, atomic_output, check_writable, protect_inputs
from skiptool.stores.transfers import (
    entries_below,
    fetch_artifact,
    fetch_domain,
    fetch_models,
    is_folder_at,
    upload,
)
from skiptool.stores.urls import accept_urls
from small_artifacts import write_small_model
from small_stores import flip, refused, unseal

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

pytest.importorskip("aiohttp", reason="http:// needs aiohttp (extra remote)")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a model ``m/fold0``, without training."""
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


def test_model_from_a_web_server(web: SimpleNamespace, made: Path) -> None:
    url = f"{web.host.replace('//', '//me:secret@')}/m/fold0?sig=secret"
    with temporary_copies():
        (folder,) = model_folders([url])
        found, local = open_model(folder), open_model(made / "m/fold0")
        assert (found.id, found.name, found.config) == (local.id, local.name, local.config)
        tensors = found.tensors()
        assert all((tensors[name] == each).all() for name, each in local.tensors().items())
        assert names(folder) == ["config.json", "model.safetensors"]
        assert restore_urls(f"{folder}: is a model") == f"{web.host}/m/fold0: is a model"
        flip(folder / "model.safetensors")
        with refused(FormatError, folder, "weights are not as written"):
            open_model(folder).tensors()
    assert not folder.parent.exists()
    assert restore_urls(str(folder)) == str(folder)


def test_models_are_not_listed_on_a_web_server(web: SimpleNamespace) -> None:
    where = f"{web.host}/m: no model folder, it has no config.json"
    with refused(FormatError, where, "a web server lists no folders", "URL of each model folder"):
        fetch_models(f"{web.host}/m")
    web.answers["fold0"] = fail(500)
    with refused(SourceError, f"{web.host}/m/fold0/", "the server answers 500"):
        fetch_models(f"{web.host}/m/fold0")


def test_web_server_that_denies_access_to_missing_files(web: SimpleNamespace) -> None:
    """As https buckets do if listing is not allowed."""
    web.answers[r"zarr\.json|zgroup|zarray|last\.ckpt"] = fail(403)
    with temporary_copies():
        assert open_model(fetch_models(f"{web.host}/m/fold0")[0]).fold == 0
        assert "history.parquet" in names(fetch_artifact(f"{web.host}/m/fold0"))
    with refused(SourceError, f"{web.host}/gone/zarr.json", "the server answers 403"):
        fetch_models(f"{web.host}/gone")


@pytest.mark.long
def test_copy_outside_of_a_block_stays_until_the_process_ends(memory: AbstractFileSystem) -> None:
    (folder,) = fetch_models("memory://all/runs/a/fold0")
    gc.collect()
    assert open_model(folder).fold == 0
    shutil.rmtree(folder.parent)


def test_models_below_a_folder_are_found(memory: AbstractFileSystem, made: Path) -> None:
    with temporary_copies():
        found = model_folders(["memory://all/runs", made])
        where = [restore_urls(str(folder)) for folder in found[:-1]]
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


def test_stores_below_a_folder_are_found(memory: AbstractFileSystem) -> None:
    """Models are not stores, and other kinds are counted, as in local folders."""
    memory.pipe("/all/.x.zarr.partial/zarr.json", b"{}")
    memory.pipe("/all/runs/v.npy", b"")
    expected = ["memory://all/deep/g.zarr", "memory://all/f.zarr"]
    assert find_feature_stores("memory://all") == (
        expected,
        ("1 unfinished", "1 of kind dataset", "1 .npy files"),
    )
    kinds = dict(entries_below("memory://all"))
    assert kinds["memory://all/runs/a/fold0"] == "config.json"
    assert kinds["memory://all/t.parquet"] is None
    assert kinds["memory://all/.x.zarr.partial"] == ""
    assert [is_folder_at(f"memory://all{name}") for name in ("", "/f.zarr", "/t.parquet")] == [
        True,
        False,
        False,
    ]
    with refused(FormatError, "http://127.0.0.1:9/x: nothing", "a web server lists no folders"):
        find_feature_stores("http://127.0.0.1:9/x")


def test_copy_contains_a_single_domain(web: SimpleNamespace, dataset: Path) -> None:
    lines: list[str] = []
    store, local = open_dataset(f"{web.host}/d.zarr"), open_dataset(dataset)
    with temporary_copies():
        copied = fetch_domain(store, "a", told(lines))
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
        flip(copied.copy / "a/images/c/0/0/0/0", 3)
        with refused(FormatError, f"{web.host}/d.zarr: domain a, sample 0", "damaged"):
            copied.samples("a", [0]).read(0)
    assert not copied.copy.exists()
    assert fetch_domain(local, "a", told(lines)) is local


def told(lines: list[str]) -> SimpleNamespace:
    """Return a Progress that collects its lines."""
    from skiptool.records import SILENT

    return SimpleNamespace(say=lines.append, task=SILENT.task)


def test_copy_lacks_lost_chunks(web: SimpleNamespace, dataset: Path) -> None:
    store = open_dataset(f"{web.host}/d.zarr")
    shutil.rmtree(dataset / "a/images/c/1")
    with temporary_copies():
        copied = fetch_domain(store, "a", told([]))
        with refused(FormatError, f"{web.host}/d.zarr: domain a", "chunk c/1/0/0/0 is missing"):
            copied.samples("a", [0]).read(0)
    web.answers["/masks/c/1"] = fail(503)
    with temporary_copies(), refused(SourceError, f"{web.host}/d.zarr/a/masks", "answers 503"):
        fetch_domain(store, "a", told([]))


def test_copy_leaves_disk_space(web: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    room = transfers._RESERVED_BYTES + 2000
    monkeypatch.setattr(transfers.shutil, "disk_usage", lambda _: SimpleNamespace(free=room))
    store = open_dataset(f"{web.host}/d.zarr")
    with (
        temporary_copies(),
        refused(SourceError, "bytes are copied to", f"{room:,} are free", "TMPDIR"),
    ):
        fetch_domain(store, "a", told([]))


def test_whole_store_is_fetched_without_listing(web: SimpleNamespace, dataset: Path) -> None:
    with temporary_copies():
        copy = fetch_artifact(f"{web.host}/d.zarr")
        assert names(copy) == names(dataset)
        assert verify(copy, Kind.DATASET)
        model = fetch_artifact(f"{web.host}/m/fold0")
        assert names(model) == names(dataset.parent / "m/fold0")
        assert not fetch_artifact(f"{web.host}/gone").exists()
        unseal(dataset)
        with refused(FormatError, f"{web.host}/d.zarr: has no seal", "copy it here first"):
            fetch_artifact(f"{web.host}/d.zarr")


def test_whole_store_is_fetched_by_listing(memory: AbstractFileSystem, dataset: Path) -> None:
    memory.pipe("/all/d.zarr/strange", b"")
    with temporary_copies():
        assert names(fetch_artifact("memory://all/d.zarr")) == sorted([*names(dataset), "strange"])


def test_names_outside_the_folder_are_refused(
    web: SimpleNamespace, dataset: Path, tmp_path: Path
) -> None:
    """The author of an artifact must not be able to write outside of its copy."""
    seal = json.loads((dataset / "zarr.json").read_text())
    seal["attributes"]["seal"]["../../stolen"] = "0" * 8
    (dataset / "zarr.json").write_text(json.dumps(seal))
    (tmp_path / "o").mkdir()
    index = {"pictures": [{"file": "../../stolen.png"}, {"file": "/stolen.png"}]}
    (tmp_path / "o/overlays.json").write_text(json.dumps(index))
    with temporary_copies():
        with refused(FormatError, "'../../stolen/zarr.json' is not a file name"):
            fetch_artifact(f"{web.host}/d.zarr")
        copy = fetch_artifact(f"{web.host}/o")
        assert names(copy.parent) == ["o/overlays.json"]
    for name in ("..", "a/../b", "a//b", "/a", ""):
        with refused(FormatError, "is not a file name"):
            RemoteFolder(web.host).fetch(name, tmp_path / "x")


def test_store_with_too_many_chunks_is_refused(web: SimpleNamespace, dataset: Path) -> None:
    file = dataset / "a/images/zarr.json"
    found = json.loads(file.read_text())
    found["shape"][0] = 10**12
    file.write_text(json.dumps(found))
    with (
        temporary_copies(),
        refused(FormatError, f"{web.host}/d.zarr: a/images/", "chunks; make it"),
    ):
        fetch_artifact(f"{web.host}/d.zarr")


def test_urls_of_parents_and_siblings() -> None:
    assert join_url("s3://b", "c/d") == "s3://b/c/d"
    assert parent_url("https://host/a/b/?sig=x/y") == "https://host/a"


# -------------------------------------------------------------------------------------------------
# Outputs at URLs: whole or not at all, nothing lost, nothing replaced without being asked.


pytest.importorskip("fsspec", reason="remote stores need fsspec (extra remote)")


@pytest.fixture
def memory_of_uploads() -> Iterator[AbstractFileSystem]:
    with in_memory() as files:
        yield files


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def step(
    out: Path | str | None,
    figures: Path | str | None = None,
    *,
    write: Callable[[Path], None] = lambda path: path.write_text("whole"),
    overwrite: bool = False,
    resume: bool = False,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> Outcome:
    """Write a file, a second one next to it, and a file into a folder."""
    made = [Path(each) for each in (out, figures and Path(figures) / "1.pdf") if each]
    for path in made:
        check_writable(path, overwrite=overwrite, resume=False)
    if dry_run:
        return Outcome()
    for path in made:
        progress.say(f"{path}: begins")
        with atomic_output(path, overwrite=overwrite) as partial:
            write(partial)
    if out:
        Path(out).with_name("beside.txt").write_text(Invocation("x", (), {}, {"out": out}).command)
    return Outcome(tuple(made[:1]), tuple(made[1:]), failures=(f"{out}: something",))


writing = accept_urls(out=OutputType.TABLE, figures=OutputType.FILES)(step)
storing = accept_urls(out=OutputType.STORE)(step)


def copy_of(store: Path) -> Callable[[Path], None]:
    """Return a function that writes a store."""

    def write(path: Path) -> None:
        shutil.copytree(store, path)

    return write


def test_file_and_folder_are_uploaded(
    memory_of_uploads: AbstractFileSystem, temporary: Path
) -> None:
    lines: list[str] = []
    progress: Any = SimpleNamespace(say=lines.append, task=SILENT.task)
    found = writing("memory://b/t.parquet", "memory://b/figures/", progress=progress)
    assert found.outputs == ("memory://b/t.parquet",)
    assert found.side_outputs == ("memory://b/figures/1.pdf",)
    assert found.failures == ("memory://b/t.parquet: something",)
    assert sorted(memory_of_uploads.store) == ["/b/beside.txt", "/b/figures/1.pdf", "/b/t.parquet"]
    assert memory_of_uploads.cat("/b/t.parquet") == b"whole"
    assert memory_of_uploads.cat("/b/beside.txt") == b"skiptool x --out memory://b/t.parquet"
    told = [line for line in lines if "first, then uploaded" not in line]
    assert told == ["memory://b/t.parquet: begins", "memory://b/figures/1.pdf: begins"]
    assert len(lines) == 4
    assert not [*temporary.iterdir()]
    assert inspect.signature(writing) == inspect.signature(step)


def test_local_paths_are_unchanged(tmp_path: Path, temporary: Path) -> None:
    for out in (tmp_path / "t", str(tmp_path / "u"), f"file://{tmp_path}/v"):
        path = tmp_path / Path(str(out)).name
        assert writing(out).outputs == (path,)
        assert path.read_text() == "whole"
    assert not [*temporary.iterdir()]


def test_root_of_a_store_is_uploaded_last(
    memory_of_uploads: AbstractFileSystem, features: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, bool]] = []
    put = type(memory_of_uploads).put_file

    def noted(self: AbstractFileSystem, path: str, url: str, **how: object) -> None:
        if url.endswith(("/f.zarr/zarr.json", "/f.zarr/.uploading")) or "/c/" in url:
            seen.append((url.rpartition("f.zarr/")[2], self.exists("/f.zarr/zarr.json")))
        put(self, path, url, **how)

    monkeypatch.setattr(type(memory_of_uploads), "put_file", noted)
    storing("memory://f.zarr", write=copy_of(features))
    order = [name for name, _ in seen]
    assert (order[0], order[-1], len(order) > 5) == (".uploading", "zarr.json", True)
    assert not any(there for _, there in seen)
    local = {p.relative_to(features).as_posix() for p in features.rglob("*") if p.is_file()}
    expected = {f"/f.zarr/{name}" for name in local} | {"/beside.txt"}
    assert set(memory_of_uploads.store) == expected
    assert open_features("memory://f.zarr").id == open_features(features).id


def test_existing_output_is_replaced_only_with_overwrite(
    memory_of_uploads: AbstractFileSystem, features: Path
) -> None:
    storing("memory://f.zarr", write=copy_of(features))
    memory_of_uploads.pipe("/f.zarr/layers/old/zarr.json", b"{}")
    before = dict(memory_of_uploads.store)
    with refused(ExistsError, "memory://f.zarr: exists already", "--overwrite"):
        storing("memory://f.zarr", write=copy_of(features))
    assert memory_of_uploads.store == before
    storing("memory://f.zarr", write=copy_of(features), overwrite=True)
    assert "/f.zarr/layers/old/zarr.json" not in memory_of_uploads.store
    assert open_features("memory://f.zarr").id == open_features(features).id
    memory_of_uploads.pipe("/mine/notes.txt", b"")
    with refused(ExistsError, "memory://mine.d: exists already and is a folder") as _:
        memory_of_uploads.pipe("/mine.d/notes.txt", b"")
        writing("memory://mine.d", overwrite=True)
    with refused(ExistsError, "memory://mine: is a folder with other things in it"):
        storing("memory://mine", write=copy_of(features), overwrite=True)
    memory_of_uploads.pipe("/file", b"")
    with refused(ExistsError, "memory://file: exists already and is a file"):
        storing("memory://file", write=copy_of(features), overwrite=True)
    with refused(ExistsError, "memory://b/figures/1.pdf: exists already"):
        memory_of_uploads.pipe("/b/figures/1.pdf", b"mine")
        writing(None, "memory://b/figures")
    assert memory_of_uploads.cat("/b/figures/1.pdf") == b"mine"
    writing(None, "memory://b/figures", overwrite=True)
    assert memory_of_uploads.cat("/b/figures/1.pdf") == b"whole"


def broken(
    memory: AbstractFileSystem, monkeypatch: pytest.MonkeyPatch, pattern: str, error: BaseException
) -> None:
    """Make uploads of some files fail."""
    put = type(memory).put_file

    def failing(self: AbstractFileSystem, path: str, url: str, **how: object) -> None:
        if re.search(pattern, url):
            raise error
        put(self, path, url, **how)

    monkeypatch.setattr(type(memory), "put_file", failing)


def test_failed_upload_loses_nothing(
    memory_of_uploads: AbstractFileSystem,
    features: Path,
    temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        broken(
            memory_of_uploads,
            patch,
            "dec0/c/0",
            PermissionError("denied at s3://k:secret@b/x?y=secret"),
        )
        with pytest.raises(SourceError) as caught:
            storing("memory://f.zarr", write=copy_of(features))
    (kept,) = temporary.iterdir()
    message = str(caught.value)
    assert message.startswith("memory://f.zarr/layers/dec0/c/0/0/0: cannot be written (denied")
    assert message.endswith(f"the result is complete and kept in {kept}/f.zarr; copy it from there")
    assert "secret" not in message
    assert open_features(kept / "f.zarr").id == open_features(features).id
    with refused(
        FormatError, "memory://f.zarr: not a Zarr group", "in progress or was interrupted"
    ):
        open_features("memory://f.zarr")
    with refused(ExistsError, "memory://f.zarr: exists already"):
        storing("memory://f.zarr", write=copy_of(features))
    storing("memory://f.zarr", write=copy_of(features), overwrite=True)
    assert open_features("memory://f.zarr").id == open_features(features).id
    assert "/f.zarr/.uploading" not in memory_of_uploads.store


def test_outputs_that_were_not_uploaded_are_kept(
    memory_of_uploads: AbstractFileSystem, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(memory_of_uploads, monkeypatch, "t.parquet$", OSError("host down"))
    with pytest.raises(SourceError) as caught:
        writing("memory://b/t.parquet", "memory://b/figures")
    folders = [Path(word) for word in re.findall(rf"{temporary}/[^ ,;]+", str(caught.value))]
    assert [path.name for path in folders] == ["t.parquet", "figures"]
    assert folders[0].read_text() == (folders[1] / "1.pdf").read_text() == "whole"


def test_interrupted_upload_is_reported(
    memory_of_uploads: AbstractFileSystem, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    progress: Any = SimpleNamespace(say=lambda _: None, warn=lines.append, task=SILENT.task)
    broken(memory_of_uploads, monkeypatch, "t.parquet$", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        writing("memory://b/t.parquet", progress=progress)
    (kept,) = temporary.iterdir()
    assert lines == [
        "memory://b/t.parquet: is not uploaded; the result is complete and kept in "
        f"{kept}/t.parquet; copy it from there"
    ]


def test_targets_without_permission_are_refused_before_any_work(
    memory_of_uploads: AbstractFileSystem, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(_: Path) -> None:
        raise AssertionError("nothing is to be made")

    broken(memory_of_uploads, monkeypatch, "uploading$", PermissionError("Access Denied"))
    with refused(SourceError, "memory://b/t.parquet.uploading: cannot be written (Access Denied)"):
        writing("memory://b/t.parquet", write=never)
    assert writing("memory://b/t.parquet", write=never, dry_run=True).outputs == ()
    assert not memory_of_uploads.store
    assert not [*temporary.iterdir()]


@pytest.mark.parametrize(
    ("out", "how", "words"),
    [
        (
            "https://me:secret@host/t.parquet?x=secret",
            {},
            "https://host/t.parquet: web servers are",
        ),
        ("simplecache::s3://b/t.parquet", {}, "chains of protocols are for reading only"),
        ("memory://b/t.parquet", {"resume": True}, "--resume continues an output on this machine"),
        ("memory://b/t.pdf", {}, "the suffix .pdf promises another format"),
        ("nonsense://b/t.parquet", {}, "nonsense://b/t.parquet: not a readable address"),
        ("memory://", {}, "memory://: has no name at its end"),
        ("s3://bucket/", {}, "s3://bucket/: has no name at its end"),
        ("gs://b/t.parquet", {}, "pip install 'skiptool[remote]'"),
    ],
)
def test_read_only_urls_are_refused(
    out: str,
    how: dict[str, bool],
    words: str,
    memory_of_uploads: AbstractFileSystem,
    temporary: Path,
) -> None:
    with refused(ArgumentError, words) as _:
        writing(out, **how)
    with pytest.raises(ArgumentError) as caught:
        writing(out, **how)
    assert "secret" not in str(caught.value)
    assert not memory_of_uploads.store
    assert not [*temporary.iterdir()]


def test_inputs_are_not_overwritten(memory_of_uploads: AbstractFileSystem) -> None:
    inputs = ("memory://a/d.zarr?x", "memory://runs", Path("local"))
    for url, words in (
        ("memory://a/d.zarr/", "is an input of this command"),
        ("memory://a/d.zarr/b", "or lies in one (memory://a/d.zarr)"),
        ("memory://a", "holds memory://a/d.zarr, an input"),
    ):
        with protect_inputs(inputs), refused(ArgumentError, url, words):
            storing(url, overwrite=True)
    with protect_inputs(inputs):
        writing(None, "memory://a")  # a folder that is added to
        writing("memory://a/d.zarr2")
        writing(None, "memory://runs")  # and one that inputs are in
        memory_of_uploads.pipe("/runs/t", b"an input")
        with refused(ArgumentError, "memory://runs/t: is a part of memory://runs, an input"):
            writing("memory://runs/t", overwrite=True)
        assert memory_of_uploads.cat("/runs/t") == b"an input"
    with refused(ArgumentError, "--figures memory://b/t/: is given twice"):
        writing("memory://b/t", "memory://b/t/")


def test_full_disk_is_reported(memory_of_uploads: AbstractFileSystem, temporary: Path) -> None:
    def fill(path: Path) -> None:
        raise OSError(28, os.strerror(28), str(path))

    with refused(SourceError, "memory://b/.t.parquet.partial: is made in", "set TMPDIR"):
        writing("memory://b/t.parquet", write=fill)
    assert not [*temporary.iterdir()]


def test_errors_name_the_url(memory_of_uploads: AbstractFileSystem, temporary: Path) -> None:
    def fail(path: Path) -> None:
        raise FormatError(f"{path}: is wrong")

    with refused(FormatError, "memory://b/.t.parquet.partial: is wrong"):
        writing("memory://b/t.parquet", write=fail)
    assert not [*temporary.iterdir()]
    assert not memory_of_uploads.store
    assert restore_urls("/tmp/x") == "/tmp/x"


def test_nested_folders_are_uploaded(
    memory_of_uploads: AbstractFileSystem, features: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "all"
    copy_of(features)(folder / "deep/f.zarr")
    (folder / "t.txt").write_text("t")
    (folder / ".hidden").touch()
    upload(folder, "memory://all")
    assert open_features("memory://all/deep/f.zarr").id == open_features(features).id
    assert "/all/t.txt" in memory_of_uploads.store
    assert not [name for name in memory_of_uploads.store if "hidden" in name or "uploading" in name]
