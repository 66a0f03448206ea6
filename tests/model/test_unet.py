from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from segmentation_models_pytorch.base.initialization import initialize_decoder
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoderBlock

from skiptool.errors import ArgumentError, FormatError
from skiptool.model.decoders import PrunedBlock
from skiptool.model.infer import place
from skiptool.model.seeds import Stream, seeded
from skiptool.model.unet import build, parameter_count, restore, state
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
    """Name the blocks of a U-net or MA-Net that take the skips that are gone."""
    gone = [level for level in LEVELS if level not in skips]
    return tuple(f"decoder.blocks.{4 - level}." for level in gone)


def nodes(skips: tuple[int, ...]) -> tuple[str, ...]:
    """Name the nodes of a U-Net++ that may lose inputs: rows of gone levels, and above them."""
    first = max((level for level in LEVELS if level not in skips), default=0)
    rows = [4 - level for level in range(1, first + 1)]
    return tuple(f"decoder.blocks.x_{place}_{row}." for row in rows for place in range(row + 1))


REBUILT: dict[Arch, Callable[[tuple[int, ...]], tuple[str, ...]]] = {
    **{Arch.UNET: blocks, Arch.MANET: blocks, Arch.UNETPLUSPLUS: nodes},
    Arch.LINKNET: lambda _: ("none",),
}


@pytest.mark.parametrize(("encoder", "skips"), TABLE_2)
def test_table_2(encoder: str, skips: tuple[int, ...]) -> None:
    network = build(Architecture(encoder, skips, CLASSES))
    assert parameter_count(network) == TABLE_2[encoder, skips]


@pytest.mark.long
@pytest.mark.parametrize("arch", Arch)
def test_the_baseline_is_smp_to_the_bit(arch: Arch) -> None:
    ours = build(Architecture("resnet18", LEVELS, CLASSES, arch=arch.value))
    theirs = getattr(smp, arch.model_class)("resnet18", encoder_weights=None, classes=2)
    assert list(theirs.state_dict()) == list(ours.state_dict())
    theirs.load_state_dict(ours.state_dict())
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(place(theirs, "cpu")(images), place(ours, "cpu")(images))
    assert type(ours) is type(theirs)
    assert parameter_count(ours) == sum(weight.numel() for weight in theirs.parameters())


def test_a_level_joins_its_block_and_weighs_nine_times_its_channels() -> None:
    skip = {1: 64, 2: 64, 3: 128, 4: 256}
    out = {1: 32, 2: 64, 3: 128, 4: 256}
    for level in LEVELS:
        skips = tuple(other for other in LEVELS if other != level)
        network = build(Architecture("resnet18", skips, CLASSES))
        pruned = [isinstance(block, PrunedBlock) for block in network.decoder.blocks]
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
def test_same_seed_same_weights_and_the_rest_is_shared_by_all_prunings(arch: Arch) -> None:
    """A tensor whose block is not that of another pruning has the same shape and values."""
    skips = [LEVELS, (2, 3, 4), (1, 2, 3), (1, 3), ()]
    whole, *others = (state(build(architecture(arch, each), 3)) for each in skips)
    again, other = (state(build(architecture(arch), seed)) for seed in (3, 4))
    for name, array in whole.items():
        np.testing.assert_array_equal(array, again[name])
    assert (whole["encoder.conv1.weight"] != other["encoder.conv1.weight"]).any()
    for kept, found in zip(skips[1:], others, strict=True):
        for name, array in whole.items():
            if not name.startswith(REBUILT[arch](kept)):
                np.testing.assert_array_equal(array, found[name], err_msg=name)


@pytest.mark.long
def test_weights_are_those_that_smp_draws() -> None:
    """The whole network first, then the block anew: weights of a seed stay what they were."""
    with seeded(Stream.WEIGHTS, 3):
        theirs = smp.Unet("resnet18", encoder_weights=None, classes=2)
        theirs.decoder.blocks[3] = UnetDecoderBlock(64, 0, 32)
        initialize_decoder(theirs.decoder.blocks[3])
    ours = state(build(Architecture("resnet18", (2, 3, 4), CLASSES), 3))
    for name, array in state(theirs).items():
        np.testing.assert_array_equal(ours[name], array)


def test_building_leaves_the_random_state_alone() -> None:
    before = torch.get_rng_state()
    build(Architecture("resnet18", (), CLASSES))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("encoder", ["mit_b0", "tu-convnext_atto"])
