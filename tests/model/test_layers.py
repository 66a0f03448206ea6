from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from torch.nn.functional import adaptive_avg_pool2d, conv2d

from skiptool.errors import ArgumentError
from skiptool.model.layers import (
    Taps,
    decoder_inputs,
    existing_layers,
    pooled_activations,
    pooled_size,
)
from skiptool.model.unet import build
from skiptool.names import DECODER_INPUTS, LAYERS
from skiptool.records import Architecture
from small_models import settled

if TYPE_CHECKING:
    from skiptool.records import UInt8

CONCATENATING = ["unet", "unetplusplus", "manet"]


def test_stage_without_channels_is_no_layer() -> None:
    network = build(Architecture("mit_b0", (1, 2, 4), ("background", "cell")))
    layers = existing_layers(network)
    assert layers == tuple(layer for layer in LAYERS if layer != "enc1")
    images = np.zeros((1, 64, 64, 3), np.uint8)
    assert list(pooled_activations(network, images, layers, "cpu")) == list(layers)
    with pytest.raises(
        ArgumentError, match=r"'enc1': the encoder has no channels there; choose from inp.*enc2"
    ):
        pooled_activations(network, images, ["enc1"], "cpu")


def test_resnet_has_all_layers(baseline: smp.Unet) -> None:
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
def test_unknown_layers_are_refused(
    baseline: smp.Unet, images: UInt8, layer: str, expected: str
) -> None:
    with pytest.raises(ArgumentError, match=expected):
        pooled_activations(baseline, images, [layer], "cpu")


def network_of(arch: str, skips: tuple[int, ...]) -> smp.base.SegmentationModel:
    return settled(build(Architecture("resnet18", skips, ("b", "c"), arch=arch)))


def convolution(network: smp.base.SegmentationModel, level: int) -> torch.nn.Conv2d:
    node = f"x_0_{4 - level}" if isinstance(network, smp.UnetPlusPlus) else str(4 - level)
    return network.get_submodule(f"decoder.blocks.{node}.conv1.0")


def split(
    network: smp.base.SegmentationModel, level: int, skip_channels: int, images: UInt8
) -> dict[str, np.ndarray]:
    """Convolve each part of the input of a block's first convolution separately, in float64."""
    seen: list[torch.Tensor] = []
    module = convolution(network, level)
    handle = module.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].clone()))
    with torch.no_grad():
        network(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)
    handle.remove()
    inputs, weight = seen[0].double(), module.weight.detach().double()
    below = inputs.shape[1] - skip_channels
    bias = None if module.bias is None else module.bias.detach().double()
    result = {
        "from_below": conv2d(inputs[:, :below], weight[:, :below], bias, padding=1),
        "from_skip": conv2d(inputs[:, below:], weight[:, below:], padding=1),
    }
    pooled = {name: adaptive_avg_pool2d(part, (3, 2)).flatten(2) for name, part in result.items()}
    return {name: part.numpy() for name, part in pooled.items()}


SKIP_CHANNELS = {4: 256, 3: 128, 2: 64, 1: 64, 0: 0}
NESTED = {4: 256, 3: 256, 2: 192, 1: 256, 0: 0}  # with the nodes of the row


@pytest.mark.long
@pytest.mark.parametrize("arch", CONCATENATING)
def test_decoder_inputs_are_the_two_terms_of_the_convolution(arch: str, images: UInt8) -> None:
    network = network_of(arch, (1, 2, 3, 4))
    assert decoder_inputs(network) == DECODER_INPUTS
    result = pooled_activations(network, images, DECODER_INPUTS, "cpu")
    for level, skip_channels in (NESTED if arch == "unetplusplus" else SKIP_CHANNELS).items():
        parts = split(network, level, skip_channels, images)
        for name in ("from_below", "from_skip") if skip_channels else ("from_below",):
            layer = f"dec{level}.{name}"
            np.testing.assert_allclose(result[layer], parts[name], rtol=2e-3, atol=2e-4)
            assert np.abs(parts[name]).max() > 0.01, layer


