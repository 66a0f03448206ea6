"""Processes that train one network together: ranks, start and connection.

They are started by ``torchrun``; by ``srun``, if ``--devices`` and ``--nodes`` request it (an array
job, or one task per fold, is not a joint training); or by the first process of each node. torch's
process group connects them, before Lightning starts.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from torch import distributed

from skiptool.errors import ArgumentError, SkiptoolError, SourceError
from skiptool.parallel import available_cores

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

LOCAL = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Ranks:
    """One process among those that train together.

    Attributes
    ----------
    rank, size : int
        Index of this process, and number of processes.
    local : int
        Index of this process, and of its GPU, on its node.
    address, port : str, int
        Where rank 0 listens.
    started : bool
        All were started by a launcher; otherwise the process with ``local == 0`` starts those of
        its node.
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
        """True for the process that writes files and prints."""
        return self.rank == 0

    @property
    def devices(self) -> int:
        """Processes per node."""
        return self.size // self.nodes


ALONE = Ranks()


class RanksEnvironment(LightningEnvironment):
    """Ranks for Lightning, so that it neither starts processes nor detects a cluster."""

    def __init__(self, ranks: Ranks) -> None:
        super().__init__()
        self.ranks = ranks
        self.set_global_rank(ranks.rank)
        self.set_world_size(ranks.size)

    @property
    def creates_processes_externally(self) -> bool:
        """True: all have been started."""
        return True

    def local_rank(self) -> int:
        """Return the index of this process on its node."""
        return self.ranks.local

    def node_rank(self) -> int:
        """Return the index of this node."""
        return self.ranks.rank // self.ranks.devices


def find_ranks(
    devices: int | None = None, nodes: int = 1, environ: Mapping[str, str] = os.environ
) -> Ranks:
    """Determine the rank of this process from options and the launcher's variables.

    Parameters
    ----------
    devices : int, optional
        Processes per node; default: what ``torchrun`` started, else 1.
    environ : mapping of str to str
        On several nodes without ``torchrun`` or ``srun``: ``NODE_RANK``, ``MASTER_ADDR`` and
        ``MASTER_PORT``.

    Raises
    ------
    ArgumentError
        If a number is below 1, the launcher started another number of processes, or a variable is
        missing.
    """
    if nodes < 1 or (devices is not None and devices < 1):
        raise ArgumentError(f"--devices {devices}, --nodes {nodes}: expected at least 1 of each")
    expected = (devices or 1) * nodes
    if "TORCHELASTIC_RUN_ID" in environ:
        ranks = _of_torchrun(environ)
        expected = ranks.size if devices is None and nodes == 1 else expected
    elif expected > 1 and int(environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        ranks = _of_srun(environ)
    else:
        return _own(devices or 1, nodes, environ)
    if ranks.size != expected or (devices is not None and ranks.nodes != nodes):
        raise ArgumentError(
            f"--devices {devices}, --nodes {nodes}: the launcher started {ranks.size} processes on "
            f"{ranks.nodes} nodes, expected --devices {ranks.devices} --nodes {ranks.nodes}"
        )
    return ranks


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
        # every process knows the job id, and two jobs on a node rarely share its last digits
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
            f"MASTER_PORT on every node ({error} is missing or not a number)"
        ) from None
    return Ranks(node * devices, devices * nodes, 0, nodes, address, port)


def check_device(device: str, ranks: Ranks) -> None:
    """Raise ArgumentError for several processes on a single GPU or a Metal device."""
    if ranks.size > 1 and (":" in device or device == "mps"):
        raise ArgumentError(
            f"--device {device}: is a single device, expected cpu, cuda or auto with --devices "
            f"{ranks.devices}"
        )


def mean_over_ranks(tensor: torch.Tensor) -> torch.Tensor:
    """Replace a tensor in place by its mean over the processes, if there are several."""
    return sum_over_ranks(tensor).div_(distributed.get_world_size()) if _together() else tensor


def sum_over_ranks(tensor: torch.Tensor) -> torch.Tensor:
    """Replace a tensor in place by its sum over the processes."""
    if _together():
        distributed.all_reduce(tensor)
    return tensor


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()


BROKEN = ("gloo", "NCCL", "Connection", "Socket")
"""Words in torch's errors about broken connections, whose class is a plain RuntimeError."""

