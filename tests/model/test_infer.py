from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch

from skiptool.model.infer import place, predict_labels, to_device
from skiptool.model.unet import build
from skiptool.names import Precision
from skiptool.records import Architecture

if TYPE_CHECKING:
    from skiptool.records import UInt8


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


def test_a_network_in_training_is_not_trained() -> None:
    network = build(Architecture("resnet18", (), ("background", "cell"))).train()
    before = network.encoder.bn1.running_mean.clone()
    predict_labels(network, np.full((1, 64, 64, 3), 200, np.uint8), "cpu", Precision.FLOAT32)
    assert not network.training
    assert torch.equal(network.encoder.bn1.running_mean, before)


def test_place_puts_channels_last() -> None:
    network = build(Architecture("resnet18", (), ("background", "cell")))
    assert place(network, "cpu") is network
    weight = network.encoder.layer1[0].conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_to_device_takes_views(images: UInt8) -> None:
    found = to_device(images[:, ::2, ::-1], "cpu")
    expected = images[:, ::2, ::-1].transpose(0, 3, 1, 2) / np.float32(255)
    np.testing.assert_array_equal(found.numpy(), expected)
