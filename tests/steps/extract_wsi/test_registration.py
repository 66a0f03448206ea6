"""Registration: alignment of scans, transfer of patches, pixel sizes, placement of sites."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from heard import Heard
from skiptool.analysis.registration import ELSEWHERE
from skiptool.errors import SourceError
from skiptool.names import IGNORE_LABEL, PatchMode
from skiptool.sources.patches.painting import Patch
from skiptool.sources.registration.transforms import Alignment
from skiptool.steps.extract_wsi import registration
from skiptool.steps.extract_wsi.registration import (
    PatchSite,
    PatchView,
    align_groups,
    correct_pixel_sizes,
    patch_at,
    place_sites,
    transfer_sites,
)
from skiptool.steps.extract_wsi.settings import ExtractionContext, PatchSettings, RegistrationCache
from skiptool.steps.extract_wsi.survey import ScanGroup, SurveyedSlide
from skiptool.stores.lineage import Invocation
from slide_cases import BLOCK, Affine, area, make_run, point, surveyed

SHIFTED = [[2.0, 0.0, 10.0], [0.0, 2.0, -20.0]]
IDENTITY = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]


def scan(domain: str, subject: str = "s", **new: Any) -> SurveyedSlide:  # noqa: ANN401
    name = f"{domain}-{subject}"
    facts = {"domain": domain, "subject": subject, "path": Path(f"{name}.svs")}
    facts["key"] = name.encode().hex().ljust(32, "0")
    return surveyed(subject, **(facts | new))


@pytest.fixture
def run(tmp_path: Path) -> ExtractionContext:
    cache = RegistrationCache(tmp_path / "d.zarr", Invocation("extract wsi"), resume=False)
    return replace(make_run(register="A", max_residual=2.0), cache=cache)


def resumed(run: ExtractionContext, tmp_path: Path) -> ExtractionContext:
    return replace(
        run, cache=RegistrationCache(tmp_path / "d.zarr", Invocation("extract wsi"), resume=True)
    )


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Open slides that have no file, by their paths."""

    @contextmanager
    def get(_pool: object, path: Path, _mpp: object) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(path=path)

    monkeypatch.setattr("skiptool.sources.slides.pool.SlidePool.get", get)
    monkeypatch.setattr(registration, "Alignment", Affine)


