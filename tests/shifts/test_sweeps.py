from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from predict_cases import Warned
from skiptool.errors import ArgumentError
from skiptool.names import ShiftKind
from skiptool.records import ORIGINAL, PAPER_SWEEP, SILENT, Shift
from skiptool.shifts.sweeps import swept

COLOUR: list[Any] = [SimpleNamespace(channels=3)]
GREY: list[Any] = [SimpleNamespace(channels=1)] * 2
HALF, FAR, PALE = map(Shift.parse, ("brightness=0.5", "contrast=3", "saturation=0"))


def test_the_original_where_nothing_is_named() -> None:
    assert swept(None, (), COLOUR, SILENT) == (ORIGINAL,)
    assert swept(None, (HALF,), GREY, SILENT) == (HALF,)


def test_paper_sweep_is_the_grid_of_fig_7() -> None:
    kinds = {"brightness": "0.5 0.75 1.25 1.5 1.75", "contrast": "0.5 0.75 1.25 1.5 1.75"}
    kinds["saturation"] = "0 0.25 0.5 0.75"
    names = {"original"} | {f"{k}={f}" for k, fs in kinds.items() for f in fs.split()}
    found = swept("paper", (), COLOUR, SILENT)
    assert (found, set(map(str, found))) == (PAPER_SWEEP, names)
    assert swept("paper", (HALF, FAR), COLOUR, SILENT) == (*PAPER_SWEEP, FAR)


def test_images_of_one_channel_are_swept_without_saturation() -> None:
    warned = Warned()
    found = swept("paper", (FAR,), GREY, warned)
    assert len(found) == 1 + 5 + 5 + 1
    assert {shift.kind for shift in found} == set(ShiftKind) - {ShiftKind.SATURATION}
    (line,) = warned.lines
    assert "saturation is left out" in line


def test_what_is_named_and_cannot_be_is_refused() -> None:
    with pytest.raises(ArgumentError, match="saturation=0: images of one channel have no colour"):
        swept("paper", (PALE,), GREY, SILENT)
    with pytest.raises(ArgumentError, match="--sweep papers: unknown; expected paper"):
        swept("papers", (), COLOUR, SILENT)
