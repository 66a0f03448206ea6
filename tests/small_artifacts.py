"""One small artifact of each kind, made without any training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from skiptool.model.unet import build, parameter_count, state_arrays
from skiptool.names import Kind, Split
from skiptool.records import Architecture
from skiptool.stores.lineage import Invocation, create_lineage
from skiptool.stores.models import model_identity, write_model
from skiptool.stores.tables import write_table
from small_models import settled
from small_stores import CLASSES, sample, write_dataset

MAKING = Invocation("train", ("data.zarr",), {"epochs": 1})
ENCODER = "tu-mobilenetv3_small_050"


def write_small_model(folder: Path, skips: tuple[int, ...] = (1, 2, 3, 4)) -> Path:
    """Write a model folder of a network that has learnt nothing."""
    architecture = Architecture(ENCODER, skips, CLASSES, 3)
    network = settled(build(architecture))
    tensors = state_arrays(network)
    header = create_lineage(Kind.MODEL, MAKING, model_identity(architecture, tensors))
    folder.mkdir(parents=True)
    extra = {"fold": 0, "parameter_count": parameter_count(network), "training": {"epochs": 1}}
    write_model(folder, architecture, tensors, header, extra)
    history = {"epoch": [0, 0], "split": ["train", "validation"], "loss": [1.5, 1.25]}
    history |= {"mIoU": [0.25, 0.5], "lr": 0.1, "seconds": 1.0}
    write_table(
        folder / "history.parquet", create_lineage(Kind.HISTORY, MAKING, header.id), history, 2
    )
    torch.save({"epoch": 0, "weights": torch.zeros(50)}, folder / "last.ckpt")
    return folder


def write_registration(path: Path) -> Path:
    """Write a table of three patches on two scans."""
    columns: dict[str, Any] = {"subject": ["p", "q", "r"], "slide": "s", "reference_domain": "A"}
    columns |= {"domain": "B", "sample": ["1", "2", "3"], "x": [1.0, 2.0, 3.0], "residual": 0.5}
    columns |= {"kept": [True, True, False], "reason": ["", "", "off by 3 px"], "inliers": 9}
    write_table(path, create_lineage(Kind.REGISTRATION, MAKING, 1), columns, 3)
    return path


def make_artifacts(folder: Path, run: Callable[..., Any]) -> SimpleNamespace:
    """Make all kinds.

    Parameters
    ----------
    folder : Path
    run : callable
        Runs a command line in a folder: words, ``cwd``.

    Returns
    -------
    SimpleNamespace
        ``folder``; ``data`` (domains a and b), ``model``, ``plain`` and ``dark`` (features),
        ``predictions``, ``masks``, ``overlays``, ``shift``, ``registration``, ``history``.
    """
    samples = [sample(i, "a", (32, 32, 3), split=Split.TEST, fold=-1) for i in range(20)]
    samples += [sample(i, "b", (32, 32, 3), split=Split.TEST, fold=-1) for i in range(4)]
    write_dataset(folder / "data.zarr", [replace(each, columns={"n": 1}) for each in samples])
    write_small_model(folder / "runs/m/fold0")
    registration = write_registration(folder / "registration.parquet")
    how = ("--device", "cpu", "--quiet")
    given = ("runs/m/fold0", "--data", "data.zarr", "--domain", "b")
    shifts = ("--shift", "original", "--shift", "brightness=0.5")
    asked = (
        "-o",
        "p.parquet",
        "--masks",
        "m.zarr",
        "--overlays",
        "o",
        "--precision",
        "32",
        *shifts,
    )
    layers = [word for name in ("enc2", "dec1") for word in ("--layers", name)]
    for words in (
        ("predict", *given, *asked, *how),
        ("features", *given, "-o", "plain.zarr", *layers, *how),
        ("features", *given, "-o", "dark.zarr", "--shift", "brightness=0.5", *layers, *how),
        (
            "hellinger",
            "plain.zarr",
            "dark.zarr",
            "-o",
            "shift.parquet",
            "--permutations",
            "9",
            "-q",
        ),
    ):
        ended = run(*words, cwd=folder)
        assert ended.code == 0, ended
    return SimpleNamespace(
        folder=folder,
        data=folder / "data.zarr",
        model=folder / "runs/m/fold0",
        history=folder / "runs/m/fold0/history.parquet",
        plain=folder / "plain.zarr",
        dark=folder / "dark.zarr",
        predictions=folder / "p.parquet",
        masks=folder / "m.zarr",
        overlays=folder / "o",
        shift=folder / "shift.parquet",
        registration=registration,
    )
