"""Templates as a folder: complete or refused, read as they were written, told apart by pixels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from skiptool.errors import ArgumentError, SourceError
from skiptool.sources.pictures.files import read_picture, write_picture
from skiptool.sources.smear.templates import (
    INFECTED,
    Box,
    LabelledBox,
    Template,
    Templates,
    frame_colour,
    load_templates,
    object_mask,
    read_boxes,
    save_templates,
    segment_stain,
)


def picture(depth: int, side: int = 24) -> np.ndarray:
    image = np.full((side, side + 2, 3), 220, np.uint8)
    image[6:-6, 8:-8] -= np.uint8(depth)
    return image


def templates(cells: int = 3, backgrounds: int = 1) -> Templates:
    return Templates(
        tuple(np.full((30, 20, 3), 200 + at, np.uint8) for at in range(backgrounds)),
        tuple(Template.from_picture(f"cell-{at}", picture(90 + at)) for at in range(cells)),
        (Template.from_picture("artifact", picture(150), pieces=True),),
    )


@pytest.mark.parametrize(("cells", "backgrounds"), [(1, 1), (3, 2), (11, 1)])
def test_saved_templates_round_trip(tmp_path: Path, cells: int, backgrounds: int) -> None:
    saved = templates(cells, backgrounds)
    save_templates(saved, tmp_path / "t")
    found = load_templates(tmp_path / "t")
    assert found.digest == saved.digest
    for mine, theirs in zip(found.cells, saved.cells, strict=True):
        assert np.array_equal(mine.image, theirs.image)
        assert np.array_equal(mine.mask, theirs.mask)


def test_digest_depends_only_on_pixels_and_roles() -> None:
    first, second = templates(), templates()
    assert first.digest == second.digest
    swapped = Templates(first.backgrounds, first.cells[::-1], first.artifacts)
    moved = Templates(first.backgrounds, first.cells, first.cells[:1])
    assert len({first.digest, swapped.digest, moved.digest, templates(2).digest}) == 4


@pytest.mark.parametrize("kind", ["background", "cell", "artifact"])
def test_missing_kind_is_named(tmp_path: Path, kind: str) -> None:
    save_templates(templates(), tmp_path / "t")
    for path in (tmp_path / "t").glob(f"{kind}*.png"):
        path.unlink()
    with pytest.raises(SourceError, match=rf"t: no {kind}\*\.png among its files"):
        load_templates(tmp_path / "t")


def test_pictures_without_object_are_named(tmp_path: Path) -> None:
    save_templates(templates(), tmp_path / "t")
    write_picture(tmp_path / "t" / "cell-9.png", np.full((20, 20, 3), 210, np.uint8))
    with pytest.raises(SourceError, match="template cell-9: nothing in it stands out"):
        load_templates(tmp_path / "t")
    write_picture(tmp_path / "t" / "cell-9.png", np.full((4, 20, 3), 210, np.uint8))
    with pytest.raises(SourceError, match="template cell-9: 20 x 4 pixels; expected at least"):
        load_templates(tmp_path / "t")


def test_unusable_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="none: no such folder"):
        load_templates(tmp_path / "none")
    save_templates(templates(), tmp_path / "t")
    with pytest.raises(ArgumentError, match="already contains templates"):
        save_templates(templates(), tmp_path / "t")
    with pytest.raises(ArgumentError, match="create it first"):
        save_templates(templates(), tmp_path / "none" / "t")
    with pytest.raises(ArgumentError, match="0 backgrounds, 3 cells, 1 artifacts"):
        Templates((), templates().cells, templates().artifacts)


def test_shipped_templates_are_three_cells_three_artifacts_and_a_background() -> None:
    shipped = load_templates()
    assert (len(shipped.backgrounds), len(shipped.cells), len(shipped.artifacts)) == (1, 3, 3)
    background = shipped.backgrounds[0]
    assert 200 <= background.mean() <= 225
    assert background.max() < 245
    for cell in shipped.cells:
        assert 110 <= np.sqrt(cell.mask.sum() * 4 / np.pi) <= 150


def test_saved_file_is_a_plain_picture(tmp_path: Path) -> None:
    saved = templates()
    save_templates(saved, tmp_path / "t")
    assert sorted(path.name for path in (tmp_path / "t").iterdir()) == [
        "artifact.png",
        "background.png",
        "cell-1.png",
        "cell-2.png",
        "cell-3.png",
    ]
    assert np.array_equal(read_picture(tmp_path / "t" / "cell-2.png"), saved.cells[1].image)


# Annotations of BBBC041: both forms are read, what is damaged is named.


PICTURE = Path("folder") / "a.png"


def item(top: int, left: int, bottom: int, right: int, category: str = "ring") -> dict[str, Any]:
    corners = {"minimum": {"r": top, "c": left}, "maximum": {"r": bottom, "c": right}}
    return {"category": category, "bounding_box": corners}


def written(folder: Path, content: object) -> Path:
    path = folder / "training.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize(
    "image",
    [
        "a.png",
        "a.jpg",
        {"pathname": "/images/a.png"},
        {"pathname": "/images/a.jpg", "shape": {"r": 50, "c": 60, "channels": 3}},
        {"pathname": "images\\a.png", "checksum": "0"},
    ],
)
def test_picture_is_found_by_its_name(tmp_path: Path, image: object) -> None:
    content = [
        {"image": "b.png", "objects": [item(0, 0, 9, 9)]},
        {"image": image, "objects": [item(1, 2, 11, 22), item(40, 50, 70, 80, "difficult")]},
    ]
    assert read_boxes(written(tmp_path, content), PICTURE, 50, 60) == [
        LabelledBox(Box(1, 2, 11, 22), "ring"),
        LabelledBox(Box(40, 50, 50, 60), "difficult"),
    ]


def test_full_name_takes_precedence_over_the_stem(tmp_path: Path) -> None:
    content = [
        {"image": "a.jpg", "objects": [item(0, 0, 9, 9)]},
        {"image": "a.png", "objects": [item(1, 1, 5, 5)]},
    ]
    assert [one.box for one in read_boxes(written(tmp_path, content), PICTURE, 9, 9)] == [
        Box(1, 1, 5, 5)
    ]


def test_boxes_are_clipped_and_empty_ones_dropped(tmp_path: Path) -> None:
    objects = [item(-5, -2, 4, 4), item(9, 9, 20, 20), item(3, 3, 3, 8), item(8, 8, 2, 2)]
    path = written(tmp_path, [{"image": "a.png", "objects": objects}])
    assert [one.box for one in read_boxes(path, PICTURE, 9, 9)] == [Box(0, 0, 4, 4)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[{", "is not valid JSON"),
        ({"image": "a.png"}, "is not a list of objects"),
        ([3], "is not a list of objects"),
        ([{"objects": []}], "entry 0: its image has no name"),
        ([{"image": "b.png", "objects": []}], "a.png is not among its 1 pictures"),
        ([{"image": "a.png"}], r"entry 0 \(a.png\): has no list of objects"),
        ([{"image": "a.png", "objects": [{"category": "ring"}]}], "without category or box"),
        ([{"image": "a.png", "objects": ["ring"]}], "without category or box"),
        (
            [{"image": {"pathname": "a.png", "shape": {"r": 5, "c": 6}}, "objects": []}],
            "annotates 6 x 5 pixels, the picture has 60 x 50",
        ),
    ],
)
def test_malformed_annotations_give_one_line(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        read_boxes(written(tmp_path, content), PICTURE, 50, 60)
    assert "training.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_or_binary_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"none\.json: cannot be read"):
        read_boxes(tmp_path / "none.json", PICTURE, 5, 5)
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\x00[")
    with pytest.raises(SourceError, match=r"b\.json: is not valid JSON"):
        read_boxes(tmp_path / "b.json", PICTURE, 5, 5)


@given(*(st.tuples(*[st.integers(0, 12)] * 4) for _ in range(2)))
def test_boxes_meet_if_they_share_a_pixel(
    one: tuple[int, int, int, int], two: tuple[int, int, int, int]
) -> None:
    first, second = Box(*one), Box(*two)

    def pixels(box: Box) -> set[tuple[int, int]]:
        return {(r, c) for r in range(box.top, box.bottom) for c in range(box.left, box.right)}

    if pixels(first) and pixels(second):
        assert first.meets(second) == bool(pixels(first) & pixels(second))


def test_real_annotations(shared_data: Path) -> None:
    folder = shared_data / "bbbc041"
    expected = {"1f8f": (69, 1), "1fdf": (84, 4), "2bed": (63, 2), "3270": (46, 1)}
    for picture in sorted((folder / "images").iterdir()):
        found = read_boxes(folder / "training_subset.json", picture, 1200, 1600)
        infected = [one for one in found if one.category in INFECTED]
        assert (len(found), len(infected)) == expected[picture.name[:4]]
        if picture.name.startswith("2bed"):
            bare = read_boxes(folder / "hshap_annotations.json", picture, 1200, 1600)
            assert {one.box for one in bare} == {one.box for one in infected}


# The threshold behind templates, on drawings whose outline is known.


GLASS = (220, 218, 212)


def drawn(objects: np.ndarray, depth: tuple[int, int, int], blur: float = 0.0) -> np.ndarray:
    """Lay a soft-edged object of some depth on glass."""
    amount = ndimage.gaussian_filter(objects.astype(float), blur)[..., None]
    return np.rint(np.array(GLASS) - amount * np.array(depth)).astype(np.uint8)


def disc(side: int, radius: float, row: float = 0.0, column: float = 0.0) -> np.ndarray:
    line = np.arange(side) - (side - 1) / 2
    return np.hypot(line[:, None] - row, line[None, :] - column) <= radius


def test_frame_gives_the_background_colour() -> None:
    image = drawn(disc(40, 12), (90, 90, 60))
    assert frame_colour(image).tolist() == list(GLASS)


@given(st.integers(5, 14), st.integers(30, 200), st.floats(0.0, 2.0))
def test_outline_is_found_at_any_depth_and_blur(radius: int, depth: int, blur: float) -> None:
    truth = disc(48, radius)
    found = object_mask(drawn(truth, (depth, depth, depth // 2), blur))
    inside = ndimage.binary_erosion(truth, iterations=2)
    outside = ~ndimage.binary_dilation(truth, iterations=2)
    assert found[inside].all()
    assert not found[outside].any()


def test_dark_parasite_does_not_hide_its_pale_cell() -> None:
    cell, parasite = disc(60, 22), disc(60, 9, 4, -5)
    image = drawn(cell, (45, 40, 30))
    image[parasite] = (60, 20, 90)
    assert np.array_equal(object_mask(image), cell)


def test_holes_are_filled() -> None:
    ring = disc(50, 18) & ~disc(50, 9)
    assert np.array_equal(object_mask(drawn(ring, (80, 120, 60))), disc(50, 18))


def test_cell_is_the_largest_piece_and_artifact_all_but_specks() -> None:
    large, small, speck = disc(70, 12, -15, -15), disc(70, 6, 18, 18), disc(70, 1, 20, -20)
    image = drawn(large | small | speck, (100, 140, 60))
    assert np.array_equal(object_mask(image), large)
    assert np.array_equal(object_mask(image, pieces=True), large | small)


def test_glare_around_a_dark_cell_is_excluded() -> None:
    cell, glare = disc(80, 20), disc(80, 30)
    image = drawn(glare, (28, 28, 20))
    image[cell] = (60, 60, 110)
    assert np.array_equal(object_mask(image), cell)


@pytest.mark.parametrize("noise", [0, 5])
def test_empty_glass_has_no_object(noise: int) -> None:
    rng = np.random.default_rng(0)
    image = (np.array(GLASS) + rng.integers(-noise, noise + 1, (30, 30, 3))).astype(np.uint8)
    assert not segment_stain(image, np.array(GLASS, np.uint8)).any()
    assert not object_mask(image).any()
    assert not object_mask(image, pieces=True).any()
