from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from tests.model import readers

from limits import files_below
from skiptool.errors import FormatError, WorkerError
from skiptool.model.batches import (
    PIPE_WARNING,
    UNSENT_EXIT_CODE,
    BatchLoader,
    CachedReader,
    RandomStream,
    augment_batch,
    count_batches,
    exit_if_unsent,
    generator,
    seeded,
    to_network_input,
    torch_seed,
    training_batches,
    usable_workers,
    validation_batches,
)
from skiptool.model.device import explain_training_errors
from skiptool.model.distributed import ALONE, Ranks
from skiptool.records import SILENT

if TYPE_CHECKING:
    from skiptool.records import UInt8


def epoch(loader: Any, number: int) -> list[Any]:  # noqa: ANN401 - a DataLoader
    loader.sampler.set_epoch(number)
    return list(loader)


def same(left: list[Any], right: list[Any]) -> bool:
    return len(left) == len(right) and all(
        torch.equal(a, b)
        for x, y in zip(left, right, strict=True)
        for a, b in zip(x, y, strict=True)
    )


def test_uint8_is_divided_by_255_and_nothing_else() -> None:
    images = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1).expand(2, 16, 16, 3)
    found = to_network_input(images)
    assert found.shape == (2, 3, 16, 16)
    expected = np.arange(256, dtype=np.float32) / np.float32(255)
    np.testing.assert_array_equal(found[1, 2].reshape(-1).numpy(), expected)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_floats_stay() -> None:
    images = torch.rand(2, 5, 4, 1)
    assert torch.equal(to_network_input(images), images.permute(0, 3, 1, 2))


def test_an_epoch_holds_every_sample_once_in_a_new_order(readers: ModuleType) -> None:
    loader = training_batches(readers.Squares(20), 8, seed=0)
    orders = []
    for number in range(3):
        loader.sampler.set_epoch(number)
        keys = list(loader.sampler)
        assert [key[0] for key in keys] == [number] * 20
        orders.append([key[1] for key in keys])
        assert sorted(orders[-1]) == list(range(20))
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_each_epoch_takes_the_next_draw(readers: ModuleType) -> None:
    """Draws need not be contiguous or of equal size; 9 images leave one over."""
    draws = [[1, 3, 5, 7, 9, 11, 13, 15, 17], [0, 2, 4, 6], [8, 10, 12, 14, 16]]
    loader = training_batches(readers.Squares(18, size=32), 4, seed=2, draws=draws)
    counts = count_batches(draws, 4, epochs=7)
    assert counts == [2, 1, 1, 2, 1, 1, 2]
    orders = []
    for number in range(7):
        assert len(epoch(loader, number)) == counts[number]
        keys = list(loader.sampler)
        assert {key[0] for key in keys} == {number}
        orders.append([key[1] for key in keys])
        left_out = set(draws[number % 3]) - set(orders[-1])
        assert set(orders[-1]) <= set(draws[number % 3])
        assert len(left_out) == (0 if number % 3 == 1 else 1)
    assert orders[1] != orders[4]


def test_one_draw_is_all_samples(readers: ModuleType) -> None:
    reader = readers.Squares(9, size=32)
    plain = training_batches(reader, 4, seed=1)
    drawn = training_batches(reader, 4, seed=1, draws=[list(range(9))])
    assert same(epoch(plain, 3), epoch(drawn, 3))


def test_epochs_are_reproducible_and_differ(readers: ModuleType) -> None:
    loader, again = (training_batches(readers.Squares(9), 4, seed=1) for _ in range(2))
    first = epoch(loader, 0)
    second = epoch(loader, 1)
    assert same(second, epoch(again, 1))  # independent of earlier epochs
    assert same(first, epoch(loader, 0))
    assert not same(first, second)
    assert not same(first, epoch(training_batches(readers.Squares(9), 4, seed=2), 0))


def test_each_epoch_changes_a_sample_in_its_own_way(readers: ModuleType) -> None:
    samples = training_batches(readers.Squares(6), 2, seed=0).dataset
    for index in range(6):
        seen = {samples[number, index][0].tobytes() for number in range(6)}
        assert len(seen) > 3
        again = samples[2, index][0]
        assert again.tobytes() == samples[2, index][0].tobytes()


def test_loading_leaves_the_random_state_alone(readers: ModuleType) -> None:
    before = torch.get_rng_state()
    epoch(training_batches(readers.Squares(4), 2, seed=1), 0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("count", "batch_size", "expected"),
    [(17, 8, [8, 8]), (18, 8, [8, 8, 2]), (3, 8, [3]), (1, 8, [1]), (3, 1, [1, 1, 1])],
)
def test_a_last_batch_of_one_is_left_out(
    readers: ModuleType, count: int, batch_size: int, expected: list[int]
) -> None:
    loader = training_batches(readers.Squares(count, size=32), batch_size, seed=0)
    assert [len(masks) for _, masks in loader] == expected
    assert count_batches([range(count)], batch_size, 1) == [len(expected)]


