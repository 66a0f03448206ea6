"""Tests of ``artifacts``."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr

from skiptool.errors import ExistsError, FormatError
from skiptool.names import Kind
from skiptool.records import Architecture
from skiptool.stores.artifacts import (
    check_unchanged,
    is_complete,
    kind_of,
    lineage_of,
    model_folders,
    verify,
)
from skiptool.stores.dataset import open_dataset
from skiptool.stores.lineage import Invocation, create_lineage
from skiptool.stores.masks import MaskWriter
from skiptool.stores.models import model_identity, write_model
from skiptool.stores.tables import write_table
from small_artifacts import write_registration, write_small_model
from small_stores import (
    MAKING,
    flip,
    refused,
    sample,
    set_attributes,
    set_json,
    spoil_chunk,
    unseal,
    write_dataset,
    write_features,
)


def write_dataset_at(path: Path) -> None:
    write_dataset(path, [sample(0)])


def write_features_at(path: Path) -> None:
    write_features(path, 2)


def write_masks_at(path: Path) -> None:
    MaskWriter(path, create_lineage(Kind.MASKS, MAKING, 1), ("background", "cell"))


def write_model_at(path: Path) -> None:
    path.mkdir()
    tensors = {"w": np.zeros(2)}
    architecture = Architecture("resnet18", (), ("background", "cell"))
    header = create_lineage(Kind.MODEL, MAKING, model_identity(architecture, tensors))
    write_model(path, architecture, tensors, header, {})


def write_table_of(kind: Kind) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        write_table(path, create_lineage(kind, MAKING, 1), {}, 2)

    return write


WRITERS: dict[Kind, Callable[[Path], None]] = {
    Kind.DATASET: write_dataset_at,
    Kind.FEATURES: write_features_at,
    Kind.MASKS: write_masks_at,
    Kind.MODEL: write_model_at,
    **{kind: write_table_of(kind) for kind in (Kind.PREDICTIONS, Kind.SHIFT, Kind.HISTORY)},
}
OTHER = Invocation("synth", (), {"n": 41, "seed": 0}, {}, MAKING.inputs)


@pytest.mark.parametrize("kind", WRITERS)
def test_kind_and_lineage_are_read_by_path(kind: Kind, tmp_path: Path) -> None:
    out = tmp_path / "any name"
    WRITERS[kind](out)
    assert kind_of(out) is kind
    header = lineage_of(out)
    assert header is not None
    assert (header.kind, dict(header.parameters)) == (kind, dict(MAKING.parameters))


@pytest.mark.parametrize("kind", WRITERS)
def test_resuming_skips_a_complete_output_with_the_same_parameters(
    kind: Kind, tmp_path: Path
) -> None:
    out = tmp_path / "x"
    assert not is_complete(out, MAKING, resume=True)
    WRITERS[kind](out)
    assert is_complete(out, MAKING, resume=True)
    assert is_complete(
        out, Invocation("s", ("moved",), MAKING.parameters, {}, MAKING.inputs), resume=True
    )
    assert not is_complete(out, MAKING, resume=False)
    with refused(ExistsError, out, "n was 40, now 41"):
        is_complete(out, OTHER, resume=True)
    left = tmp_path / ".x.partial"
    left.mkdir()
    assert is_complete(out, MAKING, resume=True)
    assert left.exists()
    assert is_complete(out, MAKING, resume=True, clear=True)
    assert not left.exists()


def test_resuming_refuses_files_that_are_not_outputs(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    write_dataset_at(tmp_path / "torn")
    set_attributes(tmp_path / "torn", parameters=None)
    write_model_at(tmp_path / "foreign")
    set_json(tmp_path / "foreign/config.json", lineage=None)
    for name in ("file", "folder", "torn", "foreign"):
        with refused(ExistsError, tmp_path / name, "--overwrite"):
            is_complete(tmp_path / name, MAKING, resume=True)


def test_a_foreign_model_has_no_lineage(tmp_path: Path) -> None:
    write_model_at(tmp_path / "m")
    set_json(tmp_path / "m/config.json", lineage=None)
    assert kind_of(tmp_path / "m") is Kind.MODEL
    assert lineage_of(tmp_path / "m") is None


def test_other_files_and_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("x")
    (tmp_path / "folder").mkdir()
    zarr.open_group(tmp_path / "z.zarr", mode="w", zarr_format=3)
    for name, word in (
        ("nowhere", "no such file or folder"),
        ("text", "not a Parquet file"),
        ("folder", "neither a store nor a model"),
        ("z.zarr", "not made by skiptool (kind None)"),
    ):
        for ask in (kind_of, lineage_of):
            with refused(FormatError, tmp_path / name, word):
                ask(tmp_path / name)


@pytest.mark.parametrize("kind", ["model", "history", "report", "film", ["dataset"], {"a": 1}])
def test_zarr_store_of_unknown_kind_is_refused(tmp_path: Path, kind: object) -> None:
    write_dataset_at(tmp_path / "d.zarr")
    set_attributes(tmp_path / "d.zarr", kind=kind)
    with refused(FormatError, tmp_path / "d.zarr", "not made by skiptool"):
        kind_of(tmp_path / "d.zarr")


def test_damaged_header_is_reported_in_one_line(tmp_path: Path) -> None:
    write_dataset_at(tmp_path / "d.zarr")
    set_attributes(tmp_path / "d.zarr", format_version=9)
    with refused(FormatError, tmp_path / "d.zarr", "use a newer skiptool"):
        lineage_of(tmp_path / "d.zarr")


# -------------------------------------------------------------------------------------------------
# More of it, through the command line, stands in ``tests/faults/test_damage.py``.


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "d.zarr", [sample(i, name) for name in "ab" for i in range(18)])
    return tmp_path / "d.zarr"


def test_intact_artifact_reports_whether_it_has_a_seal(data: Path, tmp_path: Path) -> None:
    assert verify(data, Kind.DATASET) is True
    assert verify(unseal(data), Kind.DATASET) is False
    assert verify(write_features(tmp_path / "f.zarr", 3), Kind.FEATURES) is True
    assert verify(write_registration(tmp_path / "r.parquet"), Kind.REGISTRATION) is True


def test_intact_samples_are_counted(data: Path) -> None:
    flip(data / "a/images/c/0/0/0/0", 40)
    words = ("domain a, samples 000: ", "whole: domain a, 17 of 18 samples, domain b, 18 of 18")
    with refused(FormatError, data, *words):
        verify(data, Kind.DATASET)


def test_lost_domain_is_reported(data: Path) -> None:
    shutil.rmtree(data / "a")
    with refused(FormatError, data, "a/zarr.json: not as written", "whole: domain b, 18 of 18"):
        verify(data, Kind.DATASET)


def test_intact_layers_are_named(tmp_path: Path) -> None:
    store = write_features(tmp_path / "f.zarr", 20)
    spoil_chunk(store / "layers/dec0/c/0/0/0", 1)
    flip(store / "ranges/enc1/low/c/0/0")
    words = ("layer enc1: low of enc1", "layer dec0, images 16", "whole: layer encoder.layer1.0")
    with refused(FormatError, store, *words):
        verify(store, Kind.FEATURES)


def test_chunk_missing_from_a_shard_is_detected(data: Path, tmp_path: Path) -> None:
    store = write_features(tmp_path / "f.zarr", 20)
    spoil_chunk(store / "layers/dec0/c/0/0/0", 1, lost=True)
    words = ("layer dec0, images 16 to 19: chunk 1 of shard c/0/0/0 is missing", "layer enc1")
    with refused(FormatError, store, *words):
        verify(store, Kind.FEATURES)
    spoil_chunk(data / "a/masks/c/0/0/0", 3, chunks=16, lost=True)
    words = ("samples 003: ", "chunk 3 of shard c/0/0/0 is missing", "17 of 18 samples")
    with refused(FormatError, data, *words):
        verify(data, Kind.DATASET)


def test_damaged_parts_of_a_model_are_named(tmp_path: Path) -> None:
    model = write_small_model(tmp_path / "m")
    assert verify(model, Kind.MODEL) is True
    with zipfile.ZipFile(model / "last.ckpt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x", bytes(10**6))
    flip(model / "history.parquet", 200)
    words = (
        "history.parquet: ",
        "last.ckpt: is damaged (it claims to hold 1,000,000",
        "whole: config",
    )
    with refused(FormatError, model, *words):
        verify(model, Kind.MODEL)


def test_intact_columns_are_named(tmp_path: Path) -> None:
    table = write_registration(tmp_path / "r.parquet")
    flip(table, 20)
    words = ("damaged: column subject: cannot be read", "whole: column slide, column reference_")
    with refused(FormatError, table, *words):
        verify(table, Kind.REGISTRATION)
    flip(table, 20)
    flip(table, -40)
    with refused(FormatError, table):
        verify(table, Kind.REGISTRATION)


def test_replaced_damaged_or_deleted_dataset_is_detected(tmp_path: Path) -> None:
    path = tmp_path / "d.zarr"
    write_dataset(path, [sample(0, "a", (32, 32, 3))])
    opened = open_dataset(path)
    check_unchanged(opened)
    shutil.rmtree(path)
    write_dataset(path, [sample(1, "a", (32, 32, 3))])
    with refused(FormatError, path, "was replaced while it was read", "run again"):
        check_unchanged(opened)
    next((path / "a" / "images" / "c").rglob("0")).rename(path / "elsewhere")
    with refused(FormatError, path):
        check_unchanged(opened)
    shutil.rmtree(path)
    with refused(FormatError, path, "no such dataset store"):
        check_unchanged(opened)


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).mkdir(parents=True)
        (root / name / "config.json").write_text("{}")


def test_models_in_a_folder_are_sorted_with_numbers_by_value(
    tmp_path: Path,
) -> None:
    make(tmp_path, "b-L0/fold10", "b-L0/fold2", "a-L4/fold0", "c")
    expected = ["a-L4/fold0", "b-L0/fold2", "b-L0/fold10", "c"]
    assert model_folders([tmp_path]) == [tmp_path / name for name in expected]
    one, run = tmp_path / "c", tmp_path / "b-L0"
    assert model_folders([one, run]) == [one, run / "fold2", run / "fold10"]


def test_folders_within_a_model_are_not_searched(tmp_path: Path) -> None:
    make(tmp_path, "m", "m/inside")
    assert model_folders([tmp_path]) == [tmp_path / "m"]


def test_remains_of_a_model_are_found(tmp_path: Path) -> None:
    make(tmp_path, "m")
    (tmp_path / "m/model.safetensors").write_bytes(b"")
    (tmp_path / "m/config.json").unlink()
    assert model_folders([tmp_path]) == [tmp_path / "m"]


def test_hidden_folders_stores_and_files_are_skipped(tmp_path: Path) -> None:
    make(tmp_path, "m", ".fold0.partial", "d.zarr/odd")
    (tmp_path / "d.zarr/zarr.json").write_text("{}")
    (tmp_path / "notes.txt").write_text("x")
    assert model_folders([tmp_path]) == [tmp_path / "m"]


def test_path_without_a_model_is_kept(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    paths = [tmp_path / "empty", tmp_path / "gone"]
    assert model_folders(paths) == paths


def test_links_are_followed_only_to_models(tmp_path: Path) -> None:
    make(tmp_path, "elsewhere/m", "runs/own")
    (tmp_path / "runs/linked").symlink_to(tmp_path / "elsewhere/m")
    (tmp_path / "runs/loop").symlink_to(tmp_path / "runs")
    assert model_folders([tmp_path / "runs"]) == [tmp_path / "runs/linked", tmp_path / "runs/own"]
