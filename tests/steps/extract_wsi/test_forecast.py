"""The table of the dry run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from skiptool.names import PatchMode
from skiptool.records import SILENT, Outcome, Table
from skiptool.sources.patches.painting import Patch
from skiptool.steps.extract_wsi.forecast import forecast
from skiptool.steps.extract_wsi.labels import labelling
from skiptool.steps.extract_wsi.settings import PatchSettings
from skiptool.steps.extract_wsi.sites import Site, View
from skiptool.steps.extract_wsi.survey import Surveyed
from slide_cases import area, point, surveyed

BOX = (0.0, 0.0, 9.0, 9.0)


def laid_out(slides: list[Surveyed], places: list[int], **settings: Any) -> tuple[Outcome, Table]:  # noqa: ANN401
    chosen = PatchSettings(**settings)
    labels, _ = labelling(slides, chosen, SILENT)
    sites = [Site(str(n), (View(place, Patch(0, 0, 1)),)) for n, place in enumerate(places)]
    outcome = forecast(slides, sites, labels, chosen, ["x.svs: no such slide"])
    (table,) = outcome.tables
    return outcome, table


def rows(table: Table) -> list[dict[str, Any]]:
    return [
        dict(zip(table.columns, row, strict=True))
        for row in zip(*table.columns.values(), strict=True)
    ]


def test_a_row_a_slide_and_their_sum() -> None:
    shapes = [area("SCC", BOX), area("scc", BOX), area("Bone", BOX), point("", 1, 1)]
    slides = [
        replace(surveyed("a", shapes, mpp=(0.25, 0.26)), dropped={"lines": 2}, faults=("x",)),
        surveyed("b", domain="B", mpp=None),
    ]
    outcome, table = laid_out(slides, [0, 0, 1], patch_size=100, classes="tumor=SCC")
    assert rows(table) == [
        {
            **{"slide": "a", "domain": "A", "subject": "a", "vendor": "aperio"},
            **{"width": 600, "height": 480, "levels": 3, "mpp": 0.25, "mpp_y": 0.26},
            "annotations": "Bone (no class) 1, cannot be read 1, left out (lines) 2, tumor 2, "
            "unnamed (no class) 1",
            **{"patches": 2, "bytes": 80_000},
        },
        {
            **{"slide": "b", "domain": "B", "subject": "b", "vendor": "aperio"},
            **{"width": 600, "height": 480, "levels": 3, "mpp": None, "mpp_y": None},
            **{"annotations": "none", "patches": 1, "bytes": 40_000},
        },
    ]
    assert outcome.outputs == ()
    assert outcome.failures == ("x.svs: no such slide",)
    assert outcome.summary == {
        **{"slides": 2, "patches": 3, "bytes before compression": 120_000, "failed": 1}
    }
    assert table.title == "grid patches of 100 px"


def test_a_slide_without_patches_is_told_with_the_reason() -> None:
    slides = [surveyed("a"), surveyed("b", domain="B"), surveyed("c", tissue=False)]
    outcome, _ = laid_out(slides, [0], patch_size=500, min_tissue=0.7)
    first, second, third = outcome.failures
    assert first == "x.svs: no such slide"
    assert second.startswith("b.svs: no patch of 500 px has more tissue than 0.7")
    assert third.endswith("no tissue is found on the slide")
    # What is carried over from another domain needs no patches of its own.
    outcome, _ = laid_out(slides[:2], [0], patch_size=500, register="A")
    assert len(outcome.failures) == 1


def test_draws_are_named() -> None:
    settings = {"mode": PatchMode.SAMPLED, "patch_size": 10, "draws": 5}
    outcome, _ = laid_out([surveyed("a")], [0] * 160, **settings)
    assert outcome.summary["draws"] == 5
    assert outcome.summary["bytes before compression"] == 160 * 400


def test_registered_scans_get_the_patches_of_their_reference() -> None:
    # Slide 1 of several subjects: names are told apart by what is in the files.
    slides = [
        replace(surveyed(domain=domain, subject=subject, slide="1"), name=f"1-{domain}{subject}")
        for domain in "AB"
        for subject in "st"
    ]
    outcome, table = laid_out(slides, [0, 0, 0, 1], patch_size=10, register="A")
    assert [row["patches"] for row in rows(table)] == [3, 1, 3, 1]
    assert outcome.summary["patches"] == 8
