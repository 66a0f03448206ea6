from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiptool.readings.layers import (
    Averaged,
    Compared,
    LayerDistance,
    NetworkDistances,
    averaged,
)

FOLDS = st.lists(
    st.tuples(*[st.just(math.nan) | st.floats(0.0, 1.0) for _ in range(3)]),
    min_size=1,
    max_size=6,
)


@given(FOLDS)
def test_folds_are_averaged_as_the_definition_says(folds: list[tuple[float, ...]]) -> None:
    """Against a loop: folds without a value do not count, their intervals neither."""
    found = averaged(*np.array(folds).T)
    known = [fold for fold in folds if not math.isnan(fold[0])]
    assert found.trainings == len(known)
    if not known:
        assert math.isnan(found.value)
        assert found.interval is None
        return
    mean = sum(value for value, _, _ in known) / len(known)
    assert found.value == pytest.approx(mean)
    if len(known) > 1:
        squares = sum((value - mean) ** 2 for value, _, _ in known)
        assert found.spread == pytest.approx(math.sqrt(squares / (len(known) - 1)))
    else:
        assert math.isnan(found.spread)
    ends = [(low, high) for _, low, high in known]
    if any(math.isnan(low + high) for low, high in ends):
        assert found.interval is None
    else:
        expected = tuple(sum(each) / len(known) for each in zip(*ends, strict=True))
        assert found.interval == pytest.approx(expected)


@pytest.mark.parametrize(
    ("pruning", "skips"),
    [
        ("baseline", (1, 2, 3, 4)),
        ("L1-pruned", (2, 3, 4)),
        ("L2-pruned", (3, 4)),
        ("L3-pruned", (4,)),
        ("L4-pruned", ()),
        ("skips-1+3", (1, 3)),
        ("skips-2", (2,)),
        ("their own", ()),
        ("L9-pruned", ()),
        ("skips-", ()),
    ],
)
def test_labels_say_which_skips_stay(pruning: str, skips: tuple[int, ...]) -> None:
    assert NetworkDistances("unet", "resnet18", pruning, ((0, 0),), 8, ()).skips == skips


def test_names_and_layers_of_what_is_compared() -> None:
    def network(arch: str, *layers: str) -> NetworkDistances:
        numbers = (np.array([0.1]), Averaged(0.1), None, math.nan)
        found = tuple(LayerDistance(name, *numbers) for name in layers)
        return NetworkDistances(arch, "resnet18", "L1-pruned", ((0, 0),), 8, found)

    compared = Compared({}, (network("unet", "dec0", "x"), network("linknet", "enc1", "dec0")))
    assert compared.layers == ("enc1", "dec0", "x")
    names = ["resnet18 L1-pruned", "linknet resnet18 L1-pruned"]
    assert [each.name for each in compared.networks] == names
