from __future__ import annotations

from enum import StrEnum
from itertools import combinations

import pytest
import segmentation_models_pytorch as smp

from skiptool import errors, names
from skiptool.cautions import Caution, merge_cautions
from skiptool.errors import (
    ArgumentError,
    ExistsError,
    OutOfMemoryError,
    SkiptoolError,
    WorkerError,
    first_line,
    suggestion,
)
from skiptool.names import (
    DECODER_INPUTS,
    IGNORE_LABEL,
    LAYERS,
    SKIP_LEVELS,
    Arch,
    ShiftKind,
    Split,
    in_data_flow,
    quote_name,
    split_names,
    unquote_name,
)
from skiptool.substitution import BOTTLENECK, Substitution, format_parts, parse_substitutions


def test_layers_are_in_data_flow_order() -> None:
    assert LAYERS == (
        "input",
        "enc1",
        "enc2",
        "enc3",
        "enc4",
        "enc5",
        "dec4",
        "dec3",
        "dec2",
        "dec1",
        "dec0",
        "head",
    )


def test_every_skip_level_joins_two_layers() -> None:
    assert SKIP_LEVELS == (1, 2, 3, 4)
    for level in SKIP_LEVELS:
        assert LAYERS.index(f"enc{level}") < LAYERS.index(f"dec{level}")


def test_stored_words_do_not_change() -> None:
    assert IGNORE_LABEL == 255
    assert [split.value for split in Split] == ["train", "test"]
    assert [kind.value for kind in ShiftKind][:4] == [
        "original",
        "brightness",
        "contrast",
        "saturation",
    ]


@pytest.mark.parametrize("arch", Arch)
def test_every_arch_is_a_class_of_smp(arch: Arch) -> None:
    found = getattr(smp, arch.model_class)
    assert issubclass(found, smp.base.SegmentationModel)
    assert found.__name__.lower() == arch.value


@pytest.mark.parametrize(
    "name", [name for name, found in vars(names).items() if isinstance(found, type)]
)
def test_all_names_exist_and_words_are_unique(name: str) -> None:
    found = getattr(names, name)
    if isinstance(found, type) and issubclass(found, StrEnum):
        assert len(set(found)) == len(found.__members__)
        assert all(word == word.lower() for word in found)


def test_decoder_inputs_precede_their_block() -> None:
    given = ["x.b", "dec1", *reversed(DECODER_INPUTS), "enc5", "x.a", "dec4", "head", "dec1"]
    found = in_data_flow(given)
    assert found[:4] == ["enc5", "dec4.from_below", "dec4.from_skip", "dec4"]
    assert found[-4:] == ["dec0.from_below", "head", "x.b", "x.a"]
    assert in_data_flow(reversed(LAYERS)) == list(LAYERS)
    assert [name for name in found if name in DECODER_INPUTS] == list(DECODER_INPUTS)


@pytest.mark.parametrize(
    "name",
    [
        "a, b",
        "a;b",
        "a=b",
        ' "x" ',
        '"',
        '5" lens',
        'say ""yes"", no',
        " a ",
        "Ränder, außen",
        ",",
        ";;",
        "=",
        "a",
        "",
        '"a",b',
        'a"b,c"d',
    ],
)
def test_a_quoted_name_is_one_part_of_any_list(name: str) -> None:
    for mark in ",;=":
        text = mark.join(["x", quote_name(name), 'y "z"', quote_name(name)])
        parts = split_names(text, mark)
        assert [unquote_name(part) for part in parts] == ["x", name, 'y "z"', name]


def test_lists_without_quotes_are_split_at_the_mark() -> None:
    assert split_names("a, b,,c", ",") == ["a", " b", "", "c"]
    assert split_names("", ",") == [""]
    assert split_names('a,"b', ",") == ["a", '"b']  # an unclosed quote is literal
    assert split_names('a,"b" c,d', ",") == ["a", '"b" c', "d"]


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("brightnes", ["brightness", "contrast"], "; did you mean brightness?"),
        ("enc11", ["enc1", "enc2", "head"], "; did you mean enc1, enc2?"),
        ("resnet", ["resnet18", "resnet34", "vgg16"], "; did you mean resnet34, resnet18?"),
        ("zzz", ["brightness"], ""),
        ("", ["brightness"], ""),
        ("brightness", [], ""),
    ],
)
def test_suggestions_name_similar_words(name: str, known: list[str], expected: str) -> None:
    assert suggestion(name, known) == expected


