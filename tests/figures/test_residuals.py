from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from registration_cases import FAR, OFF, table
from skiptool.analysis.registration import ELSEWHERE, pairs
from skiptool.errors import ArgumentError
from skiptool.figures.residuals import draw_alignment
from skiptool.figures.style import TWO_COLUMNS, figure_bytes
from skiptool.names import PictureFormat

Check = Callable[[Figure], list[str]]


def row(
    domain: str = "B",
    left: float | None = 1.0,
    kept: bool = True,
    why: str | None = None,
    reference: str = "A",
    slide: str = "s1",
    um: float | None = None,
) -> tuple[Any, ...]:
    return slide, slide, reference, domain, "p", left, left if um is None else um, kept, why


def drawn(*rows: tuple[Any, ...]) -> Figure:
    return draw_alignment(pairs(table(*rows)))


def bars(axes: Axes) -> list[tuple[float, float, str]]:
    """Start, length and colour of each piece of the bars."""
    return [
        (patch.get_x(), round(patch.get_width(), 9), to_hex(patch.get_facecolor()))
        for patch in axes.patches
    ]


@pytest.mark.parametrize("domains", [1, 2, 7])
@pytest.mark.parametrize("references", [1, 2])
def test_labels_do_not_overlap(labels: Check, domains: int, references: int) -> None:
    rng = np.random.default_rng(domains)
    figure = drawn(
        *(
            row(f"NanoZoomer {d}", rng.lognormal(), why is None, why, f"CS{r}", f"s{s}")
            for r in range(references)
            for d in range(domains)
            for s in range(3)
            for why in (None, FAR, OFF, "residual cannot be measured")
        )
    )
    texts = labels(figure)
    assert {f"NanoZoomer {d}" for d in range(domains)} <= set(texts)
    assert {f"against CS{r}" for r in range(references)} <= set(texts)
    assert texts.count("3 of 12") == domains * references
    assert {"residual, px", "residual, µm", "patches, %", "kept", FAR, OFF} <= set(texts)
    assert figure.get_size_inches()[0] == TWO_COLUMNS


def test_line_box_and_median_are_at_their_quantiles() -> None:
    values = [0.0, 0.5, 1.0, 1.5, 2.0]
    figure = drawn(*(row(left=left, um=left / 4) for left in values))
    for axes, scale in zip(figure.axes[:2], (1.0, 0.25), strict=True):
        line, median = axes.lines[:2]
        np.testing.assert_allclose(line.get_xdata(), np.array([0.2, 1.8]) * scale)
        np.testing.assert_allclose(median.get_xdata(), [scale, scale])
        (box,) = (c.get_paths()[0].vertices for c in axes.collections if len(c.get_paths()[0]) > 2)
        assert (box[:, 0].min(), box[:, 0].max()) == (0.5 * scale, 1.5 * scale)


def test_each_slide_has_a_mark_at_its_median() -> None:
    figure = drawn(row(left=1.0), row(left=3.0), row(left=0.5, slide="s2"))
    marks = figure.axes[0].collections[-1].get_segments()  # type: ignore[attr-defined]
    assert [segment[0][0] for segment in marks] == [0.5, 2.0]


def test_bar_is_divided_by_shares_of_patches() -> None:
    rows = [row(), row(), row(left=3.0, kept=False, why=FAR), row(kept=False)]
    found = bars(drawn(*rows).axes[2])
    assert [piece[:2] for piece in found] == [(0.0, 50.0), (50.0, 25.0), (75.0, 25.0)]
    assert len({piece[2] for piece in found}) == 3


def test_colours_of_reasons_do_not_depend_on_order() -> None:
    lost = [row(kept=False, why=OFF, left=None), row(kept=False, why=FAR, left=4.0)]
    first, second = (
        {
            str(text.get_text()): to_hex(patch.get_facecolor())
            for text, patch in zip(legend.get_texts(), legend.get_patches(), strict=True)
        }
        for legend in (drawn(*order).legends[0] for order in (lost, lost[::-1]))
    )
    assert first == second
    assert ELSEWHERE not in first


def test_common_limit_of_residuals_is_drawn() -> None:
    def dashed(*rows: tuple[Any, ...]) -> list[float]:
        return [line.get_xdata()[0] for line in drawn(*rows).axes[0].lines if line.is_dashed()]

    far = row(left=3.0, kept=False, why=FAR)
    assert dashed(far) == [2.0]
    assert dashed(row()) == []
    assert dashed(far, row("C", 3.0, False, "residual above 1 px")) == []
    assert dashed(*[row(left=0.01)] * 99, row(left=9.0, kept=False, why=FAR)) == []


def test_residuals_over_more_than_two_decades_are_on_a_log_scale(labels: Check) -> None:
    figure = drawn(row(left=0.02), row("C", 30.0), row("D", 0.0))
    assert [axes.get_xscale() for axes in figure.axes[:2]] == ["log", "log"]
    labels(figure)
    assert drawn(row(left=0.02), row("C", 1.0)).axes[0].get_xscale() == "linear"


@pytest.mark.long
def test_missing_residuals_are_noted(labels: Check) -> None:
    nothing = ("s3", "s3", "A", "C", None, None, None, False, None)
    texts = labels(drawn(row(left=None, um=None), nothing))
    assert texts.count("not measured") == 4
    assert {"no patches", "1 slide, 1 not aligned"} <= set(texts)
    assert labels(drawn(nothing)).count("not measured") == 2


def test_all_patches_kept(labels: Check) -> None:
    """A residual of 0 everywhere has an axis all the same."""
    labels(drawn(row(left=0.0), row(left=0.0)))


def test_names_from_data_are_text(labels: Check) -> None:
    figure = drawn(row("<script>" + "x" * 200, reference="$y$" * 99, kept=False, why="z" * 500))
    assert all(len(text) <= 40 for text in labels(figure))
    assert b"<script>" not in figure_bytes(figure, PictureFormat.SVG)


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(ArgumentError, match="found no pair"):
        draw_alignment([])
