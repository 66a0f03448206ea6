from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from skiptool.distances.counting import count_activations
from skiptool.errors import ArgumentError, ExistsError, FormatError
from skiptool.stores.counts import open_counts
from skiptool.stores.counts_writer import assign_rows
from skiptool.stores.journal import JOURNAL, Journal
from skiptool.stores.shards import GrowingShards
from small_activations import numbered
from small_counts import bins_of, counted, counts_writer
from small_stores import refused

Contents = Callable[[Path], dict[str, bytes]]
IMAGES = 40
SUBJECTS = [f"s{number % 3 if number < 20 else 5}" for number in range(IMAGES)]


def layers(images: int = IMAGES, seed: int = 0) -> dict[str, Any]:
    """Activations of two layers; the first channel of ``enc1`` is constant."""
    rng = np.random.default_rng(seed)
    found = {
        name: np.maximum(rng.normal(size=(images, channels, 4)), 0).astype(np.float32)
        for name, channels in (("dec0", 2), ("enc1", 3))
    }
    found["enc1"][:, 0] = 0.5
    return found


@given(
    st.lists(st.sampled_from(["a", "b", "c", "dd"]), min_size=1, max_size=30),
    st.integers(1, 7),
)
def test_every_image_is_assigned_once_in_order(subjects: list[str], together: int) -> None:
    order, rows = assign_rows(subjects, len(subjects), together)
    assert sorted(order.tolist()) == list(range(len(subjects)))
    assert rows.sizes.sum() == len(subjects)
    assert 1 <= rows.sizes.min() <= rows.sizes.max() <= together
    blocks = np.split(order, rows.first[1:])
    repeated = len(set(subjects)) < len(subjects)
    if together == 1 or not repeated:
        assert order.tolist() == list(range(len(subjects)))
        assert set(rows.sizes[:-1].tolist()) <= {together}
        return
    names = [[subjects[image] for image in block] for block in blocks]
    assert all(len(set(block)) == 1 for block in names)
    for name in set(subjects):
        own = [block for block, of in zip(blocks, names, strict=True) if of[0] == name]
        assert all(len(block) == together for block in own[:-1])
        expected = [image for image, subject in enumerate(subjects) if subject == name]
        assert np.concatenate(own).tolist() == expected


def test_unknown_subjects_do_not_separate_images() -> None:
    order, rows = assign_rows(["a", "", "a", "b"], 4, 3)
    assert (order.tolist(), rows.sizes.tolist()) == ([0, 1, 2, 3], [3, 1])


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("together", [1, 2, 3, 16, 40])
@pytest.mark.parametrize("subjects", [None, SUBJECTS])
def test_rows_are_the_sums_of_their_images(
    tmp_path: Path, together: int, dtype: str, subjects: list[str] | None
) -> None:
    values, reference = layers(), layers(seed=1)
    how: dict[str, Any] = {} if subjects is None else {"subject": subjects}
    counted(tmp_path / "c.zarr", values, reference, together=together, dtype=dtype, **how)
    store, bins = open_counts(tmp_path / "c.zarr"), bins_of(reference, dtype=dtype)
    order, rows = assign_rows(subjects or (), IMAGES, together)
    blocks = np.split(order, rows.first[1:])
    assert store.layers == ("enc1", "dec0")
    for name in store.layers:
        stored = values[name].astype(dtype)
        of_images = count_activations(stored, bins[name])
        expected = np.stack([of_images[block].sum(axis=0) for block in blocks])
        np.testing.assert_array_equal(store.read(name, slice(None)), expected)
        low, high = store.ranges(name)
        for place, block in enumerate(blocks):
            np.testing.assert_array_equal(low[place], stored[block].min(axis=(0, 2)))
            np.testing.assert_array_equal(high[place], stored[block].max(axis=(0, 2)))
        known = store.count_layout(name)
        assert known.images.tolist() == [len(block) for block in blocks]
        assert known.vectors == 4
        np.testing.assert_array_equal(known.binning.low, bins[name].low)
        np.testing.assert_array_equal(known.binning.span, bins[name].span)


