from __future__ import annotations

import json
from collections.abc import Callable, Collection
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from segmentation_models_pytorch.base.initialization import initialize_decoder
from segmentation_models_pytorch.decoders.manet.decoder import DecoderBlock, MAnetDecoder, MFABBlock
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder, UnetDecoderBlock
from torch.nn.functional import interpolate

from skiptool.errors import ArgumentError, FormatError
from skiptool.model.batches import RandomStream, seeded
from skiptool.model.inference import prepare_for_inference
from skiptool.model.unet import (
    PrunedLinknetBlock,
    PrunedMAnetBlock,
    PrunedNestedNode,
    PrunedUnetBlock,
    build,
    decoder_stage,
    parameter_count,
    prune,
    restore_network,
    state_arrays,
)
from skiptool.names import Arch
from skiptool.records import Architecture, Normalisation
from small_models import settled

CLASSES = ("background", "cell")
LEVELS = (1, 2, 3, 4)
TABLE_2 = {
    ("resnet18", LEVELS): 14_328_354,
    ("resnet18", (2, 3, 4)): 14_309_922,
    ("resnet18", (3, 4)): 14_273_058,
    ("resnet18", (4,)): 14_125_602,
    ("resnet18", ()): 13_535_778,
    ("resnet34", LEVELS): 24_436_514,
    ("resnet34", (2, 3, 4)): 24_418_082,
    ("resnet34", (3, 4)): 24_381_218,
    ("resnet34", (4,)): 24_233_762,
    ("resnet34", ()): 23_643_938,
}


def architecture(
    arch: Arch, skips: tuple[int, ...] = LEVELS, encoder: str = "resnet18"
) -> Architecture:
    return Architecture(encoder, skips, CLASSES, arch=arch.value)


def blocks(skips: tuple[int, ...]) -> tuple[str, ...]:
    """List the blocks of a U-net or MA-Net that lose their skips."""
    gone = [level for level in LEVELS if level not in skips]
    return tuple(f"decoder.blocks.{4 - level}." for level in gone)


def nodes(skips: tuple[int, ...]) -> tuple[str, ...]:
    """List the nodes of a U-Net++ that may lose inputs: in and above rows of pruned levels."""
    first = max((level for level in LEVELS if level not in skips), default=0)
    rows = [4 - level for level in range(1, first + 1)]
    return tuple(f"decoder.blocks.x_{column}_{row}." for row in rows for column in range(row + 1))


REBUILT: dict[Arch, Callable[[tuple[int, ...]], tuple[str, ...]]] = {
    Arch.UNET: blocks,
    Arch.MANET: blocks,
    Arch.UNETPLUSPLUS: nodes,
    Arch.LINKNET: lambda _: ("none",),
}


@pytest.mark.parametrize(("encoder", "skips"), TABLE_2)
def test_parameter_counts_equal_table_2(encoder: str, skips: tuple[int, ...]) -> None:
    network = build(Architecture(encoder, skips, CLASSES))
    assert parameter_count(network) == TABLE_2[encoder, skips]


@pytest.mark.long
@pytest.mark.parametrize("arch", Arch)
def test_baseline_is_bit_equal_to_smp(arch: Arch) -> None:
    ours = build(Architecture("resnet18", LEVELS, CLASSES, arch=arch.value))
    theirs = getattr(smp, arch.model_class)("resnet18", encoder_weights=None, classes=2)
    assert list(theirs.state_dict()) == list(ours.state_dict())
    theirs.load_state_dict(ours.state_dict())
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(
            prepare_for_inference(theirs, "cpu")(images), prepare_for_inference(ours, "cpu")(images)
        )
    assert type(ours) is type(theirs)
    assert parameter_count(ours) == sum(weight.numel() for weight in theirs.parameters())


