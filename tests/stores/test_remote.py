"""Stores behind URLs: fsspec's memory and file systems, a web server, an S3 server (moto)."""

from __future__ import annotations

import base64
import pickle
import shutil
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import google_crc32c
import numpy as np
import pytest
import zarr
from zarr.storage import LocalStore

from remote_hosts import Handler, break_off, fail, in_memory, serving
from skiptool.errors import ArgumentError, FormatError, SourceError
from skiptool.names import Kind
from skiptool.records import SILENT
from skiptool.stores.addresses import last_part, path_or_url, redact
from skiptool.stores.arrays import FeatureStore, read_error
from skiptool.stores.artifacts import check_unchanged
from skiptool.stores.dataset import DatasetStore, announce_download, open_dataset
from skiptool.stores.features import open_features
from skiptool.stores.lineage import create_lineage
from skiptool.stores.masks import MaskWriter, open_masks
from skiptool.stores.remote import RemoteFolder, fetch_file, map_items, open_store
from small_stores import (
    CLASSES,
    LAYERS,
    MAKING,
    flip,
    refused,
    set_attributes,
    set_json,
    spoil_chunk,
    unconsolidate,
    unseal,
    unshard,
)

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

fsspec = pytest.importorskip("fsspec", reason="remote stores need fsspec (extra remote)")
pytest.importorskip("aiohttp", reason="https:// needs aiohttp (extra remote)")


@pytest.fixture
def web(features: Path) -> Iterator[SimpleNamespace]:
    """Serve the folder of a feature store ``f.zarr``: ``url`` of it, and what `serving` yields."""
    with serving(features.parent) as host:
        host.url = f"{host.host}/f.zarr"
        yield host


@pytest.fixture
def memory(features: Path) -> Iterator[str]:
    """Put a feature store into fsspec's file system in memory."""
    files = fsspec.filesystem("memory")
    files.put(str(features), "/deep/f.zarr", recursive=True)
    yield "memory://deep/f.zarr"
    files.rm("/deep", recursive=True)


@pytest.fixture(scope="module")
def bucket() -> Iterator[AbstractFileSystem]:
    """Return fsspec's file system of a local S3 server that has a bucket ``skiptool``."""
    pytest.importorskip("s3fs", reason="s3:// needs s3fs (extra remote)")
    moto = pytest.importorskip("moto.server", reason="the local S3 server needs moto[server]")
    server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*server.get_host_and_port()))
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        files = fsspec.filesystem("s3")
        files.mkdir("skiptool")
        yield files
    server.stop()


@pytest.fixture
def s3(bucket: AbstractFileSystem, features: Path) -> Iterator[str]:
    """Put a feature store into the bucket."""
    bucket.put(str(features), "skiptool/f.zarr", recursive=True)
    yield "s3://skiptool/f.zarr"
    bucket.rm("skiptool/f.zarr", recursive=True)
    bucket.invalidate_cache()


def check_equal(found: FeatureStore, local: FeatureStore) -> None:
    assert (found.layers, found.lineage, found.facts) == (local.layers, local.lineage, local.facts)
    assert (len(found), found.name, found.id) == (len(local), "f.zarr", local.id)
    assert {name: list(values) for name, values in found.columns.items()} == {
        name: list(values) for name, values in local.columns.items()
    }
    for layer in local.layers:
        assert (found.shape(layer), found.chunk(layer)) == (local.shape(layer), 16)
        for (start, block), (first, expected) in zip(
            found.blocks(layer), local.blocks(layer), strict=True
        ):
            assert start == first
            np.testing.assert_array_equal(block, expected)
        np.testing.assert_array_equal(found.ranges(layer), local.ranges(layer))


def test_features_from_a_web_server(web: SimpleNamespace, features: Path) -> None:
    for url in (web.url, f"{web.url}/"):
        store = open_features(url)
        check_equal(store, open_features(features))
        assert (store.place, store.where) == (url, url)


def test_features_from_memory(memory: str, features: Path) -> None:
    check_equal(open_features(memory), open_features(features))


def test_features_from_s3(s3: str, features: Path) -> None:
    check_equal(open_features(s3), open_features(features))


