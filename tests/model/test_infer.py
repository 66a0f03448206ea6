from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch

from skiptool.model.infer import (
    forward_batches,
    place,
    predict_labels,
    read_ahead,
    side_by_side,
    to_device,
)
from skiptool.model.unet import build
from skiptool.names import Precision
from skiptool.records import Architecture

if TYPE_CHECKING:
    from skiptool.records import Image, UInt8


def test_labels_are_the_largest_logits(baseline: smp.Unet, images: UInt8) -> None:
    found = predict_labels(baseline, images, "cpu", Precision.FLOAT32)
    with torch.no_grad():
        logits = baseline(torch.from_numpy(images / np.float32(255)).permute(0, 3, 1, 2))
    certain = (logits[:, 1] - logits[:, 0]).abs().numpy() > 1e-4
    expected = (logits[:, 1] > logits[:, 0]).numpy()
    assert found.dtype == np.uint8
    assert found.shape == (2, 96, 64)
    assert certain.mean() > 0.99
    np.testing.assert_array_equal(found[certain], expected[certain])
    assert 0 < found.mean() < 1


@pytest.mark.parametrize("size", [(50, 77), (33, 64)], ids=str)
def test_one_channel_three_classes_any_size(grey_pruned: smp.Unet, size: tuple[int, int]) -> None:
    images = np.random.default_rng(0).random((1, *size, 1), dtype=np.float32)
    found = predict_labels(grey_pruned, images, "cpu", Precision.FLOAT32)
    assert found.shape == (1, *size)
    assert found.max() <= 2


def test_bfloat16_hardly_differs(baseline: smp.Unet, images: UInt8) -> None:
    exact, rough = (
        predict_labels(baseline, images, "cpu", precision)
        for precision in (Precision.FLOAT32, Precision.BFLOAT16)
    )
    assert 0.8 < (exact == rough).mean() < 1


def test_the_same_labels_twice_from_read_only_images(baseline: smp.Unet, images: UInt8) -> None:
    images.flags.writeable = False
    first, again = (predict_labels(baseline, images, "cpu", Precision.FLOAT32) for _ in range(2))
    np.testing.assert_array_equal(first, again)


@pytest.mark.long
def test_a_network_in_training_is_not_trained() -> None:
    network = build(Architecture("resnet18", (), ("background", "cell"))).train()
    before = network.encoder.bn1.running_mean.clone()
    predict_labels(network, np.full((1, 64, 64, 3), 200, np.uint8), "cpu", Precision.FLOAT32)
    assert not network.training
    assert torch.equal(network.encoder.bn1.running_mean, before)


@pytest.mark.long
def test_place_puts_channels_last() -> None:
    network = build(Architecture("resnet18", (), ("background", "cell")))
    assert place(network, "cpu") is network
    weight = network.encoder.layer1[0].conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_to_device_takes_views(images: UInt8) -> None:
    found = to_device(images[:, ::2, ::-1], "cpu")
    expected = images[:, ::2, ::-1].transpose(0, 3, 1, 2) / np.float32(255)
    np.testing.assert_array_equal(found.numpy(), expected)


@pytest.mark.parametrize(
    ("size", "device", "expected"),
    [
        ((64, 64), "cpu", [16]),
        ((128, 128), "cpu", [8, 8]),
        ((192, 192), "cpu", [3, 3, 3, 3, 3, 1]),
        ((512, 512), "cpu", [1] * 16),
        ((512, 512), "cuda:0", [16]),
        ((64, 64), "cuda:0", [16]),
        ((1024, 2048), "cuda:0", [2] * 8),
    ],
)
def test_large_images_run_in_small_batches(
    size: tuple[int, int], device: str, expected: list[int]
) -> None:
    images = np.zeros((16, *size, 1), np.float32)
    images[:, 0, 0, 0] = np.arange(16)
    parts = list(forward_batches(images, device))
    assert [len(part) for part in parts] == expected
    np.testing.assert_array_equal(np.concatenate(parts), images)


def test_the_next_part_is_read_meanwhile_and_no_other() -> None:
    begun = {number: threading.Event() for number in range(4)}

    def read(number: int) -> int:
        begun[number].set()
        return -number

    for number, result in enumerate(read_ahead(read, range(4))):
        assert result == -number
        if number < 3:
            assert begun[number + 1].wait(timeout=10)  # nobody has asked for it yet
        assert not any(begun[later].is_set() for later in range(number + 2, 4))


def test_what_reading_raises_comes_where_its_result_would() -> None:
    results = read_ahead(lambda number: 6 // number, [2, 1, 0, 3])
    assert [next(results), next(results)] == [3, 6]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert list(read_ahead(abs, [])) == []


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Set torch's number of threads, as it was before when the test ends."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("count", "batches", "lanes"),
    [(1, 3, 1), (2, 1, 1), (2, 3, 2), (3, 4, 3), (6, 2, 2), (6, 9, 3), (16, 9, 4)],
)
def test_threads_are_shared_out(
    count: int, batches: int, lanes: int, threads: Callable[[int], None]
) -> None:
    threads(count)
    together = threading.Barrier(lanes, timeout=10)
    images = np.arange(batches, dtype=np.float32).reshape(batches, 1, 1, 1, 1)

    def work(batch: Image) -> tuple[float, int]:
        if batch.item() < lanes:
            together.wait()  # as many as that run at once
        return batch.item(), torch.get_num_threads()

    assert side_by_side(work, list(images)) == [(n, count // lanes) for n in range(batches)]
    assert torch.get_num_threads() == count
    with ThreadPoolExecutor(1) as later:  # threads to come are not held to a share
        assert later.submit(torch.get_num_threads).result() == count


def test_what_work_raises_comes_out(threads: Callable[[int], None]) -> None:
    threads(2)
    with pytest.raises(ZeroDivisionError):
        side_by_side(lambda batch: 1 // int(batch.sum()), [np.zeros((1, 1, 1, 1), np.uint8)] * 2)
    assert torch.get_num_threads() == 2
