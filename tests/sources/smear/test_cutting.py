"""Templates from annotated pictures: drawn ones with known truth, and the real ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from skiptool.errors import ArgumentError, SourceError
from skiptool.sources.pictures.files import write_picture
from skiptool.sources.smear.cutting import Smear, cut_templates, free_pixels
from skiptool.sources.smear.scenes import SceneSettings, compose, prepare
from skiptool.sources.smear.templates import Box, Templates, load_templates, save_templates

VIOLET, SLATE, MAGENTA = (110, 60, 140), (110, 118, 140), (200, 60, 160)
Disc = tuple[int, int, int, tuple[int, int, int], str | None]
FREE: tuple[Disc, ...] = (
    (60, 60, 24, VIOLET, "trophozoite"),
    (60, 160, 20, VIOLET, "ring"),
    (60, 260, 26, VIOLET, "schizont"),
    (60, 360, 20, VIOLET, "gametocyte"),
    (160, 60, 22, SLATE, "red blood cell"),
    (160, 160, 22, SLATE, "red blood cell"),
    (160, 260, 30, MAGENTA, "leukocyte"),
    (160, 360, 22, SLATE, "red blood cell"),
    (240, 60, 10, MAGENTA, None),
)


def smear(folder: Path, discs: Sequence[Disc], height: int = 300, width: int = 420) -> list[Path]:
    """Write a picture of discs on grainy glass with its annotations."""
    rng = np.random.default_rng(0)
    grain = ndimage.gaussian_filter(6 * rng.standard_normal((height, width)), 1.0)
    image = np.array((224, 222, 216)) + grain[..., None]
    rows, columns = np.ogrid[:height, :width]
    objects: list[dict[str, Any]] = []
    for row, column, radius, colour, category in discs:
        inside = (np.hypot(rows - row, columns - column) <= radius).astype(float)
        soft = ndimage.gaussian_filter(inside, 1.2)[..., None]
        image = (1 - soft) * image + soft * np.array(colour)
        low = {"r": row - radius, "c": column - radius}
        high = {"r": row + radius + 1, "c": column + radius + 1}
        if category is not None:
            objects.append(
                {"category": category, "bounding_box": {"minimum": low, "maximum": high}}
            )
    paths = [folder / "a.png", folder / "training.json"]
    write_picture(paths[0], np.rint(image).astype(np.uint8))
    paths[1].write_text(json.dumps([{"image": {"pathname": "/images/a.png"}, "objects": objects}]))
    return paths


def colours(templates: Templates) -> list[tuple[int, ...]]:
    return [
        tuple(np.median(one.image[one.mask], axis=0).astype(int)) for one in templates.artifacts
    ]


def near(colour: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return max(abs(a - b) for a, b in zip(colour, other, strict=True)) < 12


def test_three_cells_three_artifacts_and_a_background(tmp_path: Path) -> None:
    templates, warnings = cut_templates(*smear(tmp_path, FREE))
    assert [round(np.sqrt(cell.mask.sum() / np.pi)) for cell in templates.cells] == [24, 20, 26]
    found = colours(templates)
    assert [near(found[0], MAGENTA), near(found[1], MAGENTA), near(found[2], SLATE)] == [True] * 3
    sizes = [one.mask.sum() for one in templates.artifacts]
    assert sizes[0] == pytest.approx(np.pi * 30**2, rel=0.1)  # the leukocyte comes first
    assert sizes[1] == pytest.approx(np.pi * 10**2, rel=0.2)  # then stain without annotation
    assert [line.partition(": ")[2] for line in warnings][:2] == [
        "1 of 3 artifacts are stain that is not annotated",
        "1 of 3 artifacts are uninfected red cells",
    ]
    assert templates.backgrounds[0].shape == (300, 300, 3)
    assert (templates.backgrounds[0] > 190).all()


def test_fewer_cells_are_used_with_a_warning(tmp_path: Path) -> None:
    templates, warnings = cut_templates(*smear(tmp_path, FREE[1:2] + FREE[4:]))
    assert len(templates.cells) == 1
    assert "infected cells: 1 instead of 3; using those" in warnings[0]


def test_hidden_cell_is_skipped_unless_it_is_the_only_one(tmp_path: Path) -> None:
    hidden: tuple[Disc, ...] = (
        (160, 190, 24, VIOLET, "trophozoite"),
        (160, 210, 24, SLATE, "red blood cell"),
    )
    both, warnings = cut_templates(*smear(tmp_path, (*FREE[:1], *hidden)))
    assert len(both.cells) == 1
    assert "(1 more are hidden by neighbours or cut off)" in warnings[0]
    alone, _ = cut_templates(*smear(tmp_path, hidden))
    assert len(alone.cells) == 1


def test_large_empty_square_is_used_unchanged(tmp_path: Path) -> None:
    paths = smear(tmp_path, FREE, height=700, width=500)
    templates, warnings = cut_templates(*paths)
    side = templates.backgrounds[0].shape[0]
    assert side >= 400
    assert not any("filled in" in line for line in warnings)


def test_given_boxes_become_the_artifacts(tmp_path: Path) -> None:
    box = Box(138, 38, 183, 83)
    templates, warnings = cut_templates(*smear(tmp_path, FREE), artifacts=[box])
    assert len(templates.artifacts) == 1
    assert near(colours(templates)[0], SLATE)
    assert not any("artifacts" in line for line in warnings)
    with pytest.raises(ArgumentError, match="expected a box within the picture of 420 x 300"):
        cut_templates(*smear(tmp_path, FREE), artifacts=[Box(0, 0, 10, 421)])


def test_templates_are_deterministic(tmp_path: Path) -> None:
    paths = smear(tmp_path, FREE)
    first, _ = cut_templates(*paths)
    assert cut_templates(*paths)[0].digest == first.digest
    save_templates(first, tmp_path / "t")
    again = load_templates(tmp_path / "t")
    assert again.digest == first.digest
    for mine, theirs in zip(again.cells, first.cells, strict=True):
        assert np.array_equal(mine.mask, theirs.mask)


@pytest.mark.long
def test_unsuitable_pictures_are_refused(tmp_path: Path) -> None:
    paths = smear(tmp_path, FREE[4:])
    with pytest.raises(SourceError, match=r"a\.png: none of its 4 annotated objects is an infect"):
        cut_templates(*paths)
    crowded = [
        (row, column, 16, VIOLET, "ring")
        for row in range(16, 300, 24)
        for column in range(16, 420, 24)
    ]
    with pytest.raises(SourceError, match=r"a\.png: no empty square of 24 pixels"):
        cut_templates(*smear(tmp_path, crowded))
    with pytest.raises(SourceError, match=r"nothing on it can serve as an artifact"):
        cut_templates(*smear(tmp_path, FREE[:1]))


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "cells"),
    [
        *(("1f8f", 1), pytest.param("1fdf", 2, marks=pytest.mark.slow)),
        *(
            pytest.param(name, cells, marks=pytest.mark.slow)
            for name, cells in (("2bed", 2), ("3270", 1))
        ),
    ],
)
def test_every_real_picture_gives_templates(shared_data: Path, name: str, cells: int) -> None:
    folder = shared_data / "bbbc041"
    picture = next((folder / "images").glob(f"{name}*.png"))
    templates, warnings = cut_templates(picture, folder / "training_subset.json")
    assert (len(templates.cells), len(templates.artifacts)) == (cells, 3)
    assert any(f"infected cells: {cells}" in line for line in warnings)
    background = templates.backgrounds[0].astype(float)
    assert background.shape == (1200, 1200, 3)
    assert (background.min(axis=2) < 150).mean() < 1e-3  # no cell is left on it
    assert background.mean() > 205
    for cell in templates.cells:
        assert 60 < np.sqrt(cell.mask.sum() * 4 / np.pi) < 140
    scene = compose(prepare(templates, SceneSettings(canvas=750, cells=(12, 12))), 0, 0)
    assert scene.image[scene.mask == 1].mean() < scene.image[scene.mask == 0].mean() - 60


# Objects lifted off a smear whose truth is known.


SIDE = 260


def cell(row: int, column: int, radius: int) -> np.ndarray:
    rows, columns = np.ogrid[:SIDE, :SIDE]
    return np.hypot(rows - row, columns - column) <= radius


def slide(*cells: tuple[int, int, int], boxed: int | None = None) -> Smear:
    """Draw round cells on grainy glass; the first ``boxed`` of them have boxes."""
    rng = np.random.default_rng(0)
    image = (
        np.array((224, 222, 216))
        + ndimage.gaussian_filter(8 * rng.standard_normal((SIDE, SIDE)), 1.0)[..., None]
    )
    for at, (row, column, radius) in enumerate(cells):
        soft = ndimage.gaussian_filter(cell(row, column, radius).astype(float), 1.2)[..., None]
        image = (1 - soft) * image + soft * (np.array((120, 90, 150)) - 15 * at)
    boxes = [Box(r - s, c - s, r + s + 1, c + s + 1) for r, c, s in cells[:boxed]]
    picture = np.rint(image).astype(np.uint8)
    return Smear.of(picture, boxes, free_pixels(picture, boxes), np.random.default_rng(1))


def overlap(mask: np.ndarray, truth: np.ndarray) -> float:
    """Return the IoU of a template's mask and its truth, cut to the same window."""
    return float((mask & truth).sum() / (mask | truth).sum())


