from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skiptool.stores.groups import gathered, lacking, totals

ROWS = st.lists(
    st.tuples(
        st.none() | st.sampled_from(["enc1", "dec0", "ü", ""]),
        st.none() | st.integers(0, 2),
        st.none() | st.integers(0, 600),
        st.none() | st.floats(allow_nan=False),
    ),
    max_size=20,
)
TYPES = {"layer": pa.string(), "bins": pa.int64(), "channel": pa.int64(), "value": pa.float64()}


def as_data(rows: list[tuple[Any, ...]]) -> pa.Table:
    columns = {n: [row[place] for row in rows] for place, n in enumerate(TYPES)}
    return pa.table(columns, schema=pa.schema(list(TYPES.items())))


@given(rows=ROWS, cut=st.integers(0, 20))
@settings(max_examples=60, deadline=None)
def test_groups_are_those_of_a_loop_over_rows(rows: list[tuple[Any, ...]], cut: int) -> None:
    """In the order of first appearance, rows in their order, however the table is in pieces."""
    data = pa.concat_tables([as_data(rows[:cut]), as_data(rows[cut:])])
    expected: dict[tuple[Any, ...], list[tuple[float, ...]]] = {}
    for layer, bins, *numbers in rows:
        numbers = [math.nan if number is None else number for number in numbers]
        expected.setdefault((layer, bins), []).append(tuple(numbers))
    found = gathered(data, ["layer", "bins"], ["channel", "value"])
    assert list(zip(found["layer"], found["bins"], strict=True)) == list(expected)
    for channel, value, group in zip(
        found["channel"], found["value"], expected.values(), strict=True
    ):
        assert (channel.dtype, value.dtype) == (np.float64, np.float64)
        np.testing.assert_array_equal(np.column_stack([channel, value]), group)


@given(rows=ROWS)
@settings(max_examples=60, deadline=None)
def test_totals_are_those_of_a_loop_over_rows(rows: list[tuple[Any, ...]]) -> None:
    """The first class of a table is the background, so that their order matters."""
    expected: dict[tuple[Any, ...], int | None] = {}
    for layer, bins, channel, _ in rows:
        before = expected.setdefault((layer, bins), None)
        if channel is not None:
            expected[layer, bins] = (before or 0) + channel
    found = totals(as_data(rows), ["layer", "bins"], "channel")
    keys = list(zip(found["layer"], found["bins"], strict=True))
    assert (keys, found["channel"]) == (list(expected), list(expected.values()))


@given(rows=ROWS)
@settings(max_examples=30, deadline=None)
def test_rows_that_lack_a_value_are_those_with_null(rows: list[tuple[Any, ...]]) -> None:
    found = lacking(as_data(rows), "channel").to_pylist()
    assert found == [row for row in as_data(rows).to_pylist() if row["channel"] is None]


def test_no_rows_are_no_groups() -> None:
    found = gathered(as_data([]), ["layer"], ["value"])
    assert found == {"layer": [], "value": []}


@pytest.mark.parametrize("size", [1, 3])
def test_a_group_of_nulls_is_nan(size: int) -> None:
    found = gathered(as_data([("enc1", 1, None, None)] * size), ["layer"], ["channel", "value"])
    for name in ("channel", "value"):
        (array,) = found[name]
        np.testing.assert_array_equal(array, [math.nan] * size)
