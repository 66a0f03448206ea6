"""Damaged, foreign and unfinished stores: one clear line each, nothing written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import zarr

from skiptool.comparison.activations import Settings
from skiptool.errors import (
    ArgumentError,
    ExistsError,
    FormatError,
    MismatchError,
    SkiptoolError,
    SourceError,
)
from skiptool.names import LAYERWISE, Metric, RangeRule
from skiptool.steps.hellinger import measure_shift
from skiptool.stores.staging import partial_path
from small_activations import activations, written
from small_stores import flip, refused, unseal

QUICK = Settings(permutations=9)
RULES = [RangeRule.MINMAX, RangeRule.PERCENTILES, RangeRule.QUANTILE, RangeRule.REFERENCE]


@pytest.fixture
def stores(tmp_path: Path) -> SimpleNamespace:
    """Make two sound stores of 20 images, chunks of 16, in folder ``in``; ``out`` is elsewhere."""
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
    x, y = (
        written(tmp_path / "in" / f"{name}.zarr", activations(20, seed))
        for seed, name in enumerate("xy")
    )
    return SimpleNamespace(x=x, y=y, out=tmp_path / "out" / "t.parquet")


def put(store: Path, value: float, layer: str = "enc1") -> None:
    """Write one value into image 17, channel 2, vector 3, by way of Zarr."""
    zarr.open_array(store / "layers" / layer, mode="r+")[17, 2, 3] = value


def fails(
    stores: SimpleNamespace, kind: type[SkiptoolError], *words: object, **how: object
) -> None:
    """Compare, expect one line and that nothing was written."""
    options = {"settings": QUICK} | how
    with refused(kind, *words):
        measure_shift(stores.x, [stores.y], stores.out, **options)  # type: ignore[arg-type]
    assert list(stores.out.parent.iterdir()) == []


@pytest.mark.long
@pytest.mark.parametrize("ranges", [True, False], ids=["ranges kept", "first pass"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_one_value_that_is_not_finite(
    value: float, rule: RangeRule, ranges: bool, stores: SimpleNamespace
) -> None:
    put(stores.y, value)
    if not ranges:
        shutil.rmtree(unseal(stores.y) / "ranges")
    how = Settings(permutations=9, range_rule=rule, bins=(8,))
    fails(stores, FormatError, "y.zarr: layer enc1, image im017, channel 2:", settings=how)


@pytest.mark.parametrize(
    "metric", [Metric.WASSERSTEIN_EXACT, Metric.REPRESENTATION_SHIFT, *LAYERWISE]
)
def test_metrics_without_bins_detect_it(metric: Metric, stores: SimpleNamespace) -> None:
    put(stores.y, np.nan)
    how = Settings(permutations=9, metrics=(metric,))
    fails(stores, FormatError, "layer enc1, image im017, channel 2", settings=how)


def test_stored_ranges_that_do_not_hold_the_values(stores: SimpleNamespace) -> None:
    put(stores.y, 99.0)
    fails(stores, FormatError, "im017, channel 2: activation 99", "outside the stored range")


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_stored_ranges_that_are_not_finite(value: float, stores: SimpleNamespace) -> None:
    zarr.open_array(stores.y / "ranges" / "dec0" / "low", mode="r+")[3, 1] = value
    fails(stores, FormatError, "y.zarr: layer dec0, image im003, channel 1", "finite")


def chunk(store: Path) -> Path:
    return store / "layers" / "enc1" / "c" / "0" / "0" / "0"


def truncate(store: Path) -> None:
    data = chunk(store).read_bytes()
    chunk(store).write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize(
    "damage",
    [truncate, lambda store: flip(chunk(store), 20), lambda store: chunk(store).unlink(),
     lambda store: chunk(store).write_bytes(b"")],
    ids=["truncated", "flipped", "gone", "empty"],
)  # fmt: skip
@pytest.mark.parametrize("memory", [251, 512])
def test_a_damaged_chunk(
    memory: int, damage: Callable[[Path], None], stores: SimpleNamespace
) -> None:
    damage(stores.y)
    how = Settings(permutations=9, memory=memory, workers=2)
    fails(stores, FormatError, "y.zarr", "enc1", settings=how)


def test_another_model(stores: SimpleNamespace) -> None:
    shutil.rmtree(stores.y)
    written(stores.y, activations(20, 1), model="n")
    fails(stores, MismatchError, "y.zarr against", "different models", "(n, id n, and m, id m)")


def test_another_model_among_all_pairs(stores: SimpleNamespace) -> None:
    third = written(stores.x.parent / "z.zarr", activations(3, 1), model="n")
    with refused(MismatchError, "z.zarr against", "x.zarr"):
        measure_shift(stores.x, [stores.y, third], stores.out, all_pairs=True)


def test_other_layers_and_channels(stores: SimpleNamespace) -> None:
    shutil.rmtree(stores.y)
    written(stores.y, {"enc5": activations(20)["enc1"]})
    fails(stores, MismatchError, "y.zarr against", "no layer in common", "enc5")
    shutil.rmtree(stores.y)
    written(stores.y, activations(20) | {"dec0": np.zeros((20, 5, 1))})
    fails(stores, MismatchError, "layer dec0 has 5 channels, the reference 2")


def test_an_empty_store(stores: SimpleNamespace) -> None:
    shutil.rmtree(stores.y)
    stores.y.mkdir()
    fails(stores, FormatError, "y.zarr")


def test_no_store(stores: SimpleNamespace) -> None:
    shutil.rmtree(stores.y)
    fails(stores, FormatError, "y.zarr: no such feature store")


def test_a_store_that_is_being_written(stores: SimpleNamespace) -> None:
    stores.y.rename(partial_path(stores.y))
    fails(stores, FormatError, "y.zarr: is not finished", "--resume")
    stores.y = partial_path(stores.y)
    fails(stores, FormatError, "y.zarr", "is not finished", "--resume")


def test_stores_that_cannot_be_paired(stores: SimpleNamespace) -> None:
    shutil.rmtree(stores.y)
    written(stores.y, activations(9, 1))
    how = Settings(permutations=9, paired=True)
    fails(stores, MismatchError, "--paired was requested, but 11 of 20", settings=how)


def test_unknown_group_column(stores: SimpleNamespace) -> None:
    how = Settings(permutations=9, group="subject")
    fails(stores, ArgumentError, "x.zarr: has no column 'subject'", "it has id", settings=how)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_temporary_disk(stores: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: open("/dev/full", "wb"))  # noqa: SIM115
    monkeypatch.setattr(Settings, "budget", property(lambda _: 1))
    fails(stores, SourceError, "No space left", "TMPDIR")


def test_existing_output_is_kept(stores: SimpleNamespace) -> None:
    stores.out.write_text("mine")
    with refused(ExistsError, "t.parquet"):
        measure_shift(stores.x, [stores.y], stores.out)
    put(stores.y, np.nan)
    with refused(FormatError, "im017"):
        measure_shift(stores.x, [stores.y], stores.out, overwrite=True)
    assert stores.out.read_text() == "mine"
    stores.out.unlink()
    missing = stores.out.parent / "no" / "t.parquet"
    with refused(SourceError, "does not exist"):
        measure_shift(stores.x, [stores.y], missing)


def test_overwrite_replaces(stores: SimpleNamespace) -> None:
    stores.out.write_text("old")
    measure_shift(stores.x, [stores.y], stores.out, settings=QUICK, overwrite=True)
    assert stores.out.read_bytes()[:4] == b"PAR1"
    assert [path.name for path in stores.out.parent.iterdir()] == [stores.out.name]
