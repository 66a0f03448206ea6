from __future__ import annotations

import math
from dataclasses import replace

from skiptool.figures.paired_words import describe, findings
from skiptool.readings.paired import PairedDifference
from skiptool.records import ORIGINAL

ONE = PairedDifference(
    **{"dataset": "d.zarr", "dataset_id": "d1", "domain": "a", "split": "test"},
    **{"classes": ("cell",), "arch": "unet", "encoder": "resnet18", "pruning": "L1-pruned"},
    **{"ensemble": False, "shift": ORIGINAL, "value": 0.1, "by_fold": (0.1, 0.1)},
    **{"sd_folds": 0.0, "ci_low": 0.05, "ci_high": 0.15, "se_subjects": 0.02},
    **{"p_value": 0.0001, "subjects": 40},
)
NAN = math.nan


def test_gains_and_losses_are_told_apart() -> None:
    found = [ONE, replace(ONE, value=0.3), replace(ONE, value=0.9)]
    found += [replace(ONE, pruning="L4-pruned", value=value) for value in (-0.2, -0.1, 0.1)]
    places = ["original", "brightness 0.5", "brightness 2"] * 2
    assert findings(found, places, [0.01, 0.04, 0.05, 0.001, 0.001, 0.2]) == (
        "Better than the baseline, p < 0.05 (Holm): resnet18 L1-pruned in 2 of 3 (most: brightness "
        "0.5, +0.30).",
        "Worse than the baseline, p < 0.05 (Holm): resnet18 L4-pruned in 2 of 3 (most: original, "
        "−0.20).",
    )


def test_of_many_networks_four_are_named() -> None:
    found = [replace(ONE, pruning=f"skips-{k}", encoder="e") for k in range(7)]
    (sentence,) = findings(found, ["a"] * 7, [0.01] * 7)
    assert sentence.endswith("e skips-3 (a, +0.10); and 3 more.")
    assert "skips-4" not in sentence


def test_nothing_found() -> None:
    (sentence,) = findings([ONE] * 3, ["a"] * 3, [0.2, 0.9, NAN])
    assert sentence == "None of 2 differences to the baseline has p < 0.05 (Holm)."
    few = replace(ONE, subjects=5)
    (sentence,) = findings([few] * 3, ["a"] * 3, [0.2] * 3)
    assert sentence.endswith("p < 0.05 (Holm), and on so few subjects none can have.")
    assert findings([replace(ONE, p_value=NAN)], ["a"], [NAN]) == ()


def test_the_caption_says_what_the_interval_is_of() -> None:
    text = describe([ONE] * 3, "cell IoU", 0.9)
    for part in (
        "Cell IoU of each pruned network minus that of the baseline of the same encoder, fold",
        "mean over 2 folds, pale bars reach one standard deviation between folds to either side",
        "90 % interval over 40 subjects, for the networks as they are trained (2,000 resamples)",
        "exchanging the two networks within subjects (9,999 exchanges; the smallest p is 0.0001)",
        "adjusted by Holm over 3 comparisons.",
    ):
        assert part in text, part


def test_the_caption_of_few_subjects_and_one_fold() -> None:
    """Ten comparisons of 8 subjects: 10 x 2 / 256 is above 0.05, of 9 it is below."""
    few = replace(ONE, by_fold=(0.1,), sd_folds=NAN, subjects=8)
    text = describe([few] * 10, "cell IoU", 0.95)
    assert "one fold. Lines" in text
    assert "pale bars" not in text
    assert "all 256 exchanges; the smallest p is 0.0078" in text
    assert text.endswith("over 10 comparisons: with 8 subjects none can be below 0.05.")
    more = describe([replace(few, subjects=9)] * 10, "cell IoU", 0.95)
    assert more.endswith("over 10 comparisons.")


def test_the_caption_of_one_subject() -> None:
    one = replace(ONE, subjects=1, p_value=NAN, ci_low=NAN, ci_high=NAN)
    text = describe([one], "cell IoU", 0.95)
    assert text.endswith("With one subject there is neither an interval nor a test.")
    mixed = describe([one, ONE], "cell IoU", 0.95)
    assert "over 1 to 40 subjects" in mixed
    assert mixed.endswith("one subject alone has neither an interval nor a test.")
