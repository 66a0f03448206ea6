"""Tests of ``staging``."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from skiptool.errors import ExistsError, FormatError, LeftoverError, SourceError
from skiptool.stores.staging import (
    atomic_file,
    atomic_output,
    check_writable,
    clear_leftovers,
    lock_output,
    make_parents,
    partial_path,
    remove,
)
from small_stores import refused

Make = Callable[[Path], object]


def make_file(path: Path) -> None:
    path.write_text("new")


def make_folder(path: Path) -> None:
    path.mkdir()
    (path / "zarr.json").write_text("new")


def old_file(path: Path) -> None:
    path.write_text("old")


def old_store(path: Path) -> None:
    path.mkdir()
    (path / "zarr.json").write_text("old")
    (path / "gone").write_text("with the old one")


def old_model(path: Path) -> None:
    path.mkdir()
    (path / "config.json").write_text("old")


def link_to_file(path: Path) -> None:
    target = path.with_name("target")
    target.write_text("kept")
    path.symlink_to(target)


def link_to_folder(path: Path) -> None:
    target = path.with_name("target")
    target.mkdir()
    (target / "kept").write_text("kept")
    path.symlink_to(target)


def dangling(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


OLD = [old_file, old_store, old_model, Path.mkdir, link_to_file, link_to_folder, dangling]


def run(out: Path, make: Make, error: BaseException | None = None, **how: bool) -> None:
    """Stage and write an output, then raise the error if there is one."""
    with atomic_output(out, **how) as partial:
        make(partial)
        if error is not None:
            raise error


def holds_new(out: Path) -> bool:
    return (out if out.is_file() else out / "zarr.json").read_text() == "new"


@pytest.mark.parametrize("make", [make_file, make_folder])
def test_final_path_appears_only_when_complete(tmp_path: Path, make: Make) -> None:
    out = tmp_path / "x.zarr"
    with atomic_output(out) as partial:
        assert partial == tmp_path / ".x.zarr.partial"
        make(partial)
        assert not out.exists()
    assert holds_new(out)
    assert os.listdir(tmp_path) == ["x.zarr"]


@pytest.mark.parametrize("old", OLD)
def test_existing_output_is_refused(tmp_path: Path, old: Make) -> None:
    out = tmp_path / "x"
    old(out)
    with refused(ExistsError, out, "--overwrite"), atomic_output(out):
        pytest.fail("the block must not run")
    with refused(ExistsError, out):
        check_writable(out, overwrite=False, resume=False)


@pytest.mark.parametrize("make", [make_file, make_folder])
@pytest.mark.parametrize("old", OLD)
def test_overwrite_replaces_only_when_the_new_output_is_complete(
    tmp_path: Path, old: Make, make: Make
) -> None:
    out = tmp_path / "x"
    old(out)
    before = os.path.lexists(out)
    with atomic_output(out, overwrite=True) as partial:
        make(partial)
        assert os.path.lexists(out) == before
        assert not holds_new(out) if out.is_file() else True
    assert holds_new(out)
    assert not (out / "gone").exists()
    assert not out.is_symlink()
    assert sorted(os.listdir(tmp_path)) in (["x"], ["target", "x"])
    target = tmp_path / "target"
    if target.exists():
        assert (target / "kept" if target.is_dir() else target).read_text() == "kept"


def test_overwrite_does_not_delete_a_users_folder(tmp_path: Path) -> None:
    out = tmp_path / "thesis"
    (out / "chapters").mkdir(parents=True)
    with refused(ExistsError, out, "other things in it"), atomic_output(out, overwrite=True):
        pytest.fail("the block must not run")
    assert (out / "chapters").is_dir()


def test_existing_folder_stays_if_nothing_was_written(tmp_path: Path) -> None:
    out = tmp_path / "x"
    old_store(out)
    with pytest.raises(FileNotFoundError), atomic_output(out, overwrite=True):
        pass
    assert sorted(os.listdir(out)) == ["gone", "zarr.json"]


def test_kill_between_the_two_renames_leaves_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies after moving the old folder away: nothing is lost, and the next run ends."""
    out = tmp_path / "x"
    old_store(out)
    rename = Path.rename

    def killed(path: Path, target: Path) -> Path:
        if path == partial_path(out):
            raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            run(out, make_folder, overwrite=True)
    assert sorted(os.listdir(tmp_path)) == [".x.partial", ".x.replaced"]
    run(out, make_folder, overwrite=True)
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("make", [make_file, make_folder])
def test_leftover_is_refused_without_an_option(tmp_path: Path, make: Make) -> None:
    out = tmp_path / "x"
    make(partial_path(out))
    with refused(LeftoverError, out, ".x.partial", "--overwrite"), atomic_output(out):
        pytest.fail("the block must not run")
    with atomic_output(out, resume=True) as partial:
        assert holds_new(partial)
    assert holds_new(out)


