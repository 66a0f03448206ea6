from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr

from skiptool.errors import ExistsError, FormatError
from skiptool.names import Kind
from skiptool.records import Architecture
from skiptool.stores.checkpoint import model_identity, write_model
from skiptool.stores.header import Making, lineage
from skiptool.stores.lookup import finished, kind_of, lineage_of
from skiptool.stores.masks import MaskWriter
from skiptool.stores.table_writer import write_table
from small_stores import (
    MAKING,
    refused,
    sample,
    set_attributes,
    set_json,
    write_dataset,
    write_features,
)


def write_dataset_at(path: Path) -> None:
    write_dataset(path, [sample(0)])


def write_features_at(path: Path) -> None:
    write_features(path, 2)


def write_masks_at(path: Path) -> None:
    MaskWriter(path, lineage(Kind.MASKS, MAKING, 1), ("background", "cell"))


def write_model_at(path: Path) -> None:
    path.mkdir()
    tensors = {"w": np.zeros(2)}
    architecture = Architecture("resnet18", (), ("background", "cell"))
    header = lineage(Kind.MODEL, MAKING, model_identity(architecture, tensors))
    write_model(path, architecture, tensors, header, {})


def write_table_of(kind: Kind) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        write_table(path, lineage(kind, MAKING, 1), {}, 2)

    return write


WRITERS: dict[Kind, Callable[[Path], None]] = {
    Kind.DATASET: write_dataset_at,
    Kind.FEATURES: write_features_at,
    Kind.MASKS: write_masks_at,
    Kind.MODEL: write_model_at,
    **{kind: write_table_of(kind) for kind in (Kind.PREDICTIONS, Kind.SHIFT, Kind.HISTORY)},
}
OTHER = Making("synth", (), {"n": 41, "seed": 0}, {}, MAKING.inputs)


@pytest.mark.parametrize("kind", WRITERS)
def test_any_artifact_is_known_by_its_path(kind: Kind, tmp_path: Path) -> None:
    out = tmp_path / "any name"
    WRITERS[kind](out)
    assert kind_of(out) is kind
    header = lineage_of(out)
    assert header is not None
    assert (header.kind, dict(header.parameters)) == (kind, dict(MAKING.parameters))


@pytest.mark.parametrize("kind", WRITERS)
def test_resuming_ends_where_the_output_is_whole_and_of_the_same_parameters(
    kind: Kind, tmp_path: Path
) -> None:
    out = tmp_path / "x"
    assert not finished(out, MAKING, resume=True)
    WRITERS[kind](out)
    assert finished(out, MAKING, resume=True)
    assert finished(out, Making("s", ("moved",), MAKING.parameters, {}, MAKING.inputs), resume=True)
    assert not finished(out, MAKING, resume=False)
    with refused(ExistsError, out, "n was 40, now 41"):
        finished(out, OTHER, resume=True)
    left = tmp_path / ".x.partial"
    left.mkdir()
    assert finished(out, MAKING, resume=True)
    assert left.exists()
    assert finished(out, MAKING, resume=True, clear=True)
    assert not left.exists()


def test_resuming_leaves_alone_what_is_no_output(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    write_dataset_at(tmp_path / "torn")
    set_attributes(tmp_path / "torn", parameters=None)
    write_model_at(tmp_path / "foreign")
    set_json(tmp_path / "foreign/config.json", lineage=None)
    for name in ("file", "folder", "torn", "foreign"):
        with refused(ExistsError, tmp_path / name, "--overwrite"):
            finished(tmp_path / name, MAKING, resume=True)


def test_a_foreign_model_has_no_lineage(tmp_path: Path) -> None:
    write_model_at(tmp_path / "m")
    set_json(tmp_path / "m/config.json", lineage=None)
    assert kind_of(tmp_path / "m") is Kind.MODEL
    assert lineage_of(tmp_path / "m") is None


def test_what_is_nothing_of_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("x")
    (tmp_path / "folder").mkdir()
    zarr.open_group(tmp_path / "z.zarr", mode="w", zarr_format=3)
    for name, word in (
        ("nowhere", "no such file or folder"),
        ("text", "no Parquet file"),
        ("folder", "neither a store nor a model"),
        ("z.zarr", "not made by skiptool (kind None)"),
    ):
        for ask in (kind_of, lineage_of):
            with refused(FormatError, tmp_path / name, word):
                ask(tmp_path / name)


@pytest.mark.parametrize("kind", ["model", "history", "report", "film", ["dataset"], {"a": 1}])
def test_a_zarr_store_is_of_a_kind_that_is_one(tmp_path: Path, kind: object) -> None:
    write_dataset_at(tmp_path / "d.zarr")
    set_attributes(tmp_path / "d.zarr", kind=kind)
    with refused(FormatError, tmp_path / "d.zarr", "not made by skiptool"):
        kind_of(tmp_path / "d.zarr")


def test_a_damaged_header_is_one_line(tmp_path: Path) -> None:
    write_dataset_at(tmp_path / "d.zarr")
    set_attributes(tmp_path / "d.zarr", format_version=9)
    with refused(FormatError, tmp_path / "d.zarr", "use a newer skiptool"):
        lineage_of(tmp_path / "d.zarr")
