"""The options of ``skiptool hellinger`` that are more than one word, read into settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skiptool.cli.options import parse_choices
from skiptool.comparison.activations import BINS, SWEPT, Settings
from skiptool.errors import ArgumentError
from skiptool.names import Metric, RangeRule
from skiptool.parallel import available_cores

STEP = 10
"""Step of a sweep that is written as a span."""

Words = tuple[Sequence[str] | None, str, str | None, str, bool]


def comparison_settings(words: Words, *, workers: int | None, **rest: Any) -> Settings:  # noqa: ANN401
    """Read ``--metric``, ``--bins``, ``--sweep-bins``, ``--range`` and ``--literal-eq5``.

    Raises
    ------
    ArgumentError
        If one is not known, or they exclude each other.
    """
    metric, bins, sweep, range_rule, literal = words
    metrics = parse_choices(",".join(metric or [Metric.HELLINGER.value]), Metric, "--metric")
    rule, sizes = _rule_and_bins(bins, sweep, range_rule, literal)
    cores = available_cores() if workers is None else max(1, workers)
    return Settings(metrics=metrics, bins=sizes, range_rule=rule, workers=cores, **rest)


def parse_sweep(text: str) -> tuple[int, ...]:
    """Read ``10..110``, ``10..110:20`` (with its step) or ``10,50,100``.

    Raises
    ------
    ArgumentError
        If it is none of them.

    Examples
    --------
    >>> parse_sweep("10..50"), parse_sweep("100..300:100"), parse_sweep("8,64")
    ((10, 20, 30, 40, 50), (100, 200, 300), (8, 64))
    """
    span, _, step = text.partition(":")
    first, dots, last = span.partition("..")
    try:
        if dots:
            found = tuple(range(int(first), int(last) + 1, int(step or STEP)))
        else:
            found = tuple(sorted({int(word) for word in text.split(",")}))
    except ValueError:
        found = ()
    if not found or found[0] < 1:
        raise ArgumentError(
            f"--sweep-bins {text!r}: expected FIRST..LAST, FIRST..LAST:STEP or numbers, such as "
            "10..110 or 10,50,100"
        )
    return found


def _rule_and_bins(
    bins: str, sweep: str | None, range_rule: str, literal: bool
) -> tuple[RangeRule, tuple[int, ...]]:
    if range_rule not in SWEPT:
        raise ArgumentError(f"--range {range_rule!r}: expected one of {', '.join(SWEPT)}")
    rule = RangeRule(range_rule)
    name, _, number = bins.partition(":")
    quantile = name == RangeRule.QUANTILE.value
    if quantile or literal:
        option = "--bins quantile" if quantile else "--literal-eq5"
        if rule is not RangeRule.MINMAX or (quantile and literal) or sweep:
            raise ArgumentError(f"{option}: stands alone; drop --range, --sweep-bins and the like")
        rule = RangeRule.QUANTILE if quantile else RangeRule.LITERAL
    if sweep:
        if bins != str(BINS):
            raise ArgumentError("--bins, --sweep-bins: give one of them")
        return rule, parse_sweep(sweep)
    size = (number or str(BINS)) if quantile else bins
    if not size.isdecimal():
        raise ArgumentError(f"--bins {bins!r}: expected a number, quantile or quantile:50")
    return rule, (int(size),)
