from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
import torchvision
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file

from skiptool.errors import ArgumentError, SourceError
from skiptool.model import weights
from skiptool.model.unet import build, state_arrays
from skiptool.model.weights import find_prefixes, load_encoder_weights, match_tensors
from skiptool.records import Architecture
from small_stores import refused

CLASSES = ("background", "cell")
Tensors = dict[str, torch.Tensor]


def network(channels: int = 3, encoder: str = "resnet18") -> smp.Unet:
    return build(Architecture(encoder, (1,), CLASSES, channels), seed=1)


@pytest.fixture(scope="module")
def theirs() -> Tensors:
    """Tensors of torchvision's classifier, as in resnet18-f37072fd.pth: with ``fc``."""
    return dict(torchvision.models.resnet18(weights=None).state_dict())


@pytest.fixture
def silent_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Replace the hub by a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr(weights.hub, "hf_hub_url", lambda *_, **__: f"{url}/model.safetensors")
        monkeypatch.setattr(weights, "HUB_TIMEOUT", 0.2)
        monkeypatch.setattr(weights.hub, "try_to_load_from_cache", lambda *_, **__: None)
        yield


def assert_loaded(unet: smp.Unet, expected: Tensors) -> None:
    loaded = unet.encoder.state_dict()
    assert all(torch.equal(loaded[name], expected[name]) for name in loaded)


def test_none_keeps_the_random_weights() -> None:
    unet = network()
    before = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    loaded = load_encoder_weights(unet, "resnet18", "none")
    assert (loaded.source, loaded.digest) == ("none", None)
    assert all(torch.equal(tensor, before[name]) for name, tensor in unet.state_dict().items())


@pytest.mark.parametrize("prefix", ["", "encoder.", "module.", "model.resnet."])
def test_state_dict_of_torchvision_is_loaded(tmp_path: Path, theirs: Tensors, prefix: str) -> None:
    path = tmp_path / "resnet18-f37072fd.pth"
    torch.save({prefix + name: tensor for name, tensor in theirs.items()}, path)
    unet = network()
    loaded = load_encoder_weights(unet, "resnet18", str(path))
    assert loaded.source == path.name
    assert_loaded(unet, theirs)


@pytest.mark.long
def test_digest_does_not_depend_on_the_file_format(tmp_path: Path, theirs: Tensors) -> None:
    torch.save({"epoch": 3, "state_dict": theirs}, tmp_path / "a.pt")
    save_file(theirs, tmp_path / "b.safetensors")
    digests = [
        load_encoder_weights(network(), "resnet18", str(tmp_path / name)).digest
        for name in ("a.pt", "b.safetensors")
    ]
    assert digests[0] == digests[1]
    theirs = {**theirs, "bn1.bias": theirs["bn1.bias"] + 1}
    save_file(theirs, tmp_path / "c.safetensors")
    other = load_encoder_weights(network(), "resnet18", str(tmp_path / "c.safetensors"))
    assert other.digest != digests[0]


@pytest.mark.long
def test_model_file_of_skiptool_is_loaded(tmp_path: Path, baseline: smp.Unet) -> None:
    save_arrays(state_arrays(baseline), tmp_path / "model.safetensors")
    unet = network()
    load_encoder_weights(unet, "resnet18", str(tmp_path / "model.safetensors"))
    assert_loaded(unet, baseline.encoder.state_dict())


@pytest.mark.long
@pytest.mark.parametrize("channels", [1, 2, 4])
def test_channels_are_adapted_as_by_smp(tmp_path: Path, theirs: Tensors, channels: int) -> None:
    torch.save(theirs, tmp_path / "a.pth")
    oracle = smp.encoders.get_encoder("resnet18", in_channels=3, weights=None)
    oracle.load_state_dict(dict(theirs))
    oracle.set_in_channels(channels, pretrained=True)
    unet = network(channels)
    load_encoder_weights(unet, "resnet18", str(tmp_path / "a.pth"))
    torch.testing.assert_close(unet.encoder.conv1.weight, oracle.conv1.weight)
    assert torch.equal(unet.encoder.layer4[1].conv2.weight, theirs["layer4.1.conv2.weight"])


