from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from hypothesis import given
from hypothesis import strategies as st

from skiptool.errors import ArgumentError
from skiptool.metrics import count
from skiptool.model.infer import place, predict_labels
from skiptool.model.segment import check_labels, segment
from skiptool.model.unet import build
from skiptool.names import Precision
from skiptool.records import Architecture
from strategies import SEEDS

if TYPE_CHECKING:
    from skiptool.records import Image, UInt8

PLAIN = ("cpu", Precision.FLOAT32)


@pytest.fixture(scope="module")
def others(baseline: smp.Unet) -> list[smp.Unet]:
    """Two networks like the baseline but for noise on their heads."""
    made = []
    for seed in (4, 5):
        network = build(Architecture("resnet18", (1, 2, 3, 4), ("background", "cell")))
        network.load_state_dict(baseline.state_dict())
        generator = torch.Generator().manual_seed(seed)
        for weight in network.segmentation_head.parameters():
            noise = torch.randn(weight.shape, generator=generator)
            weight.data += noise * weight.data.abs().max()
        made.append(place(network, "cpu"))
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


def test_each_network_labels_and_counts_as_it_does_alone(
    baseline: smp.Unet, others: list[smp.Unet], images: UInt8
) -> None:
    networks, truth = [baseline, *others], truth_of(images)
    found = segment(networks, [], images, truth, 2, *PLAIN, keep=True)
    assert found.labels is not None
    assert (found.labels.dtype, found.counts.dtype) == (np.uint8, np.int64)
    for network, labels, counts in zip(networks, found.labels, found.counts, strict=True):
        np.testing.assert_array_equal(labels, predict_labels(network, images, *PLAIN))
        np.testing.assert_array_equal(counts, count(truth, labels, 2))
    assert (found.labels[0] != found.labels[1]).any()
    alone = segment(networks, [], images, truth, 2, *PLAIN)
    assert alone.labels is None
    np.testing.assert_array_equal(alone.counts, found.counts)


def test_an_ensemble_takes_the_class_of_highest_mean_probability(
    baseline: smp.Unet, others: list[smp.Unet], images: UInt8
) -> None:
    networks, truth = [baseline, *others], truth_of(images)
    groups = [(0, 1, 2), (2, 0)]
    found = segment(networks, groups, images, truth, 2, *PLAIN, keep=True)
    assert found.labels is not None
    assert len(found.labels) == len(found.counts) == 5
    chances = [softmax(network, images) for network in networks]
    votes = found.labels[:3].sum(axis=0) > 1
    for members, labels, counts in zip(groups, found.labels[3:], found.counts[3:], strict=True):
        mean = np.mean([chances[number] for number in members], axis=0)
        certain = np.abs(mean[:, 1] - mean[:, 0]) > 1e-4
        assert certain.mean() > 0.98
        np.testing.assert_array_equal(labels[certain], (mean[:, 1] > mean[:, 0])[certain])
        np.testing.assert_array_equal(counts, count(truth, labels, 2))
    assert (found.labels[3] != votes).any()  # probabilities are averaged, not labels


@pytest.mark.long
def test_one_channel_three_classes_any_size(grey_pruned: smp.Unet) -> None:
    images = np.random.default_rng(0).random((3, 33, 50, 1), dtype=np.float32)
    truth = np.random.default_rng(1).integers(0, 3, (3, 33, 50), dtype=np.uint8)
    found = segment([grey_pruned], [], images, truth, 3, *PLAIN, keep=True)
    assert found.counts.shape == (1, 3, 3, 3)
    assert (found.counts.sum(axis=(2, 3)) == 33 * 50).all()


class Painted(torch.nn.Module):
    """Has logits whose largest is a given label, whatever the images are."""

    def __init__(self, labels: UInt8, classes: int) -> None:
        super().__init__()
        hot = np.eye(classes, dtype=np.float32)[labels]
        self.logits = torch.from_numpy(hot).permute(0, 3, 1, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits


@given(SEEDS, st.integers(2, 9), st.integers(1, 4), st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_counts_are_those_of_numpy(
    seed: int, classes: int, number: int, size: tuple[int, int]
) -> None:
    rng = np.random.default_rng(seed)
    shape = (number, *size)
    truth = rng.choice(np.array([*range(classes), 255]), shape).astype(np.uint8)
    labels = rng.integers(0, classes, shape, dtype=np.uint8)
    images = np.zeros((*shape, 3), dtype=np.uint8)
    found = segment([Painted(labels, classes)], [], images, truth, classes, *PLAIN, keep=True)
    np.testing.assert_array_equal(found.counts[0], count(truth, labels, classes))
    np.testing.assert_array_equal(found.labels, labels[None])


@pytest.mark.parametrize(("label", "classes"), [(2, 2), (254, 2), (3, 3), (254, 254)])
def test_labels_that_are_no_class_are_refused(label: int, classes: int) -> None:
    truth = np.zeros((2, 4, 4), dtype=np.uint8)
    truth[1, 2:] = 255
    check_labels(truth, classes, "d.zarr")
    truth[1, 2, 3] = label
    with pytest.raises(ArgumentError, match=rf"^d\.zarr: masks hold label {label}, expected 0 to"):
        check_labels(truth, classes, "d.zarr")


def test_too_little_memory_is_one_line(baseline: smp.Unet, images: UInt8) -> None:
    class Greedy(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise torch.OutOfMemoryError("tried to allocate\nmore than there is")

    with pytest.raises(
        MemoryError, match="device cpu has not enough memory for 2 networks"
    ) as told:
        segment([baseline, Greedy()], [], images, truth_of(images), 2, *PLAIN)
    assert "2 images of 96 x 64 px" in str(told.value)
    assert "\n" not in str(told.value)