def test_overwrite_removes_the_leftover(tmp_path: Path) -> None:
    out = tmp_path / "x"
    make_folder(partial_path(out))
    with atomic_output(out, overwrite=True) as partial:
        assert not partial.exists()
        partial.write_text("new")
    assert holds_new(out)


@pytest.mark.parametrize("error", [FormatError("x"), ValueError("x"), SystemExit(2)])
@pytest.mark.parametrize("resume", [False, True])
def test_error_removes_partial_results(tmp_path: Path, error: BaseException, resume: bool) -> None:
    with pytest.raises(type(error)):
        run(tmp_path / "x", make_folder, error, resume=resume)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), OSError(28, "disk full"), MemoryError(), ExistsError("other")]
)
def test_resumable_results_are_kept(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)):
        run(tmp_path / "x", make_folder, error)
    assert os.listdir(tmp_path) == [".x.partial"]


@pytest.mark.parametrize("out", ["nowhere/x", "file/x"])
@pytest.mark.parametrize("how", [{}, {"overwrite": True}, {"resume": True}])
def test_missing_parent_is_refused_before_any_work(
    tmp_path: Path, out: str, how: dict[str, bool]
) -> None:
    (tmp_path / "file").write_text("")
    with (
        refused(SourceError, tmp_path / out, "does not exist"),
        atomic_output(tmp_path / out, **how),
    ):
        pytest.fail("the block must not run")


@pytest.mark.parametrize("out", [Path(), Path("/"), Path("..")])
def test_output_without_a_name_is_refused(out: Path) -> None:
    with refused(SourceError, "no file name"):
        check_writable(out, overwrite=True, resume=True)


def test_read_only_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # asked of the system, so that the test means the same to root, who may write everywhere
    monkeypatch.setattr(os, "access", lambda path, mode: (path, mode) != (tmp_path, os.W_OK))
    with refused(SourceError, tmp_path, "may not be written"):
        check_writable(tmp_path / "x", overwrite=False, resume=False)