def test_bias_belongs_to_the_input_from_below(baseline: smp.Unet, images: UInt8) -> None:
    before = pooled_activations(baseline, images, DECODER_INPUTS[-3:], "cpu")
    module = convolution(baseline, 1)
    module.bias = torch.nn.Parameter(torch.full((module.out_channels,), 7.0))
    try:
        after = pooled_activations(baseline, images, DECODER_INPUTS[-3:], "cpu")
    finally:
        module.bias = None
    np.testing.assert_array_equal(after["dec1.from_skip"], before["dec1.from_skip"])
    difference = after["dec1.from_below"] - before["dec1.from_below"]
    np.testing.assert_allclose(difference, 7.0, rtol=1e-4)


@pytest.mark.parametrize("arch", ["unet", "manet"])
def test_pruned_level_has_no_input_from_its_skip(arch: str, images: UInt8) -> None:
    network = network_of(arch, (2, 4))
    gone = {"dec3.from_skip", "dec1.from_skip"}
    assert decoder_inputs(network) == tuple(n for n in DECODER_INPUTS if n not in gone)
    with pytest.raises(
        ArgumentError, match=r"'dec1.from_skip': this network has no skip connection of level 1; it"
    ):
        pooled_activations(network, images, ["dec1.from_skip"], "cpu")
    result = pooled_activations(network, images, ["dec1.from_below"], "cpu")["dec1.from_below"]
    np.testing.assert_allclose(result, split(network, 1, 0, images)["from_below"], atol=1e-3)


@pytest.mark.long
def test_pruned_nested_row_keeps_its_nodes() -> None:
    network = network_of("unetplusplus", (2, 3, 4))
    assert "dec1.from_skip" in decoder_inputs(network)
    bare = network_of("unetplusplus", ())
    assert decoder_inputs(bare) == tuple(n for n in DECODER_INPUTS if n.endswith("below"))


def test_linknet_has_no_decoder_inputs(images: UInt8) -> None:
    network = network_of("linknet", (1, 2, 3, 4))
    assert decoder_inputs(network) == ()
    with pytest.raises(ArgumentError, match="a LinkNet adds skip connections after its blocks"):
        pooled_activations(network, images, ["dec2.from_below"], "cpu")


def pooled(activations: torch.Tensor, rows: int, columns: int) -> np.ndarray[Any, Any]:
    """Average windows from floor(i h / rows) to ceil((i + 1) h / rows), one by one."""
    values = activations.double().numpy()
    count, channels, height, width = values.shape
    result = np.empty((count, channels, rows * columns))
    for row in range(rows):
        for column in range(columns):
            top, bottom = row * height // rows, -(-(row + 1) * height // rows)
            left, right = column * width // columns, -(-(column + 1) * width // columns)
            window = values[:, :, top:bottom, left:right]
            result[:, :, row * columns + column] = window.mean(axis=(2, 3))
    return result


def plain_forward(network: smp.Unet, images: UInt8) -> dict[str, torch.Tensor]:
    """Compute the twelve layers without hooks, from the parts of the network."""
    inputs = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        features = network.encoder(inputs)
        layers = {"input": inputs, **{f"enc{level}": features[level] for level in range(1, 6)}}
        below = features[5]
        for index, block in enumerate(network.decoder.blocks):
            size = features[4 - index].shape[2:]
            skip = features[4 - index] if index < 4 else None
            below = block(below, *size, skip)
            layers[f"dec{4 - index}"] = below
        return {**layers, "head": network.segmentation_head(below)}


