"""Scans of one glass slide: aligned, and the patches that all of them show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from skiptool.analysis.registration import ELSEWHERE
from skiptool.errors import SourceError
from skiptool.sources.patches.painting import Patch
from skiptool.steps.extract_wsi import matching
from skiptool.steps.extract_wsi.grouping import Group
from skiptool.steps.extract_wsi.matching import aligned_groups, carried, patch_at
from skiptool.steps.extract_wsi.notes import Notes
from skiptool.steps.extract_wsi.run import Run
from skiptool.steps.extract_wsi.sites import Site, View
from skiptool.steps.extract_wsi.survey import Surveyed
from skiptool.stores.lineage import Making
from slide_cases import Affine, make_run, surveyed

SHIFTED = [[2.0, 0.0, 10.0], [0.0, 2.0, -20.0]]
IDENTITY = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]


def scan(domain: str, subject: str = "s", **new: Any) -> Surveyed:  # noqa: ANN401
    name = f"{domain}-{subject}"
    facts = {"domain": domain, "subject": subject, "path": Path(f"{name}.svs")}
    facts["key"] = name.encode().hex().ljust(32, "0")
    return surveyed(subject, **(facts | new))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    notes = Notes(tmp_path / "d.zarr", Making("extract wsi"), resume=False)
    return replace(make_run(register="A", max_residual=2.0), notes=notes)


def resumed(run: Run, tmp_path: Path) -> Run:
    return replace(run, notes=Notes(tmp_path / "d.zarr", Making("extract wsi"), resume=True))


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lend slides that no file stands behind, by their paths."""

    @contextmanager
    def get(_pool: object, path: Path, _mpp: object) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(path=path)

    monkeypatch.setattr("skiptool.sources.slides.pool.SlidePool.get", get)
    monkeypatch.setattr(matching, "Alignment", Affine)


