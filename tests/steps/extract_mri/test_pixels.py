from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from skiptool.errors import SourceError
from skiptool.sources.volumes.manifest import Frame
from skiptool.sources.volumes.nifti import open_volume
from skiptool.sources.volumes.orientation import view_of
from skiptool.steps.extract_mri.pixels import image_slices, label_slices, spread
from skiptool.steps.extract_mri.settings import SliceSettings
from volume_cases import cine, heart, image_of, save

FRAMES = (Frame(0), Frame(3))


def test_image_and_labels_are_laid_out_alike(tmp_path: Path) -> None:
    image, mask = map(open_volume, cine(tmp_path, "a"))
    view = view_of(image.affine, "a")
    whole = np.asanyarray(nibabel.load(image.path).dataobj)
    images = list(image_slices(image, FRAMES, view))
    labels = list(label_slices(mask, FRAMES, view, SliceSettings().label_map))
    for frame, found, label in zip(FRAMES, images, labels, strict=True):
        assert (found == view.apply(whole[..., frame.number])).all()
        assert label.dtype == np.uint8
        assert (label == view.apply(heart())).all()


def test_what_is_not_finite_is_refused(tmp_path: Path) -> None:
    values = image_of(heart()).astype(np.float32)
    values[0, 0, 0] = np.nan
    volume = open_volume(save(tmp_path / "i.nii.gz", values))
    with pytest.raises(SourceError, match=r"i\.nii\.gz: frame 7 \(ED\): 1 voxels are NaN"):
        list(image_slices(volume, (Frame(7, "ED"),), view_of(volume.affine, "i")))


def test_the_frame_at_fault_is_named_where_there_are_several(tmp_path: Path) -> None:
    _, mask = cine(tmp_path, "a")
    volume = open_volume(mask)
    labels = SliceSettings(labels={1: "LV", 2: "MYO"}).label_map
    with pytest.raises(SourceError, match=r"a_sa_gt\.nii\.gz: frame 3: mask holds value 3"):
        list(label_slices(volume, (Frame(3),), view_of(volume.affine, "a"), labels))


def test_spread_is_slice_by_slice_or_nothing() -> None:
    slices = np.random.default_rng(0).integers(0, 4, (3, 10, 8)).astype(np.uint8)
    assert spread(slices, (1.0, 2.0), None) is slices
    assert spread(slices, (1.0, 2.0), 2.0, labels=True).shape == (3, 5, 8)
    assert spread(slices, (1.0, 2.0), 2.0).dtype == np.float64
