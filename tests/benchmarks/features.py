"""``skiptool features`` compared with a bare forward pass of the same network over the same images.

Run: ``python tests/benchmarks/features.py [PIXELS [IMAGES [ROUNDS]]]`` (256, 64, 5). The resnet18
U-net in float32, all twelve layers, the store written; opening and building are counted too. Bare
passes run over inputs made before: in batches of 16, in those that ``features`` itself takes, and
in these side by side as ``features`` runs them. All run in turn. Seconds are the least of the
rounds, for other work on the machine only adds to them; ratios are the median of those within a
round.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import segmentation_models_pytorch as smp
import torch

import skiptool
from skiptool.model.inference import (
    forward_batches,
    map_concurrently,
    prepare_for_inference,
    to_device,
)
from skiptool.model.unet import build
from skiptool.records import Architecture
from skiptool.stores.dataset import open_dataset
from skiptool.stores.features_writer import CHUNK

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from rounds import print_ratios


def settled(images: torch.Tensor) -> smp.Unet:
    """Build a network whose normalisation knows the images: fresh, activations would explode."""
    network = build(Architecture("resnet18", (1, 2, 3, 4), ("background", "cell")))
    with torch.no_grad():
        network.train()(images)
    return prepare_for_inference(network, "cpu")


def forward(network: smp.Unet, batches: Sequence[torch.Tensor], size: int) -> None:
    """Run the network, nothing else."""
    with torch.inference_mode():
        for batch in batches:
            for part in batch.split(size):
                network(part)


def forward_beside(network: smp.Unet, batches: Sequence[torch.Tensor], size: int) -> None:
    """Run the network on several batches of a chunk at a time, nothing else."""

    def run(part: torch.Tensor) -> None:
        with torch.inference_mode():
            network(part)

    for batch in batches:
        map_concurrently(run, batch.split(size))


def main() -> None:
    """Make images and a network and time them."""
    pixels, images, rounds = [*map(int, sys.argv[1:]), *(256, 64, 5)[len(sys.argv) - 1 :]]
    with TemporaryDirectory() as name:
        folder = Path(name)
        data, out, model = folder / "d.zarr", folder / "f.zarr", folder / "model"
        skiptool.synthesise_dataset(data, n=images, size=pixels, canvas=2 * pixels, cells=(1, 20))
        reader = open_dataset(data).samples("synthetic", range(images))
        chunks = [range(at, min(at + CHUNK, images)) for at in range(0, images, CHUNK)]
        batches = [to_device(reader.read_many(rows)[0], "cpu") for rows in chunks]
        network = settled(batches[0][:4])
        network.save_pretrained(model)

        step = len(next(forward_batches(reader.read_many(chunks[0])[0], "cpu")))
        how = {"split": "all", "device": "cpu", "overwrite": True, "normalise": "none"}
        runs: dict[str, Callable[[], object]] = {
            f"forward, batches of {CHUNK}": lambda: forward(network, batches, CHUNK),
            f"forward, batches of {step}": lambda: forward(network, batches, step),
            f"{step} side by side": lambda: forward_beside(network, batches, step),
            "features": lambda: skiptool.extract_features([model], data, out, **how),
        }
        print_ratios(runs, rounds)


if __name__ == "__main__":
    main()