def test_file_urls_are_local(features: Path) -> None:
    store = open_features(f"file://{features}")
    check_equal(store, open_features(features))
    assert (store.place, store.where) == (features, f"file://{features}")
    (features / "layers/enc1/c/0/0/0").unlink()
    with refused(FormatError, f"file://{features}", "chunk c/0/0/0 is missing"):
        open_features(f"file://{features}")


def test_opening_requests_no_chunk_of_a_layer(web: SimpleNamespace) -> None:
    open_features(web.url)
    asked = [path for path, _ in web.requests]
    assert any(path.endswith("samples/id/c/0") for path in asked)
    assert not [path for path in asked if "/c/" in path and "/samples/" not in path]
    assert len(asked) < 30


def test_metadata_of_all_members_is_read_with_that_of_the_root(
    web: SimpleNamespace, features: Path
) -> None:
    def metadata_requests() -> int:
        del web.requests[:]
        open_features(web.url)
        return sum("zarr.json" in path for path, _ in web.requests)

    assert metadata_requests() == 1
    unconsolidate(features)
    assert metadata_requests() > len(LAYERS)


def test_other_programs_find_the_arrays_without_listing(web: SimpleNamespace) -> None:
    assert set(zarr.open_group(web.url, mode="r")["layers"].array_keys()) == set(LAYERS)
    xarray = pytest.importorskip("xarray", reason="opens a URL with xarray, which is not installed")
    layers = xarray.open_zarr(web.url, group="layers")
    store = open_features(web.url)
    assert set(layers) == set(LAYERS)
    for name in LAYERS:
        np.testing.assert_array_equal(layers[name].values, store.read(name, slice(None)))


def test_threads_can_read_concurrently(web: SimpleNamespace, features: Path) -> None:
    store, local = open_features(web.url), open_features(features)
    parts = [(layer, slice(row, row + 3)) for layer in store.layers for row in range(0, 18, 3)] * 4
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda part: store.read(*part), parts))
    for part, block in zip(parts, found, strict=True):
        np.testing.assert_array_equal(block, local.read(*part))


def test_store_can_be_pickled(web: SimpleNamespace, features: Path) -> None:
    check_equal(pickle.loads(pickle.dumps(open_features(web.url))), open_features(features))


def shard_requests(web: SimpleNamespace) -> list[str]:
    return [path for path, _ in web.requests if path.endswith("layers/dec0/c/0/0/0")]


def test_only_parts_of_shards_are_fetched(web: SimpleNamespace, features: Path) -> None:
    """The index once, then the requested chunks, adjacent ones in a single request."""
    store = open_features(web.url)
    size = (features / "layers/dec0/c/0/0/0").stat().st_size
    for rows, requests in ((slice(16, 20), 2), (slice(0, 16), 3), (slice(3, 19), 4)):
        np.testing.assert_array_equal(
            store.read("dec0", rows), open_features(features).read("dec0", rows)
        )
        assert len(shard_requests(web)) == requests
        assert web.server.sent < size or requests > 2


def test_whole_files_are_requested_once(web: SimpleNamespace, features: Path) -> None:
    web.server.parts = False
    store = open_features(web.url)
    check_equal(store, open_features(features))
    assert len(shard_requests(web)) == 1
    check_equal(pickle.loads(pickle.dumps(store)), open_features(features))


def test_remote_store_without_shards(web: SimpleNamespace, features: Path) -> None:
    unshard(features)
    check_equal(open_features(web.url), open_features(features))
    (features / "layers/dec0/c/1/0/0").unlink()
    with refused(FormatError, web.url, "images 16 to 19: chunk c/1/0/0 is missing; the store"):
        open_features(web.url).read("dec0", slice(16, 20))


def test_chunk_missing_from_a_shard_is_detected(web: SimpleNamespace, features: Path) -> None:
    spoil_chunk(features / "layers/dec0/c/0/0/0", 1, lost=True)
    store = open_features(web.url)
    assert store.read("dec0", slice(0, 16)).any()
    words = f"{web.url}: layer dec0, images 16 to 19: chunk 1 of shard c/0/0/0 is missing; the"
    with refused(FormatError, words):
        store.read("dec0", slice(16, 20))


