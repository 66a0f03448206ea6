from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from torch.nn.functional import adaptive_avg_pool2d, conv2d

from skiptool.errors import ArgumentError
from skiptool.model.layers import decoder_inputs, existing_layers
from skiptool.model.taps import tap
from skiptool.model.unet import build
from skiptool.names import DECODER_INPUTS, LAYERS
from skiptool.records import Architecture
from small_models import settled

if TYPE_CHECKING:
    from skiptool.records import UInt8

JOINING = ["unet", "unetplusplus", "manet"]


def test_a_stage_without_channels() -> None:
    network = build(Architecture("mit_b0", (1, 2, 4), ("background", "cell")))
    layers = existing_layers(network)
    assert layers == tuple(layer for layer in LAYERS if layer != "enc1")
    images = np.zeros((1, 64, 64, 3), np.uint8)
    assert list(tap(network, images, layers, "cpu")) == list(layers)
    with pytest.raises(
        ArgumentError, match=r"'enc1': the encoder has no channels there; it has inp.*enc2"
    ):
        tap(network, images, ["enc1"], "cpu")


def test_all_layers_exist_in_a_resnet(baseline: smp.Unet) -> None:
    assert existing_layers(baseline) == LAYERS


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        ("enc6", "did you mean enc"),
        ("encoder.layer5", "did you mean encoder.layer4"),
        ("", "not in this network"),
        ("encoder.conv1@x", "not in this network"),
        ("encoder.conv1@2", "ran 1 times in a forward pass, expected at least 2"),
        ("encoder", "is a list"),
    ],
)
def test_unknown_layers(baseline: smp.Unet, images: UInt8, layer: str, expected: str) -> None:
    with pytest.raises(ArgumentError, match=expected):
        tap(baseline, images, [layer], "cpu")


def network_of(arch: str, skips: tuple[int, ...]) -> smp.base.SegmentationModel:
    return settled(build(Architecture("resnet18", skips, ("b", "c"), arch=arch)))


def convolution(network: smp.base.SegmentationModel, level: int) -> torch.nn.Conv2d:
    node = f"x_0_{4 - level}" if isinstance(network, smp.UnetPlusPlus) else str(4 - level)
    return network.get_submodule(f"decoder.blocks.{node}.conv1.0")


def split(
    network: smp.base.SegmentationModel, level: int, beside: int, images: UInt8
) -> dict[str, np.ndarray]:
    """Convolve either part of what the first convolution of a block reads by itself, in float64."""
    seen: list[torch.Tensor] = []
    module = convolution(network, level)
    handle = module.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].clone()))
    with torch.no_grad():
        network(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)
    handle.remove()
    inputs, weight = seen[0].double(), module.weight.detach().double()
    below = inputs.shape[1] - beside
    bias = None if module.bias is None else module.bias.detach().double()
    found = {
        "from_below": conv2d(inputs[:, :below], weight[:, :below], bias, padding=1),
        "from_skip": conv2d(inputs[:, below:], weight[:, below:], padding=1),
    }
    pooled = {name: adaptive_avg_pool2d(part, (3, 2)).flatten(2) for name, part in found.items()}
    return {name: part.numpy() for name, part in pooled.items()}


SKIP_CHANNELS = {4: 256, 3: 128, 2: 64, 1: 64, 0: 0}
NESTED = {4: 256, 3: 256, 2: 192, 1: 256, 0: 0}  # with the nodes of the row


@pytest.mark.long
@pytest.mark.parametrize("arch", JOINING)
def test_a_block_gets_the_sum_of_both_inputs(arch: str, images: UInt8) -> None:
    network = network_of(arch, (1, 2, 3, 4))
    assert decoder_inputs(network) == DECODER_INPUTS
    found = tap(network, images, DECODER_INPUTS, "cpu")
    for level, beside in (NESTED if arch == "unetplusplus" else SKIP_CHANNELS).items():
        parts = split(network, level, beside, images)
        for name in ("from_below", "from_skip") if beside else ("from_below",):
            layer = f"dec{level}.{name}"
            np.testing.assert_allclose(found[layer], parts[name], rtol=2e-3, atol=2e-4)
            assert np.abs(parts[name]).max() > 0.01, layer


def test_the_bias_comes_from_below(baseline: smp.Unet, images: UInt8) -> None:
    before = tap(baseline, images, DECODER_INPUTS[-3:], "cpu")
    module = convolution(baseline, 1)
    module.bias = torch.nn.Parameter(torch.full((module.out_channels,), 7.0))
    try:
        after = tap(baseline, images, DECODER_INPUTS[-3:], "cpu")
    finally:
        module.bias = None
    np.testing.assert_array_equal(after["dec1.from_skip"], before["dec1.from_skip"])
    difference = after["dec1.from_below"] - before["dec1.from_below"]
    np.testing.assert_allclose(difference, 7.0, rtol=1e-4)


@pytest.mark.parametrize("arch", ["unet", "manet"])
def test_a_pruned_level_has_nothing_from_a_skip(arch: str, images: UInt8) -> None:
    network = network_of(arch, (2, 4))
    gone = {"dec3.from_skip", "dec1.from_skip"}
    assert decoder_inputs(network) == tuple(n for n in DECODER_INPUTS if n not in gone)
    with pytest.raises(
        ArgumentError, match=r"'dec1.from_skip': this network has no skip connection of level 1; it"
    ):
        tap(network, images, ["dec1.from_skip"], "cpu")
    found = tap(network, images, ["dec1.from_below"], "cpu")["dec1.from_below"]
    np.testing.assert_allclose(found, split(network, 1, 0, images)["from_below"], atol=1e-3)


@pytest.mark.long
def test_a_pruned_nested_row_keeps_its_nodes() -> None:
    network = network_of("unetplusplus", (2, 3, 4))
    assert "dec1.from_skip" in decoder_inputs(network)
    bare = network_of("unetplusplus", ())
    assert decoder_inputs(bare) == tuple(n for n in DECODER_INPUTS if n.endswith("below"))


def test_a_linknet_joins_nothing(images: UInt8) -> None:
    network = network_of("linknet", (1, 2, 3, 4))
    assert decoder_inputs(network) == ()
    with pytest.raises(ArgumentError, match="a LinkNet adds skip connections behind its blocks"):
        tap(network, images, ["dec2.from_below"], "cpu")
