"""Hostile inputs: nothing runs, nothing grows without end, nothing leaves its place."""

from __future__ import annotations

import csv
import gzip
import html.parser
import io
import json
import os
import pickle
import re
import shutil
import sqlite3
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import zarr

from driven import GIB, LOADED, Driven, Ended
from skiptool.names import Split
from slide_cases import write_manifest, write_slide, write_sliderunner
from small_artifacts import ENCODER
from small_stores import sample, set_attributes, set_json, unseal, write_dataset
from volume_cases import affine, row, save, write_table

Words = Sequence[object]
Make = Callable[[Path, SimpleNamespace], Words]

SPARE = 3 * GIB // 2
"""Memory that a hostile input may take: less than it asks for."""

DEEP = b"[" * 100_000
ESCAPE = "\x1b]0;owned\x07\x1b[2J"
MARKUP = "<img src=x onerror=alert(1)>"


class Marked:
    """Unpickling it runs a command that leaves a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.marker}'",)


@pytest.fixture(scope="module")
def counts() -> Counter[str]:
    return Counter()


@pytest.fixture(scope="module")
def held() -> Iterator[Driven]:
    """Return a function that runs command lines in little memory and time."""
    with Driven(spare=SPARE, seconds=40, preload=LOADED) as process:
        yield process


@pytest.fixture(scope="module")
def ready(artifacts: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Add to the artifacts a dataset to train on, a slide, and pictures."""
    folder = tmp_path_factory.mktemp("ready")
    samples = [
        sample(i, "a", (32, 32, 3), split=Split.TRAIN, fold=i % 2, subject=f"{i}") for i in range(4)
    ]
    write_dataset(folder / "train.zarr", samples)
    write_slide(folder / "slide.tiff")
    rng = np.random.default_rng(0)
    from PIL import Image

    for name in "abcd":
        image = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(image).save(folder / f"{name}.png")
        Image.fromarray((image[..., 0] > 99).astype(np.uint8)).save(folder / f"{name}-mask.png")
    save(folder / "v.nii.gz", np.zeros((32, 32, 2), np.int16))
    return SimpleNamespace(
        **vars(artifacts) | {"folder": folder},
        train=folder / "train.zarr",
        slide=folder / "slide.tiff",
    )


def clean(text: str) -> bool:
    """Say whether nothing in a text moves a cursor, renames a window or turns letters round."""
    return all(c.isprintable() or c in "\n\t" for c in text)


def check(ended: Ended, codes: Sequence[int], words: Sequence[str]) -> None:
    assert ended.code in codes, ended
    assert "Traceback" not in ended.err, ended.err
    assert not re.search(r": unexpected \w+: .*--debug", ended.err), ended.err
    assert clean(ended.out), ended.out
    assert clean(ended.err), ended.err
    for word in words:
        assert word in ended.err + ended.out, ended
    assert ended.peak < SPARE, ended


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
    }


def predict(model: object, data: object, *more: object) -> Words:
    return ("predict", model, "--data", data, "--device", "cpu", "-o", "new.parquet", *more)


def train(data: object, *more: object) -> Words:
    small = ("--encoder", ENCODER, "--epochs", "1", "--batch-size", "2", "--device", "cpu")
    return ("train", data, "--fold", "0", *small, "--precision", "32", "-o", "runs", *more)


def copied(source: Path, place: Path) -> Path:
    target = place / source.name
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy(source, target)
    return target


# pickles


def raw(place: Path) -> bytes:
    return pickle.dumps(Marked(place.parent / "marker"))


def zipped(place: Path) -> bytes:
    stream = io.BytesIO()
    torch.save({"state_dict": Marked(place.parent / "marker")}, stream)
    return stream.getvalue()


def weights(name: str, content: Callable[[Path], bytes]) -> Make:
    def make(place: Path, ready: SimpleNamespace) -> Words:
        (place / name).write_bytes(content(place))
        return train(ready.train, "--encoder-weights", place / name)

    return make


def in_model(name: str, content: Callable[[Path], bytes]) -> Make:
    def make(place: Path, ready: SimpleNamespace) -> Words:
        model = copied(ready.model, place)
        (model / name).write_bytes(content(place))
        return predict(model, ready.data)

    return make


def only_pickle(place: Path, ready: SimpleNamespace) -> Words:
    (place / "m").mkdir()
    (place / "m/pytorch_model.bin").write_bytes(zipped(place))
    shutil.copy(ready.model / "config.json", place / "m")
    return predict(place / "m", ready.data)


def checkpoint(content: Callable[[Path], bytes]) -> Make:
    def make(place: Path, ready: SimpleNamespace) -> Words:
        folder = place / f"runs/{ENCODER}-L0/.fold0.partial"
        folder.mkdir(parents=True)
        (folder / "last.ckpt").write_bytes(content(place))
        return train(ready.train, "--encoder-weights", "none", "--resume")

    return make


def kept_checkpoint(place: Path, ready: SimpleNamespace) -> Words:
    model = copied(ready.model, place)
    (model / "last.ckpt").write_bytes(raw(place))
    return ("info", "--check", model)


def objects(place: Path, ready: SimpleNamespace) -> Words:
    del ready
    np.save(place / "x.npy", np.array([Marked(place.parent / "marker")], dtype=object))
    return ("hellinger", place / "x.npy", place / "x.npy", "-o", "new.parquet")


def npy(content: Callable[[Path], bytes]) -> Make:
    def make(place: Path, ready: SimpleNamespace) -> Words:
        del ready
        (place / "x.npy").write_bytes(content(place))
        return ("hellinger", place / "x.npy", place / "x.npy", "-o", "new.parquet")

    return make