def test_pruning_a_level_removes_nine_weights_per_skip_channel() -> None:
    skip = {1: 64, 2: 64, 3: 128, 4: 256}
    out = {1: 32, 2: 64, 3: 128, 4: 256}
    for level in LEVELS:
        skips = tuple(other for other in LEVELS if other != level)
        network = build(Architecture("resnet18", skips, CLASSES))
        pruned = [isinstance(block, PrunedUnetBlock) for block in network.decoder.blocks]
        assert pruned == [index == 4 - level for index in range(5)]
        lost = TABLE_2["resnet18", LEVELS] - parameter_count(network)
        assert lost == 9 * skip[level] * out[level]


@pytest.mark.parametrize("skips", [LEVELS, (2, 3, 4), (1, 3), ()], ids=str)
@pytest.mark.parametrize("size", [(50, 77), (33, 64)], ids=str)
def test_sizes_need_not_be_multiples_of_32(skips: tuple[int, ...], size: tuple[int, int]) -> None:
    network = build(Architecture("resnet18", skips, CLASSES)).eval()
    with torch.no_grad():
        assert network(torch.rand(1, 3, *size)).shape == (1, 2, *size)


@pytest.mark.long
@pytest.mark.parametrize("arch", Arch)
def test_equal_seeds_give_equal_weights_outside_pruned_blocks(arch: Arch) -> None:
    """Tensors of blocks that are not pruned differently have the same shape and values."""
    skips = [LEVELS, (2, 3, 4), (1, 2, 3), (1, 3), ()]
    whole, *others = (state_arrays(build(architecture(arch, subset), 3)) for subset in skips)
    again, other = (state_arrays(build(architecture(arch), seed)) for seed in (3, 4))
    for name, array in whole.items():
        np.testing.assert_array_equal(array, again[name])
    assert (whole["encoder.conv1.weight"] != other["encoder.conv1.weight"]).any()
    for kept, result in zip(skips[1:], others, strict=True):
        for name, array in whole.items():
            if not name.startswith(REBUILT[arch](kept)):
                np.testing.assert_array_equal(array, result[name], err_msg=name)


@pytest.mark.long
def test_initial_weights_equal_those_of_smp() -> None:
    """The whole network is built before blocks are replaced: a seed's weights never change."""
    with seeded(RandomStream.WEIGHTS, 3):
        theirs = smp.Unet("resnet18", encoder_weights=None, classes=2)
        theirs.decoder.blocks[3] = UnetDecoderBlock(64, 0, 32)
        initialize_decoder(theirs.decoder.blocks[3])
    ours = state_arrays(build(Architecture("resnet18", (2, 3, 4), CLASSES), 3))
    for name, array in state_arrays(theirs).items():
        np.testing.assert_array_equal(ours[name], array)


def test_building_keeps_the_random_state() -> None:
    before = torch.get_rng_state()
    build(Architecture("resnet18", (), CLASSES))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("encoder", ["mit_b0", "tu-convnext_atto"])
@pytest.mark.parametrize(
    ("skips", "advised"),
    [((2, 3, 4), "1,2,3,4"), ((3, 4), "1,3,4"), ((), "1"), ((2, 4), "1,2,4")],
    ids=str,
)
def test_level_without_channels_cannot_be_pruned(
    encoder: str, skips: tuple[int, ...], advised: str
) -> None:
    expected = (
        f"encoder '{encoder}': has no feature map at level 1: its skip cannot be pruned, the "
        f"baseline is already without it; use --skips {advised}$"
    )
    with pytest.raises(ArgumentError, match=expected):
        build(Architecture(encoder, skips, CLASSES))


