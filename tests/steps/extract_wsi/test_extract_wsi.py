"""The whole extraction on small slides with known tissue and annotations."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from heard import Heard
from pyramids import write_pyramid
from skiptool.errors import ArgumentError, ExistsError, FormatError, LeftoverError, SourceError
from skiptool.extraction import ExtractionTarget
from skiptool.names import IGNORE_LABEL, Kind, PatchMode
from skiptool.records import SILENT, Architecture, Outcome, Sample, Table
from skiptool.sources.patches.painting import Patch
from skiptool.sources.pictures.files import read_picture
from skiptool.sources.registration.transforms import Alignment
from skiptool.sources.slides.manifest import SlideRow
from skiptool.sources.slides.slide import Slide
from skiptool.steps.extract_images import extract_images
from skiptool.steps.extract_wsi import extract_wsi, registration, writing
from skiptool.steps.extract_wsi.extract_wsi import (
    check_options,
    check_target,
    dry_run_table,
    extract_slides,
    input_ids,
)
from skiptool.steps.extract_wsi.plan import PatchBatch
from skiptool.steps.extract_wsi.registration import PatchSite, PatchView
from skiptool.steps.extract_wsi.settings import PatchSettings, registration_cache_folder
from skiptool.steps.extract_wsi.survey import SurveyedSlide, assign_labels
from skiptool.stores.dataset import DatasetStore, PackedSample, open_dataset
from skiptool.stores.dataset_writer import DatasetWriter
from skiptool.stores.lineage import create_lineage
from skiptool.stores.models import model_identity, write_model
from skiptool.stores.staging import partial_path
from skiptool.stores.zarrs import record_failures, recorded_failures
from slide_cases import (
    AREAS,
    POINTS,
    SIZE,
    area,
    picture,
    point,
    surveyed,
    true_mask,
    write_geojson,
    write_manifest,
    write_slide,
    write_sliderunner,
)
from small_stores import MAKING, refused

Contents = Callable[[Path], dict[str, bytes]]

CLASSES = "tumor=SCC;non-tumor=Dermis;ignore=Bone"
LABELS = {"SCC": 1, "Dermis": 2}

GRID = PatchSettings(patch_size=96, min_tissue=0.3, classes=CLASSES)
COARSE = PatchSettings(patch_size=150, classes=CLASSES)
SAMPLED = PatchSettings(mode=PatchMode.SAMPLED, patch_size=48, patches=10, draws=2, classes=CLASSES)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Four slides of four subjects in domain A; two of them in B, finer (0.2 um/px) and larger."""
    folder = tmp_path_factory.mktemp("cohort")
    write_geojson(folder / "a.json")
    finer = [
        (name, [[(x * 1.25, y * 1.25) for x, y in ring] for ring in rings], record)
        for name, rings, record in AREAS
    ]
    write_geojson(folder / "b.json", finer)
    rows = []
    for number in range(4):
        write_slide(folder / f"a{number}.tiff", number)
        rows.append({"path": f"a{number}.tiff", "domain": "A", "subject": f"s{number}"})
        rows[-1]["annotations"] = "a.json"
    for number in range(2):
        image = cv2.resize(picture(number), None, fx=1.25, fy=1.25)
        write_pyramid(folder / f"b{number}.tiff", image, levels=2, mpp=0.2, quality=None)
        rows.append({"path": f"b{number}.tiff", "domain": "B", "subject": f"s{number}"})
        rows[-1]["annotations"] = "b.json"
    return SimpleNamespace(folder=folder, rows=rows)


def extract(
    cohort: SimpleNamespace,
    out: Path,
    settings: PatchSettings = GRID,
    rows: Sequence[dict[str, Any]] | None = None,
    **how: Any,  # noqa: ANN401
) -> Outcome:
    listed = cohort.rows if rows is None else rows
    manifest = write_manifest(cohort.folder / f"{out.stem}.csv", listed)
    given = {"folds": 2, "pictures": False, "workers": 1}
    return extract_slides(manifest, out, settings=settings, **(given | how))


def samples(store: DatasetStore, domain: str) -> list[tuple[dict[str, Any], Any, Any]]:
    """Return columns, image and mask of every sample."""
    columns = store.domain(domain).columns
    reader = store.samples(domain, range(len(columns["id"])))
    return [
        ({name: values[at] for name, values in columns.items()}, *reader.read(at))
        for at in range(len(columns["id"]))
    ]


def check_masks(store: DatasetStore, domain: str, zoom: float = 1.0) -> None:
    """Compare masks with those computed pixel by pixel; ``zoom``: level-0 px per px of A's."""
    found = samples(store, domain)
    assert found
    for row, image, mask in found:
        mpp = 0.25 / zoom
        scale = row["mpp"] / mpp / zoom, row["mpp_y"] / mpp / zoom
        truth, sure = true_mask(row["x"] / zoom, row["y"] / zoom, len(image), scale, LABELS)
        assert (mask == truth)[sure].all(), row
        assert sure.mean() > 0.6
        assert set(np.unique(mask)) <= {0, 1, 2, IGNORE_LABEL}
        known = mask != IGNORE_LABEL
        share = (mask[known] > 0).mean() if known.any() else 0.0
        assert row["foreground"] == pytest.approx(share)