def header_of(shape: str, dtype: str = "<f4") -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) + 1) + text + b"\n"


def old_zarr(dtype: str, **codec: object) -> Make:
    def make(place: Path, ready: SimpleNamespace) -> Words:
        del ready
        about = {"zarr_format": 2, "shape": [4, 2], "chunks": [4, 2], "dtype": dtype, "order": "C"}
        about |= {"fill_value": None, "filters": None, "compressor": None, **codec}
        for name in ("x", "y"):
            layer = place / f"{name}.zarr/enc1"
            layer.mkdir(parents=True)
            (layer.parent / ".zgroup").write_text('{"zarr_format": 2}')
            (layer / ".zarray").write_text(json.dumps(about))
            (layer / "0.0").write_bytes(raw(place))
        return ("hellinger", place / "x.zarr", place / "y.zarr", "-o", "new.parquet")

    return make


PICKLE = {"id": "pickle", "protocol": 5}

PICKLES: dict[str, tuple[Make, tuple[int, ...], tuple[str, ...]]] = {
    **{
        f"{form} as weights{suffix}": (
            weights(f"weights{suffix}", content), (1,), ("cannot be read as weights",)
        )
        for form, content in (("a pickle", raw), ("a pickle in a zip", zipped))
        for suffix in (".pth", ".pt", ".bin", ".PTH", ".ckpt", ".pkl", ".safetensors", "")
    },
    "a pickle for safetensors": (in_model("model.safetensors", raw), (1,), ("cannot be read",)),
    "a pickle for a configuration": (in_model("config.json", raw), (1,), ("config.json",)),
    "a pickle for a history": (in_model("history.parquet", raw), (0,), ()),
    "a model that is only a pickle": (only_pickle, (1,), ("never unpickled",)),
    "a checkpoint to go on with": (checkpoint(raw), (0, 1), ()),
    "a checkpoint to go on with, zipped": (checkpoint(zipped), (0, 1), ()),
    "a checkpoint that was kept": (kept_checkpoint, (1,), ("last.ckpt",)),
    "an array of objects": (objects, (1,), ("x.npy",)),
    "a pickle for an array": (npy(raw), (1,), ("is not a NumPy array",)),
    "an array that evaluates": (
        npy(lambda place: header_of(f"__import__('os').system('touch {place.parent}/marker')")),
        (1,),
        ("cannot be read as a NumPy array",),
    ),
    "Zarr objects": (old_zarr("|O", filters=[PICKLE]), (1,), ("x.zarr",)),
    "Zarr numbers in pickles": (old_zarr("<f4", filters=[PICKLE]), (1,), ("x.zarr",)),
    "Zarr compressed in pickles": (old_zarr("<f4", compressor=PICKLE), (1,), ("x.zarr",)),
}  # fmt: skip


# text that grows, or goes deep


def annotated(name: str, content: bytes | str) -> Make:
    def make(place: Path, ready: SimpleNamespace) -> Words:
        file = place / name
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        (place / "secret.txt").write_text("hunter2")
        row = {"path": ready.slide, "domain": "A", "subject": "s", "annotations": file}
        write_manifest(place / "slides.csv", [row])
        return ("extract", "wsi", place / "slides.csv", "--mode", "centred", "-o", "new.zarr")

    return make


def asap(group: str, before: str = "") -> str:
    return (
        f'<?xml version="1.0"?>{before}<ASAP_Annotations><Annotations><Annotation Name="1" '
        f'Type="Dot" PartOfGroup="{group}"><Coordinates><Coordinate Order="0" X="200" Y="150"/>'
        "</Coordinates></Annotation></Annotations></ASAP_Annotations>"
    )


def laughs(count: int) -> str:
    more = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, count))
    return f'<!DOCTYPE x [<!ENTITY l0 "ha">{more}]>'


QUADRATIC = f'<!DOCTYPE x [<!ENTITY a "{"a" * 100_000}">]>'
OUTER = '<!DOCTYPE x [<!ENTITY a SYSTEM "secret.txt">]>'
REMOTE = '<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd">'
PARAMETER = '<!DOCTYPE x [<!ENTITY % a SYSTEM "file:///etc/passwd"> %a;]>'
NESTED = "<ASAP_Annotations>" + "<a>" * 100_000 + "</a>" * 100_000 + "</ASAP_Annotations>"


def deep_store(member: str) -> Make:
    def make(place: Path, ready: SimpleNamespace) -> Words:
        data = copied(ready.data, place)
        (data / member).write_bytes(DEEP)
        return predict(ready.model, data)

    return make


def deep_overlays(place: Path, ready: SimpleNamespace) -> Words:
    folder = copied(ready.overlays, place)
    (folder / "overlays.json").write_bytes(DEEP)
    return ("info", folder)


def deep_table(place: Path, ready: SimpleNamespace) -> Words:
    table = pq.read_table(ready.shift).replace_schema_metadata({"skiptool": DEEP})
    pq.write_table(table, place / "t.parquet")
    return ("report", place / "t.parquet", "-o", "new.html")


def deep_description(place: Path, ready: SimpleNamespace) -> Words:
    del ready
    (place / "Dataset001").mkdir()
    (place / "Dataset001/dataset.json").write_bytes(DEEP)
    return ("extract", "images", place / "Dataset001", "-o", "new.zarr")