def layer_by_layer(network: smp.base.SegmentationModel, images: UInt8) -> dict[str, torch.Tensor]:
    """Compute the layers of LinkNet and MA-Net, or U-Net++, without hooks."""
    inputs = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    blocks = network.decoder.blocks
    with torch.no_grad():
        features = network.encoder(inputs)
        layers = {"input": inputs, **{f"enc{level}": features[level] for level in range(1, 6)}}
        if isinstance(network, smp.UnetPlusPlus):
            nodes = {(level, 0): features[level] for level in range(1, 6)}
            for j in range(1, 5):  # X^{l,j} of the paper
                for level in range(1, 6 - j):
                    row = torch.cat([nodes[level, i] for i in reversed(range(j))], dim=1)
                    node = blocks[f"x_{5 - level - j}_{4 - level}"]
                    nodes[level, j] = node(nodes[level + 1, j - 1], row)
            layers |= {f"dec{level}": nodes[level, 5 - level] for level in range(4, 0, -1)}
            layers["dec0"] = blocks["x_0_4"](nodes[1, 4])
        else:
            below = network.decoder.center(features[5]) if network.name[0] == "m" else features[5]
            for level in range(4, -1, -1):
                below = blocks[4 - level](below, features[level] if level else None)
                layers[f"dec{level}"] = below
        return {**layers, "head": network.segmentation_head(layers["dec0"])}


@pytest.mark.parametrize("arch", ["unetplusplus", "linknet", "manet"])
@pytest.mark.parametrize("skips", [(1, 2, 3, 4), (1, 3)], ids=str)
def test_twelve_layers_of_each_architecture(arch: str, skips: tuple[int, ...]) -> None:
    network = settled(build(Architecture("resnet18", skips, ("b", "c"), arch=arch)))
    images = np.random.default_rng(0).integers(0, 256, (2, 96, 64, 3), dtype=np.uint8)
    assert existing_layers(network) == LAYERS
    result = pooled_activations(network, images, LAYERS, "cpu")
    for layer, activations in layer_by_layer(network, images).items():
        np.testing.assert_allclose(
            result[layer], pooled(activations, 3, 2), rtol=2e-4, atol=2e-5, err_msg=layer
        )


def test_node_without_inputs_is_refused(images: UInt8) -> None:
    network = build(Architecture("resnet18", (), ("b", "c"), arch="unetplusplus"))
    with pytest.raises(ArgumentError, match=r"x_1_1': its output is of shape \(2, 0, 12, 8\)"):
        pooled_activations(network, images, ["decoder.blocks.x_1_1"], "cpu")


def test_pooled_size_rounds_up() -> None:
    assert pooled_size(96, 64) == (3, 2)
    assert pooled_size(240, 33) == (8, 2)


