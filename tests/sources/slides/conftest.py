"""Slides that several tests read."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pyramids import stained, write_pyramid


@pytest.fixture(scope="session")
def pyramid(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Lossless slide of 1,001 x 799 px in three levels, 0.25 um/px: ``path`` and ``image``."""
    image = stained(5)(0, 0, 1001, 799)
    path = tmp_path_factory.mktemp("slides") / "pyramid.tiff"
    return SimpleNamespace(path=write_pyramid(path, image, mpp=0.25, quality=None), image=image)


@pytest.fixture(scope="session")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a slide that shows nothing but noisy glass."""
    noise = np.random.default_rng(0).normal(242, 2, (600, 500, 1))
    image = np.repeat(np.clip(noise, 0, 255).astype(np.uint8), 3, axis=2)
    return write_pyramid(tmp_path_factory.mktemp("slides") / "blank.tiff", image, quality=None)
