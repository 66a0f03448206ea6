"""What per-channel distances cannot see, and which measures see it.

Run: ``python tests/benchmarks/beyond.py simulation [REPEATS]`` (60) for made-up activations, and
``python tests/benchmarks/beyond.py network [FOLDER]`` for a ResNet18 U-net that is trained on
synthetic blood smears in FOLDER (a temporary one by default; one that holds ``synth.zarr`` and
``runs`` is used as it is). Both print Markdown.

Simulation: 16 channels, 64 vectors, 50 images a side, values normal. In "pairs correlated" the
distribution of every channel is the same in both sets, but in one of them 8 pairs of channels are
correlated at 0.6. "No shift" has an effect of each image (standard deviation 0.3), and is repeated
with unequal sets: other numbers of images, of vectors, and of images a subject.

Network: the same test images, unshifted and shifted, so sets are paired.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter, shift

import skiptool
from skiptool.metrics import confusion_counts
from skiptool.metrics import iou as iou_of
from skiptool.model.layers import pooled_activations
from skiptool.names import LAYERS
from skiptool.stores.dataset import open_dataset

CHANNELS, VECTORS, IMAGES, CORRELATION = 16, 64, 50, 0.6
METRICS = ("hellinger", "covariance", "classifier")

Sets = tuple[Any, Any, tuple[Sequence[object], Sequence[object]] | None]


def images(
    rng: np.random.Generator, number: int, vectors: int = VECTORS, effect: float = 0.3
) -> Any:  # noqa: ANN401
    """Draw normal activations around an effect of each image."""
    own = effect * rng.standard_normal((number, CHANNELS, 1))
    return own + rng.standard_normal((number, CHANNELS, vectors))


def correlated(rng: np.random.Generator) -> Sets:
    """Draw two sets whose channels have the same distributions, in one of them in pairs."""
    x, y = (images(rng, IMAGES, effect=0.0) for _ in range(2))
    y[:, 1::2] = CORRELATION * y[:, ::2] + np.sqrt(1 - CORRELATION**2) * y[:, 1::2]
    return x, y, None


def subjects(rng: np.random.Generator, number: int, each: int) -> tuple[Any, list[int]]:
    """Draw images of subjects that have an effect of their own."""
    own = 0.3 * rng.standard_normal((number, CHANNELS, 1))
    found = images(rng, number * each, 16) + np.repeat(own, each, axis=0)
    return found, np.repeat(np.arange(number), each).tolist()


def by_subject(rng: np.random.Generator) -> Sets:
    """Draw 20 subjects of 20 images, and 5 of 2."""
    (x, first), (y, second) = subjects(rng, 20, 20), subjects(rng, 5, 2)
    return x, y, (first, [f"other {name}" for name in second])


SETTINGS: dict[str, Callable[[np.random.Generator], Sets]] = {
    "pairs correlated at 0.6": correlated,
    "no shift": lambda rng: (images(rng, IMAGES), images(rng, IMAGES), None),
    "no shift, 8 images a side": lambda rng: (images(rng, 8), images(rng, 8), None),
    "no shift, 60 against 12 images": lambda rng: (images(rng, 60), images(rng, 12), None),
    "no shift, 36 against 169 vectors": lambda rng: (
        *(images(rng, 16, 36), images(rng, 16, 169), None),
    ),
    "no shift, 20 x 20 against 5 x 2 by subject": by_subject,
}


def detections(make: Callable[[np.random.Generator], Sets], repeats: int) -> dict[str, int]:
    """Count how often each measure has p <= 0.05."""
    found = dict.fromkeys(METRICS, 0)
    for repeat in range(repeats):
        x, y, groups = make(np.random.default_rng([repeat, 18]))
        how: dict[str, Any] = {"metrics": METRICS, "permutations": 99, "groups": groups}
        for row in skiptool.compare_features(x, y, **how, seed=repeat, workers=1).to_pylist():
            found[row["metric"]] += row["channel"] is None and row["p_value"] <= 0.05
    return found


def simulation(repeats: int) -> None:
    """Print how often each measure finds a difference at 5 %."""
    print(f"| of so many draws, p <= 0.05 | draws | {' | '.join(METRICS)} |")
    print("|---|---:|" + "---:|" * len(METRICS))
    for name, make in SETTINGS.items():
        times = 60 if make is correlated else repeats
        found = detections(make, times)
        print(
            f"| {name} | {times} | {' | '.join(str(found[each]) for each in METRICS)} |", flush=True
        )


def red_moved(image: Any) -> Any:  # noqa: ANN401
    """Move the red channel by 4 px to the right, its edge repeated."""
    moved = image.copy()
    moved[..., 0] = shift(image[..., 0], (0, 4), order=0, mode="nearest")
    return moved


def blurred(image: Any) -> Any:  # noqa: ANN401
    """Blur with a Gaussian of 2 px."""
    return np.round(gaussian_filter(image.astype(np.float64), (2, 2, 0))).astype(np.uint8)


def sharpened(image: Any) -> Any:  # noqa: ANN401
    """Add twice what a Gaussian of 1 px takes away."""
    whole = image.astype(np.float64)
    found = whole + 2 * (whole - gaussian_filter(whole, (1, 1, 0)))
    return np.clip(np.round(found), 0, 255).astype(np.uint8)


def darkened(image: Any) -> Any:  # noqa: ANN401
    """Brightness 0.75, eq. (1)."""
    return (image.astype(np.float32) * 0.75).astype(np.uint8)


SHIFTS: dict[str, Callable[[Any], Any]] = {
    "none": lambda image: image,
    "brightness 0.75": darkened,
    "red channel moved 4 px": red_moved,
    "sharpened": sharpened,
    "blurred, sigma 2": blurred,
}


def trained(folder: Path) -> tuple[Any, Any, Any]:
    """Return a network and the test images and masks, made and trained where they are not yet."""
    tool, data = str(Path(sys.executable).with_name("skiptool")), folder / "synth.zarr"
    made = ["synth", "--n", "120", "--size", "256", "--canvas", "750", "--cells", "1:25"]
    learnt = ["train", str(data), "--prune", "0", "--fold", "0", "--encoder-weights", "none"]
    learnt += ["--epochs", "12", "--lr", "1e-3", "--lr-step", "8", "-o", str(folder / "runs")]
    for words in ([*made, "-o", str(data)], learnt):
        subprocess.run([tool, *words, "--resume", "--quiet"], check=True, stdout=subprocess.DEVNULL)
    network = skiptool.load_model(folder / "runs" / "resnet18-L0" / "fold0")
    store = open_dataset(data)
    (name,) = store.domains
    chosen = store.domain(name).select("test")
    samples = store.samples(name, chosen)
    images, masks = samples.read_many(range(len(chosen)))
    return network, images, masks


def iou(network: Any, images: Any, masks: Any) -> float:  # noqa: ANN401
    """IoU of cells, from counts over all images."""
    found = np.zeros((2, 2), dtype=np.int64)
    for image, mask in zip(images, masks, strict=True):
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
        with torch.inference_mode():
            predicted = network(pixels).argmax(dim=1)[0].numpy().astype(np.uint8)
        found += confusion_counts(mask, predicted, 2)
    return float(iou_of(found)[1])


def network_table(folder: Path) -> None:
    """Print IoU and measures at two layers under each shift."""
    network, pictures, masks = trained(folder)
    reference = pooled_activations(network, pictures, list(LAYERS), "cpu")
    metrics = (*METRICS, "paired-difference")
    print(f"{len(pictures)} test images, paired.\n")
    print("| shift | IoU | layer | Hellinger, corrected | p | covariance | p | classifier | p | "
          "paired difference [95 %] |")  # fmt: skip
    print("|---|---:|---|---:|---:|---:|---:|---:|---:|---:|")
    for name, change in SHIFTS.items():
        moved = np.stack([change(image) for image in pictures])
        score = iou(network, moved, masks)
        if name == "none":
            print(f"| none | {score:.3f} | | | | | | | | |", flush=True)
            continue
        other = pooled_activations(network, moved, list(LAYERS), "cpu")
        table = skiptool.compare_features(reference, other, metrics=metrics, paired=True)
        rows = {
            (row["layer"], row["metric"]): row
            for row in table.to_pylist()
            if row["channel"] is None
        }
        for layer in ("input", "enc1", "head"):
            own = {metric: rows[layer, metric] for metric in metrics}
            last = own["paired-difference"]
            cells = [
                *(name, f"{score:.3f}", layer),
                *(f"{own['hellinger']['corrected']:.2f}", f"{own['hellinger']['p_adjusted']:.3f}"),
                *(f"{own['covariance']['value']:.2f}", f"{own['covariance']['p_adjusted']:.3f}"),
                *(f"{own['classifier']['value']:.2f}", f"{own['classifier']['p_adjusted']:.3f}"),
                f"{last['value']:.2f} [{last['ci_low']:.2f}, {last['ci_high']:.2f}]",
            ]
            print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Run one of both."""
    if sys.argv[1:2] == ["network"]:
        if len(sys.argv) > 2:
            network_table(Path(sys.argv[2]))
        else:
            with TemporaryDirectory() as folder:
                network_table(Path(folder))
        return
    simulation(int(sys.argv[2]) if len(sys.argv) > 2 else 200)


if __name__ == "__main__":
    main()
