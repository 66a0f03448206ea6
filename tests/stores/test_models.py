"""Tests of ``models``."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import segmentation_models_pytorch as smp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from safetensors.torch import save_file

from skiptool.errors import ArgumentError, FormatError, MismatchError
from skiptool.model.inference import prepare_for_inference
from skiptool.model.unet import build, parameter_count, restore_network, state_arrays
from skiptool.names import ENSEMBLE_FOLD, Arch, Kind
from skiptool.records import Architecture
from skiptool.stores.lineage import Invocation, create_lineage, hash_json
from skiptool.stores.models import (
    StoredModel,
    configuration,
    fold_ensembles,
    model_identity,
    open_model,
    read_architecture,
    read_config,
    read_count,
    write_config,
    write_model,
)
from skiptool.stores.seals import check_object
from skiptool.stores.tables import PREDICTIONS
from small_models import settled
from small_stores import CLASSES, HOSTILE_JSON, MAKING, refused, set_json

if TYPE_CHECKING:
    from skiptool.records import AnyArray

PRUNED = Architecture("resnet18", (2, 3, 4), ("background", "cell"))
SMALL: dict[str, AnyArray] = {
    "w": np.arange(6, dtype=np.float32).reshape(2, 3),
    "bn.running_mean": np.ones(3, dtype=np.float32),
    "bn.num_batches_tracked": np.array(7),
}


def write(
    folder: Path,
    tensors: dict[str, AnyArray] = SMALL,
    architecture: Architecture = PRUNED,
    invocation: Invocation = MAKING,
    **extra: object,
) -> Path:
    folder.mkdir()
    header = create_lineage(Kind.MODEL, invocation, model_identity(architecture, tensors))
    write_model(folder, architecture, tensors, header, {"fold": 1, "parameter_count": 6, **extra})
    return folder


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder written by the other library's ``save_pretrained``."""
    folder = tmp_path_factory.mktemp("smp") / "their model"
    torch.manual_seed(0)
    network = smp.Unet("resnet18", encoder_weights=None, in_channels=3, classes=2)
    network.save_pretrained(folder)
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write(tmp_path / "m")


@given(
    tensors=st.dictionaries(
        st.text(st.characters(min_codepoint=97, max_codepoint=122), min_size=1, max_size=3),
        npst.arrays(
            st.sampled_from(["float32", "float16", "int64"]),
            npst.array_shapes(min_dims=0, max_dims=3, max_side=4),
        ),
        min_size=1,
        max_size=3,
    ),
    fortran=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_model_round_trip(
    tmp_path_factory: pytest.TempPathFactory, tensors: dict[str, AnyArray], fortran: bool
) -> None:
    """With any memory order of arrays: safetensors itself would scramble the values."""
    order = "F" if fortran else "C"
    tensors = {
        name: np.asarray(np.nan_to_num(array), array.dtype, order=order)
        for name, array in tensors.items()
    }
    folder = write(tmp_path_factory.mktemp("m") / "m", tensors)
    stored = open_model(folder)
    found = stored.tensors()
    assert sorted(found) == sorted(tensors)
    for name, array in tensors.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    assert hash_json(["model", 1, model_identity(stored.architecture, found)]) == stored.id


def test_facts_of_a_model(model: Path) -> None:
    stored = open_model(model)
    assert stored.architecture == PRUNED
    assert stored.facts() == {
        "model": "resnet18-L1/fold1",
        "model_id": stored.id,
        "arch": "unet",
        "encoder": "resnet18",
        "pruning": "L1-pruned",
        "fold": 1,
        "repeat": 0,
        "parameter_count": 6,
    }
    assert stored.lineage is not None
    assert dict(stored.lineage.parameters) == dict(MAKING.parameters)


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640)])
def test_file_permissions_follow_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        folder = write(tmp_path / "m")
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert modes == {"model.safetensors": mode, "config.json": mode}


def test_name_includes_fold_and_repeat(tmp_path: Path) -> None:
    stored = open_model(write(tmp_path / "m", repeat=2))
    assert (stored.name, stored.fold, stored.repeat) == ("resnet18-L1/fold1-r2", 1, 2)
    assert stored.facts()["repeat"] == 2