@pytest.mark.parametrize("size", [(96, 64), (80, 50)], ids=str)
def test_twelve_layers_equal_a_plain_forward_pass(
    baseline: smp.Unet, size: tuple[int, int]
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    result = pooled_activations(baseline, images, LAYERS, "cpu")
    assert tuple(result) == LAYERS
    for layer, activations in plain_forward(baseline, images).items():
        assert result[layer].dtype == np.float32
        assert result[layer].flags.c_contiguous
        np.testing.assert_allclose(
            result[layer],
            pooled(activations, *pooled_size(*size)),
            rtol=2e-4,
            atol=2e-5,
            err_msg=layer,
        )


def test_input_layer_is_the_image(baseline: smp.Unet, images: UInt8) -> None:
    result = pooled_activations(baseline, images, ["input"], "cpu")["input"]
    blocks = images.reshape(2, 3, 32, 2, 32, 3).mean(axis=(2, 4)) / 255
    np.testing.assert_allclose(result, blocks.reshape(2, 6, 3).transpose(0, 2, 1), rtol=1e-5)


def test_float_images_are_not_scaled(grey_pruned: smp.Unet) -> None:
    images = np.random.default_rng(0).random((1, 64, 64, 1), dtype=np.float32)
    result = pooled_activations(grey_pruned, images, ["input", "head"], "cpu")
    expected = images.astype(np.float64).reshape(2, 32, 2, 32).mean(axis=(1, 3)).ravel()
    np.testing.assert_allclose(result["input"][0, 0], expected, rtol=1e-5)
    assert result["head"].shape == (1, 3, 4)


def test_layers_keep_the_requested_order(baseline: smp.Unet, images: UInt8) -> None:
    assert list(pooled_activations(baseline, images, ["head", "input", "dec3"], "cpu")) == [
        "head",
        "input",
        "dec3",
    ]


def test_in_place_modules_do_not_overwrite_activations(baseline: smp.Unet, images: UInt8) -> None:
    """The ReLU after ``bn1``, and the sum after ``bn2``, change those outputs in place."""
    names = ["encoder.bn1", "encoder.layer4.1.bn2"]
    kept: dict[str, torch.Tensor] = {}
    modules = dict(baseline.named_modules())
    handles = []
    for name in names:

        def keep(_: object, __: object, output: torch.Tensor, name: str = name) -> None:
            kept[name] = output
            kept[f"{name} copied"] = output.clone()

        handles.append(modules[name].register_forward_hook(keep))
    result = pooled_activations(baseline, images, names, "cpu")
    for handle in handles:
        handle.remove()
    for name in names:
        right = pooled(kept[f"{name} copied"], 3, 2)
        np.testing.assert_allclose(result[name], right, rtol=2e-4, atol=2e-5)
        assert np.abs(pooled(kept[name], 3, 2) - right).max() > 0.01


def test_second_call_of_a_module_is_a_layer(baseline: smp.Unet, images: UInt8) -> None:
    name = "encoder.layer1.0.relu"
    result = pooled_activations(baseline, images, [f"{name}@2", name, "encoder.layer1.0"], "cpu")
    np.testing.assert_array_equal(result[f"{name}@2"], result["encoder.layer1.0"])
    assert (result[name] != result[f"{name}@2"]).any()


def test_taps_collect_several_batches(baseline: smp.Unet, images: UInt8) -> None:
    inputs = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    with Taps(baseline, ["encoder.layer1.0.relu@2", "enc1"]) as taps, torch.no_grad():
        first = taps.collect(inputs)
        second = taps.collect(inputs.flip(0))
    for layer, vectors in first.items():
        torch.testing.assert_close(second[layer].flip(0), vectors)


def test_large_batches_are_split_and_concatenated(
    baseline: smp.Unet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skiptool.model.inference.PIXELS", 2 * 64 * 64)
    images = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
    layers = ["input", "enc1", "head", "encoder.layer1.0.relu@2"]
    result = pooled_activations(baseline, images, layers, "cpu")
    parts = [pooled_activations(baseline, images[at : at + 2], layers, "cpu") for at in (0, 2, 4)]
    for layer, vectors in result.items():
        assert vectors.flags.c_contiguous
        np.testing.assert_array_equal(vectors, np.concatenate([part[layer] for part in parts]))


def test_concurrent_batches_do_not_mix(baseline: smp.Unet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skiptool.model.inference.PIXELS", 64 * 64)
    images = np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3), dtype=np.uint8)
    layers = [*LAYERS, "encoder.layer1.0.relu@2"]
    alone = pooled_activations(baseline, images, layers, "cpu")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        result = pooled_activations(baseline, images, layers, "cpu")
    finally:
        torch.set_num_threads(before)
    for layer, vectors in alone.items():
        np.testing.assert_array_equal(result[layer], vectors, err_msg=layer)


def hooks(network: smp.Unet) -> int:
    return sum(len(module._forward_hooks) for module in network.modules())


def test_hooks_are_removed(baseline: smp.Unet, images: UInt8) -> None:
    with Taps(baseline, LAYERS):
        assert hooks(baseline) == 11
    assert hooks(baseline) == 0
    with pytest.raises(ArgumentError):
        pooled_activations(baseline, images, ["enc1", "encoder"], "cpu")
    assert hooks(baseline) == 0


def test_activations_are_float32_within_autocast(baseline: smp.Unet, images: UInt8) -> None:
    expected = pooled_activations(baseline, images, ["head"], "cpu")["head"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        np.testing.assert_array_equal(
            pooled_activations(baseline, images, ["head"], "cpu")["head"], expected
        )


def test_output_that_is_no_feature_map_is_refused() -> None:
    network = build(Architecture("mit_b0", (1,), ("background", "cell")))
    with pytest.raises(ArgumentError, match=r"of shape \(1, 256, 32\), expected a tensor"):
        pooled_activations(
            network, np.zeros((1, 64, 64, 3), np.uint8), ["encoder.block1.0.attn"], "cpu"
        )
