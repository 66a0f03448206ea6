from __future__ import annotations

from collections.abc import Collection

import pytest
import segmentation_models_pytorch as smp
import torch
from segmentation_models_pytorch.decoders.manet.decoder import DecoderBlock, MAnetDecoder, MFABBlock
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
from torch.nn.functional import interpolate

from skiptool.model.decoders import (
    PrunedBlock,
    PrunedPlainBlock,
    UnaddedBlock,
    decoder_stage,
    prune,
)
from skiptool.model.unet import build, parameter_count, state
from skiptool.names import Arch
from skiptool.records import Architecture

LEVELS = (1, 2, 3, 4)
CHANNELS = (3, 64, 64, 128, 256, 512)
LACKING = [(2, 3, 4), (1, 3, 4), (1, 2, 4), (1, 2, 3), (2,), (4,), (1, 3), ()]


def pruned(arch: Arch, skips: tuple[int, ...], seed: int = 0) -> smp.base.SegmentationModel:
    return build(Architecture("resnet18", skips, ("b", "c"), arch=arch.value), seed).eval()


def features(zero: Collection[int] = ()) -> list[torch.Tensor]:
    """Return what an encoder would hand over, with no channels at some levels."""
    generator = torch.Generator().manual_seed(0)
    maps = [
        torch.rand(1, depth, 32 >> level, 64 >> level, generator=generator)
        for level, depth in enumerate(CHANNELS)
    ]
    return [found[:, :0] if level in zero else found for level, found in enumerate(maps)]


@pytest.mark.long
@pytest.mark.parametrize("arch", Arch)
@pytest.mark.parametrize("skips", [LEVELS, *LACKING], ids=str)
def test_a_feature_map_reaches_the_logits_where_its_skip_stays_and_only_there(
    arch: Arch, skips: tuple[int, ...]
) -> None:
    network, given = pruned(arch, skips), features()
    with torch.no_grad():
        expected = network.segmentation_head(network.decoder(given))
        for level in (*LEVELS, 5):
            changed = [1 - f if k == level else f for k, f in enumerate(given)]
            found = network.segmentation_head(network.decoder(changed))
            assert torch.equal(found, expected) == (level not in (*skips, 5)), level


@pytest.mark.long
@pytest.mark.parametrize("skips", LACKING, ids=str)
@pytest.mark.parametrize("arch", [Arch.UNET, Arch.MANET])
def test_pruned_is_what_smp_builds_for_an_encoder_without_channels_there(
    arch: Arch, skips: tuple[int, ...]
) -> None:
    network = pruned(arch, skips)
    gone = {level for level in LEVELS if level not in skips}
    channels = [0 if level in gone else depth for level, depth in enumerate(CHANNELS)]
    decoder = (UnetDecoder if arch is Arch.UNET else MAnetDecoder)(channels, (256, 128, 64, 32, 16))
    decoder.load_state_dict(network.decoder.state_dict())
    with torch.no_grad():
        assert torch.equal(decoder.eval()(features(gone)), network.decoder(features()))


@pytest.mark.long
@pytest.mark.parametrize("skips", LACKING, ids=str)
def test_a_linknet_adds_nothing_where_a_skip_is_gone(skips: tuple[int, ...]) -> None:
    """Its parameters are those of the whole one, for which a skip of zeros adds nothing."""
    whole, network = (pruned(Arch.LINKNET, each, 5) for each in (LEVELS, skips))
    ours, theirs = state(network), state(whole)
    assert list(ours) == list(theirs)
    assert all((ours[name] == theirs[name]).all() for name in theirs)
    zeroed = [f if k in (0, *skips, 5) else 0 * f for k, f in enumerate(features())]
    with torch.no_grad():
        assert torch.equal(whole.decoder(zeroed), network.decoder(features()))


def test_a_block_of_a_unet_upsamples_and_convolves_twice() -> None:
    block = PrunedBlock(4, 0, 6).eval()
    below, skip = torch.rand(1, 4, 3, 5), torch.rand(1, 9, 7, 9)
    with torch.no_grad():
        expected = block.conv2(block.conv1(interpolate(below, size=(7, 9), mode="nearest")))
        assert torch.equal(block(below, 7, 9, skip), expected)


@pytest.mark.long
@pytest.mark.parametrize("arch", [Arch.UNET, Arch.LINKNET, Arch.MANET])
def test_only_the_block_of_the_level_is_another(arch: Arch) -> None:
    kinds = {Arch.UNET: PrunedBlock, Arch.LINKNET: UnaddedBlock, Arch.MANET: PrunedPlainBlock}
    for level in LEVELS:
        network = pruned(arch, tuple(other for other in LEVELS if other != level))
        others = [isinstance(block, kinds[arch]) for block in network.decoder.blocks]
        assert others == [index == 4 - level for index in range(5)]
    if arch is Arch.MANET:
        plain = [isinstance(block, DecoderBlock) for block in network.decoder.blocks]
        assert plain == [True, False, False, False, True]
        assert isinstance(network.decoder.blocks[1], MFABBlock)


@pytest.mark.parametrize("arch", Arch)
def test_the_stages_of_a_decoder_have_the_strides_of_their_names(arch: Arch) -> None:
    """Each is fed by the one below, and the last is what the head reads."""
    network = pruned(arch, (1, 3))
    seen: dict[int, torch.Tensor] = {}
    for level in range(5):
        decoder_stage(network, level).register_forward_hook(
            lambda _, __, output, level=level: seen.update({level: output})
        )
    read: dict[int, torch.Tensor] = {}
    for level in range(4):
        decoder_stage(network, level).register_forward_hook(
            lambda _, inputs, __, level=level: read.update({level: inputs[0]})
        )
    with torch.no_grad():
        last = network.decoder(features())
    assert list(seen) == [4, 3, 2, 1, 0]
    assert seen[0] is last
    for level, output in seen.items():
        assert output.shape[2:] == (32 >> level, 64 >> level)
        assert level == 0 or read[level - 1] is output


def test_nothing_is_pruned_where_all_skips_stay() -> None:
    for arch in Arch:
        network = getattr(smp, arch.model_class)("resnet18", encoder_weights=None, classes=2)
        before = [id(module) for module in network.modules()]
        prune(network, LEVELS)
        assert [id(module) for module in network.modules()] == before


@pytest.mark.parametrize("level", LEVELS)
def test_a_manet_loses_its_attention_at_the_level(level: int) -> None:
    """Worked by hand: a block of SMP's own classes for either, at ResNet18's channels."""
    below, out = {4: (512, 256), 3: (256, 128), 2: (128, 64), 1: (64, 32)}[level]
    with_skip = parameter_count(MFABBlock(below, CHANNELS[level], out))
    without = parameter_count(DecoderBlock(below, 0, out))
    whole, network = (
        pruned(Arch.MANET, each) for each in (LEVELS, tuple(k for k in LEVELS if k != level))
    )
    assert parameter_count(whole) - parameter_count(network) == with_skip - without
