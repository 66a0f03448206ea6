from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.model import readers

from skiptool.errors import FormatError
from skiptool.model.recall import Recalled

if TYPE_CHECKING:
    from skiptool.records import UInt8


class Counted(readers.Squares):
    """Squares that note how often each of them is read."""

    def __init__(self, count: int, broken: int = -1) -> None:
        super().__init__(count, broken=broken)
        self.reads = [0] * count

    def read(self, index: int) -> tuple[UInt8, UInt8]:
        self.reads[index] += 1
        return super().read(index)


def test_is_read_once_and_stays_the_same() -> None:
    reader = Counted(5)
    recalled = Recalled(reader)
    assert len(recalled) == 5
    for index in (3, 1, 3, 1, 3):
        for found, stored in zip(recalled.read(index), readers.Squares(5).read(index), strict=True):
            np.testing.assert_array_equal(found, stored)
    assert reader.reads == [0, 1, 0, 1, 0]


def test_what_exceeds_the_limit_is_read_each_time() -> None:
    reader = Counted(3)
    size = sum(part.nbytes for part in reader.read(0))
    reader.reads = [0] * 3
    recalled = Recalled(reader, most=2 * size)
    for _ in range(2):
        for index in range(3):
            recalled.read(index)
    assert reader.reads == [1, 1, 2]


def test_what_is_kept_cannot_be_written_into() -> None:
    image, mask = Recalled(readers.Squares(1)).read(0)
    for part in (image, mask):
        with pytest.raises(ValueError, match="read-only"):
            part[...] = 0


def test_a_sample_that_cannot_be_read_is_tried_anew() -> None:
    reader = Counted(2, broken=1)
    recalled = Recalled(reader)
    for _ in range(2):
        with pytest.raises(FormatError, match="sample 1 is damaged"):
            recalled.read(1)
    assert reader.reads == [0, 2]
