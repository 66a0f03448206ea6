from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from skiptool.errors import ArgumentError, ExistsError, FormatError
from skiptool.names import LAYERS as TWELVE
from skiptool.stores import features_writer
from skiptool.stores.features import open_features
from skiptool.stores.features_writer import CHUNK, chunks_per_shard
from skiptool.stores.journal import JOURNAL, Journal
from skiptool.stores.lineage import Invocation
from skiptool.stores.shards import GrowingShards
from small_stores import (
    LAYERS,
    MAKING,
    blocks,
    feature_columns,
    feature_writer,
    flip,
    refused,
    write_features,
)

Contents = Callable[[Path], dict[str, bytes]]
IMAGES = 40


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, contents: Contents) -> dict[str, bytes]:
    """Return the files of a store written by an uninterrupted run."""
    found = contents(write_features(tmp_path_factory.mktemp("whole") / "f.zarr", IMAGES))
    assert not [name for name in found if JOURNAL in name]
    return found


@pytest.mark.parametrize("count", [0, 16, 32, 40])
def test_resuming_an_interrupted_run_gives_the_same_bytes(
    tmp_path: Path, whole: dict[str, bytes], contents: Contents, count: int
) -> None:
    path = tmp_path / "f.zarr"
    writer = feature_writer(path, IMAGES)
    for start in range(0, count, CHUNK):
        writer.append(blocks(start, min(start + CHUNK, IMAGES)))
    assert writer.written == count
    assert feature_writer(path, IMAGES).written == count
    write_features(path, IMAGES)
    assert contents(path) == whole


def test_arithmetic_of_all_runs_is_recorded(tmp_path: Path) -> None:
    """A run may be resumed with other threads, which affect the last digits."""
    first, second = (
        replace(MAKING, arithmetic={"device": "cpu", "threads": threads}) for threads in (1, 4)
    )
    writer = feature_writer(tmp_path / "f.zarr", 20, first)
    writer.append(blocks(0, 16))
    write_features(tmp_path / "f.zarr", 20, invocation=second)
    header = open_features(tmp_path / "f.zarr").lineage
    assert header is not None
    assert header.arithmetic == {"device": "cpu", "threads": [1, 4]}
    whole = write_features(tmp_path / "g.zarr", 20, invocation=second)
    other = open_features(whole)
    assert (other.lineage, other.id) != (None, "")
    assert other.id == header.id
    assert other.lineage is not None
    assert other.lineage.arithmetic == {"device": "cpu", "threads": 4}


def test_run_killed_after_its_last_chunk_can_be_finished(
    tmp_path: Path, contents: Contents
) -> None:
    """Nothing is left to append when it is resumed; the store must still name its layers."""
    writer = feature_writer(tmp_path / "a", 32)
    for start in (0, 16):
        writer.append(blocks(start, start + CHUNK))
    again = feature_writer(tmp_path / "a", 32)
    assert again.written == 32
    again.finish()
    write_features(tmp_path / "b", 32)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert set(open_features(tmp_path / "a").layers) == set(LAYERS)


class Killed(BaseException):
    """Simulates SIGKILL: our code never catches it."""


@pytest.mark.long
@pytest.mark.parametrize(
    ("most", "nth"),
    [
        *((64, nth) for nth in (0, 1, 3, 6, 7, 12, 16, 25, 38, 39, 40, 47, 56)),
        *((1, nth) for nth in (18, 19, 20, 37, 56, 93, 110)),  # each chunk is a shard
    ],
)
def test_resuming_after_a_kill_before_any_write_gives_the_same_bytes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    whole: dict[str, bytes],
    contents: Contents,
    most: int,
    nth: int,
) -> None:
    """The process dies after n changes of shards and the journal."""
    path = tmp_path / "f.zarr"
    done = []
    if most == 1:
        monkeypatch.setattr(features_writer, "MAX_CHUNKS", most)
        whole = contents(write_features(tmp_path / "whole.zarr", IMAGES))

    def dying(change: Callable[..., object]) -> Callable[..., object]:
        def run(*args: object, **how: object) -> object:
            done.append(change)
            if len(done) > nth:
                raise Killed
            return change(*args, **how)

        return run

    with monkeypatch.context() as patch:
        for owner, name in (
            (GrowingShards, "write"),
            (GrowingShards, "_extend"),
            (GrowingShards, "commit"),
            (Journal, "note"),
        ):
            patch.setattr(owner, name, dying(getattr(owner, name)))
        with pytest.raises(Killed):
            write_features(path, IMAGES)
    write_features(path, IMAGES)
    assert contents(path) == whole