def test_constant_reference_channel_separates_other_values(tmp_path: Path) -> None:
    values = layers(2)
    values["enc1"][0, 0] = [0.25, 0.5, 0.5, 0.75]
    store = open_counts(counted(tmp_path / "c.zarr", values, layers()))
    found = store.read("enc1", slice(None))[:, 0]
    assert found.tolist() == [[1, 0, 0, 0, 2, 0, 0, 1], [0, 0, 0, 0, 4, 0, 0, 0]]


def test_only_columns_that_agree_in_every_row_are_kept(tmp_path: Path) -> None:
    columns: dict[str, Any] = {
        "subject": ["a", "a", "b", "b", "b"],
        "slice": [0, 1, 0, 1, 2],
        "site": ["x", "x", "y", "y", "y"],
        "images": ["p", "q", "r", "s", "t"],
        "mpp": [0.5, 0.5, np.nan, np.nan, np.nan],
    }
    pooled = open_counts(counted(tmp_path / "c.zarr", layers(5), together=2, **columns))
    found = dict(pooled.columns)
    np.testing.assert_array_equal(found.pop("mpp"), [0.5, np.nan, np.nan])
    assert {name: values.tolist() for name, values in found.items()} == {
        "id": ["im000", "im002", "im004"],
        "subject": ["a", "b", "b"],
        "site": ["x", "y", "y"],
        "images": [2, 2, 1],
    }
    del columns["mpp"]
    single = open_counts(counted(tmp_path / "d.zarr", layers(5), **columns))
    assert {name: values.tolist() for name, values in single.columns.items()} == {
        "id": numbered(5),
        **columns,
    }
    assert single.images.tolist() == [1] * 5


def test_large_rows_are_counted_in_32_bits(tmp_path: Path) -> None:
    values = {"enc1": np.zeros((5, 1, 20_000), np.float32)}
    found = {
        together: open_counts(
            counted(tmp_path / f"{together}.zarr", values, bins=2, together=together)
        )
        for together in (3, 5)
    }
    assert [found[together].dtype("enc1") for together in (3, 5)] == [np.uint16, np.uint32]
    assert found[5].read("enc1", slice(None)).tolist() == [[[0, 100_000]]]