@pytest.mark.parametrize("arch", Arch)
@pytest.mark.parametrize("encoder", ["mit_b0", "tu-convnext_atto"])
def test_encoder_without_channels_at_level_1_is_built(encoder: str, arch: Arch) -> None:
    """SMP builds neither U-Net++ nor LinkNet on mit_b0."""
    if encoder == "mit_b0" and arch in (Arch.UNETPLUSPLUS, Arch.LINKNET):
        with pytest.raises(ArgumentError, match=r"no (UnetPlusPlus|Linknet) can be built.*unet$"):
            build(architecture(arch, encoder=encoder))
        return
    whole, pruned = (build(architecture(arch, s, encoder)).eval() for s in (LEVELS, (1, 3)))
    assert parameter_count(whole) >= parameter_count(pruned)
    with torch.no_grad():
        for network in (whole, pruned):
            assert network(torch.rand(1, 3, 64, 64)).shape == (1, 2, 64, 64)


def test_timm_encoders_are_built_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ConnectionError("a test touched the network")

    monkeypatch.setattr("socket.getaddrinfo", refuse)
    monkeypatch.setattr("socket.socket.connect", refuse)
    network = build(Architecture("tu-resnet10t", (1, 4), CLASSES, 1)).eval()
    with torch.no_grad():
        assert network(torch.rand(1, 1, 64, 64)).shape == (1, 2, 64, 64)


@pytest.mark.parametrize(
    ("encoder", "expected"),
    [
        ("resnet81", "did you mean resnet18"),
        ("tu-resnet81", "did you mean tu-resnet18"),
        ("tu-hf-hub:timm/resnet18", "unknown"),
        ("tu-vit_tiny_patch16_224", "five stages"),
    ],
)
def test_unsuitable_encoders_are_refused(encoder: str, expected: str) -> None:
    with pytest.raises(ArgumentError, match=expected):
        build(Architecture(encoder, LEVELS, CLASSES))


def test_encoder_of_another_stride_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smp.encoders.encoders["resnet18"]["encoder"], "output_stride", 16)
    with pytest.raises(ArgumentError, match="5 stages and stride 16, expected 5 and 32"):
        build(Architecture("resnet18", LEVELS, CLASSES))


def test_classes_without_foreground_are_refused() -> None:
    with pytest.raises(ArgumentError, match="at least one more"):
        build(Architecture("resnet18", (), ("background",)))


@pytest.mark.long
def test_restored_network_is_equal(grey_pruned: smp.Unet) -> None:
    architecture = Architecture("resnet18", (2, 3, 4), ("b", "c", "d"), 1)
    again = restore_network(architecture, state_arrays(grey_pruned))
    assert not again.training
    images = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(prepare_for_inference(again, "cpu")(images), grey_pruned(images))


