from __future__ import annotations

from itertools import combinations

import pytest
import segmentation_models_pytorch as smp
import torch
from torch.nn.functional import interpolate

from skiptool.model.nested import PrunedNode
from skiptool.model.unet import build, parameter_count
from skiptool.records import Architecture

LEVELS = (1, 2, 3, 4)
SUBSETS = [chosen for size in range(5) for chosen in combinations(LEVELS, size)]
CLASSES = ("background", "cell")

Maps = dict[tuple[int, int], torch.Tensor]


def nested(skips: tuple[int, ...], encoder: str = "resnet18") -> smp.UnetPlusPlus:
    network = build(Architecture(encoder, skips, CLASSES, arch="unetplusplus")).eval()
    assert isinstance(network, smp.UnetPlusPlus)
    return network


def by_the_paper(network: smp.UnetPlusPlus, features: list[torch.Tensor], kept: set[int]) -> Maps:
    """Compute X^{l,j} by eq. (1) of Zhou et al. from those of its inputs that are there."""
    maps: Maps = {(level, 0): features[level] for level in LEVELS if level in kept}
    maps[5, 0] = features[5]
    for j in range(1, 6):
        for level in range(5 - j, -1, -1):
            if level == 0 and j < 5:
                continue  # SMP has no skip at level 0, hence no node but the last
            inputs = []
            if (level + 1, j - 1) in maps:
                inputs.append(interpolate(maps[level + 1, j - 1], scale_factor=2.0))
            inputs += [maps[level, i] for i in range(j - 1, -1, -1) if (level, i) in maps]
            node = network.decoder.blocks[f"x_{5 - level - j}_{4 - level}"]
            assert node.is_empty == (not inputs)
            if inputs:
                maps[level, j] = node.conv2(node.conv1(torch.cat(inputs, dim=1)))
    return maps


@pytest.mark.long
@pytest.mark.parametrize("skips", SUBSETS, ids=str)
def test_every_node_is_that_of_the_paper_without_the_pruned_inputs(skips: tuple[int, ...]) -> None:
    network = nested(skips)
    generator = torch.Generator().manual_seed(1)
    features = [
        torch.rand(1, depth, 32 >> level, 32 >> level, generator=generator)
        for level, depth in enumerate(network.encoder.out_channels)
    ]
    with torch.no_grad():
        found = network.decoder(features)
        assert torch.equal(by_the_paper(network, features, set(skips))[0, 5], found)


@pytest.mark.long
def test_parameters_lost_are_the_input_channels_lost() -> None:
    """Worked by hand at ResNet18's channels 64, 64, 128, 256 and out of dec4 to dec1 256 to 32.

    Level 1: nine weights for each of 64 inputs of the nodes of its row (64, 64, 64 and 32 out).
    Level 4: those of x_0_0 (256 inputs, 256 out) and, from below, of x_1_1 (256 inputs, 128 out).
    """
    whole = parameter_count(nested(LEVELS))
    theirs = smp.UnetPlusPlus("resnet18", encoder_weights=None, classes=2)
    assert whole == sum(weight.numel() for weight in theirs.parameters()) == 15_970_594
    assert whole - parameter_count(nested((2, 3, 4))) == 9 * 64 * (64 + 64 + 64 + 32)
    assert whole - parameter_count(nested((1, 2, 3))) == 9 * 256 * (256 + 128)


def test_without_any_skip_it_is_the_unet_without_any_skip() -> None:
    network = nested(())
    chain = build(Architecture("resnet18", (), CLASSES)).eval()
    assert parameter_count(network) == parameter_count(chain) == 13_535_778  # Table II
    weights = {
        name.replace(f"x_0_{index}", str(index)): tensor
        for name, tensor in network.state_dict().items()
        for index in range(5)
        if f"x_0_{index}." in name or "x_" not in name
    }
    chain.load_state_dict(weights)
    image = torch.rand(1, 3, 64, 32)
    with torch.no_grad():
        assert torch.equal(chain(image), network(image))


def test_nodes_that_lose_nothing_are_left_alone() -> None:
    network = nested((1, 2, 3))
    others = {name for name, node in network.decoder.blocks.items() if isinstance(node, PrunedNode)}
    assert others == {"x_0_0", "x_1_1"}


def test_a_node_that_reads_the_encoder_alone_keeps_its_stride() -> None:
    node = nested((3,)).decoder.blocks["x_1_1"]
    assert (node.below, node.beside) == (0, 128)
    with torch.no_grad():
        beside = torch.rand(1, 128, 8, 6)
        found = node(torch.rand(1, 256, 4, 3), beside)
        assert torch.equal(found, node.conv2(node.conv1(beside)))


def test_an_encoder_without_channels_at_level_1() -> None:
    for skips in ((1, 3, 4), (1,)):
        network = nested(skips, "tu-convnext_atto")
        with torch.no_grad():
            assert network(torch.rand(1, 3, 64, 64)).shape == (1, 2, 64, 64)
