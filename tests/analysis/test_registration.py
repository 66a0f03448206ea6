from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registration_cases import FAR, OFF, table
from skiptool.analysis.registration import (
    ELSEWHERE,
    UNITS,
    pairs,
    residual_limits,
)

ROWS = (
    ("s", "s1", "A", "B", "p1", 1.0, 0.25, True, None),
    ("s", "s1", "A", "C", "p1", 0.5, None, True, None),
    ("s", "s1", "A", "B", "p2", 3.0, 0.75, False, FAR),
    ("s", "s1", "A", "C", "p2", 1.5, None, False, None),
    ("s", "s2", "A", "B", "p3", None, None, False, OFF),
    ("s", "s2", "A", "C", "p3", 4.5, None, False, FAR),
    ("s", "s3", "A", "C", None, None, None, False, None),
    ("s", "s3", "B", "A", "p4", 2.0, 0.5, True, ""),
)


def test_worked_by_hand() -> None:
    b, c, a = pairs(table(*ROWS))
    assert [(each.reference_domain, each.domain) for each in (b, c, a)] == [
        ("A", "B"),
        ("A", "C"),
        ("B", "A"),
    ]
    assert (b.slides, b.unaligned, b.patches, b.kept, b.share) == (2, 0, 3, 1, 1 / 3)
    assert b.lost == {FAR: 1, OFF: 1}
    px, um = b.residuals["px"], b.residuals["µm"]
    assert (px.measured, px.median, px.p90, px.by_slide.tolist()) == (2, 2.0, 2.8, [2.0])
    assert (px.low, px.quarter, px.three_quarters) == pytest.approx((1.2, 1.5, 2.5))
    assert (um.measured, um.median) == (2, 0.5)
    assert (c.slides, c.unaligned, c.patches, c.kept) == (3, 1, 3, 1)
    assert c.lost == {ELSEWHERE: 1, FAR: 1}
    assert c.residuals["px"].by_slide.tolist() == [1.0, 4.5]
    assert (a.share, a.lost) == (1.0, {})


def test_missing_residuals_are_nan() -> None:
    unmeasured = pairs(table(*ROWS))[1].residuals["µm"]
    assert (unmeasured.measured, unmeasured.by_slide.size) == (0, 0)
    assert math.isnan(unmeasured.median)
    assert math.isnan(unmeasured.p90)


def test_a_domain_without_an_aligned_scan() -> None:
    (found,) = pairs(table(ROWS[6]))
    assert (found.slides, found.unaligned, found.patches, found.kept) == (1, 1, 0, 0)
    assert math.isnan(found.share)
    assert pairs(table()) == []


def test_slides_of_two_subjects_may_have_one_name() -> None:
    (found,) = pairs(table(ROWS[0], ("t", *ROWS[0][1:])))
    assert found.slides == 2


def test_pairs_of_one_reference_are_adjacent() -> None:
    found = pairs(table(ROWS[0], ROWS[7], ROWS[1]))
    assert [(each.reference_domain, each.domain) for each in found] == [
        ("A", "B"),
        ("A", "C"),
        ("B", "A"),
    ]


@given(
    st.lists(
        st.tuples(
            st.sampled_from("AB"),
            st.sampled_from("xyz"),
            st.floats(0.0, 9.0) | st.none(),
            st.booleans(),
            st.sampled_from([None, FAR, OFF]),
        ),
        max_size=30,
    )
)
def test_pairs_follow_the_definition_row_by_row(drawn: list[tuple[Any, ...]]) -> None:
    rows = [
        (slide, slide, "R", domain, "p", left, left, kept, reason)
        for domain, slide, left, kept, reason in drawn
    ]
    found = {each.domain: each for each in pairs(table(*rows))}
    assert set(found) == {row[3] for row in rows}
    for domain, pair in found.items():
        mine = [row for row in rows if row[3] == domain]
        values = [row[5] for row in mine if row[5] is not None]
        lost = [row[8] or ELSEWHERE for row in mine if not row[7]]
        assert pair.patches == len(mine)
        assert pair.kept == sum(row[7] for row in mine)
        assert pair.lost == {why: lost.count(why) for why in lost}
        slides = [[r[5] for r in mine if r[0] == s and r[5] is not None] for s in "xyz"]
        for unit in UNITS:
            assert pair.residuals[unit].measured == len(values)
            if values:
                expected = np.quantile(values, [0.5, 0.9])
                kept = [pair.residuals[unit].median, pair.residuals[unit].p90]
                np.testing.assert_allclose(kept, expected)
                medians = sorted(float(np.median(each)) for each in slides if each)
                np.testing.assert_allclose(pair.residuals[unit].by_slide, medians)


def test_the_largest_residual_allowed_is_read_from_the_reason() -> None:
    reasons = ("residual above 2 px", "residual above 0.5 px", "residual above 1e-05 px", OFF)
    rows = [(*ROWS[2][:8], reason) for reason in reasons]
    found = residual_limits(pairs(table(*rows)))
    assert found == dict(zip(reasons[:3], (2.0, 0.5, 1e-5), strict=True))
