"""Models and data that the tests of predict share."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from predict_cases import make_dataset
from small_models import sibling


@pytest.fixture(scope="session")
def runs(experiment: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of runs: folds 0 and 1 of the baseline, fold 0 of the L1-pruned network."""
    folder = tmp_path_factory.mktemp("predict") / "runs"
    for run, model in (("resnet18-L0", experiment.baseline), ("resnet18-L1", experiment.pruned)):
        (folder / run).mkdir(parents=True)
        (folder / run / "fold0").symlink_to(model)
    sibling(experiment.baseline, folder / "resnet18-L0/fold1", 1)
    return folder


@pytest.fixture
def two_sizes(tmp_path: Path) -> Path:
    """Return a dataset of two domains of other sizes; a third of each mask is ignored."""
    data = tmp_path / "two.zarr"
    make_dataset(data, [("A", 40, 72), ("B", 33, 31)])
    return data
