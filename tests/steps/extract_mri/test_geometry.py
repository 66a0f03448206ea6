from __future__ import annotations

from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from nibabel.orientations import apply_orientation, inv_ornt_aff

from skiptool.errors import SourceError
from skiptool.sources.volumes.nifti import open_volume, read_frames
from skiptool.steps.extract_mri.geometry import fit
from volume_cases import affine, cine, heart, image_of, save


def notes(folder: Path, labels: Any, matrix: Any = None) -> list[str]:  # noqa: ANN401
    image = save(folder / "i.nii.gz", image_of(heart()))
    return fit(open_volume(image), open_volume(save(folder / "m.nii.gz", labels, matrix)))[1]


def moved(millimetres: float) -> Any:  # noqa: ANN401
    found = affine()
    found[0, 3] += millimetres
    return found


def test_a_mask_of_its_image_needs_no_note(tmp_path: Path) -> None:
    assert notes(tmp_path, heart()) == []
    assert notes(tmp_path, heart(), moved(0.7)) == []  # half a voxel is 0.75 mm


@pytest.mark.parametrize("shape", [(40, 40, 2), (40, 39, 3), (3, 40, 41)])
def test_another_shape_is_refused(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    words = f"mask is {shape[0]} x {shape[1]} x {shape[2]} voxels, its image 40 x 40 x 3 voxels"
    with pytest.raises(SourceError, match=f"m.nii.gz: {words}"):
        notes(tmp_path, np.zeros(shape, dtype=np.uint8))


def test_other_numbers_of_frames_are_refused(tmp_path: Path) -> None:
    image, _ = cine(tmp_path, "a")
    _, mask = cine(tmp_path, "b", frames=4)
    with pytest.raises(SourceError, match="40 x 40 x 3 x 4 voxels, its image 40 x 40 x 3 x 5"):
        fit(open_volume(image), open_volume(mask))


def test_another_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"up to 12 mm beside its image \(i\.nii\.gz\)"):
        notes(tmp_path, heart(), moved(12.0))


TURNS = [np.array(turn) for turn in product(permutations(range(3)), product((1, -1), repeat=3))]


@pytest.mark.parametrize("turn", TURNS, ids=str)
def test_a_mask_that_is_stored_another_way_round_is_turned(tmp_path: Path, turn: Any) -> None:  # noqa: ANN401
    """Programs that save masks turn them to axes of their own; the header says how."""
    labels = heart()
    labels[:7, :5, 0] = 1  # so that no two turns of it are alike
    image = open_volume(save(tmp_path / "i.nii.gz", image_of(labels)))
    values, matrix = (
        apply_orientation(labels, turn.T),
        affine() @ inv_ornt_aff(turn.T, labels.shape),
    )
    mask, notes = fit(image, open_volume(save(tmp_path / "m.nii.gz", values, matrix)))
    (found,) = read_frames(mask, (0,))
    assert np.array_equal(found, labels)
    unturned = (turn.T == [[0, 1], [1, 1], [2, 1]]).all()
    assert [line.endswith("it is reoriented by its header") for line in notes] == [True] * (
        not unturned
    )


def test_a_mask_whose_header_says_nothing_is_noted(tmp_path: Path) -> None:
    (line,) = notes(tmp_path, heart(), np.eye(4))
    assert "its affine is the identity" in line
    assert line.endswith("it is laid over its image voxel by voxel")


def test_what_is_odd_about_the_header_of_the_mask_is_noted(tmp_path: Path) -> None:
    image = open_volume(save(tmp_path / "i.nii.gz", image_of(heart())))
    mask = nibabel.Nifti1Image(heart(), affine())
    mask.set_sform(affine(), 1)
    mask.set_qform(moved(25.0), 1)
    mask.to_filename(tmp_path / "m.nii.gz")
    _, (line,) = fit(image, open_volume(tmp_path / "m.nii.gz"))
    assert line.endswith("m.nii.gz: sform and qform disagree by 25 mm; the sform is used")