def test_grid_patches_of_two_scanners(cohort: SimpleNamespace, tmp_path: Path) -> None:
    heard, out = Heard(), tmp_path / "d.zarr"
    found = extract(cohort, out, progress=heard)
    assert (found.outputs, found.side_outputs, found.failures) == ((out,), (), ())
    assert not [line for line in heard.lines if "class" in line]
    store = open_dataset(out)
    assert store.classes == ("background", "tumor", "non-tumor")
    assert list(store.domains) == ["A", "B"]
    for domain, zoom in (("A", 1.0), ("B", 1.25)):
        check_masks(store, domain, zoom)
        columns = store.domain(domain).columns
        assert {"slide", "x", "y", "mpp", "mpp_y", "level", "tissue", "foreground"} <= set(columns)
        assert (columns["tissue"] > 0.3).all()
        assert (columns["level"] == 0).all()
        assert np.allclose(columns["mpp"], 0.25 / zoom, rtol=1e-3)
        assert not {"draw", "record", "residual"} & set(columns)
    counts = {name: len(domain) for name, domain in store.domains.items()}
    assert found.summary["samples"] == counts
    assert found.summary["slides"] == 6
    assert found.summary["train"] + found.summary["test"] == sum(counts.values())
    # The stored image is that of the slide.
    row, image, _ = samples(store, "A")[7]
    number = int(row["slide"][1:])
    x, y = int(row["x"]), int(row["y"])
    there = picture(number)[y : y + 96, x : x + 96]
    assert (image[: len(there), : there.shape[1]] == there).all()


@pytest.mark.parametrize("settings", [GRID, SAMPLED])
def test_names_in_no_class_are_ignored_and_reported_as_failure(
    cohort: SimpleNamespace, tmp_path: Path, settings: PatchSettings
) -> None:
    settings = replace(settings, classes="tumor=SCC;non-tumor=Dermis")
    found = extract(cohort, tmp_path / "d.zarr", settings, cohort.rows[:2])
    (line,) = found.failures
    assert "annotations in no class are ignored (255): Bone (2)" in line
    assert "'ignore=Bone'" in line
    assert recorded_failures(tmp_path / "d.zarr") == [line]
    store = open_dataset(tmp_path / "d.zarr")
    assert store.classes == ("background", "tumor", "non-tumor")
    check_masks(store, "A")


@pytest.mark.long
def test_subjects_keep_their_split_in_all_domains(cohort: SimpleNamespace, tmp_path: Path) -> None:
    extract(cohort, tmp_path / "d.zarr", test_fraction=0.25)
    store = open_dataset(tmp_path / "d.zarr")
    sides: dict[str, set[tuple[str, int]]] = {}
    for domain in store.domains.values():
        columns = domain.columns
        for subject, *side in zip(
            columns["subject"], columns["split"], columns["fold"].tolist(), strict=True
        ):
            sides.setdefault(subject, set()).add(tuple(side))
    assert all(len(side) == 1 for side in sides.values())
    assert sorted(fold for side in sides.values() for _, fold in side) in (
        [-1, 0, 0, 1],
        [-1, 0, 1, 1],
    )


@pytest.mark.long
def test_sampled_patches_and_draws(cohort: SimpleNamespace, tmp_path: Path) -> None:
    extract(cohort, tmp_path / "d.zarr", SAMPLED)
    store = open_dataset(tmp_path / "d.zarr")
    check_masks(store, "A")
    check_masks(store, "B", 1.25)
    columns = store.domain("A").columns
    train = columns["split"] == "train"
    assert train.sum() == 3 * 20
    assert (~train).sum() == 10
    assert (columns["draw"][~train] == 0).all()
    assert np.bincount(columns["draw"][train]).tolist() == [30, 30]
    drawn = {name: int((columns["drawn"] == name).sum()) for name in set(columns["drawn"])}
    assert set(drawn) == {"background", "SCC", "Dermis"}
    assert drawn["background"] == 7
    assert set(columns["record"]) == {"", "a1", "a2"}
    for row, _, mask in samples(store, "A"):
        if row["drawn"] == "background":
            assert (mask == 0).mean() > 0.9


def test_centred_patches_at_points_of_a_database(tmp_path: Path) -> None:
    image = np.full((200, 300, 3), (226, 160, 196), np.uint8)
    rows, columns = np.mgrid[:200, :300] + 0.5
    nuclei = {"7": (100, 100), "9": (20, 60)}
    for x, y in nuclei.values():
        image[np.hypot(columns - x, rows - y) < 12] = (84, 60, 130)
    write_pyramid(tmp_path / "a.tiff", image, levels=1, mpp=0.25, quality=None)
    points = [("mitosis", nuclei["7"], "7"), ("look-alike", nuclei["9"], "9")]
    write_sliderunner(tmp_path / "a.sqlite", {"a.tiff": (300, 200)}, points)
    row = {"path": "a.tiff", "domain": "A", "subject": "s", "annotations": "a.sqlite"}
    manifest = write_manifest(tmp_path / "m.csv", [row])
    settings = PatchSettings(
        mode=PatchMode.CENTRED, patch_size=64, classes="m=mitosis;l=look-alike"
    )
    extract_slides(manifest, tmp_path / "d.zarr", settings=settings, pictures=False)
    found = samples(open_dataset(tmp_path / "d.zarr"), "A")
    assert [row["id"] for row, _, _ in found] == ["a-7", "a-9"]
    for label, (row, _, mask) in enumerate(found, 1):
        x, y = nuclei[row["record"]]
        assert row["annotation"] == ("mitosis", "look-alike")[label - 1]
        assert (row["x"], row["y"]) == (x - 32, y - 32)
        rows, columns = np.mgrid[:64, :64] + 0.5
        truth = np.hypot(columns - 32, rows - 32) < 12
        if label == 2:  # reaches beyond the slide, where pixels are ignored
            assert (mask[:, :12] == IGNORE_LABEL).all()
            truth, mask = truth[:, 12:], mask[:, 12:]
        assert ((mask == label) & truth).sum() / ((mask == label) | truth).sum() > 0.9
        assert set(np.unique(mask)) == {0, label}
    # The second one reaches beyond the slide, which is white.
    assert (found[1][1][:, :12] == 255).all()
    assert (found[1][1][:, 12] != 255).any()


