"""The processes that train one network together, and which of them this one is.

They are started in one of three ways: by ``torchrun``; by ``srun``, where ``--devices`` and
``--nodes`` ask for it (an array job, or one task a fold, is no common training); or by the first
process of a node itself, see ``processes``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from torch import distributed

from skiptool.errors import ArgumentError

__all__ = [
    "ALONE",
    "Environment",
    "Ranks",
    "check_device",
    "find_ranks",
    "mean_over_ranks",
    "sum_over",
]

LOCAL = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Ranks:
    """One process among those that train together.

    Attributes
    ----------
    rank, size : int
        Number of this process, from 0, and how many there are.
    local : int
        Number of this process on its node: that of its GPU.
    nodes : int
    address, port : str, int
        Where rank 0 listens.
    started : bool
        Whether all were started from outside; else rank ``local == 0`` starts those of its node.
    """

    rank: int = 0
    size: int = 1
    local: int = 0
    nodes: int = 1
    address: str = LOCAL
    port: int = 0
    started: bool = False

    @property
    def leads(self) -> bool:
        """Whether it is this process that writes files and talks."""
        return self.rank == 0

    @property
    def devices(self) -> int:
        """Processes of a node."""
        return self.size // self.nodes


ALONE = Ranks()


class Environment(LightningEnvironment):
    """What Lightning asks about the processes; it starts none, and looks for no cluster itself."""

    def __init__(self, ranks: Ranks) -> None:
        super().__init__()
        self.ranks = ranks
        self.set_global_rank(ranks.rank)
        self.set_world_size(ranks.size)

    @property
    def creates_processes_externally(self) -> bool:
        """True: all are started."""
        return True

    def local_rank(self) -> int:
        """Return the number of this process on its node."""
        return self.ranks.local

    def node_rank(self) -> int:
        """Return the number of this node."""
        return self.ranks.rank // self.ranks.devices


def find_ranks(
    devices: int | None = None, nodes: int = 1, environ: Mapping[str, str] = os.environ
) -> Ranks:
    """Find out which process this is, from what was asked for and the variables of a launcher.

    Parameters
    ----------
    devices : int, optional
        Processes a node; by default what ``torchrun`` started, else 1.
    nodes : int
    environ : mapping of str to str
        Under several nodes without ``torchrun`` or ``srun``: ``NODE_RANK``, ``MASTER_ADDR`` and
        ``MASTER_PORT``.

    Raises
    ------
    ArgumentError
        If a number is below 1, the launcher started another number of processes, or a variable is
        missing.
    """
    if nodes < 1 or (devices is not None and devices < 1):
        raise ArgumentError(f"--devices {devices}, --nodes {nodes}: expected at least 1 of each")
    asked = (devices or 1) * nodes
    if "TORCHELASTIC_RUN_ID" in environ:
        found = _of_torchrun(environ)
        asked = found.size if devices is None and nodes == 1 else asked
    elif asked > 1 and int(environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        found = _of_srun(environ)
    else:
        return _own(devices or 1, nodes, environ)
    if found.size != asked or (devices is not None and found.nodes != nodes):
        raise ArgumentError(
            f"--devices {devices}, --nodes {nodes}: the launcher started {found.size} processes on "
            f"{found.nodes} nodes, expected --devices {found.devices} --nodes {found.nodes}"
        )
    return found


def _of_torchrun(environ: Mapping[str, str]) -> Ranks:
    return Ranks(
        rank=int(environ["RANK"]),
        size=int(environ["WORLD_SIZE"]),
        local=int(environ["LOCAL_RANK"]),
        nodes=int(environ.get("GROUP_WORLD_SIZE", 1)),
        address=environ["MASTER_ADDR"],
        port=int(environ["MASTER_PORT"]),
        started=True,
    )


def _of_srun(environ: Mapping[str, str]) -> Ranks:
    nodes = environ.get("SLURM_STEP_NODELIST", environ.get("SLURM_NODELIST", LOCAL))
    job = int(environ.get("SLURM_JOB_ID", 0))
    return Ranks(
        rank=int(environ["SLURM_PROCID"]),
        size=int(environ["SLURM_STEP_NUM_TASKS"]),
        local=int(environ["SLURM_LOCALID"]),
        nodes=int(environ.get("SLURM_STEP_NUM_NODES", 1)),
        address=environ.get("MASTER_ADDR") or SLURMEnvironment.resolve_root_node_address(nodes),
        # every process knows the job's number, and two jobs on a node seldom share its end
        port=int(environ.get("MASTER_PORT", 15000 + job % 10000)),
        started=True,
    )


def _own(devices: int, nodes: int, environ: Mapping[str, str]) -> Ranks:
    if nodes == 1:
        return Ranks(size=devices)
    try:
        node, port = int(environ["NODE_RANK"]), int(environ["MASTER_PORT"])
        address = environ["MASTER_ADDR"]
    except (KeyError, ValueError) as error:
        raise ArgumentError(
            f"--nodes {nodes}: start it with srun or torchrun, or set NODE_RANK, MASTER_ADDR and "
            f"MASTER_PORT on every node ({error} is missing or no number)"
        ) from None
    return Ranks(node * devices, devices * nodes, 0, nodes, address, port)


def check_device(device: str, ranks: Ranks) -> None:
    """Refuse one GPU for several processes, and devices that processes cannot share.

    Raises
    ------
    ArgumentError
        If ``device``, as the user gave it, names a single device or a Metal one.
    """
    if ranks.size > 1 and (":" in device or device == "mps"):
        raise ArgumentError(
            f"--device {device}: is one device, expected cpu, cuda or auto with --devices "
            f"{ranks.devices}"
        )


def mean_over_ranks(tensor: torch.Tensor) -> torch.Tensor:
    """Replace a tensor, in place, by its mean over the processes; alone it is left as it is."""
    return sum_over(tensor).div_(distributed.get_world_size()) if _together() else tensor


def sum_over(tensor: torch.Tensor) -> torch.Tensor:
    """Replace a tensor, in place, by its sum over the processes."""
    if _together():
        distributed.all_reduce(tensor)
    return tensor


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()
