"""No subject on both sides: of testing, of a fold, of any domain, whatever the data come from."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heard import Heard
from skiptool import synthesise_dataset
from skiptool.errors import SourceError
from skiptool.names import PatchMode, Split
from skiptool.records import SILENT
from skiptool.sources.pictures.files import write_mask, write_picture
from skiptool.splits import SplitOptions, split_of
from skiptool.steps.extract_images import extract_images
from skiptool.steps.extract_mri.extract_mri import extract_mri
from skiptool.steps.extract_mri.settings import SliceSettings
from skiptool.steps.extract_wsi.extract_wsi import extract_slides
from skiptool.steps.extract_wsi.settings import PatchSettings
from skiptool.steps.extract_wsi.survey import assign_slides
from skiptool.stores.dataset import DatasetStore, open_dataset
from skiptool.stores.folds import training_folds
from slide_cases import area, surveyed, write_geojson, write_manifest, write_slide
from small_stores import refused, sample, write_dataset
from volume_cases import affine, challenge, cine, heart, image_of, row, save, write_table

Make = Callable[[Path, Path, int], object]

SUBJECTS = [f"s{number}" for number in range(5)]


def sides(store: DatasetStore) -> dict[str, set[tuple[str, int]]]:
    """Return every (split, fold) that samples of a subject have, over all domains."""
    found: dict[str, set[tuple[str, int]]] = {}
    for domain in store.domains.values():
        names = ("subject", "split", "fold")
        for subject, split, fold in zip(*(domain.columns[n] for n in names), strict=True):
            found.setdefault(str(subject), set()).add((str(split), int(fold)))
    return found


def leaks(store: DatasetStore) -> list[str]:
    """Return the subjects that are in several places, or in a fold though they are for testing."""
    return [
        subject
        for subject, places in sides(store).items()
        if len(places) > 1 or any((split == "test") != (fold == -1) for split, fold in places)
    ]


def derived_leaks(store: DatasetStore, domain: str, folds: int | None, seed: int) -> list[str]:
    """Return the subjects that any fold trains and validates on, or that are for testing too."""
    plan = training_folds(store, domain, folds, seed)
    subjects = plan.domain.columns["subject"]
    tested = {name for name, places in sides(store).items() if ("test", -1) in places}
    found: set[str] = set()
    for fold in plan.fold_numbers:
        train, validation = (set(subjects[part].tolist()) for part in plan.split(fold))
        assert train
        assert validation
        found |= (train & validation) | ((train | validation) & tested)
    return sorted(found)


# Sources ------------------------------------------------------------------------------------------


def pictures(folder: Path, names: Sequence[str], images: str = "images", masks: str = "m") -> None:
    """Write small pictures with masks of two classes, the foreground growing."""
    for number, name in enumerate(names):
        image = np.random.default_rng(number).integers(0, 255, (8, 8, 3), dtype=np.uint8)
        mask = np.zeros((8, 8), dtype=np.uint8)
        mask[:, : 1 + number % 7] = 1
        for part, suffix in ((images, "_0000" if images == "imagesTr" else ""), (masks, "")):
            path = folder / part / f"{name}{suffix}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            if part == images:
                write_picture(path, image)
            else:
                write_mask(path, mask, [(0, 0, 0), (255, 255, 255)])


NAMES = [f"{domain}/{subject}_{n}" for domain in "AB" for subject in SUBJECTS for n in (1, 2)]
HOW: dict[str, Any] = {"folds": 2, "test_fraction": 0.4, "pictures": False, "workers": 1}


def by_folders(folder: Path, out: Path, seed: int) -> None:
    pictures(folder, NAMES)
    where = {"images": folder / "images", "masks": folder / "m"}
    extract_images(out, **where, pattern="{domain}/{subject}_{}.png", seed=seed, **HOW)


def by_manifest(folder: Path, out: Path, seed: int) -> None:
    """Tiles of pictures, listed the other way round in B."""
    pictures(folder, NAMES)
    rows = [f"images/{n}.png,m/{n}.png,{n[0]},{n[2:].split('_')[0]}" for n in NAMES]
    half = len(rows) // 2
    listed = ["image,mask,domain,subject", *rows[:half], *rows[half:][::-1]]
    (folder / "m.csv").write_text("\n".join(listed) + "\n")
    extract_images(out, manifest=folder / "m.csv", seed=seed, patch_size=4, **HOW)


def by_nnunet(folder: Path, out: Path, seed: int) -> None:
    flat = [name.replace("/", "_") for name in NAMES]
    pictures(folder, flat, "imagesTr", "labelsTr")
    about = {
        "channel_names": {"0": "R", "1": "G", "2": "B"},
        "labels": {"background": 0, "cell": 1},
        "file_ending": ".png",
    }
    (folder / "dataset.json").write_text(json.dumps(about))
    extract_images(out, manifest=folder, pattern="{domain}_{subject}_{}", seed=seed, **HOW)


def by_slides(settings: PatchSettings, folder: Path, out: Path, seed: int) -> None:
    """Slides of five subjects in A, of three of them in B, of one twice."""
    rows = []
    points = [("mitosis", (200.0, 150.0), "7"), ("mitosis", (400.0, 300.0), "9")]
    centred = settings.mode is PatchMode.CENTRED
    write_geojson(folder / "a.json", *([[], points] if centred else []))
    scans = [*(("A", name) for name in SUBJECTS), *(("B", name) for name in SUBJECTS[:3])]
    for number, (domain, subject) in enumerate([*scans, ("B", SUBJECTS[0])]):
        name = f"{domain}{number}.tiff"
        write_slide(folder / name, number)
        rows.append({"path": name, "domain": domain, "subject": subject, "annotations": "a.json"})
    manifest = write_manifest(folder / "m.csv", rows)
    extract_slides(manifest, out, settings=settings, seed=seed, **HOW)


def by_volumes(folder: Path, out: Path, seed: int) -> None:
    """Cines of three vendors, ED and ES in files of their own in B; some seen by several."""
    rows = []
    for domain, subjects in (("A", SUBJECTS), ("C", SUBJECTS[1:4])):
        for subject in subjects:
            image, mask = cine(folder, f"{domain}{subject}", shape=(40, 40, 2))
            frames = {"domain": domain, "subject": subject, "frames": "ED=0;ES=3"}
            rows.append(row(image.name, mask.name, **frames))
    for subject in SUBJECTS[:3]:
        for place, phase in enumerate(("ED", "ES")):
            labels, stem = heart(48, 40, 2), f"B{subject}{phase}"
            image = save(folder / f"{stem}.nii.gz", image_of(labels, place), affine())
            mask = save(folder / f"{stem}_gt.nii.gz", labels, affine())
            frames = {"domain": "B", "subject": subject, "frames": f"{phase}=0"}
            rows.append(row(image.name, mask.name, **frames))
    extract_mri(write_table(folder / "m.csv", rows), out, seed=seed, **HOW)


def by_challenge(folder: Path, out: Path, seed: int) -> None:
    subjects = {f"A{n}": ("Training/Labeled", "A", "1") for n in range(4)}
    subjects |= {f"B{n}": ("Testing", "B", "2") for n in range(3)}
    where = challenge(folder / "mnms", subjects)
    chosen = SliceSettings(train_subjects={"A": 3}, test_subjects={"B": 2})
    extract_mri(where, out, seed=seed, settings=chosen, **HOW)


def by_synthesis(folder: Path, out: Path, seed: int) -> None:
    how = {"size": 32, "canvas": 300, "cells": (1, 4), "seed": seed, "workers": 1}
    synthesise_dataset(out, n=10, folds=2, test_fraction=0.4, **how)


CLASSES = "tumor=SCC;non-tumor=Dermis;ignore=Bone"
MODES = {
    "wsi grid": PatchSettings(patch_size=96, min_tissue=0.3, classes=CLASSES),
    "wsi sampled": PatchSettings(
        mode=PatchMode.SAMPLED, patch_size=48, patches=6, draws=3, classes=CLASSES
    ),
    "wsi centred": PatchSettings(
        mode=PatchMode.CENTRED, patch_size=48, classes="m=mitosis", mask="disc:4"
    ),
}

SOURCES: Mapping[str, Make] = {
    "synth": by_synthesis,
    **{name: partial(by_slides, mode) for name, mode in MODES.items()},
    "mri table": by_volumes,
    "mri challenge": by_challenge,
    "images folders": by_folders,
    "images manifest": by_manifest,
    "images nnU-Net": by_nnunet,
}


@pytest.mark.long
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("source", SOURCES)
def test_no_subject_is_on_both_sides(source: str, seed: int, tmp_path: Path) -> None:
    SOURCES[source](tmp_path, tmp_path / "d.zarr", seed)
    store = open_dataset(tmp_path / "d.zarr")
    found = sides(store)
    assert leaks(store) == []
    assert {fold for places in found.values() for _, fold in places} == {-1, 0, 1}
    counted = sum(len(domain) for domain in store.domains.values())
    assert (counted > len(found)) is (source != "synth")  # else nothing could leak
    holding = [name for name, domain in store.domains.items() if domain.select("train")]
    for name in holding:
        subjects = store.domains[name].columns["subject"][store.domains[name].select("train")]
        most = len(set(subjects.tolist()))
        for folds in (None, *range(2, most + 1)):
            if folds or len({fold for s in set(subjects) for _, fold in found[s]}) > 1:
                assert derived_leaks(store, name, folds, seed) == []


# What could leak ----------------------------------------------------------------------------------


@pytest.mark.parametrize("two", ["test", "fold", "domain"])
def test_leak_would_be_detected(two: str, tmp_path: Path) -> None:
    """The measure of the tests above, on stores that do leak."""
    train: dict[str, Any] = {"split": Split.TRAIN, "fold": 0}
    other: dict[str, Any] = {"split": Split.TEST, "fold": -1}
    if two == "fold":
        other = {"split": Split.TRAIN, "fold": 1}
    samples = [
        sample(0, "a", subject="s", **train),
        sample(1, "b" if two == "domain" else "a", subject="s", **other),
        sample(2, "a", subject="t", split=Split.TRAIN, fold=1),
    ]
    write_dataset(tmp_path / "d.zarr", samples)
    store = open_dataset(tmp_path / "d.zarr")
    assert leaks(store) == ["s"]
    assert derived_leaks(store, "a", None, 0) == ["s"]


@pytest.mark.long
def test_manifests_that_put_a_subject_on_both_sides(tmp_path: Path) -> None:
    """It trains in A and tests in B: refused, or told where whole pictures may be meant so."""
    out = tmp_path / "d.zarr"
    asked = {"s0": ("train", "test"), "s1": ("train", "train"), "s2": ("train", "train")}
    scans = [
        (s, d, split) for s, both in asked.items() for d, split in zip("AB", both, strict=True)
    ]
    slides, volumes, images = [], [], ["image,mask,domain,subject,split"]
    pictures(tmp_path, [f"{domain}{subject}" for subject, domain, _ in scans])
    for subject, domain, split in scans:
        name = f"{domain}{subject}"
        known = {"domain": domain, "subject": subject, "split": split}
        write_slide(tmp_path / f"{name}.tiff")
        slides.append({"path": f"{name}.tiff", **known})
        image, mask = cine(tmp_path, name, shape=(40, 40, 1))
        volumes.append(row(image.name, mask.name, frames="ED=0;ES=3", **known))
        images.append(f"images/{name}.png,m/{name}.png,{domain},{subject},{split}")
    with refused(SourceError, "Bs0.tiff", "split is test", "subject s0", "on one side"):
        extract_slides(write_manifest(tmp_path / "s.csv", slides), out, **HOW)
    with refused(SourceError, "Bs0_sa.nii.gz", "split is test", "subject s0", "on one side"):
        extract_mri(write_table(tmp_path / "v.csv", volumes), out, **HOW)
    (tmp_path / "i.csv").write_text("\n".join(images) + "\n")
    heard = Heard()
    extract_images(out, manifest=tmp_path / "i.csv", progress=heard, **HOW)
    assert leaks(open_dataset(out)) == ["s0"]
    assert [line for line in heard.lines if "subjects in training and test (s0)" in line]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 6), st.sampled_from("ABC")), min_size=2, max_size=20),
    st.integers(0, 2**32 - 1),
    st.floats(0.05, 0.95),
    st.integers(1, 4),
)
def test_slides_of_a_subject_are_in_one_split(
    scans: list[tuple[int, str]], seed: int, fraction: float, folds: int
) -> None:
    slides = [
        surveyed(
            f"{place}",
            [area("tumor", (0, 0, 10 + place, 20))],
            domain=domain,
            subject=f"s{number}",
        )
        for place, (number, domain) in enumerate(scans)
    ]
    found: dict[str, set[tuple[Split, int]]] = {}
    assigned = assign_slides(slides, SplitOptions(fraction, folds, seed), SILENT)
    for slide, fold in zip(slides, assigned, strict=True):
        found.setdefault(slide.row.subject, set()).add((split_of(fold), fold))
    assert all(len(places) == 1 for places in found.values())
    if len(found) > 1:
        assert {split for places in found.values() for split, _ in places} == {*Split}


@pytest.mark.long
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2)), min_size=6, max_size=20),
    st.integers(0, 2**32 - 1),
)
def test_derived_folds_of_any_data(
    tmp_path_factory: pytest.TempPathFactory, scans: list[tuple[int, int]], seed: int
) -> None:
    """Subjects of even numbers 0 and 2 to train on at the least, with draws of unequal sizes."""
    scans = [*scans, *((subject, draw) for subject in (0, 2) for draw in range(3))]
    samples = [
        sample(
            place,
            "a",
            subject=f"s{number}",
            columns={"draw": draw, "foreground": place / 9},
            split=Split.TEST if number % 2 else Split.TRAIN,
            fold=-1 if number % 2 else 0,
        )
        for place, (number, draw) in enumerate(scans)
    ]
    path = tmp_path_factory.mktemp("folds") / "d.zarr"
    write_dataset(path, samples)
    subjects = {number for number, _ in scans if number % 2 == 0}
    for folds in range(2, len(subjects) + 1):
        plan = training_folds(open_dataset(path), "a", folds, seed)
        known: dict[str, set[int]] = {}
        columns = plan.domain.columns
        for subject, split, fold in zip(
            columns["subject"], columns["split"], plan.fold.tolist(), strict=True
        ):
            assert (split == "test") == (fold == -1)
            known.setdefault(subject, set()).add(fold)
        assert all(len(places) == 1 for places in known.values())
        assert plan.fold_numbers == list(range(folds))
