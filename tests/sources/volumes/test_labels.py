from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiptool.errors import SourceError
from skiptool.sources.volumes.labels import whole_labels


@given(st.lists(st.integers(0, 65535), min_size=1), st.sampled_from(["f4", "f8", "u2", "i4", "i8"]))
def test_whole_numbers_of_any_type_are_labels(numbers: list[int], dtype: str) -> None:
    found = whole_labels(np.array(numbers, dtype=dtype), "m")
    assert found.dtype == np.uint16
    assert found.tolist() == numbers


def test_what_a_slope_leaves_is_rounded() -> None:
    assert whole_labels(np.array([0.0, 0.9999, 2.0001]), "m").tolist() == [0, 1, 2]
    assert whole_labels(np.array([True, False]), "m").tolist() == [1, 0]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([0.0, 1.5, 2.5], r"m\.nii: mask holds 1\.5 \(2 voxels are no whole number\)"),
        ([0.0, np.nan], r"mask holds nan \(1 voxels"),
        ([0.0, np.inf], r"mask holds inf"),
        ([0.0, -1.0], r"mask holds -1; expected labels from 0 to 65535"),
        ([0.0, 70000.0], r"mask holds 70000"),
        ([1j], r"of type complex128"),
    ],
)
def test_other_numbers_are_refused(values: list[float], words: str) -> None:
    with pytest.raises(SourceError, match=words):
        whole_labels(np.array(values), "m.nii")
