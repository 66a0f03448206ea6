"""The page on formats: its snippets print what skiptool itself reads."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from skiptool.names import IGNORE_LABEL
from skiptool.stores.dataset import open_dataset
from skiptool.stores.features import open_features
from skiptool.stores.masks import open_masks
from small_counts import counted

PAGE = Path(__file__).resolve().parents[2] / "examples" / "guide" / "formats.md"

SNIPPETS = dict(
    re.findall(
        r"\n(\w[\w ]+, \w+) [\d.]+:\n\n```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL
    )
)

BINS = 64


@pytest.fixture(scope="module")
def folder(experiment: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with an artifact under every name on the page."""
    folder = tmp_path_factory.mktemp("formats")
    for name, path in {
        "data.zarr": experiment.data,
        "features.zarr": experiment.plain,
        "masks.zarr": experiment.masks,
        "predictions.parquet": experiment.predictions,
        "shift.parquet": experiment.shift,
    }.items():
        (folder / name).symlink_to(path)
    counted(folder / "counts.zarr", {"enc1": features(folder)}, bins=BINS)
    return folder


def features(folder: Path) -> Any:  # noqa: ANN401 - an array (N, D, K)
    return open_features(folder / "features.zarr").read("enc1", slice(None))


def images_and_masks(folder: Path) -> tuple[Any, Any]:
    store = open_dataset(folder / "data.zarr")
    everything = range(len(store.domain("synthetic").columns["id"]))
    return store.samples("synthetic", everything).read_many(everything)


def run(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Run a snippet in the folder, and return the arguments of each ``print``."""
    library = name.rpartition(" ")[2]
    pytest.importorskip(library, reason=f"runs a snippet with {library}, which is not installed")
    monkeypatch.chdir(folder)
    printed: list[tuple[Any, ...]] = []
    exec(SNIPPETS[name], {"print": lambda *shown: printed.append(shown)})
    return printed


def test_every_kind_of_store_and_table_has_a_snippet() -> None:
    assert list(SNIPPETS) == [
        "Dataset, xarray",
        "Dataset, dask",
        "Dataset, zarr",
        "Dataset, napari",
        "Features, xarray",
        "Features, dask",
        "Counts, xarray",
        "Masks, xarray",
        "Masks, napari",
        "Distances, pandas",
        "Distances, polars",
        "Any table and its lineage, pyarrow",
    ]


@pytest.mark.long
def test_xarray_selects_images_of_a_split(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [[shown]] = run("Dataset, xarray", folder, monkeypatch)
    images, _ = images_and_masks(folder)
    columns = open_dataset(folder / "data.zarr").domain("synthetic").columns
    is_test = columns["split"] == "test"
    np.testing.assert_allclose(shown.values, images[is_test].mean(axis=(1, 2)), rtol=1e-12)
    assert shown.id.values.tolist() == columns["id"][is_test].tolist()


@pytest.mark.long
def test_dask_averages_pixels_of_a_class(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [[shown]] = run("Dataset, dask", folder, monkeypatch)
    images, masks = images_and_masks(folder)
    np.testing.assert_allclose(shown, images[masks == 1].mean(axis=0), rtol=1e-12)


@pytest.mark.long
def test_zarr_reads_one_sample(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [[shown]] = run("Dataset, zarr", folder, monkeypatch)
    (image, mask) = (pixels[0] for pixels in images_and_masks(folder))
    assert IGNORE_LABEL not in mask
    assert shown == {"background": image[mask == 0].mean(), "cell": image[mask == 1].mean()}


@pytest.mark.long
def test_xarray_averages_features_by_subject(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts, [means] = run("Features, xarray", folder, monkeypatch)
    store = open_features(folder / "features.zarr")
    assert facts == (store.facts["model"], "original", list(store.layers))
    images = features(folder).astype(np.float64).mean(axis=2)
    subjects = store.columns["subject"]
    expected = [images[subjects == subject].mean(axis=0) for subject in sorted(set(subjects))]
    assert means.subject.values.tolist() == sorted(set(subjects))
    np.testing.assert_allclose(means.values, expected, rtol=1e-5)


@pytest.mark.long
def test_dask_reads_vectors_of_features(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [[shown]] = run("Features, dask", folder, monkeypatch)
    expected = features(folder).astype(np.float64).std(axis=(0, 2))
    np.testing.assert_allclose(shown, expected, rtol=1e-9)


@pytest.mark.long
def test_means_of_counts_are_those_of_values_up_to_half_a_bin(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [[shown]] = run("Counts, xarray", folder, monkeypatch)
    values = features(folder).astype(np.float64)
    half_a_bin = np.ptp(values, axis=(0, 2)) / BINS / 2
    assert half_a_bin.max() > 0
    assert (abs(shown.values - values.mean(axis=(0, 2))) <= half_a_bin + 1e-6).all()


@pytest.mark.long
def test_xarray_lists_predicted_masks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = run("Masks, xarray", folder, monkeypatch)
    store = open_masks(folder / "masks.zarr")
    expected = [
        (facts["model"], facts["shift"], facts["factor"], (store.read(name) == 1).mean())
        for name, (facts, _) in zip(store.names(), store.entries(), strict=True)
    ]
    assert rows == [(*facts, pytest.approx(share, abs=1e-9)) for *facts, share in expected]
    assert len(rows) == 4  # of two networks, unshifted and darkened


@pytest.mark.long
@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_tables_of_distances_are_read(
    folder: Path, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    [[shown]] = run(f"Distances, {library}", folder, monkeypatch)
    rows = shown.reset_index().itertuples(index=False) if library == "pandas" else shown.rows()
    names = ["layer", "shift", "factor", "value", "corrected", "p_value"]
    table = pq.read_table(folder / "shift.parquet").to_pylist()
    expected = [[row[name] for name in names] for row in table if row["channel"] is None]
    assert len(expected) == 12
    nan = float("nan")
    for found, row in zip(rows, expected, strict=True):
        assert list(found[:4]) == row[:4]
        numbers = [[nan if value is None else value for value in each[4:]] for each in (found, row)]
        np.testing.assert_array_equal(*numbers)


@pytest.mark.long
def test_lineage_of_a_table_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "Any table and its lineage, pyarrow"
    [[kind, command, rows]] = run(name, folder, monkeypatch)
    assert (kind, command.split()[:2]) == ("predictions", ["skiptool", "predict"])
    assert rows == pq.read_metadata(folder / "predictions.parquet").num_rows


WITHOUT_A_WINDOW = """
import napari
from napari.components import ViewerModel
napari.Viewer, napari.run = ViewerModel, lambda: None
exec(compile({code!r}, "snippet", "exec"))
print(*(f"{{type(layer).__name__}} {{layer.data.shape}}" for layer in viewer.layers), sep="; ")
"""


@pytest.mark.long
@pytest.mark.skipif(find_spec("napari") is None, reason="runs snippets with napari")
@pytest.mark.parametrize(
    ("kind", "layers"),
    [
        ("Dataset", "Image (24, 64, 64, 3); Labels (24, 64, 64)"),
        ("Masks", "Labels ({test}, 64, 64); Labels ({test}, 64, 64)"),
    ],
)
def test_napari_shows_images_and_masks(folder: Path, kind: str, layers: str) -> None:
    """In another process, as its libraries warn of deprecations."""
    test = len(open_masks(folder / "masks.zarr").ids("0"))
    shown = subprocess.run(
        [sys.executable, "-c", WITHOUT_A_WINDOW.format(code=SNIPPETS[f"{kind}, napari"])],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert shown.stdout.strip() == layers.format(test=test)
