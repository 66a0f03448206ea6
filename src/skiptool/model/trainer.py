"""Lightning's loop, made to keep quiet, to leave the random state alone, and to heed Ctrl-C."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Literal

import torch
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import LambdaCallback

from skiptool.model.saving import WholeFiles
from skiptool.names import Precision

if TYPE_CHECKING:
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

    Raises
    ------
    KeyboardInterrupt
        On Ctrl-C. Lightning by itself exits with 1 and, early on, leaves SIGINT ignored.
    """
    target = torch.device(device)
    checkpoint = watch.checkpoint if resume and watch.checkpoint.exists() else None
    sampler: Any = batches.sampler
    # Lightning tells the sampler its epoch after reading ahead: a resumed training would begin
    # with batches of epoch 0.
    begin = LambdaCallback(on_fit_start=lambda *_: sampler.set_epoch(watch.epochs_done))
    with _quiet(), _own_random_state(target), _interruptible(watch):
        trainer = Trainer(
            accelerator=target.type,
            devices=[target.index] if target.type == "cuda" else 1,
            precision=ARITHMETIC[precision],
            max_epochs=watch.epochs,
            gradient_clip_val=segmenter.protocol.grad_clip,
            callbacks=[watch, begin],
            plugins=[WholeFiles()],
            default_root_dir=watch.checkpoint.parent,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
        )
        trainer.fit(segmenter, batches, checks, ckpt_path=checkpoint, weights_only=True)


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
    """Give torch's random state back as it was: the segmenter seeds it anew each epoch."""
    with torch.random.fork_rng([device.index] if device.type == "cuda" else []):
        yield


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
