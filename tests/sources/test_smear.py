"""The shipped pictures are what the code draws."""

from __future__ import annotations

import numpy as np
import pytest

from skiptool.sources.cutouts import Templates, load_templates
from skiptool.sources.smear import draw_templates


@pytest.fixture(scope="module")
def drawn() -> Templates:
    return draw_templates()


@pytest.mark.long
def test_shipped_pictures_are_what_is_drawn(drawn: Templates) -> None:
    shipped = load_templates()
    for (name, mine), (theirs_name, theirs) in zip(
        drawn.pictures(), shipped.pictures(), strict=True
    ):
        assert name == theirs_name
        # exp and sums may differ in their last bit between platforms: one grey level at most
        assert np.abs(mine.astype(int) - theirs).max() <= 1


@pytest.mark.long
def test_another_seed_draws_other_pictures_of_the_same_kind(drawn: Templates) -> None:
    other = draw_templates(1)
    assert other.digest != drawn.digest
    for mine, theirs in zip(drawn.cells, other.cells, strict=True):
        assert mine.mask.sum() == pytest.approx(theirs.mask.sum(), rel=0.15)


def test_objects_stay_clear_of_the_border(drawn: Templates) -> None:
    for template in (*drawn.cells, *drawn.artifacts):
        frame = template.mask.copy()
        frame[8:-8, 8:-8] = False
        assert not frame.any()


def test_parasites_are_violet_and_cells_darker_than_the_glass(drawn: Templates) -> None:
    for cell in drawn.cells:
        inside = cell.image[cell.mask].astype(int)
        assert inside.mean() < 170
        darkest = inside[inside.sum(axis=1).argsort()[:200]]
        assert (darkest.mean(axis=0)[1]) < 60  # stained nuclei and pigment absorb green
        assert inside[:, 1].mean() < inside[:, 2].mean()


def test_the_background_is_uneven_but_empty(drawn: Templates) -> None:
    background = drawn.backgrounds[0].astype(float)
    corners = [background[r, c].mean() for r in (slice(40), slice(-40, None)) for c in (slice(40),)]
    assert background[200:312, 200:312].mean() - min(corners) > 4
    assert np.abs(background - background.mean(axis=(0, 1))).mean() < 8
