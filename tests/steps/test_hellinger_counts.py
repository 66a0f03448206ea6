"""Counts stores give the numbers that feature stores give with the range of the reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from heard import Heard
from skiptool.comparison.activations import Settings
from skiptool.distances.binned import DISTANCES
from skiptool.errors import ArgumentError, MismatchError
from skiptool.names import Metric, RangeRule
from skiptool.steps.hellinger import measure_shift, measure_shifts
from small_activations import numbered, written
from small_counts import BINS, counted
from small_stores import refused

METRICS = tuple(DISTANCES)


def layers(images: int, seed: int, shift: float = 0.0) -> dict[str, Any]:
    """Activations beyond the range of those without a shift; channels that are constant.

    Of ``enc1`` channel 0 is constant in all sets, channel 1 unless there is a shift, channel 2 has
    another constant value then.
    """
    rng = np.random.default_rng(seed)
    found = {}
    for name, channels in (("input", 2), ("enc1", 6), ("head", 1)):
        effect = rng.normal(scale=0.4, size=(images, channels, 1))
        beyond = 8 * shift if name == "input" else shift
        found[name] = rng.normal(beyond, 1 + shift, (images, channels, 4)) + effect
    found["enc1"][:, 0] = 0.25
    if not shift:
        found["enc1"][:, 1] = -3.0
    found["enc1"][:, 2] = 1.0 + shift
    return {name: values.astype(np.float32) for name, values in found.items()}


def subjects(*sizes: int) -> list[str]:
    return [f"s{number}" for number, size in enumerate(sizes) for _ in range(size)]


CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "paired": ({"id": numbered(24)}, {"id": numbered(24)}, {}),
    "declined": ({"id": numbered(24)}, {"id": numbered(24)}, {"paired": False}),
    "unpaired": ({"id": numbered(24)}, {"id": numbered(30), "dataset": "e"}, {}),
    "subjects": (
        {"subject": subjects(*[3] * 8)},
        {"subject": subjects(*[3] * 8)},
        {"permutations": 29},
    ),
    "other subjects": (
        {"subject": subjects(3, 1, 4, 2, 5, 3, 4, 2)},
        {"subject": subjects(2, 6, 4, 2, 8, 3, 4, 2, 1), "dataset": "e"},
        {"memory": 251},
    ),
    "images": (
        {"subject": subjects(*[2] * 12)},
        {"subject": subjects(*[2] * 12)},
        {"group": "image", "workers": 2},
    ),
}


def rows(path: Path) -> list[dict[str, Any]]:
    """All rows of a table, without the ids of the stores."""
    names = [name for name in pq.read_schema(path).names if not name.endswith("_id")]
    return pq.read_table(path, columns=names).to_pylist()


@pytest.mark.long
@pytest.mark.parametrize(
    ("case", "dtype"), [("unpaired", "float32"), *((case, "float16") for case in CASES)]
)
def test_counts_give_the_results_of_feature_stores(tmp_path: Path, case: str, dtype: str) -> None:
    first, second, how = CASES[case]
    common = {"metrics": METRICS, "bins": (BINS,), "permutations": 39}
    settings = Settings(**(common | how), range_rule=RangeRule.REFERENCE)
    images = [len(next(iter(v for k, v in c.items() if k != "dataset"))) for c in (first, second)]
    x, y = layers(images[0], 0), layers(images[1], 1, 0.5)
    found = {}
    for kind in ("features", "counts"):
        folder = tmp_path / kind
        folder.mkdir()
        for name, values, columns in (("x", x, first), ("y", y, second)):
            path, own = folder / f"{name}.zarr", {"dtype": dtype, **columns}
            if kind == "features":
                written(path, values, facts={"grid": [1, 4]}, **own)
            else:
                counted(path, values, x, **own)
        out = tmp_path / f"{kind}.parquet"
        measure_shift(folder / "x.zarr", [folder / "y.zarr"], out, settings=settings)
        found[kind] = rows(out)
    assert len(found["features"]) == len(METRICS) * (2 + 6 + 1 + 3)
    assert found["counts"] == found["features"]  # bit for bit: floats, nulls, text
    means = [row for row in found["counts"] if row["channel"] is None]
    assert {row["constant_channels"] for row in means} == {0, 1}
    assert all(row["p_value"] is not None for row in means)
    shares = {row["transmission"] is not None for row in means if row["layer"] == "head"}
    assert shares == ({False} if "subjects" in case else {False, True})  # 16 units or more


def test_range_of_counts_is_printed_and_recorded(tmp_path: Path) -> None:
    x = layers(20, 0)
    stores = [
        counted(tmp_path / "x.zarr", x),
        counted(tmp_path / "y.zarr", layers(20, 1, 0.5), x),
        written(tmp_path / "z.zarr", layers(20, 2, 1.0), facts={"shift": "contrast"}),
    ]
    heard, settings = Heard(), Settings(bins=(BINS,), permutations=0)
    out, how = tmp_path / "t.parquet", {"settings": settings, "progress": heard}
    found = measure_shift(stores[0], stores[1:], out, **how)
    assert len([line for line in heard.lines if "range of their reference" in line]) == 1
    assert set(pq.read_table(out)["range_rule"].to_pylist()) == {"reference"}
    assert found.summary["range"] == "reference"
    assert found.tables[0].title.startswith("Distance by layer (reference, B = 8)")


@pytest.mark.long
def test_folder_may_hold_both_kinds_of_store(tmp_path: Path) -> None:
    """The reference is the original of the training domain, whatever it is kept as."""
    folder, x = tmp_path / "stores", layers(20, 0)
    folder.mkdir()
    facts = {"training_domain": "A", "split": "test"}
    written(folder / "b.zarr", layers(20, 1, 0.5), facts=facts | {"shift": "brightness"})
    counted(folder / "x.zarr", x, facts=facts)
    counted(folder / "y.zarr", layers(20, 2, 1.0), x, facts=facts | {"shift": "contrast"})
    settings = Settings(bins=(BINS,), permutations=0)
    found = measure_shifts([folder], tmp_path / "t.parquet", settings=settings)
    pairs = {(row["reference"], row["other"]) for row in rows(tmp_path / "t.parquet")}
    assert pairs == {("x.zarr", "b.zarr"), ("x.zarr", "y.zarr")}
    assert found.failures == ()


def test_invalid_counts_are_refused_before_any_work(tmp_path: Path) -> None:
    x = counted(tmp_path / "x.zarr", layers(6, 0))
    y = counted(tmp_path / "y.zarr", layers(6, 1))
    out, plain = tmp_path / "t.parquet", {"bins": (BINS,), "permutations": 0}
    with refused(MismatchError, "y.zarr against", "other bins", "--ranges"):
        measure_shift(x, [y], out, settings=Settings(**plain))
    with refused(ArgumentError, "--bins 100", "8 bins; give --bins 8"):
        measure_shift(x, [y], out, settings=Settings(permutations=0))
    with refused(ArgumentError, "--metric covariance"):
        metrics = (Metric.COVARIANCE,)
        measure_shift(x, [y], out, settings=Settings(**plain, metrics=metrics))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.zarr", "y.zarr"]


@pytest.mark.long
def test_blocks_of_images_are_the_units_and_images_are_what_is_counted(tmp_path: Path) -> None:
    x, y = layers(60, 0), layers(60, 1, 0.5)
    stores = [
        counted(tmp_path / name, values, x, together=5)
        for name, values in (("x.zarr", x), ("y.zarr", y))
    ]
    settings = Settings(bins=(BINS,), permutations=99)
    out = tmp_path / "t.parquet"
    measure_shift(stores[0], stores[1:], out, settings=settings)
    (row,) = [row for row in rows(out) if row["layer"] == "head" and row["channel"] is None]
    expected = {
        "unit": "block",
        "paired": True,
        "n_reference": 60,
        "n_other": 60,
        "units_reference": 12,
        "units_other": 12,
        "drawn": False,
        "warnings": None,
    }
    assert {name: row[name] for name in expected} == expected
    assert row["p_value"] == 0.01
    # The distance itself is that of all images.
    plain = [counted(tmp_path / f"p{s.name}", v, x) for s, v in zip(stores, (x, y), strict=True)]
    measure_shift(plain[0], plain[1:], tmp_path / "p.parquet", settings=settings)
    single = next(row for row in rows(tmp_path / "p.parquet") if row["layer"] == "head")
    assert row["value"] == single["value"]
    assert row["corrected"] == pytest.approx(single["corrected"], abs=0.05)


def test_remote_counts_store_is_compared(tmp_path: Path) -> None:
    x = layers(20, 0)
    paths = [
        counted(tmp_path / "x.zarr", x),
        counted(tmp_path / "y.zarr", layers(20, 1, 0.5), x),
    ]
    settings = Settings(bins=(BINS,), permutations=0)
    found = measure_shift(f"file://{paths[0]}", [f"file://{paths[1]}"], settings=settings)
    local = measure_shift(paths[0], paths[1:], settings=settings)
    assert found.tables[0].columns == local.tables[0].columns
