"""Datasets and predicted masks behind URLs are read as those on this machine, damage is told."""

from __future__ import annotations

import pickle
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import google_crc32c
import numpy as np
import pytest

from remote_hosts import fail, in_memory, serving
from skiptool.errors import FormatError, SourceError
from skiptool.names import Kind
from skiptool.records import SILENT
from skiptool.stores.artifacts import check_unchanged
from skiptool.stores.dataset import DatasetStore, open_dataset, tell_network
from skiptool.stores.lineage import lineage
from skiptool.stores.masks import MaskWriter, open_masks
from small_stores import CLASSES, MAKING, flip, refused, set_attributes, unseal

pytest.importorskip("aiohttp", reason="http:// needs aiohttp (extra remote)")


@pytest.fixture
def web(dataset: Path) -> Iterator[SimpleNamespace]:
    """Serve the folder of a dataset ``d.zarr``: ``url`` of it, and what `serving` yields."""
    with serving(dataset.parent) as host:
        host.url = f"{host.host}/d.zarr"
        yield host


def lose(file: Path, *chunks: int, room: int = 16) -> None:
    """Take chunks out of the index of a shard, as a writer would that never wrote them."""
    content = file.read_bytes()
    size = 16 * room + 4
    index = list(struct.unpack(f"<{2 * room}Q", content[-size:-4]))
    for chunk in chunks:
        index[2 * chunk : 2 * chunk + 2] = [2**64 - 1] * 2
    table = struct.pack(f"<{2 * room}Q", *index)
    file.write_bytes(content[:-size] + table + struct.pack("<I", google_crc32c.value(table)))


def check_equal(found: DatasetStore, local: DatasetStore) -> None:
    assert (found.lineage, found.classes) == (local.lineage, local.classes)
    assert [*found.domains] == [*local.domains] == ["a", "b grey"]
    for name, domain in local.domains.items():
        other = found.domains[name]
        assert (other.height, other.width, other.channels) == (
            *(domain.height, domain.width),
            domain.channels,
        )
        assert {key: list(values) for key, values in other.columns.items()} == {
            key: list(values) for key, values in domain.columns.items()
        }
    for name, rows in {"a": [*range(20)], "b grey": [0, 1, 2]}.items():
        for order in (rows, rows[::-1], rows[1::2], rows[:1]):
            places = range(len(order))
            read = [each.samples(name, order).read_many(places) for each in (found, local)]
            for part, expected in zip(*read, strict=True):
                np.testing.assert_array_equal(part, expected)


def test_a_web_server(web: SimpleNamespace, dataset: Path) -> None:
    store = open_dataset(web.url)
    check_equal(store, open_dataset(dataset))
    assert (store.place, store.path, store.name) == (web.url, web.url, "d.zarr")
    check_equal(pickle.loads(pickle.dumps(store)), open_dataset(dataset))


def test_a_web_server_that_knows_no_ranges(web: SimpleNamespace, dataset: Path) -> None:
    """It sends the whole file, whatever part of it is asked for."""
    web.server.parts = False
    check_equal(open_dataset(web.url), open_dataset(dataset))


@pytest.mark.long
def test_memory(dataset: Path) -> None:
    """A host that lists folders, with a seal and without one."""
    with in_memory() as files:
        files.put(str(dataset), "/deep/d.zarr", recursive=True)
        check_equal(open_dataset("memory://deep/d.zarr"), open_dataset(dataset))
        files.put(str(unseal(dataset) / "zarr.json"), "/deep/d.zarr/zarr.json")
        check_equal(open_dataset("memory://deep/d.zarr"), open_dataset(dataset))


@pytest.mark.long
def test_no_pixel_is_fetched_before_it_is_read(web: SimpleNamespace) -> None:
    store = open_dataset(web.url)
    asked = [path for path, _ in web.requests]
    assert not [path for path in asked if "/images/c/" in path or "/masks/c/" in path]
    reader = store.samples("a", range(16))
    reader.read(0)
    del web.requests[:]
    reader.read_many(range(16))
    assert len(web.requests) == 2  # all chunks of a shard of images, and of one of masks


def test_without_a_seal_or_a_list_there_are_no_domains(web: SimpleNamespace, dataset: Path) -> None:
    unseal(dataset)
    with refused(FormatError, web.url, "holds no domain", "its host lists none"):
        open_dataset(web.url)


