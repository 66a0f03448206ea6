"""``skiptool study``."""

from __future__ import annotations

from typing import Annotated

import typer

from skiptool.cli import options, paths
from skiptool.cli.console import command
from skiptool.names import Precision
from skiptool.records import ORIGINAL, Outcome, Progress


@command
def study(
    data: Annotated[
        str, typer.Argument(help="Dataset store (path or URL), or - for its path on stdin.")
    ],
    out: Annotated[
        str, typer.Option("--out", "-o", metavar="PATH", help="Folder of the study.")
    ] = "study",
    train_domain: Annotated[
        str | None,
        typer.Option(help="Domain to train on, if several have training samples."),
    ] = None,
    test: Annotated[
        str | None,
        typer.Option(
            metavar="PATH", help="Dataset store (path or URL) to test on [default: DATA]."
        ),
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="Trained models, or folders of them (paths or URLs), to use instead of training; "
            "repeatable.",
        ),
    ] = None,
    encoder: Annotated[
        list[str] | None, typer.Option(help="Encoder, repeatable [default: resnet18].")
    ] = None,
    arch: options.ArchOption = "unet",
    prune: Annotated[
        list[int] | None,
        typer.Option(
            help="Remove the K uppermost skip connections, repeatable [default: 0, 1 and 4]."
        ),
    ] = None,
    fold: Annotated[
        list[int] | None, typer.Option(help="Validation fold, repeatable [default: all].")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Trainings of each fold.")] = 1,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs.")] = 50,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per batch.")] = 8,
    lr: Annotated[float, typer.Option(help="Initial learning rate of Adam.")] = 1e-4,
    lr_step: Annotated[
        int, typer.Option(min=1, help="Epochs between decays of the learning rate.")
    ] = 15,
    encoder_weights: Annotated[
        str, typer.Option(metavar="imagenet|none|FILE", help="Initial weights of the encoder.")
    ] = "imagenet",
    split: Annotated[str, typer.Option(help="Samples to test on: test, all or train.")] = "test",
    shift: options.Shifts = None,
    permutations: Annotated[int, typer.Option(min=0, help="Permutations of each test.")] = 199,
    substitute: Annotated[
        bool,
        typer.Option(
            "--substitute/--no-substitute",
            help="Substitute skip connections between domains that show the same samples.",
        ),
    ] = True,
    keep_features: Annotated[
        bool, typer.Option("--keep-features", help="Keep the activations of every network.")
    ] = False,
    title: Annotated[str | None, typer.Option(help="Title of the report.")] = None,
    normalise: options.Normalise = None,
    precision: options.PrecisionOption = Precision.AUTO,
    device: options.Device = "auto",
    threads: options.Threads = None,
    workers: options.Workers = None,
    seed: options.Seed = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the commands; run and write nothing.")
    ] = False,
    *,
    progress: Progress,
) -> Outcome:
    """Train on one domain, test on all, measure how far the shift reaches, and write a report.

    Prints the skiptool command of each step and records it in commands.sh; to use other options of
    a step, run its command by hand. To continue after an interruption, run the same line again.
    With a single domain, its images are shifted as in the paper (predict --sweep paper).

    Example: skiptool study data.zarr --train-domain A --fold 0 --epochs 20 -o study
    """
    store = paths.input_path(data, "dataset store")
    options.parse_skips(prune, None)  # raises if out of range
    shifts = [str(parsed) for parsed in options.parse_shifts(shift) if parsed != ORIGINAL]
    from skiptool.steps.study import Options, run_study

    train = {
        "encoder": encoder or ["resnet18"],
        "arch": arch,
        "prune": [str(count) for count in prune or (0, 1, 4)],
        "fold": [str(number) for number in fold or ()],
        "repeats": str(repeats),
        "epochs": str(epochs),
        "batch-size": str(batch_size),
        "lr": f"{lr:g}",
        "lr-step": str(lr_step),
        "encoder-weights": encoder_weights,
        "precision": precision.value,
    }
    compute = {"device": device, "threads": threads, "workers": workers}
    return run_study(
        store,
        paths.parse_path(out),
        train_domain=train_domain,
        test=None if test is None else paths.parse_path(test),
        models=[paths.parse_path(model) for model in models or ()],
        options=Options(
            train=train,
            predict={"precision": precision.value},
            foreign={} if normalise is None else {"normalise": normalise},
            compute={name: str(value) for name, value in compute.items() if value is not None},
            shifts=shifts,
            split=split,
            permutations=permutations,
            seed=seed,
            substitute=substitute,
            keep_features=keep_features,
        ),
        title=title,
        dry_run=dry_run,
        progress=progress,
    )