def test_id_depends_on_architecture_and_weights_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    first = open_model(write(tmp_path / "1")).id
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "2")
    assert open_model(write(tmp_path / "2", invocation=Invocation("else"), fold=4)).id == first
    wide = Architecture("resnet18", (1, 2, 3, 4), ("background", "cell"))
    more = Architecture("resnet18", (2, 3, 4), ("background", "cell", "x"))
    others: list[dict[str, Any]] = [
        {"tensors": {**SMALL, "w": SMALL["w"] + 1}},
        {"tensors": {**SMALL, "w": SMALL["w"].T}},
        {"tensors": {**SMALL, "w": SMALL["w"].astype(np.float64)}},
        {"tensors": {"v" if name == "w" else name: array for name, array in SMALL.items()}},
        {"architecture": wide},
        {"architecture": more},
    ]
    found = {open_model(write(tmp_path / f"o{n}", **how)).id for n, how in enumerate(others)}
    assert len(found | {first}) == 1 + len(others)


def test_id_does_not_depend_on_class_names(tmp_path: Path) -> None:
    """They are for display; a foreign folder has none and may contain the same network."""
    renamed = Architecture("resnet18", (2, 3, 4), ("a", "b"))
    first, other = write(tmp_path / "1"), write(tmp_path / "2", architecture=renamed)
    assert open_model(first).id == open_model(other).id


@pytest.mark.long
def test_foreign_folder_is_read(foreign: Path) -> None:
    stored = open_model(foreign)
    assert stored.architecture == Architecture("resnet18", (1, 2, 3, 4), ("background", "class1"))
    assert (stored.name, stored.fold, stored.repeat) == ("their model", None, None)
    assert stored.lineage is None
    assert stored.parameter_count == 14_328_354  # Table II
    assert stored.id == hash_json(model_identity(stored.architecture, stored.tensors()))
    network = restore_network(stored.architecture, stored.tensors())
    assert parameter_count(network) == stored.parameter_count
    theirs = smp.from_pretrained(foreign).eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(network(image), theirs(image))


@pytest.mark.long
@pytest.mark.parametrize("arch", Arch)
def test_smp_opens_baselines_of_every_architecture(arch: Arch, tmp_path: Path) -> None:
    """In both directions, with equal logits and without access to the hub."""
    baseline = Architecture("resnet18", (1, 2, 3, 4), ("b", "c"), 1, arch.value)
    network = settled(build(baseline))
    ours = write(tmp_path / "m", state_arrays(network), baseline)
    images = torch.rand(2, 1, 64, 96)
    theirs = smp.from_pretrained(ours).eval()
    fresh = getattr(smp, arch.model_class)(
        "resnet18", encoder_weights=None, in_channels=1, classes=2
    )
    fresh.load_state_dict(theirs.state_dict())
    fresh.save_pretrained(tmp_path / "theirs")
    foreign = open_model(tmp_path / "theirs")
    assert (foreign.architecture.arch, foreign.facts()["arch"]) == (arch, arch)
    assert foreign.parameter_count == parameter_count(network)
    again = restore_network(foreign.architecture, foreign.tensors())
    with torch.inference_mode():
        expected = network(images)
        assert torch.equal(prepare_for_inference(theirs, "cpu")(images), expected)
        assert torch.equal(prepare_for_inference(again, "cpu")(images), expected)


def test_image_size_is_checked_if_the_architecture_requires_it(tmp_path: Path) -> None:
    nested = Architecture("resnet18", (2, 3, 4), ("background", "cell"), arch="unetplusplus")
    stored = open_model(write(tmp_path / "m", architecture=nested))
    stored.check_fits(3, (32, 64), "d.zarr: domain a")
    with refused(MismatchError, "d.zarr: domain a", "33 x 64", "unetplusplus", "multiples of 32"):
        stored.check_fits(3, (33, 64), "d.zarr: domain a")


def test_shared_keys_match_those_of_smp(foreign: Path, tmp_path: Path) -> None:
    theirs = json.loads((foreign / "config.json").read_text())
    baseline = Architecture("resnet18", (1, 2, 3, 4), ("background", "cell"))
    ours = json.loads((write(tmp_path / "m", architecture=baseline) / "config.json").read_text())
    assert {key: ours[key] for key in theirs} == theirs


@pytest.mark.long
def test_smp_opens_our_baseline(tmp_path: Path) -> None:
    baseline = Architecture("resnet18", (1, 2, 3, 4), ("background", "cell"))
    network = build(baseline, seed=3).eval()
    folder = write(tmp_path / "m", state_arrays(network), baseline)
    theirs = smp.from_pretrained(folder).eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(network(image), theirs(image))