def aligned(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Let scans of domain X fail, and record which are aligned."""
    seen = []

    def align(reference: SimpleNamespace, other: SimpleNamespace) -> Affine:
        seen.append((reference.path.stem, other.path.stem))
        if other.path.name.startswith("X"):
            raise SourceError("nothing alike")
        return Affine(SHIFTED)

    monkeypatch.setattr(registration, "align", align)
    return seen


@pytest.mark.usefixtures("opened")
def test_scans_are_aligned_once_even_when_resumed(
    run: ExtractionContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = aligned(monkeypatch)
    slides = [scan("A"), scan("B"), scan("X"), scan("A", "t"), scan("C", "t")]
    groups = [ScanGroup(0, {1: None, 2: None}), ScanGroup(3, {4: None})]
    found, (line,) = align_groups(run, groups, slides)
    assert seen == [("A-s", "B-s"), ("A-s", "X-s"), ("A-t", "C-t")]
    assert line.startswith("X-s.svs: not registered to A-s.svs, its slide is left out")
    assert "nothing alike" in line
    (group,) = found
    assert group.reference == 3
    assert (group.others[4].affine == SHIFTED).all()

    seen.clear()
    again, failures = align_groups(resumed(run, tmp_path), groups, slides)
    assert seen == [("A-s", "X-s")]  # failed pairs are tried again
    assert len(failures) == 1
    assert (again[0].others[4].affine == SHIFTED).all()


def measured(
    monkeypatch: pytest.MonkeyPatch, left: Callable[[str, float], float | None], empty: bool = False
) -> list[tuple[str, tuple[float, float], int]]:
    """Let the residual be ``left(path of the scan, x of the centre)``; record measured tiles."""
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

    monkeypatch.setattr(registration, "residual", residual)
    return seen


def sites(*corners: tuple[float, float]) -> list[PatchSite]:
    return [
        PatchSite(f"s-{n}", (PatchView(0, Patch(x, y, 40, (1.0, 1.0), {"tissue": 0.5})),))
        for n, (x, y) in enumerate(corners)
    ]


@pytest.mark.usefixtures("opened")
def test_patches_are_kept_in_all_domains_or_in_none(
    run: ExtractionContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    group = ScanGroup(0, {1: Affine(SHIFTED), 2: Affine(IDENTITY)})
    asked = sites((100, 100), (200, 100), (300, 100), (540, 300))
    kept, rows = transfer_sites(run, group, asked, slides)

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

    # A resumed run measures only sites that are not cached, with equal results.
    seen.clear()
    more = [*asked, PatchSite("s-new", asked[0].views)]
    again, all_rows = transfer_sites(resumed(run, tmp_path), group, more, slides)
    assert seen == [("B-s", (120.0, 120.0), 128), ("C-s", (120.0, 120.0), 128)]
    assert again[:1] == kept
    assert all_rows[: len(rows)] == rows


@pytest.mark.usefixtures("opened")
def test_empty_patches_are_kept(run: ExtractionContext, monkeypatch: pytest.MonkeyPatch) -> None:
    measured(monkeypatch, lambda *_: None, empty=True)
    group = ScanGroup(0, {1: Affine(IDENTITY)})
    kept, (row,) = transfer_sites(run, group, sites((10, 10)), [scan("A"), scan("B")])
    assert kept[0].views[1].residual is None
    assert (row["kept"], row["residual"], row["residual_um"], row["reason"]) == (
        *(True, None, None, None),
    )


@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize(
    ("size", "scale", "tile"),
    [(64, (1.0, 1.0), 128), (300, (1.0, 1.0), 300), (128, (1.5, 2.0), 256), (512, (2.0, 2.0), 512)],
)
def test_measured_tile_is_the_patch_within_limits(
    run: ExtractionContext,
    monkeypatch: pytest.MonkeyPatch,
    size: int,
    scale: tuple[float, float],
    tile: int,
) -> None:
    seen = measured(monkeypatch, lambda *_: 0.0)
    patch = Patch(0, 0, size, scale)
    slides = [scan(domain, size=(2000, 2000), scale=scale) for domain in "AB"]
    transfer_sites(
        run, ScanGroup(0, {1: Affine(IDENTITY)}), [PatchSite("s-0", (PatchView(0, patch),))], slides
    )
    assert [each[2] for each in seen] == [tile]


def test_transferred_patches_lie_on_pixels_of_their_level() -> None:
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


# -------------------------------------------------------------------------------------------------
# Pixel sizes by registration: unknown ones are set, wrong ones corrected.


Size = tuple[float, float] | None


def alignment(zoom: float, turn: float = 0.0, mirrored: bool = False) -> Alignment:
    """Return an alignment in which a reference pixel spans ``zoom`` pixels of the other scan."""
    cos, sin = zoom * math.cos(turn), zoom * math.sin(turn)
    linear = np.array([[cos, -sin], [sin, cos]]) @ np.diag([-1 if mirrored else 1, 1])
    return Alignment(np.column_stack([linear, (50, -20)]), 99)


def told(
    first: Size,
    second: Size,
    zoom: float = 2 / 3,
    mpp: float | None = None,
    **how: Any,  # noqa: ANN401
) -> tuple[list[SurveyedSlide], list[str]]:
    slides = [surveyed("a", mpp=first), surveyed("b", mpp=second, domain="B")]
    heard = Heard()
    groups = [ScanGroup(0, {1: alignment(zoom, **how)})]
    return correct_pixel_sizes(
        slides, groups, PatchSettings(register="A", mpp=mpp), heard
    ), heard.lines


@pytest.mark.parametrize("how", [{}, {"turn": 1.1}, {"turn": -2.0, "mirrored": True}])
@pytest.mark.parametrize("off", [0.991, 1.0, 1.009])
def test_matching_pixel_sizes_are_unchanged(how: dict[str, Any], off: float) -> None:
    (first, second), lines = told((0.5, 0.5), (0.75 * off, 0.75 * off), **how)
    assert (first.mpp, second.mpp) == ((0.5, 0.5), (0.75 * off, 0.75 * off))
    assert (first.relative_mpp, second.relative_mpp) == (1.0, pytest.approx(1.5))
    assert lines == []


@pytest.mark.parametrize("said", [1.0, 1.48, 1.52, 3.0])
def test_contradictory_pixel_size_is_replaced_with_a_warning(
    said: float,
) -> None:
    (first, second), (line,) = told((1.0, 1.0), (said, said))
    assert first.mpp == (1.0, 1.0)
    assert second.mpp == pytest.approx((1.5, 1.5))
    assert second.patch_mpp == pytest.approx((1.5, 1.5))
    assert line == (
        f"B: its pixels are 1.5 times as large as those of A by registration, {said:.3g} times by "
        "their mpp (1 scan); registration is trusted: mpp 1.5 is recorded. If the size of A "
        "is wrong instead, correct its column mpp in the manifest"
    )


def test_wrong_pixel_size_does_not_change_the_resolution_of_patches() -> None:
    (first, second), (line,) = told((0.5, 0.5), (0.5, 0.5), mpp=0.5)
    assert first.scale == (1.0, 1.0)
    assert second.scale == pytest.approx((2 / 3, 2 / 3))  # its pixels are 0.75 um wide
    assert second.patch_mpp == pytest.approx((0.5, 0.5))
    assert second.relative_mpp == pytest.approx(1.0)
    assert "mpp 0.75 is recorded and used for --mpp 0.5. If the size of A is" in line


def test_anisotropic_pixels_keep_their_ratio() -> None:
    (_, second), lines = told((0.5, 0.5), (0.3, 0.6))
    assert second.mpp is not None
    assert second.mpp[1] / second.mpp[0] == pytest.approx(2)
    assert math.sqrt(second.mpp[0] * second.mpp[1]) == pytest.approx(0.75)
    assert len(lines) == 1


@pytest.mark.parametrize("mpp", [None, 0.5])
def test_unknown_pixel_size_is_derived_from_the_reference(mpp: float | None) -> None:
    (_, second), lines = told((0.5, 0.5), None, mpp=mpp)
    assert second.mpp == pytest.approx((0.75, 0.75))
    assert lines == []
    assert second.scale == (pytest.approx((2 / 3, 2 / 3)) if mpp else (1.0, 1.0))
    assert second.patch_mpp == pytest.approx((0.5, 0.5) if mpp else (0.75, 0.75))
    assert second.relative_mpp == pytest.approx(1.0 if mpp else 1.5)


def test_unknown_pixel_size_of_the_reference_is_derived_from_another_scan() -> None:
    (first, second), lines = told(None, (0.75, 0.75))
    assert first.mpp == pytest.approx((0.5, 0.5))
    assert second.mpp == (0.75, 0.75)
    assert lines == []


def test_ratio_is_known_if_both_pixel_sizes_are_unknown() -> None:
    (first, second), (line,) = told(None, None)
    assert (first.mpp, second.mpp) == (None, None)
    assert second.relative_mpp == pytest.approx(1.5)
    assert line.startswith(
        "B: by registration, pixels of its patches are 1.5 times as wide as those of A"
    )
    assert told(None, None, zoom=1.004)[1] == []


def test_one_warning_per_domain() -> None:
    slides = [surveyed(f"{d}{n}", domain=d, mpp=(1.0, 1.0)) for d in "ABC" for n in range(3)]
    groups = [ScanGroup(n, {3 + n: alignment(2 / 3), 6 + n: alignment(1.0)}) for n in range(3)]
    heard = Heard()
    found = correct_pixel_sizes(slides, groups, PatchSettings(register="A"), heard)
    (line,) = heard.lines
    assert line.startswith("B: its pixels are 1.5 times")
    assert "(3 scans)" in line
    sizes = [slide.mpp[0] for slide in found if slide.mpp]
    assert sizes == pytest.approx([1.0] * 3 + [1.5] * 3 + [1.0] * 3)


# -------------------------------------------------------------------------------------------------
# Sites of a slide in each mode: ids, and dependence of sampled ones.


AREAS = [
    (area("SCC", (100, 100, 200, 200), "1"), 1),
    (area("Dermis", (300, 100, 500, 400), "2"), 2),
    (area("Bone", (90, 300, 200, 400), "3"), None),
    (area("Fold", (300, 100, 400, 200), "4"), IGNORE_LABEL),
]
SAMPLED = PatchSettings(mode=PatchMode.SAMPLED, patch_size=32, patches=10, draws=3)


def sampled(
    slide: SurveyedSlide | None = None, fold: int = 0, seed: int = 0, **new: int
) -> list[PatchSite]:
    return place_sites(0, slide or surveyed(), AREAS, fold, replace(SAMPLED, **new), seed)


def corners(sites: list[PatchSite]) -> list[tuple[float, float]]:
    return [(site.views[0].patch.x, site.views[0].patch.y) for site in sites]


def test_grid_covers_the_tissue() -> None:
    settings = PatchSettings(patch_size=60, stride=40)
    sites = place_sites(3, surveyed("a"), [], -1, settings, 0)
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
    sites = place_sites(0, surveyed("a"), shapes, 0, settings, 0)
    assert [site.id for site in sites] == ["a-7", "a-7-2", "a-1"]
    assert corners(sites) == [(84, 84), (34, 44), (-7, -7)]
    assert sites[0].views[0].patch.columns == {"annotation": "m", "record": "7"}


def test_only_training_slides_are_drawn_from_repeatedly() -> None:
    train, test = sampled(), sampled(fold=-1)
    assert [site.id for site in train] == [
        f"a-draw{draw}-{number:03d}" for draw in range(3) for number in range(10)
    ]
    assert [site.id for site in test] == [site.id for site in train[:10]]
    assert corners(test) == corners(train)[:10]
    draws = [corners(train)[start : start + 10] for start in (0, 10, 20)]
    assert draws[0] != draws[1] != draws[2]
    assert {site.views[0].patch.columns["draw"] for site in train} == {0, 1, 2}


def test_labels_have_equal_shares_without_ignored_ones() -> None:
    drawn = [site.views[0].patch.columns["drawn"] for site in sampled(patches=100, draws=1)]
    counts = {name: drawn.count(name) for name in set(drawn)}
    assert set(counts) == {"background", "SCC", "Dermis"}
    assert counts["background"] in (9, 10, 11)
    assert abs(counts["SCC"] - counts["Dermis"]) <= 1


def test_draw_depends_on_the_seed() -> None:
    assert corners(sampled()) == corners(sampled())
    assert corners(sampled(seed=1)) != corners(sampled())


def test_draw_depends_on_content_but_not_on_names() -> None:
    other = surveyed("renamed", path=Path("else/where.tif"), domain="B", subject="x")
    assert corners(sampled(other)) == corners(sampled())
    assert corners(sampled(surveyed(key="f" * 32))) != corners(sampled())


def test_more_draws_do_not_change_the_first() -> None:
    assert corners(sampled(draws=1)) == corners(sampled())[:10]


@pytest.mark.parametrize("shapes", [[], AREAS[2:], [(point("m", 100, 100), 1)]])
def test_no_sites_without_areas_of_a_class(shapes: list[Any]) -> None:
    assert place_sites(0, surveyed(), shapes, 0, SAMPLED, 0) == []
