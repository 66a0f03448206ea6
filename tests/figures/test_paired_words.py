from __future__ import annotations

import math
from dataclasses import replace

from skiptool.analysis.differences import PairedDifference
from skiptool.figures.paired_words import describe, findings, interval_name, is_tested
from skiptool.records import ORIGINAL, Shift

NAN = math.nan
DARK, BRIGHT = Shift.parse("brightness=0.5"), Shift.parse("brightness=1.5")
ONE = PairedDifference(
    **{"dataset": "d.zarr", "dataset_id": "d1", "domain": "a", "split": "test"},
    **{"classes": ("cell",), "arch": "unet", "encoder": "resnet18", "pruning": "L1-pruned"},
    **{"ensemble": False, "shift": ORIGINAL, "value": 0.1, "by_training": (0.1, 0.1)},
    **{"pairs": ((0, 0), (1, 0)), "sd_trainings": 0.0, "se_trainings": 0.01},
    **{"ci_low": 0.05, "ci_high": 0.15, "se_subjects": 0.02},
    **{"p_value": 0.0001, "subjects": 40},
)
ALONE = replace(ONE, by_training=(0.1,), pairs=((0, 0),), sd_trainings=NAN, p_value=NAN)


def test_gains_and_losses_are_told_apart() -> None:
    found = [ONE, replace(ONE, value=0.3), replace(ONE, value=0.9)]
    found += [replace(ONE, pruning="L4-pruned", value=value) for value in (-0.2, -0.1, 0.1)]
    places = ["original", "brightness 0.5", "brightness 1.5"] * 2
    assert findings(found, places, [0.01, 0.04, 0.05, 0.001, 0.001, 0.2]) == (
        "Better than the baseline over 2 trainings, p < 0.05 (Holm): resnet18 L1-pruned in 2 of 3 "
        "(most: brightness 0.5, +0.30).",
        "Worse than the baseline over 2 trainings, p < 0.05 (Holm): resnet18 L4-pruned in 2 of 3 "
        "(most: original, −0.20).",
    )


def test_of_many_networks_four_are_named() -> None:
    found = [replace(ONE, pruning=f"skips-{k}", encoder="e") for k in range(7)]
    (sentence,) = findings(found, ["a"] * 7, [0.01] * 7)
    assert sentence.endswith("e skips-3 (a, +0.10); and 3 more.")
    assert "skips-4" not in sentence
    (sentence,) = findings([replace(one, p_value=NAN) for one in found], ["a"] * 7, [NAN] * 7)
    assert sentence.endswith("e skips-3 +0.10 [+0.05, +0.15] (a); and 3 more.")


def test_nothing_found() -> None:
    wide = replace(ONE, ci_low=-0.3, ci_high=0.5)
    more = replace(ONE, by_training=(0.1,) * 3, pairs=((0, 0), (1, 0), (2, 0)))
    (sentence,) = findings([ONE, wide, more], ["a"] * 3, [0.2, 0.9, 0.6])
    assert sentence == (
        "None of 3 differences to the baseline over 2 to 3 trainings has p < 0.05 (Holm); their "
        "intervals reach 0.05 to either side (median)."
    )


def test_networks_that_were_trained_once_are_never_called_better() -> None:
    """Only numbers of these networks, whatever the interval over subjects."""
    found = [ALONE, replace(ALONE, shift=DARK, value=-0.4), replace(ALONE, shift=BRIGHT, value=0.2)]
    places = ["original", "brightness 0.5", "brightness 1.5"]
    (sentence,) = findings(found, places, [NAN] * 3)
    assert sentence == (
        "One training of each network: nothing can be said of the architectures. These networks "
        "minus their baseline: resnet18 L1-pruned +0.10 [+0.05, +0.15] (original), under shifts "
        "−0.40 (brightness 0.5) to +0.20 (brightness 1.5)."
    )
    (sentence,) = findings(found[1:2], ["dark"], [NAN])
    assert sentence.endswith("resnet18 L1-pruned under shifts −0.40 (dark).")
    (sentence,) = findings([replace(ALONE, ci_low=NAN, ci_high=NAN)], ["x"], [NAN])
    assert sentence.endswith("resnet18 L1-pruned +0.10 (x).")
    (sentence,) = findings([ALONE] * 5, list("abcde"), [NAN] * 5)
    assert sentence.endswith("(c), +0.10 [+0.05, +0.15] (d), ....")
    assert findings([replace(ALONE, value=NAN)], ["a"], [NAN]) == ()
    (sentence,) = findings([replace(ALONE, value=-0.004, ci_low=-0.001)], ["x"], [NAN])
    assert sentence.endswith("resnet18 L1-pruned 0.00 [0.00, +0.15] (x).")


def test_the_caption_says_what_the_interval_is_of() -> None:
    text = describe([ONE] * 3, "cell IoU", 0.9)
    for part in (
        "Cell IoU of each pruned network minus that of the baseline of the same encoder, fold",
        "mean over 2 folds, pale bars reach one standard deviation between trainings to",
        "90 % intervals and t-tests treat trainings and the 40 subjects as random",
        "other trainings on these data, not on other data",
        "Adjusted by Holm over 3 comparisons.",
        "Filled marks: p < 0.05.",
    ):
        assert part in text, part
    assert "own and are the units" not in text
    nested = describe([replace(ONE, nested=True)], "cell IoU", 0.9)
    assert "Folds were measured on subjects of their own and are the units" in nested
    assert interval_name([ONE], 0.9) == "90 % interval (trainings, subjects)"


def test_the_caption_of_one_training() -> None:
    text = describe([ALONE, replace(ALONE, subjects=30)], "cell IoU", 0.95)
    assert "one training of each. 95 % intervals over 30 to 40 subjects" in text
    assert "for these networks only: another training of the same architecture may differ" in text
    assert text.endswith("with one training there is no test.")
    assert "pale bars" not in text
    assert "Filled" not in text
    assert interval_name([ALONE], 0.95) == "95 % interval (subjects only)"
    assert (is_tested([ALONE]), is_tested([ALONE, ONE])) == (False, True)
    mixed = describe([ALONE, ONE], "cell IoU", 0.95)
    assert "over 1 comparisons; 1 of one training or an ensemble have intervals over subj" in mixed


def test_the_caption_says_what_is_left_out() -> None:
    text = describe([ONE, replace(ONE, unpaired=3)], "cell IoU", 0.95)
    assert "; up to 3 trainings without a partner are left out." in text


def test_the_caption_of_one_subject() -> None:
    one = replace(ONE, subjects=1, p_value=NAN, ci_low=NAN, ci_high=NAN)
    text = describe([one], "cell IoU", 0.95)
    assert text.endswith("With one subject there is neither an interval nor a test.")
    mixed = describe([one, ONE], "cell IoU", 0.95)
    assert "the 1 to 40 subjects" in mixed
    assert "one subject alone has neither an interval nor a test." in mixed


def test_one_subject_is_not_called_one_training() -> None:
    (sentence,) = findings([replace(ONE, subjects=1, p_value=NAN)], ["a"], [NAN])
    assert sentence.startswith("Too few subjects for an interval or a test: nothing can be said")