def deep_boxes(place: Path, ready: SimpleNamespace) -> Words:
    (place / "b.json").write_bytes(DEEP)
    how = ("--source", ready.folder / "a.png", "--annotations", place / "b.json")
    return ("synth", "--n", "4", *how, "-o", "new.zarr")


def deep_lineage(place: Path, ready: SimpleNamespace) -> Words:
    (place / "pairs").mkdir()
    (place / "pairs/lineage.json").write_bytes(DEEP)
    return (*images(place, ready, {}), "--export", "png", place / "pairs")


def deep_journal(place: Path, ready: SimpleNamespace) -> Words:
    (place / ".new.zarr.partial").mkdir()
    (place / ".new.zarr.partial/journal.jsonl").write_bytes(DEEP + b"\n")
    return (*images(place, ready, {}), "--resume")


def deep_weights(place: Path) -> bytes:
    del place
    return struct.pack("<Q", len(DEEP)) + DEEP


TEXTS: dict[str, tuple[Make, tuple[int, ...], tuple[str, ...]]] = {
    "a billion laughs": (annotated("a.xml", asap("&l11;", laughs(12))), (1,), ("document type",)),
    "laughs in UTF-16": (
        annotated("a.xml", asap("&l11;", laughs(12)).encode("utf-16")), (1,), ("a.xml",)
    ),
    "quadratic growth": (
        annotated("a.xml", asap("&a;" * 20_000, QUADRATIC)), (1,), ("document type",)
    ),
    "an external entity": (annotated("a.xml", asap("&a;", OUTER)), (1,), ("document type",)),
    "an external definition": (annotated("a.xml", asap("x", REMOTE)), (1,), ("document type",)),
    "a parameter entity": (annotated("a.xml", asap("x", PARAMETER)), (1,), ("document type",)),
    "deep XML": (annotated("a.xml", NESTED), (0, 1), ()),
    "deep annotations": (annotated("a.json", DEEP), (1,), ("a.json", "not valid JSON")),
    "deep GeoJSON": (
        annotated("a.json", b'{"type": "FeatureCollection", "features": ' + DEEP),
        (1,),
        ("a.json", "not valid JSON"),
    ),
    "deep configuration": (in_model("config.json", lambda _: DEEP), (1,), ("config.json",)),
    "deep safetensors": (in_model("model.safetensors", deep_weights), (1,), ("model.safetensors",)),
    "deep root": (deep_store("zarr.json"), (1,), ("data.zarr",)),
    "deep domain": (deep_store("a/zarr.json"), (1,), ("data.zarr",)),
    "deep array": (deep_store("a/images/zarr.json"), (1,), ("data.zarr",)),
    "deep index": (deep_overlays, (1,), ("overlays.json",)),
    "deep header of a table": (deep_table, (1,), ("not made by skiptool",)),
    "deep description": (deep_description, (1,), ("dataset.json",)),
    "deep boxes": (deep_boxes, (1,), ("b.json",)),
    "deep lineage": (deep_lineage, (1, 4), ("pairs",)),
    "deep journal": (deep_journal, (1, 4), ("journal.jsonl",)),
}  # fmt: skip


# sizes


def images(place: Path, ready: SimpleNamespace, changes: Mapping[str, object]) -> Words:
    rows = [
        {
            "image": ready.folder / f"{name}.png",
            "mask": ready.folder / f"{name}-mask.png",
            "domain": "A",
            "subject": name,
        }
        for name in "abcd"
    ]
    write_manifest(place / "images.csv", [rows[0] | dict(changes), *rows[1:]])
    how = ("--classes", "background,cell", "--folds", "2", "--test-fraction", "0")
    return ("extract", "images", place / "images.csv", *how, "-o", "new.zarr")


def image(name: str, content: bytes, column: str = "image") -> Make:
    def make(place: Path, ready: SimpleNamespace) -> Words:
        (place / name).write_bytes(content)
        return images(place, ready, {column: place / name})

    return make


def slide(content: bytes) -> Make:
    def make(place: Path, ready: SimpleNamespace) -> Words:
        del ready
        (place / "s.tiff").write_bytes(content)
        rows = [{"path": place / "s.tiff", "domain": "A", "subject": "s"}]
        write_manifest(place / "slides.csv", rows)
        return ("extract", "wsi", place / "slides.csv", "--mode", "grid", "-o", "new.zarr")

    return make


def chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def png(width: int, height: int, *more: bytes) -> bytes:
    begin = b"\x89PNG\r\n\x1a\n" + chunk(
        b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    )
    pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return begin + b"".join(more) + pixels + chunk(b"IEND", b"")


def tiff(width: int, height: int, tile: int = 0, count: int = 1) -> bytes:
    """One page of RGB, its only strip or tile of 100 bytes."""
    tags = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 2), (277, 3, 3)]
    tags += [(322, 4, tile), (323, 4, tile), (324, 4, 8), (325, 4, 100)] if tile else []
    tags += [] if tile else [(273, 4, 8), (278, 4, height), (279, 4, 100)]
    entries = b"".join(
        struct.pack("<HHII", tag, kind, count if tag in (273, 324) else 1, value)
        for tag, kind, value in sorted(tags)
    )
    head = b"II*\x00" + struct.pack("<I", 108)
    return head + bytes(100) + struct.pack("<H", len(tags)) + entries + bytes(4)


JPEG = bytes.fromhex(
    "ffd8ffc0001108ffffffff03012200021101031101ffda000c03010002110311003f00"
) + bytes(99)


