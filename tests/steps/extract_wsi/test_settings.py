"""Settings of an extraction: the paper's defaults, and what contradicts itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from skiptool.errors import ArgumentError
from skiptool.names import PatchMode
from skiptool.steps.extract_wsi.settings import PatchSettings
from small_stores import refused

GRID, SAMPLED, CENTRED = PatchMode.GRID, PatchMode.SAMPLED, PatchMode.CENTRED


@pytest.mark.parametrize(("mode", "size"), [(GRID, 512), (SAMPLED, 512), (CENTRED, 128)])
def test_sizes_are_the_papers(mode: PatchMode, size: int) -> None:
    found = PatchSettings(mode=mode)
    assert (found.size, found.step) == (size, size)
    assert PatchSettings(mode=mode, patch_size=96, stride=48).step == 48
    assert PatchSettings(mode=mode, patch_size=96).step == 96


def test_masks_are_taken_apart() -> None:
    assert PatchSettings(mode=CENTRED, mask="disc:2.5").disc == 2.5
    assert PatchSettings(mode=CENTRED, mask="model:runs/a:b").model == Path("runs/a:b")
    for mask in ("stain", "polygons", None):
        found = PatchSettings(mode=CENTRED, mask=mask)
        assert (found.disc, found.model) == (None, None)


def test_only_what_shapes_the_result_is_asked() -> None:
    every = {"mode", "patch_size", "mpp", "classes"}
    own = {
        GRID: {"min_tissue", "stride"},
        SAMPLED: {"patches", "draws", "background"},
        CENTRED: {"mask"},
    }
    for mode, names in own.items():
        assert set(PatchSettings(mode=mode).asked) == every | names
    registered = PatchSettings(register="A").asked
    assert set(registered) == every | own[GRID] | {"register", "max_residual"}
    assert PatchSettings().asked["patch_size"] == PatchSettings(patch_size=512).asked["patch_size"]


BAD: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "size": ({"patch_size": 0}, ("--patch-size 0", "1 or more")),
    "stride": ({"stride": 0}, ("--stride 0",)),
    "patches": ({"patches": 0}, ("--patches 0",)),
    "draws": ({"draws": 0}, ("--draws 0",)),
    "tissue": ({"min_tissue": 1.0}, ("--min-tissue 1.0", "below 1")),
    "tissue negative": ({"min_tissue": -0.1}, ("--min-tissue -0.1",)),
    "tissue NaN": ({"min_tissue": float("nan")}, ("--min-tissue nan",)),
    "background": ({"background": 1.0}, ("--background 1.0",)),
    "mpp": ({"mpp": 1000.0}, ("--mpp 1000.0", "0.05 to 20 micrometres per pixel")),
    "mpp NaN": ({"mpp": float("nan")}, ("--mpp nan",)),
    "residual": ({"max_residual": 0.0}, ("--max-residual 0.0", "above 0")),
    "residual NaN": ({"max_residual": float("nan")}, ("--max-residual nan",)),
    "residual infinite": ({"max_residual": float("inf")}, ("--max-residual inf",)),
    "mask and grid": ({"mask": "stain"}, ("--mask", "--mode centred", "--mode grid")),
    "mask unknown": ({"mode": CENTRED, "mask": "circle"}, ("--mask circle", "disc:UM")),
    "disc without": ({"mode": CENTRED, "mask": "disc"}, ("--mask disc:", "radius")),
    "disc text": ({"mode": CENTRED, "mask": "disc:big"}, ("--mask disc:big",)),
    "disc zero": ({"mode": CENTRED, "mask": "disc:0"}, ("--mask disc:0",)),
    "disc NaN": ({"mode": CENTRED, "mask": "disc:nan"}, ("--mask disc:nan",)),
    "stain with": ({"mode": CENTRED, "mask": "stain:2"}, ("--mask stain:2",)),
    "model without": ({"mode": CENTRED, "mask": "model:"}, ("--mask model:", "model:FOLDER")),
    "draws and grid": ({"draws": 2}, ("--draws", "--mode sampled", "--mode grid")),
    "class twice": ({"classes": "a=x;a=y"}, ("'a' is there twice",)),
    "name twice": ({"classes": "a=x;b=x"}, ("'x' is there twice",)),
    "class empty": ({"classes": "a="}, ("is empty",)),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_told_at_once(name: str) -> None:
    given, words = BAD[name]
    with refused(ArgumentError, *words):
        PatchSettings(**given)