def test_masks_without_annotations_are_ignored_everywhere(
    cohort: SimpleNamespace, tmp_path: Path
) -> None:
    rows = [row | {"annotations": ""} for row in cohort.rows[:2]]
    extract(cohort, tmp_path / "d.zarr", PatchSettings(patch_size=64), rows)
    store = open_dataset(tmp_path / "d.zarr")
    assert store.classes == ("background",)
    assert all((mask == IGNORE_LABEL).all() for _, _, mask in samples(store, "A"))


def test_slide_with_an_empty_annotation_file_has_no_foreground(
    cohort: SimpleNamespace, tmp_path: Path
) -> None:
    write_geojson(cohort.folder / "nothing.json", [])
    rows = [cohort.rows[0], cohort.rows[1] | {"annotations": "nothing.json"}]
    extract(cohort, tmp_path / "d.zarr", rows=rows)
    for row, _, mask in samples(open_dataset(tmp_path / "d.zarr"), "A"):
        assert row["slide"] == "a0" or not (mask > 0)[mask != IGNORE_LABEL].any()


def test_slide_may_have_its_own_class_map_and_offset(
    cohort: SimpleNamespace, tmp_path: Path
) -> None:
    moved = [
        (name, [[(x - 20, y + 30) for x, y in ring] for ring in rings], record)
        for name, rings, record in AREAS
    ]
    write_geojson(cohort.folder / "moved.json", moved)
    own = {"label_map": "non-tumor=SCC;tumor=Bone;ignore=Dermis", "x_offset": 20, "y_offset": -30}
    rows = [cohort.rows[0], cohort.rows[1] | {"annotations": "moved.json"} | own]
    assert extract(cohort, tmp_path / "d.zarr", rows=rows).failures == ()
    for row, image, mask in samples(open_dataset(tmp_path / "d.zarr"), "A"):
        labels = LABELS if row["slide"] == "a0" else {"SCC": 2, "Bone": 1}
        truth, sure = true_mask(row["x"], row["y"], len(image), (1.0, 1.0), labels)
        assert (mask == truth)[sure].all(), row


@pytest.mark.long
def test_levels_and_resolutions(cohort: SimpleNamespace, tmp_path: Path) -> None:
    rows = [row | {"level": 1} for row in cohort.rows[:2]]
    extract(cohort, tmp_path / "level.zarr", PatchSettings(patch_size=40, classes=CLASSES), rows)
    store = open_dataset(tmp_path / "level.zarr")
    check_masks(store, "A")
    assert (store.domain("A").columns["level"] == 1).all()
    assert np.allclose(store.domain("A").columns["mpp"], 0.5, rtol=1e-3)

    # One resolution for both scanners: the same field of view, whatever their pixels are.
    settings = PatchSettings(patch_size=50, mpp=0.4, classes=CLASSES)
    extract(cohort, tmp_path / "mpp.zarr", settings)
    store = open_dataset(tmp_path / "mpp.zarr")
    check_masks(store, "A")
    check_masks(store, "B", 1.25)
    places = {}
    for domain, size in (("A", 0.25), ("B", 0.2)):
        columns = store.domain(domain).columns
        assert np.allclose(columns["mpp"], 0.4, rtol=1e-9)
        assert np.allclose(columns["mpp_y"], 0.4, rtol=1e-9)
        assert (columns["level"] == -1).all()
        places[domain] = {
            (row["subject"], round(row["x"] * size), round(row["y"] * size)): (image, mask)
            for row, image, mask in samples(store, domain)
        }
    shared = set(places["A"]) & set(places["B"])
    assert len(shared) > 20
    for place in shared:
        (image, mask), (other, there) = places["A"][place], places["B"][place]
        assert np.abs(image.astype(int) - other).mean() < 6
        assert (mask != there).mean() < 0.03


