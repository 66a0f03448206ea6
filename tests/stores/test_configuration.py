from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
from hypothesis import given
from hypothesis import strategies as st

from skiptool.errors import FormatError
from skiptool.names import Arch
from skiptool.records import Architecture
from skiptool.stores.configuration import (
    configuration,
    read_architecture,
    read_config,
    read_count,
    write_config,
)
from skiptool.stores.seal import check_object
from small_stores import HOSTILE_JSON, refused

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
def test_an_architecture_is_read_as_it_was_written(
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


def test_what_json_does_not_have_becomes_null(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    write_config(path, {"best": math.nan, "é": [math.inf, 1.5, (2, {"x": -math.inf})]})
    found = read_config(path)
    check_object(found, "here")
    assert found.pop("seal")
    assert found == {"best": None, "é": [None, 1.5, [2, {"x": None}]]}
    assert path.read_text().isascii()


@pytest.mark.parametrize("text", HOSTILE_JSON.values(), ids=HOSTILE_JSON)
def test_what_is_no_object_is_refused(tmp_path: Path, text: bytes) -> None:
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
def test_what_is_not_built_here_is_refused(change: Mapping[str, Any]) -> None:
    """Also where weights would fit and mean something else, as with another interpolation."""
    with refused(FormatError, HERE):
        read_architecture(HERE, {**PLAIN, **change})


@pytest.mark.parametrize(
    "change",
    [
        *({"decoder_use_norm": True}, {"decoder_use_batchnorm": True}, {"activation": "softmax2d"}),
        *({"activation": "sigmoid"}, {"_private": 3}),
    ],
    ids=str,
)
def test_other_words_for_the_same_network_are_read(change: Mapping[str, Any]) -> None:
    assert read_architecture(HERE, {**PLAIN, **change}) == read_architecture(HERE, PLAIN)


def test_one_output_channel_is_the_logit_of_the_foreground() -> None:
    found = read_architecture(HERE, {"encoder_name": "resnet18", "activation": "sigmoid"})
    assert (found.binary, found.logits, found.classes) == (True, 1, ("background", "class1"))
    assert not read_architecture(HERE, {"encoder_name": "resnet18", "classes": 2}).binary


@pytest.mark.parametrize(
    ("classes", "activation"),
    [(1, "softmax2d"), (1, "tanh"), (1, "argmax"), (2, "clamp"), (2, "relu"), (2, 5), (3, ["x"])],
)
def test_an_activation_that_changes_labels_is_refused(classes: int, activation: object) -> None:
    config = {"encoder_name": "resnet18", "classes": classes, "activation": activation}
    with refused(FormatError, HERE, "activation is"):
        read_architecture(HERE, config)


def test_keys_that_are_not_known_are_arguments_of_the_library() -> None:
    """Also such as are no hashable values; of folders of ours they are none."""
    theirs = {"encoder_name": "tu-resnet18", "classes": 2, "block_args": {"b": 1, "a": [2]}}
    found = read_architecture(HERE, {**theirs, "act_layer": "gelu"})
    assert found.options == (("act_layer", '"gelu"'), ("block_args", '{"a": [2], "b": 1}'))
    assert {found} != {read_architecture(HERE, theirs)}
    ours = {**theirs, "best_mIoU": 0.5, "lineage": {}}
    assert read_architecture(HERE, ours).options == ()


@pytest.mark.parametrize("arch", Arch)
def test_the_keys_are_those_that_smp_writes(arch: Arch, tmp_path: Path) -> None:
    theirs = getattr(smp, arch.model_class)("resnet18", encoder_weights=None, classes=2)
    theirs.save_pretrained(tmp_path)
    written = read_config(tmp_path / "config.json")
    architecture = Architecture("resnet18", (1, 2, 3, 4), ("background", "class1"), 3, arch.value)
    ours = configuration(architecture)
    assert {key: ours[key] for key in written} == written
    assert set(ours) - set(written) == {"skips", "class_names"}
    assert read_architecture(HERE, written) == architecture


def test_what_smp_leaves_out_has_smp_s_default() -> None:
    found = read_architecture(HERE, {"encoder_name": "resnet50", "classes": 3})
    assert found == Architecture("resnet50", (1, 2, 3, 4), ("background", "class1", "class2"), 3)


def test_messages_stay_short_whatever_is_found() -> None:
    with pytest.raises(FormatError) as caught:
        read_architecture(HERE, {**PLAIN, "class_names": ["x" * 10_000] * 10_000})
    assert len(str(caught.value)) < 500


def test_counts_are_whole_numbers_or_absent() -> None:
    assert read_count(HERE, {}, "fold") is None
    assert read_count(HERE, {"fold": None}, "fold") is None
    assert read_count(HERE, {"fold": 0}, "fold") == 0
    for bad in (-1, 1.0, "0", True, [], math.nan, 10**400):
        with refused(FormatError, HERE, "fold is"):
            read_count(HERE, {"fold": bad}, "fold")
