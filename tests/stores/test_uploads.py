"""Outputs at URLs: whole or not at all, nothing lost, nothing replaced without being asked."""

from __future__ import annotations

import inspect
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from remote_hosts import in_memory
from skiptool.errors import ArgumentError, ExistsError, FormatError, SourceError
from skiptool.records import SILENT, Outcome, Progress
from skiptool.stores.copies import shown
from skiptool.stores.features import open_features
from skiptool.stores.header import Making
from skiptool.stores.staging import Form, check_free, guarded, staged
from skiptool.stores.uploads import places_may_be_urls, upload
from small_stores import refused

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

pytest.importorskip("fsspec", reason="remote stores need fsspec (extra remote)")


@pytest.fixture
def memory() -> Iterator[AbstractFileSystem]:
    with in_memory() as files:
        yield files


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of temporary files, which is empty at first."""
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
    """Write a file with a second one beside it, and a file into a folder."""
    made = [Path(each) for each in (out, figures and Path(figures) / "1.pdf") if each]
    for path in made:
        check_free(path, overwrite=overwrite, resume=False)
    if dry_run:
        return Outcome()
    for path in made:
        progress.say(f"{path}: begins")
        with staged(path, overwrite=overwrite) as partial:
            write(partial)
    if out:
        Path(out).with_name("beside.txt").write_text(Making("x", (), {}, {"out": out}).command)
    return Outcome(tuple(made[:1]), tuple(made[1:]), failures=(f"{out}: something",))


writing = places_may_be_urls(out=Form.TABLE, figures=Form.FILLED)(step)
storing = places_may_be_urls(out=Form.STORE)(step)


def copy_of(store: Path) -> Callable[[Path], None]:
    """Return what writes a store."""

    def write(path: Path) -> None:
        shutil.copytree(store, path)

    return write


def test_a_file_and_what_is_beside_it(memory: AbstractFileSystem, temporary: Path) -> None:
    lines: list[str] = []
    progress: Any = SimpleNamespace(say=lines.append, task=SILENT.task)
    found = writing("memory://b/t.parquet", "memory://b/figures/", progress=progress)
    assert found.outputs == ("memory://b/t.parquet",)
    assert found.side_outputs == ("memory://b/figures/1.pdf",)
    assert found.failures == ("memory://b/t.parquet: something",)
    assert sorted(memory.store) == ["/b/beside.txt", "/b/figures/1.pdf", "/b/t.parquet"]
    assert memory.cat("/b/t.parquet") == b"whole"
    assert memory.cat("/b/beside.txt") == b"skiptool x --out memory://b/t.parquet"
    told = [line for line in lines if "first, then uploaded" not in line]
    assert told == ["memory://b/t.parquet: begins", "memory://b/figures/1.pdf: begins"]
    assert len(lines) == 4
    assert not [*temporary.iterdir()]
    assert inspect.signature(writing) == inspect.signature(step)


def test_local_paths_stay_as_they_are(tmp_path: Path, temporary: Path) -> None:
    for out in (tmp_path / "t", str(tmp_path / "u"), f"file://{tmp_path}/v"):
        path = tmp_path / Path(str(out)).name
        assert writing(out).outputs == (path,)
        assert path.read_text() == "whole"
    assert not [*temporary.iterdir()]


def test_the_root_of_a_store_is_uploaded_last(
    memory: AbstractFileSystem, features: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, bool]] = []
    put = type(memory).put_file

    def noted(self: AbstractFileSystem, path: str, url: str, **how: object) -> None:
        if url.endswith(("/f.zarr/zarr.json", "/f.zarr/.uploading")) or "/c/" in url:
            seen.append((url.rpartition("f.zarr/")[2], self.exists("/f.zarr/zarr.json")))
        put(self, path, url, **how)

    monkeypatch.setattr(type(memory), "put_file", noted)
    storing("memory://f.zarr", write=copy_of(features))
    order = [name for name, _ in seen]
    assert (order[0], order[-1], len(order) > 5) == (".uploading", "zarr.json", True)
    assert not any(there for _, there in seen)
    local = {p.relative_to(features).as_posix() for p in features.rglob("*") if p.is_file()}
    expected = {f"/f.zarr/{name}" for name in local} | {"/beside.txt"}
    assert set(memory.store) == expected
    assert open_features("memory://f.zarr").id == open_features(features).id


def test_what_is_there_is_replaced_only_if_asked_for(
    memory: AbstractFileSystem, features: Path
) -> None:
    storing("memory://f.zarr", write=copy_of(features))
    memory.pipe("/f.zarr/layers/old/zarr.json", b"{}")
    before = dict(memory.store)
    with refused(ExistsError, "memory://f.zarr: exists already", "--overwrite"):
        storing("memory://f.zarr", write=copy_of(features))
    assert memory.store == before
    storing("memory://f.zarr", write=copy_of(features), overwrite=True)
    assert "/f.zarr/layers/old/zarr.json" not in memory.store
    assert open_features("memory://f.zarr").id == open_features(features).id
    memory.pipe("/mine/notes.txt", b"")
    with refused(ExistsError, "memory://mine.d: exists already and is a folder") as _:
        memory.pipe("/mine.d/notes.txt", b"")
        writing("memory://mine.d", overwrite=True)
    with refused(ExistsError, "memory://mine: is a folder with other things in it"):
        storing("memory://mine", write=copy_of(features), overwrite=True)
    memory.pipe("/file", b"")
    with refused(ExistsError, "memory://file: exists already and is a file"):
        storing("memory://file", write=copy_of(features), overwrite=True)
    with refused(ExistsError, "memory://b/figures/1.pdf: exists already"):
        memory.pipe("/b/figures/1.pdf", b"mine")
        writing(None, "memory://b/figures")
    assert memory.cat("/b/figures/1.pdf") == b"mine"
    writing(None, "memory://b/figures", overwrite=True)
    assert memory.cat("/b/figures/1.pdf") == b"whole"


def broken(
    memory: AbstractFileSystem, monkeypatch: pytest.MonkeyPatch, pattern: str, error: BaseException
) -> None:
    """Let uploads of some files fail."""
    put = type(memory).put_file

    def failing(self: AbstractFileSystem, path: str, url: str, **how: object) -> None:
        if re.search(pattern, url):
            raise error
        put(self, path, url, **how)

    monkeypatch.setattr(type(memory), "put_file", failing)


def test_an_upload_that_fails_half_way_loses_nothing(
    memory: AbstractFileSystem, features: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        broken(memory, patch, "dec0/c/0", PermissionError("denied at s3://k:secret@b/x?y=secret"))
        with pytest.raises(SourceError) as caught:
            storing("memory://f.zarr", write=copy_of(features))
    (kept,) = temporary.iterdir()
    message = str(caught.value)
    assert message.startswith("memory://f.zarr/layers/dec0/c/0/0/0: cannot be written (denied")
    assert message.endswith(f"what was made is whole and kept in {kept}/f.zarr; copy it from there")
    assert "secret" not in message
    assert open_features(kept / "f.zarr").id == open_features(features).id
    with refused(FormatError, "memory://f.zarr: no Zarr group", "under way or was broken off"):
        open_features("memory://f.zarr")
    with refused(ExistsError, "memory://f.zarr: exists already"):
        storing("memory://f.zarr", write=copy_of(features))
    storing("memory://f.zarr", write=copy_of(features), overwrite=True)
    assert open_features("memory://f.zarr").id == open_features(features).id
    assert "/f.zarr/.uploading" not in memory.store


def test_all_that_is_not_uploaded_is_kept(
    memory: AbstractFileSystem, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(memory, monkeypatch, "t.parquet$", OSError("host down"))
    with pytest.raises(SourceError) as caught:
        writing("memory://b/t.parquet", "memory://b/figures")
    folders = [Path(word) for word in re.findall(rf"{temporary}/[^ ,;]+", str(caught.value))]
    assert [path.name for path in folders] == ["t.parquet", "figures"]
    assert folders[0].read_text() == (folders[1] / "1.pdf").read_text() == "whole"


def test_an_interrupted_upload_is_told(
    memory: AbstractFileSystem, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    progress: Any = SimpleNamespace(say=lambda _: None, warn=lines.append, task=SILENT.task)
    broken(memory, monkeypatch, "t.parquet$", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        writing("memory://b/t.parquet", progress=progress)
    (kept,) = temporary.iterdir()
    assert lines == [
        "memory://b/t.parquet: is not uploaded; what was made is whole and kept in "
        f"{kept}/t.parquet; copy it from there"
    ]


def test_what_may_not_be_written_is_told_before_any_work(
    memory: AbstractFileSystem, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(_: Path) -> None:
        raise AssertionError("nothing is to be made")

    broken(memory, monkeypatch, "uploading$", PermissionError("Access Denied"))
    with refused(SourceError, "memory://b/t.parquet.uploading: cannot be written (Access Denied)"):
        writing("memory://b/t.parquet", write=never)
    assert writing("memory://b/t.parquet", write=never, dry_run=True).outputs == ()
    assert not memory.store
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
        ("memory://b/t.parquet", {"resume": True}, "--resume goes on with what is on this machine"),
        ("memory://b/t.pdf", {}, "the suffix .pdf promises another format"),
        ("nonsense://b/t.parquet", {}, "nonsense://b/t.parquet: no address"),
        ("memory://", {}, "memory://: has no name at its end"),
        ("s3://bucket/", {}, "s3://bucket/: has no name at its end"),
        ("gs://b/t.parquet", {}, "pip install 'skiptool[remote]'"),
    ],
)
def test_urls_that_nothing_is_written_to(
    out: str, how: dict[str, bool], words: str, memory: AbstractFileSystem, temporary: Path
) -> None:
    with refused(ArgumentError, words) as _:
        writing(out, **how)
    with pytest.raises(ArgumentError) as caught:
        writing(out, **how)
    assert "secret" not in str(caught.value)
    assert not memory.store
    assert not [*temporary.iterdir()]


def test_no_input_is_written_over(memory: AbstractFileSystem) -> None:
    inputs = ("memory://a/d.zarr?x", "memory://runs", Path("local"))
    for url, words in (
        ("memory://a/d.zarr/", "is an input of this command"),
        ("memory://a/d.zarr/b", "or lies in one (memory://a/d.zarr)"),
        ("memory://a", "holds memory://a/d.zarr, an input"),
    ):
        with guarded(inputs), refused(ArgumentError, url, words):
            storing(url, overwrite=True)
    with guarded(inputs):
        writing(None, "memory://a")  # a folder that is added to
        writing("memory://a/d.zarr2")
    with refused(ArgumentError, "--figures memory://b/t/: is given twice"):
        writing("memory://b/t", "memory://b/t/")


def test_a_full_disk_is_told(memory: AbstractFileSystem, temporary: Path) -> None:
    def fill(path: Path) -> None:
        raise OSError(28, os.strerror(28), str(path))

    with refused(SourceError, "memory://b/.t.parquet.partial: is made in", "set TMPDIR"):
        writing("memory://b/t.parquet", write=fill)
    assert not [*temporary.iterdir()]


def test_errors_name_the_url(memory: AbstractFileSystem, temporary: Path) -> None:
    def fail(path: Path) -> None:
        raise FormatError(f"{path}: is wrong")

    with refused(FormatError, "memory://b/.t.parquet.partial: is wrong"):
        writing("memory://b/t.parquet", write=fail)
    assert not [*temporary.iterdir()]
    assert not memory.store
    assert shown("/tmp/x") == "/tmp/x"


def test_folders_in_folders(memory: AbstractFileSystem, features: Path, tmp_path: Path) -> None:
    folder = tmp_path / "all"
    copy_of(features)(folder / "deep/f.zarr")
    (folder / "t.txt").write_text("t")
    (folder / ".hidden").touch()
    upload(folder, "memory://all")
    assert open_features("memory://all/deep/f.zarr").id == open_features(features).id
    assert "/all/t.txt" in memory.store
    assert not [name for name in memory.store if "hidden" in name or "uploading" in name]
