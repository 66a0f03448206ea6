"""``skiptool train``."""

from __future__ import annotations

from typing import Annotated

import typer

from skiptool.cli import options, paths
from skiptool.cli.console import command
from skiptool.names import LoggerName, Loss, Precision
from skiptool.records import Outcome, Progress, Training


@command
def train(
    data: Annotated[
        str, typer.Argument(help="Dataset store (path or URL), or - for its path on stdin.")
    ],
    out: Annotated[
        str, typer.Option("--out", "-o", metavar="PATH", help="Folder of runs.")
    ] = "runs",
    domain: Annotated[
        str | None, typer.Option(help="Domain to train on, if several have training samples.")
    ] = None,
    encoder: Annotated[
        list[str] | None, typer.Option(help="Encoder, repeatable [default: resnet18].")
    ] = None,
    arch: options.ArchOption = "unet",
    prune: Annotated[
        list[int] | None,
        typer.Option(help="Remove the K uppermost skip connections, repeatable [default: 0]."),
    ] = None,
    skips: Annotated[
        list[str] | None,
        typer.Option(metavar="LEVELS", help="Instead: levels to keep, 2,3,4 or none; repeatable."),
    ] = None,
    fold: Annotated[
        list[int] | None, typer.Option(help="Validation fold, repeatable [default: all].")
    ] = None,
    repeats: Annotated[
        int, typer.Option(min=1, help="Trainings of each fold, with different random seeds.")
    ] = 1,
    repeat: Annotated[
        list[int] | None,
        typer.Option(help="Train only this repeat, counted from 0; repeatable [default: all]."),
    ] = None,
    folds: Annotated[
        int | None, typer.Option(help="Derive this many folds instead of using the stored ones.")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs.")] = 50,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per batch.")] = 8,
    lr: Annotated[float, typer.Option(help="Initial learning rate of Adam.")] = 1e-4,
    lr_step: Annotated[
        int, typer.Option(min=1, help="Epochs between decays of the learning rate.")
    ] = 15,
    lr_gamma: Annotated[float, typer.Option(help="Factor of each decay.")] = 0.1,
    loss: Annotated[Loss, typer.Option(help="Loss function.")] = Loss.CE_GDICE,
    class_weight: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CLASS=WEIGHT", help="Weight of a class in the cross-entropy, repeatable."
        ),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(min=1, help="Stop after this many epochs without a better validation mIoU."),
    ] = None,
    grad_clip: Annotated[float | None, typer.Option(help="Maximum norm of the gradients.")] = None,
    encoder_weights: Annotated[
        str, typer.Option(metavar="imagenet|none|FILE", help="Initial weights of the encoder.")
    ] = "imagenet",
    logger: Annotated[
        list[LoggerName] | None,
        typer.Option(help="Also log every epoch here, repeatable."),
    ] = None,
    last: Annotated[
        bool,
        typer.Option(
            "--keep-last/--no-keep-last", help="Keep last.ckpt, from which training can continue."
        ),
    ] = True,
    precision: options.PrecisionOption = Precision.AUTO,
    device: options.Device = "auto",
    threads: options.Threads = None,
    devices: Annotated[
        int | None, typer.Option(help="Processes per node that train together [default: 1].")
    ] = None,
    nodes: Annotated[int, typer.Option(help="Nodes that train together.")] = 1,
    compile_: Annotated[
        bool, typer.Option("--compile", help="Compile the network (torch.compile).")
    ] = False,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="Make trainings on a GPU bit-reproducible.")
    ] = False,
    workers: options.Workers = None,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    dry_run: options.DryRun = False,
    *,
    progress: Progress,
) -> Outcome:
    """Train a U-net for each encoder, choice of skip connections, validation fold and repeat.

    Data with E draws of training patches (extract wsi --draws E): epoch e trains on draw e modulo
    E, and every validation uses draw 0.

    Example: skiptool train synth.zarr --prune 0 --prune 1 --fold 0 -o runs
    """
    store = paths.input_path(data, "dataset store")
    levels = options.parse_skips(prune, skips)
    protocol = Training(
        fold=0,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        lr_step=lr_step,
        lr_gamma=lr_gamma,
        loss=loss,
        encoder_weights=encoder_weights,
        precision=precision,
        seed=seed,
        class_weights=options.parse_weights(class_weight, "--class-weight"),
        patience=patience,
        grad_clip=grad_clip,
        compile=compile_,
        deterministic=deterministic,
    )
    from skiptool.model.device import use_threads
    from skiptool.steps.train import train_models

    with use_threads(threads, device, progress):
        return train_models(
            store,
            paths.parse_path(out),
            domain=domain,
            encoders=encoder or ("resnet18",),
            skips=levels,
            arch=arch,
            fold=fold or (),
            repeats=repeats,
            repeat=repeat or (),
            folds=folds,
            protocol=protocol,
            device=device,
            devices=devices,
            nodes=nodes,
            workers=workers,
            loggers=tuple(logger or ()),
            keep_last=last,
            overwrite=overwrite,
            resume=resume,
            dry_run=dry_run,
            progress=progress,
        )
