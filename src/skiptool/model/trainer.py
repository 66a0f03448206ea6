"""Lightning's loop, made to keep quiet, to leave the random state alone, and to heed Ctrl-C."""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Literal

import torch
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import LambdaCallback
from lightning.pytorch.strategies import DDPStrategy

from skiptool.model.ranks import ALONE, Environment, Ranks
from skiptool.model.saving import WholeFiles
from skiptool.names import Precision

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger
    from torch.utils.data import DataLoader

    from skiptool.model.segmenter import Segmenter
    from skiptool.model.watch import Watch

__all__ = ["run"]

LOGGERS = ("lightning.pytorch", "lightning.fabric")
ARITHMETIC: Final[dict[Precision, Literal["32-true", "bf16-mixed", "16-mixed"]]] = {
    Precision.FLOAT32: "32-true",
    Precision.BFLOAT16: "bf16-mixed",
    Precision.FLOAT16: "16-mixed",
}


def run(
    segmenter: Segmenter,
    batches: DataLoader[Any],
    checks: DataLoader[Any],
    watch: Watch,
    device: str,
    precision: Precision,
    resume: bool,
    ranks: Ranks = ALONE,
    loggers: Sequence[Logger] = (),
) -> None:
    """Train until the watch's number of epochs, with a validation after each.

    Parameters
    ----------
    segmenter : Segmenter
    batches, checks : DataLoader
        For training and validation; the sampler of ``batches`` has ``set_epoch``.
    watch : Watch
        Keeps what comes out, and names the checkpoint.
    device : str
    precision : Precision
        Not ``auto``.
    resume : bool
        Start from the watch's checkpoint where it exists.
    ranks : Ranks
        This process among those that train together; they are connected.
    loggers : sequence of Logger
        Are told every epoch.

    Raises
    ------
    KeyboardInterrupt
        On Ctrl-C. Lightning by itself exits with 1 and, early on, leaves SIGINT ignored.
    """
    target = torch.device(device)
    checkpoint = watch.checkpoint if resume and watch.checkpoint.exists() else None
    sampler: Any = batches.sampler
    terminate = signal.getsignal(signal.SIGTERM)
    begin = LambdaCallback(
        # Lightning tells the sampler its epoch after reading ahead: a resumed training would begin
        # with batches of epoch 0.
        on_fit_start=lambda *_: sampler.set_epoch(watch.epochs_done),
        # Lightning's answer to SIGTERM asks the other processes, which may wait for this one.
        on_train_start=lambda *_: _heed(signal.SIGTERM, terminate) if ranks.size > 1 else None,
    )
    with _quiet(), _own_random_state(target), _interruptible(watch):
        trainer = Trainer(
            accelerator=target.type,
            **_placed(target, ranks),
            deterministic=segmenter.protocol.deterministic,
            precision=ARITHMETIC[precision],
            max_epochs=watch.epochs,
            gradient_clip_val=segmenter.protocol.grad_clip,
            callbacks=[watch, begin],
            default_root_dir=watch.checkpoint.parent,
            logger=list(loggers) or False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
        )
        trainer.fit(segmenter, batches, checks, ckpt_path=checkpoint, weights_only=True)


def _placed(target: torch.device, ranks: Ranks) -> dict[str, Any]:
    """Return what Lightning needs to know of devices and processes; it is to look for nothing."""
    plugins: list[Any] = [Environment(ranks), WholeFiles()]
    if ranks.size == 1:
        devices: Any = [target.index] if target.type == "cuda" else 1
        return {"devices": devices, "plugins": plugins}
    strategy = DDPStrategy(
        broadcast_buffers=False,  # the segmenter averages them before each validation
        static_graph=True,  # encoders may have parameters that no loss reaches
    )
    return {
        "devices": ranks.devices,
        "num_nodes": ranks.nodes,
        "strategy": strategy,
        "plugins": plugins,
        "sync_batchnorm": target.type == "cuda",
    }


def _heed(number: signal.Signals, handler: Any) -> None:  # noqa: ANN401 - what Python returned
    if threading.current_thread() is threading.main_thread():
        signal.signal(number, handler)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Lightning's log lines below errors, and its warnings; everybody else's stay."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\.")
            warnings.filterwarnings("ignore", category=PossibleUserWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _own_random_state(device: torch.device) -> Iterator[None]:
    """Give torch's random state back as it was: the segmenter seeds it anew each epoch.

    Lightning sets the choice of deterministic algorithms for good, too.
    """
    exact, warns = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    with torch.random.fork_rng([device.index] if device.type == "cuda" else []):
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(exact, warn_only=warns)


@contextmanager
def _interruptible(watch: Watch) -> Iterator[None]:
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit:
        if not watch.interrupted:
            raise
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from None
