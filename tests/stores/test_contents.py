"""Contents: counts against the pixels of the store, and warnings."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from heard import Heard
from skiptool.records import Sample
from skiptool.stores.contents import CONTENTS, contents_tables
from skiptool.stores.dataset import open_dataset
from skiptool.stores.dataset_writer import DatasetWriter
from skiptool.stores.journal import JOURNAL
from small_stores import CLASSES, MAKING, sample, set_attributes, unseal, write_dataset

MIXED = [*(sample(n) for n in range(20)), *(sample(n, "b", (5, 3, 1)) for n in range(3))]


def even(each: Sample, label: int) -> Sample:
    """Return a sample with a mask of a single label and an image of a single colour."""
    return replace(each, mask=np.full_like(each.mask, label), image=np.zeros_like(each.image) + 0)


def test_class_shares_match_the_pixels(tmp_path: Path) -> None:
    path = tmp_path / "d.zarr"
    write_dataset(path, [*MIXED, even(sample(30), 1), even(sample(31), 255)])
    (table,) = contents_tables(path, heard := Heard())
    data = open_dataset(path)
    assert table.columns["domain"] == ["a", "b"]
    assert table.columns["samples"] == [22, 3]
    for place, domain in enumerate(data.domains.values()):
        for split in ("train", "test"):
            own = {str(domain.columns["subject"][n]) for n in domain.select(split)}
            assert table.columns[f"{split} subjects"][place] == len(own)
    for place, (name, domain) in enumerate(data.domains.items()):
        masks = np.stack([data.samples(name, [n]).read(0)[1] for n in range(len(domain))])
        for label, header in (*enumerate(CLASSES), (255, "ignored")):
            assert table.columns[header][place] == pytest.approx((masks == label).mean())
    assert table.columns["images of one value"] == [2, 0]
    assert table.columns["masks of one value"] == [2, 0]
    assert heard.lines == [
        "2 of 25 images are constant, the first: 030 in domain a",
        "1 of 25 masks are cell (1) throughout, the first: 030 in domain a",
        "1 of 25 masks are ignored (255) throughout, the first: 031 in domain a",
    ]


def test_only_images_of_a_single_colour_are_constant(tmp_path: Path) -> None:
    one = sample(0)
    pink = np.broadcast_to(np.array([250, 120, 180], np.uint8), one.image.shape).copy()
    spot = pink.copy()
    spot[3, 2, 1] += 1
    write_dataset(tmp_path / "d.zarr", [replace(one, image=pink), replace(sample(1), image=spot)])
    (table,) = contents_tables(tmp_path / "d.zarr", Heard())
    assert table.columns["images of one value"] == [1]


def test_classes_without_pixels_are_reported(tmp_path: Path) -> None:
    none = [replace(s, mask=np.where(s.mask == 2, 1, s.mask).astype(np.uint8)) for s in MIXED]
    write_dataset(tmp_path / "all.zarr", none)
    contents_tables(tmp_path / "all.zarr", heard := Heard())
    assert [line for line in heard.lines if line.startswith("class")] == [
        "class debris (label 2) has no pixels; check --classes and --labels"
    ]
    write_dataset(tmp_path / "b.zarr", [*MIXED[:20], *none[20:]])
    contents_tables(tmp_path / "b.zarr", heard := Heard())
    assert "class debris (label 2) has no pixels in domain b; check" in heard.lines[0]


def test_resumed_run_has_the_same_contents(tmp_path: Path) -> None:
    write_dataset(tmp_path / "whole.zarr", MIXED)
    writer = DatasetWriter(tmp_path / "d.zarr", CLASSES, MAKING)
    for each in MIXED[:18]:
        writer.append(each)
    writer = DatasetWriter(tmp_path / "d.zarr", CLASSES, MAKING)
    assert writer.written("a") == 16
    for each in MIXED[16:]:
        writer.append(each)
    writer.finish()
    whole, resumed = (contents_tables(tmp_path / f"{n}.zarr", Heard()) for n in ("whole", "d"))
    assert whole == resumed
    assert whole[0].columns["samples"] == [20, 3]


def test_stores_without_contents_have_no_table(tmp_path: Path) -> None:
    """Stores of early versions, and of runs that were begun by these and finished by this one."""
    write_dataset(tmp_path / "d.zarr", MIXED)
    set_attributes(unseal(tmp_path / "d.zarr"), **{CONTENTS: None})
    assert contents_tables(tmp_path / "d.zarr", Heard()) == ()
    writer = DatasetWriter(tmp_path / "e.zarr", CLASSES, MAKING)
    for each in MIXED[:17]:
        writer.append(each)
    journal = tmp_path / "e.zarr" / JOURNAL
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    lines = [{k: v for k, v in line.items() if k != "contents"} for line in lines]
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    writer = DatasetWriter(tmp_path / "e.zarr", CLASSES, MAKING)
    for each in MIXED[16:]:
        writer.append(each)
    writer.finish()
    assert contents_tables(tmp_path / "e.zarr", Heard()) == ()


def test_duplicates_of_another_subject_are_reported(tmp_path: Path) -> None:
    """If one is for training and the other for testing, the test would measure memorisation."""
    one, other = sample(0), sample(9, "b")
    copy = replace(one, id="copy", subject="else", domain="b")
    blank = [replace(even(sample(n), 0), subject=f"s{n}") for n in (5, 6)]
    write_dataset(tmp_path / "d.zarr", [one, sample(1), *blank, other, copy])
    contents_tables(tmp_path / "d.zarr", heard := Heard())
    (line,) = [line for line in heard.lines if "pixel by pixel" in line]
    assert "another subject: 1 (000 of pätient 0 and copy of else, for example)" in line
    same = [one, replace(copy, subject=one.subject)]
    write_dataset(tmp_path / "e.zarr", same)
    contents_tables(tmp_path / "e.zarr", heard := Heard())
    assert not [line for line in heard.lines if "pixel by pixel" in line]


def test_classes_may_have_the_names_of_columns(tmp_path: Path) -> None:
    writer = DatasetWriter(tmp_path / "d.zarr", ("domain", "samples", "ignored"), MAKING)
    for each in MIXED:
        writer.append(each)
    writer.finish()
    (table,) = contents_tables(tmp_path / "d.zarr", Heard())
    assert list(table.columns) == [
        "domain",
        "samples",
        "train subjects",
        "test subjects",
        "label 0, domain",
        "label 1, samples",
        "ignored",
        "label 255, ignored",
        "images of one value",
        "masks of one value",
    ]