@pytest.mark.long
def test_old_files_without_counters_and_with_dotted_names_are_loaded(tmp_path: Path) -> None:
    theirs = torchvision.models.densenet121(weights=None).state_dict()
    old = {
        name.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."): tensor
        for name, tensor in theirs.items()
        if not name.endswith("num_batches_tracked")
    }
    torch.save(old, tmp_path / "densenet121-a639ec97.pth")
    unet = network(encoder="densenet121")
    path = str(tmp_path / "densenet121-a639ec97.pth")
    load_encoder_weights(unet, "densenet121", path)
    name = "features.denseblock3.denselayer7.conv2.weight"
    assert torch.equal(unet.encoder.state_dict()[name], theirs[name])


@pytest.mark.long
def test_file_of_timm_is_loaded(tmp_path: Path) -> None:
    theirs = weights.timm.create_model("convnext_atto", pretrained=False).state_dict()
    torch.save(theirs, tmp_path / "convnext.bin")
    unet = network(encoder="tu-convnext_atto")
    load_encoder_weights(unet, "tu-convnext_atto", str(tmp_path / "convnext.bin"))
    loaded = unet.encoder.model.state_dict()["stages_1.blocks.0.conv_dw.weight"]
    assert torch.equal(loaded, theirs["stages.1.blocks.0.conv_dw.weight"])


WRAPPED = {
    "state_dict": lambda net: {"state_dict": net, "epoch": 3},
    "model": lambda net: {"model": net, "args": {"lr": 1e-3}},
    "model_state_dict": lambda net: {"model_state_dict": net, "optimizer_state_dict": {}},
    "net": lambda net: {"net": net, "best": 0.5},
    "any name": lambda net: {"weights": {"student": net}},
    "two names of one network": lambda net: {"model": net, "model_best": dict(net)},
    "Lightning": lambda net: {
        "pytorch-lightning_version": "2.6.0",
        "state_dict": {f"network.encoder.{name}": tensor for name, tensor in net.items()},
        "callbacks": {"EMA": {name: tensor * 0 for name, tensor in net.items()}},
        "optimizer_states": [{"state": {0: {"step": torch.zeros(())}}}],
    },
}


@pytest.mark.long
@pytest.mark.parametrize("wrapper", WRAPPED)
@pytest.mark.parametrize("name", ["a.pt", "a.ckpt", "a.safetensors", "a"])
def test_nested_state_dicts_are_loaded(
    tmp_path: Path, theirs: Tensors, wrapper: str, name: str
) -> None:
    torch.save(WRAPPED[wrapper](theirs), tmp_path / name)
    unet = network()
    load_encoder_weights(unet, "resnet18", str(tmp_path / name))
    assert_loaded(unet, theirs)


def test_safetensors_are_recognised_by_content(tmp_path: Path, theirs: Tensors) -> None:
    save_file(theirs, tmp_path / "a.pth")
    unet = network()
    load_encoder_weights(unet, "resnet18", str(tmp_path / "a.pth"))
    assert_loaded(unet, theirs)


@pytest.mark.long
@pytest.mark.parametrize(
    ("first", "second", "names"),
    [
        ("student", "teacher", r"student\.\*, teacher\.\*"),
        ("model", "model_ema", r"model\.\*, model_ema\.\*"),
        ("module.encoder_q", "module.encoder_k", r"module\.encoder_q\.\*, module\.encoder_k\.\*"),
        ("", "momentum", r"bare names, momentum\.\*"),
    ],
)
def test_several_networks_in_a_file_are_refused(
    tmp_path: Path, theirs: Tensors, first: str, second: str, names: str
) -> None:
    tensors = {f"{first}.{name}".lstrip("."): tensor for name, tensor in theirs.items()}
    tensors |= {f"{second}.{name}": tensor + 1 for name, tensor in theirs.items()}
    torch.save(tensors, tmp_path / "a.pth")
    words = rf"a\.pth: holds several networks with such an encoder \({names}\); save only"
    with pytest.raises(SourceError, match=words):
        load_encoder_weights(network(), "resnet18", str(tmp_path / "a.pth"))


