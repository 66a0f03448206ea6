from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from definitions import interval
from skiptool.comparison import results
from skiptool.comparison.results import Partial

if TYPE_CHECKING:
    from skiptool.records import Bool

D, U, V, R = 7, 5, 4, 19


def joined(parts: list[Partial], constant: Bool, *, bounded: bool) -> tuple[Any, Any, Any]:
    found = results.joined(parts, constant, bounded=bounded)
    return found["channels"], found["mean"], found["null"]


def partial(seed: int = 0) -> Partial:
    rng = np.random.default_rng(seed)
    return Partial(
        values=rng.random(D),
        estimate=rng.normal(size=D),
        replicates=(rng.normal(size=(D, U)), rng.normal(size=(D, V))),
        null=rng.random((D, 1 + R)),
        occupied=rng.integers(1, 9, D).astype(np.float64),
        used=rng.random(D),
    )


def cut(whole: Partial, *ends: int) -> list[Partial]:
    """Cut a result into blocks of channels."""
    parts = []
    for a, b in pairwise([0, *ends, D]):
        block = slice(a, b)
        arrays: dict[str, Any] = {
            name: getattr(whole, name)[block] for name in ("values", "estimate", "null")
        }
        more = {name: getattr(whole, name)[block] for name in ("occupied", "used")}
        replicates = tuple(each[block] for each in whole.replicates)
        parts.append(Partial(**arrays, replicates=replicates, **more))
    return parts


CONSTANT = np.array([False, True, False, False, True, False, False])


@pytest.mark.parametrize("ends", [(3,), (1, 2, 3, 4, 5, 6), (1, 6)])
def test_blocks_do_not_show_in_any_bit(ends: tuple[int, ...]) -> None:
    whole = partial()
    channels, mean, null = joined([whole], CONSTANT, bounded=True)
    again, mean_again, null_again = joined(cut(whole, *ends), CONSTANT, bounded=True)
    assert mean == mean_again
    np.testing.assert_array_equal(null, null_again)
    for name, column in channels.items():
        np.testing.assert_array_equal(column, again[name], err_msg=name)


def test_layers_are_means_over_channels() -> None:
    whole = partial()
    _, mean, null = joined([whole], CONSTANT, bounded=False)
    assert mean["value"] == pytest.approx(whole.values.mean())
    assert mean["value_live"] == pytest.approx(whole.values[~CONSTANT].mean())
    assert whole.occupied is not None
    assert whole.used is not None
    assert mean["effective_bins"] == pytest.approx(whole.occupied[~CONSTANT].mean())
    assert mean["range_used"] == pytest.approx(whole.used[~CONSTANT].mean())
    assert whole.null is not None
    np.testing.assert_allclose(null, whole.null.mean(axis=0))  # type: ignore[arg-type]
    labelled = whole.null.mean(axis=0)
    assert mean["null_mean"] == pytest.approx(labelled[1:].mean())
    assert mean["null_high"] == pytest.approx(np.quantile(labelled[1:], 0.95))
    assert mean["p_value"] == (1 + (labelled[1:] >= labelled[0]).sum()) / (1 + R)
    assert whole.estimate is not None
    estimate = float(whole.estimate.mean())
    replicates = [each.mean(axis=0).tolist() for each in whole.replicates]
    low, high = interval(float(whole.values.mean()), estimate, replicates)
    for name, end in {"corrected": estimate, "ci_low": low, "ci_high": high}.items():
        assert mean[name] == pytest.approx(max(end, 0.0)), name


def test_a_layer_keeps_its_estimate_and_replicates() -> None:
    whole = partial()
    found = results.joined(cut(whole, 3), CONSTANT, bounded=True)
    assert whole.estimate is not None
    assert found["estimate"] == pytest.approx(whole.estimate.mean())
    for each, expected in zip(found["replicates"], whole.replicates, strict=True):
        np.testing.assert_allclose(each, expected.mean(axis=0))


def test_channels_have_their_own_statistics() -> None:
    whole = partial(1)
    channels, _, _ = joined([whole], CONSTANT, bounded=True)
    assert whole.estimate is not None
    assert whole.null is not None
    for d in range(D):
        replicates = [each[d].tolist() for each in whole.replicates]
        low, high = interval(whole.values[d], whole.estimate[d], replicates)
        for name, end in {"corrected": whole.estimate[d], "ci_low": low, "ci_high": high}.items():
            assert channels[name][d] == pytest.approx(np.clip(end, 0, 1), abs=1e-12)
        reached = (whole.null[d, 1:] >= whole.null[d, 0]).sum()
        assert channels["p_value"][d] == (1 + reached) / (1 + R)


def test_what_was_not_computed_has_no_column() -> None:
    channels, mean, null = joined([Partial(np.ones(D))], CONSTANT, bounded=True)
    assert set(channels) == {"value"}
    assert set(mean) == {"value", "value_live"}
    assert null is None


def test_a_layer_of_constant_channels() -> None:
    _, mean, _ = joined([partial()], np.ones(D, dtype=np.bool_), bounded=True)
    assert np.isnan([mean["value_live"], mean["effective_bins"], mean["range_used"]]).all()


def test_distances_without_bound_are_not_cut_at_one() -> None:
    whole = partial()
    big = Partial(whole.values, np.full(D, 5.0), tuple(5 + each for each in whole.replicates))
    assert joined([big], CONSTANT, bounded=False)[1]["corrected"] == 5.0
    assert joined([big], CONSTANT, bounded=True)[1]["corrected"] == 1.0
    negative = Partial(whole.values, np.full(D, -1.0), whole.replicates)
    assert joined([negative], CONSTANT, bounded=False)[1]["corrected"] == 0.0
