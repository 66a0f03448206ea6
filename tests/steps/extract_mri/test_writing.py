"""Tests of ``writing``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from skiptool.errors import SourceError
from skiptool.names import Split
from skiptool.records import SILENT, Sample
from skiptool.sources.pictures.files import read_picture
from skiptool.sources.volumes.manifest import Frame, VolumeRow
from skiptool.sources.volumes.slices import rescale_slice
from skiptool.steps.extract_mri import extract_mri as writing
from skiptool.steps.extract_mri.extract_mri import (
    SlicePlan,
    _captions,
    draw_sheets,
    read_volume,
    sheets_drawn,
    write_volumes,
)
from skiptool.steps.extract_mri.settings import SliceSettings
from skiptool.steps.extract_mri.survey import survey_volumes
from skiptool.stores.dataset import open_dataset
from skiptool.stores.dataset_writer import DatasetWriter
from skiptool.stores.lineage import Invocation
from volume_cases import affine, cine, heart, save


def plan(rows: list[VolumeRow], size: int = 64, fold: int = -1, **asked: Any) -> SlicePlan:  # noqa: ANN401
    settings = SliceSettings(**asked)
    volumes, failures = survey_volumes(rows, settings, 1, SILENT)
    assert failures == []
    return SlicePlan(
        settings,
        volumes,
        {row.domain: size for row in rows},
        {row.subject: fold for row in rows},
    )


def read(found: SlicePlan) -> list[Sample]:
    samples = read_volume(found, found.volumes[0])
    assert not isinstance(samples, str), samples
    return samples


@pytest.fixture
def rows(tmp_path: Path) -> list[VolumeRow]:
    return [
        VolumeRow(*cine(tmp_path, name, seed=seed), "A", name, (Frame(0, "ED"), Frame(3, "ES")))
        for seed, name in enumerate("ab")
    ]


def test_slices_are_scaled_laid_out_and_padded(rows: list[VolumeRow]) -> None:
    found = plan(rows[:1], fold=2)
    samples = read(found)
    view = found.volumes[0].view
    whole = np.asanyarray(nibabel.load(rows[0].image).dataobj)
    assert [sample.id for sample in samples] == found.volumes[0].ids
    for place, sample in enumerate(samples):
        frame, number = (0, 3)[place // 3], place % 3
        slice_ = view.apply(whole[..., frame])[number]
        scaled, low, high = rescale_slice(slice_)
        assert sample.image.dtype == np.float32
        assert sample.image.shape == (64, 64, 1)
        assert (sample.image[12:52, 12:52, 0] == scaled).all()
        assert sample.image.sum() == pytest.approx(scaled.sum(dtype=np.float32), rel=1e-5)
        assert (sample.mask[12:52, 12:52] == view.apply(heart())[number]).all()
        assert (sample.domain, sample.subject, sample.fold) == ("A", "a", 2)
        assert sample.split is Split.TRAIN
        columns = dict(sample.columns)
        assert columns.pop("foreground") == pytest.approx((sample.mask > 0).mean())
        assert columns.pop("spacing") == pytest.approx(1.5)
        assert columns.pop("spacing_y") == pytest.approx(1.5)
        assert columns.pop("slice_spacing") == pytest.approx(8.0)
        assert columns == {
            **{"volume": "a_sa", "frame": frame, "phase": ("ED", "ES")[place // 3]},
            **{"slice": number, "centre": "", "orientation": "LPS", "display": "LP"},
            **{"top": -12, "left": -12, "low": low, "high": high},
        }


def test_frames_without_labels_are_ignored_all_over(rows: list[VolumeRow]) -> None:
    samples = read(plan(rows[:1], keep_unlabelled=True))
    frames = np.array([sample.columns["frame"] for sample in samples])
    assert frames.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]
    for frame, sample in zip(frames, samples, strict=True):
        assert (sample.mask == 255).all() == (frame not in (0, 3))
        assert sample.columns["foreground"] > 0 or frame not in (0, 3)
        assert sample.image.max() == 1.0


def test_resampled_slices_have_the_size_that_was_asked_for(tmp_path: Path) -> None:
    matrix = affine((1.0, 2.0, 8.0))
    pair = cine(tmp_path, "a", matrix=matrix)
    samples = read(plan([VolumeRow(*pair, "A", "a")], size=96, spacing=1.0))
    sample = samples[0]
    assert (sample.columns["spacing"], sample.columns["spacing_y"]) == (1.0, 1.0)
    across = {samples[0].columns["top"], samples[0].columns["left"]}
    assert across == {-8, -28}  # 80 and 40 pixels in 96
    view_counts = np.bincount(samples[1].mask.ravel(), minlength=4)[1:]
    assert view_counts == pytest.approx(2 * np.bincount(heart()[..., 1].ravel())[1:], rel=0.05)


def test_cropped_labels_are_those_that_were_counted(rows: list[VolumeRow]) -> None:
    found = plan(rows[:1], size=32, sizes={"": 32})
    masks = np.stack([sample.mask for sample in read(found)])
    counts = np.bincount(masks.ravel(), minlength=4)
    assert counts.tolist() == found.volumes[0].kept.tolist()
    assert counts.sum() == 6 * 32 * 32


def test_a_volume_that_ends_early_leaves_the_others(tmp_path: Path, rows: list[VolumeRow]) -> None:
    found = plan(rows)
    whole = rows[0].image.read_bytes()
    rows[0].image.write_bytes(whole[: len(whole) // 2])
    failures = ["before"]
    path, invocation = tmp_path / "d.zarr", Invocation("extract mri")
    written = write_volumes(path, found, invocation, failures, 2, SILENT)
    assert [volume.name for volume in written] == ["b_sa"]
    assert "a_sa.nii.gz: the file is truncated or damaged" in failures[1]
    assert set(open_dataset(path).domain("A").columns["subject"]) == {"b"}


def test_nothing_at_all_is_an_error(tmp_path: Path, rows: list[VolumeRow]) -> None:
    found = plan(rows)
    for row in rows:
        row.image.write_bytes(row.image.read_bytes()[:5000])
    with pytest.raises(SourceError, match=r"no volume could be read; the first failure: .*a_sa"):
        write_volumes(tmp_path / "d.zarr", found, Invocation("extract mri"), [], 1, SILENT)


def test_slices_without_labels_are_whole_after_resuming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty, rows = np.zeros((40, 40, 9), dtype=np.uint8), []
    for name in "abc":
        files = (save(tmp_path / f"{name}{part}.nii", empty) for part in "im")
        rows.append(VolumeRow(*files, "A", name))
    found, path = plan(rows), tmp_path / "d.zarr"
    read, calls = writing.read_volume, []

    def stop(*given: Any) -> Any:  # noqa: ANN401
        calls.append(given)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return read(*given)

    with monkeypatch.context() as patch:
        patch.setattr(writing, "read_volume", stop)
        with pytest.raises(KeyboardInterrupt):
            write_volumes(path, found, Invocation("extract mri"), [], 1, SILENT)
    write_volumes(path, found, Invocation("extract mri"), [], 1, SILENT)
    store = open_dataset(path)
    reader = store.samples("A", list(range(27)))
    assert not any(reader.read(place)[1].any() for place in range(27))


def sample(place: int, domain: str, label: int) -> Sample:
    mask = np.zeros((32, 32), dtype=np.uint8)
    mask[8:20, 8:20] = label
    image = np.full((32, 32, 1), 0.4, dtype=np.float32)
    columns = {
        "frame": 0,
        "phase": "ED",
        "slice": place,
        "volume": f"{domain}_{place // 40}",
        "foreground": float(label not in (0, 255)),
    }
    return Sample(f"{place}", image, mask, "p", domain, Split.TEST, -1, columns)


@pytest.mark.long
def test_a_sheet_a_domain(tmp_path: Path) -> None:
    writer = DatasetWriter(tmp_path / "d.zarr", ("background", "LV", "MYO", "RV"), Invocation("x"))
    for place in range(60):
        writer.append(sample(place, "A", 1 + place % 3 if place % 2 else 0))
        writer.append(sample(place, "B", 255))
    writer.finish()
    assert not sheets_drawn(tmp_path / "qc", tmp_path / "d.zarr")
    folder = draw_sheets(tmp_path / "qc", tmp_path / "d.zarr", SILENT)
    assert sorted(path.name for path in folder.iterdir()) == ["slices-A.png", "slices-B.png"]
    assert sheets_drawn(folder, tmp_path / "d.zarr")
    first, second = (read_picture(folder / f"slices-{domain}.png") for domain in "AB")
    assert first.shape[1] == second.shape[1]
    assert first.shape[0] < second.shape[0]  # 30 labelled slices against 48 of 60
    spread = first.max(axis=2).astype(int) - first.min(axis=2)
    assert (spread > 100).any()  # outlines have colours


def test_captions_tell_slices_of_two_volumes_of_a_subject_apart(tmp_path: Path) -> None:
    """Frames of a file each (ED and ES) are all frame 0."""
    writer = DatasetWriter(tmp_path / "d.zarr", ("background", "LV"), Invocation("x"))
    for volume, phase in (("p_ED", ""), ("p_ES", ""), ("p_cine", "ED")):
        one = sample(0, "A", 1)
        facts = {**one.columns, "volume": volume, "phase": phase}
        writer.append(replace(one, id=volume, columns=facts))
    writer.finish()
    captions = _captions(open_dataset(tmp_path / "d.zarr").domains["A"])
    assert captions == ["p 0 0\np_ED", "p 0 0\np_ES", "p ED 0"]