@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_bytes(b"")])
def test_lost_shard_is_detected_on_reading(
    web: SimpleNamespace, features: Path, damage: Callable[[Path], object]
) -> None:
    """Zarr itself reads zeros."""
    damage(features / "layers/dec0/c/0/0/0")
    damage(features / "ranges/enc1/high/c/0/0")
    store = open_features(web.url)
    assert store.read("enc1", slice(0, 16)).any()
    with refused(
        FormatError, f"{web.url}: layer dec0, images 16 to 19: chunk c/0/0/0 is missing; the store"
    ):
        store.read("dec0", slice(16, 20))
    with refused(FormatError, web.url, "high of enc1", "chunk c/0/0 is missing"):
        store.ranges("enc1")
    damage(features / "samples/id/c/0")
    with refused(FormatError, web.url, "column id", "chunk c/0 is missing"):
        open_features(web.url)


def test_lost_chunk_in_memory_and_s3_is_detected(
    memory: str, s3: str, bucket: AbstractFileSystem
) -> None:
    fsspec.filesystem("memory").rm("/deep/f.zarr/layers/dec0/c/0/0/0")
    bucket.rm("skiptool/f.zarr/layers/dec0/c/0/0/0")
    for url in (memory, s3):
        with refused(FormatError, url, "layer dec0, images 0 to 15", "c/0/0/0 is missing"):
            next(open_features(url).blocks("dec0"))


def test_truncated_or_changed_chunk_is_named(web: SimpleNamespace, features: Path) -> None:
    file = features / "layers/dec0/c/0/0/0"
    whole, store = file.read_bytes(), open_features(web.url)
    for size in (1, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:size])
        with refused(FormatError, web.url, "layer dec0, images 16 to 19", "damaged"):
            store.read("dec0", slice(16, 20))
    file.write_bytes(whole)
    spoil_chunk(file, 1)
    assert store.read("dec0", slice(0, 16)).any()
    with refused(FormatError, web.url, "layer dec0, images 16 to 19", "damaged"):
        store.read("dec0", slice(16, 20))


def test_lost_array_is_named(web: SimpleNamespace, features: Path) -> None:
    unconsolidate(features)
    shutil.rmtree(features / "layers/dec0")
    with refused(FormatError, web.url, "layers: has no 'dec0'"):
        open_features(web.url)
    shutil.rmtree(features / "samples")
    with refused(FormatError, web.url, "has no 'samples'"):
        open_features(web.url)


def test_columns_are_found_without_listing(
    web: SimpleNamespace, memory: str, features: Path
) -> None:
    """Stores of earlier versions do not list them: then the host must list folders."""
    assert set(open_features(web.url).columns) == {"id", "subject", "fold"}
    set_attributes(unconsolidate(features) / "samples", columns=None)
    with refused(FormatError, web.url, "holds no image"):
        open_features(web.url)
    files = fsspec.filesystem("memory")
    for name in ("zarr.json", "samples/zarr.json"):
        files.put(str(features / name), f"/deep/f.zarr/{name}")
    check_equal(open_features(memory), open_features(unseal(features)))
    set_attributes(features / "samples", columns=["id", 3])
    with refused(FormatError, web.url, "attribute columns"):
        open_features(web.url)


def test_remote_store_without_ranges(web: SimpleNamespace, features: Path) -> None:
    shutil.rmtree(unconsolidate(features) / "ranges")
    assert open_features(web.url).ranges("enc1") is None


@pytest.mark.filterwarnings("ignore:Consolidated metadata:zarr.errors.ZarrUserWarning")
def test_foreign_stores_need_listing_or_consolidated_metadata(
    web: SimpleNamespace, tmp_path: Path
) -> None:
    values = np.arange(24, dtype="float64").reshape(6, 4)
    root = zarr.open_group(tmp_path / "o.zarr", mode="w", zarr_format=3)
    root.create_array("layers/b", data=values, chunks=(4, 4))
    root.create_array("layers/enc1", data=values, chunks=(4, 4))
    url = f"{web.host}/o.zarr"
    with refused(FormatError, url, "no features", "consolidate"):
        open_features(url)
    zarr.consolidate_metadata(tmp_path / "o.zarr")
    store = open_features(url)
    assert (store.layers, store.id, store.name) == (("enc1", "b"), None, "o.zarr")
    assert store.read("b", slice(2, 5)).tolist() == values[2:5, :, None].tolist()
    fsspec.filesystem("memory").put(str(tmp_path / "o.zarr"), "/o.zarr", recursive=True)
    assert open_features("memory://o.zarr").layers == ("enc1", "b")
    fsspec.filesystem("memory").rm("/o.zarr", recursive=True)


