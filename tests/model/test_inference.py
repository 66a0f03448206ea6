from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from hypothesis import given
from hypothesis import strategies as st

from skiptool.errors import ArgumentError
from skiptool.metrics import confusion_counts
from skiptool.model.batches import to_network_input
from skiptool.model.inference import (
    check_labels,
    count_substituted,
    decode,
    forward_batches,
    map_concurrently,
    predict_labels,
    prepare_for_inference,
    read_ahead,
    segment,
    to_device,
)
from skiptool.model.unet import build
from skiptool.names import Arch, Precision
from skiptool.records import Architecture
from strategies import SEEDS

if TYPE_CHECKING:
    from skiptool.records import Image, UInt8


def test_labels_are_the_largest_logits(baseline: smp.Unet, images: UInt8) -> None:
    result = predict_labels(baseline, images, "cpu", Precision.FLOAT32)
    with torch.no_grad():
        logits = baseline(torch.from_numpy(images / np.float32(255)).permute(0, 3, 1, 2))
    certain = (logits[:, 1] - logits[:, 0]).abs().numpy() > 1e-4
    expected = (logits[:, 1] > logits[:, 0]).numpy()
    assert result.dtype == np.uint8
    assert result.shape == (2, 96, 64)
    assert certain.mean() > 0.99
    np.testing.assert_array_equal(result[certain], expected[certain])
    assert 0 < result.mean() < 1


@pytest.mark.parametrize("size", [(50, 77), (33, 64)], ids=str)
def test_predict_labels_accepts_one_channel_and_any_size(
    grey_pruned: smp.Unet, size: tuple[int, int]
) -> None:
    images = np.random.default_rng(0).random((1, *size, 1), dtype=np.float32)
    result = predict_labels(grey_pruned, images, "cpu", Precision.FLOAT32)
    assert result.shape == (1, *size)
    assert result.max() <= 2


def test_bfloat16_labels_hardly_differ(baseline: smp.Unet, images: UInt8) -> None:
    exact, rough = (
        predict_labels(baseline, images, "cpu", precision)
        for precision in (Precision.FLOAT32, Precision.BFLOAT16)
    )
    assert 0.8 < (exact == rough).mean() < 1


def test_labels_of_read_only_images_are_reproducible(baseline: smp.Unet, images: UInt8) -> None:
    images.flags.writeable = False
    first, again = (predict_labels(baseline, images, "cpu", Precision.FLOAT32) for _ in range(2))
    np.testing.assert_array_equal(first, again)


@pytest.mark.long
def test_prediction_does_not_change_the_network() -> None:
    network = build(Architecture("resnet18", (), ("background", "cell"))).train()
    before = network.encoder.bn1.running_mean.clone()
    predict_labels(network, np.full((1, 64, 64, 3), 200, np.uint8), "cpu", Precision.FLOAT32)
    assert not network.training
    assert torch.equal(network.encoder.bn1.running_mean, before)


@pytest.mark.long
def test_prepare_for_inference_puts_channels_last() -> None:
    network = build(Architecture("resnet18", (), ("background", "cell")))
    assert prepare_for_inference(network, "cpu") is network
    weight = network.encoder.layer1[0].conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_to_device_accepts_views(images: UInt8) -> None:
    result = to_device(images[:, ::2, ::-1], "cpu")
    expected = images[:, ::2, ::-1].transpose(0, 3, 1, 2) / np.float32(255)
    np.testing.assert_array_equal(result.numpy(), expected)


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
def test_batch_size_depends_on_image_size_and_device(
    size: tuple[int, int], device: str, expected: list[int]
) -> None:
    images = np.zeros((16, *size, 1), np.float32)
    images[:, 0, 0, 0] = np.arange(16)
    parts = list(forward_batches(images, device))
    assert [len(part) for part in parts] == expected
    np.testing.assert_array_equal(np.concatenate(parts), images)