@pytest.mark.long
def test_draws_depend_on_seed_and_slide_but_not_on_the_manifest(
    cohort: SimpleNamespace, tmp_path: Path
) -> None:
    def drawn(name: str, rows: Sequence[dict[str, Any]], seed: int = 0) -> dict[str, Any]:
        rows = [row | {"split": "train"} for row in rows]
        extract(cohort, tmp_path / name, SAMPLED, rows, seed=seed)
        found: dict[str, Any] = {}
        for row, image, _ in samples(open_dataset(tmp_path / name), "A"):
            at = (row["draw"], row["x"], row["y"], row["drawn"], image.tobytes())
            found.setdefault(row["subject"], []).append(at)
        return found

    rows = cohort.rows[:3]
    first = drawn("first.zarr", rows)
    assert drawn("order.zarr", rows[::-1]) == first
    assert drawn("fewer.zarr", rows[:1]) == {"s0": first["s0"]}
    copy = cohort.folder / "renamed.svs"
    copy.write_bytes((cohort.folder / "a0.tiff").read_bytes())
    assert drawn("renamed.zarr", [rows[0] | {"path": "renamed.svs"}]) == {"s0": first["s0"]}
    other = drawn("seed.zarr", rows, seed=1)
    assert all(first[subject] != other[subject] for subject in first)


@pytest.mark.long
@pytest.mark.parametrize("settings", [pytest.param(GRID, marks=pytest.mark.slow), SAMPLED])
def test_store_does_not_depend_on_the_number_of_workers(
    cohort: SimpleNamespace, tmp_path: Path, contents: Contents, settings: PatchSettings
) -> None:
    for workers in (1, 2):
        extract(cohort, tmp_path / f"{workers}.zarr", settings, cohort.rows[2:], workers=workers)
    assert contents(tmp_path / "1.zarr") == contents(tmp_path / "2.zarr")


@pytest.mark.slow
def test_store_is_the_same_with_a_cluster(
    cohort: SimpleNamespace, tmp_path: Path, contents: Contents
) -> None:
    pytest.importorskip("distributed")
    extract(cohort, tmp_path / "1.zarr")
    extract(cohort, tmp_path / "2.zarr", dask="local", workers=2)
    assert contents(tmp_path / "1.zarr") == contents(tmp_path / "2.zarr")


@pytest.mark.long
def test_only_one_split_is_extracted(cohort: SimpleNamespace, tmp_path: Path) -> None:
    rows = [
        row | {"split": "test" if row["subject"] in ("s1", "s3") else "train"}
        for row in cohort.rows
    ]
    for split, subjects in (("train", {"s0", "s2"}), ("test", {"s1", "s3"})):
        out = tmp_path / f"{split}.zarr"
        found = extract(cohort, out, rows=rows, split=split)
        assert found.failures == ()
        columns = open_dataset(out).domain("A").columns
        assert set(columns["subject"]) == subjects
        assert set(columns["split"]) == {split}
    with refused(ArgumentError, "--split validation", "train, test or all"):
        extract(cohort, tmp_path / "x.zarr", split="validation")
    with refused(SourceError, "no slide is in split test"):
        extract(cohort, tmp_path / "x.zarr", split="test", test_fraction=0.0)


def test_contradictory_splits_in_the_manifest_are_refused(
    cohort: SimpleNamespace, tmp_path: Path
) -> None:
    rows = [row | {"split": "train"} for row in cohort.rows]
    both = [*rows[:-1], rows[-1] | {"split": "test"}]
    with refused(SourceError, "b1.tiff: split is test", "subject s1"):
        extract(cohort, tmp_path / "x.zarr", rows=both)
    assert not list(tmp_path.iterdir())


def test_selected_domains_are_extracted(cohort: SimpleNamespace, tmp_path: Path) -> None:
    found = extract(cohort, tmp_path / "d.zarr", domains=["B"])
    assert list(open_dataset(tmp_path / "d.zarr").domains) == ["B"]
    assert found.summary["slides"] == 2


def test_failed_slides_do_not_stop_the_others(cohort: SimpleNamespace, tmp_path: Path) -> None:
    rows = [*cohort.rows[:2], cohort.rows[2] | {"path": "gone.tiff"}]
    found = extract(cohort, tmp_path / "d.zarr", rows=rows)
    (line,) = found.failures
    assert "gone.tiff: no such slide" in line
    assert recorded_failures(tmp_path / "d.zarr") == [line]
    assert found.summary["failed"] == 1


BARE = [{"path": "gone.tiff", "domain": "A", "subject": "s"}]
NOTHING: dict[str, tuple[dict[str, Any], type[Exception], tuple[str, ...]]] = {
    "all fail": ({"rows": BARE}, SourceError, ("all 1 slides failed, the first", "gone.tiff")),
    "no patch": (
        {"settings": PatchSettings(patch_size=2048)},
        SourceError,
        ("no patch at all", "--dry-run", "the first of 6 failures", "more tissue than 0.5"),
    ),
    "register unknown": (
        {"settings": PatchSettings(register="C")},
        ArgumentError,
        ("--register C", "domains are A, B"),
    ),
    "domain unknown": ({"domains": ["C"]}, ArgumentError, ("C", "A, B")),
    "model missing": (
        {"settings": PatchSettings(mode=PatchMode.CENTRED, mask="model:gone")},
        FormatError,
        ("gone",),
    ),
    "fraction": ({"test_fraction": 1.0}, ArgumentError, ("test fraction 1",)),
    "folds": ({"folds": 0}, ArgumentError, ("0 folds",)),
    "parent": ({"export": Path("no/such/folder")}, SourceError, ("no/such does not exist",)),
    "qc parent": ({"qc": Path("no/such/qc"), "pictures": True}, SourceError, ("no/such",)),
}


