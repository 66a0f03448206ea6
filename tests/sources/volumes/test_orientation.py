"""Tests of ``orientation``."""

from __future__ import annotations

from itertools import permutations, product

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibabel.orientations import apply_orientation, inv_ornt_aff

from skiptool.errors import SourceError
from skiptool.sources.volumes.orientation import (
    choose_view,
    displacement,
    slice_axis,
    spacings,
    stored_view,
)
from volume_cases import affine, heart

SCANNERS = {
    "A": [[-0.81, -0.39, 0.43], [0.0, -0.74, -0.68], [0.58, -0.55, 0.6]],
    "B": [[-0.74, -0.34, 0.58], [0.0, -0.86, -0.51], [0.68, -0.37, 0.63]],
    "C": [[-0.37, 0.7, 0.6], [-0.85, 0.01, -0.53], [-0.38, -0.71, 0.59]],
    "D": [[-0.65, 0.35, -0.68], [-0.76, -0.33, 0.55], [0.03, -0.88, -0.48]],
}
"""Directions x, y, z of a short-axis volume of each vendor, as their files have them."""

LAYOUTS = [(order, flips) for order in permutations((0, 1)) for flips in product((1, -1), repeat=3)]


def stored(labels: np.ndarray, matrix: np.ndarray, order: tuple[int, ...], flips: tuple[int, ...]):  # noqa: ANN201
    """Store a volume another way round, with the affine that says so."""
    wanted = np.array([[axis, flip] for axis, flip in zip((*order, 2), flips, strict=True)])
    return apply_orientation(labels, wanted), matrix @ inv_ornt_aff(wanted, labels.shape)


@pytest.mark.parametrize("scanner", SCANNERS)
@pytest.mark.parametrize(("order", "flips"), LAYOUTS)
def test_layout_does_not_depend_on_the_stored_orientation(
    scanner: str, order: tuple[int, ...], flips: tuple[int, ...]
) -> None:
    labels, matrix = heart(40, 36), affine(axes=SCANNERS[scanner])
    first = choose_view(matrix, "a").apply(labels)
    turned, other = stored(labels, matrix, order, flips)
    view = choose_view(other, "a")
    found = view.apply(turned)
    assert (found[::-1] if flips[2] < 0 else found).tolist() == first.tolist()
    assert view.codes == "".join(nibabel.aff2axcodes(other))
    assert view.display == choose_view(matrix, "a").display


@pytest.mark.parametrize("scanner", SCANNERS)
def test_short_axis_slices_of_all_vendors_share_a_layout(scanner: str) -> None:
    view = choose_view(affine(axes=SCANNERS[scanner]), "a")
    axes = np.array(SCANNERS[scanner])
    columns = axes[:, view.columns] * (-1 if view.flip_columns else 1)
    rows = axes[:, view.rows] * (-1 if view.flip_rows else 1)
    first = np.array(SCANNERS["A"])
    assert view.through == 2
    assert columns @ first[:, 0] > 0.7
    assert rows @ first[:, 1] > 0.7


@pytest.mark.parametrize(
    ("codes", "display"),
    [("LPS", "LP"), ("RAS", "LP"), ("RSA", "LI"), ("PIL", "PI"), ("ASR", "PI"), ("SPL", "PI")],
)
def test_anatomical_slices_have_radiological_orientation(codes: str, display: str) -> None:
    wanted = nibabel.orientations.axcodes2ornt(codes)
    matrix = np.eye(4)
    for axis, (place, flip) in enumerate(wanted):
        matrix[:3, axis] = 0
        matrix[int(place), axis] = flip * (1 + axis)
    view = choose_view(matrix, "a")
    assert (view.codes, view.display, view.through) == (codes, display, 2)


@pytest.mark.parametrize("through", range(3))
def test_slices_are_taken_along_the_given_axis(through: int) -> None:
    stack = np.arange(24).reshape(2, 3, 4)
    for view in (choose_view(np.diag([8.0, 1.5, 1.5, 1.0]), "a", through), stored_view(through)):
        found = view.apply(stack)
        assert len(found) == stack.shape[through]
        for number, slice_ in enumerate(found):
            assert sorted(slice_.ravel()) == sorted(stack.take(number, through).ravel())


def test_file_without_orientation_keeps_its_layout() -> None:
    stack = np.arange(24).reshape(2, 3, 4)
    assert stored_view().apply(stack).tolist() == stack.transpose(2, 1, 0).tolist()
    assert stored_view(0).apply(stack).tolist() == stack.transpose(0, 2, 1).tolist()


