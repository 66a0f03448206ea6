"""Comparison settings of ``skiptool hellinger``, parsed from its options."""

from __future__ import annotations

from collections.abc import Sequence

from skiptool.cli.options import parse_choices
from skiptool.comparison.activations import BINS, SWEPT, Settings
from skiptool.errors import ArgumentError
from skiptool.names import Metric, RangeRule
from skiptool.parallel import available_cores

STEP = 10
"""Default step of a range of bin numbers."""


def comparison_settings(
    *,
    metric: Sequence[str] | None,
    bins: str,
    sweep_bins: str | None,
    range_rule: str,
    literal_eq5: bool,
    permutations: int,
    group: str | None,
    paired: bool | None,
    seed: int,
    memory: int,
    workers: int | None,
) -> Settings:
    """Parse the options of a comparison.

    Raises
    ------
    ArgumentError
        If a value is unknown, or options exclude each other.
    """
    metrics = parse_choices(",".join(metric or [Metric.HELLINGER.value]), Metric, "--metric")
    rule, numbers = _rule_and_bins(bins, sweep_bins, range_rule, literal_eq5)
    return Settings(
        metrics=metrics,
        bins=numbers,
        range_rule=rule,
        permutations=permutations,
        group=group,
        paired=paired,
        seed=seed,
        memory=memory,
        workers=available_cores() if workers is None else max(1, workers),
    )


def parse_sweep(text: str) -> tuple[int, ...]:
    """Parse ``10..110``, ``10..110:20`` (range and step) or ``10,50,100``.

    Examples
    --------
    >>> parse_sweep("10..50"), parse_sweep("100..300:100"), parse_sweep("8,64")
    ((10, 20, 30, 40, 50), (100, 200, 300), (8, 64))
    """
    span, _, step = text.partition(":")
    first, dots, last = span.partition("..")
    try:
        if dots:
            numbers = list(range(int(first), int(last) + 1, int(step or STEP)))
        else:
            numbers = sorted({int(word) for word in text.split(",")})
    except ValueError:
        numbers = []
    if not numbers or numbers[0] < 1:
        raise ArgumentError(
            f"--sweep-bins {text!r}: expected FIRST..LAST, FIRST..LAST:STEP or numbers, such as "
            "10..110 or 10,50,100"
        )
    return tuple(numbers)


def _rule_and_bins(
    bins: str, sweep_bins: str | None, range_rule: str, literal_eq5: bool
) -> tuple[RangeRule, tuple[int, ...]]:
    if range_rule not in SWEPT:
        raise ArgumentError(f"--range {range_rule!r}: expected one of {', '.join(SWEPT)}")
    rule = RangeRule(range_rule)
    name, _, number = bins.partition(":")
    quantile = name == RangeRule.QUANTILE.value
    if quantile or literal_eq5:
        option = "--bins quantile" if quantile else "--literal-eq5"
        if rule is not RangeRule.MINMAX or (quantile and literal_eq5) or sweep_bins:
            raise ArgumentError(
                f"{option}: cannot be combined with --range, --sweep-bins and the like; drop them"
            )
        rule = RangeRule.QUANTILE if quantile else RangeRule.LITERAL
    if sweep_bins:
        if bins != str(BINS):
            raise ArgumentError("--bins, --sweep-bins: give only one of them")
        return rule, parse_sweep(sweep_bins)
    size = (number or str(BINS)) if quantile else bins
    if not size.isdecimal():
        raise ArgumentError(f"--bins {bins!r}: expected a number, quantile or quantile:50")
    return rule, (int(size),)
