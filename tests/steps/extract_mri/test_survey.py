"""Survey of volumes: frames, masks, labels, orientation, splits, slices."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibabel.orientations import apply_orientation, inv_ornt_aff

from heard import Heard
from skiptool.errors import ArgumentError, SourceError
from skiptool.names import Split
from skiptool.records import SILENT
from skiptool.sources.volumes.manifest import Frame, VolumeRow
from skiptool.sources.volumes.nifti import Volume, open_volume, read_frames
from skiptool.sources.volumes.orientation import choose_view, stored_view
from skiptool.splits import SplitOptions
from skiptool.steps.extract_mri.extract_mri import assign_subjects
from skiptool.steps.extract_mri.settings import SliceSettings
from skiptool.steps.extract_mri.survey import (
    SurveyedVolume,
    image_slices,
    label_slices,
    match_mask,
    resample_slices,
    survey_volumes,
)
from volume_cases import SIDE, affine, cine, heart, image_of, save

BOTH = (Frame(0, "ED"), Frame(3, "ES"))


def look(row: VolumeRow, **asked: Any) -> SurveyedVolume:  # noqa: ANN401
    volumes, failures = survey_volumes([row], SliceSettings(**asked), 1, SILENT)
    assert failures == []
    return volumes[0]


def fail(row: VolumeRow, **asked: Any) -> str:  # noqa: ANN401
    volumes, failures = survey_volumes([row], SliceSettings(**asked), 1, SILENT)
    assert volumes == []
    return failures[0]


def pair(folder: Path, **columns: Any) -> VolumeRow:  # noqa: ANN401
    image, mask = cine(folder, "a")
    return VolumeRow(image, mask, "A", "p0", **columns)


def single(folder: Path, labels: Any, matrix: Any = None, **columns: Any) -> VolumeRow:  # noqa: ANN401
    image = save(folder / "i.nii.gz", image_of(heart()))
    return VolumeRow(image, save(folder / "m.nii.gz", labels, matrix), "A", "p0", **columns)


def test_only_labelled_frames_are_extracted(tmp_path: Path) -> None:
    found = look(pair(tmp_path))
    assert [frame.number for frame in found.frames] == [0, 3] == sorted(found.labelled)
    assert found.grid == (3, SIDE, SIDE)
    assert found.voxels.tolist() == (2 * np.bincount(heart().ravel())).tolist()
    assert found.resampled.tolist() == found.stored.tolist() == found.voxels.tolist()
    assert found.ids[0] == "a_sa-f000-s000"
    assert found.ids[-1] == "a_sa-f003-s002"
    assert len(found.ids) == 6
    assert found.spacing == pytest.approx((8.0, 1.5, 1.5))


def test_volume_as_its_own_mask_fails(tmp_path: Path) -> None:
    row = single(tmp_path, heart())
    line = fail(VolumeRow(tmp_path / "m.nii.gz", row.mask, "A", "p0"))
    assert "m.nii.gz: is given both as image and as mask" in line


def test_listed_frames_keep_their_phase(tmp_path: Path) -> None:
    assert look(pair(tmp_path, frames=BOTH)).frames == BOTH
    only = look(pair(tmp_path, frames=BOTH[1:]))
    assert only.frames == BOTH[1:]


def test_unlabelled_frames_can_be_kept(tmp_path: Path) -> None:
    found = look(pair(tmp_path, frames=BOTH), keep_unlabelled=True)
    assert [str(frame) for frame in found.frames] == ["0 (ED)", "1", "2", "3 (ES)", "4"]
    assert sorted(found.labelled) == [0, 3]


def test_volume_without_mask_has_no_frames_unless_kept(tmp_path: Path) -> None:
    image, _ = cine(tmp_path, "a")
    bare = VolumeRow(image, None, "A", "p0", BOTH)
    assert look(bare).frames == ()
    kept = look(bare, keep_unlabelled=True)
    assert len(kept.frames) == 5
    assert kept.labelled == frozenset()


def test_listed_frame_without_label_is_noted(tmp_path: Path) -> None:
    found = look(pair(tmp_path, frames=(Frame(0, "ED"), Frame(2, "ES"))))
    assert [frame.number for frame in found.frames] == [0]
    assert found.notes[0].endswith("a_sa_gt.nii.gz: frame 2 (ES) holds no label")


def test_mask_without_labels_fails(tmp_path: Path) -> None:
    image, mask = cine(tmp_path, "a", labelled=())
    assert "no frame holds a label" in fail(VolumeRow(image, mask, "A", "p"))
    named = VolumeRow(image, mask, "A", "p", BOTH)
    assert "no frame of 0 (ED), 3 (ES) holds a label" in fail(named)
    assert len(look(named, keep_unlabelled=True).frames) == 5


def test_mask_of_one_frame_belongs_to_the_listed_frame(tmp_path: Path) -> None:
    image, _ = cine(tmp_path, "a")
    mask = save(tmp_path / "ed.nii.gz", heart())
    found = look(VolumeRow(image, mask, "A", "p", (Frame(2, "ED"),)))
    assert found.frames == (Frame(2, "ED"),)
    assert found.voxels[1:].tolist() == np.bincount(heart().ravel())[1:].tolist()
    line = fail(VolumeRow(image, mask, "A", "p"))
    assert "ed.nii.gz: labels one frame, its image has 5; say in the column frames" in line


def test_volume_of_one_frame_keeps_its_listed_number(tmp_path: Path) -> None:
    assert look(single(tmp_path, heart())).frames == (Frame(0),)
    assert look(single(tmp_path, heart(), frames=(Frame(22, "ED"),))).ids[0] == "i-f022-s000"
    assert "has one frame, 2 are named" in fail(single(tmp_path, heart(), frames=BOTH))


def test_empty_mask_of_one_frame_counts_as_labelled(tmp_path: Path) -> None:
    found = look(single(tmp_path, np.zeros_like(heart())))
    assert found.labelled == {0}


def test_frames_out_of_range_fail(tmp_path: Path) -> None:
    line = fail(pair(tmp_path, frames=(Frame(0, "ED"), Frame(30, "ES"))))
    assert "a_sa.nii.gz: has no frame 30 (ES), it has 0 to 4" in line


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (heart(SIDE, SIDE, 2), "m.nii.gz: mask is 40 x 40 x 2 voxels, its image 40 x 40 x 3"),
        (heart() * (4 / 3.0), "m.nii.gz: mask contains 2.66667 ("),
        (heart() / 2.0, "m.nii.gz: mask contains 1.5 (450 voxels are not integers)"),
        (np.where(heart() == 3, 4, heart()).astype(np.uint8), "m.nii.gz: mask contains value 4"),
        (heart().astype(np.int16) - 1, "m.nii.gz: mask contains -1"),
    ],
)
def test_unusable_masks_fail(tmp_path: Path, labels: Any, words: str) -> None:  # noqa: ANN401
    assert words in fail(single(tmp_path, labels))


def test_labels_are_mapped(tmp_path: Path) -> None:
    found = look(single(tmp_path, heart()), labels={1: "RV", 2: "MYO", 3: "LV"})
    assert found.voxels.tolist() == np.bincount(heart().ravel())[[0, 3, 2, 1]].tolist()


def test_mask_without_orientation_is_laid_over_voxel_by_voxel(tmp_path: Path) -> None:
    found = look(single(tmp_path, heart(), np.eye(4)))
    (note,) = found.notes
    assert note.endswith("it is laid over its image voxel by voxel")
    assert found.voxels.sum() == heart().size


def test_image_without_orientation_is_used_as_stored(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(image_of(heart()), None)
    image.to_filename(tmp_path / "i.nii.gz")
    mask = save(tmp_path / "m.nii.gz", heart())
    found = look(VolumeRow(tmp_path / "i.nii.gz", mask, "A", "p"))
    assert (found.view.codes, found.view.through, found.view.rows) == ("", 2, 1)
    assert "has no orientation" in found.notes[0]


@pytest.mark.parametrize("matrix", ["placed", "nothing"])
@pytest.mark.parametrize("shape", [(40, 36, 1), (40, 1, 36), (1, 40, 36), (40, 36)])
def test_volume_of_one_slice_is_one_sample(
    tmp_path: Path, shape: tuple[int, ...], matrix: str
) -> None:
    """Spacings are misleading here: pixels of 2.5 mm, slices 1 mm thick."""
    labels = np.random.default_rng(0).integers(0, 4, shape, dtype=np.uint8)
    steps = [1.0 if n == 1 else 2.5 for n in (*shape, 1)[:3]]
    placed = affine(steps) if matrix == "placed" else np.eye(4)
    files = save(tmp_path / "i.nii.gz", image_of(labels), placed), tmp_path / "m.nii.gz"
    found = look(VolumeRow(files[0], save(files[1], labels, placed), "A", "p"))
    assert found.grid[0] == len(found.ids) == 1
    assert sorted(found.grid[1:]) == [36, 40]
    assert found.voxels.tolist() == np.bincount(labels.ravel()).tolist()
    assert not any("slices are taken" in note for note in found.notes)


def test_guessed_axis_is_noted_and_can_be_overridden(tmp_path: Path) -> None:
    labels = heart(40, 36, 30).transpose(2, 0, 1)
    image = save(tmp_path / "i.nii.gz", image_of(labels), affine((8.0, 1.5, 1.5)))
    row = VolumeRow(image, save(tmp_path / "m.nii.gz", labels, affine((8.0, 1.5, 1.5))), "A", "p")
    found = look(row)
    assert (found.view.through, found.grid[0]) == (0, 30)
    (note,) = found.notes
    assert note.startswith(f"{image}: slices are taken along the first axis (30, 8 mm apart)")
    asked = look(row, slice_axes={"A": 2, "": 1})
    assert (asked.view.through, asked.grid[0], asked.notes) == (1, 40, ())


def test_cropped_labels_are_counted(tmp_path: Path) -> None:
    labels = np.roll(heart(), (-10, 9), axis=(0, 1))  # the right ventricle beyond the edge
    found = look(single(tmp_path, labels), sizes={"A": 32})
    assert found.voxels.tolist() == found.resampled.tolist() == np.bincount(labels.ravel()).tolist()
    inside = found.view.apply(labels)[:, 4:36, 4:36]
    assert found.stored.tolist() == np.bincount(inside.ravel(), minlength=4).tolist()
    assert (found.stored[1:] < found.resampled[1:]).any()


def test_resampling_changes_the_grid_and_the_counts(tmp_path: Path) -> None:
    found = look(single(tmp_path, heart()), spacing=3.0)
    assert found.grid == (3, 20, 20)
    assert found.voxels.sum() == heart().size
    assert found.resampled.sum() == 3 * 20 * 20


def test_equal_file_names_are_prefixed_with_the_subject(tmp_path: Path) -> None:
    rows = []
    for name in ("p0", "p1"):
        (tmp_path / name).mkdir()
        image = save(tmp_path / name / "image.nii.gz", image_of(heart()))
        rows.append(VolumeRow(image, save(tmp_path / name / "m.nii.gz", heart()), "A", name))
    volumes, failures = survey_volumes(rows, SliceSettings(), 1, SILENT)
    assert failures == []
    assert [volume.name for volume in volumes] == ["p0-image", "p1-image"]
    volumes, (line,) = survey_volumes([rows[0], rows[0]], SliceSettings(), 1, SILENT)
    assert len(volumes) == 1
    assert "has the same name as" in line


def test_failed_volumes_do_not_stop_the_others(tmp_path: Path) -> None:
    good = pair(tmp_path)
    gone = VolumeRow(tmp_path / "gone.nii.gz", None, "A", "p1")
    volumes, failures = survey_volumes([gone, good, gone], SliceSettings(), 2, SILENT)
    assert [volume.row for volume in volumes] == [good]
    assert len(failures) == 2
    assert failures[0].endswith("gone.nii.gz: no such file; check the path")


def notes(folder: Path, labels: Any, matrix: Any = None) -> list[str]:  # noqa: ANN401
    image = save(folder / "i.nii.gz", image_of(heart()))
    return match_mask(open_volume(image), open_volume(save(folder / "m.nii.gz", labels, matrix)))[1]


def moved(millimetres: float) -> Any:  # noqa: ANN401
    found = affine()
    found[0, 3] += millimetres
    return found


def test_aligned_mask_has_no_notes(tmp_path: Path) -> None:
    assert notes(tmp_path, heart()) == []
    assert notes(tmp_path, heart(), moved(0.7)) == []  # half a voxel is 0.75 mm


@pytest.mark.parametrize("shape", [(40, 40, 2), (40, 39, 3), (3, 40, 41)])
def test_mask_of_another_shape_is_refused(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    words = f"mask is {shape[0]} x {shape[1]} x {shape[2]} voxels, its image 40 x 40 x 3 voxels"
    with pytest.raises(SourceError, match=f"m.nii.gz: {words}"):
        notes(tmp_path, np.zeros(shape, dtype=np.uint8))


def test_mask_with_other_frames_is_refused(tmp_path: Path) -> None:
    image, _ = cine(tmp_path, "a")
    _, mask = cine(tmp_path, "b", frames=4)
    with pytest.raises(SourceError, match="40 x 40 x 3 x 4 voxels, its image 40 x 40 x 3 x 5"):
        match_mask(open_volume(image), open_volume(mask))


def test_mask_at_another_position_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"up to 12 mm beside its image \(i\.nii\.gz\)"):
        notes(tmp_path, heart(), moved(12.0))


TURNS = [np.array(turn) for turn in product(permutations(range(3)), product((1, -1), repeat=3))]


@pytest.mark.parametrize("turn", TURNS, ids=str)
def test_mask_with_other_axes_is_reoriented(tmp_path: Path, turn: Any) -> None:  # noqa: ANN401
    """Some programs save masks with other axes, as described by the header."""
    labels = heart()
    labels[:7, :5, 0] = 1  # so that no two turns of it are alike
    image = open_volume(save(tmp_path / "i.nii.gz", image_of(labels)))
    values, matrix = (
        apply_orientation(labels, turn.T),
        affine() @ inv_ornt_aff(turn.T, labels.shape),
    )
    mask, notes = match_mask(image, open_volume(save(tmp_path / "m.nii.gz", values, matrix)))
    (found,) = read_frames(mask, (0,))
    assert np.array_equal(found, labels)
    unturned = (turn.T == [[0, 1], [1, 1], [2, 1]]).all()
    assert [line.endswith("it is reoriented by its header") for line in notes] == [True] * (
        not unturned
    )


def test_mask_without_orientation_is_noted(tmp_path: Path) -> None:
    (line,) = notes(tmp_path, heart(), np.eye(4))
    assert "its affine is the identity" in line
    assert line.endswith("it is laid over its image voxel by voxel")


def test_contradictory_mask_header_is_noted(tmp_path: Path) -> None:
    image = open_volume(save(tmp_path / "i.nii.gz", image_of(heart())))
    mask = nibabel.Nifti1Image(heart(), affine())
    mask.set_sform(affine(), 1)
    mask.set_qform(moved(25.0), 1)
    mask.to_filename(tmp_path / "m.nii.gz")
    _, (line,) = match_mask(image, open_volume(tmp_path / "m.nii.gz"))
    assert line.endswith("m.nii.gz: sform and qform disagree by 25 mm; the sform is used")


def volume(subject: str, domain: str = "A", **known: Any) -> SurveyedVolume:  # noqa: ANN401
    row = VolumeRow(Path(f"{subject}.nii"), None, domain, subject, split=known.get("split"))
    labelled = frozenset({0}) if known.get("labelled", True) else frozenset()
    header = Volume(row.image, (4, 4, 1, 1), np.eye(4), True, "")
    none = np.zeros(4, dtype=np.int64)
    shape: tuple[int, int, int] = (1, 4, 4)
    return SurveyedVolume(
        row=row,
        name=subject,
        volume=header,
        mask=None,
        view=stored_view(),
        spacing=(1.0, 1.0, 1.0),
        grid=shape,
        frames=(Frame(0),),
        labelled=labelled,
        voxels=none,
        resampled=none,
        stored=none,
        notes=(),
    )


def many(**domains: int) -> list[SurveyedVolume]:
    """Subjects of each domain, two volumes each (ED and ES)."""
    return [
        volume(f"{domain}{number:03d}", domain)
        for domain, count in domains.items()
        for number in range(count)
        for _ in ("ED", "ES")
    ]


def deal(
    volumes: list[SurveyedVolume],
    seed: int = 0,
    folds: int = 5,
    **asked: Any,  # noqa: ANN401
) -> dict[str, int]:
    return assign_subjects(volumes, SplitOptions(folds=folds, seed=seed, **asked), SILENT)


def sides(fold: dict[str, int], domain: str) -> tuple[int, int]:
    of = [number for subject, number in fold.items() if subject.startswith(domain)]
    return sum(number >= 0 for number in of), sum(number < 0 for number in of)


@given(st.integers(0, 99), st.integers(2, 20), st.integers(2, 20))
def test_subjects_are_in_one_split_and_domains_in_both(seed: int, a: int, b: int) -> None:
    fold = deal(many(A=a, B=b), seed=seed, test_fraction=0.5, folds=2)
    assert len(fold) == a + b
    for domain, count in (("A", a), ("B", b)):
        train, test = sides(fold, domain)
        assert train + test == count
        assert abs(test - count / 2) <= 1


def test_subject_counts_of_the_paper() -> None:
    volumes = [*many(A=91, B=125, C=50, D=50)]
    fold = deal(volumes, train_subjects={"A": 75}, test_subjects={"": 16})
    assert [sides(fold, domain) for domain in "ABCD"] == [(75, 16), (0, 16), (0, 16), (0, 16)]
    assert sorted(np.bincount([number for number in fold.values() if number >= 0])) == [15] * 5


def test_subject_counts_apply_to_listed_splits() -> None:
    volumes = [
        volume(f"{domain}{number}", domain, split=Split.TEST if number < 5 else Split.TRAIN)
        for domain in "AB"
        for number in range(12)
    ]
    assert [sides(deal(volumes), domain) for domain in "AB"] == [(7, 5), (7, 5)]
    fold = deal(volumes, train_subjects={"A": 6}, test_subjects={"": 3, "B": 4}, folds=2)
    assert [sides(fold, domain) for domain in "AB"] == [(6, 3), (0, 4)]
    for subject, number in fold.items():
        assert (number < 0) == (int(subject[1:]) < 5)


def test_draw_depends_on_the_seed_but_not_on_the_order() -> None:
    volumes = many(A=20, B=20)
    first = deal(volumes, train_subjects={"A": 5}, test_subjects={"": 4}, seed=3)
    assert deal(volumes[::-1], train_subjects={"A": 5}, test_subjects={"": 4}, seed=3) == first
    assert deal(volumes, train_subjects={"A": 5}, test_subjects={"": 4}, seed=4) != first


def test_too_many_subjects_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"--test-subjects 16: domain B has only 3 subjects"):
        deal(many(A=20, B=3), test_subjects={"": 16})
    with pytest.raises(ArgumentError, match=r"--train-subjects 19: domain A has only 4 subjects"):
        deal(many(A=20), train_subjects={"A": 19}, test_subjects={"A": 16})


def test_subjects_without_labels_are_for_testing() -> None:
    bare = [volume("A900", labelled=False), volume("A901", labelled=False)]
    fold = deal([*many(A=4), *bare], folds=2)
    assert (fold["A900"], fold["A901"]) == (-1, -1)
    assert deal(bare) == {"A900": -1, "A901": -1}


def test_subject_of_two_domains_is_in_one_split() -> None:
    volumes = [volume(f"p{number}", domain) for domain in "AB" for number in range(6)]
    fold = deal(volumes, test_subjects={"A": 2}, folds=2)
    assert len(fold) == 6
    assert sum(number < 0 for number in fold.values()) == 2


def test_splits_of_few_subjects() -> None:
    assert deal(many(A=1)) == {"A000": -1}
    assert deal(many(A=1), test_fraction=0) == {"A000": 0}
    assert sorted(deal(many(A=3)).values()) == [-1, 0, 1]


def test_contradictory_splits_are_refused() -> None:
    first = volume("p0", split=Split.TRAIN)
    other = replace(first, row=replace(first.row, split=Split.TEST))
    with pytest.raises(
        SourceError, match="split is test, but train for another input of subject p0"
    ):
        deal([first, other])
    with pytest.raises(SourceError, match=r"p1\.nii: split is empty, but other rows have one"):
        deal([first, volume("p1")])


def test_train_domain_tests_all_other_domains() -> None:
    bare = [volume("A900", labelled=False), volume("B900", "B", labelled=False)]
    fold = deal([*many(A=10, B=4, C=3), *bare], train_domain="A")
    assert [sides(fold, domain) for domain in "ABC"] == [(8, 3), (0, 5), (0, 3)]
    assert fold["A900"] == -1
    whole = deal(many(A=10, B=4), train_domain="A", test_fraction=0)
    assert [sides(whole, domain) for domain in "AB"] == [(10, 0), (0, 4)]


def test_train_domain_excludes_other_split_options() -> None:
    given_ = [volume("A1", split=Split.TRAIN), volume("B1", "B", split=Split.TEST)]
    with pytest.raises(ArgumentError, match="--train-domain: the source lists"):
        deal(given_, train_domain="A")
    with pytest.raises(ArgumentError, match="--train-domain: --train-subjects and --test-subjects"):
        deal(many(A=4, B=4), train_domain="A", train_subjects={"A": 2})


def test_single_training_subject_gives_a_warning() -> None:
    lines: list[str] = []
    progress: Any = SimpleNamespace(warn=lines.append)
    assign_subjects(many(A=2), SplitOptions(0.5), progress)
    (line,) = lines
    assert line.startswith("one training subject (A00")
    assert "no other is left to validate on" in line


def test_similar_subject_names_give_a_warning() -> None:
    heard = Heard()
    assign_subjects([volume("1"), volume("01")], SplitOptions(0.5, 1), heard)
    assert any("are spelled almost alike" in line for line in heard.lines)


FRAMES = (Frame(0), Frame(3))


def test_image_and_labels_have_the_same_layout(tmp_path: Path) -> None:
    image, mask = map(open_volume, cine(tmp_path, "a"))
    view = choose_view(image.affine, "a")
    whole = np.asanyarray(nibabel.load(image.path).dataobj)
    images = list(image_slices(image, FRAMES, view))
    labels = list(label_slices(mask, FRAMES, view, SliceSettings().label_map))
    for frame, found, label in zip(FRAMES, images, labels, strict=True):
        assert (found == view.apply(whole[..., frame.number])).all()
        assert label.dtype == np.uint8
        assert (label == view.apply(heart())).all()


def test_voxels_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    values = image_of(heart()).astype(np.float32)
    values[0, 0, 0] = np.nan
    volume = open_volume(save(tmp_path / "i.nii.gz", values))
    with pytest.raises(SourceError, match=r"i\.nii\.gz: frame 7 \(ED\): 1 voxels are NaN"):
        list(image_slices(volume, (Frame(7, "ED"),), choose_view(volume.affine, "i")))


def test_error_names_the_frame_of_a_cine(tmp_path: Path) -> None:
    _, mask = cine(tmp_path, "a")
    volume = open_volume(mask)
    labels = SliceSettings(labels={1: "LV", 2: "MYO"}).label_map
    with pytest.raises(SourceError, match=r"a_sa_gt\.nii\.gz: frame 3: mask contains value 3"):
        list(label_slices(volume, (Frame(3),), choose_view(volume.affine, "a"), labels))


def test_slices_are_resampled_one_by_one() -> None:
    slices = np.random.default_rng(0).integers(0, 4, (3, 10, 8)).astype(np.uint8)
    assert resample_slices(slices, (1.0, 2.0), None) is slices
    assert resample_slices(slices, (1.0, 2.0), 2.0, labels=True).shape == (3, 5, 8)
    assert resample_slices(slices, (1.0, 2.0), 2.0).dtype == np.float64
