from __future__ import annotations

from datetime import timedelta
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import distributed

from skiptool.errors import FormatError, SourceError
from skiptool.model.processes import joined
from skiptool.model.ranks import ALONE, Ranks, mean_over_ranks


@pytest.fixture
def together(readers: ModuleType) -> Any:  # noqa: ANN401 - a module that started processes find
    import together as module

    return module


def test_alone_nothing_is_joined_or_averaged() -> None:
    with joined(ALONE, "cpu", print) as ranks:
        assert ranks is ALONE
        assert not distributed.is_initialized()
    assert mean_over_ranks(torch.tensor([3.0])).tolist() == [3.0]


@pytest.mark.long
def test_two_processes_count_and_learn_as_one(together: ModuleType) -> None:
    """Cross-entropy with frozen batch norm; ignored pixels are not shared out evenly."""
    alone, steps = together.gradients(ALONE)
    threads = torch.get_num_threads()
    with joined(Ranks(size=2), "cpu", together.follow_gradients) as ranks:
        both, halves = together.gradients(ranks)
    assert not distributed.is_initialized()
    assert torch.get_num_threads() == threads
    assert len(halves) == len(steps) == 3
    for step, half in zip(steps, halves, strict=True):
        assert step.keys() == half.keys()
        for name, gradient in step.items():
            torch.testing.assert_close(half[name], gradient, rtol=1e-3, atol=1e-6)
    assert [row.miou for row in both.history] == [row.miou for row in alone.history]
    losses = [[row.loss for row in found.history] for found in (both, alone)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.slow
def test_two_processes_go_on_to_the_bit(together: ModuleType, tmp_path: Path) -> None:
    found = []
    for name, parts in (("whole", [4]), ("parts", [2, 4])):
        folder = tmp_path / name
        folder.mkdir()
        for epochs in parts:
            how = (folder, epochs, epochs > parts[0])
            with joined(Ranks(size=2), "cpu", partial(together.follow, *how)) as ranks:
                fitted = together.learn(*how, ranks)
        found.append(fitted)
    assert [(row.loss, row.miou) for row in found[0].history] == [
        (row.loss, row.miou) for row in found[1].history
    ]
    assert all(np.array_equal(a, found[1].tensors[k]) for k, a in found[0].tensors.items())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("follow", "error", "expected"),
    [
        ("refuse", FormatError, "^squares: sample 2 is damaged$"),
        ("die", SourceError, r"ended early \(exit code -6\).* --resume"),
    ],
)
def test_the_end_of_another_process_is_told(
    follow: str, error: type[Exception], expected: str, together: ModuleType
) -> None:
    with (
        pytest.raises(error, match=expected),
        joined(Ranks(size=2), "cpu", getattr(together, follow)) as ranks,
    ):
        together.gradients(ranks)
    assert not distributed.is_initialized()


@pytest.mark.long
def test_processes_that_do_not_find_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    lonely = Ranks(1, 2, 0, 2, "127.0.0.1", 1, started=True)
    soon = partial(distributed.init_process_group, timeout=timedelta(seconds=1))
    monkeypatch.setattr(distributed, "init_process_group", soon)
    with (
        pytest.raises(SourceError, match=r"process 1 finds no connection at 127\.0\.0\.1:1 "),
        joined(lonely, "cpu", print),
    ):
        raise AssertionError