@pytest.mark.parametrize(
    ("value", "words"),
    [(float("nan"), "has 1 of 64 values that are NaN"), (torch.int8, "has type int8, expected")],
)
def test_quantised_and_non_finite_weights_are_refused(
    tmp_path: Path, theirs: Tensors, value: float | torch.dtype, words: str
) -> None:
    """Training would diverge at its first step, or start from numbers without a scale."""
    tensor = theirs["bn1.weight"].clone()
    if isinstance(value, float):
        tensor[5] = value
    else:
        tensor = (tensor * 50).to(value)
    torch.save(theirs | {"bn1.weight": tensor}, tmp_path / "a.pth")
    with refused(SourceError, f"a.pth: tensor bn1.weight {words}"):
        load_encoder_weights(network(), "resnet18", str(tmp_path / "a.pth"))


def test_pickled_module_is_refused(tmp_path: Path) -> None:
    torch.save(network(), tmp_path / "whole.pt")
    words = r"whole\.pt: cannot be read .* object of \S+, whose code is not executed; save only"
    with pytest.raises(SourceError, match=words) as caught:
        load_encoder_weights(network(), "resnet18", str(tmp_path / "whole.pt"))
    assert "\x1b" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:.*torch:Warning", "ignore:.*TorchScript:Warning")
def test_torchscript_archive_is_refused(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), tmp_path / "s.pt")
    with pytest.raises(SourceError, match=r"s\.pt: .*TorchScript archive; save only its tensors"):
        load_encoder_weights(network(), "resnet18", str(tmp_path / "s.pt"))


def test_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        SourceError, match=r"is a folder; give the file in it, such as model.safetensors"
    ):
        load_encoder_weights(network(), "resnet18", str(tmp_path))


@pytest.mark.parametrize(
    "encoder", ["resnet18", "mobilenet_v2", "efficientnet-b0", "mit_b0", "tu-resnet18"]
)
def test_network_of_smp_is_loaded(tmp_path: Path, encoder: str) -> None:
    theirs = network(encoder=encoder)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.01)
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    unet = network(encoder=encoder)
    load_encoder_weights(unet, encoder, str(tmp_path / "model.safetensors"))
    assert_loaded(unet, theirs.encoder.state_dict())


@pytest.mark.long
def test_weights_of_another_encoder_are_refused(tmp_path: Path, theirs: Tensors) -> None:
    torch.save(theirs, tmp_path / "a.pth")
    expected = (
        r"layer1.2.conv1.weight is missing \(and \d+ more\); the file holds .* of resnet18; use"
    )
    with pytest.raises(SourceError, match=expected):
        load_encoder_weights(network(encoder="resnet34"), "resnet34", str(tmp_path / "a.pth"))
    deeper = torchvision.models.resnet34(weights=None).state_dict()
    torch.save(deeper, tmp_path / "c.pth")
    expected = r"layer1.2.conv1.weight has no place in it .* holds those of resnet34; use weights"
    with pytest.raises(SourceError, match=expected):
        load_encoder_weights(network(), "resnet18", str(tmp_path / "c.pth"))
    torch.save({**theirs, "bn1.bias": torch.zeros(3)}, tmp_path / "b.pth")
    with pytest.raises(SourceError, match=r"bn1.bias has shape \(3,\), expected \(64,\); use"):
        load_encoder_weights(network(), "resnet18", str(tmp_path / "b.pth"))


class Trap:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("sprung",)


def test_pickled_code_is_not_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"conv1.weight": Trap()}, tmp_path / "trap.pth")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match="cannot be read as weights"):
        load_encoder_weights(network(), "resnet18", "trap.pth")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth", "weights"])
