"""``examples/draw_templates.py``: the shipped templates are what it draws."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiptool.sources.smear.templates import Templates, load_templates

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "draw_templates.py"
SMEAR = SimpleNamespace(**runpy.run_path(str(SCRIPT)))


@pytest.fixture(scope="module")
def drawn() -> Templates:
    return SMEAR.draw_templates()


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
def test_the_script_writes_what_it_draws(tmp_path: Path, drawn: Templates) -> None:
    subprocess.run([sys.executable, SCRIPT, tmp_path / "drawn"], check=True, timeout=120)
    assert load_templates(tmp_path / "drawn").digest == drawn.digest


@pytest.mark.long
def test_another_seed_draws_other_pictures_of_the_same_kind(drawn: Templates) -> None:
    other = SMEAR.draw_templates(1)
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


# Fields that drawings are made of.


def test_axes_start_in_the_middle() -> None:
    rows, columns = SMEAR.axes(4)
    assert rows[:, 0].tolist() == [-1.5, -0.5, 0.5, 1.5]
    assert columns[0].tolist() == [-1.5, -0.5, 0.5, 1.5]


@given(st.floats(0.1, 10.0))
def test_step_rises_from_0_to_1_within_its_width(width: float) -> None:
    line = SMEAR.step(np.linspace(-width, width, 41), width)
    assert line[:10].tolist() == [0.0] * 10
    assert line[-10:].tolist() == [1.0] * 10
    assert (np.diff(line) >= 0).all()
    assert line + line[::-1] == pytest.approx(np.ones(41))


@pytest.mark.parametrize("width", [0.7, 3.0, 20.0])
def test_noise_is_standard_and_as_smooth_as_asked(width: float) -> None:
    field = SMEAR.noise(128, width, np.random.default_rng(0))
    assert field.mean() == pytest.approx(0, abs=1e-12)
    assert field.std() == pytest.approx(1)
    neighbours = (field * np.roll(field, 1, axis=0)).mean()
    assert neighbours == pytest.approx(np.exp(-1 / (4 * width**2)), abs=0.05)


def test_a_regular_disc_has_its_area() -> None:
    field = SMEAR.disc(101, (3.0, -2.0), 30.0, 4.0, 0.0, np.random.default_rng(0))
    assert field.sum() == pytest.approx(np.pi * 30**2, rel=0.01)
    assert field[50 + 3, 50 - 2] == 1.0
    assert field[0, 0] == 0.0


def test_an_irregular_disc_departs_by_what_was_asked() -> None:
    spread = []
    for seed in range(60):
        field = SMEAR.disc(121, (0.0, 0.0), 40.0, 1.0, 0.05, np.random.default_rng(seed))
        spread.append(field[60, 60:].sum() / 40.0)
    assert np.std(spread) == pytest.approx(0.05, rel=0.35)


def test_grains_stay_where_the_field_is() -> None:
    where = np.zeros((80, 80))
    where[20:40, 20:40] = 1.0
    strewn = SMEAR.grains(where, 30, (1.0, 2.0), np.random.default_rng(0))
    assert strewn.max() == 1.0
    strewn[15:45, 15:45] = 0.0
    assert strewn.max() == 0.0
