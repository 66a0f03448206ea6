"""Sites of a slide in each mode: their ids, and what the drawing depends on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from skiptool.names import IGNORE, PatchMode, Split
from skiptool.steps.extract_wsi.settings import PatchSettings
from skiptool.steps.extract_wsi.sites import Site, planned
from skiptool.steps.extract_wsi.survey import Surveyed
from slide_cases import BLOCK, area, point, surveyed

AREAS = [
    (area("SCC", (100, 100, 200, 200), "1"), 1),
    (area("Dermis", (300, 100, 500, 400), "2"), 2),
    (area("Bone", (90, 300, 200, 400), "3"), None),
    (area("Fold", (300, 100, 400, 200), "4"), IGNORE),
]
SAMPLED = PatchSettings(mode=PatchMode.SAMPLED, patch_size=32, patches=10, draws=3)


def sampled(
    slide: Surveyed | None = None, split: Split = Split.TRAIN, seed: int = 0, **new: int
) -> list[Site]:
    return planned(0, slide or surveyed(), AREAS, split, replace(SAMPLED, **new), seed)


def corners(sites: list[Site]) -> list[tuple[float, float]]:
    return [(site.views[0].patch.x, site.views[0].patch.y) for site in sites]


def test_grid_covers_the_tissue() -> None:
    settings = PatchSettings(patch_size=60, stride=40)
    sites = planned(3, surveyed("a"), [], Split.TEST, settings, 0)
    left, top, right, bottom = BLOCK
    expected = []
    for y in range(0, 480 - 20, 40):
        for x in range(0, 600 - 20, 40):
            across = max(min(x + 60, right) - max(x, left), 0)
            down = max(min(y + 60, bottom) - max(y, top), 0)
            if across * down / 3600 > 0.5:
                expected.append((x, y))
    assert corners(sites) == expected
    assert [site.id for site in sites] == [f"a-x{x}-y{y}" for x, y in expected]
    assert {view.slide for site in sites for view in site.views} == {3}
    assert {view.residual for site in sites for view in site.views} == {0.0}
    assert {len(site.views) for site in sites} == {1}


def test_centred_sites_are_named_by_record() -> None:
    settings = PatchSettings(mode=PatchMode.CENTRED, patch_size=32)
    shapes = [(point("m", 100, 100, "7"), 1), (point("m", 50, 60, "7"), 1), (point("n", 9, 9), 2)]
    sites = planned(0, surveyed("a"), shapes, Split.TRAIN, settings, 0)
    assert [site.id for site in sites] == ["a-7", "a-7-2", "a-1"]
    assert corners(sites) == [(84, 84), (34, 44), (-7, -7)]
    assert sites[0].views[0].patch.columns == {"annotation": "m", "record": "7"}


def test_training_slides_are_drawn_from_repeatedly_test_slides_once() -> None:
    train, test = sampled(), sampled(split=Split.TEST)
    assert [site.id for site in train] == [
        f"a-draw{draw}-{number:03d}" for draw in range(3) for number in range(10)
    ]
    assert [site.id for site in test] == [site.id for site in train[:10]]
    assert corners(test) == corners(train)[:10]
    draws = [corners(train)[start : start + 10] for start in (0, 10, 20)]
    assert draws[0] != draws[1] != draws[2]
    assert {site.views[0].patch.columns["draw"] for site in train} == {0, 1, 2}


def test_labels_have_equal_shares_and_what_is_ignored_none() -> None:
    drawn = [site.views[0].patch.columns["drawn"] for site in sampled(patches=100, draws=1)]
    counts = {name: drawn.count(name) for name in set(drawn)}
    assert set(counts) == {"background", "SCC", "Dermis"}
    assert counts["background"] in (9, 10, 11)
    assert abs(counts["SCC"] - counts["Dermis"]) <= 1


def test_the_seed_changes_what_is_drawn() -> None:
    assert corners(sampled()) == corners(sampled())
    assert corners(sampled(seed=1)) != corners(sampled())


def test_drawing_depends_on_content_not_on_names() -> None:
    other = surveyed("renamed", path=Path("else/where.tif"), domain="B", subject="x")
    assert corners(sampled(other)) == corners(sampled())
    assert corners(sampled(surveyed(key="f" * 32))) != corners(sampled())


def test_more_draws_leave_the_first_as_they_are() -> None:
    assert corners(sampled(draws=1)) == corners(sampled())[:10]


@pytest.mark.parametrize("shapes", [[], AREAS[2:], [(point("m", 100, 100), 1)]])
def test_nothing_to_draw_from(shapes: list[Any]) -> None:
    assert planned(0, surveyed(), shapes, Split.TRAIN, SAMPLED, 0) == []
