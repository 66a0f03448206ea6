"""Tests of ``paired``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from skiptool.analysis.differences import PairedDifference
from skiptool.figures.style import HOLE
from skiptool.metrics import GROUP_COLUMNS
from skiptool.names import ENSEMBLE_FOLD
from skiptool.records import ORIGINAL, Shift
from skiptool.report.exhibit import Exhibit
from skiptool.report.paired import findings, paired_caption, paired_exhibits
from skiptool.stats.permutation import holm

Check = Callable[[Figure], list[str]]
COLUMNS = tuple(dict.fromkeys((*GROUP_COLUMNS, "repeat", "subject", "pixels")))
PAIRS = [(a, b) for a in ("background", "cell") for b in ("background", "cell")]
SWEEP = [ORIGINAL, *map(Shift.parse, ("saturation=0", "brightness=1.5", "brightness=0.5"))]
THREE = ("L4-pruned", "baseline", "L1-pruned")


def study(
    shifts: Sequence[Shift] = SWEEP,
    domains: Sequence[str] = ("a",),
    prunings: Sequence[str] = THREE,
    folds: Sequence[int] = (0, 1, 2, 3),
    subjects: int = 16,
    encoders: Sequence[str] = ("resnet18", "resnet34"),
    **facts: object,
) -> dict[str, list[Any]]:
    """Rows in which the pruned networks find more than the baseline, L4-pruned less."""
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for encoder, pruning, fold, shift, domain in product(
        encoders, prunings, folds, shifts, domains
    ):
        gain = {"baseline": 0, "L4-pruned": -10}.get(pruning, 10)
        for number in range(subjects):
            both = int(70 + gain + rng.integers(-5, 6))
            cells = zip(PAIRS, (900, 0, 100 - both, both), strict=True)
            rows += [
                {
                    "dataset": "d.zarr",
                    "dataset_id": "d1",
                    "domain": domain,
                    "split": "test",
                    "arch": "unet",
                    "encoder": encoder,
                    "pruning": pruning,
                    "fold": fold,
                    "model_id": f"{encoder} {pruning} {fold}",
                    "clean_skips": None,
                    "shift": shift.kind.value,
                    "factor": shift.factor,
                    "subject": f"s{number:02d}",
                    "truth": truth,
                    "predicted": predicted,
                    "pixels": pixels,
                    "repeat": None,
                    **facts,
                }
                for (truth, predicted), pixels in cells
            ]
    return {name: [row[name] for row in rows] for name in COLUMNS}


def joined(*tables: dict[str, list[Any]]) -> dict[str, list[Any]]:
    return {name: [value for table in tables for value in table[name]] for name in tables[0]}


def shown(totals: dict[str, list[Any]], **settings: Any) -> list[Exhibit]:  # noqa: ANN401
    return paired_exhibits(totals, **settings)


def test_rows_are_shifts_by_kind_and_all_are_adjusted_together() -> None:
    (one,) = shown(study())
    assert (one.topic, one.heading) == ("paired", "Comparison with the baseline, a")
    assert one.title == "Difference in cell IoU to the baseline by shift"
    table = one.table.columns
    shifts = ["original", "brightness 0.5", "brightness 1.5", "saturation 0"]
    assert table["shift"] == [shift for shift in shifts for _ in range(2)] * 2
    assert [*zip(table["encoder"], table["pruning"], strict=True)][:3] == [
        *(("resnet18", "L1-pruned"), ("resnet18", "L4-pruned"), ("resnet18", "L1-pruned"))
    ]
    raw = np.array(table["p"])
    np.testing.assert_array_equal(table["p (Holm)"], holm(raw))
    assert raw.min() < 0.05 / 16


def test_table_contains_the_numbers() -> None:
    (one,) = shown(study(), level=0.9)
    table, numbers = one.table.columns, one.numbers
    assert list(table) == [
        *("encoder", "pruning", "shift", "difference", "CI low", "CI high", "SE subjects"),
        *("SE trainings", "SD trainings", "p", "p (Holm)", "subjects", "trainings"),
    ]
    names = {
        "difference": "value",
        "CI low": "ci_low",
        "CI high": "ci_high",
        "SE subjects": "se_subjects",
        "SE trainings": "se_trainings",
        "p": "p_value",
        "SD trainings": "sd_folds",
        "p (Holm)": "p_adjusted",
        "subjects": "subjects",
        "trainings": "trainings",
    }
    for head, name in names.items():
        assert list(table[head]) == [number[name] for number in numbers], head
    assert table["shift"][:3] == ["original", "original", "brightness 0.5"]
    first = numbers[2]
    facts = {
        "quantity": "difference",
        "dataset": "d.zarr",
        "domain": "a",
        "split": "test",
        "arch": "unet",
        "encoder": "resnet18",
        "pruning": "L1-pruned",
        "fold": None,
        "shift": "brightness",
        "factor": 0.5,
        "level": 0.9,
        "folds": 4,
        "trainings": 4,
        "subjects": 16,
    }
    assert {name: first[name] for name in facts} == facts


def test_domains_without_shifts_share_a_plot() -> None:
    (one,) = shown(study([ORIGINAL], ["b", "a", "c"]))
    assert one.heading == "Comparison with the baseline by domain, d.zarr"
    assert one.table.columns["domain"] == [*"aabbcc"] * 2
    assert [number["domain"] for number in one.numbers][:4] == ["a", "a", "b", "b"]


def test_plots_by_shift_and_by_domain() -> None:
    sweep, plain = study(), study([ORIGINAL], ["b"])
    headings = [one.heading for one in shown(joined(sweep, plain))]
    assert headings == [
        "Comparison with the baseline, a",
        "Comparison with the baseline by domain, d.zarr",
    ]
    assert len(shown(joined(sweep, study(split="train", prunings=THREE[:2])))) == 2
    assert len(shown(joined(sweep, study([ORIGINAL], dataset_id="d2")))) == 2
    assert len(shown(plain)) == 1
    assert shown(study(prunings=["baseline"])) == shown(study(prunings=["L1-pruned"])) == []
    assert shown({name: [] for name in sweep}) == []


def test_sentence_names_significant_networks() -> None:
    (one,) = shown(study())
    better, worse = one.sentences
    assert better.startswith(
        "Better than the baseline over 4 trainings, p < 0.05 (Holm): resnet18 L1-pruned in 4 of"
    )
    assert worse.startswith(
        "Worse than the baseline over 4 trainings, p < 0.05 (Holm): resnet18 L4-pruned in 4 of 4"
    )


def test_ensembles_follow_their_folds_and_are_named(labels: Check) -> None:
    totals = joined(study(folds=[0, 1]), study(folds=[ENSEMBLE_FOLD]))
    (one,) = shown(totals)
    assert one.table.columns["pruning"][:4] == [
        *("L1-pruned", "L1-pruned, ensemble"),
        *("L4-pruned", "L4-pruned, ensemble"),
    ]
    assert [number["fold"] for number in one.numbers][:2] == [None, ENSEMBLE_FOLD]
    assert "L4-pruned, ensemble" in labels(one.draw())


def test_one_subject_and_one_fold_are_drawn_without_interval(labels: Check) -> None:
    (one,) = shown(study(folds=[0], subjects=1))
    table = one.table.columns
    for name in ("CI low", "CI high", "SE subjects", "SE trainings", "p", "p (Holm)"):
        assert set(table[name]) == {None}, name
    assert all(math.isnan(float(str(number["p_adjusted"]))) for number in one.numbers)
    assert "neither an interval nor a test" in one.caption
    (sentence,) = one.sentences
    assert sentence.startswith("One training of each network: no conclusion about the archit")
    assert not any("interval" in text for text in labels(one.draw()))


def test_absent_class_has_no_mark(labels: Check) -> None:
    totals = study(SWEEP[:2])
    gone = [shift == "saturation" for shift in totals["shift"]]
    pairs = zip(totals["truth"], totals["predicted"], strict=True)
    cell = ["cell" in pair for pair in pairs]
    totals["pixels"] = [
        0 if absent and here else pixels
        for pixels, absent, here in zip(totals["pixels"], gone, cell, strict=True)
    ]
    (one,) = shown(totals)
    assert [number["trainings"] for number in one.numbers] == [4, 4, 0, 0] * 2
    assert one.table.columns["difference"][2] is None
    assert {"original", "saturation"} <= set(labels(one.draw()))


@pytest.mark.parametrize("shifts", [[ORIGINAL], SWEEP])
def test_figures_are_drawn(labels: Check, shifts: list[Shift]) -> None:
    (one,) = shown(study(shifts), level=0.8)
    texts = labels(one.draw())
    assert {
        *("cell IoU minus that of the baseline", "80 % interval (trainings, subjects)"),
        *(
            "p < 0.05 (Holm)",
            "p ≥ 0.05, or no test",
            "resnet18",
            "resnet34",
            "L1-pruned",
            "L4-pruned",
        ),
    } <= set(texts)
    assert "baseline" not in texts


def test_marks_are_filled_if_the_adjusted_p_value_is_small(labels: Check) -> None:
    """L1-pruned differs clearly; of one training nothing is known about the next."""

    def filled(folds: Sequence[int]) -> tuple[set[bool], list[str]]:
        (one,) = shown(study(folds=folds))
        figure = one.draw()
        lines = [line for axes in figure.axes for line in axes.lines if line.get_marker() == "o"]
        return {line.get_markerfacecolor() != HOLE for line in lines}, labels(figure)

    assert filled(range(4))[0] == {True}
    marks, texts = filled([0])
    assert marks == {False}
    assert {"one training, no test", "95 % interval (subjects only)"} <= {*texts}
    assert not any("p <" in text or "p ≥" in text for text in texts)


def test_names_from_data_are_cut_in_sentences() -> None:
    (one,) = shown(study([ORIGINAL], ["x" * 200, "<b>"]))
    assert max(map(len, one.sentences)) < 400
    assert one.table.columns["domain"][0] == "<b>"


def test_several_classes_are_a_mean() -> None:
    totals = study()
    renamed = [
        "debris" if number % 8 > 3 else truth for number, truth in enumerate(totals["truth"])
    ]
    totals["truth"] = [
        name if truth == "cell" else truth
        for name, truth in zip(renamed, totals["truth"], strict=True)
    ]
    (one,) = shown(totals)
    assert one.caption.startswith("Mean IoU of each pruned network")


NAN = math.nan
DARK, BRIGHT = Shift.parse("brightness=0.5"), Shift.parse("brightness=1.5")
ONE = PairedDifference(
    dataset="d.zarr",
    dataset_id="d1",
    domain="a",
    split="test",
    classes=("cell",),
    arch="unet",
    encoder="resnet18",
    pruning="L1-pruned",
    ensemble=False,
    shift=ORIGINAL,
    value=0.1,
    by_training=(0.1, 0.1),
    pairs=((0, 0), (1, 0)),
    sd_trainings=0.0,
    se_trainings=0.01,
    ci_low=0.05,
    ci_high=0.15,
    se_subjects=0.02,
    p_value=0.0001,
    subjects=40,
)
ALONE = replace(ONE, by_training=(0.1,), pairs=((0, 0),), sd_trainings=NAN, p_value=NAN)


def test_gains_and_losses_have_separate_sentences() -> None:
    found = [ONE, replace(ONE, value=0.3), replace(ONE, value=0.9)]
    found += [replace(ONE, pruning="L4-pruned", value=value) for value in (-0.2, -0.1, 0.1)]
    places = ["original", "brightness 0.5", "brightness 1.5"] * 2
    assert findings(found, places, [0.01, 0.04, 0.05, 0.001, 0.001, 0.2]) == (
        "Better than the baseline over 2 trainings, p < 0.05 (Holm): resnet18 L1-pruned in 2 of 3 "
        "(most: brightness 0.5, +0.30).",
        "Worse than the baseline over 2 trainings, p < 0.05 (Holm): resnet18 L4-pruned in 2 of 3 "
        "(most: original, −0.20).",
    )


def test_at_most_four_networks_are_named() -> None:
    found = [replace(ONE, pruning=f"skips-{k}", encoder="e") for k in range(7)]
    (sentence,) = findings(found, ["a"] * 7, [0.01] * 7)
    assert sentence.endswith("e skips-3 (a, +0.10); and 3 more.")
    assert "skips-4" not in sentence
    (sentence,) = findings([replace(one, p_value=NAN) for one in found], ["a"] * 7, [NAN] * 7)
    assert sentence.endswith("e skips-3 +0.10 [+0.05, +0.15] (a); and 3 more.")


def test_no_significant_difference_has_a_sentence() -> None:
    wide = replace(ONE, ci_low=-0.3, ci_high=0.5)
    more = replace(ONE, by_training=(0.1,) * 3, pairs=((0, 0), (1, 0), (2, 0)))
    (sentence,) = findings([ONE, wide, more], ["a"] * 3, [0.2, 0.9, 0.6])
    assert sentence == (
        "None of 3 differences to the baseline over 2 to 3 trainings has p < 0.05 (Holm); the "
        "median half-width of their intervals is 0.05."
    )


def test_networks_that_were_trained_once_are_never_called_better() -> None:
    """Only numbers of these networks, whatever the interval over subjects."""
    found = [ALONE, replace(ALONE, shift=DARK, value=-0.4), replace(ALONE, shift=BRIGHT, value=0.2)]
    places = ["original", "brightness 0.5", "brightness 1.5"]
    (sentence,) = findings(found, places, [NAN] * 3)
    assert sentence == (
        "One training of each network: no conclusion about the architectures is possible. These "
        "networks minus their baselines: resnet18 L1-pruned +0.10 [+0.05, +0.15] (original), under "
        "shifts −0.40 (brightness 0.5) to +0.20 (brightness 1.5)."
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


def test_caption_describes_the_intervals() -> None:
    text = paired_caption([ONE] * 3, "cell IoU", 0.9)
    for part in (
        "Cell IoU of each pruned network minus that of the baseline of the same encoder, fold",
        "mean over 2 folds; pale bars: one standard deviation between trainings to",
        "90 % intervals and t-tests treat trainings and the 40 subjects as random",
        "other trainings on these data, not to other data",
        "Holm's adjustment over 3 comparisons.",
        "Filled marks: p < 0.05.",
    ):
        assert part in text, part
    assert "own and are the units" not in text
    nested = paired_caption([replace(ONE, nested=True)], "cell IoU", 0.9)
    assert "Folds were measured on disjoint subjects and are the units" in nested


def test_caption_of_one_training() -> None:
    text = paired_caption([ALONE, replace(ALONE, subjects=30)], "cell IoU", 0.95)
    assert "one training of each. 95 % intervals over 30 to 40 subjects" in text
    assert "for these networks only: another training of the same architecture may differ" in text
    assert text.endswith("with one training there is no test.")
    assert "pale bars" not in text
    assert "Filled" not in text
    mixed = paired_caption([ALONE, ONE], "cell IoU", 0.95)
    assert (
        "over 1 comparisons; 1 with one training or an ensemble have intervals over subj" in mixed
    )


def test_caption_counts_what_is_left_out() -> None:
    text = paired_caption([ONE, replace(ONE, unpaired=3)], "cell IoU", 0.95)
    assert "; up to 3 trainings without a counterpart are left out." in text


def test_caption_of_one_subject() -> None:
    one = replace(ONE, subjects=1, p_value=NAN, ci_low=NAN, ci_high=NAN)
    text = paired_caption([one], "cell IoU", 0.95)
    assert text.endswith("With one subject there is neither an interval nor a test.")
    mixed = paired_caption([one, ONE], "cell IoU", 0.95)
    assert "the 1 to 40 subjects" in mixed
    assert "comparisons on one subject have neither an interval nor a test." in mixed


def test_one_subject_is_not_called_one_training() -> None:
    (sentence,) = findings([replace(ONE, subjects=1, p_value=NAN)], ["a"], [NAN])
    assert sentence.startswith(
        "Too few subjects for an interval or a test: no conclusion about other"
    )
