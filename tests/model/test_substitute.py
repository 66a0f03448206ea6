from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch

from skiptool.model.batches import as_input
from skiptool.model.infer import place
from skiptool.model.segment import segment
from skiptool.model.substitute import count_substituted, decode
from skiptool.model.unet import build
from skiptool.names import Arch, Precision
from skiptool.records import Architecture

if TYPE_CHECKING:
    from skiptool.records import Image, UInt8

PLAIN = (2, "cpu", Precision.FLOAT32)
PARTS = (1, 2, 3, 4, 5)


def truth_of(images: Image) -> UInt8:
    drawn = np.random.default_rng(0).choice(np.array([0, 1, 255]), images.shape[:3])
    return drawn.astype(np.uint8)


def network_of(arch: str, skips: tuple[int, ...], images: Image) -> smp.Unet:
    """Build a network that labels half of the pixels of some images as either class."""
    network = build(Architecture("resnet18", skips, ("background", "cell"), arch=arch), seed=3)
    place(network, "cpu")
    with torch.no_grad():
        logits = network(as_input(torch.from_numpy(images)))
        network.segmentation_head[0].bias[1] -= (logits[:, 1] - logits[:, 0]).median()
    return network


def counts(network: smp.Unet, images: Image, truth: UInt8) -> np.ndarray:
    return segment([network], [], images, truth, *PLAIN).counts[0]


@pytest.mark.long
@pytest.mark.parametrize("arch", Arch)
@pytest.mark.parametrize("skips", [(1, 2, 3, 4), (2, 4), ()])
def test_all_clean_is_the_clean_prediction_and_nothing_clean_the_shifted(
    arch: Arch, skips: tuple[int, ...], images: UInt8
) -> None:
    network, truth, dark = network_of(arch.value, skips, images), truth_of(images), images // 3
    found = count_substituted(network, [PARTS, ()], images, [dark, images], truth, *PLAIN)
    clean, shifted = (counts(network, each, truth) for each in (images, dark))
    assert (clean != shifted).any()
    np.testing.assert_array_equal(found[0, 0], clean)
    np.testing.assert_array_equal(found[0, 1], shifted)
    np.testing.assert_array_equal(found[1], [clean, clean])  # without a shift nothing changes


@pytest.mark.long
def test_each_part_goes_into_the_decoder_where_the_encoder_left_it(
    baseline: smp.Unet, images: UInt8
) -> None:
    """Against SMP's own forward pass, its encoder's output exchanged by a hook."""
    clean, shifted = (as_input(torch.from_numpy(each)) for each in (images, images // 2))
    with torch.no_grad():
        own, other = baseline.encoder(clean), baseline.encoder(shifted)
        for size in range(6):
            for parts in combinations(PARTS, size):
                mixed = [own[k] if k in parts else other[k] for k in range(6)]
                handle = baseline.encoder.register_forward_hook(lambda *_, mixed=mixed: mixed)
                expected = baseline(shifted)
                handle.remove()
                assert torch.equal(decode(baseline, own, other, parts), expected)


def test_a_pruned_skip_makes_no_difference(images: UInt8) -> None:
    network, truth = network_of("unet", (2, 3, 4), images), truth_of(images)
    found = count_substituted(network, [(1,), ()], images, [images // 3], truth, *PLAIN)
    np.testing.assert_array_equal(found[0, 0], found[0, 1])


def test_feature_maps_are_left_as_they_were(baseline: smp.Unet, images: UInt8) -> None:
    """Sets are decoded one after another from the same maps: their order may not matter."""
    truth, sets = truth_of(images), [(1,), (2,), (1, 2, 3, 4), (5,)]
    there = count_substituted(baseline, sets, images, [images // 2], truth, *PLAIN)
    back = count_substituted(baseline, sets[::-1], images, [images // 2], truth, *PLAIN)
    np.testing.assert_array_equal(there, back[:, ::-1])