def test_validation_is_all_in_order_and_unchanged(readers: ModuleType) -> None:
    reader = readers.Squares(9)
    batches = list(validation_batches(reader, 4))
    assert [len(masks) for _, masks in batches] == [4, 4, 1]
    for index in range(9):
        image, mask = reader.read(index)
        images, masks = batches[index // 4]
        np.testing.assert_array_equal(images[index % 4].numpy(), image)
        np.testing.assert_array_equal(masks[index % 4].numpy(), mask)
        assert images.dtype == masks.dtype == torch.uint8


def test_an_unreadable_sample_comes_as_its_error(readers: ModuleType) -> None:
    found = list(validation_batches(readers.Squares(4, broken=3), 2))
    assert isinstance(found[1], FormatError)
    assert str(found[1]) == "squares: sample 3 is damaged"


@pytest.mark.long
def test_workers_change_nothing(readers: ModuleType) -> None:
    """Two epochs, as persistent workers must learn of the second; errors stay one line."""
    draws = [range(12), range(5, 13)]
    plain, spawned = (
        training_batches(readers.Squares(13, broken=7), 4, seed=3, workers=workers, draws=draws)
        for workers in (0, 2)
    )
    for number in (0, 1):
        expected, found = epoch(plain, number), epoch(spawned, number)
        errors = [batch for batch in expected if isinstance(batch, FormatError)]
        assert [str(error) for error in errors] == ["squares: sample 7 is damaged"]
        place = expected.index(errors[0])
        assert str(found.pop(place)) == str(expected.pop(place))
        assert same(expected, found)
    spawned._iterator._shutdown_workers()


@pytest.mark.parametrize("kind", ["Squares", "Grey"])
def test_augmenting_later_is_augmenting_in_the_loader(kind: str, readers: ModuleType) -> None:
    reader = getattr(readers, kind)(24)
    at_once = epoch(training_batches(reader, 8, seed=3), 5)
    later = epoch(training_batches(reader, 8, seed=3, defer_augmentation=True), 5)
    assert all(batch[2].shape == (8, 6) for batch in later)
    assert not torch.equal(later[0][0], at_once[0][0])
    assert same([augment_batch(*batch) for batch in later], at_once)


@pytest.mark.parametrize(("samples", "size", "batch"), [(24, 2, 8), (29, 3, 9), (13, 2, 4)])
def test_processes_share_each_batch(
    samples: int, size: int, batch: int, readers: ModuleType
) -> None:
    def keys(ranks: Ranks) -> list[list[tuple[int, int]]]:
        loader = training_batches(readers.Squares(samples), batch, seed=1, ranks=ranks)
        loader.sampler.set_epoch(2)
        return list(loader.batch_sampler)

    whole = keys(ALONE)
    parts = [keys(Ranks(rank, size)) for rank in range(size)]
    assert {len(part) for part in parts} == {len(part) for part in parts[:1]}
    count = count_batches([range(samples)], batch, 1, Ranks(0, size))
    assert count == [len(parts[0])]
    for number, together in enumerate(zip(*parts, strict=True)):
        shared = [key for part in together for key in part]
        assert sorted(shared) == sorted(whole[number])
        assert max(map(len, together)) - min(map(len, together)) <= 1
        assert min(map(len, together)) >= 2
    if len(whole) > len(parts[0]):
        assert len(whole[-1]) < 2 * size


def test_processes_validate_each_sample_once(readers: ModuleType) -> None:
    loaders = [validation_batches(readers.Squares(7), 4, ranks=Ranks(rank, 2)) for rank in range(2)]
    assert sorted(key for loader in loaders for key in loader.sampler) == [
        (0, index) for index in range(7)
    ]
    assert [len(batch[0]) for batch in loaders[0]] == [2, 2]


class CountLayout(readers.Squares):
    """Squares that record how often each is read."""

    def __init__(self, count: int, broken: int = -1) -> None:
        super().__init__(count, broken=broken)
        self.reads = [0] * count

    def read(self, index: int) -> tuple[UInt8, UInt8]:
        self.reads[index] += 1
        return super().read(index)


def test_is_read_once_and_stays_the_same() -> None:
    reader = CountLayout(5)
    recalled = CachedReader(reader)
    assert len(recalled) == 5
    for index in (3, 1, 3, 1, 3):
        for found, stored in zip(recalled.read(index), readers.Squares(5).read(index), strict=True):
            np.testing.assert_array_equal(found, stored)
    assert reader.reads == [0, 1, 0, 1, 0]


def test_what_exceeds_the_limit_is_read_each_time() -> None:
    reader = CountLayout(3)
    size = sum(part.nbytes for part in reader.read(0))
    reader.reads = [0] * 3
    recalled = CachedReader(reader, most=2 * size)
    for _ in range(2):
        for index in range(3):
            recalled.read(index)
    assert reader.reads == [1, 1, 2]


def test_what_is_kept_cannot_be_written_into() -> None:
    image, mask = CachedReader(readers.Squares(1)).read(0)
    for part in (image, mask):
        with pytest.raises(ValueError, match="read-only"):
            part[...] = 0


def test_a_sample_that_cannot_be_read_is_tried_anew() -> None:
    reader = CountLayout(2, broken=1)
    recalled = CachedReader(reader)
    for _ in range(2):
        with pytest.raises(FormatError, match="sample 1 is damaged"):
            recalled.read(1)
    assert reader.reads == [0, 2]


def test_every_place_has_its_own_seed() -> None:
    seeds = [
        torch_seed(stream, a, b) for stream in RandomStream for a in range(6) for b in range(6)
    ]
    assert len(set(seeds)) == len(seeds)


def test_the_same_place_gives_the_same_numbers() -> None:
    first = generator(RandomStream.AUGMENT, 1, 2, 3).random(4)
    np.testing.assert_array_equal(first, generator(RandomStream.AUGMENT, 1, 2, 3).random(4))


def test_seeded_gives_the_old_state_back_even_after_an_error() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    try:
        with seeded(RandomStream.WEIGHTS, 0):
            torch.rand(7)
            raise KeyError
    except KeyError:
        pass
    assert torch.equal(torch.rand(3), expected)


def test_seeded_draws_do_not_depend_on_what_came_before() -> None:
    draws = []
    for state in (0, 1):
        torch.manual_seed(state)
        with seeded(RandomStream.WEIGHTS, 4):
            draws.append(torch.rand(3))
    assert torch.equal(*draws)


class Heard:
    """Progress that records warnings."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.task, self.warn = SILENT.task, self.lines.append


def epoch_of_handing(loader: BatchLoader, number: int) -> list[Any]:
    loader.sampler.set_epoch(number)  # type: ignore[union-attr]
    return list(loader)


@pytest.mark.long
def test_without_room_in_shared_memory_batches_come_through_pipes(readers: ModuleType) -> None:
    """A file size limit simulates a small /dev/shm: allocation fails in the same way."""
    reader, lines = readers.Squares(12, size=128), []
    expected = epoch_of_handing(training_batches(reader, 4, seed=3), 0)
    with files_below(1 << 16):
        loader = training_batches(reader, 4, seed=3, workers=2)
        loader.warn = lines.append
        found = epoch_of_handing(loader, 0)
    assert len(found) == len(expected) == 3
    for ours, theirs in zip(found, expected, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert lines == [PIPE_WARNING]
    assert "--shm-size" in PIPE_WARNING
    assert "--workers" in PIPE_WARNING
    assert len(epoch_of_handing(loader, 1)) == 3  # running workers keep their limit
    assert lines == [PIPE_WARNING]
    loader._iterator._shutdown_workers()  # type: ignore[union-attr]


@pytest.mark.slow
def test_with_room_nothing_is_said(readers: ModuleType) -> None:
    lines: list[str] = []
    loader = training_batches(readers.Squares(8), 4, seed=3, workers=1)
    loader.warn = lines.append
    assert all(batch[0].is_shared() for batch in epoch_of_handing(loader, 0))
    assert lines == []
    loader._iterator._shutdown_workers()  # type: ignore[union-attr]


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_batch_that_cannot_be_handed_over_is_heard(readers: ModuleType) -> None:
    """Otherwise the training process would wait forever; here until the timeout."""
    loader = BatchLoader(
        range(4),  # type: ignore[arg-type]
        num_workers=1,
        collate_fn=readers.unpicklable,
        multiprocessing_context="spawn",
        worker_init_fn=exit_if_unsent,
        timeout=60,
    )
    told = pytest.raises(WorkerError, match="loader processes was killed")
    with told as error, explain_training_errors("cpu", "batches", 1):
        list(loader)
    cause = error.value.__cause__
    assert cause is not None
    assert f"exit code {UNSENT_EXIT_CODE}" in str(cause.__cause__ or cause)


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="locks lie elsewhere")
def test_without_room_for_locks_this_process_reads() -> None:
    told = Heard()
    assert usable_workers(2, told) == 2
    with files_below(0):
        assert usable_workers(2, told) == 0
        assert usable_workers(0, told) == 0
    (line,) = told.lines
    assert line.startswith("loader processes cannot be started (")
    assert line.endswith("the main process reads by itself, as with --workers 0")
