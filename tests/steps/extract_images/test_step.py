from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from heard import Heard
from skiptool.errors import ExistsError, MismatchError, SourceError
from skiptool.records import Sample
from skiptool.sources.pictures import read_picture, write_mask, write_picture
from skiptool.steps.extract_images import step, writing
from skiptool.stores.dataset import open_dataset
from skiptool.stores.dataset_writer import DatasetWriter
from skiptool.stores.failures import kept_failures

Contents = Callable[[Path], dict[str, bytes]]

# Sheets are drawn where a test looks at them.
extract_images = partial(step.extract_images, pictures=False)

COLOURS = [(0, 0, 0), (255, 255, 255)]
HEADER = "image,mask,domain,subject"


def draw(folder: Path, names: list[str], value: int = 1, side: int = 16) -> None:
    """Write pictures with masks whose left half is ``value``."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        image = np.random.default_rng(number).integers(0, 255, (side, side, 3), dtype=np.uint8)
        mask = np.zeros((side, side), dtype=np.uint8)
        mask[:, : side // 2] = value
        write_picture(folder / "images" / f"{name}.png", image)
        write_mask(folder / "masks" / f"{name}.png", mask, COLOURS)


def manifest(folder: Path, rows: list[str], header: str = HEADER) -> Path:
    path = folder / "manifest.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_folders_become_a_store(tmp_path: Path) -> None:
    names = [f"{number:02d}" for number in range(10)]
    draw(tmp_path, names, value=200)
    out = tmp_path / "d.zarr"
    found = extract_images(
        out,
        images=tmp_path / "images",
        masks=tmp_path / "masks",
        domain="phone",
        labels={0: "background", 200: "foreground"},
        folds=4,
    )
    assert found.outputs == (out,)
    assert found.summary == {"samples": {"phone": 10}, "train": 8, "test": 2, "failed": 0}
    store = open_dataset(out)
    domain = store.domain("phone")
    assert store.classes == ("background", "foreground")
    assert list(domain.columns["id"]) == names == list(domain.columns["subject"])
    assert sorted(domain.columns["fold"]) == [-1, -1, 0, 0, 1, 1, 2, 2, 3, 3]
    assert domain.columns["foreground"].tolist() == [0.5] * 10
    image, mask = store.samples("phone", [3]).read(0)
    assert (image == read_picture(tmp_path / "images" / "03.png")).all()
    assert mask[0].tolist() == [1] * 8 + [0] * 8


def test_subject_is_on_one_side_in_all_domains(tmp_path: Path) -> None:
    names = [f"{number:02d}" for number in range(20)]
    draw(tmp_path, names)
    rows = [f"images/{n}.png,masks/{n}.png,{'AB'[int(n) % 2]},s{int(n) // 2}" for n in names]
    extract_images(tmp_path / "d.zarr", manifest=manifest(tmp_path, rows), folds=2)
    store = open_dataset(tmp_path / "d.zarr")
    assert list(store.domains) == ["A", "B"]
    sides = [
        dict(zip(domain.columns["subject"], domain.columns["fold"], strict=True))
        for domain in store.domains.values()
    ]
    assert sides[0] == sides[1]
    assert set(sides[0].values()) == {-1, 0, 1}


def test_manifest_may_choose_the_split(tmp_path: Path) -> None:
    draw(tmp_path, ["a", "b", "c", "d"])
    header = HEADER + ",split"
    rows = [f"images/{n}.png,masks/{n}.png,A,{n}" for n in "abcd"]
    splits = ["train", "test", "train", "test"]
    chosen = [f"{row},{split}" for row, split in zip(rows, splits, strict=True)]
    heard = Heard()
    path = manifest(tmp_path, chosen, header)
    extract_images(tmp_path / "d.zarr", manifest=path, folds=2, progress=heard)
    assert list(open_dataset(tmp_path / "d.zarr").domain("A").columns["split"]) == splits
    assert heard.lines == []

    shared = [row.replace(",A,b,", ",A,a,") for row in chosen]
    path = manifest(tmp_path, shared, header)
    extract_images(tmp_path / "e.zarr", manifest=path, folds=2, progress=heard)
    assert len(heard.lines) == 1
    assert "subjects in training and test (a)" in heard.lines[0]

    path = manifest(tmp_path, [f"{rows[0]},", *chosen[1:]], header)
    with pytest.raises(SourceError, match=r"a\.png: split is empty"):
        extract_images(tmp_path / "f.zarr", manifest=path, folds=2)


def test_masks_may_be_absent(tmp_path: Path) -> None:
    draw(tmp_path, ["a", "b"])
    path = manifest(tmp_path, ["images/a.png,,A,a", "images/b.png,masks/b.png,A,b"])
    extract_images(tmp_path / "d.zarr", manifest=path, test_fraction=0.0, folds=2)
    reader = open_dataset(tmp_path / "d.zarr").samples("A", [0, 1])
    assert (reader.read(0)[1] == 255).all()
    assert reader.read(1)[1].max() == 1


def test_masks_of_0_and_255_are_warned_of(tmp_path: Path) -> None:
    draw(tmp_path, ["a", "b", "c"], value=255)
    where = {"images": tmp_path / "images", "masks": tmp_path / "masks"}
    heard = Heard()
    extract_images(tmp_path / "d.zarr", **where, folds=2, progress=heard)
    assert len(heard.lines) == 1
    assert "--labels 255=foreground" in heard.lines[0]


def test_some_inputs_fail_the_rest_is_usable(tmp_path: Path) -> None:
    draw(tmp_path, ["a", "b", "c", "d", "e"])
    (tmp_path / "images" / "b.png").write_bytes(b"no picture")
    (tmp_path / "masks" / "d.png").unlink()
    where = {"images": tmp_path / "images", "masks": tmp_path / "masks"}
    found = extract_images(tmp_path / "d.zarr", **where, folds=2)
    assert len(found.failures) == 2
    assert any("b.png" in line for line in found.failures)
    assert any("d.png: no mask" in line for line in found.failures)
    assert found.summary["failed"] == 2
    assert list(open_dataset(tmp_path / "d.zarr").domain("images").columns["id"]) == ["a", "c", "e"]
    assert kept_failures(tmp_path / "d.zarr") == list(found.failures)


def test_all_inputs_fail(tmp_path: Path) -> None:
    draw(tmp_path, ["a", "b"], value=7)
    where = {"images": tmp_path / "images", "masks": tmp_path / "masks"}
    with pytest.raises(SourceError, match=r"all 2 inputs failed, the first: .*holds value 7"):
        extract_images(tmp_path / "d.zarr", **where)
    assert not list(tmp_path.glob("*.zarr")) + list(tmp_path.glob(".*"))


def test_sizes_of_one_domain_differ(tmp_path: Path) -> None:
    draw(tmp_path, ["a", "b"])
    draw(tmp_path, ["c"], side=20)
    where = {"images": tmp_path / "images", "masks": tmp_path / "masks"}
    for dry in (False, True):
        with pytest.raises(MismatchError, match=r"\(20, 20, 3\).*one size"):
            extract_images(tmp_path / "d.zarr", **where, folds=2, dry_run=dry)
    assert not list(tmp_path.glob(".*"))


def test_dry_run_counts_and_writes_nothing(tmp_path: Path) -> None:
    draw(tmp_path, ["a", "b", "c"])
    where = {"images": tmp_path / "images", "masks": tmp_path / "masks"}
    found = extract_images(tmp_path / "d.zarr", **where, folds=2, dry_run=True)
    assert found.outputs == ()
    assert found.summary["samples"] == {"images": 3}
    assert found.summary["bytes before compression"] == 3 * 16 * 16 * 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "masks"]


def test_workers_change_no_byte(tmp_path: Path, contents: Contents) -> None:
    draw(tmp_path, [f"{number:02d}" for number in range(20)])
    where = {"images": tmp_path / "images", "masks": tmp_path / "masks"}
    for workers in (1, 2):
        extract_images(tmp_path / f"{workers}.zarr", **where, workers=workers)
    assert contents(tmp_path / "1.zarr") == contents(tmp_path / "2.zarr")


def test_interrupted_run_goes_on(
    tmp_path: Path, contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(tmp_path, [f"{number:02d}" for number in range(20)])
    where = {"images": tmp_path / "images", "masks": tmp_path / "masks"}
    out, whole, seen = tmp_path / "d.zarr", tmp_path / "whole.zarr", []
    extract_images(whole, **where)

    class Interrupted(DatasetWriter):
        def append(self, sample: Sample) -> None:
            seen.append(sample.id)
            if len(seen) == 18:
                raise KeyboardInterrupt
            super().append(sample)

    with monkeypatch.context() as patch:
        patch.setattr(step, "DatasetWriter", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            extract_images(out, **where)
    with pytest.raises(ExistsError, match="seed was 0, now 3"):
        extract_images(out, **where, seed=3, resume=True)
    read: list[str] = []
    samples = writing.read_samples
    monkeypatch.setattr(
        writing, "read_samples", lambda i, *a: (read.append(i.row["subject"]), samples(i, *a))[1]
    )
    extract_images(out, **where, resume=True)
    assert read == ["16", "17", "18", "19"]
    assert contents(out) == contents(whole)
    # What is whole is left alone; with other inputs it is another dataset.
    assert extract_images(out, **where, resume=True).outputs == (out,)
    draw(tmp_path, ["20"])
    with pytest.raises(ExistsError, match="files was"):
        extract_images(out, **where, resume=True)


def test_text_stands_for_a_manifest(
    tmp_path: Path, contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(tmp_path, ["a", "b", "c"])
    rows = [f"images/{n}.png,masks/{n}.png,A,{n}" for n in "abc"]
    path = manifest(tmp_path, rows)
    extract_images(tmp_path / "file.zarr", manifest=path, folds=2)
    monkeypatch.chdir(tmp_path)
    extract_images(tmp_path / "text.zarr", manifest=path.read_text(), folds=2)
    ids = {open_dataset(tmp_path / f"{name}.zarr").lineage.id for name in ("file", "text")}
    assert len(ids) == 1
