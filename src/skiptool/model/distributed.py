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

LOCALHOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Ranks:
    """One process among those that train together.

    Attributes
    ----------
    rank, world_size : int
        Index of this process, and number of processes.
    local_rank : int
        Index of this process, and of its GPU, on its node.
    address, port : str, int
        Where rank 0 listens.
    launched : bool
        All processes were started by a launcher; otherwise the process with ``local_rank == 0``
        starts those of its node.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    nodes: int = 1
    address: str = LOCALHOST
    port: int = 0
    launched: bool = False

    @property
    def is_leader(self) -> bool:
        """True for the process that writes files and prints."""
        return self.rank == 0

    @property
    def devices(self) -> int:
        """Processes per node."""
        return self.world_size // self.nodes


SINGLE_PROCESS = Ranks()


class RanksEnvironment(LightningEnvironment):
    """Ranks for Lightning, so that it neither starts processes nor detects a cluster."""

    def __init__(self, ranks: Ranks) -> None:
        super().__init__()
        self.ranks = ranks
        self.set_global_rank(ranks.rank)
        self.set_world_size(ranks.world_size)

    @property
    def creates_processes_externally(self) -> bool:
        """True: all have been started."""
        return True

    def local_rank(self) -> int:
        """Return the index of this process on its node."""
        return self.ranks.local_rank

    def node_rank(self) -> int:
        """Return the index of this node."""
        return self.ranks.rank // self.ranks.devices


def find_ranks(
    devices: int | None = None, nodes: int = 1, environ: Mapping[str, str] = os.environ
) -> Ranks:
    """Determine the rank of this process from options and the launcher's variables.

    Raises ArgumentError if a number is below 1, the launcher started another number of processes,
    or a variable is missing.

    Parameters
    ----------
    devices : int, optional
        Processes per node; default: those that ``torchrun`` started, else 1.
    environ : mapping of str to str
        On several nodes without ``torchrun`` or ``srun``: ``NODE_RANK``, ``MASTER_ADDR`` and
        ``MASTER_PORT``.
    """
    if nodes < 1 or (devices is not None and devices < 1):
        raise ArgumentError(f"--devices {devices}, --nodes {nodes}: expected at least 1 of each")
    expected = (devices or 1) * nodes
    if "TORCHELASTIC_RUN_ID" in environ:
        ranks = _ranks_of_torchrun(environ)
        if devices is None and nodes == 1:
            expected = ranks.world_size
    elif expected > 1 and int(environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        ranks = _ranks_of_srun(environ)
    else:
        return _ranks_without_launcher(devices or 1, nodes, environ)
    if ranks.world_size != expected or (devices is not None and ranks.nodes != nodes):
        raise ArgumentError(
            f"--devices {devices}, --nodes {nodes}: the launcher started {ranks.world_size} "
            f"processes on {ranks.nodes} nodes, expected --devices {ranks.devices} --nodes "
            f"{ranks.nodes}"
        )
    return ranks


def _ranks_of_torchrun(environ: Mapping[str, str]) -> Ranks:
    return Ranks(
        rank=int(environ["RANK"]),
        world_size=int(environ["WORLD_SIZE"]),
        local_rank=int(environ["LOCAL_RANK"]),
        nodes=int(environ.get("GROUP_WORLD_SIZE", 1)),
        address=environ["MASTER_ADDR"],
        port=int(environ["MASTER_PORT"]),
        launched=True,
    )


def _ranks_of_srun(environ: Mapping[str, str]) -> Ranks:
    nodes = environ.get("SLURM_STEP_NODELIST", environ.get("SLURM_NODELIST", LOCALHOST))
    job = int(environ.get("SLURM_JOB_ID", 0))
    return Ranks(
        rank=int(environ["SLURM_PROCID"]),
        world_size=int(environ["SLURM_STEP_NUM_TASKS"]),
        local_rank=int(environ["SLURM_LOCALID"]),
        nodes=int(environ.get("SLURM_STEP_NUM_NODES", 1)),
        address=environ.get("MASTER_ADDR") or SLURMEnvironment.resolve_root_node_address(nodes),
        # every process knows the job id, and two jobs on a node rarely share its last digits
        port=int(environ.get("MASTER_PORT", 15000 + job % 10000)),
        launched=True,
    )


def _ranks_without_launcher(devices: int, nodes: int, environ: Mapping[str, str]) -> Ranks:
    if nodes == 1:
        return Ranks(world_size=devices)
    try:
        node, port = int(environ["NODE_RANK"]), int(environ["MASTER_PORT"])
        address = environ["MASTER_ADDR"]
    except (KeyError, ValueError) as error:
        raise ArgumentError(
            f"--nodes {nodes}: start it with srun or torchrun, or set NODE_RANK, MASTER_ADDR and "
            f"MASTER_PORT on every node ({error} is missing or not a number)"
        ) from None
    return Ranks(
        rank=node * devices, world_size=devices * nodes, nodes=nodes, address=address, port=port
    )


def check_device(device: str, ranks: Ranks) -> None:
    """Raise ArgumentError for several processes on a single GPU or a Metal device."""
    if ranks.world_size > 1 and (":" in device or device == "mps"):
        raise ArgumentError(
            f"--device {device}: is a single device, expected cpu, cuda or auto with --devices "
            f"{ranks.devices}"
        )


def mean_over_ranks(tensor: torch.Tensor) -> torch.Tensor:
    """Replace a tensor in place by its mean over the processes, if there are several."""
    if _is_connected():
        sum_over_ranks(tensor).div_(distributed.get_world_size())
    return tensor


def sum_over_ranks(tensor: torch.Tensor) -> torch.Tensor:
    """Replace a tensor in place by its sum over the processes."""
    if _is_connected():
        distributed.all_reduce(tensor)
    return tensor


def _is_connected() -> bool:
    return distributed.is_available() and distributed.is_initialized()


CONNECTION_WORDS = ("gloo", "NCCL", "Connection", "Socket")
"""Words in torch's errors about broken connections, whose class is a plain RuntimeError."""