@pytest.mark.parametrize("name", NOTHING)
def test_failed_runs_leave_no_files(cohort: SimpleNamespace, tmp_path: Path, name: str) -> None:
    how, kind, words = NOTHING[name]
    with refused(kind, *words):
        extract(cohort, tmp_path / "d.zarr", **how)
    assert list(tmp_path.iterdir()) == []


def test_error_if_no_patch_can_be_read(
    cohort: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def torn(_settings: object, _pool: object, batch: PatchBatch) -> list[str]:
        return ["a0.tiff: is torn"] * len(batch.sites)

    monkeypatch.setattr("skiptool.steps.extract_wsi.writing.read_batch", torn)
    with refused(SourceError, "no patch could be read; the first failure: ", "a0.tiff: is torn"):
        extract(cohort, tmp_path / "d.zarr", COARSE, cohort.rows[:1])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_dry_run_tabulates_slides_and_writes_nothing(
    cohort: SimpleNamespace, tmp_path: Path
) -> None:
    rows = [*cohort.rows, cohort.rows[0] | {"path": "gone.tiff"}]
    found = extract(cohort, tmp_path / "d.zarr", SAMPLED, rows, dry_run=True)
    assert list(tmp_path.iterdir()) == []
    assert found.outputs == ()
    assert len(found.failures) == 1
    (table,) = found.tables
    columns = table.columns
    assert columns["slide"] == ["a0", "a1", "a2", "a3", "b0", "b1"]
    assert set(columns["vendor"]) == {"generic-tiff"}
    assert columns["width"][0] == SIZE[0]
    assert columns["annotations"][0] == "ignored 1, non-tumor 1, tumor 1"
    real = extract(cohort, tmp_path / "d.zarr", SAMPLED, rows)
    assert sum(columns["patches"]) == sum(real.summary["samples"].values())
    assert columns["bytes"] == [count * 48 * 48 * 4 for count in columns["patches"]]
    assert found.summary["bytes before compression"] == sum(columns["bytes"])


@pytest.mark.long
def test_interrupted_run_can_be_resumed(
    cohort: SimpleNamespace, tmp_path: Path, contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, whole, seen = tmp_path / "d.zarr", tmp_path / "whole.zarr", []
    extract(cohort, whole)

    class Interrupted(DatasetWriter):
        def append(self, sample: Sample | PackedSample) -> None:
            seen.append(sample)
            if len(seen) == 31:
                raise KeyboardInterrupt
            super().append(sample)

    with monkeypatch.context() as patch:
        patch.setattr(writing, "DatasetWriter", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            extract(cohort, out)
    assert not out.exists()
    with refused(ExistsError, "seed was 0, now 3"):
        extract(cohort, out, seed=3, resume=True)
    with refused(ExistsError, "patch_size was 96, now 32"):
        extract(cohort, out, PatchSettings(patch_size=32), resume=True)
    with refused(LeftoverError, "left of an interrupted run"):
        extract(cohort, out)
    assert extract(cohort, out, resume=True).outputs == (out,)
    assert contents(out) == contents(whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.zarr", "whole.zarr"]
    # A complete store is left unchanged.
    assert extract(cohort, out, resume=True).outputs == (out,)
    with refused(ExistsError, "files was"):
        extract(cohort, out, rows=cohort.rows[:2], resume=True)


def test_moved_files_can_be_resumed(cohort: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for name in ("a0.tiff", "a.json"):
        (tmp_path / "there" / name).write_bytes((cohort.folder / name).read_bytes())
    out, rows = tmp_path / "d.zarr", cohort.rows[:1]
    extract(cohort, out, rows=rows)
    moved = SimpleNamespace(folder=tmp_path / "there", rows=rows)
    assert extract(moved, out, rows=rows, resume=True).outputs == (out,)
    changed = json.loads((tmp_path / "there" / "a.json").read_text())
    changed["features"].pop()
    (tmp_path / "there" / "a.json").write_text(json.dumps(changed))
    with refused(ExistsError, "files was"):
        extract(moved, out, rows=rows, resume=True)


@pytest.mark.long
def test_exported_pairs_can_be_imported(cohort: SimpleNamespace, tmp_path: Path) -> None:
    out, pairs = tmp_path / "d.zarr", tmp_path / "pairs"
    found = extract(cohort, out, SAMPLED, export=pairs)
    assert found.side_outputs == (pairs,)
    classes = (pairs / "classes.txt").read_text().strip().split(",")
    extract_images(tmp_path / "e.zarr", manifest=pairs / "manifest.csv", classes=classes, folds=2)
    first, again = open_dataset(out), open_dataset(tmp_path / "e.zarr")
    assert first.classes == again.classes
    assert sorted(first.domains) == sorted(again.domains)
    for domain in first.domains:
        for (row, image, mask), (other, picture_, mask_) in zip(
            samples(first, domain), samples(again, domain), strict=True
        ):
            for column in ("id", "subject", "split"):
                assert row[column] == other[column]
            assert (image == picture_).all()
            assert (mask == mask_).all()


def test_exported_pairs_are_never_overwritten(cohort: SimpleNamespace, tmp_path: Path) -> None:
    out, pairs, rows = tmp_path / "d.zarr", tmp_path / "pairs", cohort.rows[:1]
    extract(cohort, out, COARSE, rows, export=pairs)
    corrected = next((pairs / "masks" / "A").iterdir())
    corrected.write_bytes(b"by hand")
    with refused(ExistsError, "pairs: exists already", "corrected by hand"):
        extract(cohort, tmp_path / "e.zarr", COARSE, rows, export=pairs)
    with refused(ExistsError, "pairs: exists already"):
        extract(cohort, out, COARSE, rows, export=pairs, overwrite=True)
    assert extract(cohort, out, COARSE, rows, export=pairs, resume=True).outputs == (out,)
    assert corrected.read_bytes() == b"by hand"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.zarr", "pairs"]


@pytest.mark.long
def test_pictures_are_drawn_next_to_the_store(cohort: SimpleNamespace, tmp_path: Path) -> None:
    rows = cohort.rows[:1]
    found = extract(cohort, tmp_path / "d.zarr", COARSE, rows, pictures=True)
    assert found.side_outputs == (tmp_path / "d-qc",)
    names = sorted(path.name for path in (tmp_path / "d-qc").iterdir())
    assert names[0] == "patches-A.png"
    assert names[1].startswith("slide-A-a0-")
    assert len(names) == 2
    assert read_picture(tmp_path / "d-qc" / names[1]).ndim == 3
    again = extract(cohort, tmp_path / "e.zarr", COARSE, rows, pictures=True, qc=tmp_path / "qc")
    assert again.side_outputs == (tmp_path / "qc",)


def test_points_cannot_be_sampled(cohort: SimpleNamespace, tmp_path: Path) -> None:
    write_geojson(cohort.folder / "points.json", [], POINTS)
    rows = [cohort.rows[0], cohort.rows[1] | {"annotations": "points.json"}]
    unsorted, line = extract(cohort, tmp_path / "d.zarr", SAMPLED, rows).failures
    assert "mitosis (1), look-alike (1)" in unsorted
    assert "a1.tiff" in line
    assert "points.json has 2 annotations" in line


@pytest.fixture
def aligned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give scans of B their true position on those of A; record which are aligned."""
    seen: list[str] = []

    def align(_reference: Slide, other: Slide) -> Alignment:
        seen.append(other.path.name)
        return Alignment(np.array([[1.25, 0.0, 0.0], [0.0, 1.25, 0.0]]), 9)

    monkeypatch.setattr(registration, "align", align)
    return seen


@pytest.mark.long
@pytest.mark.usefixtures("aligned")
def test_glass_slide_with_a_rejected_row_is_in_no_domain(
    cohort: SimpleNamespace, tmp_path: Path
) -> None:
    rows = [*cohort.rows[:5], cohort.rows[5] | {"mpp": "0.2 um"}]  # the scan of s1 in B
    settings = replace(GRID, register="A", patch_size=100)
    rejected, left_out = extract(cohort, tmp_path / "d.zarr", settings, rows).failures
    assert "b1.tiff: mpp '0.2 um' is not a number" in rejected
    assert left_out.startswith("slide s1: its scan in domain B failed")
    store = open_dataset(tmp_path / "d.zarr")
    subjects = {name: set(domain.columns["subject"]) for name, domain in store.domains.items()}
    assert subjects == {"A": {"s0", "s2", "s3"}, "B": {"s0"}}
    check_masks(store, "A")
    check_masks(store, "B", 1.25)


@pytest.mark.long
def test_side_outputs_are_resumed(
    cohort: SimpleNamespace,
    tmp_path: Path,
    contents: Contents,
    monkeypatch: pytest.MonkeyPatch,
    aligned: list[str],
) -> None:
    out, side, pairs = (tmp_path / name for name in ("d.zarr", "d-qc", "pairs"))
    rows = [cohort.rows[0], cohort.rows[4], cohort.rows[1] | {"path": "gone.tiff"}]
    how = {"pictures": True, "export": pairs, "test_fraction": 0.0, "folds": 1}
    run = partial(extract, cohort, out, replace(COARSE, register="A"), rows, **how)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    stores = []
    for number, name in enumerate(("write_registration", "draw_pictures", "export_pairs")):
        with monkeypatch.context() as patch:
            patch.setattr(extract_wsi, name, killed)
            with pytest.raises(KeyboardInterrupt):
                run(resume=number > 0)
        assert registration_cache_folder(out).is_dir()
        if number == 0:  # as if a patch had been unreadable, which only that run knows
            record_failures(out, [*recorded_failures(out), "a0.tiff: 1 patches could not be read"])
        stores.append(contents(out))
        assert (side / "registration.parquet").exists() == (number > 0)
        assert (side / "matched.png").exists() == (number > 1)
        assert not pairs.exists()
    with refused(ExistsError, "d.zarr: exists already"):
        run()
    found = run(resume=True)
    assert aligned == ["b0.tiff"]
    assert (found.outputs, found.side_outputs) == (
        (out,),
        (side / "registration.parquet", side, pairs),
    )
    assert (pairs / "manifest.csv").is_file()
    assert list(found.failures) == recorded_failures(out)
    gone, left_out, unread = found.failures
    assert "gone.tiff: no such slide" in gone
    assert left_out.startswith("slide s1: its scan in domain A failed")
    assert unread == "a0.tiff: 1 patches could not be read"
    assert [*stores[1:], contents(out)] == stores[:1] * 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d-qc", "d.zarr", "pairs"]

    # A complete run is left unchanged, without opening any slide.
    monkeypatch.setattr(extract_wsi, "survey_slides", killed)
    assert run(resume=True) == Outcome((out,))


# -------------------------------------------------------------------------------------------------
# Options and outputs are checked before any work starts.


ROWS = [
    SlideRow(Path(f"{domain}.svs"), domain, "s") for domain in ("Aperio", "Hamamatsu", "Aperio")
]


def words(
    register: str | None = None,
    wanted: Sequence[str] = (),
    split: str = "all",
    rows: Sequence[SlideRow] = ROWS,
) -> None:
    check_options(rows, PatchSettings(register=register), wanted, split)


@pytest.mark.parametrize("split", ["all", "train", "test"])
@pytest.mark.parametrize("register", [None, "Aperio"])
@pytest.mark.parametrize("wanted", [(), ("Aperio",), ("Hamamatsu", "Aperio")])
def test_domains_of_the_manifest_are_accepted(
    split: str, register: str | None, wanted: Sequence[str]
) -> None:
    words(register, wanted, split)


def test_unknown_splits_are_refused() -> None:
    with refused(ArgumentError, "--split val: expected train, test or all"):
        words(split="val")


def test_unknown_domains_are_refused() -> None:
    with refused(ArgumentError, "--domain aperio: the manifest's domains are Aperio, Hamamatsu"):
        words(wanted=["Hamamatsu", "aperio"])
    with refused(ArgumentError, "--register Aperi: ", "Aperio, Hamamatsu; did you mean Aperio?"):
        words("Aperi")


def test_reference_domain_must_be_selected() -> None:
    with refused(ArgumentError, "--register Aperio: the manifest's domains are Hamamatsu"):
        words("Aperio", ["Hamamatsu"])


def test_options_are_not_checked_without_rows() -> None:
    words("Aperio", ["Aperio"], rows=[])


def places(folder: Path, overwrite: bool = False, resume: bool = False) -> None:
    export = folder / "pairs"
    out, qc = folder / "d.zarr", folder / "qc"
    check_target(ExtractionTarget(out, qc, export=export, overwrite=overwrite, resume=resume))


HOW = {"new": {}, "overwrite": {"overwrite": True}, "resume": {"resume": True}}


@pytest.mark.parametrize("how", HOW)
def test_free_outputs_are_accepted_and_left_unchanged(tmp_path: Path, how: str) -> None:
    places(tmp_path, **HOW[how])
    assert list(tmp_path.iterdir()) == []
    for name in ("qc", "pairs"):
        (tmp_path / name).mkdir()
    (tmp_path / "qc" / "old.png").touch()  # pictures are added to an existing folder
    places(tmp_path, **HOW[how])
    check_target(ExtractionTarget(tmp_path / "d.zarr", tmp_path / "qc"))


def test_missing_parents_are_refused(tmp_path: Path) -> None:
    good, bad = tmp_path / "x", tmp_path / "no" / "x"
    for out, qc, export in ((bad, good, good), (good, bad, good), (good, good, bad)):
        with refused(SourceError, "no does not exist; create it first"):
            check_target(ExtractionTarget(out, qc, export=export, overwrite=True))


@pytest.mark.parametrize("left", [registration_cache_folder, partial_path])
def test_leftovers_are_resumed_or_replaced_on_request(
    tmp_path: Path, left: Callable[[Path], Path]
) -> None:
    leftover = left(tmp_path / "d.zarr")
    leftover.mkdir()
    kind = LeftoverError if left is partial_path else ExistsError
    with refused(kind, leftover.name, "interrupted run", "--overwrite"):
        places(tmp_path)
    places(tmp_path, resume=True)
    places(tmp_path, overwrite=True)


@pytest.mark.parametrize("name", ["masks.png", "manifest.csv"])
@pytest.mark.parametrize("how", HOW)
def test_exported_pairs_are_never_replaced(tmp_path: Path, how: str, name: str) -> None:
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs" / name).touch()
    with refused(ExistsError, "pairs: exists already", "corrected by hand", "another --export"):
        places(tmp_path, **HOW[how])


def test_file_instead_of_export_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pairs").touch()
    for how in HOW.values():
        with refused(ExistsError, "pairs: exists already"):
            places(tmp_path, **how)


# -------------------------------------------------------------------------------------------------
# Ids of inputs.


def rows(folder: Path, content: bytes = b"slide", **more: object) -> list[SlideRow]:
    folder.mkdir(exist_ok=True)
    (folder / "a.svs").write_bytes(content)
    (folder / "a.json").write_bytes(b"[]")
    return [SlideRow(folder / "a.svs", "A", "s", annotations=folder / "a.json", **more)]


def test_input_ids_do_not_depend_on_locations(tmp_path: Path) -> None:
    first = input_ids(rows(tmp_path / "here"), PatchSettings())
    assert set(first) == {"files"}
    assert input_ids(rows(tmp_path / "there"), PatchSettings()) == first


def test_input_ids_depend_on_contents_and_manifest(tmp_path: Path) -> None:
    ids = [
        input_ids(rows(tmp_path / str(number), **new), PatchSettings())["files"]
        for number, new in enumerate(
            [{}, {"content": b"Slide"}, {"mpp": (0.25, 0.25)}, {"level": 1}, {"label_map": "a=b"}]
        )
    ]
    assert len(set(ids)) == 5
    (row,) = rows(tmp_path / "renamed")
    row.path.rename(tmp_path / "renamed" / "b.svs")
    other = SlideRow(tmp_path / "renamed" / "b.svs", "A", "s", annotations=row.annotations)
    assert input_ids([other], PatchSettings())["files"] not in ids


@pytest.mark.parametrize("missing", ["a.svs", "a.json"])
def test_input_ids_depend_on_missing_files(tmp_path: Path, missing: str) -> None:
    listed = rows(tmp_path)
    whole = input_ids(listed, PatchSettings())
    (tmp_path / missing).unlink()
    assert input_ids(listed, PatchSettings()) != whole


def test_model_is_an_input(tmp_path: Path) -> None:
    architecture, tensors = Architecture("resnet18", (), ("background", "cell")), {"a": np.ones(3)}
    header = create_lineage(Kind.MODEL, MAKING, model_identity(architecture, tensors))
    (tmp_path / "model").mkdir()
    write_model(tmp_path / "model", architecture, tensors, header, {"fold": 0})

    def made(folder: Path) -> dict[str, str]:
        settings = PatchSettings(mode=PatchMode.CENTRED, mask=f"model:{folder}")
        return input_ids(rows(tmp_path), settings)

    assert made(tmp_path / "model")["model"] == header.id
    with refused(FormatError, "gone"):
        made(tmp_path / "gone")


# -------------------------------------------------------------------------------------------------
# The table of the dry run.


BOX = (0.0, 0.0, 9.0, 9.0)


def laid_out(
    slides: list[SurveyedSlide],
    places: list[int],
    **settings: Any,  # noqa: ANN401
) -> tuple[Outcome, Table]:
    chosen = PatchSettings(**settings)
    labels, _ = assign_labels(slides, chosen, SILENT)
    sites = [
        PatchSite(str(n), (PatchView(place, Patch(0, 0, 1)),)) for n, place in enumerate(places)
    ]
    outcome = dry_run_table(slides, sites, labels, chosen, ["x.svs: no such slide"])
    (table,) = outcome.tables
    return outcome, table


def rows_of_forecast(table: Table) -> list[dict[str, Any]]:
    return [
        dict(zip(table.columns, row, strict=True))
        for row in zip(*table.columns.values(), strict=True)
    ]


def test_dry_run_table_has_one_row_per_slide() -> None:
    shapes = [area("SCC", BOX), area("scc", BOX), area("Bone", BOX), point("", 1, 1)]
    slides = [
        replace(surveyed("a", shapes, mpp=(0.25, 0.26)), dropped={"lines": 2}, faults=("x",)),
        surveyed("b", domain="B", mpp=None),
    ]
    outcome, table = laid_out(slides, [0, 0, 1], patch_size=100, classes="tumor=SCC")
    assert rows_of_forecast(table) == [
        {
            **{"slide": "a", "domain": "A", "subject": "a", "vendor": "aperio"},
            **{"width": 600, "height": 480, "levels": 3, "mpp": 0.25, "mpp_y": 0.26},
            "annotations": "Bone (no class) 1, cannot be read 1, left out (lines) 2, tumor 2, "
            "unnamed (no class) 1",
            **{"patches": 2, "bytes": 80_000},
        },
        {
            **{"slide": "b", "domain": "B", "subject": "b", "vendor": "aperio"},
            **{"width": 600, "height": 480, "levels": 3, "mpp": None, "mpp_y": None},
            **{"annotations": "none", "patches": 1, "bytes": 40_000},
        },
    ]
    assert outcome.outputs == ()
    assert outcome.failures == ("x.svs: no such slide",)
    assert outcome.summary == {
        **{"slides": 2, "patches": 3, "bytes before compression": 120_000, "failed": 1}
    }
    assert table.title == "grid patches of 100 px"


def test_dry_run_explains_slides_without_patches() -> None:
    slides = [surveyed("a"), surveyed("b", domain="B"), surveyed("c", tissue=False)]
    outcome, _ = laid_out(slides, [0], patch_size=500, min_tissue=0.7)
    first, second, third = outcome.failures
    assert first == "x.svs: no such slide"
    assert second.startswith("b.svs: no patch of 500 px has more tissue than 0.7")
    assert third.endswith("no tissue is found on the slide")
    # Scans to be registered get their patches from the reference.
    outcome, _ = laid_out(slides[:2], [0], patch_size=500, register="A")
    assert len(outcome.failures) == 1


def test_dry_run_counts_draws() -> None:
    settings = {"mode": PatchMode.SAMPLED, "patch_size": 10, "draws": 5}
    outcome, _ = laid_out([surveyed("a")], [0] * 160, **settings)
    assert outcome.summary["draws"] == 5
    assert outcome.summary["bytes before compression"] == 160 * 400


def test_dry_run_counts_patches_of_registered_scans() -> None:
    # Slide 1 of several subjects: names are distinguished by content.
    slides = [
        replace(surveyed(domain=domain, subject=subject, slide="1"), name=f"1-{domain}{subject}")
        for domain in "AB"
        for subject in "st"
    ]
    outcome, table = laid_out(slides, [0, 0, 0, 1], patch_size=10, register="A")
    assert [row["patches"] for row in rows_of_forecast(table)] == [3, 1, 3, 1]
    assert outcome.summary["patches"] == 8