def test_parameters_of_a_pruned_network_are_counted(tmp_path: Path) -> None:
    """A foreign folder that names the remaining skips; 14,309,922 is L1 in Table II."""
    network = build(PRUNED)
    folder = write(tmp_path / "m", state_arrays(network))
    set_json(folder / "config.json", lineage=None)
    stored = open_model(folder)
    assert stored.architecture == PRUNED
    assert stored.parameter_count == parameter_count(network) == 14_309_922


def test_other_numbers_of_channels_are_refused(model: Path) -> None:
    stored = open_model(model)
    stored.check_fits(3, (33, 64), "d.zarr: domain a")
    with refused(MismatchError, "d.zarr: domain a", "1 channels", model, "takes 3"):
        stored.check_fits(1, (64, 64), "d.zarr: domain a")


@pytest.mark.parametrize("lost", ["config.json", "model.safetensors"])
def test_missing_file_is_named(model: Path, lost: str) -> None:
    (model / lost).unlink()
    with refused(FormatError, model, lost):
        open_model(model)
    (model / lost).mkdir()
    with refused(FormatError, model, lost):
        open_model(model)


def test_other_paths_are_refused(tmp_path: Path, dataset: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "nowhere", tmp_path / "file", tmp_path, dataset):
        with refused(FormatError, path, "no model folder"):
            open_model(path)


@pytest.mark.parametrize("keep_header", [True, False])
def test_truncated_or_extended_weights_are_refused(model: Path, keep_header: bool) -> None:
    if not keep_header:
        set_json(model / "config.json", lineage=None)
    weights = model / "model.safetensors"
    whole = weights.read_bytes()
    for length in range(0, len(whole), 7):
        weights.write_bytes(whole[:length])
        with refused(FormatError, weights, "cannot be read"):
            open_model(model)
    for text in (whole + b"x", b"PK\x03\x04" + whole, b"\xff" * 64, b"[" * 100_000):
        weights.write_bytes(text)
        with refused(FormatError, weights, "cannot be read"):
            open_model(model)


def test_weights_lost_after_opening_are_refused(model: Path) -> None:
    stored = open_model(model)
    (model / "model.safetensors").unlink()
    with refused(FormatError, model / "model.safetensors"):
        stored.tensors()


def test_types_not_supported_by_numpy_are_refused(model: Path) -> None:
    save_file({"w": torch.zeros(3, dtype=torch.float8_e5m2)}, model / "model.safetensors")
    with refused(FormatError, model / "model.safetensors", "types that NumPy lacks"):
        open_model(model).tensors()


@pytest.mark.long
@pytest.mark.parametrize("before", ["", "_orig_mod.", "model.module."])
def test_half_precision_and_prefixes_of_wrappers_are_read(foreign: Path, before: str) -> None:
    """Names as from ``torch.compile`` and Lightning; the id is that of the plain network."""
    whole = safetensors.torch.load_file(foreign / "model.safetensors")
    halved = {
        f"{before}{name}": t.to(torch.bfloat16) if t.is_floating_point() else t
        for name, t in whole.items()
    }
    folder = foreign.parent / f"half {before}"
    folder.mkdir()
    (folder / "config.json").write_bytes((foreign / "config.json").read_bytes())
    save_file(halved, folder / "model.safetensors", {"format": "pt"})
    stored = open_model(folder)
    found = stored.tensors()
    for name, tensor in whole.items():
        expected = tensor.to(torch.bfloat16).float() if tensor.is_floating_point() else tensor
        assert np.array_equal(found[name], expected.numpy())
    assert stored.parameter_count == open_model(foreign).parameter_count
    assert restore_network(stored.architecture, found) is not None


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(foreign: Path, value: float) -> None:
    """A network with such weights would predict background everywhere, or lose a channel."""
    whole = safetensors.numpy.load_file(foreign / "model.safetensors")
    wrong = whole["encoder.bn1.running_var"].copy()
    wrong[3] = value
    folder = foreign.parent / f"wrong {value}"
    folder.mkdir()
    (folder / "config.json").write_bytes((foreign / "config.json").read_bytes())
    safetensors.numpy.save_file(
        whole | {"encoder.bn1.running_var": wrong}, folder / "model.safetensors"
    )
    with refused(FormatError, "tensor encoder.bn1.running_var has 1 of 64 values", "float32"):
        open_model(folder).tensors()


