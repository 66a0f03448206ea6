from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import zarr

from skiptool.errors import ArgumentError, ExistsError, FormatError, MismatchError
from skiptool.records import Sample
from skiptool.stores import dataset_writer
from skiptool.stores.dataset import open_dataset
from skiptool.stores.dataset_writer import SHARD, DatasetWriter
from skiptool.stores.journal import JOURNAL, Journal
from skiptool.stores.lineage import Invocation
from skiptool.stores.staging import atomic_output
from small_stores import CLASSES, MAKING, refused, sample, write_dataset

Contents = Callable[[Path], dict[str, bytes]]

COLOUR = [sample(index, "a") for index in range(37)]
GREY = [sample(index, "b", (5, 3, 1)) for index in range(18)]
BOTH = [*COLOUR[:20], *GREY, *COLOUR[20:]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, contents: Contents) -> dict[str, bytes]:
    """Return the files of a store written by an uninterrupted run."""
    path = tmp_path_factory.mktemp("whole") / "d.zarr"
    write_dataset(path, BOTH)
    return contents(path)


def go_on(path: Path, samples: Sequence[Sample]) -> None:
    """Resume as a step does: skip the samples already written, domain by domain."""
    writer = DatasetWriter(path, CLASSES, MAKING)
    left = {domain: writer.written(domain) for domain in ("a", "b")}
    for each in samples:
        if left[each.domain] > 0:
            left[each.domain] -= 1
        else:
            writer.append(each)
    writer.finish()


def test_complete_store_has_no_journal(whole: dict[str, bytes]) -> None:
    assert not [name for name in whole if JOURNAL in name or name.endswith(".partial")]


@pytest.mark.parametrize("count", [0, 15, 16, 20, 36, 38, 55])
def test_resuming_an_interrupted_run_gives_the_same_bytes(
    tmp_path: Path, whole: dict[str, bytes], contents: Contents, count: int
) -> None:
    path = tmp_path / "d.zarr"
    writer = DatasetWriter(path, CLASSES, MAKING)
    for each in BOTH[:count]:
        writer.append(each)
    in_a = len([each for each in BOTH[:count] if each.domain == "a"])
    assert writer.written("a") == in_a // SHARD * SHARD
    assert writer.written("b") == (count - in_a) // SHARD * SHARD
    go_on(path, BOTH)
    assert contents(path) == whole


class Killed(BaseException):
    """Simulates SIGKILL: our code never catches it."""


def die(*_: object, **__: object) -> None:
    raise Killed


@pytest.mark.long
@pytest.mark.parametrize("nth", [0, 1, 2, 4, 5, 6, 8, 10, 12])
def test_resuming_after_a_kill_before_any_write_gives_the_same_bytes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    whole: dict[str, bytes],
    contents: Contents,
    nth: int,
) -> None:
    """The process dies after n changes of groups, arrays and the journal."""
    path = tmp_path / "d.zarr"
    done = []

    def dying(change: Callable[..., object]) -> Callable[..., object]:
        def run(*args: object, **how: object) -> object:
            done.append(change)
            if len(done) > nth:
                raise Killed
            return change(*args, **how)

        return run

    with monkeypatch.context() as patch:
        for owner, name in (
            (zarr.Array, "resize"),
            (zarr.Array, "__setitem__"),
            (dataset_writer, "write_shard"),
            (Journal, "note"),
            (zarr.Group, "create_group"),
        ):
            patch.setattr(owner, name, dying(getattr(owner, name)))
        with pytest.raises(Killed):
            write_dataset(path, BOTH)
    go_on(path, BOTH)
    assert contents(path) == whole


