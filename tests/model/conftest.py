"""Networks and readers shared by the tests of the model."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch

from skiptool.model.unet import build
from skiptool.records import Architecture
from small_models import settled

if TYPE_CHECKING:
    from skiptool.records import UInt8

CLASSES = ("background", "cell")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Results must be bit-equal: use one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def readers() -> Iterator[ModuleType]:
    """Import ``readers.py`` in a way that spawned workers repeat: they inherit ``sys.path``."""
    folder = str(Path(__file__).parent)
    sys.path.insert(0, folder)
    import readers as module

    yield module
    sys.path.remove(folder)


@pytest.fixture(scope="session")
def baseline() -> smp.Unet:
    """Return a baseline network in evaluation mode; no test changes it."""
    return settled(build(Architecture("resnet18", (1, 2, 3, 4), CLASSES), seed=1))


@pytest.fixture(scope="session")
def grey_pruned() -> smp.Unet:
    """Return an L1-pruned network for one channel and three classes; no test changes it."""
    return settled(build(Architecture("resnet18", (2, 3, 4), ("b", "c", "d"), 1), seed=2))


@pytest.fixture
def images() -> UInt8:
    """Two uint8 images of 96 x 64 pixels."""
    return np.random.default_rng(3).integers(0, 256, (2, 96, 64, 3), dtype=np.uint8)