def test_only_the_next_part_is_read_ahead() -> None:
    begun = {number: threading.Event() for number in range(4)}

    def read(number: int) -> int:
        begun[number].set()
        return -number

    for number, result in enumerate(read_ahead(read, range(4))):
        assert result == -number
        if number < 3:
            assert begun[number + 1].wait(timeout=10)  # not requested yet
        assert not any(begun[later].is_set() for later in range(number + 2, 4))


def test_errors_of_reading_replace_their_result() -> None:
    outcomes = read_ahead(lambda number: 6 // number, [2, 1, 0, 3])
    assert [next(outcomes), next(outcomes)] == [3, 6]
    with pytest.raises(ZeroDivisionError):
        next(outcomes)
    assert list(read_ahead(abs, [])) == []


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Set torch's number of threads during a test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("count", "batches", "lanes"),
    [(1, 3, 1), (2, 1, 1), (2, 3, 2), (3, 4, 3), (6, 2, 2), (6, 9, 3), (16, 9, 4)],
)
def test_threads_are_divided_among_lanes(
    count: int, batches: int, lanes: int, threads: Callable[[int], None]
) -> None:
    threads(count)
    together = threading.Barrier(lanes, timeout=10)
    images = np.arange(batches, dtype=np.float32).reshape(batches, 1, 1, 1, 1)

    def work(batch: Image) -> tuple[float, int]:
        if batch.item() < lanes:
            together.wait()  # that many run at once
        return batch.item(), torch.get_num_threads()

    assert map_concurrently(work, list(images)) == [(n, count // lanes) for n in range(batches)]
    assert torch.get_num_threads() == count
    with ThreadPoolExecutor(1) as later:  # later threads use all
        assert later.submit(torch.get_num_threads).result() == count


def test_errors_of_concurrent_work_are_raised(threads: Callable[[int], None]) -> None:
    threads(2)
    with pytest.raises(ZeroDivisionError):
        map_concurrently(
            lambda batch: 1 // int(batch.sum()), [np.zeros((1, 1, 1, 1), np.uint8)] * 2
        )
    assert torch.get_num_threads() == 2


CPU_FLOAT32 = ("cpu", Precision.FLOAT32)


@pytest.fixture(scope="module")
def others(baseline: smp.Unet) -> list[smp.Unet]:
    """Two copies of the baseline with noise on their heads."""
    made = []
    for seed in (4, 5):
        network = build(Architecture("resnet18", (1, 2, 3, 4), ("background", "cell")))
        network.load_state_dict(baseline.state_dict())
        generator = torch.Generator().manual_seed(seed)
        for weight in network.segmentation_head.parameters():
            noise = torch.randn(weight.shape, generator=generator)
            weight.data += noise * weight.data.abs().max()
        made.append(prepare_for_inference(network, "cpu"))
    return made


def truth_of(images: Image) -> UInt8:
    drawn = np.random.default_rng(0).choice(np.array([0, 1, 255]), images.shape[:3])
    return drawn.astype(np.uint8)


def softmax(network: smp.Unet, images: Image) -> np.ndarray:
    """Class probabilities (N, J, H, W) of one network, in float64 from its logits."""
    with torch.no_grad():
        logits = network(torch.from_numpy(images / np.float32(255)).permute(0, 3, 1, 2))
    powers = np.exp(logits.numpy().astype(np.float64))
    return powers / powers.sum(axis=1, keepdims=True)


def test_networks_in_one_call_give_the_results_of_single_calls(
    baseline: smp.Unet, others: list[smp.Unet], images: UInt8
) -> None:
    networks, truth = [baseline, *others], truth_of(images)
    result = segment(networks, [], images, truth, 2, *CPU_FLOAT32, keep_labels=True)
    assert result.labels is not None
    assert (result.labels.dtype, result.counts.dtype) == (np.uint8, np.int64)
    for network, labels, counts in zip(networks, result.labels, result.counts, strict=True):
        np.testing.assert_array_equal(labels, predict_labels(network, images, *CPU_FLOAT32))
        np.testing.assert_array_equal(counts, confusion_counts(truth, labels, 2))
    assert (result.labels[0] != result.labels[1]).any()
    alone = segment(networks, [], images, truth, 2, *CPU_FLOAT32)
    assert alone.labels is None
    np.testing.assert_array_equal(alone.counts, result.counts)


def test_ensemble_predicts_the_class_of_highest_mean_probability(
    baseline: smp.Unet, others: list[smp.Unet], images: UInt8
) -> None:
    networks, truth = [baseline, *others], truth_of(images)
    groups = [(0, 1, 2), (2, 0)]
    result = segment(networks, groups, images, truth, 2, *CPU_FLOAT32, keep_labels=True)
    assert result.labels is not None
    assert len(result.labels) == len(result.counts) == 5
    softmaxes = [softmax(network, images) for network in networks]
    votes = result.labels[:3].sum(axis=0) > 1
    for members, labels, counts in zip(groups, result.labels[3:], result.counts[3:], strict=True):
        mean = np.mean([softmaxes[number] for number in members], axis=0)
        certain = np.abs(mean[:, 1] - mean[:, 0]) > 1e-4
        assert certain.mean() > 0.98
        np.testing.assert_array_equal(labels[certain], (mean[:, 1] > mean[:, 0])[certain])
        np.testing.assert_array_equal(counts, confusion_counts(truth, labels, 2))
    assert (result.labels[3] != votes).any()  # probabilities are averaged, not labels


@pytest.mark.long
def test_segment_accepts_one_channel_and_any_size(grey_pruned: smp.Unet) -> None:
    images = np.random.default_rng(0).random((3, 33, 50, 1), dtype=np.float32)
    truth = np.random.default_rng(1).integers(0, 3, (3, 33, 50), dtype=np.uint8)
    result = segment([grey_pruned], [], images, truth, 3, *CPU_FLOAT32, keep_labels=True)
    assert result.counts.shape == (1, 3, 3, 3)
    assert (result.counts.sum(axis=(2, 3)) == 33 * 50).all()


class Painted(torch.nn.Module):
    """A network whose largest logit is that of a given label for all images."""

    def __init__(self, labels: UInt8, classes: int) -> None:
        super().__init__()
        hot = np.eye(classes, dtype=np.float32)[labels]
        self.logits = torch.from_numpy(hot).permute(0, 3, 1, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits


@given(SEEDS, st.integers(2, 9), st.integers(1, 4), st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_counts_equal_those_of_numpy(
    seed: int, classes: int, number: int, size: tuple[int, int]
) -> None:
    rng = np.random.default_rng(seed)
    shape = (number, *size)
    truth = rng.choice(np.array([*range(classes), 255]), shape).astype(np.uint8)
    labels = rng.integers(0, classes, shape, dtype=np.uint8)
    images = np.zeros((*shape, 3), dtype=np.uint8)
    result = segment(
        [Painted(labels, classes)], [], images, truth, classes, *CPU_FLOAT32, keep_labels=True
    )
    np.testing.assert_array_equal(result.counts[0], confusion_counts(truth, labels, classes))
    np.testing.assert_array_equal(result.labels, labels[None])


@pytest.mark.parametrize(("label", "classes"), [(2, 2), (254, 2), (3, 3), (254, 254)])
def test_unknown_labels_are_refused(label: int, classes: int) -> None:
    truth = np.zeros((2, 4, 4), dtype=np.uint8)
    truth[1, 2:] = 255
    check_labels(truth, classes, "d.zarr")
    truth[1, 2, 3] = label
    with pytest.raises(
        ArgumentError, match=rf"^d\.zarr: masks contain label {label}, expected 0 to"
    ):
        check_labels(truth, classes, "d.zarr")


def test_out_of_memory_is_one_line(baseline: smp.Unet, images: UInt8) -> None:
    class Greedy(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise torch.OutOfMemoryError("tried to allocate\nmore than there is")

    with pytest.raises(
        MemoryError, match="device cpu has not enough memory for 2 networks"
    ) as caught:
        segment([baseline, Greedy()], [], images, truth_of(images), 2, *CPU_FLOAT32)
    assert "2 images of 96 x 64 px" in str(caught.value)
    assert "\n" not in str(caught.value)


CPU_TWO_CLASSES = (2, "cpu", Precision.FLOAT32)
LEVELS = (1, 2, 3, 4, 5)


def network_of(arch: str, skips: tuple[int, ...], images: Image) -> smp.Unet:
    """Build a network that assigns half of the pixels of some images to each class."""
    network = build(Architecture("resnet18", skips, ("background", "cell"), arch=arch), seed=3)
    prepare_for_inference(network, "cpu")
    with torch.no_grad():
        logits = network(to_network_input(torch.from_numpy(images)))
        network.segmentation_head[0].bias[1] -= (logits[:, 1] - logits[:, 0]).median()
    return network


def counts(network: smp.Unet, images: Image, truth: UInt8) -> np.ndarray:
    return segment([network], [], images, truth, *CPU_TWO_CLASSES).counts[0]


@pytest.mark.long
@pytest.mark.parametrize("arch", Arch)
@pytest.mark.parametrize("skips", [(1, 2, 3, 4), (2, 4), ()])
def test_substituting_all_levels_or_none_gives_the_clean_or_shifted_prediction(
    arch: Arch, skips: tuple[int, ...], images: UInt8
) -> None:
    network, truth, dark = network_of(arch.value, skips, images), truth_of(images), images // 3
    result = count_substituted(
        network, [LEVELS, ()], images, [dark, images], truth, *CPU_TWO_CLASSES
    )
    clean, shifted = (counts(network, batch, truth) for batch in (images, dark))
    assert (clean != shifted).any()
    np.testing.assert_array_equal(result[0, 0], clean)
    np.testing.assert_array_equal(result[0, 1], shifted)
    np.testing.assert_array_equal(result[1], [clean, clean])  # without a shift nothing changes


@pytest.mark.long
def test_substituted_levels_equal_an_exchanged_encoder_output(
    baseline: smp.Unet, images: UInt8
) -> None:
    """Against SMP's own forward pass, its encoder's output exchanged by a hook."""
    clean, shifted = (to_network_input(torch.from_numpy(batch)) for batch in (images, images // 2))
    with torch.no_grad():
        own, other = baseline.encoder(clean), baseline.encoder(shifted)
        for size in range(6):
            for levels in combinations(LEVELS, size):
                mixed = [own[k] if k in levels else other[k] for k in range(6)]
                handle = baseline.encoder.register_forward_hook(lambda *_, mixed=mixed: mixed)
                expected = baseline(shifted)
                handle.remove()
                assert torch.equal(decode(baseline, own, other, levels), expected)


def test_substituting_a_pruned_skip_changes_nothing(images: UInt8) -> None:
    network, truth = network_of("unet", (2, 3, 4), images), truth_of(images)
    result = count_substituted(network, [(1,), ()], images, [images // 3], truth, *CPU_TWO_CLASSES)
    np.testing.assert_array_equal(result[0, 0], result[0, 1])


def test_feature_maps_are_not_modified(baseline: smp.Unet, images: UInt8) -> None:
    """Sets are decoded in turn from the same maps: their order must not matter."""
    truth, sets = truth_of(images), [(1,), (2,), (1, 2, 3, 4), (5,)]
    forwards = count_substituted(baseline, sets, images, [images // 2], truth, *CPU_TWO_CLASSES)
    backwards = count_substituted(
        baseline, sets[::-1], images, [images // 2], truth, *CPU_TWO_CLASSES
    )
    np.testing.assert_array_equal(forwards, backwards[:, ::-1])