def test_other_tensors_are_refused_when_the_network_is_built(model: Path) -> None:
    safetensors.numpy.save_file({"else": np.zeros(3)}, model / "model.safetensors")
    stored = open_model(model)
    with refused(FormatError, model / "model.safetensors", "weights are not as written"):
        stored.tensors()
    with pytest.raises(FormatError, match="is missing"):
        restore_network(stored.architecture, {"else": np.zeros(3)})


@pytest.mark.parametrize("text", HOSTILE_JSON.values(), ids=HOSTILE_JSON)
def test_hostile_configuration_is_reported_in_one_line(model: Path, text: bytes) -> None:
    (model / "config.json").write_bytes(text)
    with refused(FormatError, model / "config.json"):
        open_model(model)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"lineage": []}, "not made by skiptool"),
        ({"lineage": "x"}, "not made by skiptool"),
        ({"lineage": {"kind": "dataset", "format_version": 1}}, "is of kind 'dataset'"),
        ({"lineage": {"kind": "model", "format_version": 2}}, "use a newer skiptool"),
        ({"lineage": {"kind": "model", "format_version": 1}}, "lacks skiptool_version"),
        ({"fold": "0"}, "fold is '0'"),
        ({"repeat": -1}, "repeat is -1"),
        ({"parameter_count": 1.5}, "parameter_count is 1.5"),
        ({"skips": [9]}, "skips"),
    ],
)
def test_hostile_values_are_reported_in_one_line(
    model: Path, change: dict[str, object], word: str
) -> None:
    set_json(model / "config.json", **change)
    with refused(FormatError, model / "config.json", word):
        open_model(model)


def test_numbers_not_supported_by_json_are_null(tmp_path: Path) -> None:
    folder = write(tmp_path / "m", best_mIoU=float("nan"))
    assert open_model(folder).config["best_mIoU"] is None


HERE = Path("m/config.json")
PLAIN = configuration(Architecture("resnet18", (2, 4), ("background", "cell"), 1))


@given(
    skips=st.sets(st.integers(1, 4)),
    classes=st.lists(st.text(max_size=4), min_size=2, max_size=4),
    channels=st.integers(1, 5),
    encoder=st.text(max_size=8),
    arch=st.sampled_from(Arch),
    options=st.dictionaries(st.sampled_from(["act_layer", "b"]), st.floats(0, 1) | st.text()),
)
def test_architecture_round_trip(
    skips: set[int],
    classes: list[str],
    channels: int,
    encoder: str,
    arch: Arch,
    options: dict[str, object],
) -> None:
    form = (channels, arch, len(classes) == 2)
    further = tuple((name, json.dumps(value)) for name, value in sorted(options.items()))
    architecture = Architecture(encoder, tuple(sorted(skips)), tuple(classes), *form, further)
    text = json.dumps(configuration(architecture))
    assert read_architecture(HERE, json.loads(text)) == architecture