def test_other_urls_are_refused(web: SimpleNamespace, dataset: Path, s3: str) -> None:
    for url in (f"{web.host}/nowhere.zarr", "memory://nowhere", f"{s3}/nowhere", "s3://nowhere/f"):
        with refused(FormatError, url, "not a Zarr group", "expected a feature store"):
            open_features(url)
    with refused(FormatError, f"{web.host}/d.zarr", "is of kind 'dataset', expected 'features'"):
        open_features(f"{web.host}/{dataset.name}")
    with refused(FormatError, f"{web.host}/.f.zarr.partial: is not finished"):
        open_features(f"{web.host}/.f.zarr.partial")
    with refused(FormatError, f"{web.host}/a.npy: no such file"):
        open_features(f"{web.host}/a.npy")


def test_damaged_metadata_is_reported_in_one_line(web: SimpleNamespace, features: Path) -> None:
    (unconsolidate(features) / "layers/enc1/zarr.json").write_text("<html>not found</html>")
    with refused(FormatError, web.url, "'enc1'"):
        open_features(web.url)
    (features / "zarr.json").write_text("<html>not found</html>")
    with refused(FormatError, web.url, "metadata cannot be read"):
        open_features(web.url)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (fail(403), ["the server answers 403 Forbidden"]),
        (fail(401), ["the server answers 401 Unauthorized"]),
        (fail(500), ["the server answers 500 Internal Server Error"]),
        (break_off, ["cannot be fetched", "not completed"]),
    ],
)
def test_server_errors_are_reported_in_one_line(
    web: SimpleNamespace, features: Path, answer: Callable[[Handler], None], words: list[str]
) -> None:
    unconsolidate(features)
    store = open_features(web.url)
    web.answers["/layers/dec0/"] = answer
    with refused(SourceError, f"{web.url}: layer dec0, images 0 to 15: cannot be fetched", *words):
        store.read("dec0", slice(0, 16))
    with refused(SourceError, f"{web.url}: layers: cannot be fetched", "credentials", *words):
        open_features(web.url)
    web.answers["zarr.json"] = answer
    with refused(SourceError, f"{web.url}: cannot be fetched", *words):
        open_features(web.url)


def test_denied_listing_is_reported(web: SimpleNamespace, features: Path) -> None:
    set_json(unconsolidate(features) / "zarr.json", attributes={})
    web.answers[r"/f\.zarr/?$"] = fail(403)
    with refused(SourceError, web.url, "the server answers 403"):
        open_features(web.url)


def test_unreachable_hosts_are_reported(web: SimpleNamespace) -> None:
    with refused(SourceError, "http://127.0.0.1:1/f.zarr: cannot be fetched", "check the address"):
        open_features("http://127.0.0.1:1/f.zarr")