@pytest.mark.long
@pytest.mark.parametrize("array", ["images", "masks"])
def test_lost_chunks_are_no_zeros(web: SimpleNamespace, dataset: Path, array: str) -> None:
    store = open_dataset(web.url)
    (file,) = (path for path in (dataset / f"a/{array}/c/1").rglob("*") if path.is_file())
    lose(file, 2)
    for whole in (0, 16, 19):
        store.samples("a", [whole]).read(0)
    for rows in ([18], [16, 17, 18, 19]):
        with refused(FormatError, f"{web.url}: domain a, sample", "chunk 2 of shard c/1/0/0"):
            store.samples("a", rows).read_many(range(len(rows)))
    file.unlink()
    with refused(FormatError, f"{web.url}: domain a, sample 17", "chunk c/1/0/0", "is missing"):
        store.samples("a", [17]).read(0)


def test_chunks_behind_the_end_are_not_missed(web: SimpleNamespace) -> None:
    """The last shard of 20 images has room for 12 more."""
    assert open_dataset(web.url).samples("a", [19]).read(0)[0].any()


def test_a_flipped_bit_is_damage(web: SimpleNamespace, dataset: Path) -> None:
    (file,) = (path for path in (dataset / "a/images/c/1").rglob("*") if path.is_file())
    flip(file, 3)
    with refused(FormatError, f"{web.url}: domain a, sample 16", "damaged"):
        open_dataset(web.url).samples("a", [16]).read(0)


@pytest.mark.parametrize(("status", "words"), [(403, "403 Forbidden"), (503, "503 Service")])
def test_a_host_that_fails_between_two_samples(
    web: SimpleNamespace, status: int, words: str
) -> None:
    url = web.url.replace("//", "//me:secret@") + "?sig=secret"
    reader = open_dataset(url).samples("a", range(20))
    reader.read(0)
    web.answers["/images/c/1"] = fail(status)
    where = f"{web.url}: domain a, sample 19"
    with refused(SourceError, f"{where}: cannot be fetched (the server answers {words}"):
        reader.read(19)
    web.answers["."] = fail(status)
    with refused(SourceError, f"{web.url}: cannot be fetched (the server answers {words}"):
        open_dataset(url)


def test_it_is_the_same_dataset_at_the_end(web: SimpleNamespace, dataset: Path) -> None:
    store = open_dataset(web.url)
    check_unchanged(store)
    set_attributes(dataset, id="0" * 32)
    with refused(FormatError, web.url, "was replaced while it was read"):
        check_unchanged(store)
    shutil.rmtree(dataset)
    with refused(FormatError, web.url, "no Zarr group"):
        check_unchanged(store)


def test_how_much_is_read_is_told(web: SimpleNamespace, dataset: Path) -> None:
    lines: list[str] = []
    progress = SimpleNamespace(say=lines.append)
    for place in (dataset, web.url):
        store = open_dataset(place)
        tell_network(store, [(store.domain("a"), 2), (store.domain("b grey"), 1)], progress)
    size = 2 * 4 * 6 * (3 + 1) + 5 * 3 * (4 + 1)
    (line,) = lines
    assert line.startswith(f"{web.url}: is read over the network, {size} bytes")
    tell_network(open_dataset(web.url), [], SILENT)


FORKED = """
import os, signal, sys
from skiptool.stores.dataset import open_dataset
reader = open_dataset(sys.argv[1]).samples("a", range(20))
expected = reader.read(3)[0].tolist()
child = os.fork()
if not child:
    signal.alarm(30)  # what hangs is ended
    os._exit(reader.read(3)[0].tolist() != expected)
sys.exit(os.waitpid(child, 0)[1] or reader.read(3)[0].tolist() != expected)
"""


@pytest.mark.long
def test_readers_survive_a_fork(web: SimpleNamespace) -> None:
    """In a process of its own: threads of fsspec and Zarr are gone in a forked child."""
    words = [sys.executable, "-W", "ignore", "-c", FORKED, web.url]
    found = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert found.returncode == 0, found


def test_masks(web: SimpleNamespace, dataset: Path) -> None:
    path = dataset.parent / "m.zarr"
    writer = MaskWriter(path, lineage(Kind.MASKS, MAKING, 1), CLASSES)
    labels = np.random.default_rng(0).integers(0, 3, (18, 4, 6)).astype(np.uint8)
    entry = writer.begin({"model": "m", "factor": None}, [str(i) for i in range(18)], (4, 6))
    writer.append(entry, labels)
    writer.finish()
    store = open_masks(f"{web.host}/m.zarr")
    assert (store.lineage, store.name) == (open_masks(path).lineage, "m.zarr")
    assert store.entries() == open_masks(path).entries()
    np.testing.assert_array_equal(store.read("0"), labels)
    np.testing.assert_array_equal(store.read_one("0", 17), labels[17])
    lose(path / "0/labels/c/0/0/0", 5)
    with refused(FormatError, f"{web.host}/m.zarr: entry 0, sample 5", "chunk 5 of shard c/0/0/0"):
        store.read_one("0", 5)
