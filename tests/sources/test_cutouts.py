"""Templates as a folder: complete or refused, read as they were written, told apart by pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from skiptool.errors import ArgumentError, SourceError
from skiptool.sources.cutouts import Template, Templates, load_templates, save_templates
from skiptool.sources.pictures import read_picture, write_picture


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
def test_a_folder_gives_back_what_was_saved(tmp_path: Path, cells: int, backgrounds: int) -> None:
    saved = templates(cells, backgrounds)
    save_templates(saved, tmp_path / "t")
    found = load_templates(tmp_path / "t")
    assert found.digest == saved.digest
    for mine, theirs in zip(found.cells, saved.cells, strict=True):
        assert np.array_equal(mine.image, theirs.image)
        assert np.array_equal(mine.mask, theirs.mask)


def test_the_digest_follows_pixels_and_roles_alone() -> None:
    first, second = templates(), templates()
    assert first.digest == second.digest
    swapped = Templates(first.backgrounds, first.cells[::-1], first.artifacts)
    moved = Templates(first.backgrounds, first.cells, first.cells[:1])
    assert len({first.digest, swapped.digest, moved.digest, templates(2).digest}) == 4


@pytest.mark.parametrize("kind", ["background", "cell", "artifact"])
def test_a_missing_kind_is_named(tmp_path: Path, kind: str) -> None:
    save_templates(templates(), tmp_path / "t")
    for path in (tmp_path / "t").glob(f"{kind}*.png"):
        path.unlink()
    with pytest.raises(SourceError, match=rf"t: no {kind}\*\.png among its files"):
        load_templates(tmp_path / "t")


def test_pictures_that_show_no_object_are_named(tmp_path: Path) -> None:
    save_templates(templates(), tmp_path / "t")
    write_picture(tmp_path / "t" / "cell-9.png", np.full((20, 20, 3), 210, np.uint8))
    with pytest.raises(SourceError, match="template cell-9: nothing in it stands out"):
        load_templates(tmp_path / "t")
    write_picture(tmp_path / "t" / "cell-9.png", np.full((4, 20, 3), 210, np.uint8))
    with pytest.raises(SourceError, match="template cell-9: 20 x 4 pixels; expected at least"):
        load_templates(tmp_path / "t")


def test_folders_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="none: no such folder"):
        load_templates(tmp_path / "none")
    save_templates(templates(), tmp_path / "t")
    with pytest.raises(ArgumentError, match="already holds templates"):
        save_templates(templates(), tmp_path / "t")
    with pytest.raises(ArgumentError, match="create it first"):
        save_templates(templates(), tmp_path / "none" / "t")
    with pytest.raises(ArgumentError, match="0 backgrounds, 3 cells, 1 artifacts"):
        Templates((), templates().cells, templates().artifacts)


def test_the_shipped_templates_are_three_cells_three_artifacts_and_a_background() -> None:
    shipped = load_templates()
    assert (len(shipped.backgrounds), len(shipped.cells), len(shipped.artifacts)) == (1, 3, 3)
    background = shipped.backgrounds[0]
    assert 200 <= background.mean() <= 225
    assert background.max() < 245
    for cell in shipped.cells:
        assert 110 <= np.sqrt(cell.mask.sum() * 4 / np.pi) <= 150


def test_a_saved_file_is_a_plain_picture(tmp_path: Path) -> None:
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
