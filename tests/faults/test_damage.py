"""Damage: whatever byte of an artifact changes, its reader and ``info --check`` say so."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file, save_file

from driven import Driven, changed
from skiptool.stores.models import READ
from skiptool.stores.seals import table_matches_seal
from small_stores import set_attributes, set_json, unseal

KINDS = (
    *("data", "model", "plain", "predictions", "masks", "overlays", "shift"),
    *("registration", "history"),
)

READERS: Mapping[str, tuple[str, ...]] = {
    "data": ("predict", "runs/m/fold0", "--data", "data.zarr"),
    "model": ("predict", "runs/m/fold0", "--data", "data.zarr", "--domain", "b"),
    "plain": ("hellinger", "plain.zarr", "dark.zarr", "--permutations", "9"),
    "predictions": ("report", "p.parquet"),
    "shift": ("report", "shift.parquet"),
}
"""Commands that read an artifact and make something of it; the others only ``info`` reads."""

FLIPS = {".parquet": 12, ".json": 6, ".safetensors": 4, ".ckpt": 4, ".png": 2}
"""Changed bytes a file; 2 in each chunk."""


@pytest.fixture(scope="module")
def counts() -> Counter[str]:
    return Counter()


@pytest.fixture(scope="module")
def spoilt(
    artifacts: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SimpleNamespace]:
    """Copy all artifacts: each test leaves them as it found them."""
    folder = tmp_path_factory.mktemp("damage") / "here"
    shutil.copytree(artifacts.folder, folder)
    places = vars(artifacts) | {"folder": folder}
    yield SimpleNamespace(
        **{
            name: path if name == "folder" else folder / path.relative_to(artifacts.folder)
            for name, path in places.items()
        }
    )
    shutil.rmtree(folder)


@pytest.fixture
def copy(spoilt: SimpleNamespace, tmp_path: Path) -> SimpleNamespace:
    """Copy them for one test alone."""
    shutil.copytree(spoilt.folder, tmp_path / "here")
    return SimpleNamespace(
        **{
            name: tmp_path / "here" / path.relative_to(spoilt.folder)
            for name, path in vars(spoilt).items()
        }
    )


def check(driven: Driven, path: Path, cwd: Path) -> str:
    """Return the one line that ``info --check`` says of a damaged artifact."""
    ended = driven("info", "--check", path, cwd=cwd)
    assert ended.code == 1, ended
    line = ended.line()
    assert path.name in line
    return line


def refuse(driven: Driven, name: str, folder: Path, *more: str) -> str:
    """Return the one line of the command that reads a damaged artifact; nothing is left of it."""
    before = {path.name for path in folder.iterdir()}
    ended = driven(*READERS[name], *more, "-q", "-o", "new", cwd=folder)
    assert ended.code == 1, ended
    assert {path.name for path in folder.iterdir()} == before
    return ended.line()


def harmless(file: Path, before: bytes) -> bool:
    """Say whether what a file holds is provably the same although a byte of it is not."""
    if file.suffix == ".json":
        return bool(unsealed(json.loads(before)) == unsealed(json.loads(file.read_bytes())))
    if file.suffix == ".parquet":  # only in the name of the seal: then there is none
        after = pq.read_table(file)
        with changed(file, before):
            return table_matches_seal(file) is True and bool(after.equals(pq.read_table(file)))
    return file.suffix == ".ckpt" and inside(file) == inside_of(before, file)


def unsealed(found: Any) -> Any:  # noqa: ANN401 - any JSON
    """Leave out the seal, under whatever name one changed byte gives it."""
    kept = dict(found)
    if isinstance(kept.get("attributes"), dict):
        kept["attributes"] = unsealed(kept["attributes"])
    return {
        key: value for key, value in kept.items() if not re.fullmatch("s.?al|.eal|se.l|sea.", key)
    }


def inside(file: Path) -> dict[str, bytes] | None:
    try:
        with ZipFile(file) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    except BadZipFile:
        return None


def inside_of(content: bytes, file: Path) -> dict[str, bytes] | None:
    with changed(file, content):
        return inside(file)


def flip_all(
    driven: Driven, spoilt: SimpleNamespace, name: str, seed: int, more: int, counts: Counter[str]
) -> None:
    rng = np.random.default_rng(seed)
    path: Path = getattr(spoilt, name)
    files = sorted(each for each in path.rglob("*") if each.is_file()) or [path]
    for file in files:
        before = file.read_bytes()
        places = rng.integers(0, len(before), more * FLIPS.get(file.suffix, 2))
        for number, place in enumerate(places):
            content = bytearray(before)
            content[place] ^= 1 << int(rng.integers(8))
            with changed(file, bytes(content)):
                counts["flips"] += 1
                ended = driven("info", "--check", path, cwd=spoilt.folder)
                if ended.code == 0:
                    assert harmless(file, before), f"{file}: byte {place} was missed"
                    counts["harmless"] += 1
                    continue
                assert ended.code == 1, ended
                assert str(path) in ended.line()
                counts["found"] += 1
                if name in READERS and number < 2 and file.suffix != ".ckpt":
                    if file.name == "history.parquet":
                        continue  # no part of what predicts
                    refuse(driven, name, spoilt.folder)
                    counts["refused"] += 1
    counts["files"] += len(files)


@pytest.mark.long
@pytest.mark.parametrize("name", KINDS)
def test_a_changed_byte_is_found(
    name: str, driven: Driven, spoilt: SimpleNamespace, counts: Counter[str]
) -> None:
    flip_all(driven, spoilt, name, KINDS.index(name), 1, counts)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_many_changed_bytes_are_found(
    name: str, driven: Driven, spoilt: SimpleNamespace, counts: Counter[str]
) -> None:
    flip_all(driven, spoilt, name, 100 + KINDS.index(name), 8, counts)


def cut(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) * 2 // 3])


def erase(file: Path) -> None:
    file.unlink()


def empty(file: Path) -> None:
    file.write_bytes(b"")


def middle(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 16
    file.write_bytes(bytes(content))


def in_a_tensor(file: Path) -> None:
    """Change a byte of the largest tensor of a file of ``torch.save``, not of the space between."""
    with ZipFile(file) as archive:
        largest = max(archive.infolist(), key=lambda record: record.file_size)
        data = archive.read(largest)
    content = file.read_bytes()
    at = content.index(data) + len(data) // 2
    file.write_bytes(content[:at] + bytes([content[at] ^ 16]) + content[at + 1 :])


Act = Callable[[Path], None]

USABLE: dict[str, tuple[str, str, Act, tuple[str, ...]]] = {
    "a missing shard": (
        *("data", "a/images/c/1/0/0/0", erase),
        ("domain a: ", "c/1/0/0/0 is missing", "whole: domain b, 4 of 4 samples"),
    ),
    "an empty shard": (*("data", "b/masks/c/0/0/0", empty), ("domain b", "whole: domain a, 20 of")),
    "a truncated shard": (
        *("data", "a/images/c/1/0/0/0", cut),
        ("domain a, samples 016, 017", "whole: domain a, 16 of 20 samples, domain b, 4 of 4"),
    ),
    "one image": (
        *("data", "a/images/c/0/0/0/0", middle),
        ("domain a, samples 0", "whole: domain a, 19 of 20 samples, domain b"),
    ),
    "a column": (*("data", "b/samples/n/c/0", middle), ("domain b: column n", "whole: domain a")),
    "a lost domain": (
        *("data", "b", shutil.rmtree),
        ("b/zarr.json: not as written", "whole: domain a, 20 of 20"),
    ),
    "metadata of an array": (
        *("data", "b/images/zarr.json", lambda file: set_json(file, fill_value=1)),
        ("b/images/zarr.json: not as written", "whole: domain a"),
    ),
    "a missing chunk of a layer": (
        *("plain", "layers/enc2/c/0/0/0", erase),
        ("layer enc2: ", "chunk c/0/0/0 is missing", "whole: layer dec1, samples"),
    ),
    "a truncated chunk of a layer": (
        *("plain", "layers/dec1/c/0/0/0", cut),
        ("layer dec1, images 0 to 3", "whole: layer enc2, samples"),
    ),
    "ranges": (*("plain", "ranges/dec1/low/c/0/0", middle), ("layer dec1", "whole: layer enc2")),
    "names of samples": (
        *("plain", "samples/id/c/0", middle),
        ("samples: column id", "whole: layer enc2, layer dec1"),
    ),
    "what features are of": (
        *("plain", ".", lambda path: set_attributes(path, factor=0.75)),
        ("zarr.json: not as written", "whole: layer enc2, layer dec1, samples"),
    ),
    "predicted masks": (*("masks", "1/labels/c/0/0/0", middle), ("entry 1: ", "whole: entry 0")),
    "a picture": (*("overlays", "*/*.png", middle), ("not as written; whole: 3 of 4 pictures",)),
    "a lost picture": (*("overlays", "*/*.png", erase), ("is missing",)),
    "weights": (
        *("model", "model.safetensors", middle),
        ("model.safetensors: weights are not as written", "whole: config.json, history.parquet"),
    ),
    "cut weights": (*("model", "model.safetensors", cut), ("cannot be read", "history.parquet")),
    "configuration": (
        *("model", "config.json", lambda file: set_json(file, class_names=["a", "b", "c"])),
        ("config.json: not as written", "whole: history.parquet, last.ckpt"),
    ),
    "a cut history": (
        *("model", "history.parquet", cut),
        ("history.parquet: ", "whole: config.json, model.safetensors, last.ckpt"),
    ),
    "a checkpoint": (
        *("model", "last.ckpt", in_a_tensor),
        ("last.ckpt", "whole: config.json, model."),
    ),
    "a cut table": (*("predictions", ".", cut), ("not a Parquet file, or truncated",)),
}


@pytest.mark.parametrize("case", USABLE)
def test_what_is_damaged_and_what_is_whole(
    case: str, driven: Driven, copy: SimpleNamespace, counts: Counter[str]
) -> None:
    name, pattern, act, words = USABLE[case]
    path: Path = getattr(copy, name)
    act(path if pattern == "." else sorted(path.glob(pattern))[0])
    line = check(driven, path, copy.folder)
    for word in words:
        assert word in line
    if name in READERS and not case.endswith(("history", "checkpoint")):
        assert path.name in refuse(driven, name, copy.folder)
    counts["cases"] += 1


def test_a_page_of_a_table(driven: Driven, copy: SimpleNamespace, counts: Counter[str]) -> None:
    column = pq.read_metadata(copy.shift).row_group(0).column(25)
    name = column.path_in_schema
    content = bytearray(copy.shift.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    content[start + column.total_compressed_size - 3] ^= 1
    copy.shift.write_bytes(bytes(content))
    line = check(driven, copy.shift, copy.folder)
    assert f"damaged: column {name}: cannot be read" in line
    assert "whole: column reference, column reference_id" in line
    refuse(driven, "shift", copy.folder)
    counts["cases"] += 1


STORES = ("data", "plain", "masks")


def header(path: Path, **values: object) -> None:
    """Change keys of the header of an artifact, under a seal that fits."""
    if path.suffix == ".zarr":
        set_attributes(unseal(path), **values)
    elif path.suffix == ".parquet":
        table = pq.read_table(path)
        kept = {**json.loads(table.schema.metadata[b"skiptool"]), **values}
        pq.write_table(table.replace_schema_metadata({"skiptool": json.dumps(kept)}), path)
    elif (path / "overlays.json").exists():
        set_json(unseal(path / "overlays.json"), **values)
    else:
        file = unseal(path / "config.json")
        set_json(file, lineage={**json.loads(file.read_text())["lineage"], **values})


@pytest.mark.parametrize("name", KINDS)
def test_a_future_format_version(
    name: str, driven: Driven, copy: SimpleNamespace, counts: Counter[str]
) -> None:
    path: Path = getattr(copy, name)
    header(path, format_version=99)
    assert "format version 99" in check(driven, path, copy.folder)
    assert "use a newer skiptool" in driven("info", path, cwd=copy.folder).line()
    if name in READERS:
        assert "use a newer skiptool" in refuse(driven, name, copy.folder)
    counts["cases"] += 1


@pytest.mark.parametrize("name", KINDS)
def test_another_kind(
    name: str, driven: Driven, copy: SimpleNamespace, counts: Counter[str]
) -> None:
    path: Path = getattr(copy, name)
    header(path, kind="features" if name == "data" else "dataset")
    check(driven, path, copy.folder)
    if name in READERS:
        line = refuse(driven, name, copy.folder)
        assert "of kind" in line or "says that it is of kind" in line
    counts["cases"] += 1


def renamed(tensors: dict[str, Any]) -> None:
    tensors["segmentation_head.0.wight"] = tensors.pop("segmentation_head.0.weight")


TENSORS: dict[str, Callable[[dict[str, Any]], object]] = {
    "missing": lambda found: found.pop("segmentation_head.0.weight"),
    "extra": lambda found: found.update(more=np.zeros(3, np.float32)),
    "mis-shaped": lambda found: found.update({"segmentation_head.0.bias": np.zeros(7, np.float32)}),
    "renamed": renamed,
    "none": dict.clear,
}


@pytest.mark.parametrize("ours", [True, False], ids=["ours", "foreign"])
@pytest.mark.parametrize("case", TENSORS)
def test_tensors(
    case: str, ours: bool, driven: Driven, copy: SimpleNamespace, counts: Counter[str]
) -> None:
    weights = copy.model / "model.safetensors"
    tensors = load_file(weights)
    TENSORS[case](tensors)
    save_file(tensors, weights)
    if ours:
        assert "weights are not as written" in check(driven, copy.model, copy.folder)
    else:
        about = unseal(copy.model / "config.json")
        known = {key for key in READ if key != "lineage"}
        set_json(about, **dict.fromkeys(json.loads(about.read_text()).keys() - known))
    scaling = () if ours else ("--normalise", "none")
    line = refuse(driven, "model", copy.folder, *scaling)
    assert "fold0" in line
    if not ours and case != "none":
        assert "segmentation_head.0." in line or "more" in line
    counts["cases"] += 1


def test_an_artifact_of_an_early_version_is_read(driven: Driven, copy: SimpleNamespace) -> None:
    """It has no seal: all but its metadata is checked, and that is said."""
    for path in (copy.data, copy.plain, copy.masks, copy.model / "config.json"):
        unseal(path)
    unseal(copy.overlays / "overlays.json")
    header(copy.shift)
    for name in ("data", "plain", "masks", "model", "overlays", "shift"):
        ended = driven("info", "--check", getattr(copy, name), cwd=copy.folder)
        assert ended.code == 0, ended
        assert "check: every byte read, checksums hold; metadata has no seal" in ended.out


@pytest.mark.long
def test_artifacts_that_are_whole(driven: Driven, spoilt: SimpleNamespace) -> None:
    """Last of the changes: all that was done to the copies was taken back."""
    for name in KINDS:
        ended = driven("info", "--check", getattr(spoilt, name), cwd=spoilt.folder)
        assert ended.code == 0, ended
        assert "check: every byte read, checksums and seals hold" in ended.out


@pytest.mark.long
def test_summary(counts: Counter[str], record_property: Callable[[str, str], None]) -> None:
    flips, found, harmless = (counts[key] for key in ("flips", "found", "harmless"))
    assert flips == found + harmless >= 300
    assert harmless < flips / 20
    assert counts["cases"] >= 50
    record_property(
        "faults",
        f"damage: {flips} bytes changed in {counts['files']} files, {found} found, {harmless} "
        f"harmless, none missed; {counts['refused']} tries to read them, all refused; "
        f"{counts['cases']} cases of other damage, all named",
    )