GRACE_SECONDS = 10.0
"""Time allowed for a failing process to report its error, or to exit."""


@contextmanager
def process_group(ranks: Ranks, device: str, work: Callable[[Ranks], None]) -> Iterator[Ranks]:
    """Connect the processes that train together, starting them if no launcher did.

    Raises SourceError if they cannot connect or one of them died, and any SkiptoolError of a
    started process.

    Parameters
    ----------
    ranks : Ranks
        From `find_ranks`; nothing happens for a single process.
    work : callable
        Called in each started process, in step with the body of this context; it is pickled.

    Yields
    ------
    Ranks
        This process, with the port in use.
    """
    if ranks.world_size == 1:
        yield ranks
        return
    if not ranks.launched and not ranks.port:
        ranks = replace(ranks, port=_free_port())
    threads = torch.get_num_threads()
    helpers = [] if ranks.launched else _start_helpers(ranks, device, work)
    try:
        _connect(ranks, device)
        yield ranks
    except RuntimeError as error:
        raise _original_error(helpers, error) from error
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()
        torch.set_num_threads(threads)
        for helper in helpers:
            helper.stop()


@dataclass(frozen=True, slots=True)
class _Helper:
    """A process started on this node, and the connection by which it reports its error."""

    process: SpawnProcess
    errors: Connection

    def stop(self) -> None:
        self.process.join(GRACE_SECONDS if self.process.is_alive() else 0)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _start_helpers(ranks: Ranks, device: str, work: Callable[[Ranks], None]) -> list[_Helper]:
    """Start the other processes of this node; on a CPU they share its cores."""
    threads = 0
    if device == "cpu":
        threads = min(torch.get_num_threads(), max(1, available_cores() // ranks.devices))
    helpers = []
    context = multiprocessing.get_context("spawn")
    for local_rank in range(1, ranks.devices):
        other = replace(ranks, rank=ranks.rank + local_rank, local_rank=local_rank)
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_run_helper, args=(other, device, work, threads, sender))
        process.start()
        sender.close()
        helpers.append(_Helper(process, receiver))
    if threads:
        torch.set_num_threads(threads)
    return helpers


def _run_helper(
    ranks: Ranks, device: str, work: Callable[[Ranks], None], threads: int, errors: Connection
) -> None:
    """Do the work of a started process, and send its error to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    if threads:
        torch.set_num_threads(threads)
    try:
        _connect(ranks, device)
        work(ranks)
        distributed.destroy_process_group()
    except SkiptoolError as error:
        errors.send(error)
    except RuntimeError:
        pass  # a connection broke; the process that failed first reports why
    finally:
        errors.close()


def _connect(ranks: Ranks, device: str) -> None:
    os.environ.update(MASTER_ADDR=ranks.address, MASTER_PORT=str(ranks.port))
    backend = "gloo"
    if device.startswith("cuda"):
        torch.cuda.set_device(ranks.local_rank)
        backend = "cpu:gloo,cuda:nccl"
    try:
        distributed.init_process_group(backend, rank=ranks.rank, world_size=ranks.world_size)
    except (RuntimeError, ValueError) as error:
        raise SourceError(
            f"training on {ranks.world_size} processes: process {ranks.rank} cannot connect to "
            f"{ranks.address}:{ranks.port} ({str(error).splitlines()[0]}); check that all were "
            "started, and set MASTER_ADDR and MASTER_PORT if the network requires it"
        ) from error


def _free_port() -> int:
    with socket.socket() as free:
        free.bind((LOCALHOST, 0))
        port: int = free.getsockname()[1]
    return port


def _original_error(helpers: Sequence[_Helper], error: RuntimeError) -> Exception:
    """Return the error of the helper that failed, which breaks the connection of this process."""
    if not any(word in str(error) for word in CONNECTION_WORDS):
        return error
    for helper in helpers:
        process = helper.process
        try:
            if helper.errors.poll(GRACE_SECONDS):
                reported: SkiptoolError = helper.errors.recv()
                return reported
        except EOFError:
            process.join(GRACE_SECONDS)
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