def test_atomic_file_is_complete_or_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "a.b.png"
    path.write_text("old")
    hidden = tmp_path / ".a.b.partial.png"
    with pytest.raises(FileNotFoundError), atomic_file(path) as partial:
        assert partial == hidden

    def interrupted() -> None:
        with atomic_file(path) as partial:
            partial.write_text("ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises(OSError, match=r"full: '.*a\.b\.png'"), atomic_file(path):
        raise OSError(errno.ENOSPC, "full")
    assert (path.read_text(), os.listdir(tmp_path)) == ("old", ["a.b.png"])
    hidden.write_text("of a killed process")
    with atomic_file(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
    assert (path.read_text(), os.listdir(tmp_path)) == ("new", ["a.b.png"])


def test_leftovers_next_to_a_complete_output_are_removed(tmp_path: Path) -> None:
    out = tmp_path / "x"
    old_store(out)
    for left in (partial_path(out), tmp_path / ".x.replaced"):
        old_store(left)
    with lock_output(out):
        clear_leftovers(out)
        assert len(os.listdir(tmp_path)) == 4  # somebody works on it
    clear_leftovers(out)
    assert os.listdir(tmp_path) == ["x"]
    (tmp_path / ".x.lock").write_text("")  # of a process that was killed
    clear_leftovers(out)
    assert os.listdir(tmp_path) == ["x"]


def test_remove_accepts_files_folders_and_missing_paths(tmp_path: Path) -> None:
    for number, old in enumerate(OLD):
        path = tmp_path / str(number) / "x"
        path.parent.mkdir()
        old(path)
        remove(path)
        remove(path)
        assert not os.path.lexists(path)
    assert (tmp_path / "4" / "target").read_text() == "kept"
    assert (tmp_path / "5" / "target" / "kept").read_text() == "kept"


@pytest.mark.parametrize("where", [".s.partial", ".s.partial/a/b"])
def test_leftover_with_links_is_not_resumed(tmp_path: Path, where: str) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / where).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / where).symlink_to(tmp_path / "other")
    with refused(ExistsError, where, "is a link"), atomic_output(tmp_path / "s", resume=True):
        raise AssertionError
    with atomic_output(tmp_path / "s", overwrite=True) as partial:
        partial.mkdir()
    assert (tmp_path / "other").is_dir()


HOLD = """
import sys, time
from pathlib import Path
from skiptool.stores.staging import lock_output
with lock_output(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_lock_file_is_removed(tmp_path: Path) -> None:
    out = tmp_path / "d.zarr"
    for _ in range(2):
        with lock_output(out):
            assert [path.name for path in tmp_path.iterdir()] == [".d.zarr.lock"]
        assert not list(tmp_path.iterdir())
    with pytest.raises(KeyError), lock_output(out):
        raise KeyError
    assert not list(tmp_path.iterdir())


def test_lock_refuses_a_second_process_and_ends_with_a_killed_one(tmp_path: Path) -> None:
    out = tmp_path / "d.zarr"
    with subprocess.Popen([sys.executable, "-c", HOLD, out], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(ExistsError, match=r"d\.zarr: another process is making it now"):
            lock_output(out).__enter__()
        other.kill()
        other.wait()
    assert (tmp_path / ".d.zarr.lock").exists()
    with lock_output(out):
        pass
    assert not list(tmp_path.iterdir())


def test_deleted_lock_file_is_created_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, real = tmp_path / "d.zarr", fcntl.flock
    taken: list[int] = []

    def late(file: int, how: int) -> None:
        if not taken:
            (tmp_path / ".d.zarr.lock").unlink()
        taken.append(os.fstat(file).st_nlink)
        real(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with lock_output(out):
        assert taken == [0, 1]


def test_file_systems_without_locks_are_supported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file: int, how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    number = errno.ENOLCK
    with lock_output(tmp_path / "d.zarr"):
        pass
    number = errno.EIO
    with pytest.raises(OSError, match="Input/output"), lock_output(tmp_path / "d.zarr"):
        pass


def test_link_in_place_of_the_lock_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / ".s.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"), lock_output(tmp_path / "s"):
        raise AssertionError
    assert not (tmp_path / "elsewhere").exists()


def test_created_folders_with_content_stay(tmp_path: Path) -> None:
    out = tmp_path / "a" / "b" / "out"
    with make_parents(out):
        out.write_text("made")
    assert out.read_text() == "made"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_empty_created_folders_are_removed(error: type[BaseException], tmp_path: Path) -> None:
    def fail() -> None:
        with make_parents(tmp_path / "a" / "b" / "out"):
            assert (tmp_path / "a" / "b").is_dir()
            raise error

    with pytest.raises(error):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_only_created_folders_are_removed(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    with make_parents(tmp_path / "old" / "new" / "deep" / "out"):
        (tmp_path / "old" / "new" / "kept.txt").write_text("kept")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["kept.txt", "new", "old"]
    with make_parents(tmp_path / "old" / "x"):
        pass
    assert (tmp_path / "old").is_dir()