@pytest.mark.parametrize(
    "matrix",
    [np.diag([1.0, 0.0, 1.0, 1.0]), np.diag([1.0, np.nan, 1.0, 1.0]), np.ones((4, 4))],
    ids=["no extent", "nan", "flat"],
)
def test_singular_affine_is_refused(matrix: np.ndarray) -> None:
    with pytest.raises(SourceError, match=r"a\.nii: the affine from voxels to millimetres"):
        choose_view(matrix, "a.nii")


@given(st.lists(st.floats(-2, 2), min_size=12, max_size=12), st.integers(0, 10**6))
def test_displacement_is_the_largest_over_all_voxels(numbers: list[float], seed: int) -> None:
    first, second = np.eye(4), np.eye(4)
    second[:3] += np.array(numbers).reshape(3, 4)
    shape = tuple(np.random.default_rng(seed).integers(1, 5, 3).tolist())
    slow = max(
        float(np.linalg.norm(((first - second) @ [*voxel, 1])[:3]))
        for voxel in product(*map(range, shape))
    )
    assert displacement(first, second, shape) == pytest.approx(slow)


def test_spacings_are_lengths_of_the_axes() -> None:
    assert spacings(affine((1.25, 1.5, 9.6))) == pytest.approx((1.25, 1.5, 9.6))


STACKS = {
    "short axis of the heart": ((256, 216, 12), (1.2, 1.2, 9.6)),
    "one slice of large pixels": ((96, 80, 1), (2.5, 2.5, 1.0)),
    "one slice of oblong pixels": ((96, 80, 1), (1.0, 2.2, 1.0)),
    "few slices closer than pixels are": ((64, 64, 12), (3.0, 3.0, 1.5)),
    "two slices": ((96, 80, 2), (2.5, 2.5, 1.0)),
    "a thin slab of cubes": ((256, 192, 20), (1.0, 1.0, 1.0)),
    "many slices beside square pictures": ((512, 512, 600), (0.8, 0.8, 1.0)),
    "more thick slices than pixels": ((50, 50, 60), (1.0, 1.0, 8.0)),
}
"""Volumes whose slices follow along the third axis."""


@pytest.mark.parametrize("name", STACKS)
@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_axis_does_not_depend_on_the_order_of_axes(name: str, order: tuple[int, ...]) -> None:
    shape, spacing = ([values[axis] for axis in order] for values in STACKS[name])
    found, note = slice_axis(shape, spacing, None, "a.nii")
    assert found == order.index(2)
    alone = 1 in shape
    assert bool(note) is (found != 2 and not alone)


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((64, 64, 64), (2.0, 2.0, 2.0)), ((91, 109, 91), (2.0, 2.0, 2.0)), ((9, 8, 7), (1, 1.5, 1.9))],
)
def test_evident_third_axis_is_not_reported(
    shape: tuple[int, ...], spacing: tuple[float, ...]
) -> None:
    assert slice_axis(shape, spacing, None, "a.nii") == (2, "")


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [
        ((96, 80, 60), (1.0, 2.2, 1.0)),  # coarsest along the second, fewest along the third
        ((100, 256, 256), (1.0, 1.0, 1.0)),  # fewer along the first, but not by far
    ],
)
def test_doubtful_third_axis_is_reported(
    shape: tuple[int, ...], spacing: tuple[float, ...]
) -> None:
    found, note = slice_axis(shape, spacing, None, "a.nii")
    assert found == 2
    assert note.startswith(f"slices are taken along the third axis ({shape[2]}, 1 mm apart), as")
    assert "--slice-axis 1, 2 or 3" in note


def test_axis_named_by_the_header_is_used() -> None:
    assert slice_axis((64, 64, 64), (2.0, 2.0, 2.0), 1, "a.nii") == (1, "")
    assert slice_axis((96, 80, 60), (1.0, 2.2, 1.0), 2, "a.nii") == (2, "")
    assert slice_axis((96, 80, 1), (2.5, 2.5, 1.0), 0, "a.nii") == (2, "")  # of a part of a volume


def test_outdated_axis_in_the_header_is_reported() -> None:
    found, note = slice_axis((12, 256, 216), (9.6, 1.2, 1.2), 2, "a.nii")
    assert found == 0
    assert "along the first axis" in note
    assert "though the header names the third" in note


def test_requested_axis_takes_precedence() -> None:
    assert slice_axis((12, 256, 216), (9.6, 1.2, 1.2), 2, "a.nii", 1) == (1, "")


@pytest.mark.parametrize(
    ("shape", "asked"), [((96, 1, 1), None), ((1, 1, 1), None), ((96, 80, 1), 0)]
)
def test_single_rows_are_refused(shape: tuple[int, ...], asked: int | None) -> None:
    with pytest.raises(SourceError, match=r"^a\.nii: has .* single rows and no pictures$"):
        slice_axis(shape, (1.0, 1.0, 1.0), None, "a.nii", asked)
