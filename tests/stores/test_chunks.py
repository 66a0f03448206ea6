from __future__ import annotations

from pathlib import Path

import pytest
import zarr
from zarr.storage import MemoryStore

from skiptool.errors import FormatError
from skiptool.stores.chunks import check_chunks, folder_of, is_lost
from skiptool.stores.remote import RemoteStore
from skiptool.stores.zarrs import create_array
from small_stores import refused


@pytest.fixture
def root(tmp_path: Path) -> zarr.Group:
    group = zarr.open_group(tmp_path / "s.zarr", mode="w", zarr_format=3)
    create_array(group, "in/a", (5, 2), "uint8", chunk=2)[:] = 1
    return group


def test_every_chunk_is_looked_for(root: zarr.Group, tmp_path: Path) -> None:
    check_chunks(root["in/a"], "here")
    for number in range(3):
        file = tmp_path / f"s.zarr/in/a/c/{number}/0"
        whole = file.read_bytes()
        file.unlink()
        with refused(FormatError, f"here: chunk c/{number}/0 is missing; the store is damaged"):
            check_chunks(root["in/a"], "here")
        file.write_bytes(whole)


def test_arrays_of_others_may_lack_chunks(root: zarr.Group) -> None:
    made = root.create_array("b", shape=(4, 4), chunks=(2, 2), dtype="uint8")
    check_chunks(made, "here")
    made.attrs["every_chunk"] = True
    with refused(FormatError, "here: chunks are no whole rows"):
        check_chunks(root["b"], "here")


def test_a_remote_store_is_told_which_arrays_are_whole(root: zarr.Group, tmp_path: Path) -> None:
    root.create_array("b", shape=(4, 4), chunks=(2, 2), dtype="uint8")
    pytest.importorskip("fsspec", reason="remote stores need fsspec (extra remote)")
    store = RemoteStore.from_url(f"file://{tmp_path}/s.zarr", read_only=True)
    assert isinstance(store, RemoteStore)
    remote = zarr.open_group(store, mode="r")
    (tmp_path / "s.zarr/in/a/c/1/0").unlink()
    assert remote["in/a"][2:4].tolist() == [[0, 0], [0, 0]]  # what Zarr takes it for
    for name in ("in/a", "b"):
        check_chunks(remote[name], "here")
    assert store.whole == {"in/a"}
    assert remote["in/a"][:2].all()
    with refused(FormatError, "chunk c/1/0 is missing"):
        _ = remote["in/a"][2:4]
    assert not remote["b"][:].any()


def test_folders_are_local(root: zarr.Group, tmp_path: Path) -> None:
    assert folder_of(root) == tmp_path / "s.zarr"
    assert folder_of(root["in/a"]) == tmp_path / "s.zarr/in/a"
    with refused(FormatError, "not on a local disk"):
        folder_of(zarr.open_group(MemoryStore(), mode="w"))


def test_what_is_lost_is_not_what_is_damaged(root: zarr.Group, tmp_path: Path) -> None:
    assert is_lost(root, "in/b", KeyError("in/b"))
    (tmp_path / "s.zarr/in/a/zarr.json").write_text("{}")
    assert not is_lost(root, "in/a", KeyError("node_type"))
    (tmp_path / "s.zarr/in/a/zarr.json").unlink()
    assert is_lost(root, "in/a", KeyError("in/a"))
    elsewhere = zarr.open_group(MemoryStore(), mode="w")
    assert is_lost(elsewhere, "a", KeyError("a"))
    assert not is_lost(elsewhere, "a", ValueError("no JSON"))
