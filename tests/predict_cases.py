"""Data and loaded models for the tests of predict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from skiptool.names import Precision, Split
from skiptool.records import ORIGINAL, SILENT, Sample, Shift
from skiptool.steps.predict.counting import Run
from skiptool.steps.predict.predict import load_models, split_parts
from skiptool.stores.dataset import open_dataset
from skiptool.stores.dataset_writer import DatasetWriter
from skiptool.stores.lineage import Invocation
from skiptool.stores.models import fold_ensembles


class Warned:
    """Keeps what a user would read."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    task = SILENT.task

    def warn(self, line: str) -> None:
        self.lines.append(line)


def make_dataset(
    path: Path,
    sizes: Sequence[tuple[str, int, int]],
    labels: Sequence[int] = (0, 1, 255),
    split: Split = Split.TEST,
    number: int = 18,
) -> None:
    writer = DatasetWriter(path, ["background", "cell"], Invocation("extract"))
    rng = np.random.default_rng(0)
    for domain, height, width in sizes:
        for place in range(number):
            mask = rng.choice(np.array(labels, dtype=np.uint8), (height, width))
            image = rng.integers(0, 255, (height, width, 3), dtype=np.uint8)
            name = f"{place:02d}"
            fold = place % 3 if split is Split.TRAIN else -1
            writer.append(Sample(name, image, mask, name, domain, split, fold))
    writer.finish()


def make_run(
    folders: Path, data: Path, shifts: Sequence[Shift] = (ORIGINAL,), ensemble: bool = False
) -> Run:
    """Load all models of a folder for the test samples of all domains, on the CPU in float32."""
    store = open_dataset(data)
    domains = [*store.domains.values()]
    models, _ = load_models([folders], [(store, domains)], "cpu")
    groups = fold_ensembles([model.stored for model in models])[0] if ensemble else []
    parts = split_parts(domains, "test", len(models))
    return Run(store, models, groups, parts, shifts, "test", "cpu", Precision.FLOAT32)