def test_nan_is_written_as_null(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    write_config(path, {"best": math.nan, "é": [math.inf, 1.5, (2, {"x": -math.inf})]})
    found = read_config(path)
    check_object(found, "here")
    assert found.pop("seal")
    assert found == {"best": None, "é": [None, 1.5, [2, {"x": None}]]}
    assert path.read_text().isascii()


@pytest.mark.parametrize("text", HOSTILE_JSON.values(), ids=HOSTILE_JSON)
def test_other_json_is_refused(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(text)
    with refused(FormatError, path):
        read_config(path)
    path.unlink()
    path.mkdir()
    with refused(FormatError, path):
        read_config(path)


@pytest.mark.parametrize(
    "change",
    [
        {"_model_class": "FPN"},
        {"_model_class": ["Unet"]},
        {"decoder_pab_channels": 32},
        {"encoder_depth": 4},
        {"encoder_depth": [5]},
        {"decoder_use_norm": "layernorm"},
        {"decoder_use_norm": {"type": "batchnorm"}},
        {"decoder_use_batchnorm": False},
        {"decoder_channels": [512, 256, 128, 64, 32]},
        {"decoder_channels": None},
        {"decoder_channels": 5},
        {"decoder_attention_type": "scse"},
        {"decoder_interpolation": "bilinear"},
        {"aux_params": {"classes": 2}},
        {"encoder_name": None},
        {"encoder_name": ["resnet18"]},
        {"encoder_name": 18},
        {"in_channels": 0},
        {"in_channels": -1},
        {"in_channels": "3"},
        {"in_channels": 3.0},
        {"in_channels": True},
        {"in_channels": 10**400},
        {"in_channels": math.inf},
        {"classes": 0},
        {"classes": 256},
        {"classes": 10**12},
        {"classes": "2"},
        {"classes": None},
        {"classes": [1, 2]},
        {"class_names": ["background"]},
        {"class_names": ["background", "cell", "x"]},
        {"class_names": "bc"},
        {"class_names": ["background", 2]},
        {"class_names": {"a": 1, "b": 2}},
        {"class_names": None},
        {"skips": "1234"},
        {"skips": [1.0, 2.0]},
        {"skips": [True, 2]},
        {"skips": [5]},
        {"skips": [2, 1]},
        {"skips": [1, 1]},
        {"skips": [0]},
        {"skips": 3},
        {"skips": None},
        {"skips": [[[[[[[[1]]]]]]]]},
    ],
    ids=str,
)
def test_unsupported_networks_are_refused(change: Mapping[str, Any]) -> None:
    """Even if the weights would fit, as with another interpolation."""
    with refused(FormatError, HERE):
        read_architecture(HERE, {**PLAIN, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"decoder_use_norm": True},
        {"decoder_use_batchnorm": True},
        {"activation": "softmax2d"},
        {"activation": "sigmoid"},
        {"_private": 3},
    ],
    ids=str,
)
def test_other_spellings_of_the_same_network_are_read(change: Mapping[str, Any]) -> None:
    assert read_architecture(HERE, {**PLAIN, **change}) == read_architecture(HERE, PLAIN)


def test_single_output_channel_is_the_foreground_logit() -> None:
    found = read_architecture(HERE, {"encoder_name": "resnet18", "activation": "sigmoid"})
    assert (found.binary, found.logits, found.classes) == (True, 1, ("background", "class1"))
    assert not read_architecture(HERE, {"encoder_name": "resnet18", "classes": 2}).binary


@pytest.mark.parametrize(
    ("classes", "activation"),
    [(1, "softmax2d"), (1, "tanh"), (1, "argmax"), (2, "clamp"), (2, "relu"), (2, 5), (3, ["x"])],
)
def test_activations_that_change_labels_are_refused(classes: int, activation: object) -> None:
    config = {"encoder_name": "resnet18", "classes": classes, "activation": activation}
    with refused(FormatError, HERE, "activation is"):
        read_architecture(HERE, config)


def test_unknown_keys_are_library_arguments() -> None:
    """Including values that cannot be hashed; our own folders have none."""
    theirs = {"encoder_name": "tu-resnet18", "classes": 2, "block_args": {"b": 1, "a": [2]}}
    found = read_architecture(HERE, {**theirs, "act_layer": "gelu"})
    assert found.options == (("act_layer", '"gelu"'), ("block_args", '{"a": [2], "b": 1}'))
    assert {found} != {read_architecture(HERE, theirs)}
    ours = {**theirs, "best_mIoU": 0.5, "lineage": {}}
    assert read_architecture(HERE, ours).options == ()


@pytest.mark.parametrize("arch", Arch)
def test_keys_match_those_written_by_smp(arch: Arch, tmp_path: Path) -> None:
    theirs = getattr(smp, arch.model_class)("resnet18", encoder_weights=None, classes=2)
    theirs.save_pretrained(tmp_path)
    written = read_config(tmp_path / "config.json")
    architecture = Architecture("resnet18", (1, 2, 3, 4), ("background", "class1"), 3, arch.value)
    ours = configuration(architecture)
    assert {key: ours[key] for key in written} == written
    assert set(ours) - set(written) == {"skips", "class_names"}
    assert read_architecture(HERE, written) == architecture


def test_missing_keys_have_the_defaults_of_smp() -> None:
    found = read_architecture(HERE, {"encoder_name": "resnet50", "classes": 3})
    assert found == Architecture("resnet50", (1, 2, 3, 4), ("background", "class1", "class2"), 3)


def test_messages_stay_short() -> None:
    with pytest.raises(FormatError) as caught:
        read_architecture(HERE, {**PLAIN, "class_names": ["x" * 10_000] * 10_000})
    assert len(str(caught.value)) < 500


def test_counts_are_non_negative_integers_or_absent() -> None:
    assert read_count(HERE, {}, "fold") is None
    assert read_count(HERE, {"fold": None}, "fold") is None
    assert read_count(HERE, {"fold": 0}, "fold") == 0
    for bad in (-1, 1.0, "0", True, [], math.nan, 10**400):
        with refused(FormatError, HERE, "fold is"):
            read_count(HERE, {"fold": bad}, "fold")


WHOLE = Architecture("resnet18", (1, 2, 3, 4), CLASSES)
PRUNED_ENSEMBLES = Architecture("resnet18", (2, 3, 4), CLASSES)


def model_of_ensembles(
    architecture: Architecture, fold: int | None, name: str = "", repeat: int = 0
) -> StoredModel:
    label = name or f"{architecture.folder}/fold{fold}-{repeat}"
    return StoredModel(
        *(Path(label), label, f"id of {label}", architecture, fold),
        *(None if fold is None else repeat, 9),
        config={},
        lineage=None,
    )


def test_folds_of_an_architecture_form_an_ensemble() -> None:
    models = [
        model_of_ensembles(WHOLE, 0),
        model_of_ensembles(PRUNED_ENSEMBLES, 0),
        model_of_ensembles(WHOLE, 1),
        model_of_ensembles(PRUNED_ENSEMBLES, 3),
    ]
    (whole, pruned), alone = fold_ensembles(models)
    assert (whole.members, pruned.members, alone) == ((0, 2), (1, 3), [])
    assert (whole.name, pruned.name) == ("resnet18-L0/ensemble", "resnet18-L1/ensemble")
    facts = whole.facts()
    assert set(facts) == {name for name in PREDICTIONS if name in models[0].facts()}
    assert (facts["fold"], facts["repeat"]) == (ENSEMBLE_FOLD, None)
    assert facts["parameter_count"] is None
    assert (facts["encoder"], facts["pruning"], facts["arch"]) == ("resnet18", "baseline", "unet")


def test_repeats_of_a_fold_are_also_members() -> None:
    models = [
        model_of_ensembles(WHOLE, 0),
        model_of_ensembles(WHOLE, 0, repeat=1),
        model_of_ensembles(WHOLE, 1),
        model_of_ensembles(WHOLE, 1, "", 1),
    ]
    (ensemble,), alone = fold_ensembles(models)
    assert (ensemble.members, alone) == ((0, 1, 2, 3), [])
    with refused(ArgumentError, "a and b are both fold0-r1 of resnet18-L0"):
        fold_ensembles([model_of_ensembles(WHOLE, 0, "a", 1), model_of_ensembles(WHOLE, 0, "b", 1)])


def test_models_with_other_classes_form_another_ensemble() -> None:
    other = Architecture("resnet18", (1, 2, 3, 4), ("background", "cell", "other"))
    (only,), alone = fold_ensembles(
        [model_of_ensembles(WHOLE, 0), model_of_ensembles(other, 1), model_of_ensembles(WHOLE, 2)]
    )
    assert only.members == (0, 2)
    assert alone == ["resnet18-L0/fold1-0"]


def test_id_of_an_ensemble_does_not_depend_on_the_order() -> None:
    first, second, third = (model_of_ensembles(WHOLE, fold) for fold in range(3))
    ids = [
        fold_ensembles(members)[0][0].id
        for members in ([first, second], [second, first], [first, third])
    ]
    assert ids[0] == ids[1] != ids[2]


def test_foreign_models_can_be_averaged() -> None:
    (only,), _ = fold_ensembles(
        [model_of_ensembles(WHOLE, None, "x"), model_of_ensembles(WHOLE, None, "y")]
    )
    assert only.members == (0, 1)


def test_invalid_ensembles_are_refused() -> None:
    with refused(ArgumentError, "--ensemble: no architecture comes with two trainings"):
        fold_ensembles([model_of_ensembles(WHOLE, 0), model_of_ensembles(PRUNED_ENSEMBLES, 1)])
    with refused(ArgumentError, "a/fold0 and b/fold0 are both fold0 of resnet18-L0"):
        fold_ensembles(
            [model_of_ensembles(WHOLE, 0, "a/fold0"), model_of_ensembles(WHOLE, 0, "b/fold0")]
        )