@pytest.mark.parametrize(
    "target",
    [
        "skiptool.stores.features_writer.write_columns",
        "zarr.Group.update_attributes",
        "skiptool.stores.journal.Journal.remove",
    ],
)
def test_resuming_after_a_kill_at_the_very_end_gives_the_same_bytes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    whole: dict[str, bytes],
    contents: Contents,
    target: str,
) -> None:
    path = tmp_path / "f.zarr"

    def die(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(target, die)
        with pytest.raises(Killed):
            write_features(path, IMAGES)
    write_features(path, IMAGES)
    assert contents(path) == whole


@pytest.mark.parametrize("most", [8, 64])
@pytest.mark.parametrize("count", [240, 256, 272, 304])
def test_pending_ranges_are_recomputed_when_resuming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, contents: Contents, count: int, most: int
) -> None:
    """Ranges are written for 256 images at once, however often a run is interrupted."""
    monkeypatch.setattr(features_writer, "MAX_CHUNKS", most)
    images, layers, found = 310, {"enc1": 2}, {}
    for name, stops in {"whole": [images], "resumed": [16, count, images]}.items():
        for stop in stops:
            writer = feature_writer(tmp_path / name, images)
            for start in range(writer.written, stop, CHUNK):
                writer.append(blocks(start, min(start + CHUNK, images), layers))
        writer.finish()
        found[name] = contents(tmp_path / name)
    assert found["resumed"] == found["whole"]
    store = open_features(tmp_path / "resumed")
    stored = np.concatenate([block for _, block in store.blocks("enc1")])
    low, high = store.ranges("enc1")
    np.testing.assert_array_equal(low, stored.min(axis=2).astype(np.float32))
    np.testing.assert_array_equal(high, stored.max(axis=2).astype(np.float32))


@pytest.mark.long
@given(
    arrays(
        np.float32,
        (2, 3, 4),
        # subnormal in float16, ties of its rounding, and its largest values among them
        elements=st.floats(-65519, 65519, width=32) | st.floats(-(2**-13), 2**-13, width=32),
    )
)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_ranges_match_the_stored_values(tmp_path: Path, block: np.ndarray) -> None:
    writer = feature_writer(tmp_path / "f", 2)
    writer.append({"enc1": block})
    writer.finish()
    store = open_features(tmp_path / "f")
    (stored,) = (block for _, block in store.blocks("enc1"))
    np.testing.assert_array_equal(stored, block.astype(np.float16))
    for found, expected in zip(store.ranges("enc1"), (stored.min(2), stored.max(2)), strict=True):
        np.testing.assert_array_equal(found, expected.astype(np.float32))


def test_leftover_with_a_damaged_chunk_is_refused(tmp_path: Path) -> None:
    feature_writer(tmp_path / "f", IMAGES).append(blocks(0, CHUNK))
    flip(tmp_path / "f/layers/dec0/c/0/0/0.growing")
    with refused(FormatError, tmp_path / "f", "layer dec0", "checksum", "--overwrite"):
        feature_writer(tmp_path / "f", IMAGES)


