from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from skiptool.records import Architecture
from skiptool.steps.train.writing import summary


def test_a_line_for_each_model_trained_now() -> None:
    jobs: Any = [
        SimpleNamespace(
            architecture=Architecture("resnet18", skips, ("background", "cell")),
            training=SimpleNamespace(fold=fold),
            parameter_count=7,
        )
        for skips, fold in (((1, 2, 3, 4), 0), ((), 2))
    ]
    (table,) = summary(jobs)
    assert table.columns == {
        "encoder": ["resnet18", "resnet18"],
        "pruning": ["baseline", "L4-pruned"],
        "fold": [0, 2],
        "parameters": [7, 7],
    }
    assert summary([]) == ()