def packed_zeros(size: int, block: int = 1 << 20) -> bytes:
    """Compress many zeros at once: blocks that refer to nothing before them are all alike."""
    packer = zlib.compressobj()
    first = packer.compress(bytes(block)) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(bytes(block)) + packer.flush(zlib.Z_FULL_FLUSH)
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    check = (size % 65521) << 16 | 1  # Adler-32
    end = packer.flush() + struct.pack(">I", check)
    return first + again * (size // block - 1) + end


TEXT = chunk(b"zTXt", b"Comment\0\0" + packed_zeros(GIB // 4))
PROFILE = chunk(b"iCCP", b"icc\0\0" + packed_zeros(GIB // 4))


def test_packed_zeros_are_a_stream_of_zeros() -> None:
    assert zlib.decompress(packed_zeros(8 << 20)) == bytes(8 << 20)


def volume(shape: Sequence[int], content: int = 1000, *, packed: bool, mask: bool = False) -> Make:
    def make(place: Path, ready: SimpleNamespace) -> Words:
        header = nifti(shape)
        file = place / ("h.nii.gz" if packed else "h.nii")
        data = header + bytes(content)
        file.write_bytes(gzip.compress(data, 9) if packed else data)
        known = ready.folder / "v.nii.gz"
        write_table(place / "volumes.csv", [row(known, file) if mask else row(file, "")])
        how = ("--keep-unlabelled", "--test-fraction", "0")
        return ("extract", "mri", place / "volumes.csv", "-o", "new.zarr", *how)

    return make


def nifti(shape: Sequence[int]) -> bytes:
    wide = max(shape) > 32767
    made: Any = (nibabel.Nifti2Header if wide else nibabel.Nifti1Header)()  # type: ignore[no-untyped-call]
    made.set_data_dtype(np.int16)
    made.set_data_shape((2, 2, 2))
    made.set_sform(affine(), 1)
    made.set_qform(affine(), 1)
    made["dim"][: len(shape) + 1] = (len(shape), *shape)
    made["magic"] = b"n+2" if wide else b"n+1"
    made["vox_offset"] = 544 if wide else 352
    return bytes(made.binaryblock) + bytes(4)


def endless(place: Path, ready: SimpleNamespace) -> Words:
    """Write a volume of 4 kB that has 5 GB of zeros behind it."""
    with gzip.open(place / "h.nii.gz", "wb", compresslevel=1) as file:
        file.write(nifti((32, 32, 2)) + bytes(32 * 32 * 2 * 2))
        for _ in range(5 * 1024 // 64):
            file.write(bytes(64 << 20))
    write_table(place / "volumes.csv", [row(place / "h.nii.gz", ready.folder / "v.nii.gz")])
    return ("extract", "mri", place / "volumes.csv", "-o", "new.zarr", "--test-fraction", "0")


def huge_array(which: str, member: str, shape: Sequence[int], chunks: Sequence[int] = ()) -> Make:
    def make(place: Path, ready: SimpleNamespace) -> Words:
        store = copied(getattr(ready, which), place)
        unseal(store)
        file = store / member / "zarr.json"
        found = json.loads(file.read_text())
        grid = found["chunk_grid"]
        if chunks:
            grid["configuration"]["chunk_shape"] = [*chunks]
            found["attributes"] = {}
        set_json(file, shape=[*shape], chunk_grid=grid, attributes=found["attributes"])
        if which == "data":
            return predict(ready.model, store)
        return ("hellinger", store, ready.dark, "-o", "new.parquet", "--permutations", "0")

    return make


def foreign(shape: Sequence[int], chunks: Sequence[int]) -> Make:
    def make(place: Path, ready: SimpleNamespace) -> Words:
        del ready
        for name in ("x", "y"):
            group = zarr.open_group(place / f"{name}.zarr", mode="w", zarr_format=3)
            group.create_array("enc1", shape=(4, 2), chunks=(4, 2), dtype="float32")[:] = 1
            about = place / f"{name}.zarr/enc1/zarr.json"
            grid = {"name": "regular", "configuration": {"chunk_shape": [*chunks]}}
            set_json(about, shape=[*shape], chunk_grid=grid)
        how = ("--permutations", "0", "-o", "new.parquet")
        return ("hellinger", place / "x.zarr", place / "y.zarr", *how)

    return make


def swollen(place: Path, ready: SimpleNamespace) -> Words:
    """Let a chunk say that 2 GB are packed in it, under a checksum that fits."""
    import google_crc32c

    store = copied(ready.plain, place)
    file = store / "layers/enc2/c/0/0/0"
    content, index = file.read_bytes()[:-20], file.read_bytes()[-20:]  # of one chunk
    chunk = bytearray(content[:-4])
    chunk[4:8] = struct.pack("<I", 2**31 - 100)
    check = struct.pack("<I", google_crc32c.value(bytes(chunk)))
    file.write_bytes(bytes(chunk) + check + index)
    return ("hellinger", store, ready.dark, "-o", "new.parquet")


def long_chunk(place: Path, ready: SimpleNamespace) -> Words:
    import google_crc32c

    store = copied(ready.plain, place)
    file = store / "layers/enc2/c/0/0/0"
    index = struct.pack("<2Q", 0, 2**60)
    check = struct.pack("<I", google_crc32c.value(index))
    file.write_bytes(file.read_bytes()[:-20] + index + check)
    return ("hellinger", store, ready.dark, "-o", "new.parquet")


def many_strings(place: Path, ready: SimpleNamespace) -> Words:
    import google_crc32c
    from numcodecs import Blosc

    store = copied(ready.plain, place)
    packed = Blosc("lz4").encode(struct.pack("<I", 2**32 - 1) + bytes(60))
    check = struct.pack("<I", google_crc32c.value(packed))
    (store / "samples/id/c/0").write_bytes(packed + check)
    return ("hellinger", store, ready.dark, "-o", "new.parquet")


def big_weights(place: Path) -> bytes:
    """Say in a header of 100 bytes that a tensor of 10 GB follows."""
    del place
    about = {"w": {"dtype": "F32", "shape": [10**10 // 4], "data_offsets": [0, 10**10]}}
    text = json.dumps(about).encode()
    return struct.pack("<Q", len(text)) + text + bytes(100)


def long_header(place: Path) -> bytes:
    del place
    return struct.pack("<Q", 2**60) + b"{}"


def zip_bomb(place: Path, ready: SimpleNamespace) -> Words:
    model = copied(ready.model, place)
    with zipfile.ZipFile(model / "last.ckpt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.pkl", bytes(GIB // 4))
    return ("info", "--check", model)


def torch_bomb(place: Path) -> bytes:
    del place
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(2 * GIB - 1))
        archive.writestr("archive/version", "3")
    return stream.getvalue()


def long_footer(place: Path, ready: SimpleNamespace) -> Words:
    table = copied(ready.shift, place)
    table.write_bytes(table.read_bytes()[:-8] + struct.pack("<I", 2**31 - 1) + b"PAR1")
    return ("report", table, "-o", "new.html")


MANY = 32767
SIZES: dict[str, tuple[Make, tuple[int, ...], tuple[str, ...]]] = {
    "a PNG of 10 GB": (image("x.png", png(60_000, 60_000)), (3,), ("more pixels than",)),
    "a PNG of 10^18 pixels": (image("x.png", png(2**31 - 1, 2**31 - 1)), (3,), ("x.png",)),
    "a PNG with a comment of 256 MB": (image("x.png", png(16, 16, TEXT)), (0, 3), ()),
    "a PNG with a profile of 256 MB": (image("x.png", png(16, 16, PROFILE)), (0, 3), ()),
    "a mask of 10 GB": (image("x.png", png(60_000, 60_000), "mask"), (3,), ("more pixels than",)),
    "a JPEG of 4 gigapixels": (image("x.jpg", JPEG), (3,), ("more pixels than",)),
    "a TIFF of 10 GB": (image("x.tif", tiff(60_000, 60_000)), (3,), ("more pixels than",)),
    "a TIFF of 2^31 strips": (image("x.tif", tiff(16, 16, count=2**31)), (3,), ("x.tif",)),
    "a TIFF of one tile of 12 GB": (image("x.tif", tiff(65536, 65536, 65536)), (3,), ("x.tif",)),
    "a slide of one tile of 12 GB": (slide(tiff(65536, 65536, 65536)), (1,), ("s.tiff", "tiles")),
    "a slide of 10^18 pixels": (slide(tiff(2**30, 2**30, 2**30)), (1,), ("s.tiff",)),
    "a slide of one strip": (slide(tiff(60_000, 60_000)), (1,), ("s.tiff",)),
    "a slide of 2^31 tiles": (slide(tiff(60_000, 60_000, 256, 2**31)), (1,), ("s.tiff",)),
    "a volume of 10^12 voxels": (volume((10_000,) * 3, packed=False), (1,), ("h.nii",)),
    "a packed volume of 10^12 voxels": (volume((10_000,) * 3, packed=True), (1,), ("h.nii.gz",)),
    "a mask of 10^12 voxels": (volume((10_000,) * 3, packed=True, mask=True), (1,), ("h.nii.gz",)),
    "a volume of 10^18 voxels": (volume((10**6,) * 3, packed=True), (1,), ("h.nii.gz",)),
    "a volume of 10^13 voxels": (volume((MANY,) * 3, packed=False), (1,), ("h.nii",)),
    "a volume of 10^18 frames": (volume((32, 32, 2, 10**18), packed=True), (1,), ("h.nii.gz",)),
    "a volume of less than none": (volume((32, -32, 2), packed=True), (1,), ("h.nii.gz",)),
    "images of 10^15 elements": (huge_array("data", "a/images", (10**12, 32, 32, 3)), (1,), ("a",)),
    "an image of 10^15 elements": (
        huge_array("data", "a/images", (20, 10**7, 10**7, 3)), (1,), ("data.zarr",)
    ),
    "masks of 10^15 elements": (huge_array("data", "a/masks", (10**15, 32, 32)), (1,), ("a",)),
    "a column of 10^15 numbers": (
        huge_array("data", "a/samples/n", (10**15,), (10**15,)), (1,), ("data.zarr",)
    ),
    "features of 10^15 elements": (
        huge_array("plain", "layers/enc2", (10**15, 8, 1)), (1,), ("plain.zarr",)
    ),
    "a chunk of 10^15 elements": (
        huge_array("plain", "layers/enc2", (4, 10**15, 1), (4, 10**15, 1)), (1,), ("plain.zarr",)
    ),
    "foreign features of 10^15 images": (foreign((10**15, 2), (10**15, 2)), (1,), ("zarr",)),
    "foreign features of 10^15 channels": (foreign((4, 10**15), (4, 10**15)), (1,), ("zarr",)),
    "foreign features in 10^15 chunks": (foreign((10**15, 2), (4, 2)), (1,), ("zarr",)),
    "a chunk that says it holds 2 GB": (swollen, (1,), ("plain.zarr", "enc2")),
    "an index that says a chunk has 2^60 bytes": (long_chunk, (1,), ("plain.zarr", "enc2")),
    "a column that says it holds 2^32 strings": (many_strings, (1,), ("plain.zarr",)),
    "an array of 10^15 elements": (npy(lambda _: header_of("(10**15, 3)")), (1,), ("x.npy",)),
    "an array of 10^15 numbers": (npy(lambda _: header_of(f"({10**15}, 3)")), (1,), ("x.npy",)),
    "a tensor of 10 GB": (in_model("model.safetensors", big_weights), (1,), ("model.safetensors",)),
    "a header of 2^60 bytes": (in_model("model.safetensors", long_header), (1,), ("safetensors",)),
    "a checkpoint that unpacks": (zip_bomb, (1,), ("last.ckpt", "it claims to hold")),
    "weights that unpack": (weights("w.pth", torch_bomb), (1,), ("w.pth",)),
    "a footer of 2 GB": (long_footer, (1,), ("shift.parquet",)),
}  # fmt: skip


# names and links


def named(**changes: object) -> Make:
    def make(place: Path, ready: SimpleNamespace) -> Words:
        return (*images(place, ready, changes), "--export", "png", "pairs", "--qc", "qc")

    return make


def named_slide(**changes: object) -> Make:
    def make(place: Path, ready: SimpleNamespace) -> Words:
        found = {"path": ready.slide, "domain": "A", "subject": "s", **changes}
        write_manifest(place / "slides.csv", [found])
        return ("extract", "wsi", place / "slides.csv", "--mode", "grid", "--patch-size", "64",
                "--mask", "stain", "-o", "new.zarr")  # fmt: skip

    return make


def named_volume(**changes: object) -> Make:
    def make(place: Path, ready: SimpleNamespace) -> Words:
        known = ready.folder / "v.nii.gz"
        write_table(place / "volumes.csv", [row(known, known, frames="0", **changes)])
        return ("extract", "mri", place / "volumes.csv", "-o", "new.zarr", "--test-fraction", "0")

    return make


def in_store(**changes: object) -> Make:
    """Predict and draw what samples of such names show."""

    def make(place: Path, ready: SimpleNamespace) -> Words:
        samples = [sample(0, "d", (32, 32, 3), split=Split.TEST, fold=-1, **changes)]
        write_dataset(place / "d.zarr", samples)
        return predict(ready.model, place / "d.zarr", "--overlays", "o", "--masks", "m.zarr")

    return make


def domain_folder(name: str, command: str) -> Make:
    def make(place: Path, ready: SimpleNamespace) -> Words:
        data = unseal(copied(ready.data, place))
        shutil.rmtree(data / "a")
        (data / "b").rename(data / name)
        if command == "info":
            return ("info", data)
        if command == "features":
            how = ("--layers", "enc2", "--device", "cpu", "-o", "f")
            return ("features", ready.model, "--data", data, *how)
        return predict(ready.model, data, "--overlays", "o")

    return make


def picture_elsewhere(file: str) -> Make:
    def make(place: Path, ready: SimpleNamespace) -> Words:
        folder = copied(ready.overlays, place)
        index = json.loads((folder / "overlays.json").read_text())
        index["pictures"][0]["file"] = file
        set_json(unseal(folder / "overlays.json"), pictures=index["pictures"])
        return ("info", "--check", folder)

    return make


def layer_elsewhere(place: Path, ready: SimpleNamespace) -> Words:
    store = unseal(copied(ready.plain, place))
    set_attributes(store, layers=["../../../precious", "dec1"])
    return ("hellinger", store, ready.dark, "-o", "new.parquet")


def linked_output(place: Path, ready: SimpleNamespace) -> Words:
    (place / "new.zarr").symlink_to(place.parent / "precious")
    return (*images(place, ready, {}), "--overwrite")


def linked_partial(place: Path, ready: SimpleNamespace) -> Words:
    (place / ".new.zarr.partial").symlink_to(place.parent / "precious")
    return (*images(place, ready, {}), "--resume")


def linked_partial_overwritten(place: Path, ready: SimpleNamespace) -> Words:
    return (*linked_partial(place, ready)[:-1], "--overwrite")


def linked_lock(place: Path, ready: SimpleNamespace) -> Words:
    (place / ".new.zarr.lock").symlink_to(place.parent / "made-elsewhere")
    return images(place, ready, {})


def linked_replaced(place: Path, ready: SimpleNamespace) -> Words:
    write_dataset(place / "new.zarr", [sample(0)])
    (place / ".new.zarr.replaced").symlink_to(place.parent / "precious")
    return (*images(place, ready, {}), "--overwrite")


def linked_inside(place: Path, ready: SimpleNamespace) -> Words:
    write_dataset(place / "new.zarr", [sample(0)])
    shutil.rmtree(place / "new.zarr/a/masks")
    (place / "new.zarr/a/masks").symlink_to(place.parent / "precious")
    (place / "new.zarr/a/more").symlink_to(place.parent / "precious/keep.txt")
    return (*images(place, ready, {}), "--overwrite")


def linked_in_partial(place: Path, ready: SimpleNamespace) -> Words:
    partial = place / ".new.zarr.partial"
    write_dataset(partial, [sample(0, "A")])
    shutil.rmtree(partial / "A/images")
    (partial / "A/images").symlink_to(place.parent / "precious")
    (partial / "journal.jsonl").write_text("{}\n")
    return (*images(place, ready, {}), "--resume")


def linked_table(place: Path, ready: SimpleNamespace) -> Words:
    (place / "new.parquet").symlink_to(place.parent / "precious/keep.txt")
    (place / ".new.parquet.partial").symlink_to(place.parent / "precious/keep.txt")
    return (*predict(ready.model, ready.data, "--domain", "b"), "--overwrite")


def linked_chunk(place: Path, ready: SimpleNamespace) -> Words:
    data = copied(ready.data, place)
    file = data / "b/images/c/0/0/0/0"
    file.unlink()
    file.symlink_to(place.parent / "precious/keep.txt")
    return predict(ready.model, data)


def pipe_in_store(member: str) -> Make:
    def make(place: Path, ready: SimpleNamespace) -> Words:
        data = copied(ready.data, place)
        (data / member).unlink()
        os.mkfifo(data / member)
        return predict(ready.model, data)

    return make


LONG = "x" * 300
UP = "../precious/new"
NAMES: dict[str, tuple[Make, tuple[int, ...], tuple[str, ...]]] = {
    **{
        f"{what} {name[:20]!r}": (make(**{column: name}), codes, ())
        for what, make, column, codes in (
            ("domain of an image", named, "domain", (1, 2, 3)),
            ("domain of a slide", named_slide, "domain", (1, 2, 3)),
            ("domain of a volume", named_volume, "domain", (1, 2, 3)),
        )
        for name in (UP, "..", "/tmp/new", "a\0b", ESCAPE, "a\\..\\b")
    },
    "domain of 300 letters": (named(domain=LONG), (1, 2, 3), ()),
    **{
        f"{what} {name[:20]!r}": (make(**{column: name}), (0, 1, 2, 3), ())
        for what, make, column in (
            ("subject of an image", named, "subject"),
            ("id of an image", named, "id"),
            ("subject of a slide", named_slide, "subject"),
            ("slide of a subject", named_slide, "slide"),
            ("id of a volume", named_volume, "id"),
            ("subject of a volume", named_volume, "subject"),
            ("sample of a store", in_store, "id"),
            ("subject of a store", in_store, "subject"),
        )
        for name in (UP, "/tmp/new", LONG, ESCAPE, MARKUP)
    },
    **{
        f"folder of a domain {name[:20]!r}, {command}": (domain_folder(name, command), (0, 1), ())
        for name in ("x" * 250, ESCAPE, MARKUP, "\u202egnp.exe", "a\nb", "-rf", "=1+1")
        for command in ("info", "predict", "features")
    },
    "a picture above": (picture_elsewhere("../precious/keep.txt"), (1,), ("lie elsewhere",)),
    "a picture in /": (picture_elsewhere("/etc/passwd"), (1,), ("lie elsewhere",)),
    "a layer above": (layer_elsewhere, (1,), ("plain.zarr",)),
    "an output that is a link": (linked_output, (0, 4), ()),
    "a leftover that is a link": (linked_partial, (4,), ("is a link",)),
    "a leftover that is a link, overwritten": (linked_partial_overwritten, (0,), ()),
    "a lock that is a link": (linked_lock, (1, 4), (".lock",)),
    "an old store that is a link": (linked_replaced, (0,), ()),
    "links in a store that is overwritten": (linked_inside, (0,), ()),
    "a link in a leftover": (linked_in_partial, (4,), ("is a link",)),
    "a table that is a link": (linked_table, (0, 4), ()),
    "a chunk that is a link": (linked_chunk, (1,), ("data.zarr",)),
    "a pipe for a chunk": (pipe_in_store("b/images/c/0/0/0/0"), (1,), ("is missing",)),
    "a pipe for metadata": (pipe_in_store("b/zarr.json"), (1,), ("is not a regular file",)),
    "a pipe for metadata of a column": (pipe_in_store("b/samples/n/zarr.json"), (1,), ("no file",)),
    "a pipe for the root": (pipe_in_store("zarr.json"), (1,), ("no file",)),
}  # fmt: skip


# what is shown


def classes(*more: str) -> Make:
    def make(place: Path, ready: SimpleNamespace) -> Words:
        data = unseal(copied(ready.data, place))
        set_attributes(
            data, classes=["background", f"cell{ESCAPE}", MARKUP], command=f"rm {ESCAPE}"
        )
        return ("info", *more, data) if more != ("predict",) else predict(ready.model, data)

    return make


def database(name: str, statement: str = "") -> Make:
    def make(place: Path, ready: SimpleNamespace) -> Words:
        file = write_sliderunner(
            place / "a.sqlite", {"slide.tiff": (600, 480)}, [(name, (200.0, 150.0), "7")]
        )
        with sqlite3.connect(file) as base:
            base.executescript(statement)
        base.close()
        rows = [{"path": ready.slide, "domain": "A", "subject": "s", "annotations": file}]
        write_manifest(place / "slides.csv", rows)
        return ("extract", "wsi", place / "slides.csv", "--mode", "centred", "--classes",
                "background;cell=mitosis", "-o", "new.zarr")  # fmt: skip

    return make


DROP = "x'; DROP TABLE Slides; --"
FOREVER = (
    "DROP TABLE Slides; CREATE VIEW Slides AS WITH RECURSIVE n(uid) AS (SELECT 1 UNION ALL SELECT "
    "uid + 1 FROM n) SELECT uid, 'slide.tiff' AS filename, 600 AS width, 480 AS height FROM n;"
)

SHOWN: dict[str, tuple[Make, tuple[int, ...], tuple[str, ...]]] = {
    "classes": (classes(), (0,), ("\\x1b",)),
    "classes in JSON": (classes("--json"), (0,), ()),
    "a command": (classes("--command"), (0,), ("\\x1b",)),
    "classes of predictions": (classes("predict"), (0, 1), ()),
    "SQL for a class": (database(DROP), (0, 1, 3), ("DROP TABLE",)),
    "escapes for a class": (database(ESCAPE), (0, 1, 3), ("\\x1b",)),
    "a view without end": (database("mitosis", FOREVER), (1,), ("without table Slides",)),
}

CASES = {**PICKLES, **TEXTS, **SIZES, **NAMES, **SHOWN}

LONG = ["weights that unpack", *[name for name in NAMES if name.endswith(", predict")][1:]]
"""Cases that take seconds each."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.long] if name in LONG else []) for name in CASES],
)
def test_a_hostile_input_has_no_effect(
    name: str, held: Driven, ready: SimpleNamespace, tmp_path: Path, counts: Counter[str]
) -> None:
    make, codes, words = CASES[name]
    counts["tried"] += 1
    place, precious = tmp_path / "here", tmp_path / "precious"
    place.mkdir()
    precious.mkdir()
    (precious / "keep.txt").write_text("kept")
    given = make(place, ready)
    before = tree(precious)
    ended = held(*given, cwd=place)
    check(ended, codes, words)
    assert {path.name for path in tmp_path.iterdir()} == {"here", "precious"}
    assert tree(precious) == before
    if ended.code in (1, 2, 4):
        assert not [path for path in place.iterdir() if path.name in ("runs", "new.parquet")] or (
            "link" in name or "checkpoint" in name
        )
    for path in [] if ended.code else place.rglob("*"):
        assert clean(path.name)
    counts["held"] += 1


def test_a_pickle_would_have_run(tmp_path: Path) -> None:
    """Show that the trap works: unpickled, it leaves its mark."""
    (tmp_path / "here").mkdir()
    pickle.loads(raw(tmp_path / "here"))
    assert (tmp_path / "marker").exists()


FORMULAS = ("=1+1", "+SUM(A1)", "-2+3", "@A1", "'=quoted", '=HYPERLINK("http://x","y")', "'plain'")


@pytest.mark.parametrize("form", ["png", "nnunet"])
def test_no_cell_of_an_export_is_a_formula(
    form: str, held: Driven, ready: SimpleNamespace, tmp_path: Path, counts: Counter[str]
) -> None:
    """And what is taken back from it has the names that went in."""
    rows = [
        {
            "image": shutil.copy(ready.folder / "a.png", tmp_path / f"{place}.png"),
            "mask": ready.folder / "a-mask.png",
            **{"domain": "=cmd|x" if place % 2 else "A", "subject": text, "id": f"{text}-{place}"},
        }
        for place, text in enumerate(FORMULAS)
    ]
    write_manifest(tmp_path / "images.csv", rows)
    how = ("--folds", "2", "--test-fraction", "0", "--export", form, "Dataset001_x")
    names = ("--classes", "background,=1+1")
    made = ("extract", "images", "images.csv", *names, *how, "-o", "new.zarr", "--no-pictures")
    assert held(*made, cwd=tmp_path).code == 0
    files = sorted((tmp_path / "Dataset001_x").glob("*.csv"))
    files += sorted((tmp_path / "Dataset001_x").glob("*.txt"))
    assert files
    for file in files:
        with file.open(newline="") as stream:
            for cells in csv.reader(stream):
                for cell in cells:
                    assert cell[:1] not in ("=", "+", "-", "@") or re.fullmatch(r"-?\d+", cell)
    words = ("extract", "images", "Dataset001_x", "-o", "again.zarr", "--no-pictures")
    assert held(*words, cwd=tmp_path).code == 0
    for one, two in zip(
        *(facts(tmp_path / name) for name in ("new.zarr", "again.zarr")), strict=True
    ):
        assert one == two
    counts["tried"] += len(FORMULAS)
    counts["held"] += len(FORMULAS)


def facts(store: Path) -> list[Any]:
    group: Any = zarr.open_group(store, mode="r")
    found = [group.attrs["classes"]]
    for domain in ("=cmd|x", "A"):
        found += [list(group[f"{domain}/samples/{name}"][:]) for name in ("subject", "id")]
    return found


class Tags(html.parser.HTMLParser):
    """Collects the tags of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_names_are_no_markup_in_a_report(
    held: Driven, ready: SimpleNamespace, tmp_path: Path, counts: Counter[str]
) -> None:
    table = pq.read_table(ready.shift)
    metadata = table.schema.metadata
    for name in ("model", "dataset", "domain", "reference_domain", "reference", "other"):
        evil = pa.array([f"{MARKUP}<script>alert(1)</script>{ESCAPE}"] * len(table))
        table = table.set_column(table.column_names.index(name), name, evil)
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "t.parquet")
    ended = held("report", "t.parquet", "-o", "r.html", cwd=tmp_path)
    check(ended, (0,), ())
    (page,) = tmp_path.rglob("*.html")
    tags = Tags()
    tags.feed(page.read_text())
    assert tags.found
    assert not [each for each in tags.found if "onerror" in each[1] or each[1].get("src") == "x"]
    assert "<script>alert(1)" not in page.read_text()
    counts["tried"] += 1
    counts["held"] += 1


def test_summary(counts: Counter[str], record_property: Callable[[str, str], None]) -> None:
    tried, held_back = counts["tried"], counts["held"]
    assert tried == held_back >= 150
    record_property("faults", f"hostile: {tried} inputs tried, {tried - held_back} effective")
