from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from skiptool.errors import ArgumentError, ExistsError, MismatchError
from skiptool.names import LAYERS
from skiptool.steps.hellinger import measure_shift
from skiptool.stores.features import open_features
from skiptool.stores.features_writer import FeatureWriter
from skiptool.stores.header import Making

COUNTS = {"input": 3, "enc1": 64, "enc2": 64, "enc3": 128, "enc4": 256, "enc5": 512}
CHANNELS = COUNTS | {"dec4": 256, "dec3": 128, "dec2": 64, "dec1": 32, "dec0": 16, "head": 2}


def rows(path: Path, layer: str) -> Any:  # noqa: ANN401 - an array (N * K, D) of float64
    """All vectors of a layer, one a row."""
    blocks = [np.asarray(block, dtype=np.float64) for _, block in open_features(path).blocks(layer)]
    return np.concatenate(blocks).transpose(0, 2, 1).reshape(-1, blocks[0].shape[1])


def slow(x: Any, y: Any, bins: int, literal: bool = False) -> list[float]:  # noqa: ANN401
    """Eqs. (4) to (9) value by value: the distance of each channel."""
    distances = []
    for first, second in zip(x.T, y.T, strict=True):
        beta = min(first.min(), second.min())  # eq. (7)
        alpha = max(first.max(), second.max()) - beta  # eq. (6)
        p, q = [0.0] * bins, [0.0] * bins
        for values, share in ((first, p), (second, q)):
            for value in values:
                b = int((value - beta) * bins / alpha) if alpha else (bins if literal else 0)
                if b == bins and not literal:
                    b = bins - 1  # the last bin is closed
                if b < bins:
                    share[b] += 1 / len(values)  # eq. (4)
        overlap = sum(np.sqrt(a * b) for a, b in zip(p, q, strict=True))  # eq. (8)
        distances.append(float(np.sqrt(max(0.0, 1 - overlap))))  # eq. (9)
    return distances


def columns(path: Path, **chosen: object) -> dict[str, list[Any]]:
    """Columns of the rows of a shift table that are as chosen."""
    table = pq.read_table(path)
    found = [row for row in table.to_pylist() if all(row[k] == v for k, v in chosen.items())]
    return {name: [row[name] for row in found] for name in table.column_names}


@pytest.mark.parametrize("literal", [False, True])
@pytest.mark.parametrize("bins", [100, 7])
def test_values_follow_the_equations(
    bins: int, literal: bool, experiment: SimpleNamespace, tmp_path: Path
) -> None:
    out = tmp_path / "t.parquet"
    measure_shift(experiment.plain, [experiment.dark], out, bins=bins, literal_eq5=literal)
    for layer in ("input", "enc1", "enc3", "dec0", "head"):
        found = columns(out, layer=layer)
        expected = slow(rows(experiment.plain, layer), rows(experiment.dark, layer), bins, literal)
        assert found["channel"] == [None, *range(CHANNELS[layer])]
        np.testing.assert_allclose(found["value"][1:], expected, atol=1e-7)
        assert found["value"][0] == pytest.approx(np.mean(expected))  # eq. (10)


def test_table_has_a_row_for_each_channel_and_layer(experiment: SimpleNamespace) -> None:
    table = pq.read_table(experiment.shift)
    assert table.num_rows == sum(CHANNELS.values()) + len(LAYERS)
    means = columns(experiment.shift, channel=None)
    assert tuple(means["layer"]) == LAYERS
    assert means["layer_index"] == list(range(12))
    for name, expected in {
        **{"reference": experiment.plain.name, "other": experiment.dark.name},
        **{"model": "resnet18-L0/fold0", "encoder": "resnet18", "pruning": "baseline", "fold": 0},
        **{"dataset": "s.zarr", "domain": "synthetic", "reference_domain": "synthetic"},
        **{"shift": "brightness", "factor": 0.5, "reference_shift": "original"},
        **{"reference_factor": None, "metric": "hellinger", "bins": 100, "range_rule": "minmax"},
        **{"n_reference": 5, "n_other": 5, "p_value": None, "corrected": None},
    }.items():
        assert set(means[name]) == {expected}, name
    assert means["reference_id"][0] == open_features(experiment.plain).lineage.id


def test_outcome_has_one_row_a_layer(experiment: SimpleNamespace) -> None:
    found = measure_shift(experiment.plain, [experiment.dark])
    assert found.outputs == ()
    (table,) = found.tables
    assert tuple(table.columns["layer"]) == LAYERS
    means = columns(experiment.shift, channel=None)
    for name in ("value", "value_live", "constant_channels"):
        assert list(table.columns[name]) == means[name]
    assert list(table.columns["channels"]) == list(CHANNELS.values())
    assert all(0 <= value <= 1 for value in means["value"])