class Killed(BaseException):
    """Simulates SIGKILL: our code never catches it."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, contents: Contents) -> dict[int, Any]:
    """Return the files of stores written by uninterrupted runs, by images in a row."""
    folder = tmp_path_factory.mktemp("whole")
    return {
        together: contents(
            counted(
                folder / f"{together}" / "c.zarr", layers(), together=together, subject=SUBJECTS
            )
        )
        for together in (1, 3)
        if (folder / f"{together}").mkdir() is None
    }


@pytest.mark.long
@pytest.mark.parametrize(
    ("together", "nth"),
    [*((1, nth) for nth in (0, 1, 5, 6, 7, 13, 14, 20)), *((3, nth) for nth in (6, 7, 13, 15, 20))],
)
def test_resuming_after_a_kill_before_any_write_gives_the_same_bytes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    whole: dict[int, Any],
    contents: Contents,
    together: int,
    nth: int,
) -> None:
    """The process dies after n changes of arrays and the journal."""
    path, done = tmp_path / "c.zarr", []

    def dying(change: Callable[..., object]) -> Callable[..., object]:
        def run(*args: object, **how: object) -> object:
            done.append(change)
            if len(done) > nth:
                raise Killed
            return change(*args, **how)

        return run

    how: dict[str, Any] = {"together": together, "subject": SUBJECTS}
    with monkeypatch.context() as patch:
        for owner, name in ((GrowingShards, "write"), (Journal, "note")):
            patch.setattr(owner, name, dying(getattr(owner, name)))
        with pytest.raises(Killed):
            counted(path, layers(), **how)
    counted(path, layers(), **how)
    assert contents(path) == whole[together]


@pytest.mark.parametrize("target", ["write_columns", "seal_store"])
def test_resuming_after_a_kill_at_the_very_end_gives_the_same_bytes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    whole: dict[int, Any],
    contents: Contents,
    target: str,
) -> None:
    path = tmp_path / "c.zarr"

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(f"skiptool.stores.features_writer.{target}", die)
        with pytest.raises(Killed):
            counted(path, layers(), subject=SUBJECTS)
    _, again = counts_writer(path, IMAGES, bins_of(layers()), 4, subject=SUBJECTS)
    assert again.written == IMAGES
    counted(path, layers(), subject=SUBJECTS)
    assert contents(path) == whole[1]


def test_images_of_unwritten_rows_are_recounted(tmp_path: Path) -> None:
    """Rows of 3: after 32 images, 10 rows are complete and written, in chunks of 5."""
    how: dict[str, Any] = {"together": 3}
    counted(tmp_path / "c.zarr", layers(), stop=32, **how)
    _, again = counts_writer(tmp_path / "c.zarr", IMAGES, bins_of(layers()), 4, **how)
    assert again.written == 16


def test_leftover_with_other_bins_or_parameters_is_refused(tmp_path: Path) -> None:
    path, own = tmp_path / "c.zarr", bins_of(layers())
    counted(path, layers(), stop=16)
    with refused(ExistsError, path, "bins was 8, now 9", "--overwrite"):
        counts_writer(path, IMAGES, bins_of(layers(), 9), 4)
    other = replace(own["enc1"], low=own["enc1"].low - 1)
    with refused(ExistsError, path, "begun with other bins", "--overwrite"):
        counts_writer(path, IMAGES, own | {"enc1": other}, 4)
    assert counts_writer(path, IMAGES, own, 4)[1].written == 16


@pytest.mark.parametrize("lost", ["counts/dec0", "ranges/dec0/high"])
def test_leftover_that_does_not_match_its_journal_is_refused(tmp_path: Path, lost: str) -> None:
    counted(tmp_path / "c.zarr", layers(), stop=16)
    (tmp_path / "c.zarr" / lost / "zarr.json").unlink()
    with refused(FormatError, tmp_path / "c.zarr", "layer dec0", "--overwrite"):
        counts_writer(tmp_path / "c.zarr", IMAGES, bins_of(layers()), 4)


def test_invalid_values_are_refused_with_layer_and_image(tmp_path: Path) -> None:
    order, writer = counts_writer(tmp_path / "c.zarr", IMAGES, bins_of(layers()), 4)
    assert order.tolist() == list(range(IMAGES))
    for value, kind, word in ((np.nan, FormatError, "not finite"), (1e6, ArgumentError, "float32")):
        bad = {name: block[:16].copy() for name, block in layers().items()}
        bad["dec0"][3, 1, 2] = value
        with refused(kind, "layer dec0", "image im003", word):
            writer.append(bad)


def test_blocks_and_stores_must_be_complete(tmp_path: Path) -> None:
    _, writer = counts_writer(tmp_path / "c.zarr", IMAGES, bins_of(layers()), 4)
    with refused(FormatError, "0 of 40 images"):
        writer.finish()
    for wrong in (layers(15), {"enc1": layers(16)["enc1"]}, {}):
        with refused(ArgumentError, "(16, 2, 4)"):
            writer.append(wrong)


def test_layout_matches_the_specification(tmp_path: Path) -> None:
    path = counted(tmp_path / "c.zarr", layers(), together=2, subject=SUBJECTS)
    root = zarr.open_group(path, mode="r")
    rows = root["samples/id"].shape[0]
    shapes = {
        "counts/enc1": ((rows, 3, 8), "uint16"),
        **{f"bins/enc1/{end}": ((3,), "float64") for end in ("low", "span")},
        **{f"ranges/enc1/{end}": ((rows, 3), "float32") for end in ("low", "high")},
        "samples/images": ((rows,), "int64"),
    }
    assert {
        name: (array.shape, array.dtype.name)
        for name in shapes
        if isinstance(array := root[name], zarr.Array)
    } == shapes
    attributes = dict(root.attrs)
    expected = {"kind": "counts", "bins": 8, "vectors": 4, "pool_images": 2, "dtype": "float16"}
    assert {name: attributes[name] for name in expected} == expected
    # zarr-python reads what GrowingShards wrote, and there is one file of it.
    np.testing.assert_array_equal(
        root["counts/enc1"][:], open_counts(path).read("enc1", slice(None))
    )
    files = [file for file in (path / "counts/enc1").rglob("*") if file.is_file()]
    assert len(files) == 2
    assert not (path / JOURNAL).exists()