def test_unrecorded_chunks_are_written_again(
    tmp_path: Path, whole: dict[str, bytes], contents: Contents
) -> None:
    path = tmp_path / "f.zarr"
    feature_writer(path, IMAGES).append(blocks(0, CHUNK))
    for name in ("layers/enc1/c/0/0/0.growing", "ranges/enc1/low/c/0/0.growing"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        with (path / name).open("ab") as file:
            file.write(b"further than the journal")
    (path / "layers/enc1/c/0/0" / f"0.{'0f' * 16}.partial").write_text("Zarr was writing this")
    write_features(path, IMAGES)
    assert contents(path) == whole


def test_leftover_of_a_version_without_shards_is_refused(tmp_path: Path) -> None:
    feature_writer(tmp_path / "f", IMAGES).append(blocks(0, CHUNK))
    first, second = (tmp_path / "f" / JOURNAL).read_text().splitlines()
    noted = {"written": 16, "layers": list(LAYERS), "arithmetic": {}}
    (tmp_path / "f" / JOURNAL).write_text(f"{first}\n{json.dumps(noted)}\n{second}\n")
    with refused(ExistsError, tmp_path / "f", "begun by an earlier version", "--overwrite"):
        feature_writer(tmp_path / "f", IMAGES)


RESNET18 = {
    "input": 3,
    "enc1": 64,
    "enc2": 64,
    "enc3": 128,
    "enc4": 256,
    "enc5": 512,
    "dec4": 256,
    "dec3": 128,
    "dec2": 64,
    "dec1": 32,
    "dec0": 16,
    "head": 2,
}


@pytest.mark.parametrize(("pixels", "images", "files"), [(256, 1024, 2_664), (512, 512, 5_004)])
def test_shards_of_200_000_images_stay_small(pixels: int, images: int, files: int) -> None:
    """The numbers of files match the README."""
    largest = CHUNK * max(RESNET18.values()) * (pixels // 32) ** 2 * 2
    assert chunks_per_shard(largest, 200_000 // CHUNK) * CHUNK == images
    ranges = 256 * chunks_per_shard(256 * max(RESNET18.values()) * 4, -(-200_000 // 256))
    layers = len(RESNET18) * (-(-200_000 // images) + 2 * -(-200_000 // ranges))
    assert layers == files


@given(largest=st.integers(1, 2**34), chunks=st.integers(1, 10**6))
def test_shard_is_a_power_of_two_of_chunks_or_all_of_them(largest: int, chunks: int) -> None:
    found = chunks_per_shard(largest, chunks)
    allowed = [2**k for k in range(7) if k == 0 or 2**k * largest <= 2**27]
    assert found == min(allowed[-1], chunks)


def test_small_store_has_few_files(tmp_path: Path) -> None:
    """One shard per array, and no remains of its growth."""
    path = tmp_path / "f.zarr"
    writer = feature_writer(path, 300)
    for start in range(0, 300, CHUNK):
        writer.append(blocks(start, min(start + CHUNK, 300)))
        # values of three layers, and, once 256 images are there, both ends of their ranges
        assert len([*path.rglob("*.growing")]) == (0 if start == 288 else 3 if start < 240 else 9)
    writer.finish()
    files = [file.relative_to(path) for file in path.rglob("*") if file.is_file()]
    chunks = [file for file in files if file.name != "zarr.json"]
    arrays = 3 * len(LAYERS) + len(feature_columns(300))
    assert len(chunks) == arrays == 12
    assert len(files) == 2 * arrays + len(("", "layers", "ranges", "samples", *LAYERS)) == 31
    assert not [file for file in files if file.suffix not in ("", ".json")]
    enc1 = zarr.open_array(path / "layers/enc1", mode="r")
    assert (enc1.chunks[0], enc1.shards[0]) == (16, 304)


def test_leftover_without_a_journal_is_discarded(
    tmp_path: Path, whole: dict[str, bytes], contents: Contents
) -> None:
    path = tmp_path / "f.zarr"
    feature_writer(path, IMAGES).append({"stale": np.ones((16, 1, 1), np.float32)})
    (path / JOURNAL).unlink()
    write_features(path, IMAGES)
    assert contents(path) == whole


@pytest.mark.parametrize(
    ("invocation", "words"),
    [
        (
            Invocation("features", (), {"n": 40, "seed": 1}, {}, MAKING.inputs),
            ["seed was 0, now 1"],
        ),
        (
            Invocation("features", (), MAKING.parameters, {}, {"model": "x"}),
            ["model was None", "'x'"],
        ),
    ],
)
def test_leftover_with_other_parameters_or_inputs_is_refused(
    tmp_path: Path, invocation: Invocation, words: list[str]
) -> None:
    feature_writer(tmp_path / "f", IMAGES).append(blocks(0, CHUNK))
    with refused(ExistsError, *words, "--overwrite"):
        feature_writer(tmp_path / "f", IMAGES, invocation)
    assert feature_writer(tmp_path / "f", IMAGES).written == CHUNK


@pytest.mark.parametrize("lost", ["layers/dec0", "ranges/dec0/high"])
def test_leftover_that_does_not_match_its_journal_is_refused(tmp_path: Path, lost: str) -> None:
    feature_writer(tmp_path / "f", IMAGES).append(blocks(0, CHUNK))
    (tmp_path / "f" / lost / "zarr.json").unlink()
    with refused(FormatError, tmp_path / "f", "layer dec0", "--overwrite"):
        feature_writer(tmp_path / "f", IMAGES)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_values_that_are_not_finite_are_refused_with_layer_and_image(
    tmp_path: Path, value: float, dtype: str
) -> None:
    writer = feature_writer(tmp_path / "f", IMAGES, dtype=dtype)
    writer.append(blocks(0, 16))
    bad = blocks(16, 32)
    bad["dec0"][3, 1, 2] = value
    with refused(FormatError, "layer dec0", "image 019", "not finite"):
        writer.append(bad)
    assert writer.written == 16


def test_float16_overflow_is_refused_with_a_remedy(tmp_path: Path) -> None:
    """65520 is the smallest number that rounds to infinity; the largest float16 is 65504."""
    bad = blocks(0, 16)
    bad["enc1"][5, 0, 0] = 65519.0
    half = feature_writer(tmp_path / "half", IMAGES)
    half.append(bad)
    bad = blocks(16, 32)
    bad["enc1"][5, 0, 0] = -65520.0
    with refused(ArgumentError, "layer enc1", "image 021", "65504", "--dtype float32"):
        half.append(bad)
    single = feature_writer(tmp_path / "single", 16, dtype="float32")
    bad = blocks(0, 16)
    bad["enc1"][5, 0, 0] = 3e38
    single.append(bad)
    single.finish()
    assert open_features(tmp_path / "single").ranges("enc1")[1][5, 0] == np.float32(3e38)


def test_layers_are_in_order_of_data_flow(tmp_path: Path) -> None:
    names = ["b.module", *reversed(TWELVE), "a.module"]
    writer = feature_writer(tmp_path / "f", 2)
    writer.append(dict.fromkeys(names, np.ones((2, 1, 1), np.float32)))
    writer.finish()
    assert open_features(tmp_path / "f").layers == (*TWELVE, "b.module", "a.module")


@pytest.mark.parametrize(
    "change",
    [
        lambda found: {layer: block[:15] for layer, block in found.items()},
        lambda found: {**found, "enc1": found["enc1"][:1]},
        lambda found: {**found, "enc1": found["enc1"][:, :1]},
        lambda found: {**found, "enc1": found["enc1"][:, :, :1]},
        lambda found: {**found, "enc1": found["enc1"][:, :, 0]},
        lambda found: {"enc1": found["enc1"]},
        lambda found: {**found, "enc2": found["enc1"]},
        lambda found: {},
    ],
)
def test_blocks_of_other_shapes_are_refused(
    tmp_path: Path, change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]
) -> None:
    """Zarr would spread a block of one image, channel or vector over all of them."""
    writer = feature_writer(tmp_path / "f", IMAGES)
    writer.append(blocks(0, 16))
    with refused(ArgumentError, "of 16 images", "as before"):
        writer.append(change(blocks(16, 32)))
    writer.append(blocks(16, 32))


def test_number_of_images_must_match_the_samples(tmp_path: Path) -> None:
    writer = feature_writer(tmp_path / "f", 20)
    with refused(FormatError, tmp_path / "f", "0 of 20 images"):
        writer.finish()
    writer.append(blocks(0, 16))
    with refused(FormatError, tmp_path / "f", "16 of 20 images"):
        writer.finish()
    with refused(ArgumentError, "of 4 images"):
        writer.append(blocks(16, 32))
    writer.append(blocks(16, 20))
    with refused(ArgumentError, "of 0 images"):
        writer.append(blocks(20, 24))
    writer.finish()
    with refused(FormatError, "0 of 0 images"):
        feature_writer(tmp_path / "none", 0).finish()
