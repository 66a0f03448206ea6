"""Start and connect the processes that train together, and hear why one of them ended.

torch's process group connects them, and Lightning finds it made.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

import torch
from torch import distributed

from skiptool.errors import SkiptoolError, SourceError
from skiptool.model.ranks import LOCAL, Ranks
from skiptool.parallel import available_cores

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

__all__ = ["joined"]

BROKEN = ("gloo", "NCCL", "Connection", "Socket")
"""What torch's errors of a broken connection hold; their class is any RuntimeError's."""
SECONDS = 10.0
"""So long an ending process may take to say why, or to go."""


@contextmanager
def joined(ranks: Ranks, device: str, follow: Callable[[Ranks], None]) -> Iterator[Ranks]:
    """Connect the processes that train together, and start those that nobody has started.

    Parameters
    ----------
    ranks : Ranks
        Of `find_ranks`; with a size of 1 nothing happens.
    device : str
        What `skiptool.model.hardware.choose_device` returned.
    follow : callable
        What a started process does, in step with this one; it is pickled.

    Yields
    ------
    Ranks
        This process, with the port that is used.

    Raises
    ------
    SourceError
        If the processes do not find each other, or one of them ended.
    SkiptoolError
        What a started process raised.
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
    """Start the others of this node; they share its cores on a CPU."""
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
    ranks: Ranks, device: str, follow: Callable[[Ranks], None], threads: int, told: Connection
) -> None:
    """Follow; tell the process that started it why it could not go on."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one that started it ends it
    if threads:
        torch.set_num_threads(threads)
    try:
        _connect(ranks, device)
        follow(ranks)
        distributed.destroy_process_group()
    except SkiptoolError as error:
        told.send(error)
    except RuntimeError:
        pass  # the process that failed first tells why: here a connection broke
    finally:
        told.close()


def _connect(ranks: Ranks, device: str) -> None:
    os.environ.update(MASTER_ADDR=ranks.address, MASTER_PORT=str(ranks.port))
    if device.startswith("cuda"):
        torch.cuda.set_device(ranks.local)
    backend = "cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo"
    try:
        distributed.init_process_group(backend, rank=ranks.rank, world_size=ranks.size)
    except (RuntimeError, ValueError) as error:
        raise SourceError(
            f"training on {ranks.size} processes: process {ranks.rank} finds no connection at "
            f"{ranks.address}:{ranks.port} ({str(error).splitlines()[0]}); see that all were "
            "started, and set MASTER_ADDR and MASTER_PORT where the network needs it"
        ) from error


def _free_port() -> int:
    with socket.socket() as found:
        found.bind((LOCAL, 0))
        port: int = found.getsockname()[1]
    return port


def _why(helpers: Helpers, error: RuntimeError) -> Exception:
    """Prefer what another process said: here its end is but a broken connection."""
    if not any(word in str(error) for word in BROKEN):
        return error
    for process, told in helpers:
        try:
            if told.poll(SECONDS):
                found: SkiptoolError = told.recv()
                return found
        except EOFError:
            process.join(SECONDS)
            if process.exitcode:
                return SourceError(
                    f"training: process {process.pid} ended early (exit code {process.exitcode}); "
                    "it may have been killed for lack of memory: lower --batch-size or --devices, "
                    "and give --resume to go on"
                )
    return SourceError(
        "training: the connection to another process broke; see what that one printed, and give "
        "--resume to go on"
    )


def _end(processes: Sequence[SpawnProcess]) -> None:
    for process in processes:
        process.join(SECONDS if process.is_alive() else 0)
        if process.is_alive():
            process.kill()
            process.join()
