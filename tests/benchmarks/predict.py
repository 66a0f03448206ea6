"""``skiptool predict`` compared with bare forward passes of the same networks over the same inputs.

Run: ``python tests/benchmarks/predict.py [PIXELS [IMAGES [MODELS [ROUNDS [PRECISION]]]]]`` (256,
32, 1, 5, auto). ResNet18 U-nets under the fifteen shifts of the paper's sweep; opening the data,
reading, shifting, counting and writing the table are counted, building the networks is not (a
sweep over thousands of images does it once). Bare passes run over inputs that were shifted and
scaled before: in the batches that ``predict`` takes, one after the other and side by side as
``predict`` runs them. All run in turn. Seconds are the least of the rounds, for other work on the
machine only adds to them; ratios are the median of those within a round.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import segmentation_models_pytorch as smp
import torch

import skiptool
from skiptool.model.device import autocast, choose_precision
from skiptool.model.inference import (
    forward_batches,
    map_concurrently,
    prepare_for_inference,
    to_device,
)
from skiptool.model.unet import build
from skiptool.names import Precision
from skiptool.records import PAPER_SWEEP, Architecture
from skiptool.shifts import apply_shifts
from skiptool.steps.predict import predict as loading
from skiptool.steps.predict.counting import CHUNK
from skiptool.stores.dataset import open_dataset

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from rounds import print_ratios

ARCHITECTURE = Architecture("resnet18", (1, 2, 3, 4), ("background", "cell"))

Chunk = Sequence[torch.Tensor]


def settled(images: torch.Tensor, seed: int) -> smp.Unet:
    """Build a network whose normalisation knows the images: fresh, activations would explode."""
    network = build(ARCHITECTURE, seed)
    with torch.no_grad():
        network.train()(images)
    return prepare_for_inference(network, "cpu")


def shifted_chunks(data: Path, images: int) -> list[Chunk]:
    """Return inputs of the sweep: for each chunk and shift the batches of a forward pass."""
    reader = open_dataset(data).samples("synthetic", range(images))
    found = []
    for at in range(0, images, CHUNK):
        read, _ = reader.read_many(range(at, min(at + CHUNK, images)))
        for shift in PAPER_SWEEP:
            batches = forward_batches(apply_shifts(read, shift), "cpu")
            found.append([to_device(batch, "cpu") for batch in batches])
    return found


def forward(
    networks: Sequence[smp.Unet], chunks: Sequence[Chunk], precision: Precision, concurrently: bool
) -> None:
    """Run the networks, nothing else."""

    def run(batch: torch.Tensor) -> None:
        with torch.inference_mode(), autocast(precision, "cpu"):
            for network in networks:
                network(batch)

    for chunk in chunks:
        if concurrently:
            map_concurrently(run, chunk)
        else:
            for batch in chunk:
                run(batch)


def main() -> None:
    """Make images and networks and time them."""
    given = sys.argv[1:]
    pixels, images, models, rounds = [*map(int, given[:4]), *(256, 32, 1, 5)[len(given[:4]) :]]
    precision = choose_precision(Precision(given[4] if len(given) > 4 else "auto"), "cpu")
    with TemporaryDirectory() as name:
        folder = Path(name)
        data, out = folder / "d.zarr", folder / "p.parquet"
        skiptool.synthesise_dataset(data, n=images, size=pixels, canvas=2 * pixels, cells=(1, 20))
        chunks = shifted_chunks(data, images)
        networks = [settled(chunks[0][0][:4], seed) for seed in range(models)]
        folders = [folder / f"model{number}" for number in range(models)]
        for network, place_ in zip(networks, folders, strict=True):
            network.save_pretrained(place_)
        how = {"split": "all", "device": "cpu", "overwrite": True, "precision": precision}
        how["normalise"] = "none"
        ready = iter(networks)

        def predict() -> None:
            nonlocal ready
            ready = iter(networks)
            skiptool.predict_dataset(folders, data, out, shifts=PAPER_SWEEP, **how)

        runs: dict[str, Callable[[], object]] = {
            "forward": lambda: forward(networks, chunks, precision, False),
            "forward side by side": lambda: forward(networks, chunks, precision, True),
            "predict": predict,
        }
        print(f"{models} models, {images} images of {pixels} px, {precision}")
        with patch.object(loading, "restore_network", lambda *_: next(ready)):
            print_ratios(runs, rounds)


if __name__ == "__main__":
    main()
