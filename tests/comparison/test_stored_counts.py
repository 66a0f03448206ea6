from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from skiptool.comparison.activations import Settings, vectors_per_image
from skiptool.comparison.pairs import check_bins, counted_settings, measure_pairs
from skiptool.comparison.units import paired_units, permutable_units
from skiptool.distances.binned import DISTANCES
from skiptool.distances.bins import CountLayout
from skiptool.distances.counting import count_activations
from skiptool.errors import ArgumentError, MismatchError
from skiptool.names import Metric, RangeRule
from small_activations import ONE, PLAIN, Noted, extremes
from small_counts import bins_of
from small_stores import refused


class Tallied(Noted):
    """Rows of counts instead of activations; ``held`` images in each."""

    def __init__(
        self,
        layers: dict[str, Any],
        where: str = "c",
        *,
        held: list[int] | None = None,
        bins: Any = None,  # noqa: ANN401
        **how: Any,  # noqa: ANN401
    ) -> None:
        images, _, self.vectors = next(iter(layers.values())).shape
        self.held = np.array([1] * images if held is None else held)
        starts = np.cumsum(self.held) - self.held
        self.bins = bins or bins_of(layers)
        ends = extremes(layers)
        super().__init__(
            {
                name: np.add.reduceat(
                    count_activations(values, self.bins[name]), starts, dtype=np.uint16
                )
                for name, values in layers.items()
            },
            where,
            ranges={
                name: (np.minimum.reduceat(low, starts), np.maximum.reduceat(high, starts))
                for name, (low, high) in ends.items()
            },
            **how,
        )

    def count_layout(self, layer: str) -> CountLayout:
        return CountLayout(self.bins[layer], self.vectors, self.held)


def values(images: int, vectors: int = 4, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {"f": rng.normal(size=(images, 2, vectors)).astype(np.float16)}


def told(sets: Any, settings: Settings) -> tuple[Settings, list[str]]:  # noqa: ANN401
    lines: list[str] = []
    return counted_settings(sets, settings, lines.append), lines


def test_settings_for_activations_do_not_change() -> None:
    settings = Settings(metrics=tuple(Metric), bins=(10, 20))
    assert told([Noted(values(3))], settings) == (settings, [])


def test_the_default_range_is_replaced_with_one_warning() -> None:
    sets = [Noted(values(3)), Tallied(values(3), "a"), Tallied(values(3), "b")]
    found, lines = told(sets, PLAIN)
    assert found == replace(PLAIN, range_rule=RangeRule.REFERENCE)
    (line,) = lines
    assert line.startswith("a and 1 more: counts have the range of their reference")
    assert told(sets, found) == (found, [])


@pytest.mark.parametrize("metric", [metric for metric in Metric if metric not in DISTANCES])
def test_metrics_of_activations_are_refused(metric: Metric) -> None:
    settings = replace(PLAIN, metrics=(Metric.HELLINGER, metric))
    with refused(ArgumentError, f"--metric {metric.value}: needs activations", "c holds counts"):
        told([Tallied(values(3))], settings)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"range_rule": RangeRule.PERCENTILES}, ["--range p0.1:", "reference's range"]),
        ({"range_rule": RangeRule.QUANTILE}, ["--bins quantile:", "reference's range"]),
        ({"range_rule": RangeRule.LITERAL}, ["--literal-eq5:", "reference's range"]),
        ({"bins": (9,)}, ["--bins 9: c holds counts in 8 bins; give --bins 8"]),
        ({"bins": (4, 8)}, ["--sweep-bins 4, 8: c holds counts in 8 bins"]),
    ],
)
def test_other_bins_are_refused(changed: Any, words: list[str]) -> None:  # noqa: ANN401
    with refused(ArgumentError, *words):
        told([Noted(values(3)), Tallied(values(3))], replace(PLAIN, **changed))


def test_counts_of_other_bins_are_not_compared() -> None:
    x, y = Tallied(values(3)), Tallied(values(3, seed=1), "d")
    with refused(MismatchError, "d against c: layer f was counted in other bins", "--ranges c"):
        check_bins(x, y)
    with refused(MismatchError, "d against c"):
        measure_pairs([x, y], [(0, 1)], PLAIN, ONE)
    check_bins(x, Tallied(values(3, seed=1), bins=x.bins))
    check_bins(x, Noted(values(3)))


