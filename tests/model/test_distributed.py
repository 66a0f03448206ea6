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

from skiptool.errors import ArgumentError, FormatError, SourceError
from skiptool.model.distributed import (
    SINGLE_PROCESS,
    Ranks,
    RanksEnvironment,
    check_device,
    find_ranks,
    mean_over_ranks,
    process_group,
)

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "7",
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "GROUP_WORLD_SIZE": "2",
    "MASTER_ADDR": "node5",
    "MASTER_PORT": "29400",
}
SRUN = {
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_PROCID": "2",
    "SLURM_LOCALID": "0",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_NODELIST": "gpu[05-06]",
    "SLURM_JOB_ID": "81234",
}
BY_HAND = {"NODE_RANK": "1", "MASTER_ADDR": "host", "MASTER_PORT": "4000"}


@pytest.mark.parametrize(
    ("devices", "nodes", "environ", "expected"),
    [
        (None, 1, {}, SINGLE_PROCESS),
        (3, 1, {}, Ranks(world_size=3)),
        (None, 1, TORCHRUN, Ranks(3, 4, 1, 2, "node5", 29400, launched=True)),
        (2, 2, TORCHRUN, Ranks(3, 4, 1, 2, "node5", 29400, launched=True)),
        (2, 2, SRUN, Ranks(2, 4, 0, 2, "gpu05", 16234, launched=True)),
        (2, 2, SRUN | {"MASTER_PORT": "9"}, Ranks(2, 4, 0, 2, "gpu05", 9, launched=True)),
        (None, 1, SRUN, SINGLE_PROCESS),  # four tasks may train a fold each
        (2, 1, {"SLURM_NTASKS": "4"}, Ranks(world_size=2)),  # a batch script, not one of its steps
        (3, 2, BY_HAND, Ranks(3, 6, 0, 2, "host", 4000)),
    ],
)
def test_ranks_are_read_from_options_and_environment(
    devices: int | None, nodes: int, environ: dict[str, str], expected: Ranks
) -> None:
    assert find_ranks(devices, nodes, environ) == expected
    assert expected.devices * expected.nodes == expected.world_size
    environment = RanksEnvironment(expected)
    assert (environment.global_rank(), environment.local_rank()) == (
        expected.rank,
        expected.local_rank,
    )
    assert environment.node_rank() == expected.rank // expected.devices
    assert environment.world_size() == expected.world_size
    assert environment.creates_processes_externally


@pytest.mark.parametrize(
    ("devices", "nodes", "environ", "expected"),
    [
        (0, 1, {}, "--devices 0, --nodes 1: expected at least 1"),
        (1, 0, {}, "--nodes 0: expected at least 1"),
        (4, 1, TORCHRUN, "started 4 processes on 2 nodes, expected --devices 2 --nodes 2"),
        (3, 1, SRUN, "started 4 processes on 2 nodes, expected --devices 2 --nodes 2"),
        (2, 2, {}, "set NODE_RANK, MASTER_ADDR and MASTER_PORT"),
        (2, 2, BY_HAND | {"MASTER_PORT": "x"}, "missing or not a number"),
    ],
)
def test_invalid_options_and_environments_are_refused(
    devices: int | None, nodes: int, environ: dict[str, str], expected: str
) -> None:
    with pytest.raises(ArgumentError, match=expected):
        find_ranks(devices, nodes, environ)


@pytest.mark.parametrize("device", ["cuda:1", "mps"])
def test_single_device_is_refused_for_several_processes(device: str) -> None:
    check_device(device, SINGLE_PROCESS)
    check_device("cpu", Ranks(world_size=2))
    with pytest.raises(ArgumentError, match="is a single device, expected cpu, cuda or auto"):
        check_device(device, Ranks(world_size=2))


@pytest.fixture
def together(readers: ModuleType) -> Any:  # noqa: ANN401 - a module that started processes import
    import together as module

    return module


def test_single_process_neither_connects_nor_averages() -> None:
    with process_group(SINGLE_PROCESS, "cpu", print) as ranks:
        assert ranks is SINGLE_PROCESS
        assert not distributed.is_initialized()
    assert mean_over_ranks(torch.tensor([3.0])).tolist() == [3.0]


@pytest.mark.long
def test_two_processes_compute_the_gradients_and_counts_of_one(together: ModuleType) -> None:
    """Cross-entropy with frozen batch norm; ignored pixels are unevenly distributed."""
    alone, steps = together.gradients(SINGLE_PROCESS)
    threads = torch.get_num_threads()
    with process_group(Ranks(world_size=2), "cpu", together.gradients_in_helper) as ranks:
        both, halves = together.gradients(ranks)
    assert not distributed.is_initialized()
    assert torch.get_num_threads() == threads
    assert len(halves) == len(steps) == 3
    for step, half in zip(steps, halves, strict=True):
        assert step.keys() == half.keys()
        for name, gradient in step.items():
            torch.testing.assert_close(half[name], gradient, rtol=1e-3, atol=1e-6)
    assert [row.miou for row in both.history] == [row.miou for row in alone.history]
    losses = [row.loss for row in both.history]
    assert losses == pytest.approx([row.loss for row in alone.history], rel=1e-5)


@pytest.mark.slow
def test_two_processes_resume_bit_equal(together: ModuleType, tmp_path: Path) -> None:
    results = []
    for name, stops in (("uninterrupted", [4]), ("resumed", [2, 4])):
        folder = tmp_path / name
        folder.mkdir()
        for epochs in stops:
            resume = epochs > stops[0]
            work = partial(together.learn_in_helper, folder, epochs, resume)
            with process_group(Ranks(world_size=2), "cpu", work) as ranks:
                result = together.learn(folder, epochs, resume, ranks)
        results.append(result)
    whole, resumed = results
    assert [(row.loss, row.miou) for row in whole.history] == [
        (row.loss, row.miou) for row in resumed.history
    ]
    assert all(np.array_equal(array, resumed.tensors[k]) for k, array in whole.tensors.items())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("follow", "error", "expected"),
    [
        ("refuse", FormatError, "^squares: sample 2 is damaged$"),
        ("die", SourceError, r"ended early \(exit code -6\).* --resume"),
    ],
)
def test_error_of_another_process_is_raised(
    follow: str, error: type[Exception], expected: str, together: ModuleType
) -> None:
    with (
        pytest.raises(error, match=expected),
        process_group(Ranks(world_size=2), "cpu", getattr(together, follow)) as ranks,
    ):
        together.gradients(ranks)
    assert not distributed.is_initialized()


@pytest.mark.long
def test_failed_connection_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    lonely = Ranks(1, 2, 0, 2, "127.0.0.1", 1, launched=True)
    soon = partial(distributed.init_process_group, timeout=timedelta(seconds=1))
    monkeypatch.setattr(distributed, "init_process_group", soon)
    with (
        pytest.raises(SourceError, match=r"process 1 cannot connect to 127\.0\.0\.1:1 "),
        process_group(lonely, "cpu", print),
    ):
        raise AssertionError