def test_timeout_is_reported(web: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    import aiohttp

    patience = {"client_kwargs": {"timeout": aiohttp.ClientTimeout(total=0.1)}}
    monkeypatch.setitem(fsspec.config.conf, "http", patience)
    over = threading.Event()
    web.answers["zarr.json"] = lambda _handler: over.wait(30)
    with refused(SourceError, web.url, "no answer in time"):
        open_features(web.url)
    over.set()


def test_missing_s3_hosts_and_keys_are_reported(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    once = {"config_kwargs": {"retries": {"max_attempts": 0}, "connect_timeout": 1}}
    monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": "http://127.0.0.1:1", **once})
    with refused(SourceError, s3, "cannot be fetched", "127.0.0.1:1"):
        open_features(s3)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setitem(fsspec.config.conf, "s3", {"default_block_size": 1, **once})
    with refused(SourceError, s3, "credentials", "FSSPEC_S3_ANON=true"):
        open_features(s3)


def test_credentials_are_sent_but_not_shown(web: SimpleNamespace, features: Path) -> None:
    url = web.url.replace("//", "//me:secret@") + "?sig=se/cret%2B&empty="
    store = open_features(url)
    check_equal(store, open_features(features))
    sent = {(path.partition("?")[2], header) for path, header in web.requests}
    assert sent == {("sig=se/cret%2B&empty=", f"Basic {base64.b64encode(b'me:secret').decode()}")}
    assert store.where == web.url
    web.answers["dec0"] = fail(403)
    (features / "layers/enc1/c/0/0/0").unlink()
    for layer in ("dec0", "enc1"):
        with pytest.raises((SourceError, FormatError)) as caught:
            store.read(layer, slice(0, 16))
        assert "cret" not in str(caught.value)
    for wrong in (
        "http://me:secret@127.0.0.1:1/f.zarr?sig=secret",
        "http://me:secret@no.such.host.invalid/f.zarr?sig=secret",
        "nonsense://me:secret@host/f.zarr?sig=secret",
        "http://me:secret@host:port/f.zarr",
    ):
        with pytest.raises((SourceError, ArgumentError)) as caught:
            open_features(wrong)
        assert "secret" not in str(caught.value)
        assert str(caught.value).startswith(wrong.partition("me:")[0])


def test_unsupported_protocols_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with refused(ArgumentError, "nonsense://a/b", "expected a folder, or a URL such as s3://"):
        open_features("nonsense://a/b")
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with refused(ArgumentError, "gs://a/b", "gcsfs", "pip install 'skiptool[remote]'"):
        open_features("gs://a/b")


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("fsspec", "fsspec.core"):
        monkeypatch.setitem(sys.modules, name, None)
    for ask in (open_features, open_store, fetch_file, RemoteFolder):
        with refused(
            ArgumentError, "s3://a/b", "needs a package", "pip install 'skiptool[remote]'"
        ):
            ask("s3://a/b")


@pytest.mark.long
def test_process_ends_silently(web: SimpleNamespace) -> None:
    """In a subprocess: open connections cause no messages on stderr."""
    code = "import sys; from skiptool.stores.features import open_features as f; f(sys.argv[1])"
    words = [sys.executable, "-W", "error", "-c", code, web.url]
    found = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://bucket/f.zarr", "s3://bucket/f.zarr"),
        ("/a/b?.zarr", "/a/b?.zarr"),
        ("a@b/c", "a@b/c"),
        ("https://me:pa@ss@host/f@g.zarr/?a=b/c&d", "https://host/f@g.zarr/"),
        ("cannot reach 'http://k:s@h/x?y=z': why?", "cannot reach 'http://h/x': why?"),
        ("http://h/x?y=http://k:s@h/z and http://k@i/", "http://h/x and http://i/"),
    ],
)
def test_redaction_removes_secrets(text: str, expected: str) -> None:
    assert redact(text) == expected


def test_last_part_of_paths_and_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert last_part(Path()) == tmp_path.name
    assert last_part(Path("a/b.zarr/")) == "b.zarr"
    assert last_part("s3://bucket/a/b.zarr//") == "b.zarr"
    assert last_part("memory://b.zarr") == "b.zarr"
    assert last_part("https://k:s@host?x=/y") == "host"


def test_local_places_are_paths() -> None:
    assert path_or_url("a/b") == path_or_url(Path("a/b")) == Path("a/b")
    assert path_or_url("s3://a/b") == "s3://a/b"


def test_map_items_keeps_the_order(web: SimpleNamespace, features: Path) -> None:
    names = [str(number) for number in range(20)]
    for store in (open_store(web.url), LocalStore(features)):
        assert map_items(store, int, names) == list(range(20))


def test_read_error_keeps_the_type_of_skiptool_errors() -> None:
    found = read_error(SourceError("no answer"), "here", "is torn")
    assert (type(found), str(found)) == (SourceError, "here: no answer")
    found = read_error(KeyError("x"), "here", "is torn")
    assert (type(found), str(found)) == (FormatError, "here: is torn")


# -------------------------------------------------------------------------------------------------
# Datasets and predicted masks behind URLs are read as those on this machine, damage is told.


pytest.importorskip("aiohttp", reason="http:// needs aiohttp (extra remote)")


@pytest.fixture
def web_of_remote_datasets(dataset: Path) -> Iterator[SimpleNamespace]:
    """Serve the folder of a dataset ``d.zarr``: ``url`` of it, and what `serving` yields."""
    with serving(dataset.parent) as host:
        host.url = f"{host.host}/d.zarr"
        yield host


