from __future__ import annotations

import math
import pickle
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiptool.errors import ArgumentError, MismatchError
from skiptool.names import Arch, Loss, Precision, ShiftKind
from skiptool.records import (
    MAX_FACTOR,
    ORIGINAL,
    PAPER_SWEEP,
    SILENT,
    Architecture,
    Normalisation,
    Outcome,
    Shade,
    Shift,
    Training,
    architecture_family,
    check_name,
    luminance,
)

CLASSES = ("background", "cell")
# Remaining skips -> uppermost levels removed, label in tables, suffix of the folder.
SUBSETS: dict[tuple[int, ...], tuple[int | None, str, str]] = {
    (1, 2, 3, 4): (0, "baseline", "L0"),
    (2, 3, 4): (1, "L1-pruned", "L1"),
    (3, 4): (2, "L2-pruned", "L2"),
    (4,): (3, "L3-pruned", "L3"),
    (): (4, "L4-pruned", "L4"),
    (1,): (None, "skips-1", "skips-1"),
    (2,): (None, "skips-2", "skips-2"),
    (3,): (None, "skips-3", "skips-3"),
    (1, 2): (None, "skips-1+2", "skips-1+2"),
    (1, 3): (None, "skips-1+3", "skips-1+3"),
    (1, 4): (None, "skips-1+4", "skips-1+4"),
    (2, 3): (None, "skips-2+3", "skips-2+3"),
    (2, 4): (None, "skips-2+4", "skips-2+4"),
    (1, 2, 3): (None, "skips-1+2+3", "skips-1+2+3"),
    (1, 2, 4): (None, "skips-1+2+4", "skips-1+2+4"),
    (1, 3, 4): (None, "skips-1+3+4", "skips-1+3+4"),
}


def test_the_golden_table_holds_every_subset() -> None:
    assert set(SUBSETS) == {s for size in range(5) for s in combinations((1, 2, 3, 4), size)}


@pytest.mark.parametrize("skips", SUBSETS, ids=str)
def test_labels_of_an_architecture(skips: tuple[int, ...]) -> None:
    pruned, pruning, tail = SUBSETS[skips]
    architecture = Architecture("resnet18", skips, CLASSES)
    assert architecture.pruned == pruned
    assert architecture.pruning == pruning
    assert architecture.folder == f"resnet18-{tail}"


def test_folder_of_another_arch_or_an_encoder_with_a_slash() -> None:
    skips = (1, 2, 3, 4)
    assert Architecture("tu-timm/x", skips, CLASSES).folder == "tu-timm_x-L0"
    plusplus = Architecture("resnet18", skips, CLASSES, arch="unetplusplus")
    assert plusplus.folder == "unetplusplus-resnet18-L0"


@pytest.mark.parametrize("arch", Arch)
def test_every_arch_has_distinct_names(arch: Arch) -> None:
    assert Architecture("r", (), CLASSES, arch=arch.value).folder.endswith("r-L4")
    assert len({architecture_family(each, "r") for each in Arch}) == len(Arch)
    assert (architecture_family(arch, "r") == "r") == (arch is Arch.UNET)


def test_an_unknown_arch_gets_suggestions() -> None:
    expected = r"'unet\+\+': expected one of unet, unetplusplus, .*; did you mean unet"
    with pytest.raises(ArgumentError, match=expected) as caught:
        Architecture("resnet18", (), CLASSES, arch="unet++")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("arch", Arch)
def test_only_a_unet_accepts_any_size(arch: Arch) -> None:
    architecture = Architecture("resnet18", (), CLASSES, arch=arch.value)
    architecture.check_size(64, 96, "d")
    for size in ((64, 90), (90, 64), (16, 64)):
        if arch is Arch.UNET:
            architecture.check_size(*size, "d")
            continue
        with pytest.raises(MismatchError, match=r"^d: images of .* only multiples of 32"):
            architecture.check_size(*size, "d")


@pytest.mark.parametrize("skips", [(0,), (5,), (2, 1), (1, 1), (-1, 2)])
def test_skips_must_be_ascending_levels(skips: tuple[int, ...]) -> None:
    with pytest.raises(ArgumentError, match=r"expected distinct levels out of \(1, 2, 3, 4\)"):
        Architecture("resnet18", skips, CLASSES)


@pytest.mark.parametrize("kind", [k for k in ShiftKind if k is not ShiftKind.ORIGINAL])
@pytest.mark.parametrize(
    ("number", "factor"), [("0.75", 0.75), ("0", 0.0), ("1e2", MAX_FACTOR), ("-0", 0.0)]
)
def test_parses_a_shift(kind: ShiftKind, number: str, factor: float) -> None:
    assert Shift.parse(f"{kind}={number}") == Shift(kind, factor)


def test_paper_sweep_is_the_grid_of_figure_7() -> None:
    assert [str(shift) for shift in PAPER_SWEEP] == [
        "original",
        *(f"brightness={factor}" for factor in ("0.5", "0.75", "1.25", "1.5", "1.75")),
        *(f"contrast={factor}" for factor in ("0.5", "0.75", "1.25", "1.5", "1.75")),
        *(f"saturation={factor}" for factor in ("0", "0.25", "0.5", "0.75")),
    ]


def test_parses_the_original() -> None:
    assert Shift.parse("original") == ORIGINAL
    assert str(ORIGINAL) == "original"


