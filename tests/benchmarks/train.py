"""``skiptool train`` beside a training loop of a dozen lines over segmentation-models-pytorch.

Run: ``python tests/benchmarks/train.py [PIXELS [IMAGES [ROUNDS]]]`` (256, 64, 3). The resnet18
U-net in bfloat16 with weights channels last, batches of 8. The loop runs over batches made before,
without reading, augmenting, counting or saving anything. Both run in turn; seconds are those of a
training epoch, the first one of either left out; ratios are the median of those within a round.
Waiting for data is reading, augmenting and stacking: the share of the first epoch, which reads
the store, and that of the later ones, whose samples are in memory.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import segmentation_models_pytorch as smp
import torch
from torch.utils.data.dataloader import _SingleProcessDataLoaderIter

import skiptool
from skiptool.model.fit import fit
from skiptool.names import Loss, Precision
from skiptool.records import Architecture, SampleReader, Training
from skiptool.stores.dataset import open_dataset

BATCH = 8
CLASSES = ("background", "cell")


def loop(batches: list[tuple[torch.Tensor, torch.Tensor]], epochs: int) -> float:
    """Train as anybody would; return the seconds of an epoch, the first left out."""
    network = smp.Unet("resnet18", encoder_weights=None, classes=len(CLASSES))
    network.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    entropy, dice = torch.nn.CrossEntropyLoss(), smp.losses.DiceLoss("multiclass")
    began = 0.0
    for epoch in range(epochs):
        if epoch == 1:
            began = time.perf_counter()
        for images, masks in batches:
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                logits = network(images)
            loss = entropy(logits.float(), masks) + dice(logits.float(), masks)
            loss.backward()
            optimizer.step()
    return (time.perf_counter() - began) / (epochs - 1)


def ours(reader: SampleReader, few: SampleReader, folder: Path, epochs: int) -> tuple[float, ...]:
    """Train with skiptool; return the seconds of an epoch without its validation, and waiting.

    Waiting is the share of the first epoch and that of the others.
    """
    protocol = Training(
        fold=0,
        epochs=epochs,
        batch_size=BATCH,
        lr=1e-3,
        loss=Loss.CE_DICE,
        encoder_weights="none",
        precision=Precision.BFLOAT16,
    )
    architecture = Architecture("resnet18", (1, 2, 3, 4), CLASSES)
    waited: list[float] = []
    read = _SingleProcessDataLoaderIter._next_data

    def timed(self: _SingleProcessDataLoaderIter) -> Any:  # noqa: ANN401 - a batch
        began = time.perf_counter()
        batch = read(self)
        waited.append(time.perf_counter() - began)
        return batch

    with patch.object(_SingleProcessDataLoaderIter, "_next_data", timed):
        history = fit(architecture, protocol, reader, few, folder).history
    seconds = np.reshape([row.seconds for row in history], (epochs, -1)).sum(axis=1)
    lost = np.reshape(waited, (epochs, -1)).sum(axis=1)
    trained = [row.seconds for row in history if row.split == "train"]
    return float(np.mean(trained[1:])), lost[0] / seconds[0], lost[1:].sum() / seconds[1:].sum()


def main() -> None:
    """Make images and time both."""
    pixels, images, rounds = [*map(int, sys.argv[1:]), *(256, 64, 3)[len(sys.argv) - 1 :]]
    with TemporaryDirectory() as name:
        folder, data = Path(name), Path(name) / "d.zarr"
        skiptool.synthesise_dataset(data, n=images, size=pixels, canvas=2 * pixels, cells=(5, 20))
        store = open_dataset(data)
        reader, few = (store.samples("synthetic", range(n)) for n in (images, BATCH))
        batches = []
        for start in range(0, images, BATCH):
            stored, masks = reader.read_many(range(start, min(start + BATCH, images)))
            inputs = torch.from_numpy(stored).permute(0, 3, 1, 2).float() / 255
            batches.append((inputs, torch.from_numpy(masks).long()))
        found = [[loop(batches, 3), *ours(reader, few, folder, 3)] for _ in range(rounds)]
        times = np.array(found)
        for label, least in zip(("loop", "skiptool"), times[:, :2].min(axis=0), strict=True):
            print(f"{label:9s} {least:6.2f} s an epoch, {images / least:6.1f} images/s")
        first, later = np.median(times[:, 2:], axis=0)
        print(f"waiting for data: {first:.1%} of the first epoch, {later:.1%} of the later ones")
        print(f"skiptool trains at {np.median(times[:, 0] / times[:, 1]):.2f} of the loop")


if __name__ == "__main__":
    main()
