"""What the parts of an extraction share can travel to another process."""

from __future__ import annotations

import pickle

from skiptool.sources.slides.pool import SlidePool
from skiptool.steps.extract_wsi.settings import PatchSettings
from slide_cases import make_run


def test_settings_and_pool_travel() -> None:
    run = make_run(patch_size=32, mpp=0.5)
    settings, pool = pickle.loads(pickle.dumps((run.settings, run.pool)))
    assert settings == PatchSettings(patch_size=32, mpp=0.5)
    assert isinstance(pool, SlidePool)
    assert run.notes is None
