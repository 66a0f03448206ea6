from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from skiptool.records import SILENT
from skiptool.sources.volumes.manifest import Frame, VolumeRow
from skiptool.steps.extract_mri.settings import SliceSettings
from skiptool.steps.extract_mri.survey import Surveyed, survey
from volume_cases import SIDE, affine, cine, heart, image_of, save

BOTH = (Frame(0, "ED"), Frame(3, "ES"))


def look(row: VolumeRow, **asked: Any) -> Surveyed:  # noqa: ANN401
    volumes, failures = survey([row], SliceSettings(**asked), 1, SILENT)
    assert failures == []
    return volumes[0]


def fail(row: VolumeRow, **asked: Any) -> str:  # noqa: ANN401
    volumes, failures = survey([row], SliceSettings(**asked), 1, SILENT)
    assert volumes == []
    return failures[0]


def pair(folder: Path, **columns: Any) -> VolumeRow:  # noqa: ANN401
    image, mask = cine(folder, "a")
    return VolumeRow(image, mask, "A", "p0", **columns)


def single(folder: Path, labels: Any, matrix: Any = None, **columns: Any) -> VolumeRow:  # noqa: ANN401
    image = save(folder / "i.nii.gz", image_of(heart()))
    return VolumeRow(image, save(folder / "m.nii.gz", labels, matrix), "A", "p0", **columns)


def test_only_frames_with_labels_are_taken(tmp_path: Path) -> None:
    found = look(pair(tmp_path))
    assert [frame.number for frame in found.frames] == [0, 3] == sorted(found.labelled)
    assert found.grid == (3, SIDE, SIDE)
    assert found.voxels.tolist() == (2 * np.bincount(heart().ravel())).tolist()
    assert found.whole.tolist() == found.kept.tolist() == found.voxels.tolist()
    assert found.ids[0] == "a_sa-f000-s000"
    assert found.ids[-1] == "a_sa-f003-s002"
    assert len(found.ids) == 6
    assert found.spacing == pytest.approx((8.0, 1.5, 1.5))


def test_a_volume_is_not_its_own_mask(tmp_path: Path) -> None:
    row = single(tmp_path, heart())
    line = fail(VolumeRow(tmp_path / "m.nii.gz", row.mask, "A", "p0"))
    assert "m.nii.gz: is given both as image and as mask" in line


def test_named_frames_have_their_phase(tmp_path: Path) -> None:
    assert look(pair(tmp_path, frames=BOTH)).frames == BOTH
    only = look(pair(tmp_path, frames=BOTH[1:]))
    assert only.frames == BOTH[1:]


def test_unlabelled_frames_can_be_kept(tmp_path: Path) -> None:
    found = look(pair(tmp_path, frames=BOTH), keep_unlabelled=True)
    assert [str(frame) for frame in found.frames] == ["0 (ED)", "1", "2", "3 (ES)", "4"]
    assert sorted(found.labelled) == [0, 3]


def test_a_volume_without_mask_has_no_frames_unless_they_are_kept(tmp_path: Path) -> None:
    image, _ = cine(tmp_path, "a")
    bare = VolumeRow(image, None, "A", "p0", BOTH)
    assert look(bare).frames == ()
    kept = look(bare, keep_unlabelled=True)
    assert len(kept.frames) == 5
    assert kept.labelled == frozenset()


def test_a_named_frame_without_label_is_noted(tmp_path: Path) -> None:
    found = look(pair(tmp_path, frames=(Frame(0, "ED"), Frame(2, "ES"))))
    assert [frame.number for frame in found.frames] == [0]
    assert found.notes[0].endswith("a_sa_gt.nii.gz: frame 2 (ES) holds no label")


def test_no_label_in_any_frame_is_a_failure(tmp_path: Path) -> None:
    image, mask = cine(tmp_path, "a", labelled=())
    assert "no frame holds a label" in fail(VolumeRow(image, mask, "A", "p"))
    named = VolumeRow(image, mask, "A", "p", BOTH)
    assert "no frame of 0 (ED), 3 (ES) holds a label" in fail(named)
    assert len(look(named, keep_unlabelled=True).frames) == 5


def test_a_mask_of_one_frame_is_of_the_frame_that_is_named(tmp_path: Path) -> None:
    image, _ = cine(tmp_path, "a")
    mask = save(tmp_path / "ed.nii.gz", heart())
    found = look(VolumeRow(image, mask, "A", "p", (Frame(2, "ED"),)))
    assert found.frames == (Frame(2, "ED"),)
    assert found.voxels[1:].tolist() == np.bincount(heart().ravel())[1:].tolist()
    line = fail(VolumeRow(image, mask, "A", "p"))
    assert "ed.nii.gz: labels one frame, its image has 5; say in the column frames" in line


def test_a_volume_of_one_frame_keeps_the_number_it_is_given(tmp_path: Path) -> None:
    assert look(single(tmp_path, heart())).frames == (Frame(0),)
    assert look(single(tmp_path, heart(), frames=(Frame(22, "ED"),))).ids[0] == "i-f022-s000"
    assert "has one frame, 2 are named" in fail(single(tmp_path, heart(), frames=BOTH))


def test_an_empty_mask_of_one_frame_says_that_nothing_is_there(tmp_path: Path) -> None:
    found = look(single(tmp_path, np.zeros_like(heart())))
    assert found.labelled == {0}