def test_state_arrays_are_copies() -> None:
    network = build(Architecture("resnet18", (), CLASSES))
    tensors = state_arrays(network)
    with torch.no_grad():
        network.encoder.conv1.weight.zero_()
    assert tensors["encoder.conv1.weight"].any()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"encoder.bn1.bias": None}, "encoder.bn1.bias is missing;"),
        ({"encoder.bn1.bias": None, "x": np.zeros(1)}, "encoder.bn1.bias is missing .and 1 more"),
        ({"x": np.zeros(1)}, "tensor x is not part of it"),
        ({"encoder.bn1.bias": np.zeros(3)}, r"has shape \(3,\), expected \(64,\)"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(
    baseline: smp.Unet, change: dict[str, Any], expected: str
) -> None:
    tensors = {k: v for k, v in {**state_arrays(baseline), **change}.items() if v is not None}
    with pytest.raises(FormatError, match=expected):
        restore_network(Architecture("resnet18", LEVELS, CLASSES), tensors)


def of_timm(**options: object) -> Architecture:
    encoded = tuple((name, json.dumps(value)) for name, value in sorted(options.items()))
    return Architecture("tu-resnet18", LEVELS, CLASSES, options=encoded)


@pytest.mark.long
@pytest.mark.parametrize(
    "options",
    [{"act_layer": "gelu"}, {"stem_width": 32, "stem_type": "deep"}, {"block_args": {"x": 1}}],
    ids=str,
)
def test_encoder_options_are_used_or_refused(options: dict[str, Any]) -> None:
    """SMP passes them to timm; those that timm refuses are named."""
    try:
        theirs = smp.Unet("tu-resnet18", encoder_weights=None, classes=2, **options)
    except TypeError:
        with pytest.raises(ArgumentError, match=next(iter(options))):
            build(of_timm(**options))
        return
    plain = smp.Unet("tu-resnet18", encoder_weights=None, classes=2)
    theirs = settled(theirs)
    ours = prepare_for_inference(restore_network(of_timm(**options), state_arrays(theirs)), "cpu")
    images = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(ours(images), theirs(images))
    if state_arrays(plain).keys() == state_arrays(theirs).keys():
        plain.load_state_dict(theirs.state_dict())
        with torch.inference_mode():
            assert not torch.equal(prepare_for_inference(plain, "cpu")(images), theirs(images))


@pytest.mark.parametrize(
    ("encoder", "name", "words"),
    [
        ("resnet18", "act_layer", "and ignored by"),
        ("resnet18", "decoder_dropout", "and ignored by"),
        ("tu-resnet18", "no_such_argument", "no Unet can be built with no_such_argument"),
        ("tu-resnet18", "checkpoint_path", "sets the source of weights"),
        ("tu-resnet18", "pretrained_cfg", "sets the source of weights"),
        ("resnet18", "output_stride", "expected 5 and 32"),
    ],
)
def test_encoder_options_that_smp_would_ignore_are_refused(
    encoder: str, name: str, words: str
) -> None:
    value = "16" if name == "output_stride" else '"x"'
    with pytest.raises(ArgumentError, match=words) as caught:
        build(Architecture(encoder, LEVELS, CLASSES, options=((name, value),)))
    assert "\n" not in str(caught.value)


@pytest.mark.long
def test_images_are_normalised_before_the_encoder() -> None:
    """As if done by hand, for the encoder and the network, with unchanged weights."""
    scaling = Normalisation.parse("imagenet")
    network = settled(build(Architecture("resnet18", LEVELS, CLASSES)))
    scaled = prepare_for_inference(
        restore_network(Architecture("resnet18", LEVELS, CLASSES), state_arrays(network), scaling),
        "cpu",
    )
    images = torch.rand(2, 3, 64, 64)
    mean, std = (torch.tensor(part).reshape(1, 3, 1, 1) for part in (scaling.mean, scaling.std))
    with torch.inference_mode():
        expected = network((images - mean) / std)
        assert torch.equal(scaled(images), expected)
        features = scaled.encoder(images)
        assert torch.equal(scaled.segmentation_head(scaled.decoder(features)), expected)
    assert scaled.state_dict().keys() == network.state_dict().keys()


@pytest.mark.long
def test_binary_network_has_a_single_logit() -> None:
    architecture = Architecture("resnet18", LEVELS, CLASSES, binary=True)
    theirs = settled(smp.Unet("resnet18", encoder_weights=None, classes=1, activation="sigmoid"))
    images = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        logits = prepare_for_inference(restore_network(architecture, state_arrays(theirs)), "cpu")(
            images
        )
        assert torch.equal(logits.sigmoid(), theirs(images))


CHANNELS = (3, 64, 64, 128, 256, 512)
LACKING = [(2, 3, 4), (1, 3, 4), (1, 2, 4), (1, 2, 3), (2,), (4,), (1, 3), ()]


def pruned(arch: Arch, skips: tuple[int, ...], seed: int = 0) -> smp.base.SegmentationModel:
    return build(Architecture("resnet18", skips, ("b", "c"), arch=arch.value), seed).eval()


def features(zero: Collection[int] = ()) -> list[torch.Tensor]:
    """Return an encoder's output with no channels at some levels."""
    generator = torch.Generator().manual_seed(0)
    maps = [
        torch.rand(1, depth, 32 >> level, 64 >> level, generator=generator)
        for level, depth in enumerate(CHANNELS)
    ]
    return [result[:, :0] if level in zero else result for level, result in enumerate(maps)]


@pytest.mark.long
@pytest.mark.parametrize("arch", Arch)
@pytest.mark.parametrize("skips", [LEVELS, *LACKING], ids=str)
def test_feature_map_reaches_the_logits_only_through_a_kept_skip(
    arch: Arch, skips: tuple[int, ...]
) -> None:
    network, given = pruned(arch, skips), features()
    with torch.no_grad():
        expected = network.segmentation_head(network.decoder(given))
        for level in (*LEVELS, 5):
            changed = [1 - f if k == level else f for k, f in enumerate(given)]
            result = network.segmentation_head(network.decoder(changed))
            assert torch.equal(result, expected) == (level not in (*skips, 5)), level


@pytest.mark.long
@pytest.mark.parametrize("skips", LACKING, ids=str)
@pytest.mark.parametrize("arch", [Arch.UNET, Arch.MANET])
def test_pruned_decoder_equals_that_of_smp_without_channels(
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
def test_pruned_linknet_equals_one_with_zero_skips(skips: tuple[int, ...]) -> None:
    """Its parameters are those of the whole network, to which a skip of zeros adds nothing."""
    whole, network = (pruned(Arch.LINKNET, subset, 5) for subset in (LEVELS, skips))
    ours, theirs = state_arrays(network), state_arrays(whole)
    assert list(ours) == list(theirs)
    assert all((ours[name] == theirs[name]).all() for name in theirs)
    zeroed = [f if k in (0, *skips, 5) else 0 * f for k, f in enumerate(features())]
    with torch.no_grad():
        assert torch.equal(whole.decoder(zeroed), network.decoder(features()))


def test_pruned_unet_block_upsamples_and_convolves_twice() -> None:
    block = PrunedUnetBlock(4, 0, 6).eval()
    below, skip = torch.rand(1, 4, 3, 5), torch.rand(1, 9, 7, 9)
    with torch.no_grad():
        expected = block.conv2(block.conv1(interpolate(below, size=(7, 9), mode="nearest")))
        assert torch.equal(block(below, 7, 9, skip), expected)


@pytest.mark.long
@pytest.mark.parametrize("arch", [Arch.UNET, Arch.LINKNET, Arch.MANET])
def test_pruning_a_level_replaces_one_block(arch: Arch) -> None:
    kinds = {
        Arch.UNET: PrunedUnetBlock,
        Arch.LINKNET: PrunedLinknetBlock,
        Arch.MANET: PrunedMAnetBlock,
    }
    for level in LEVELS:
        network = pruned(arch, tuple(other for other in LEVELS if other != level))
        others = [isinstance(block, kinds[arch]) for block in network.decoder.blocks]
        assert others == [index == 4 - level for index in range(5)]
    if arch is Arch.MANET:
        plain = [isinstance(block, DecoderBlock) for block in network.decoder.blocks]
        assert plain == [True, False, False, False, True]
        assert isinstance(network.decoder.blocks[1], MFABBlock)


@pytest.mark.parametrize("arch", Arch)
def test_decoder_stages_have_the_strides_of_their_level(arch: Arch) -> None:
    """Each is fed by the one below, and the last feeds the head."""
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


def test_network_with_all_skips_is_not_changed() -> None:
    for arch in Arch:
        network = getattr(smp, arch.model_class)("resnet18", encoder_weights=None, classes=2)
        before = [id(module) for module in network.modules()]
        prune(network, LEVELS)
        assert [id(module) for module in network.modules()] == before


@pytest.mark.parametrize("level", LEVELS)
def test_pruned_manet_block_has_no_attention(level: int) -> None:
    """Worked by hand: a block of SMP's own classes for either, at ResNet18's channels."""
    below, out = {4: (512, 256), 3: (256, 128), 2: (128, 64), 1: (64, 32)}[level]
    with_skip = parameter_count(MFABBlock(below, CHANNELS[level], out))
    without = parameter_count(DecoderBlock(below, 0, out))
    whole, network = (
        pruned(Arch.MANET, subset) for subset in (LEVELS, tuple(k for k in LEVELS if k != level))
    )
    assert parameter_count(whole) - parameter_count(network) == with_skip - without


SUBSETS = [chosen for size in range(5) for chosen in combinations(LEVELS, size)]

Maps = dict[tuple[int, int], torch.Tensor]


def nested(skips: tuple[int, ...], encoder: str = "resnet18") -> smp.UnetPlusPlus:
    network = build(Architecture(encoder, skips, CLASSES, arch="unetplusplus")).eval()
    assert isinstance(network, smp.UnetPlusPlus)
    return network


def by_the_paper(network: smp.UnetPlusPlus, features: list[torch.Tensor], kept: set[int]) -> Maps:
    """Compute X^{l,j} by eq. (1) of Zhou et al. from its remaining inputs."""
    maps: Maps = {(level, 0): features[level] for level in LEVELS if level in kept}
    maps[5, 0] = features[5]
    for j in range(1, 6):
        for level in range(5 - j, -1, -1):
            if level == 0 and j < 5:
                continue  # SMP has no skip at level 0, hence only the last node
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
def test_nested_nodes_follow_the_paper_without_pruned_inputs(skips: tuple[int, ...]) -> None:
    network = nested(skips)
    generator = torch.Generator().manual_seed(1)
    features = [
        torch.rand(1, depth, 32 >> level, 32 >> level, generator=generator)
        for level, depth in enumerate(network.encoder.out_channels)
    ]
    with torch.no_grad():
        result = network.decoder(features)
        assert torch.equal(by_the_paper(network, features, set(skips))[0, 5], result)


@pytest.mark.long
def test_pruned_unetplusplus_loses_the_weights_of_its_input_channels() -> None:
    """Worked by hand at ResNet18's channels 64, 64, 128, 256 and out of dec4 to dec1 256 to 32.

    Level 1: nine weights for each of 64 inputs of the nodes of its row (64, 64, 64 and 32 out).
    Level 4: those of x_0_0 (256 inputs, 256 out) and, from below, of x_1_1 (256 inputs, 128 out).
    """
    whole = parameter_count(nested(LEVELS))
    theirs = smp.UnetPlusPlus("resnet18", encoder_weights=None, classes=2)
    assert whole == sum(weight.numel() for weight in theirs.parameters()) == 15_970_594
    assert whole - parameter_count(nested((2, 3, 4))) == 9 * 64 * (64 + 64 + 64 + 32)
    assert whole - parameter_count(nested((1, 2, 3))) == 9 * 256 * (256 + 128)


def test_unetplusplus_without_skips_equals_the_unet_without_skips() -> None:
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


def test_nodes_that_lose_no_inputs_are_not_replaced() -> None:
    network = nested((1, 2, 3))
    others = {
        name for name, node in network.decoder.blocks.items() if isinstance(node, PrunedNestedNode)
    }
    assert others == {"x_0_0", "x_1_1"}


def test_node_that_reads_only_its_row_keeps_its_stride() -> None:
    node = nested((3,)).decoder.blocks["x_1_1"]
    assert (node.below_channels, node.row_channels) == (0, 128)
    with torch.no_grad():
        row = torch.rand(1, 128, 8, 6)
        result = node(torch.rand(1, 256, 4, 3), row)
        assert torch.equal(result, node.conv2(node.conv1(row)))


def test_unetplusplus_accepts_an_encoder_without_channels_at_level_1() -> None:
    for skips in ((1, 3, 4), (1,)):
        network = nested(skips, "tu-convnext_atto")
        with torch.no_grad():
            assert network(torch.rand(1, 3, 64, 64)).shape == (1, 2, 64, 64)