SECONDS = 10.0
"""Time allowed for a failing process to report its error, or to exit."""


@contextmanager
def process_group(ranks: Ranks, device: str, follow: Callable[[Ranks], None]) -> Iterator[Ranks]:
    """Connect the processes that train together, starting them if no launcher did.

    Parameters
    ----------
    ranks : Ranks
        From `find_ranks`; with a size of 1 nothing happens.
    follow : callable
        Work of a started process, in step with this one; it is pickled.

    Yields
    ------
    Ranks
        This process, with the port in use.

    Raises
    ------
    SourceError
        If the processes cannot connect, or one of them died.
    SkiptoolError
        Raised by a started process.
    """
    if ranks.size == 1:
        yield ranks
        return
    if not ranks.started and not ranks.port:
        ranks = replace(ranks, port=_free_port())
    threads = torch.get_num_threads()
    helpers = _start(ranks, device, follow)
    try:
        _connect(ranks, device)
        yield ranks
    except RuntimeError as error:
        raise _why(helpers, error) from error
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()
        torch.set_num_threads(threads)
        _end([process for process, _ in helpers])


Helpers = Sequence[tuple["SpawnProcess", Connection]]


def _start(ranks: Ranks, device: str, follow: Callable[[Ranks], None]) -> Helpers:
    """Start the other processes of this node; on a CPU they share its cores."""
    if ranks.started:
        return []
    share = max(1, available_cores() // ranks.devices)
    threads = min(torch.get_num_threads(), share) if device == "cpu" else 0
    helpers = []
    context = multiprocessing.get_context("spawn")
    for local in range(1, ranks.devices):
        other = replace(ranks, rank=ranks.rank + local, local=local)
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_help, args=(other, device, follow, threads, theirs))
        process.start()
        theirs.close()
        helpers.append((process, ours))
    if threads:
        torch.set_num_threads(threads)
    return helpers


def _help(
    ranks: Ranks, device: str, follow: Callable[[Ranks], None], threads: int, errors: Connection
) -> None:
    """Run ``follow`` in a started process, and send its error to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    if threads:
        torch.set_num_threads(threads)
    try:
        _connect(ranks, device)
        follow(ranks)
        distributed.destroy_process_group()
    except SkiptoolError as error:
        errors.send(error)
    except RuntimeError:
        pass  # a connection broke; the process that failed first reports why
    finally:
        errors.close()


def _connect(ranks: Ranks, device: str) -> None:
    os.environ.update(MASTER_ADDR=ranks.address, MASTER_PORT=str(ranks.port))
    if device.startswith("cuda"):
        torch.cuda.set_device(ranks.local)
    backend = "cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo"
    try:
        distributed.init_process_group(backend, rank=ranks.rank, world_size=ranks.size)
    except (RuntimeError, ValueError) as error:
        raise SourceError(
            f"training on {ranks.size} processes: process {ranks.rank} cannot connect to "
            f"{ranks.address}:{ranks.port} ({str(error).splitlines()[0]}); check that all were "
            "started, and set MASTER_ADDR and MASTER_PORT if the network requires it"
        ) from error


def _free_port() -> int:
    with socket.socket() as free:
        free.bind((LOCAL, 0))
        port: int = free.getsockname()[1]
    return port


def _why(helpers: Helpers, error: RuntimeError) -> Exception:
    """Return the error of the process that failed: here it shows only as a broken connection."""
    if not any(word in str(error) for word in BROKEN):
        return error
    for process, errors in helpers:
        try:
            if errors.poll(SECONDS):
                reported: SkiptoolError = errors.recv()
                return reported
        except EOFError:
            process.join(SECONDS)
            if process.exitcode:
                return SourceError(
                    f"training: process {process.pid} ended early (exit code {process.exitcode}); "
                    "it may have been killed for lack of memory: lower --batch-size or --devices, "
                    "and continue with --resume"
                )
    return SourceError(
        "training: the connection to another process broke; see its output, and continue with "
        "--resume"
    )


def _end(processes: Sequence[SpawnProcess]) -> None:
    for process in processes:
        process.join(SECONDS if process.is_alive() else 0)
        if process.is_alive():
            process.kill()
            process.join()