def test_frames_beyond_the_last_are_a_failure(tmp_path: Path) -> None:
    line = fail(pair(tmp_path, frames=(Frame(0, "ED"), Frame(30, "ES"))))
    assert "a_sa.nii.gz: has no frame 30 (ES), it has 0 to 4" in line


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (heart(SIDE, SIDE, 2), "m.nii.gz: mask is 40 x 40 x 2 voxels, its image 40 x 40 x 3"),
        (heart() * (4 / 3.0), "m.nii.gz: mask holds 2.66667 ("),
        (heart() / 2.0, "m.nii.gz: mask holds 1.5 (450 voxels are no whole number)"),
        (np.where(heart() == 3, 4, heart()).astype(np.uint8), "m.nii.gz: mask holds value 4"),
        (heart().astype(np.int16) - 1, "m.nii.gz: mask holds -1"),
    ],
)
def test_masks_that_cannot_be_used(tmp_path: Path, labels: Any, words: str) -> None:  # noqa: ANN401
    assert words in fail(single(tmp_path, labels))


def test_labels_of_another_map(tmp_path: Path) -> None:
    found = look(single(tmp_path, heart()), labels={1: "RV", 2: "MYO", 3: "LV"})
    assert found.voxels.tolist() == np.bincount(heart().ravel())[[0, 3, 2, 1]].tolist()


def test_a_mask_whose_header_says_nothing_is_laid_voxel_by_voxel(tmp_path: Path) -> None:
    found = look(single(tmp_path, heart(), np.eye(4)))
    (note,) = found.notes
    assert note.endswith("it is laid over its image voxel by voxel")
    assert found.voxels.sum() == heart().size


def test_an_image_whose_header_says_nothing_is_taken_as_stored(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(image_of(heart()), None)
    image.to_filename(tmp_path / "i.nii.gz")
    mask = save(tmp_path / "m.nii.gz", heart())
    found = look(VolumeRow(tmp_path / "i.nii.gz", mask, "A", "p"))
    assert (found.view.codes, found.view.through, found.view.rows) == ("", 2, 1)
    assert "says nothing of its orientation" in found.notes[0]


@pytest.mark.parametrize("matrix", ["placed", "nothing"])
@pytest.mark.parametrize("shape", [(40, 36, 1), (40, 1, 36), (1, 40, 36), (40, 36)])
def test_one_slice_is_one_sample(tmp_path: Path, shape: tuple[int, ...], matrix: str) -> None:
    """Spacings mislead there: pixels of 2.5 mm, slices 1 mm thick."""
    labels = np.random.default_rng(0).integers(0, 4, shape, dtype=np.uint8)
    steps = [1.0 if n == 1 else 2.5 for n in (*shape, 1)[:3]]
    placed = affine(steps) if matrix == "placed" else np.eye(4)
    files = save(tmp_path / "i.nii.gz", image_of(labels), placed), tmp_path / "m.nii.gz"
    found = look(VolumeRow(files[0], save(files[1], labels, placed), "A", "p"))
    assert found.grid[0] == len(found.ids) == 1
    assert sorted(found.grid[1:]) == [36, 40]
    assert found.voxels.tolist() == np.bincount(labels.ravel()).tolist()
    assert not any("slices are taken" in note for note in found.notes)


def test_a_guess_of_the_axis_is_noted_and_can_be_decided(tmp_path: Path) -> None:
    labels = heart(40, 36, 30).transpose(2, 0, 1)
    image = save(tmp_path / "i.nii.gz", image_of(labels), affine((8.0, 1.5, 1.5)))
    row = VolumeRow(image, save(tmp_path / "m.nii.gz", labels, affine((8.0, 1.5, 1.5))), "A", "p")
    found = look(row)
    assert (found.view.through, found.grid[0]) == (0, 30)
    (note,) = found.notes
    assert note.startswith(f"{image}: slices are taken along the first axis (30, 8 mm apart)")
    asked = look(row, slice_axes={"A": 2, "": 1})
    assert (asked.view.through, asked.grid[0], asked.notes) == (1, 40, ())


def test_cropping_is_counted(tmp_path: Path) -> None:
    labels = np.roll(heart(), (-10, 9), axis=(0, 1))  # the right ventricle beyond the edge
    found = look(single(tmp_path, labels), sizes={"A": 32})
    assert found.voxels.tolist() == found.whole.tolist() == np.bincount(labels.ravel()).tolist()
    inside = found.view.apply(labels)[:, 4:36, 4:36]
    assert found.kept.tolist() == np.bincount(inside.ravel(), minlength=4).tolist()
    assert (found.kept[1:] < found.whole[1:]).any()


def test_resampling_changes_the_grid_and_the_pixels(tmp_path: Path) -> None:
    found = look(single(tmp_path, heart()), spacing=3.0)
    assert found.grid == (3, 20, 20)
    assert found.voxels.sum() == heart().size
    assert found.whole.sum() == 3 * 20 * 20


def test_files_of_one_name_are_told_apart_by_subject(tmp_path: Path) -> None:
    rows = []
    for name in ("p0", "p1"):
        (tmp_path / name).mkdir()
        image = save(tmp_path / name / "image.nii.gz", image_of(heart()))
        rows.append(VolumeRow(image, save(tmp_path / name / "m.nii.gz", heart()), "A", name))
    volumes, failures = survey(rows, SliceSettings(), 1, SILENT)
    assert failures == []
    assert [volume.name for volume in volumes] == ["p0-image", "p1-image"]
    volumes, (line,) = survey([rows[0], rows[0]], SliceSettings(), 1, SILENT)
    assert len(volumes) == 1
    assert "has the same name as" in line


def test_failures_leave_the_others(tmp_path: Path) -> None:
    good = pair(tmp_path)
    gone = VolumeRow(tmp_path / "gone.nii.gz", None, "A", "p1")
    volumes, failures = survey([gone, good, gone], SliceSettings(), 2, SILENT)
    assert [volume.row for volume in volumes] == [good]
    assert len(failures) == 2
    assert failures[0].endswith("gone.nii.gz: no such file; check the path")