def lose(file: Path, *chunks: int, room: int = 16) -> None:
    """Remove chunks from the index of a shard, as if they had never been written."""
    content = file.read_bytes()
    size = 16 * room + 4
    index = list(struct.unpack(f"<{2 * room}Q", content[-size:-4]))
    for chunk in chunks:
        index[2 * chunk : 2 * chunk + 2] = [2**64 - 1] * 2
    table = struct.pack(f"<{2 * room}Q", *index)
    file.write_bytes(content[:-size] + table + struct.pack("<I", google_crc32c.value(table)))


def check_equal_of_remote_datasets(found: DatasetStore, local: DatasetStore) -> None:
    assert (found.lineage, found.classes) == (local.lineage, local.classes)
    assert [*found.domains] == [*local.domains] == ["a", "b grey"]
    for name, domain in local.domains.items():
        other = found.domains[name]
        assert (other.height, other.width, other.channels) == (
            domain.height,
            domain.width,
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


def test_dataset_from_a_web_server(web_of_remote_datasets: SimpleNamespace, dataset: Path) -> None:
    store = open_dataset(web_of_remote_datasets.url)
    check_equal_of_remote_datasets(store, open_dataset(dataset))
    assert (store.place, store.path, store.name) == (
        web_of_remote_datasets.url,
        web_of_remote_datasets.url,
        "d.zarr",
    )
    check_equal_of_remote_datasets(pickle.loads(pickle.dumps(store)), open_dataset(dataset))


def test_dataset_from_a_web_server_without_ranges(
    web_of_remote_datasets: SimpleNamespace, dataset: Path
) -> None:
    """It sends the whole file for any requested range."""
    web_of_remote_datasets.server.parts = False
    check_equal_of_remote_datasets(open_dataset(web_of_remote_datasets.url), open_dataset(dataset))


@pytest.mark.long
def test_dataset_from_memory(dataset: Path) -> None:
    """A host that lists folders, with a seal and without one."""
    with in_memory() as files:
        files.put(str(dataset), "/deep/d.zarr", recursive=True)
        check_equal_of_remote_datasets(open_dataset("memory://deep/d.zarr"), open_dataset(dataset))
        files.put(str(unseal(dataset) / "zarr.json"), "/deep/d.zarr/zarr.json")
        check_equal_of_remote_datasets(open_dataset("memory://deep/d.zarr"), open_dataset(dataset))


@pytest.mark.long
def test_no_pixels_are_fetched_before_reading(web_of_remote_datasets: SimpleNamespace) -> None:
    store = open_dataset(web_of_remote_datasets.url)
    asked = [path for path, _ in web_of_remote_datasets.requests]
    assert not [path for path in asked if "/images/c/" in path or "/masks/c/" in path]
    reader = store.samples("a", range(16))
    reader.read(0)
    del web_of_remote_datasets.requests[:]
    reader.read_many(range(16))
    assert (
        len(web_of_remote_datasets.requests) == 2
    )  # all chunks of a shard of images, and of one of masks


def test_domains_need_a_seal_or_listing(
    web_of_remote_datasets: SimpleNamespace, dataset: Path
) -> None:
    unseal(unconsolidate(dataset))
    with refused(FormatError, web_of_remote_datasets.url, "holds no domain", "its host lists none"):
        open_dataset(web_of_remote_datasets.url)


@pytest.mark.long
@pytest.mark.parametrize("array", ["images", "masks"])
def test_lost_chunks_are_not_read_as_zeros(
    web_of_remote_datasets: SimpleNamespace, dataset: Path, array: str
) -> None:
    store = open_dataset(web_of_remote_datasets.url)
    (file,) = (path for path in (dataset / f"a/{array}/c/1").rglob("*") if path.is_file())
    lose(file, 2)
    for whole in (0, 16, 19):
        store.samples("a", [whole]).read(0)
    for rows in ([18], [16, 17, 18, 19]):
        with refused(
            FormatError,
            f"{web_of_remote_datasets.url}: domain a, sample",
            "chunk 2 of shard c/1/0/0",
        ):
            store.samples("a", rows).read_many(range(len(rows)))
    file.unlink()
    with refused(
        FormatError,
        f"{web_of_remote_datasets.url}: domain a, sample 17",
        "chunk c/1/0/0",
        "is missing",
    ):
        store.samples("a", [17]).read(0)


def test_chunks_beyond_the_end_are_not_required(web_of_remote_datasets: SimpleNamespace) -> None:
    """The last shard of 20 images could hold 12 more."""
    assert open_dataset(web_of_remote_datasets.url).samples("a", [19]).read(0)[0].any()


def test_flipped_bit_is_reported_as_damage(
    web_of_remote_datasets: SimpleNamespace, dataset: Path
) -> None:
    (file,) = (path for path in (dataset / "a/images/c/1").rglob("*") if path.is_file())
    flip(file, 3)
    with refused(FormatError, f"{web_of_remote_datasets.url}: domain a, sample 16", "damaged"):
        open_dataset(web_of_remote_datasets.url).samples("a", [16]).read(0)


@pytest.mark.parametrize(("status", "words"), [(403, "403 Forbidden"), (503, "503 Service")])
def test_host_failing_between_samples_is_reported(
    web_of_remote_datasets: SimpleNamespace, status: int, words: str
) -> None:
    url = web_of_remote_datasets.url.replace("//", "//me:secret@") + "?sig=secret"
    reader = open_dataset(url).samples("a", range(20))
    reader.read(0)
    web_of_remote_datasets.answers["/images/c/1"] = fail(status)
    where = f"{web_of_remote_datasets.url}: domain a, sample 19"
    with refused(SourceError, f"{where}: cannot be fetched (the server answers {words}"):
        reader.read(19)
    web_of_remote_datasets.answers["."] = fail(status)
    with refused(
        SourceError, f"{web_of_remote_datasets.url}: cannot be fetched (the server answers {words}"
    ):
        open_dataset(url)


def test_replaced_remote_dataset_is_detected(
    web_of_remote_datasets: SimpleNamespace, dataset: Path
) -> None:
    store = open_dataset(web_of_remote_datasets.url)
    check_unchanged(store)
    set_attributes(dataset, id="0" * 32)
    with refused(FormatError, web_of_remote_datasets.url, "was replaced while it was read"):
        check_unchanged(store)
    shutil.rmtree(dataset)
    with refused(FormatError, web_of_remote_datasets.url, "not a Zarr group"):
        check_unchanged(store)


def test_download_is_announced(web_of_remote_datasets: SimpleNamespace, dataset: Path) -> None:
    lines: list[str] = []
    progress = SimpleNamespace(say=lines.append)
    for place in (dataset, web_of_remote_datasets.url):
        store = open_dataset(place)
        announce_download(store, [(store.domain("a"), 2), (store.domain("b grey"), 1)], progress)
    size = 2 * 4 * 6 * (3 + 1) + 5 * 3 * (4 + 1)
    (line,) = lines
    assert line.startswith(f"{web_of_remote_datasets.url}: is read over the network, {size} bytes")
    announce_download(open_dataset(web_of_remote_datasets.url), [], SILENT)


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
def test_readers_survive_a_fork(web_of_remote_datasets: SimpleNamespace) -> None:
    """In a subprocess: a forked child has no threads of fsspec and Zarr."""
    words = [sys.executable, "-W", "ignore", "-c", FORKED, web_of_remote_datasets.url]
    found = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert found.returncode == 0, found


def test_masks_from_a_web_server(web_of_remote_datasets: SimpleNamespace, dataset: Path) -> None:
    path = dataset.parent / "m.zarr"
    writer = MaskWriter(path, create_lineage(Kind.MASKS, MAKING, 1), CLASSES)
    labels = np.random.default_rng(0).integers(0, 3, (18, 4, 6)).astype(np.uint8)
    entry = writer.begin({"model": "m", "factor": None}, [str(i) for i in range(18)], (4, 6))
    writer.append(entry, labels)
    writer.finish()
    store = open_masks(f"{web_of_remote_datasets.host}/m.zarr")
    assert (store.lineage, store.name) == (open_masks(path).lineage, "m.zarr")
    assert store.entries() == open_masks(path).entries()
    np.testing.assert_array_equal(store.read("0"), labels)
    np.testing.assert_array_equal(store.read_one("0", 17), labels[17])
    lose(path / "0/labels/c/0/0/0", 5)
    with refused(
        FormatError,
        f"{web_of_remote_datasets.host}/m.zarr: entry 0, sample 5",
        "chunk 5 of shard c/0/0/0",
    ):
        store.read_one("0", 5)
