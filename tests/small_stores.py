"""Small stores for tests, and the damage that is done to them."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
import zarr

from skiptool.names import Kind, Split
from skiptool.records import Sample
from skiptool.stores.dataset_writer import DatasetWriter
from skiptool.stores.features_writer import CHUNK, FeatureWriter
from skiptool.stores.lineage import Invocation, create_lineage, hash_json
from skiptool.stores.masks import MaskWriter
from skiptool.stores.seals import seal_store
from skiptool.stores.zarrs import create_array

CLASSES = ("background", "cell", "debris")

MAKING = Invocation("synth", (), {"n": 40, "seed": 0}, {"out": "x.zarr"}, {"templates": "ab" * 16})

FACTS: dict[str, Any] = {
    "model": "resnet18-L1/fold0",
    "arch": "unet",
    "encoder": "resnet18",
    "pruning": "L1-pruned",
    "fold": 0,
    "repeat": 0,
    "parameter_count": 14_309_922,
    "dataset": "d.zarr",
    "domain": "a",
    "training_domain": "a",
    "training_dataset": "cd" * 16,
    "split": "test",
    "shift": "brightness",
    "factor": 0.5,
    "patch_size": [64, 64],
    "grid": [2, 2],
    "pooling": "mean",
}

LAYERS = {"enc1": 3, "dec0": 2, "encoder.layer1.0": 1}
"""Channels D of the layers of small feature stores."""


def sample(
    index: int, domain: str = "a", shape: tuple[int, ...] = (4, 6, 3), **new: object
) -> Sample:
    """Return a sample whose pixels follow from its number and domain."""
    rng = np.random.default_rng([index, *domain.encode()])
    if shape[2] == 3:
        image = rng.integers(0, 256, shape, dtype=np.uint8)
    else:
        image = rng.random(shape, dtype=np.float32)
    made = Sample(
        id=f"{index:03d}",
        image=image,
        mask=rng.choice(np.array([0, 1, 2, 255], dtype=np.uint8), shape[:2]),
        subject=f"pätient {index // 2}",
        domain=domain,
        split=Split.TRAIN if index % 3 else Split.TEST,
        fold=index % 3 - 1,
        columns={"mpp": 0.25 + index, "slice": index, "organ": f"skin {index % 2}"},
    )
    return replace(made, **new)


def write_dataset(path: Path, samples: Sequence[Sample], invocation: Invocation = MAKING) -> str:
    """Write a whole dataset and return its id."""
    writer = DatasetWriter(path, CLASSES, invocation)
    for each in samples:
        writer.append(each)
    return writer.finish().id


def blocks(start: int, stop: int, layers: Mapping[str, int] = LAYERS) -> dict[str, Any]:
    """Return activations of images, each following from its number."""
    return {
        layer: np.stack(
            [
                np.random.default_rng([image, channels]).normal(size=(channels, 4))
                for image in range(start, stop)
            ]
        ).astype(np.float32)
        for layer, channels in layers.items()
    }


def feature_columns(images: int) -> dict[str, Any]:
    """Return the columns of so many samples."""
    return {
        "id": [f"{index:03d}" for index in range(images)],
        "subject": np.array([f"s{index}" for index in range(images)], dtype=object),
        "fold": np.full(images, -1),
    }


def feature_writer(
    path: Path,
    images: int,
    invocation: Invocation = MAKING,
    dtype: str = "float16",
    identity: object = 1,
) -> FeatureWriter:
    """Begin a feature store, or go on with one."""
    return FeatureWriter(path, invocation, identity, FACTS, feature_columns(images), dtype)


def write_features(path: Path, images: int, **how: object) -> Path:
    """Write a whole feature store, going on where one was left."""
    writer = feature_writer(path, images, **how)
    for start in range(writer.written, images, CHUNK):
        writer.append(blocks(start, min(start + CHUNK, images)))
    writer.finish()
    return path


def write_masks(path: Path, images: int, size: tuple[int, int] = (3, 4)) -> Path:
    """Write a store of predicted masks with two entries, unshifted and darkened."""
    writer = MaskWriter(path, create_lineage(Kind.MASKS, MAKING, 1), CLASSES)
    for seed, (shift, factor) in enumerate((("original", None), ("brightness", 0.5))):
        facts = {"model": "m", "model_id": "1", "domain": "a", "shift": shift, "factor": factor}
        name = writer.begin(facts, [f"{index:03d}" for index in range(images)], size)
        rng = np.random.default_rng(seed)
        writer.append(name, rng.integers(0, 3, (images, *size), dtype=np.uint8))
    writer.finish()
    return path


def flip(file: Path, position: int = -9) -> None:
    """Turn one bit of a file round."""
    data = bytearray(file.read_bytes())
    data[max(position, -len(data))] ^= 1
    file.write_bytes(bytes(data))


def spoil_chunk(shard: Path, number: int, chunks: int = 2, *, lost: bool = False) -> None:
    """Turn one bit of a chunk of a shard round, or strike it from the index."""
    data = bytearray(shard.read_bytes())
    start = len(data) - 16 * chunks - 4
    index = np.frombuffer(data[start:-4], "<u8").copy()
    if lost:
        index[2 * number : 2 * number + 2] = 2**64 - 1
        data[start:-4] = index.tobytes()
        data[-4:] = struct.pack("<I", google_crc32c.value(index.tobytes()))
    else:
        data[int(index[2 * number]) + 20] ^= 1
    shard.write_bytes(bytes(data))


def unshard(path: Path) -> Path:
    """Turn a feature store into one of version 0.1: a file for each chunk."""
    root = zarr.open_group(path, mode="r+")
    for name, array in list(root.members(max_depth=None)):
        if isinstance(array, zarr.Array) and array.shards is not None:
            values, axes = array[:], array.metadata.dimension_names
            how = {"chunk": array.chunks[0], "axes": axes}
            create_array(root, name, values.shape, str(values.dtype), **how)[:] = values
    seal_store(path)
    return path


def unconsolidate(path: Path) -> Path:
    """Remove the copy of the members' metadata from the root, as in stores before version 0.2."""
    set_json(path / "zarr.json", consolidated_metadata=None)
    root = json.loads((path / "zarr.json").read_text())
    seal = root["attributes"].pop("seal", None)
    if seal is not None:
        set_attributes(path, seal={**seal, ".": hash_json(root)[:8]})
    return path


