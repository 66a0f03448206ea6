"""Full and read-only disks, folders and inputs that vanish, two processes at one output."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fault_lab import CHEAP, COMMANDS, Lab, half_written, snapshot, whole
from forking import Ended, Running
from skiptool.stores.staging import lock_path

Tried = Callable[..., None]

EACH = [
    pytest.param(name, marks=() if name in CHEAP else pytest.mark.slow, id=name)
    for name in COMMANDS
]
EVERY = [pytest.param(name, marks=pytest.mark.slow, id=name) for name in COMMANDS]

DELETED = {
    "extract images": "pictures",
    "extract wsi": "slides",
    "extract mri": "volumes",
    **dict.fromkeys(("train", "predict", "features"), "data.zarr"),
    "hellinger": "feats",
}
"""What a command reads while it works."""

REPLACED = ("train", "predict", "features", "hellinger")
"""Commands that read stores, which have ids."""

BY_CLOCK = ("extract mri", "hellinger")
"""Commands that have read all before their first step on the disk."""

CHANGES = [
    pytest.param(how, name, marks=pytest.mark.slow, id=f"{how}-{name}")
    for how, names in (("deleted", DELETED), ("replaced", REPLACED))
    for name in names
]


@contextmanager
def mounted(place: Path, size: str) -> Iterator[None]:
    """Mount a small disk in memory at a folder; skip where that may not be done."""
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(words, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def remount(place: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(place)], check=True)


def again(name: str) -> str:
    """Return the word by which a command goes on, or begins anew where it cannot."""
    return "--resume" if COMMANDS[name].resumes else "--overwrite"


def check_failed(lab: Lab, name: str, place: Path, found: Ended, *fragments: str) -> None:
    """Check that a run failed with one line, and left nothing half-written."""
    assert found.code == 1, found
    assert any(fragment in found.line() for fragment in fragments), found
    assert found.orphans == ()
    assert half_written(snapshot(place), lab.whole(name).files) == []
    whole(name, place)


def check_ends(lab: Lab, name: str, place: Path, *words: str) -> None:
    """Check that a run ends well, and as one that nothing disturbed."""
    found = lab.run(name, place, "--quiet", *words)
    assert (found.code, found.err) == (0, ""), found
    check_same(lab, name, place)


def check_same(lab: Lab, name: str, place: Path) -> None:
    found, expected = snapshot(place), lab.whole(name).files
    assert sorted(found.keys() ^ expected.keys()) == []
    assert [each for each in found if found[each] != expected[each]] == []
    assert lab.temporaries() == []


def stopped(lab: Lab, name: str, place: Path, step: int, *words: str) -> Running | None:
    """Start a command and return once it has stopped before a step on the disk; None: it ended."""
    process = lab.start(name, place, "--quiet", *words, at=(step, signal.SIGSTOP))
    until = time.monotonic() + 120
    while time.monotonic() < until:
        state = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        if state == "T":
            return process
        if state == "Z":
            process.end()
            return None
        time.sleep(0.01)
    raise AssertionError(f"{name} neither stopped nor ended")


@pytest.mark.long
@pytest.mark.parametrize("name", EACH)
def test_files_may_not_grow(lab: Lab, name: str, tried: Tried) -> None:
    largest = max(lab.whole(name).sizes.values())
    for limit in {max(2000, largest // 2), max(2000, largest - 1)}:
        if limit >= largest:
            continue
        place = lab.place()
        found = lab.run(name, place, "--quiet", file_size=limit)
        check_failed(lab, name, place, found, "File too large; raise the limit of the size of")
        check_ends(lab, name, place, again(name))
        shutil.rmtree(place)
        tried("disk", full=1)


@pytest.mark.long
@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("share", [0.1, 0.4, 0.8])
def test_the_disk_is_full(lab: Lab, name: str, share: float, tried: Tried) -> None:
    whole_run = lab.whole(name)
    pages = sum(-(-size // 4096) for size in whole_run.sizes.values())
    place = lab.place()
    with mounted(place, str(max(1, int(share * pages)) * 4096)):
        found = lab.run(name, place, "--quiet")
        check_failed(lab, name, place, found, "No space left on device")
        remount(place, "size=256m")
        check_ends(lab, name, place, again(name))
    tried("disk", full=1)


@pytest.mark.long
@pytest.mark.parametrize("name", EVERY)
def test_the_target_may_only_be_read(lab: Lab, name: str, tried: Tried) -> None:
    place = lab.place()
    with mounted(place, "256m"):
        remount(place, "ro")
        for words in ((), ("--overwrite",)):
            found = lab.run(name, place, "--quiet", *words)
            check_failed(lab, name, place, found, "may not be written", "Read-only file system")
        assert list(place.iterdir()) == []
        remount(place, "rw")
        check_ends(lab, name, place)
    tried("disk", read_only=1)


@pytest.mark.long
@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("share", [0.3, 0.5])
def test_the_folder_vanishes(lab: Lab, name: str, share: float, tried: Tried) -> None:
    place = lab.place()
    step = 1 + int(share * lab.whole(name).steps)
    process = stopped(lab, name, place, step)
    assert process is not None
    shutil.rmtree(place)
    process.send(signal.SIGCONT)
    found = process.end()
    assert found.code == 1, found
    reasons = ("No such file or directory", "does not exist", "no longer exists")
    assert any(reason in found.line() for reason in reasons), found
    assert not place.exists()
    tried("disk", vanished=1)


@pytest.mark.long
@pytest.mark.parametrize(("how", "name"), CHANGES)
def test_the_input_changes_while_it_is_read(lab: Lab, how: str, name: str, tried: Tried) -> None:
    expected, failed = lab.whole(name), 0
    for share in (0.1, 0.3, 0.5, 0.7):
        base = lab.place()
        for each in {DELETED[name], "runs", "data.zarr", "feats"}:
            shutil.copytree(lab.folder / each, base / each)
        place = base / "out"
        place.mkdir()
        process = paused(lab, name, place, share)
        shutil.rmtree(base / DELETED[name])
        if how == "replaced":
            replace(lab, base / DELETED[name])
        process.send(signal.SIGCONT)
        found = process.end()
        assert found.code in (0, 1, 3), found
        if found.code == 0:  # all of it was read before, or all of it after
            if how == "replaced" and snapshot(place) != expected.files:
                shutil.move(place, base / "before")
                place.mkdir()
                assert lab.run(name, place, "--quiet").code == 0
                assert snapshot(base / "before") == snapshot(place)
            else:
                check_same(lab, name, place)
        else:
            failed += 1
            assert DELETED[name] in found.err, found
            assert "unexpected" not in found.err
        if found.code == 1:  # a store of slides that could be read is whole, too
            assert found.err.count("\n") == 1, found
            assert half_written(snapshot(place), expected.files) == []
        assert whole(name, place) or found.code == 1 or not COMMANDS[name].outputs
        shutil.rmtree(base)
    # Slides are held open, and an open file can be read after it was deleted.
    assert failed or name in (*BY_CLOCK, "extract wsi")
    tried("disk", inputs_changed=4)


def paused(lab: Lab, name: str, place: Path, share: float) -> Running:
    """Start a command and stop it in the middle: by its steps, or by the clock where it has few."""
    expected = lab.whole(name)
    if name not in BY_CLOCK:
        process = stopped(lab, name, place, 1 + int(share * expected.steps))
        assert process is not None
        return process
    process = lab.start(name, place, "--quiet")
    time.sleep(share * expected.seconds)
    process.send(signal.SIGSTOP)
    return process


def replace(lab: Lab, target: Path) -> None:
    """Put another artifact of the same form in the place of an input store."""
    if target.name == "feats":
        shutil.copytree(lab.folder / "feats", target)
        one, two = sorted(target.glob("*.zarr"))
        one.rename(target / "x")
        two.rename(one)
        (target / "x").rename(two)
        return
    other = lab.folder / "other.zarr"
    if not other.exists():
        words = ("--n", "40", "--size", "32", "--canvas", "200", "--cells", "1:3", "--folds", "2")
        assert lab.server.run(("synth", *words, "--seed", "1", "-o", other), lab.folder).code == 0
    shutil.copytree(other, target)


@pytest.mark.long
@pytest.mark.parametrize("name", EACH)
def test_a_second_process_is_refused(lab: Lab, name: str, tried: Tried) -> None:
    place, steps = lab.place(), lab.whole(name).steps
    first = None
    for step in range(1 + steps // 4, steps + 1):
        first = stopped(lab, name, place, step)
        assert first is not None
        if list(place.rglob(".*.lock")):
            break
        first.send(signal.SIGKILL)
        first.send(signal.SIGCONT)
        first.end()
        shutil.rmtree(place)
        place.mkdir()
    assert first is not None
    before = snapshot(place)
    for words in ((), ("--overwrite",), ("--resume",))[: 3 if COMMANDS[name].resumes else 2]:
        found = lab.run(name, place, "--quiet", *words)
        assert found.code == 4, found
        if words == ("--overwrite",):
            line = found.line()
            assert "another process is making it now" in line or "corrected by hand" in line
        assert snapshot(place) == before
    first.send(signal.SIGCONT)
    found = first.end()
    assert (found.code, found.err) == (0, "")
    check_same(lab, name, place)
    tried("disk", second_refused=1)


@pytest.mark.long
@pytest.mark.parametrize("name", EACH)
def test_the_lock_of_a_dead_process_is_in_nobodys_way(lab: Lab, name: str, tried: Tried) -> None:
    place = lab.place()
    for output in COMMANDS[name].outputs or ("report.html", "report-numbers.parquet"):
        (place / output).parent.mkdir(parents=True, exist_ok=True)
        lock_path(place / output).write_text("4711")
    check_ends(lab, name, place)
    tried("disk", stale_locks=1)


@pytest.mark.long
@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("how", ["full", "missing", "read-only"])
def test_no_room_for_temporary_files(lab: Lab, name: str, how: str, tried: Tried) -> None:
    place, temporary = lab.place(), lab.place()
    words = ("--workers", "2") if COMMANDS[name].workers and name != "train" else ()
    with mounted(temporary, "4k"):
        if how == "full":
            with (temporary / "full").open("wb") as file, pytest.raises(OSError, match="space"):
                file.write(b"0" * 100_000)
        if how == "read-only":
            remount(temporary, "ro")
        where = str(temporary / "missing" if how == "missing" else temporary)
        environment = {"TMPDIR": where}
        found = lab.server.run(
            (*COMMANDS[name].words, "--quiet", *words), place, environment=environment
        )
    if found.code == 0:
        check_same(lab, name, place)
    else:
        check_failed(lab, name, place, found, "TMPDIR", where)
    tried("disk", without_temporary_room=1)
