from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from torch.nn.functional import interpolate

from skiptool.errors import ArgumentError, FormatError
from skiptool.model.infer import place
from skiptool.model.unet import PrunedBlock, build, parameter_count, restore, state
from skiptool.records import Architecture

CLASSES = ("background", "cell")
LEVELS = (1, 2, 3, 4)
SUBSETS = [chosen for size in range(5) for chosen in combinations(LEVELS, size)]
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


@pytest.mark.parametrize(("encoder", "skips"), TABLE_2)
def test_table_2(encoder: str, skips: tuple[int, ...]) -> None:
    network = build(Architecture(encoder, skips, CLASSES))
    assert parameter_count(network) == TABLE_2[encoder, skips]


def test_the_baseline_is_smp_to_the_bit(baseline: smp.Unet) -> None:
    theirs = smp.Unet("resnet18", encoder_weights=None, classes=2)
    assert list(theirs.state_dict()) == list(baseline.state_dict())
    theirs.load_state_dict(baseline.state_dict())
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(place(theirs, "cpu")(images), baseline(images))
    assert type(baseline) is smp.Unet


@pytest.mark.parametrize("skips", SUBSETS, ids=str)
def test_only_the_skips_that_stay_are_read(skips: tuple[int, ...]) -> None:
    network = build(Architecture("resnet18", skips, CLASSES)).eval()
    features = [
        torch.rand(1, c, 64 >> k, 64 >> k) for k, c in enumerate((3, 64, 64, 128, 256, 512))
    ]
    with torch.no_grad():
        expected = network.decoder(features)
        for level in LEVELS:
            changed = [-f if k == level else f for k, f in enumerate(features)]
            assert torch.equal(network.decoder(changed), expected) == (level not in skips)


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


def test_a_pruned_block_upsamples_and_convolves_twice() -> None:
    block = PrunedBlock(4, 0, 6).eval()
    below, skip = torch.rand(1, 4, 3, 5), torch.rand(1, 9, 7, 9)
    with torch.no_grad():
        expected = block.conv2(block.conv1(interpolate(below, size=(7, 9), mode="nearest")))
        assert torch.equal(block(below, 7, 9, skip), expected)


@pytest.mark.parametrize("skips", [LEVELS, (2, 3, 4), (1, 3), ()], ids=str)
@pytest.mark.parametrize("size", [(50, 77), (33, 64)], ids=str)
def test_sizes_need_not_be_multiples_of_32(skips: tuple[int, ...], size: tuple[int, int]) -> None:
    network = build(Architecture("resnet18", skips, CLASSES)).eval()
    with torch.no_grad():
        assert network(torch.rand(1, 3, *size)).shape == (1, 2, *size)


def test_same_seed_same_weights_and_the_rest_is_shared_by_all_prunings() -> None:
    architecture = Architecture("resnet18", LEVELS, CLASSES)
    first, again, other = (state(build(architecture, seed)) for seed in (3, 3, 4))
    pruned = state(build(Architecture("resnet18", (2, 3, 4), CLASSES), 3))
    for name, array in first.items():
        np.testing.assert_array_equal(array, again[name])
        if not name.startswith("decoder.blocks.3.conv"):
            np.testing.assert_array_equal(array, pruned[name])
    assert (first["encoder.conv1.weight"] != other["encoder.conv1.weight"]).any()
    assert pruned["decoder.blocks.3.conv1.0.weight"].shape == (32, 64, 3, 3)


def test_building_leaves_the_random_state_alone() -> None:
    before = torch.get_rng_state()
    build(Architecture("resnet18", (), CLASSES))
    assert torch.equal(torch.get_rng_state(), before)


def test_an_encoder_without_channels_at_level_1() -> None:
    with_, without = (build(Architecture("mit_b0", s, CLASSES)) for s in (LEVELS, (2, 3, 4)))
    assert parameter_count(with_) == parameter_count(without)
    with torch.no_grad():
        assert without.eval()(torch.rand(1, 3, 64, 64)).shape == (1, 2, 64, 64)


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


def test_unfit_architectures() -> None:
    with pytest.raises(ArgumentError, match="only 'unet'"):
        build(Architecture("resnet18", (), CLASSES, arch="linknet"))
    with pytest.raises(ArgumentError, match="at least one more"):
        build(Architecture("resnet18", (), ("background",)))


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
