from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from skiptool.analysis.substitution import Substitution, substitution_effects
from skiptool.figures.colour_scale import difference_scale
from skiptool.figures.substitution_words import (
    about_regained,
    about_substituted,
    findings,
    interval_below,
    shift_words,
)
from skiptool.records import ORIGINAL
from substituted import DARK, columns, rows, study


def found(totals: Mapping[str, Sequence[Any]] | None = None) -> list[Substitution]:
    return substitution_effects(study() if totals is None else totals)


def told(cells: Mapping[str | None, int], **facts: Any) -> str:  # noqa: ANN401
    """Tell what pixels of 100 say that were found under one shift, by clean inputs."""
    groups = [rows(DARK, clean, (both,), **facts) for clean, both in cells.items()]
    (sentence,) = findings({"net": found(columns(*groups))})
    return sentence


def test_what_brings_a_network_back_where_it_is_worst() -> None:
    (worst,) = findings({"resnet18 baseline": found()})
    head, _, tail = worst.partition(" [")
    interval, _, tail = tail.partition("]")
    assert head == (
        "resnet18 baseline (mean over 2 trainings): under brightness 0.5, where its IoU is lowest, "
        "a clean L1 alone brings it from 0.20 to 0.80 (+0.60"
    )
    low, high = map(float, interval.split(", "))
    assert low <= 0.60 <= high
    assert tail.startswith("); nothing else tried alone regains more than 0.02; with all skips cle")
    assert "with all skips clean it is 0.90; shifted alone, L1 takes it to 0.22 (−0.73 [" in tail
    assert "]), bottleneck takes it to 0.90 (−0.05 [" in tail
    assert tail.endswith("; without a shift 0.95.")


def test_also_where_one_alone_regains_most() -> None:
    bright = replace(DARK, factor=1.5)
    groups = [
        *(rows(DARK, None, (10,)), rows(DARK, "1", (10,)), rows(DARK, "2", (9,))),
        *(rows(bright, None, (30,)), rows(bright, "1", (30,)), rows(bright, "2", (70,))),
    ]
    assert findings({"net": found(columns(*groups))}) == (
        "net (one training): under brightness 0.5, where its IoU is lowest, no clean feature map "
        "of those tried alone (L1, L2) raises it (0.10).",
        "net (one training): under brightness 1.5, where one alone regains most, a clean L2 alone "
        "brings it from 0.30 to 0.70 (+0.40); nothing else tried alone regains anything.",
    )


def test_the_lowest_of_the_substituted_is_not_called_the_lowest_of_all() -> None:
    """As on a page whose worst shift was not substituted."""
    bright = replace(DARK, factor=1.75)
    groups = [rows(DARK, None, (20,)), rows(DARK, "1", (60,)), rows(bright, None, (0,))]
    mild = replace(DARK, factor=0.9)
    groups += [rows(mild, None, (80,)), rows(mild, "1", (90,))]
    (sentence,) = findings({"net": found(columns(*groups))})
    assert sentence.startswith(
        "net (one training): under brightness 0.5, where its IoU is lowest of the shifts that were "
        "substituted (lowest of all: 0.00 under brightness 1.75), a clean L1"
    )


def test_no_winner_of_a_tie() -> None:
    """L1 regains 0.40 and L2 0.39 with an interval of the difference about 0; L3 is far below."""
    cells = {None: (20, 20, 20, 20), "1": (55, 65, 58, 62), "2": (60, 58, 62, 56)}
    cells |= {"3": (24, 25, 26, 25), "4": (20, 20, 20, 20), "bottleneck": (20, 20, 20, 21)}
    (sentence,) = findings(
        {"net": found(columns(*(rows(DARK, clean, both) for clean, both in cells.items())))}
    )
    assert "not told apart from L2 (+0.39); nothing else alone regains more than 0.05" in sentence
    cells["2"] = (40, 49, 42, 48)
    (sentence,) = findings(
        {"net": found(columns(*(rows(DARK, clean, both) for clean, both in cells.items())))}
    )
    assert "not told apart" not in sentence
    assert "; nothing else alone regains more than 0.25" in sentence


def test_shifted_alone_is_told_as_a_loss_and_nothing_is_said_of_what_was_not_tried() -> None:
    """What predict --shifted-skips each leaves: of single clean parts only the bottleneck."""
    cells = {None: (20, 20), "bottleneck": (19, 19), "2+3+4+bottleneck": (50, 54)}
    cells |= {"1+3+4+bottleneck": (88, 86), "1+2+3+4": (90, 90)}
    groups = [rows(DARK, clean, both) for clean, both in cells.items()]
    groups.append(rows(replace(DARK, factor=None, kind=ORIGINAL.kind), None, (90, 92)))
    (sentence,) = findings({"net": found(columns(*groups))})
    assert sentence.startswith(
        "net (one training): under brightness 0.5 no clean feature map of those tried alone "
        "(bottleneck) raises it (0.20)"
    )
    order = [sentence.index(f"{name} takes it to") for name in ("L1", "L2", "bottleneck")]
    assert order == sorted(order)
    assert "; shifted alone, L1 takes it to 0.52 (−0.39 [" in sentence