def test_first_line() -> None:
    assert first_line(ValueError("one\ntwo")) == "one"
    assert first_line(ValueError()) == "ValueError"


def test_suggestions_are_limited_and_accept_any_iterable() -> None:
    assert suggestion("enc", (f"enc{level}" for level in range(9)), limit=1).count("enc") == 1


@pytest.mark.parametrize("name", [name for name in vars(errors) if name.endswith("Error")])
def test_every_kind_is_a_skiptool_error(name: str) -> None:
    assert issubclass(getattr(errors, name), SkiptoolError)


def test_errors_derive_from_standard_exceptions() -> None:
    assert issubclass(ArgumentError, ValueError)
    assert issubclass(ExistsError, FileExistsError)
    assert issubclass(OutOfMemoryError, MemoryError)
    assert issubclass(WorkerError, ChildProcessError)
    assert str(ExistsError("there already")) == "there already"


FEW = "of {} channels vary in too few images to estimate their distance (more are needed)"


def test_cautions_that_differ_in_layers_or_numbers_are_merged() -> None:
    found = merge_cautions(
        [
            Caution("the sets differ in size", (), ("b against a",)),
            Caution(f"3 {FEW.format(64)}", ("enc1",), ("b against a",)),
            Caution(f"16 {FEW.format(1280)}", ("enc2", "enc3"), ("b against a",)),
            Caution(f"5 {FEW.format(64)}", ("enc1",), ("c against a",)),
            Caution("the sets differ in size", (), ("c against a",)),
        ]
    )
    both = ("b against a", "c against a")
    assert found == [
        Caution("the sets differ in size", (), both),
        Caution(f"3 to 16 {FEW.format('64 to 1280')}", ("enc1", "enc2", "enc3"), both),
    ]


def test_digits_within_names_are_not_merged() -> None:
    cautions = [Caution("img-7.1 of 2 subjects"), Caution("3 subjects"), Caution("2,000 subjects")]
    assert merge_cautions(cautions) == [
        Caution("img-7.1 of 2 subjects"),
        Caution("3 to 2,000 subjects"),
    ]


def test_cautions_about_all_layers_name_none() -> None:
    cautions = [Caution("2 units", ("enc1",)), Caution("3 units")]
    assert [str(each) for each in merge_cautions(cautions)] == ["2 to 3 units"]
    assert str(cautions[0]) == "enc1: 2 units"
    assert merge_cautions([]) == []


EVERY = [set(each) for size in range(5) for each in combinations(SKIP_LEVELS, size)]


@pytest.mark.parametrize("skips", EVERY, ids=str)
@pytest.mark.parametrize("part", [*SKIP_LEVELS, BOTTLENECK])
def test_clean_and_shifted_parts_are_complements(skips: set[int], part: int) -> None:
    alone = Substitution(frozenset({part})).clean(skips)
    others = Substitution(frozenset({part}), shifted=True).clean(skips)
    if part != BOTTLENECK and part not in skips:
        assert alone is None
        assert others is None
    else:
        assert alone == (part,)
        assert sorted([*alone, *(others or ())]) == [*sorted(skips), BOTTLENECK]


@pytest.mark.parametrize("skips", EVERY, ids=str)
def test_all_skips_are_those_of_the_network(skips: set[int]) -> None:
    (every,) = parse_substitutions(["all"])
    assert every.clean(skips) == (tuple(sorted(skips)) or None)


def test_substitutions_are_parsed_without_duplicates() -> None:
    assert parse_substitutions(["3, 1", "1,3", "bottleneck"]) == (
        Substitution(frozenset({1, 3})),
        Substitution(frozenset({BOTTLENECK})),
    )
    assert len(parse_substitutions(["each", "all", "1"])) == 6
    assert len(parse_substitutions(["each"], ["each"])) == 12
    assert parse_substitutions([], ["1"]) == (Substitution(frozenset({1}), shifted=True),)
    assert parse_substitutions([]) == ()


@pytest.mark.parametrize("word", ["0", "5", "", "1,", "skip", "1+2", "each,1"])
def test_unknown_words_are_refused(word: str) -> None:
    with pytest.raises(ArgumentError, match=r"--clean-skips .*unknown part"):
        parse_substitutions([word])
    with pytest.raises(ArgumentError, match=r"--shifted-skips .*unknown part"):
        parse_substitutions([], [word])


def test_parts_are_formatted_as_in_the_table() -> None:
    assert format_parts((2, 3, 4, BOTTLENECK)) == "2+3+4+bottleneck"
