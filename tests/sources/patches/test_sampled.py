"""The draw of an epoch."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiptool.errors import ArgumentError
from skiptool.sources.patches.patch import Patch
from skiptool.sources.patches.sampled import BACKGROUND, sampled
from skiptool.sources.shapes import Shape

SLIDE = (4000, 3000)


@dataclass(frozen=True)
class Map:
    """Tissue on the left half of the slide."""

    mask: np.ndarray = field(default_factory=lambda: np.arange(400)[None, :].repeat(300, 0) < 200)
    scale: tuple[float, float] = (10.0, 10.0)


def square(name: str, x: float, y: float, side: float = 100.0, record: str = "") -> Shape:
    corners = [(x, y), (x + side, y), (x + side, y + side), (x, y + side)]
    return Shape(name, (np.array(corners, dtype=float),), record or name)


AREAS = [
    (square("Melanoma", 100, 100), 2),
    (square("SCC", 300, 100), 2),
    (square("SCC", 300, 300, 900, "large"), 2),
    (square("Dermis", 500, 100), 1),
    (square("Epidermis", 700, 100), 1),
    (square("Bone", 900, 100), None),
    (square("Void", 900, 100), 0),
]


def drawn(
    areas: list[tuple[Shape, int | None]] = AREAS,
    tissue: Map | None = None,
    seed: int = 0,
    **more: object,
) -> list[Patch]:
    shapes, labels = [shape for shape, _ in areas], [label for _, label in areas]
    arguments = {"size": 64, "scale": (1.0, 1.0), "patches": 32, "draw": 0} | more
    rng = np.random.default_rng(seed)
    return sampled(shapes, labels, tissue or Map(), SLIDE, rng=rng, **arguments)


def names(patches: list[Patch]) -> Counter[str]:
    return Counter(str(patch.columns["drawn"]) for patch in patches)


@given(st.integers(0, 2**32 - 1))
def test_classes_come_as_often_as_the_paper_says(seed: int) -> None:
    found = names(drawn(seed=seed))
    assert sum(found.values()) == 32
    assert found[BACKGROUND] in (3, 4)
    assert found["Melanoma"] + found["SCC"] in (14, 15)
    assert found["Dermis"] + found["Epidermis"] in (14, 15)
    assert abs(found["Melanoma"] - found["SCC"]) <= 1
    assert set(found) == {BACKGROUND, "Melanoma", "SCC", "Dermis", "Epidermis"}


@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 2.0, 1.37]))
def test_middles_lie_in_what_was_drawn(seed: int, by: float) -> None:
    places = {shape.record: shape.bounds for shape, _ in AREAS}
    for patch in drawn(seed=seed, scale=(by, by), draw=5):
        x, y = patch.centre
        assert patch.columns.keys() == {"draw", "drawn", "record"}
        assert patch.columns["draw"] == 5
        if patch.columns["drawn"] == BACKGROUND:
            assert patch.columns["record"] == ""
            assert x - 32 * by >= 2000 - 0.05 * 64 * by - by
        else:
            left, top, right, bottom = places[str(patch.columns["record"])]
            assert left - by / 2 <= x <= right + by / 2
            assert top - by / 2 <= y <= bottom + by / 2


def test_small_areas_are_as_likely_as_large_ones() -> None:
    records = Counter(patch.columns["record"] for seed in range(60) for patch in drawn(seed=seed))
    assert records["large"] / records["SCC"] == pytest.approx(1, abs=0.3)


def test_what_is_missing_goes_to_the_others() -> None:
    full = Map(np.ones((300, 400), dtype=bool))
    assert BACKGROUND not in names(drawn(tissue=full))
    assert names(drawn(tissue=full))["Dermis"] == 8
    tumour = names(drawn(AREAS[:3], patches=20))
    assert tumour == {BACKGROUND: 2, "Melanoma": 9, "SCC": 9}
    assert drawn(AREAS[5:]) == []
    assert drawn([(Shape("Melanoma", (np.array([[5.0, 5.0]]),), ""), 1)]) == []


def test_the_same_seed_gives_the_same_patches() -> None:
    assert drawn(seed=3) == drawn(seed=3)
    assert drawn(seed=3) != drawn(seed=4)


def test_points_stay_on_the_slide() -> None:
    over, beyond = square("Dermis", -500, -500, 1000), square("SCC", 5000, 10)
    found = drawn([(over, 1), (beyond, 2)], background_share=0.0)
    assert names(found) == {"Dermis": 32}
    assert all(patch.centre[0] >= -0.5 and patch.centre[1] >= -0.5 for patch in found)


@pytest.mark.parametrize("wrong", [{"patches": 0}, {"background_share": 1.0}])
def test_nonsense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ArgumentError, match="expected one patch or more"):
        drawn(**wrong)