def test_per_channel_lists_every_channel(experiment: SimpleNamespace) -> None:
    (table,) = measure_shift(experiment.plain, [experiment.dark], per_channel=True).tables
    found = columns(experiment.shift)
    for name in ("layer", "channel", "value", "constant_channels"):
        assert list(table.columns[name]) == found[name]


def test_distance_is_symmetric_and_0_to_itself(experiment: SimpleNamespace) -> None:
    there, back = (
        measure_shift(*pair).tables[0].columns["value"]
        for pair in (
            (experiment.plain, [experiment.dark]),
            (experiment.dark, [experiment.plain]),
        )
    )
    assert there == back
    (own,) = measure_shift(experiment.plain, [experiment.plain]).tables
    assert set(own.columns["value"]) == {0.0}


def test_several_others_stand_one_behind_the_other(
    experiment: SimpleNamespace, tmp_path: Path
) -> None:
    out, others = tmp_path / "t.parquet", [experiment.dark, experiment.plain]
    (table,) = measure_shift(experiment.plain, others, out).tables
    assert list(table.columns["other"]) == [path.name for path in others for _ in LAYERS]
    assert pq.read_table(out).num_rows == 2 * (sum(CHANNELS.values()) + 12)
    first = columns(out, other=experiment.dark.name)["value"]
    assert first == columns(experiment.shift)["value"]


def store(path: Path, values: Any, model: str = "m") -> Path:  # noqa: ANN401 - (N, D, K)
    """Write a feature store of one layer by hand."""
    making = Making("features", (), {}, {}, {"model": model})
    facts = {"model": "m", "domain": "A", "shift": "original", "dataset": "d"}
    ids = {"id": [f"{number}" for number in range(len(values))]}
    writer = FeatureWriter(path, making, path.name, facts, ids)
    writer.append({"enc1": np.asarray(values, dtype=np.float32)})
    writer.finish()
    return path


def test_constant_channels_by_hand(tmp_path: Path) -> None:
    # Dead in both; equal but for the maximum; two different constants.
    x = [[[0, 0, 0, 0], [0, 1, 2, 4], [5, 5, 5, 5]]]
    y = [[[0, 0, 0, 0], [0, 1, 4, 4], [6, 6, 6, 6]]]
    first, second = store(tmp_path / "x.zarr", x), store(tmp_path / "y.zarr", y)
    out = tmp_path / "t.parquet"
    # Four bins of width 1: p = (1, 1, 1, 1) / 4, q = (1, 1, 0, 2) / 4, the last bin closed.
    middle = np.sqrt(1 - (1 / 4 + 1 / 4 + np.sqrt(2) / 4))
    measure_shift(first, [second], out, bins=4)
    found = columns(out)
    np.testing.assert_allclose(found["value"], [(middle + 1) / 3, 0, middle, 1], atol=1e-12)
    assert found["value_live"] == [pytest.approx((middle + 1) / 2), None, None, None]
    assert found["constant_channels"] == [1, 1, 0, 0]
    # As printed, the maximum is in no bin and a dead channel is at distance 1.
    measure_shift(first, [second], out, bins=4, literal_eq5=True, overwrite=True)
    np.testing.assert_allclose(columns(out)["value"][1:], [1, np.sqrt(1 - 1 / 2), 1], atol=1e-12)


def test_all_channels_constant(tmp_path: Path) -> None:
    first = store(tmp_path / "x.zarr", [[[1, 1]]])
    (table,) = measure_shift(first, [first]).tables
    assert table.columns["value_live"] == [None]
    assert table.columns["constant_channels"] == [1]


def test_refusals(experiment: SimpleNamespace, tmp_path: Path) -> None:
    one = store(tmp_path / "1.zarr", np.zeros((1, 2, 4)))
    wide = store(tmp_path / "2.zarr", np.zeros((1, 3, 4)))
    other = store(tmp_path / "3.zarr", np.zeros((1, 2, 4)), model="n")
    with pytest.raises(MismatchError, match="layer enc1 has 3 channels, the reference 2"):
        measure_shift(one, [wide])
    with pytest.raises(MismatchError, match="different models"):
        measure_shift(one, [other])
    with pytest.raises(ArgumentError, match="--bins 0"):
        measure_shift(one, [one], bins=0)
    with pytest.raises(ExistsError):
        measure_shift(one, [one], experiment.shift)


def test_overwrite_replaces(experiment: SimpleNamespace, tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    out.write_text("old")
    measure_shift(experiment.plain, [experiment.dark], out, overwrite=True)
    assert columns(out)["value"] == columns(experiment.shift)["value"]