def unname(path: Path) -> Path:
    """Turn a complete store into one of early versions, whose axes had no names."""
    for file in path.rglob("zarr.json"):
        set_json(file, dimension_names=None)
    seal_store(path)
    return unconsolidate(path)


def set_json(file: Path, **values: object) -> None:
    """Change keys of a JSON object in a file; those given as None are removed."""
    found = {**json.loads(file.read_text()), **values}
    file.write_text(json.dumps({key: value for key, value in found.items() if value is not None}))


def set_attributes(path: Path, **values: object) -> None:
    """Change attributes of a Zarr group or array; those given as None are removed."""
    found = {**json.loads((path / "zarr.json").read_text())["attributes"], **values}
    kept = {key: value for key, value in found.items() if value is not None}
    set_json(path / "zarr.json", attributes=kept)


def unseal(path: Path) -> Path:
    """Take the seal off a store or JSON object that a test changes on purpose."""
    if path.is_dir():
        set_attributes(path, seal=None)
    else:
        set_json(path, seal=None)
    return path


@contextmanager
def refused(kind: type[Exception], *words: object) -> Iterator[None]:
    """Expect one error of exactly this kind: one line that holds all the words."""
    with pytest.raises(kind) as caught:
        yield
    assert type(caught.value) is kind, caught.value
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert str(word) in message, message


HOSTILE_JSON: dict[str, bytes] = {
    "nothing": b"",
    "cut": b'{"zarr_format": 3, "node_',
    "binary": b"\xff\xfe\x00\x01",
    "a list": b"[]",
    "a number": b"3",
    "null": b"null",
    "100,000 brackets": b"[" * 100_000,
    "100,000 objects": b'{"a":' * 100_000,
}
"""What may stand where a JSON object should."""