@pytest.mark.parametrize(
    ("skips", "advised"),
    [((2, 3, 4), "1,2,3,4"), ((3, 4), "1,3,4"), ((), "1"), ((2, 4), "1,2,4")],
    ids=str,
)
def test_what_an_encoder_lacks_cannot_be_pruned(
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
def test_an_encoder_without_channels_at_level_1(encoder: str, arch: Arch) -> None:
    """SMP builds neither U-Net++ nor LinkNet on mit_b0, and says so."""
    if encoder == "mit_b0" and arch in (Arch.UNETPLUSPLUS, Arch.LINKNET):
        with pytest.raises(ArgumentError, match=r"no (UnetPlusPlus|Linknet) can be built.*unet$"):
            build(architecture(arch, encoder=encoder))
        return
    whole, pruned = (build(architecture(arch, s, encoder)).eval() for s in (LEVELS, (1, 3)))
    assert parameter_count(whole) >= parameter_count(pruned)
    with torch.no_grad():
        for network in (whole, pruned):
            assert network(torch.rand(1, 3, 64, 64)).shape == (1, 2, 64, 64)


def test_timm_encoders_are_built_without_network(monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_unfit_encoders(encoder: str, expected: str) -> None:
    with pytest.raises(ArgumentError, match=expected):
        build(Architecture(encoder, LEVELS, CLASSES))


def test_an_encoder_of_other_strides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smp.encoders.encoders["resnet18"]["encoder"], "output_stride", 16)
    with pytest.raises(ArgumentError, match="5 stages and stride 16, expected 5 and 32"):
        build(Architecture("resnet18", LEVELS, CLASSES))


def test_classes_without_a_foreground() -> None:
    with pytest.raises(ArgumentError, match="at least one more"):
        build(Architecture("resnet18", (), ("background",)))


@pytest.mark.long
def test_restore_gives_the_same_network(grey_pruned: smp.Unet) -> None:
    architecture = Architecture("resnet18", (2, 3, 4), ("b", "c", "d"), 1)
    again = restore(architecture, state(grey_pruned))
    assert not again.training
    images = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(place(again, "cpu")(images), grey_pruned(images))


def test_state_is_a_copy() -> None:
    network = build(Architecture("resnet18", (), CLASSES))
    tensors = state(network)
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
def test_tensors_that_do_not_fit(baseline: smp.Unet, change: dict[str, Any], expected: str) -> None:
    tensors = {k: v for k, v in {**state(baseline), **change}.items() if v is not None}
    with pytest.raises(FormatError, match=expected):
        restore(Architecture("resnet18", LEVELS, CLASSES), tensors)


def of_timm(**options: object) -> Architecture:
    further = tuple((name, json.dumps(value)) for name, value in sorted(options.items()))
    return Architecture("tu-resnet18", LEVELS, CLASSES, options=further)


@pytest.mark.long
@pytest.mark.parametrize(
    "options",
    [{"act_layer": "gelu"}, {"stem_width": 32, "stem_type": "deep"}, {"block_args": {"x": 1}}],
    ids=str,
)
def test_arguments_of_the_encoder_are_honoured_or_refused(options: dict[str, Any]) -> None:
    """SMP hands them to timm, as here; what timm does not take is named."""
    try:
        theirs = smp.Unet("tu-resnet18", encoder_weights=None, classes=2, **options)
    except TypeError:
        with pytest.raises(ArgumentError, match=next(iter(options))):
            build(of_timm(**options))
        return
    plain = smp.Unet("tu-resnet18", encoder_weights=None, classes=2)
    theirs = settled(theirs)
    ours = place(restore(of_timm(**options), state(theirs)), "cpu")
    images = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(ours(images), theirs(images))
    if state(plain).keys() == state(theirs).keys():
        plain.load_state_dict(theirs.state_dict())
        with torch.inference_mode():
            assert not torch.equal(place(plain, "cpu")(images), theirs(images))


@pytest.mark.parametrize(
    ("encoder", "name", "words"),
    [
        ("resnet18", "act_layer", "does nothing with it"),
        ("resnet18", "decoder_dropout", "does nothing with it"),
        ("tu-resnet18", "no_such_argument", "no Unet can be built with no_such_argument"),
        ("tu-resnet18", "checkpoint_path", "where weights come from"),
        ("tu-resnet18", "pretrained_cfg", "where weights come from"),
        ("resnet18", "output_stride", "expected 5 and 32"),
    ],
)
def test_arguments_that_would_be_dropped_are_named(encoder: str, name: str, words: str) -> None:
    value = "16" if name == "output_stride" else '"x"'
    with pytest.raises(ArgumentError, match=words) as caught:
        build(Architecture(encoder, LEVELS, CLASSES, options=((name, value),)))
    assert "\n" not in str(caught.value)


@pytest.mark.long
def test_images_are_scaled_in_front_of_the_encoder() -> None:
    """As those who trained the network did by hand; encoder and network alike, weights the same."""
    scaling = Normalisation.parse("imagenet")
    network = settled(build(Architecture("resnet18", LEVELS, CLASSES)))
    scaled = place(
        restore(Architecture("resnet18", LEVELS, CLASSES), state(network), scaling), "cpu"
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
def test_a_single_logit() -> None:
    architecture = Architecture("resnet18", LEVELS, CLASSES, binary=True)
    theirs = settled(smp.Unet("resnet18", encoder_weights=None, classes=1, activation="sigmoid"))
    images = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        logits = place(restore(architecture, state(theirs)), "cpu")(images)
        assert torch.equal(logits.sigmoid(), theirs(images))
