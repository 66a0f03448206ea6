from __future__ import annotations

from enum import StrEnum

import pytest
import segmentation_models_pytorch as smp

from skiptool import names
from skiptool.names import (
    DECODER_INPUTS,
    IGNORE,
    LAYERS,
    SKIP_LEVELS,
    Arch,
    ShiftKind,
    Split,
    in_data_flow,
    quoted_name,
    split_names,
    unquoted_name,
)


def test_layers_follow_the_data() -> None:
    assert (
        *("input", "enc1", "enc2", "enc3", "enc4", "enc5"),
        *("dec4", "dec3", "dec2", "dec1", "dec0", "head"),
    ) == LAYERS


def test_every_skip_level_joins_two_layers() -> None:
    assert SKIP_LEVELS == (1, 2, 3, 4)
    for level in SKIP_LEVELS:
        assert LAYERS.index(f"enc{level}") < LAYERS.index(f"dec{level}")


def test_words_that_stand_in_files() -> None:
    assert IGNORE == 255
    assert [split.value for split in Split] == ["train", "test"]
    assert [kind.value for kind in ShiftKind] == [
        *("original", "brightness", "contrast", "saturation")
    ]


@pytest.mark.parametrize("arch", Arch)
def test_every_arch_is_a_class_of_smp(arch: Arch) -> None:
    found = getattr(smp, arch.model_class)
    assert issubclass(found, smp.base.SegmentationModel)
    assert found.__name__.lower() == arch.value


@pytest.mark.parametrize("name", names.__all__)
def test_all_names_exist_and_words_are_unique(name: str) -> None:
    found = getattr(names, name)
    if isinstance(found, type) and issubclass(found, StrEnum):
        assert len(set(found)) == len(found.__members__)
        assert all(word == word.lower() for word in found)


def test_inputs_of_a_decoder_block_stand_before_it() -> None:
    given = ["x.b", "dec1", *reversed(DECODER_INPUTS), "enc5", "x.a", "dec4", "head", "dec1"]
    found = in_data_flow(given)
    assert found[:4] == ["enc5", "dec4.from_below", "dec4.from_skip", "dec4"]
    assert found[-4:] == ["dec0.from_below", "head", "x.b", "x.a"]
    assert in_data_flow(reversed(LAYERS)) == list(LAYERS)
    assert [name for name in found if name in DECODER_INPUTS] == list(DECODER_INPUTS)


@pytest.mark.parametrize(
    "name",
    [
        *("a, b", "a;b", "a=b", ' "x" ', '"', '5" lens', 'say ""yes"", no', " a ", "Ränder, außen"),
        *(",", ";;", "=", "a", "", '"a",b', 'a"b,c"d'),
    ],
)
def test_a_quoted_name_is_one_part_of_any_list(name: str) -> None:
    for mark in ",;=":
        text = mark.join(["x", quoted_name(name), 'y "z"', quoted_name(name)])
        parts = split_names(text, mark)
        assert [unquoted_name(part) for part in parts] == ["x", name, 'y "z"', name]


def test_lists_without_quotes_are_split_as_ever() -> None:
    assert split_names("a, b,,c", ",") == ["a", " b", "", "c"]
    assert split_names("", ",") == [""]
    assert split_names('a,"b', ",") == ["a", '"b']  # a quote that nobody closes is one
    assert split_names('a,"b" c,d', ",") == ["a", '"b" c', "d"]