def test_samples_that_failed_before_are_appended_at_the_end(
    tmp_path: Path, whole: dict[str, bytes], contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run with fewer samples dies when all are recorded; the next ones have more and more."""
    path = tmp_path / "d.zarr"
    for count in (20, 30, 45):
        with monkeypatch.context() as patch:
            patch.setattr(dataset_writer, "write_columns", die)
            with pytest.raises(Killed):
                go_on(path, BOTH[:count])
    go_on(path, BOTH)
    assert contents(path) == whole


@pytest.mark.parametrize("step", ["columns", "attributes", "journal"])
def test_resuming_after_a_kill_at_the_very_end_gives_the_same_bytes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    whole: dict[str, bytes],
    contents: Contents,
    step: str,
) -> None:
    path = tmp_path / "d.zarr"
    target = {
        "columns": "skiptool.stores.dataset_writer.write_columns",
        "attributes": "zarr.Group.update_attributes",
        "journal": "skiptool.stores.journal.Journal.remove",
    }[step]
    with monkeypatch.context() as patch:
        patch.setattr(target, die)
        with pytest.raises(Killed):
            write_dataset(path, BOTH)
    go_on(path, BOTH)
    assert contents(path) == whole
    go_on(path, BOTH)  # nothing is left to say what was made: it starts again
    assert contents(path) == whole


def test_unrecorded_shards_are_removed(
    tmp_path: Path, whole: dict[str, bytes], contents: Contents
) -> None:
    path = tmp_path / "d.zarr"
    writer = DatasetWriter(path, CLASSES, MAKING)
    for each in BOTH[:20]:
        writer.append(each)
    for name, value in (("images", 9), ("masks", 1)):
        array = zarr.open_group(path, mode="r+")[f"a/{name}"]
        array.resize((64, *array.shape[1:]))
        array[16:64] = value
    (path / "a/images/c/0/0/0" / f"0.{'ab' * 16}.partial").write_text("Zarr was writing this")
    go_on(path, BOTH)
    assert contents(path) == whole


def test_unrecorded_shards_are_removed_even_without_further_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: dict[str, bytes], contents: Contents
) -> None:
    path = tmp_path / "d.zarr"

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("skiptool.stores.dataset_writer.create_lineage", die)
        with pytest.raises(Killed):
            write_dataset(path, BOTH)
    array = zarr.open_group(path, mode="r+")["a/masks"]
    array.resize((64, *array.shape[1:]))
    array[48:64] = 1
    go_on(path, BOTH)
    assert contents(path) == whole


def test_torn_journal_is_resumed_from_its_last_complete_line(
    tmp_path: Path, whole: dict[str, bytes], contents: Contents
) -> None:
    path = tmp_path / "d.zarr"
    writer = DatasetWriter(path, CLASSES, MAKING)
    for each in BOTH[:38]:
        writer.append(each)
    journal = (path / JOURNAL).read_bytes()
    (path / JOURNAL).write_bytes(journal[:-20])
    again = DatasetWriter(path, CLASSES, MAKING)
    assert (again.written("a"), again.written("b")) == (16, 0)
    go_on(path, BOTH)
    assert contents(path) == whole


def test_leftover_without_a_journal_is_discarded(
    tmp_path: Path, whole: dict[str, bytes], contents: Contents
) -> None:
    path = tmp_path / "d.zarr"
    writer = DatasetWriter(path, CLASSES, MAKING)
    for each in [*BOTH[:20], *(sample(index, "stale") for index in range(16))]:
        writer.append(each)
    (path / JOURNAL).unlink()
    go_on(path, BOTH)
    assert contents(path) == whole


@pytest.mark.parametrize(
    ("invocation", "words"),
    [
        (Invocation("synth", (), {"n": 41, "seed": 0}, {}, MAKING.inputs), ["n was 40, now 41"]),
        (
            Invocation("synth", (), MAKING.parameters, {}, {"templates": "c"}),
            ["templates was", "'c'"],
        ),
    ],
)
def test_leftover_with_other_parameters_or_inputs_is_refused_and_kept(
    tmp_path: Path, invocation: Invocation, words: list[str]
) -> None:
    out = tmp_path / "d.zarr"
    with pytest.raises(KeyboardInterrupt):
        interrupt(out, BOTH[:20])
    with refused(ExistsError, *words, "--overwrite"), atomic_output(out, resume=True) as partial:
        DatasetWriter(partial, CLASSES, invocation)
    with atomic_output(out, resume=True) as partial:
        assert DatasetWriter(partial, CLASSES, MAKING).written("a") == 16
        go_on(partial, BOTH)
    assert len(open_dataset(out).domain("a")) == 37


def interrupt(out: Path, samples: Sequence[Sample]) -> None:
    with atomic_output(out) as partial:
        writer = DatasetWriter(partial, CLASSES, MAKING)
        for each in samples:
            writer.append(each)
        raise KeyboardInterrupt


def test_resuming_ignores_the_path_of_the_output(tmp_path: Path) -> None:
    writer = DatasetWriter(tmp_path / "a", CLASSES, MAKING)
    for each in COLOUR[:16]:
        writer.append(each)
    shutil.move(tmp_path / "a", tmp_path / "b")
    invocation = Invocation("synth", (), MAKING.parameters, {"out": "elsewhere"}, MAKING.inputs)
    assert DatasetWriter(tmp_path / "b", CLASSES, invocation).written("a") == 16


@pytest.mark.parametrize("loss", ["images", "masks", "shard"])
def test_leftover_that_does_not_match_its_journal_is_refused(tmp_path: Path, loss: str) -> None:
    writer = DatasetWriter(tmp_path / "d", CLASSES, MAKING)
    for each in COLOUR[:32]:
        writer.append(each)
    if loss == "shard":
        (tmp_path / "d/a/images/c/1/0/0/0").unlink()
    else:
        shutil.rmtree(tmp_path / "d/a" / loss)
    with refused(FormatError, tmp_path / "d", "domain a", "--overwrite"):
        DatasetWriter(tmp_path / "d", CLASSES, MAKING)


@pytest.mark.parametrize("before", [1, 16, 20])
def test_samples_that_do_not_fit_their_domain_are_refused(tmp_path: Path, before: int) -> None:
    """The error names the first sample, whether that is buffered, written or resumed."""
    writer = DatasetWriter(tmp_path / "d", CLASSES, MAKING)
    for each in COLOUR[:before]:
        writer.append(each)
    if before == 16:
        writer = DatasetWriter(tmp_path / "d", CLASSES, MAKING)
    wide = sample(50, shape=(4, 7, 3))
    with refused(MismatchError, "domain a", "050", "000", "(4, 7, 3)", "(4, 6, 3)"):
        writer.append(wide)
    # one pixel would be spread over all by broadcasting
    with refused(MismatchError, "(1, 1, 3)", "(4, 6, 3)"):
        writer.append(sample(50, shape=(1, 1, 3)))
    with refused(MismatchError, "float32", "uint8"):
        writer.append(sample(50, shape=(4, 6, 1)))
    twin = sample(51, id=COLOUR[before - 1].id)
    with refused(MismatchError, twin.id, f"number {before}", f"number {before - 1}"):
        writer.append(twin)
    with refused(MismatchError, "050", "000", "{'mpp': 'number'}", "'organ': 'text'"):
        writer.append(sample(50, columns={"mpp": 1.0}))
    with refused(MismatchError, "'mpp': 'text'", "'mpp': 'number'"):
        writer.append(sample(50, columns={**COLOUR[0].columns, "mpp": "unknown"}))
    with refused(MismatchError, "label 9"):
        writer.append(sample(50, mask=np.full((4, 6), 9, np.uint8)))
    with refused(ArgumentError, "domain '..'"):
        writer.append(sample(50, ".."))
    writer.append(sample(50, "b", (4, 7, 3), columns={}))  # another domain may have them
    assert before // SHARD * SHARD == writer.written("a")


def test_numpy_numbers_are_stored_as_numbers(tmp_path: Path) -> None:
    columns = {"n": np.int32(3), "x": np.float32(0.5), "whole": 2, "nan": float("nan")}
    write_dataset(tmp_path / "d", [sample(0, columns=columns), sample(1, columns=columns)])
    found = open_dataset(tmp_path / "d").domain("a").columns
    assert [found[name].tolist() for name in ("n", "x", "whole")] == [[3, 3], [0.5, 0.5], [2, 2]]
    assert np.isnan(found["nan"]).all()


def test_empty_dataset_is_refused(tmp_path: Path) -> None:
    with refused(FormatError, "no samples"):
        DatasetWriter(tmp_path / "d", CLASSES, MAKING).finish()
    with refused(FormatError, tmp_path / "d", "not made by skiptool"):
        open_dataset(tmp_path / "d")