def test_activations_are_counted_in_the_bins_of_the_counts() -> None:
    """For counts on either side, and for any range rule."""
    x, y = values(12), values(10, seed=1)
    bins, settings = bins_of(x), replace(PLAIN, range_rule=RangeRule.REFERENCE)
    tallied, noted = (Tallied(x, bins=bins), Tallied(y, bins=bins)), (Noted(x), Noted(y))
    found = []
    for pair in ((tallied[0], tallied[1]), (tallied[0], noted[1]), (noted[0], tallied[1]), noted):
        _, ((measured,),) = measure_pairs(pair, [(0, 1)], settings, ONE)
        found.append((measured.channels["value"].tolist(), measured.mean, measured.null.tolist()))
    assert found == [found[0]] * 4
    assert vectors_per_image(tallied[0], "f") == vectors_per_image(noted[0], "f") == 4


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (Tallied(values(9)), Tallied(values(9, 6)), "images of 4 and 6 vectors"),
        (Tallied(values(9)), Noted(values(9, 6)), "extract both with one --grid"),
        (
            Tallied(values(9), held=[3, 3, 3]),
            Tallied(values(9), held=[2, 2, 2, 2, 1]),
            "counts are of 3 and 2 images together",
        ),
        (Noted(values(9)), Tallied(values(9), held=[2] * 4 + [1]), "one --pool-images"),
    ],
)
def test_without_an_equal_draw_there_is_no_test(first: Any, second: Any, words: str) -> None:  # noqa: ANN401
    one, two, paired = paired_units(first, second, PLAIN)
    draw, (warning,) = permutable_units((first, second), (one, two), paired=paired)
    assert draw is None
    assert warning.startswith("no p-value")
    assert words in warning
    if isinstance(second, Tallied):
        second.bins = first.bins if isinstance(first, Tallied) else second.bins
    (design,), ((measured,),) = measure_pairs([first, second], [(0, 1)], PLAIN, ONE)
    assert warning in design.warnings
    assert "p_value" not in measured.mean
    assert np.isfinite([measured.mean["value"], measured.mean["corrected"]]).all()


def test_rows_of_fewer_images_are_left_out_of_the_test() -> None:
    x = Tallied(values(14), held=[3, 3, 3, 3, 2])
    y = Tallied(values(18, seed=1), held=[3] * 6, bins=x.bins)
    (design,), ((measured,),) = measure_pairs([x, y], [(0, 1)], PLAIN, ONE)
    assert design.warnings[0] == (
        "the test leaves out 1 of 11 blocks, as they hold fewer images than the others"
    )
    assert (len(design.reference), len(design.tested.reference), design.unit) == (5, 4, "block")
    # What is left is tested as if there were nothing else.
    alone = Tallied(values(12), held=[3] * 4, bins=x.bins)
    _, ((expected,),) = measure_pairs([alone, y], [(0, 1)], PLAIN, ONE)
    assert measured.null.tolist() == expected.null.tolist()
    assert measured.mean["value"] != expected.mean["value"]


def test_subjects_of_equal_size_need_no_draw_however_they_were_pooled() -> None:
    subjects = ["a"] * 6 + ["b"] * 6 + ["c"] * 6 + ["d"] * 6
    one, two = values(24), values(24, seed=1)
    halves, thirds = ([name for name in "abcd" for _ in range(6 // n)] for n in (2, 3))
    x = Tallied(one, held=[2] * 12, subject=halves)
    y = Tallied(two, held=[3] * 8, bins=x.bins, subject=thirds)
    settings = replace(PLAIN, group=None)
    (design,), ((measured,),) = measure_pairs([x, y], [(0, 1)], settings, ONE)
    assert (design.unit, design.draw) == ("subject", None)
    plain = [Noted(one, subject=subjects), Noted(two, subject=subjects)]
    reference = replace(settings, range_rule=RangeRule.REFERENCE)
    _, ((expected,),) = measure_pairs(plain, [(0, 1)], reference, ONE)
    assert measured.null.tolist() == expected.null.tolist()
    assert measured.mean == expected.mean