def test_what_is_there_is_told() -> None:
    assert told({None: 20, "1": 50}).endswith(
        "a clean L1 alone (the only one tried) brings it from 0.20 to 0.50 (+0.30)."
    )
    assert told({None: 20, "1+2": 50}).endswith("L1, L2 clean bring it from 0.20 to 0.50 (+0.30).")
    assert told({None: 20, "1+2": 10}).endswith("no choice of clean inputs raises it (0.20).")
    assert told({None: 20, "bottleneck": 50}, pruning="L4-pruned").endswith(
        "a clean bottleneck (all that its decoder is fed) brings it from 0.20 to 0.50 (+0.30)."
    )
    assert told({None: 20, "1": 30}).startswith("net (one training): under brightness 0.5 a clean")
    long = told({None: 20, "x" * 300: 50})
    assert len(long) < 220


def test_what_others_regain_is_rounded_up_so_that_it_is_true() -> None:
    """Of 300 pixels of one subject one more is 0.0033, four more are 0.0133."""

    def of(*more: int) -> str:
        cells = dict.fromkeys(("1", "2", "3", "4", "bottleneck"), 0)
        cells |= {str(part): found_more for part, found_more in enumerate(more, 1)}
        groups = []
        for clean, gain in [(None, 0), *cells.items()]:
            (cell,) = [row for row in rows(DARK, clean, (0,)) if row["truth"] == row["predicted"]
                       == "cell"]  # fmt: skip
            lost = {**cell, "predicted": "background", "pixels": 240 - gain}
            ground = {**cell, "truth": "background", "predicted": "background", "pixels": 900}
            groups.append([ground, lost, {**cell, "pixels": 60 + gain}])
        (sentence,) = findings({"net": found(columns(*groups))})
        return sentence

    assert of(60, 4).endswith("; nothing else alone regains more than 0.02.")
    assert of(60, 1).endswith("; nothing else alone regains more than 0.01.")
    assert of(60, 0).endswith("; nothing else alone regains anything.")
    assert of(1, 0).endswith("no clean feature map alone raises it by 0.01 or more (0.20).")
    assert of(0, 0).endswith("no clean feature map alone raises it (0.20).")


def test_nothing_known_says_nothing() -> None:
    assert findings({}) == ()
    assert findings({"net": []}) == ()
    blank = [
        {**row, "pixels": 900 if row["truth"] == row["predicted"] == "background" else 0}
        for clean in (None, "1")
        for row in rows(DARK, clean, (0, 0))
    ]
    (one,) = found(columns(blank))
    assert math.isnan(one.regained.value)
    assert findings({"net": [one]}) == ()


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (0.55, 0.63, ".55, .63"),
        (-0.012, 0.004, "−.01, .00"),
        (-0.004, 1.0, ".00, 1.00"),
        (math.nan, math.nan, ""),
    ],
)
def test_intervals_are_short(low: float, high: float, text: str) -> None:
    one = found()[0]
    regained = replace(one.regained, ci_low=low, ci_high=high)
    assert interval_below(replace(one, regained=regained)) == text


def test_shifts_by_name() -> None:
    assert (shift_words(ORIGINAL), shift_words(DARK)) == ("original", "brightness 0.5")


def test_captions_say_what_it_rests_on() -> None:
    effects = found()
    text = about_substituted(effects, "cell IoU")
    for part in (
        "Cell IoU where the decoder is fed",
        "the test samples of d.zarr (n = ",
        " subjects); mean over 2 trainings, standard deviation below it",
        "activation patching",
        "never saw in training",
        "is enough to do so; whether it carries the shift alone, only its reverse says",
    ):
        assert part in text
    scale = difference_scale(np.array([0.6]))
    text = about_regained(effects, "cell IoU", 0.9, scale)
    for part in (
        "Cell IoU with clean inputs",
        "mean over 2 trainings",
        "end at −0.60 and +0.60",
        "90 % intervals and t-tests treat trainings and the 16 subjects as random",
        "Holm over 12 comparisons",
    ):
        assert part in text
    single = found(study(folds=[0], subjects=1))
    assert "one training." in about_substituted(single, "cell IoU")
    assert "neither an interval nor a test" in about_regained(single, "cell IoU", 0.9, scale)


def test_where_nothing_is_lost_nothing_can_be_regained() -> None:
    groups = [rows(DARK, None, (60,)), rows(DARK, "1", (60,)), rows(ORIGINAL, None, (60,))]
    assert findings({"net": found(columns(*groups))}) == (
        "net (one training): under brightness 0.5 it is 0.60, so nothing is lost that could be "
        "regained; without a shift 0.60.",
    )
