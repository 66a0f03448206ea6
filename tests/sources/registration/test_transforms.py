"""Tests of ``transforms``."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scans import turned
from skiptool.sources.registration.transforms import (
    Alignment,
    Field,
    apply_affine,
    fit_affine,
    fit_field,
)

SMALL = st.floats(-8.0, 8.0)


@st.composite
def alignments(draw: st.DrawFn) -> Alignment:
    """Draw scans turned and scaled, with a field that bends by a few pixels over hundreds."""
    affine = turned(
        draw(st.floats(0, 360)),
        draw(st.floats(0.3, 3.0)),
        (draw(st.floats(-1e4, 1e4)), draw(st.floats(-1e4, 1e4))),
        draw(st.booleans()),
    )
    if draw(st.booleans()):
        return Alignment(affine, 7)
    rows, columns = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    drawn = draw(st.lists(SMALL, min_size=rows * columns * 2, max_size=rows * columns * 2))
    nodes = np.array(drawn).reshape(rows, columns, 2) * np.hypot(*affine[:, 0])
    return Alignment(affine, 7, Field((100.0, -50.0), (300.0, 400.0), nodes))


POINTS = np.array([[0.0, 0.0], [100.0, -50.0], [431.5, 222.25], [900.0, 700.0], [-500.0, 3000.0]])


@given(alignments())
def test_json_round_trips_exactly(alignment: Alignment) -> None:
    again = Alignment.from_json(json.loads(json.dumps(alignment.as_json())))
    np.testing.assert_array_equal(again.to_other(POINTS), alignment.to_other(POINTS))
    assert again.inliers == alignment.inliers
    assert again.mirrored == alignment.mirrored


@given(alignments())
def test_local_affine_fits_value_and_slope(
    alignment: Alignment,
) -> None:
    local = alignment.local_affine((350.0, 250.0), 10.0)
    point, step = np.array([[350.0, 250.0]]), np.array([[10.0, 0.0]])
    np.testing.assert_allclose(apply_affine(local, point), alignment.to_other(point), atol=1e-6)
    slope = (alignment.to_other(point + step) - alignment.to_other(point - step)) / 20
    np.testing.assert_allclose(local[:, 0], slope[0], atol=1e-9)


def test_field_is_linear_between_its_nodes_and_constant_outside() -> None:
    nodes = np.array([[[0.0, 0.0], [4.0, 0.0]], [[0.0, 8.0], [4.0, 8.0]]])
    field = Field((10.0, 20.0), (100.0, 200.0), nodes)
    points = np.array([[10.0, 20.0], [60.0, 120.0], [110.0, 220.0], [500.0, -90.0], [35.0, 20.0]])
    expected = [[0, 0], [2, 4], [4, 8], [4, 0], [1, 0]]
    np.testing.assert_allclose(field.at(points), expected)
    one = Field((0.0, 0.0), (1.0, 1.0), np.array([[[3.0, -2.0]]]))
    np.testing.assert_array_equal(one.at(points), [[3.0, -2.0]] * len(points))


def test_mirror_images_are_detected() -> None:
    assert Alignment(turned(30, 1.1, (0, 0), True), 3).mirrored
    assert not Alignment(turned(30, 1.1, (0, 0)), 3).mirrored


@given(st.integers(0, 2**32 - 1), st.floats(0, 360), st.floats(0.2, 4.0))
def test_third_of_outliers_does_not_change_the_fit(seed: int, degrees: float, scale: float) -> None:
    rng = np.random.default_rng(seed)
    truth = turned(degrees, scale, (500.0, -300.0))
    here = rng.uniform(0, 5000, (60, 2))
    there = apply_affine(truth, here) + rng.normal(0, 0.1, (60, 2))
    there[:20] += rng.uniform(30, 60, (20, 2))
    affine, kept = fit_affine(here, there)
    corners = np.array([[0.0, 0.0], [5000.0, 0.0], [0.0, 5000.0], [5000.0, 5000.0]])
    np.testing.assert_allclose(
        apply_affine(affine, corners), apply_affine(truth, corners), atol=0.5
    )
    assert not kept[:20].any()
    assert kept[20:].mean() > 0.9


def points(number: int = 200) -> np.ndarray:
    return np.random.default_rng(3).uniform(0, 4000, (number, 2))


def test_noise_gives_no_field() -> None:
    left = np.random.default_rng(4).normal(0, 0.3, (200, 2))
    assert fit_field(points(), left) is None


def test_bend_is_at_least_halved_by_a_field() -> None:
    here = points()
    left = np.column_stack([np.sin(here[:, 1] / 4000 * 6), np.cos(here[:, 0] / 4000 * 6)])
    found = fit_field(here, left)
    assert found is not None
    rest = np.hypot(*(left - found.at(here)).T)
    assert np.median(rest) < 0.5 * np.median(np.hypot(*left.T))


def test_strips_are_recovered_from_scattered_points() -> None:
    def strips(place: np.ndarray) -> np.ndarray:
        """TileShift columns of 400 px by 0.6 px to the left or right, rows of 500 px up or down."""
        signs = np.random.default_rng(5).choice([-0.6, 0.6], (2, 12))
        column, row = (place // [400, 500]).astype(int).T
        return np.column_stack([signs[0][column], signs[1][row]])

    here, elsewhere = points(), np.random.default_rng(6).uniform(0, 4000, (500, 2))
    found = fit_field(here, strips(here) + np.random.default_rng(7).normal(0, 0.05, (200, 2)))
    assert found is not None
    plain = np.hypot(*strips(elsewhere).T)
    rest = np.hypot(*(strips(elsewhere) - found.at(elsewhere)).T)
    assert np.median(rest) < 0.3 * np.median(plain)


def test_outliers_do_not_bend_a_field() -> None:
    here = points()
    left = np.column_stack([np.sin(here[:, 1] / 4000 * 6), np.zeros(200)])
    spoilt = left.copy()
    spoilt[::10] += np.random.default_rng(8).uniform(10, 20, (20, 2))
    clean, found = fit_field(here, left), fit_field(here, spoilt)
    assert clean is not None
    assert found is not None
    apart = np.hypot(*(clean.at(here) - found.at(here)).T)
    assert np.median(apart) < 0.1
    assert apart.max() < 1.0


def test_nodes_far_from_all_points_stay_at_rest() -> None:
    here = np.vstack([points() / 8, [[4000.0, 4000.0]]])
    left = np.column_stack([np.sin(here[:, 1] / 500 * 6), np.cos(here[:, 0] / 500 * 6)])
    left[-1] = 0.0
    found = fit_field(here, left)
    assert found is not None
    assert np.hypot(*found.at(np.array([[2500.0, 2500.0]])).T).max() < 0.3


def test_few_points_give_no_field() -> None:
    assert fit_field(points(10), np.ones((10, 2))) is None