def test_damaged_file_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x10\0\0\0\0\0\0\0 nonsense and more of it")
    with pytest.raises(SourceError, match="cannot be read as weights") as caught:
        load_encoder_weights(network(), "resnet18", str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_file_without_state_dict_is_refused(tmp_path: Path) -> None:
    torch.save([torch.zeros(2)], tmp_path / "a.pt")
    with pytest.raises(SourceError, match="holds a list, expected a state dict"):
        load_encoder_weights(network(), "resnet18", str(tmp_path / "a.pt"))


def test_unknown_name_and_missing_file_are_refused() -> None:
    with pytest.raises(ArgumentError, match="did you mean imagenet"):
        load_encoder_weights(network(), "resnet18", "imagnet")
    with pytest.raises(SourceError, match="no such file"):
        load_encoder_weights(network(), "resnet18", "missing.pth")


@pytest.mark.usefixtures("silent_hub")
@pytest.mark.parametrize(
    ("encoder", "repository"),
    [("resnet18", "smp-hub/resnet18.imagenet"), ("tu-resnet10t", "timm/resnet10t.c3_in1k")],
)
def test_hub_that_never_answers_fails_quickly(encoder: str, repository: str) -> None:
    unet = network(encoder=encoder)
    began = time.perf_counter()
    with pytest.raises(SourceError, match=f"hf download {repository} model.safetensors") as caught:
        load_encoder_weights(unet, encoder, "imagenet")
    assert time.perf_counter() - began < 5
    assert "\n" not in str(caught.value)


def test_cached_file_is_used_offline(
    tmp_path: Path, theirs: Tensors, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = []

    def cached(repository: str, name: str, revision: str) -> str:
        requests.append((repository, name, revision))
        return str(tmp_path / "model.safetensors")

    monkeypatch.setattr(weights.hub, "try_to_load_from_cache", cached)
    save_file(theirs, tmp_path / "model.safetensors")
    unet = network()
    loaded = load_encoder_weights(unet, "resnet18", "imagenet")
    settings = smp.encoders.encoders["resnet18"]["pretrained_settings"]["imagenet"]
    assert requests == [(settings["repo_id"], "model.safetensors", settings["revision"])]
    assert loaded.source == "imagenet"
    assert_loaded(unet, theirs)
    assert np.isfinite(unet.encoder.conv1.weight.detach().numpy()).all()


def zeros(*names: str) -> dict[str, torch.Tensor]:
    return {name: torch.zeros(2) for name in names}


def test_classifier_is_ignored_but_a_deeper_network_is_a_fault() -> None:
    target = zeros("conv1.weight", "layer1.0.weight", "layer1.1.weight")
    chosen, faults = match_tensors(
        target | zeros("fc.weight", "head.0.weight", "head.1.weight"), target
    )
    assert (chosen.keys(), faults) == (target.keys(), [])
    _, faults = match_tensors(target | zeros("layer1.2.weight"), target)
    assert faults == ["tensor layer1.2.weight has no place in it"]


def test_prefixed_names_are_matched() -> None:
    target = zeros("conv1.weight", "layer1.0.weight")
    theirs = {f"encoder.{name}": tensor for name, tensor in target.items()}
    whole = theirs | zeros("decoder.blocks.0.weight", "layer1.7.weight")
    assert find_prefixes(whole, target) == {"encoder.": "encoder."}
    chosen, faults = match_tensors(whole, target, "encoder.")
    assert (chosen.keys(), faults) == (target.keys(), [])
    _, faults = match_tensors(theirs | zeros("encoder.layer1.1.weight"), target, "encoder.")
    assert faults == ["tensor encoder.layer1.1.weight has no place in it"]


def test_missing_tensors_and_other_shapes_are_faults() -> None:
    target = {**zeros("a.weight", "b.weight", "b.num_batches_tracked")}
    _, faults = match_tensors({"a.weight": torch.zeros(3)}, target)
    assert faults == [
        "tensor a.weight has shape (3,), expected (2,)",
        "tensor b.weight is missing",
    ]