def window(one: Smear, box: Box) -> tuple[slice, slice]:
    return box.grown(14, *one.free.shape).slices


def test_isolated_cell_is_cut_along_its_outline() -> None:
    one = slide((120, 130, 30))
    box = one.boxes[0]
    template = one.lift("cell-1", box)
    assert overlap(template.mask, cell(120, 130, 30)[window(one, box)]) > 0.95
    assert one.crowding(box) == (False, 0.0)
    outside = ndimage.binary_dilation(template.mask, iterations=6)
    assert np.abs(template.image[~outside].astype(int) - (224, 222, 216)).max() < 25


def test_touching_cells_are_separated_along_the_rim() -> None:
    one = slide((120, 100, 30), (120, 158, 30))
    for at, column in enumerate((100, 158)):
        template = one.lift("cell", one.boxes[at])
        assert overlap(template.mask, cell(120, column, 30)[window(one, one.boxes[at])]) > 0.9


def test_cell_touching_an_unannotated_one_is_rounded() -> None:
    one = slide((120, 100, 30), (120, 140, 30), boxed=1)
    template = one.lift("cell", one.boxes[0])
    assert overlap(template.mask, cell(120, 100, 30)[window(one, one.boxes[0])]) > 0.9


def test_crowding_increases_with_the_neighbour() -> None:
    shares = [slide((120, 90, 30), (120, 90 + gap, 30)) for gap in (90, 50, 25)]
    values = [one.crowding(one.boxes[0])[1] for one in shares]
    assert values[0] == 0.0
    assert values[0] < values[1] < values[2]


def test_cell_at_the_border_is_cut_off() -> None:
    one = slide((20, 130, 30), (150, 130, 30))
    edge = Box(0, 100, 51, 161)
    assert one.cut_off(edge)
    assert not one.cut_off(one.boxes[1])


def test_pieces_are_kept_only_for_artifacts() -> None:
    one = slide((80, 100, 14), (80, 140, 8), boxed=0)
    box = Box(60, 80, 100, 155)
    assert ndimage.label(one.lift("cell", box).mask)[1] == 1
    assert ndimage.label(one.lift("artifact", box, pieces=True).mask)[1] == 2


def test_box_on_empty_glass_is_refused() -> None:
    one = slide((120, 130, 30))
    with pytest.raises(SourceError, match="template cell: nothing in it stands out"):
        one.lift("cell", Box(10, 10, 50, 50))
