from __future__ import annotations

import pytest

from skiptool.errors import ArgumentError
from skiptool.model.ranks import (
    ALONE,
    Environment,
    Ranks,
    check_device,
    find_ranks,
)

TORCHRUN = {
    **{"TORCHELASTIC_RUN_ID": "7", "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"},
    **{"GROUP_WORLD_SIZE": "2", "MASTER_ADDR": "node5", "MASTER_PORT": "29400"},
}
SRUN = {
    **{"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "2", "SLURM_LOCALID": "0"},
    **{"SLURM_STEP_NUM_NODES": "2", "SLURM_STEP_NODELIST": "gpu[05-06]", "SLURM_JOB_ID": "81234"},
}
BY_HAND = {"NODE_RANK": "1", "MASTER_ADDR": "host", "MASTER_PORT": "4000"}


@pytest.mark.parametrize(
    ("devices", "nodes", "environ", "expected"),
    [
        (None, 1, {}, ALONE),
        (3, 1, {}, Ranks(size=3)),
        (None, 1, TORCHRUN, Ranks(3, 4, 1, 2, "node5", 29400, started=True)),
        (2, 2, TORCHRUN, Ranks(3, 4, 1, 2, "node5", 29400, started=True)),
        (2, 2, SRUN, Ranks(2, 4, 0, 2, "gpu05", 16234, started=True)),
        (2, 2, SRUN | {"MASTER_PORT": "9"}, Ranks(2, 4, 0, 2, "gpu05", 9, started=True)),
        (None, 1, SRUN, ALONE),  # four tasks may train a fold each
        (2, 1, {"SLURM_NTASKS": "4"}, Ranks(size=2)),  # a batch script, not one of its steps
        (3, 2, BY_HAND, Ranks(3, 6, 0, 2, "host", 4000)),
    ],
)
def test_who_this_is(
    devices: int | None, nodes: int, environ: dict[str, str], expected: Ranks
) -> None:
    assert find_ranks(devices, nodes, environ) == expected
    assert expected.devices * expected.nodes == expected.size
    told = Environment(expected)
    assert (told.global_rank(), told.local_rank()) == (expected.rank, expected.local)
    assert told.node_rank() == expected.rank // expected.devices
    assert told.world_size() == expected.size
    assert told.creates_processes_externally


@pytest.mark.parametrize(
    ("devices", "nodes", "environ", "expected"),
    [
        (0, 1, {}, "--devices 0, --nodes 1: expected at least 1"),
        (1, 0, {}, "--nodes 0: expected at least 1"),
        (4, 1, TORCHRUN, "started 4 processes on 2 nodes, expected --devices 2 --nodes 2"),
        (3, 1, SRUN, "started 4 processes on 2 nodes, expected --devices 2 --nodes 2"),
        (2, 2, {}, "set NODE_RANK, MASTER_ADDR and MASTER_PORT"),
        (2, 2, BY_HAND | {"MASTER_PORT": "x"}, "missing or no number"),
    ],
)
def test_refusals(devices: int | None, nodes: int, environ: dict[str, str], expected: str) -> None:
    with pytest.raises(ArgumentError, match=expected):
        find_ranks(devices, nodes, environ)


@pytest.mark.parametrize("device", ["cuda:1", "mps"])
def test_one_device_is_not_for_several(device: str) -> None:
    check_device(device, ALONE)
    check_device("cpu", Ranks(size=2))
    with pytest.raises(ArgumentError, match="is one device, expected cpu, cuda or auto"):
        check_device(device, Ranks(size=2))
