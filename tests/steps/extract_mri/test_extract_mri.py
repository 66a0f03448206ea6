"""The step ``extract_mri``: from volumes to a store, dry run, summary, warnings."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import skiptool
from skiptool.errors import ArgumentError, ExistsError, SourceError
from skiptool.names import Split
from skiptool.records import SILENT, Sample, Task
from skiptool.sources.pictures.files import read_picture
from skiptool.sources.volumes.manifest import Frame, VolumeRow
from skiptool.sources.volumes.slices import rescale_slice
from skiptool.steps.extract_mri import extract_mri as module
from skiptool.steps.extract_mri.extract_mri import (
    SlicePlan,
    _captions,
    check_domains,
    draw_sheets,
    dry_run_table,
    extract_mri,
    read_volume,
    sheets_drawn,
    summary_of,
    warn_of_cropping,
    warn_of_notes,
    write_volumes,
)
from skiptool.steps.extract_mri.settings import SliceSettings
from skiptool.steps.extract_mri.survey import survey_volumes
from skiptool.stores.dataset import open_dataset
from skiptool.stores.dataset_writer import DatasetWriter
from skiptool.stores.lineage import Invocation
from skiptool.stores.zarrs import recorded_failures
from volume_cases import affine, challenge, cine, heart, image_of, row, save, write_table

Contents = Callable[[Path], dict[str, bytes]]


class Heard:
    """Progress that records the warnings."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def task(self, text: str, total: int) -> AbstractContextManager[Task]:
        return SILENT.task(text, total)

    def warn(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten subjects of two vendors: cines of A, ED and ES of B in separate files."""
    folder = tmp_path_factory.mktemp("mri")
    rows = []
    for number in range(6):
        image, mask = cine(folder, f"a{number}", seed=number)
        rows.append(row(image.name, mask.name, subject=f"a{number}", frames="ED=0;ES=3"))
    matrix = affine((2.0, 2.0, 9.0), [[-0.37, 0.7, 0.6], [-0.85, 0.01, -0.5], [-0.38, -0.7, 0.6]])
    for number in range(4):
        for place, phase in enumerate(("ED", "ES")):
            labels = heart(48, 70, 2)
            stem = f"b{number}_{phase}"
            image = save(folder / f"{stem}.nii.gz", image_of(labels, 9 * number + place), matrix)
            mask = save(folder / f"{stem}_gt.nii.gz", labels, matrix)
            rows.append(row(image.name, mask.name, domain="B", subject=f"b{number}"))
            rows[-1]["frames"] = f"{phase}=0"
    return write_table(folder / "volumes.csv", rows)


def extract(source: Path | str, out: Path, **more: Any) -> Any:  # noqa: ANN401
    more = {"pictures": False, "folds": 2, "workers": 1} | more
    return extract_mri(source, out, **more)


def test_volumes_become_a_store(manifest: Path, tmp_path: Path) -> None:
    found = extract(manifest, tmp_path / "d.zarr")
    assert found.outputs == (tmp_path / "d.zarr",)
    assert found.failures == ()
    store = open_dataset(tmp_path / "d.zarr")
    assert store.classes == ("background", "LV", "MYO", "RV")
    a, b = store.domain("A"), store.domain("B")
    assert (len(a), a.height, a.channels, len(b), b.height) == (36, 64, 1, 16, 96)
    assert found.summary["samples"] == {"A": 36, "B": 16}
    counts = 12 * np.bincount(heart().ravel()) + 8 * np.bincount(heart(48, 70, 2).ravel())
    assert list(found.summary["voxels in masks"].values()) == counts[1:].tolist()
    assert found.summary["labelled pixels cut off"] == 0


@pytest.mark.long
def test_label_counts_equal_those_of_the_files(manifest: Path, tmp_path: Path) -> None:
    found = extract(manifest, tmp_path / "d.zarr")
    in_files = np.zeros(4, dtype=np.int64)
    for path in manifest.parent.glob("*_gt.nii.gz"):
        values = nibabel.load(path).get_fdata().astype(np.int64)
        in_files += np.bincount(values.ravel(), minlength=4)
    store = open_dataset(tmp_path / "d.zarr")
    in_store = np.zeros(4, dtype=np.int64)
    for name, domain in store.domains.items():
        reader = store.samples(name, list(range(len(domain))))
        for place in range(len(domain)):
            in_store += np.bincount(reader.read(place)[1].ravel(), minlength=4)
    assert list(found.summary["voxels in masks"].values()) == in_files[1:].tolist()
    assert list(found.summary["pixels in the store"].values()) == in_store[1:].tolist()
    assert in_store[1:].tolist() == in_files[1:].tolist()


@pytest.mark.long
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(0, 1000), st.floats(0.1, 0.9))
def test_ed_and_es_of_a_subject_are_in_one_split(
    manifest: Path, tmp_path: Path, seed: int, fraction: float
) -> None:
    out = tmp_path / "d.zarr"
    extract(manifest, out, seed=seed, test_fraction=fraction, overwrite=True)
    fold: dict[str, set[int]] = {}
    phases: dict[str, set[str]] = {}
    for domain in open_dataset(out).domains.values():
        columns = domain.columns
        for subject, number, phase, split in zip(
            *(columns[name] for name in ("subject", "fold", "phase", "split")), strict=True
        ):
            fold.setdefault(subject, set()).add(int(number))
            phases.setdefault(subject, set()).add(phase)
            assert (split == "test") == (number < 0)
    assert all(len(numbers) == 1 for numbers in fold.values())
    assert all(names == {"ED", "ES"} for names in phases.values())
    assert len({number for numbers in fold.values() for number in numbers}) > 1


@pytest.mark.long
def test_store_does_not_depend_on_the_number_of_workers(
    manifest: Path, tmp_path: Path, contents: Contents
) -> None:
    for workers in (1, 4):
        extract(manifest, tmp_path / f"{workers}.zarr", workers=workers)
    assert contents(tmp_path / "1.zarr") == contents(tmp_path / "4.zarr")


@pytest.mark.long
def test_all_vendors_have_the_same_slice_layout(manifest: Path, tmp_path: Path) -> None:
    extract(manifest, tmp_path / "d.zarr")
    store = open_dataset(tmp_path / "d.zarr")
    for name, domain in store.domains.items():
        reader = store.samples(name, list(range(len(domain))))
        assert set(domain.columns["orientation"]) == ({"LPS"} if name == "A" else {"PIR"})
        for place in range(len(domain)):
            _, mask = reader.read(place)
            assert {label for label in np.unique(mask) if label} == {1, 2, 3}


@pytest.mark.long
def test_interrupted_run_can_be_resumed(
    manifest: Path, tmp_path: Path, contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, whole = tmp_path / "d.zarr", tmp_path / "whole.zarr"
    extract(manifest, whole)
    from skiptool.steps.extract_mri import extract_mri as module

    read, calls = module.read_volume, []

    def stop(*given: Any) -> Any:  # noqa: ANN401
        calls.append(given)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return read(*given)

    with monkeypatch.context() as patch:
        patch.setattr(module, "read_volume", stop)
        with pytest.raises(KeyboardInterrupt):
            extract(manifest, out)
    assert not out.exists()
    with pytest.raises(ExistsError, match="is left of an interrupted run"):
        extract(manifest, out)
    with pytest.raises(ExistsError, match="other parameters"):
        extract(manifest, out, resume=True, seed=1)
    assert extract(manifest, out, resume=True).summary["samples"] == {"A": 36, "B": 16}
    assert contents(out) == contents(whole)
    assert extract(manifest, out, resume=True).outputs == (out,)


def test_dry_run_writes_nothing(manifest: Path, tmp_path: Path) -> None:
    found = extract(manifest, tmp_path / "d.zarr", dry_run=True)
    assert found.outputs == ()
    assert list(tmp_path.iterdir()) == []
    (table,) = found.tables
    assert table.columns["domain"] == ["A", "B"]
    assert table.columns["slices"] == [36, 16]


@pytest.mark.long
def test_contact_sheets_are_drawn_and_resumed(manifest: Path, tmp_path: Path) -> None:
    found = extract(manifest, tmp_path / "d.zarr", pictures=True)
    assert found.side_outputs == (tmp_path / "d-qc",)
    names = sorted(path.name for path in (tmp_path / "d-qc").iterdir())
    assert names == ["slices-A.png", "slices-B.png"]
    # a run interrupted between the store and its sheets is resumed there
    (tmp_path / "d-qc" / "slices-B.png").unlink()
    again = extract(manifest, tmp_path / "d.zarr", pictures=True, resume=True)
    assert again.side_outputs == (tmp_path / "d-qc",)
    assert (tmp_path / "d-qc" / "slices-B.png").is_file()
    assert extract(manifest, tmp_path / "d.zarr", pictures=True, resume=True).side_outputs == ()


@pytest.mark.long
def test_challenge_folder_is_extracted(tmp_path: Path) -> None:
    subjects = {f"A{n}": ("Training/Labeled", "A", "1" if n < 4 else "6") for n in range(5)}
    subjects |= {f"T{n}": ("Testing", "A", "1") for n in range(3)}
    subjects |= {f"B{n}": ("Testing", "B", str(2 + n % 2)) for n in range(6)}
    subjects |= {"C0": ("Training/Unlabeled", "C", "4"), "V0": ("Validation", "A", "1")}
    folder = challenge(tmp_path / "mnms", subjects)
    heard = Heard()
    chosen = SliceSettings(
        centres={"A": "1", "B": "2"}, train_subjects={"A": 4}, test_subjects={"A": 2, "B": 2}
    )
    found = extract(folder, tmp_path / "d.zarr", settings=chosen, progress=heard)
    assert found.failures == ()
    validation, bare = heard.lines
    assert "1 subjects of the challenge's validation set are in neither split" in validation
    assert "1 volumes have no mask and are left out (subjects C0)" in bare
    store = open_dataset(tmp_path / "d.zarr")
    assert set(store.domains) == {"A", "B"}
    a = store.domain("A").columns
    assert set(a["subject"][a["split"] == "train"]) == {"A0", "A1", "A2", "A3"}
    assert len(set(a["subject"][a["split"] == "test"])) == 2
    assert set(a["phase"]) == {"ED", "ES"}
    assert set(a["centre"]) == {"1"}
    b = store.domain("B").columns
    assert set(b["subject"]) <= {"B0", "B2", "B4"}
    assert set(b["split"]) == {"test"}
    assert found.summary["subjects not drawn"] == 2
    assert found.summary["without masks"] == 1


@pytest.mark.long
def test_unlabelled_volumes_can_be_kept_for_testing(tmp_path: Path) -> None:
    subjects = {f"A{n}": ("Labeled", "A", "1") for n in range(4)}
    folder = challenge(tmp_path / "mnms", subjects | {"C0": ("Unlabeled", "C", "4")})
    extract(folder, tmp_path / "d.zarr", settings=SliceSettings(keep_unlabelled=True))
    store = open_dataset(tmp_path / "d.zarr")
    assert len(store.domain("A")) == 4 * 15
    c = store.domain("C")
    assert (len(c), set(c.columns["split"])) == (15, {"test"})
    assert (store.samples("C", [0]).read(0)[1] == 255).all()


@pytest.mark.long
def test_damaged_volume_does_not_stop_the_others(manifest: Path, tmp_path: Path) -> None:
    image, mask = cine(tmp_path, "bad")
    image.write_bytes(image.read_bytes()[:9000])
    here = manifest.parent
    header, *good = manifest.read_text().splitlines()
    lines = [header, *(f"{here}/{line}".replace(",", f",{here}/", 1) for line in good)]
    lines += [f"{image},{mask},A,bad,ED=0;ES=3", f"{tmp_path}/gone.nii.gz,,A,gone,"]
    found = extract("\n".join(lines), tmp_path / "d.zarr", test_fraction=0)
    assert found.summary["samples"] == {"A": 36, "B": 16}
    gone, early = found.failures
    assert "gone.nii.gz: no such file" in gone
    assert "bad_sa.nii.gz: the file is truncated or damaged" in early
    assert recorded_failures(tmp_path / "d.zarr") == [gone, early]


def test_sources_without_usable_volumes_are_refused(manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "d.zarr"
    with pytest.raises(SourceError, match=r"no volume can be used: 0 have no mask, 1 failed"):
        extract("image,domain,subject\ngone.nii,A,p\n", out)
    image, _ = cine(tmp_path, "x")
    with pytest.raises(SourceError, match="no volume can be used: 1 have no mask"):
        extract(f"image,domain,subject\n{image},A,p\n", out)
    with pytest.raises(SourceError, match="no volume is from a hospital given by --centre"):
        extract(manifest, out, settings=SliceSettings(centres={"A": "1"}), domains=("A",))
    nobody = SliceSettings(train_subjects={"A": 0}, test_subjects={"A": 0})
    with pytest.raises(SourceError, match="no subject is left"):
        extract(manifest, out, settings=nobody)
    with pytest.raises(ArgumentError, match="--domain Z"):
        extract(manifest, out, domains=("Z",))
    assert not out.exists()


def test_unlabelled_cine_of_nibabel(tmp_path: Path) -> None:
    path = Path(nibabel.__file__).parent / "tests" / "data" / "example4d.nii.gz"
    if not path.is_file():
        pytest.skip("nibabel was installed without its test data")
    source = f"image,domain,subject\n{path},scanner,s\n"
    extract(source, tmp_path / "d.zarr", settings=SliceSettings(keep_unlabelled=True))
    store = open_dataset(tmp_path / "d.zarr")
    domain = store.domain("scanner")
    assert (len(domain), domain.height) == (48, 128)
    whole = nibabel.load(path).get_fdata()
    reader = store.samples("scanner", [0, 47])
    for place, (frame, number) in enumerate([(0, 0), (1, 23)]):
        slice_ = whole[:, ::-1, number, frame].T  # LAS: rows to the back
        span = slice_.max() - slice_.min()
        image, mask = reader.read(place)
        assert image[16:112, :, 0] == pytest.approx((slice_ - slice_.min()) / span, abs=1e-6)
        assert (mask == 255).all()


@pytest.mark.long
def test_real_volumes_of_all_vendors(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "mnms"
    vendors = {"H1N8S6": "A", "B5F8L9": "A", "G1K1V3": "B", "C8O0P2": "C", "A0S9V9": "A"}
    rows = []
    for path in sorted(folder.glob("*_sa_E?.nii.gz")):
        code = path.name.partition("_sa")[0].rpartition("_")[2]
        mask = path.with_name(path.name.replace(".nii.gz", "_gt.nii.gz"))
        phase = path.name[-9:-7]
        columns = {"domain": vendors.get(code, "A"), "subject": code, "frames": f"{phase}=0"}
        rows.append(row(path, mask if mask.exists() else "", **columns))
    source = write_table(tmp_path / "m.csv", rows)
    heard = Heard()
    found = extract(source, tmp_path / "d.zarr", workers=2, progress=heard)
    assert found.failures == ()
    assert "3 volumes have no mask and are left out (subjects A0S9V9, A1D9Z7)" in heard.lines[0]
    expected = np.zeros(4, dtype=np.int64)
    for each in rows:
        if each["mask"]:
            values = nibabel.load(each["mask"]).get_fdata().astype(np.int64)
            expected += np.bincount(values.ravel(), minlength=4)
    assert list(found.summary["voxels in masks"].values()) == expected[1:].tolist()
    assert list(found.summary["pixels in the store"].values()) == expected[1:].tolist()
    store = open_dataset(tmp_path / "d.zarr")
    assert {name: store.domain(name).height for name in "ABC"} == {"A": 256, "B": 320, "C": 256}
    for name, domain in store.domains.items():
        reader = store.samples(name, list(range(len(domain))))
        masks = np.stack([reader.read(place)[1] for place in range(len(domain))])
        places = {label: np.argwhere(masks == label)[:, 1:].mean(axis=0) for label in (1, 3)}
        # the right ventricle lies up and to the left of the left one, in all vendors
        assert (places[3] < places[1]).all(), (name, places)


def test_step_is_public() -> None:
    assert skiptool.extract_mri is extract_mri


ROWS = [VolumeRow(Path("a.nii"), None, domain, "p") for domain in ("Siemens", "Philips")]


@pytest.mark.parametrize(
    ("asked", "option"),
    [
        ({"sizes": {"": 192, "Simens": 320}}, "size"),
        ({"centres": {"Simens": "1"}}, "centre"),
        ({"train_subjects": {"Simens": 3}}, "train-subjects"),
        ({"test_subjects": {"Simens": 3}}, "test-subjects"),
    ],
)
def test_options_for_unknown_domains_are_refused(asked: dict[str, Any], option: str) -> None:
    words = f"--{option} Simens: the source's domains are Philips, Siemens; did you mean Siemens"
    with pytest.raises(ArgumentError, match=words):
        check_domains(ROWS, SliceSettings(**asked), ())


def test_unknown_domains_are_refused() -> None:
    check_domains(ROWS, SliceSettings(sizes={"": 192, "Philips": 320}), ("Siemens",))
    with pytest.raises(ArgumentError, match="--domain C: the source's domains"):
        check_domains(ROWS, SliceSettings(), ("C",))


def plan(folder: Path, **asked: Any) -> SlicePlan:  # noqa: ANN401
    matrix = affine((2.0, 2.0, 10.0), [[-0.37, 0.7, 0.6], [-0.85, 0.0, -0.53], [-0.38, -0.71, 0.6]])
    rows = [
        VolumeRow(*cine(folder, "a"), "A", "a"),
        VolumeRow(*cine(folder, "b", shape=(44, 40, 2)), "A", "b"),
        VolumeRow(*cine(folder, "c", matrix=matrix), "B", "c"),
    ]
    settings = SliceSettings(**asked)
    volumes, failures = survey_volumes(rows, settings, 1, SILENT)
    assert failures == []
    sizes = {"A": settings.size_of("A") or 64, "B": 64}
    return SlicePlan(settings, volumes, sizes, {"a": 0, "b": -1, "c": 1})


def counts(*shapes: tuple[int, int, int]) -> list[int]:
    found = sum(2 * np.bincount(heart(*shape).ravel(), minlength=4) for shape in shapes)
    return np.asarray(found)[1:].tolist()


def test_dry_run_table_has_one_row_per_domain(tmp_path: Path) -> None:
    found = dry_run_table(plan(tmp_path), {"without masks": 3}, ["one failed"])
    (table,) = found.tables
    lv, myo, rv = counts((40, 40, 3), (44, 40, 2))
    first = {name: cells[0] for name, cells in table.columns.items()}
    assert first == {
        **{"domain": "A", "subjects": 2, "training": 1, "frames": 4, "slices": 10},
        **{"found": "40 x 40, 44 x 40", "size": 64, "spacing": "1.5", "slice_spacing": "8"},
        **{"orientation": "LPS", "labels": f"LV {lv}, MYO {myo}, RV {rv}", "cut off": "none"},
        "bytes": 10 * 64 * 64 * 5,
    }
    assert table.columns["orientation"][1] == "PIR"
    assert table.columns["spacing"][1] == "2"
    assert found.failures == ("one failed",)
    assert found.summary["bytes before compression"] == 16 * 64 * 64 * 5
    assert (found.summary["without masks"], found.summary["failed"]) == (3, 1)


def test_summary_counts_written_volumes(tmp_path: Path) -> None:
    made = plan(tmp_path)
    found = summary_of(made, made.volumes[1:], {}, [])
    assert found["samples"] == {"A": 4, "B": 6}
    assert (found["subjects"], found["train"], found["test"]) == (2, 6, 4)
    assert found["size"] == {"A": 64, "B": 64}
    assert list(found["voxels in masks"].values()) == counts((44, 40, 2), (40, 40, 3))
    assert found["pixels in the store"] == found["voxels in masks"]
    assert found["labelled pixels cut off"] == found["failed"] == 0
    assert "pixels resampled" not in found


def test_summary_counts_resampled_and_cropped_pixels(tmp_path: Path) -> None:
    made = plan(tmp_path, sizes={"A": 32}, spacing=0.75)
    found = summary_of(made, made.volumes, {}, [])
    before, after = found["pixels resampled"], found["pixels in the store"]
    assert before["LV"] > found["voxels in masks"]["LV"]
    lost = sum(before.values()) - sum(after.values())
    assert found["labelled pixels cut off"] == lost > 0
    (table,) = dry_run_table(made, {}, []).tables
    assert table.columns["cut off"][0] != "none"
    assert table.columns["cut off"][1] == "none"


def test_similar_notes_are_counted(tmp_path: Path) -> None:
    row = VolumeRow(*cine(tmp_path, "a"), "A", "a")
    (one,), _ = survey_volumes([row], SliceSettings(), 1, SILENT)
    apart = [f"{n}.nii: sform and qform disagree by {n + 0.5} mm; used" for n in range(9)]
    many = [replace(one, notes=(line,)) for line in apart]
    other = replace(one, notes=("x.nii: frame 3 (ES) holds no label",))
    heard = Heard()
    warn_of_notes([*many, one, other], heard)
    assert heard.lines == [*apart[:3], "... and 6 more notes like the last one", *other.notes]


def test_cropped_labels_give_a_warning_per_domain(tmp_path: Path) -> None:
    full = np.full((40, 40, 2), 3, dtype=np.uint8)  # nothing but right ventricle
    rows = [
        VolumeRow(
            *(save(tmp_path / f"{name}{part}.nii", full) for part in "im"), name.upper(), name
        )
        for name in "ab"
    ]
    settings = SliceSettings(sizes={"A": 32, "B": 64})
    volumes, _ = survey_volumes(rows, settings, 1, SILENT)
    heard = Heard()
    warn_of_cropping(SlicePlan(settings, volumes, {"A": 32, "B": 64}, {"a": 0, "b": 0}), heard)
    assert heard.lines == [
        f"domain A: --size 32 cuts labelled pixels off (RV {2 * (40 * 40 - 32 * 32)}) in 1 of 1 "
        f"volumes, the first: {rows[0].image}; give a larger size to keep them"
    ]


# -------------------------------------------------------------------------------------------------
# Samples and contact sheets.


def plan_of(rows: list[VolumeRow], size: int = 64, fold: int = -1, **asked: Any) -> SlicePlan:  # noqa: ANN401
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
    found = plan_of(rows[:1], fold=2)
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


def test_masks_of_unlabelled_frames_are_ignored(rows: list[VolumeRow]) -> None:
    samples = read(plan_of(rows[:1], keep_unlabelled=True))
    frames = np.array([sample.columns["frame"] for sample in samples])
    assert frames.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]
    for frame, sample in zip(frames, samples, strict=True):
        assert (sample.mask == 255).all() == (frame not in (0, 3))
        assert sample.columns["foreground"] > 0 or frame not in (0, 3)
        assert sample.image.max() == 1.0


def test_resampled_slices_have_the_given_size(tmp_path: Path) -> None:
    matrix = affine((1.0, 2.0, 8.0))
    pair = cine(tmp_path, "a", matrix=matrix)
    samples = read(plan_of([VolumeRow(*pair, "A", "a")], size=96, spacing=1.0))
    sample = samples[0]
    assert (sample.columns["spacing"], sample.columns["spacing_y"]) == (1.0, 1.0)
    across = {samples[0].columns["top"], samples[0].columns["left"]}
    assert across == {-8, -28}  # 80 and 40 pixels in 96
    view_counts = np.bincount(samples[1].mask.ravel(), minlength=4)[1:]
    assert view_counts == pytest.approx(2 * np.bincount(heart()[..., 1].ravel())[1:], rel=0.05)


def test_cropped_labels_match_the_survey(rows: list[VolumeRow]) -> None:
    found = plan_of(rows[:1], size=32, sizes={"": 32})
    masks = np.stack([sample.mask for sample in read(found)])
    counts = np.bincount(masks.ravel(), minlength=4)
    assert counts.tolist() == found.volumes[0].stored.tolist()
    assert counts.sum() == 6 * 32 * 32


def test_truncated_volume_does_not_stop_the_others(tmp_path: Path, rows: list[VolumeRow]) -> None:
    found = plan_of(rows)
    whole = rows[0].image.read_bytes()
    rows[0].image.write_bytes(whole[: len(whole) // 2])
    failures = ["before"]
    path, invocation = tmp_path / "d.zarr", Invocation("extract mri")
    written = write_volumes(path, found, invocation, failures, 2, SILENT)
    assert [volume.name for volume in written] == ["b_sa"]
    assert "a_sa.nii.gz: the file is truncated or damaged" in failures[1]
    assert set(open_dataset(path).domain("A").columns["subject"]) == {"b"}


def test_error_if_no_volume_can_be_read(tmp_path: Path, rows: list[VolumeRow]) -> None:
    found = plan_of(rows)
    for image in (volume.image for volume in rows):
        image.write_bytes(image.read_bytes()[:5000])
    with pytest.raises(SourceError, match=r"no volume could be read; the first failure: .*a_sa"):
        write_volumes(tmp_path / "d.zarr", found, Invocation("extract mri"), [], 1, SILENT)


def test_unlabelled_slices_are_complete_after_resuming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty, rows = np.zeros((40, 40, 9), dtype=np.uint8), []
    for name in "abc":
        files = (save(tmp_path / f"{name}{part}.nii", empty) for part in "im")
        rows.append(VolumeRow(*files, "A", name))
    found, path = plan_of(rows), tmp_path / "d.zarr"
    read, calls = module.read_volume, []

    def stop(*given: Any) -> Any:  # noqa: ANN401
        calls.append(given)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return read(*given)

    with monkeypatch.context() as patch:
        patch.setattr(module, "read_volume", stop)
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
def test_one_contact_sheet_per_domain(tmp_path: Path) -> None:
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


def test_captions_distinguish_volumes_of_a_subject(tmp_path: Path) -> None:
    """Frames in separate files (ED and ES) are all frame 0."""
    writer = DatasetWriter(tmp_path / "d.zarr", ("background", "LV"), Invocation("x"))
    for volume, phase in (("p_ED", ""), ("p_ES", ""), ("p_cine", "ED")):
        one = sample(0, "A", 1)
        facts = {**one.columns, "volume": volume, "phase": phase}
        writer.append(replace(one, id=volume, columns=facts))
    writer.finish()
    captions = _captions(open_dataset(tmp_path / "d.zarr").domains["A"])
    assert captions == ["p 0 0\np_ED", "p 0 0\np_ES", "p ED 0"]