def aligned(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Let scans of domain X fail, and note what is aligned."""
    seen = []

    def align(reference: SimpleNamespace, other: SimpleNamespace) -> Affine:
        seen.append((reference.path.stem, other.path.stem))
        if other.path.name.startswith("X"):
            raise SourceError("nothing alike")
        return Affine(SHIFTED)

    monkeypatch.setattr(matching, "align", align)
    return seen


@pytest.mark.usefixtures("opened")
def test_scans_are_aligned_once_even_when_resumed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = aligned(monkeypatch)
    slides = [scan("A"), scan("B"), scan("X"), scan("A", "t"), scan("C", "t")]
    groups = [Group(0, {1: None, 2: None}), Group(3, {4: None})]
    found, (line,) = aligned_groups(run, groups, slides)
    assert seen == [("A-s", "B-s"), ("A-s", "X-s"), ("A-t", "C-t")]
    assert line.startswith("X-s.svs: not registered to A-s.svs, its slide is left out")
    assert "nothing alike" in line
    (group,) = found
    assert group.reference == 3
    assert (group.others[4].affine == SHIFTED).all()

    seen.clear()
    again, failures = aligned_groups(resumed(run, tmp_path), groups, slides)
    assert seen == [("A-s", "X-s")]  # what failed is tried again
    assert len(failures) == 1
    assert (again[0].others[4].affine == SHIFTED).all()


def measured(
    monkeypatch: pytest.MonkeyPatch, left: Callable[[str, float], float | None], empty: bool = False
) -> list[tuple[str, tuple[float, float], int]]:
    """Let the residual be ``left(path of the scan, x of the centre)``; note what is measured."""
    seen = []

    def residual(
        _reference: SimpleNamespace,
        other: SimpleNamespace,
        _alignment: Affine,
        centre: tuple[float, float],
        tile: int,
    ) -> SimpleNamespace:
        seen.append((other.path.stem, centre, tile))
        return SimpleNamespace(px=left(other.path.stem, centre[0]), empty=empty)

    monkeypatch.setattr(matching, "residual", residual)
    return seen


def sites(*corners: tuple[float, float]) -> list[Site]:
    return [
        Site(f"s-{n}", (View(0, Patch(x, y, 40, (1.0, 1.0), {"tissue": 0.5})),))
        for n, (x, y) in enumerate(corners)
    ]


@pytest.mark.usefixtures("opened")
def test_a_patch_is_kept_in_all_domains_or_in_none(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def left(scan: str, x: float) -> float | None:
        if scan == "B-s":
            return {120: 0.5, 220: 2.5, 320: 0.1}[x]
        return {120: 1.0, 220: 0.2, 320: None, 560: 0.3}[x]

    seen = measured(monkeypatch, left)
    slides = [
        scan("A"),
        scan("B", size=(1100, 900), scale=(2.0, 2.0), mpp=(0.125, 0.125)),
        scan("C"),
    ]
    group = Group(0, {1: Affine(SHIFTED), 2: Affine(IDENTITY)})
    asked = sites((100, 100), (200, 100), (300, 100), (540, 300))
    kept, rows = carried(run, group, asked, slides)

    assert [site.id for site in kept] == ["s-0"]
    reference, second, third = kept[0].views
    assert (reference.slide, reference.residual) == (0, 0.0)
    assert (second.slide, second.residual, second.patch.scale) == (1, 0.5, (2.0, 2.0))
    assert second.patch.centre == (250, 220)  # (120, 120) shifted
    assert second.patch.columns == {"tissue": 0.5}
    assert (third.patch.x, third.patch.y, third.residual) == (100, 100, 1.0)

    reasons = [row["reason"] for row in rows]
    assert [row["sample"] for row in rows] == ["s-0"] * 2 + ["s-1"] * 2 + ["s-2"] * 2 + ["s-3"] * 2
    assert reasons == [
        *(None, None, "residual above 2 px", ELSEWHERE, ELSEWHERE, "residual cannot be measured"),
        *("outside of the scan", ELSEWHERE),
    ]
    assert [row["kept"] for row in rows] == [True] * 2 + [False] * 6
    first = rows[0]
    assert (first["reference_domain"], first["domain"], first["subject"]) == ("A", "B", "s")
    assert (first["x"], first["y"], first["x_other"], first["y_other"]) == (120, 120, 250, 220)
    assert (first["residual"], first["residual_um"]) == (0.5, 0.125)
    transform = [first[name] for name in ("xx", "xy", "x0", "yx", "yy", "y0")]
    assert transform == [2, 0, 10, 0, 2, -20]
    assert (first["mirrored"], first["inliers"]) == (False, 12)

    # A resumed run measures only what was not noted, and finds the same.
    seen.clear()
    more = [*asked, Site("s-new", asked[0].views)]
    again, all_rows = carried(resumed(run, tmp_path), group, more, slides)
    assert seen == [("B-s", (120.0, 120.0), 128), ("C-s", (120.0, 120.0), 128)]
    assert again[:1] == kept
    assert all_rows[: len(rows)] == rows


@pytest.mark.usefixtures("opened")
def test_where_nothing_is_seen_nothing_is_misaligned(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured(monkeypatch, lambda *_: None, empty=True)
    group = Group(0, {1: Affine(IDENTITY)})
    kept, (row,) = carried(run, group, sites((10, 10)), [scan("A"), scan("B")])
    assert kept[0].views[1].residual is None
    assert (row["kept"], row["residual"], row["residual_um"], row["reason"]) == (
        *(True, None, None, None),
    )


@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize(
    ("size", "scale", "tile"),
    [(64, (1.0, 1.0), 128), (300, (1.0, 1.0), 300), (128, (1.5, 2.0), 256), (512, (2.0, 2.0), 512)],
)
def test_what_is_measured_is_the_patch_within_bounds(
    run: Run, monkeypatch: pytest.MonkeyPatch, size: int, scale: tuple[float, float], tile: int
) -> None:
    seen = measured(monkeypatch, lambda *_: 0.0)
    patch = Patch(0, 0, size, scale)
    slides = [scan(domain, size=(2000, 2000), scale=scale) for domain in "AB"]
    carried(run, Group(0, {1: Affine(IDENTITY)}), [Site("s-0", (View(0, patch),))], slides)
    assert [each[2] for each in seen] == [tile]


def test_patches_lie_on_the_pixels_of_their_level() -> None:
    rng = np.random.default_rng(0)
    like = Patch(0, 0, 32, (1.0, 1.0), {"draw": 3})
    for x, y in rng.uniform(0, 500, (50, 2)):
        other = scan("B", scale=(2.0, 4.0))
        found = patch_at((x, y), like, other)
        assert found.x % 2 == 0
        assert found.y % 4 == 0
        assert abs(found.centre[0] - x) <= 1
        assert abs(found.centre[1] - y) <= 2
        assert (found.size, found.scale, found.columns) == (32, (2.0, 4.0), {"draw": 3})