@given(
    kind=st.sampled_from([kind for kind in ShiftKind if kind is not ShiftKind.ORIGINAL]),
    factor=st.integers(0, 2000).map(lambda step: step / 20),
)
def test_parsing_a_shift_inverts_formatting(kind: ShiftKind, factor: float) -> None:
    shift = Shift(kind, factor)
    assert Shift.parse(str(shift)) == shift


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("brightnes=0.5", r"unknown kind 'brightnes'.*; did you mean brightness\?$"),
        ("hue=0.5", r"unknown kind 'hue', expected one of original, brightness, contrast"),
        ("", r"unknown kind ''"),
        ("brightness", r"factor '' is not a number; write KIND=FACTOR"),
        ("brightness=", r"factor '' is not a number"),
        ("contrast=much", r"factor 'much' is not a number"),
        ("contrast=1=2", r"factor '1=2' is not a number"),
        ("contrast=-0.5", r"factor -0.5 is out of range; expected 0 <= factor <= 100"),
        ("saturation=101", r"factor 101 is out of range"),
        ("saturation=nan", r"factor nan is out of range"),
        ("saturation=inf", r"factor inf is out of range"),
        ("original=1", r"'original' takes no factor; write 'original'"),
    ],
)
def test_invalid_shifts_are_refused(text: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=message) as caught:
        Shift.parse(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("name", ["A", "Aperio ScanScope CS2", "..a", "a.b", "Übergröße", "-"])
def test_names_of_groups_and_files_are_accepted(name: str) -> None:
    assert check_name(name, "domain") == name


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a\nb", "a\n", "\x00", "\x1f"])
def test_names_that_are_paths_are_refused(name: str) -> None:
    with pytest.raises(ArgumentError, match=r"domain .*: a name must not be empty"):
        check_name(name, "domain")


def test_training_is_the_protocol_of_section_4c() -> None:
    training = Training(fold=2)
    assert (training.epochs, training.batch_size, training.lr) == (50, 8, 1e-4)
    assert (training.lr_step, training.lr_gamma, training.seed) == (15, 0.1, 0)
    assert (training.loss, training.precision) == (Loss.CE_GDICE, Precision.AUTO)


def test_seeds_of_repeats_differ() -> None:
    """Repeat 0 uses the seed itself; other repeats must not equal another seed."""
    seeds = {
        (seed, repeat): Training(0, seed=seed, repeat=repeat).random_seed
        for seed in (0, 1, 2, 7)
        for repeat in range(20)
    }
    assert len(set(seeds.values())) == len(seeds)
    assert all(seeds[seed, 0] == seed for seed in (0, 1, 2, 7))
    assert all(0 <= value < 2**63 for value in seeds.values())
    assert Training(3, seed=1, repeat=5).random_seed == seeds[1, 5]  # regardless of the fold


def test_records_can_be_pickled() -> None:
    architecture = Architecture("resnet18", (2, 3), CLASSES)
    for record in (ORIGINAL, architecture, Training(0), Outcome((Path("a"),))):
        assert pickle.loads(pickle.dumps(record)) == record


def test_the_silent_progress_accepts_all_calls() -> None:
    with SILENT.task("work", 3) as task:
        task.advance()
        task.advance(2, note="done")
    SILENT.warn("nobody hears")


@pytest.mark.parametrize(
    ("columns", "high"),
    [
        ([[0.25, None], [-0.5, 0.1]], 0.5),
        ([["enc1", "enc2"], [math.nan, math.inf], [2]], 2.0),
        ([], 1.0),
        ([[0.0], [None]], 1.0),
    ],
)
def test_a_shade_reaches_to_the_largest_magnitude(columns: list[list[object]], high: float) -> None:
    assert Shade.of(columns) == Shade(0.0, high)
    assert Shade.of(columns, diverging=True, digits=3) == Shade(-high, high, True, 3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected imagenet, none, or MEAN/STD"),
        ("Imagenet", "expected imagenet, none, or MEAN/STD"),
        ("0.5,0.5,0.5", "expected imagenet, none, or MEAN/STD"),
        ("0.5/0.25/1", "expected imagenet, none, or MEAN/STD"),
        ("a,b,c/1,1,1", "expected imagenet, none, or MEAN/STD"),
        ("0.5,0.5/0.2,0.2,0.2", "has 2 means and 3 standard deviations"),
        ("123.675,116.28,103.53/58.395,57.12,57.375", "divide values for 0 to 255 by 255"),
        ("0.5/0", "above 0"),
        ("nan/1", "from 0 to 1"),
        ("0.5/inf", "above 0"),
        ("-0.1/0.5", "from 0 to 1"),
    ],
)
def test_invalid_normalisations_are_refused(text: str, words: str) -> None:
    with pytest.raises(ArgumentError, match=words) as caught:
        Normalisation.parse(text)
    assert "\n" not in str(caught.value)


def test_parsing_a_normalisation_inverts_formatting() -> None:
    for text in ("imagenet", "none", "0.5/0.25", "0.1,0.2,0.3/0.4,0.5,0.6"):
        found = Normalisation.parse(text)
        assert (str(found), Normalisation.parse(str(found))) == (text, found)
    same = Normalisation.parse("0.485,0.456,0.406/0.229,0.224,0.225")
    assert (str(same), same) == ("imagenet", Normalisation.parse("imagenet"))
    assert not Normalisation.parse("0,0,0/1,1,1")
    Normalisation.parse("0.5/0.25").check_channels(1, "here")
    with pytest.raises(MismatchError, match="has 3 channels, here has 1"):
        same.check_channels(1, "here")


@pytest.mark.parametrize(
    ("colour", "expected"),
    [((0.0, 0.0, 0.0), 0.0), ((1.0, 1.0, 1.0), 1.0), ((1.0, 0.0, 0.0), 0.2126)],
)
def test_luminance_of_known_colours(colour: tuple[float, float, float], expected: float) -> None:
    assert luminance(*colour) == pytest.approx(expected)
