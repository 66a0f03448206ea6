"""Settings of ``extract wsi``: defaults, refusals, and the registration cache."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import pytest

from skiptool.errors import ArgumentError, ExistsError, FormatError, SourceError
from skiptool.names import PatchMode
from skiptool.sources.slides.pool import SlidePool
from skiptool.steps.extract_wsi.settings import (
    PatchSettings,
    RegistrationCache,
    registration_cache_folder,
)
from skiptool.stores.lineage import Invocation
from slide_cases import make_run
from small_stores import refused

GRID, SAMPLED, CENTRED = PatchMode.GRID, PatchMode.SAMPLED, PatchMode.CENTRED


@pytest.mark.parametrize(("mode", "size"), [(GRID, 512), (SAMPLED, 512), (CENTRED, 128)])
def test_default_sizes_are_those_of_the_paper(mode: PatchMode, size: int) -> None:
    found = PatchSettings(mode=mode)
    assert (found.size, found.step) == (size, size)
    assert PatchSettings(mode=mode, patch_size=96, stride=48).step == 48
    assert PatchSettings(mode=mode, patch_size=96).step == 96


def test_mask_option_is_parsed() -> None:
    assert PatchSettings(mode=CENTRED, mask="disc:2.5").disc == 2.5
    assert PatchSettings(mode=CENTRED, mask="model:runs/a:b").model == Path("runs/a:b")
    for mask in ("stain", "polygons", None):
        found = PatchSettings(mode=CENTRED, mask=mask)
        assert (found.disc, found.model) == (None, None)


def test_only_relevant_options_are_recorded() -> None:
    every = {"mode", "patch_size", "mpp", "classes"}
    own = {
        GRID: {"min_tissue", "stride"},
        SAMPLED: {"patches", "draws", "background"},
        CENTRED: {"mask"},
    }
    for mode, names in own.items():
        assert set(PatchSettings(mode=mode).recorded) == every | names
    registered = PatchSettings(register="A").recorded
    assert set(registered) == every | own[GRID] | {"register", "max_residual"}
    assert (
        PatchSettings().recorded["patch_size"]
        == PatchSettings(patch_size=512).recorded["patch_size"]
    )


BAD: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "size": ({"patch_size": 0}, ("--patch-size 0", "1 or more")),
    "stride": ({"stride": 0}, ("--stride 0",)),
    "patches": ({"patches": 0}, ("--patches 0",)),
    "draws": ({"draws": 0}, ("--draws 0",)),
    "tissue": ({"min_tissue": 1.0}, ("--min-tissue 1.0", "below 1")),
    "tissue negative": ({"min_tissue": -0.1}, ("--min-tissue -0.1",)),
    "tissue NaN": ({"min_tissue": float("nan")}, ("--min-tissue nan",)),
    "background": ({"background": 1.0}, ("--background 1.0",)),
    "mpp": ({"mpp": 1000.0}, ("--mpp 1000.0", "0.05 to 20 micrometres per pixel")),
    "mpp NaN": ({"mpp": float("nan")}, ("--mpp nan",)),
    "residual": ({"max_residual": 0.0}, ("--max-residual 0.0", "above 0")),
    "residual NaN": ({"max_residual": float("nan")}, ("--max-residual nan",)),
    "residual infinite": ({"max_residual": float("inf")}, ("--max-residual inf",)),
    "mask and grid": ({"mask": "stain"}, ("--mask", "--mode centred", "--mode grid")),
    "mask unknown": ({"mode": CENTRED, "mask": "circle"}, ("--mask circle", "disc:UM")),
    "disc without": ({"mode": CENTRED, "mask": "disc"}, ("--mask disc:", "radius")),
    "disc text": ({"mode": CENTRED, "mask": "disc:big"}, ("--mask disc:big",)),
    "disc zero": ({"mode": CENTRED, "mask": "disc:0"}, ("--mask disc:0",)),
    "disc NaN": ({"mode": CENTRED, "mask": "disc:nan"}, ("--mask disc:nan",)),
    "stain with": ({"mode": CENTRED, "mask": "stain:2"}, ("--mask stain:2",)),
    "model without": ({"mode": CENTRED, "mask": "model:"}, ("--mask model:", "model:FOLDER")),
    "draws and grid": ({"draws": 2}, ("--draws", "--mode sampled", "--mode grid")),
    "class twice": ({"classes": "a=x;a=y"}, ("'a' occurs twice",)),
    "name twice": ({"classes": "a=x;b=x"}, ("'x' occurs twice",)),
    "class empty": ({"classes": "a="}, ("is empty",)),
}


@pytest.mark.parametrize("name", BAD)
def test_invalid_settings_are_refused(name: str) -> None:
    given, words = BAD[name]
    with refused(ArgumentError, *words):
        PatchSettings(**given)


# -------------------------------------------------------------------------------------------------
# Registration cache: kept after interruptions, refused for other parameters.


MAKING = Invocation("extract wsi", (), {"seed": 0}, {}, {"files": "ab"})
ROWS = [{"residual": 0.1 + 0.2, "reason": None, "kept": True}, {"residual": None}]


def test_cached_results_survive_a_resumed_run(tmp_path: Path) -> None:
    out = tmp_path / "d.zarr"
    cache = RegistrationCache(out, MAKING, resume=False)
    assert cache.get("site", "key", "a-1") is None
    cache.put(ROWS, "site", "key", "a-1")
    cache.put({"angle": math.pi}, "align", "key", "other")
    for each in (cache, RegistrationCache(out, MAKING, resume=True)):
        assert each.get("site", "key", "a-1") == ROWS
        assert each.get("align", "key", "other") == {"angle": math.pi}
        assert each.get("align", "other", "key") is None


def test_cache_folder_exists_during_the_run(tmp_path: Path) -> None:
    folder = registration_cache_folder(tmp_path / "d.zarr")
    assert folder == tmp_path / ".d.zarr.plan"
    with RegistrationCache(tmp_path / "d.zarr", MAKING, resume=False):
        assert folder.is_dir()
    assert not folder.exists()


def test_incomplete_last_line_is_dropped(tmp_path: Path) -> None:
    out = tmp_path / "d.zarr"
    cache = RegistrationCache(out, MAKING, resume=False)
    cache.put(1, "a")
    (journal,) = registration_cache_folder(out).iterdir()
    journal.write_bytes(journal.read_bytes() + b'{"key": "b", "val')
    again = RegistrationCache(out, MAKING, resume=True)
    assert (again.get("a"), again.get("b")) == (1, None)
    again.put(2, "b")
    assert RegistrationCache(out, MAKING, resume=True).get("b") == 2


def test_cache_of_other_parameters_is_refused_or_replaced(tmp_path: Path) -> None:
    out = tmp_path / "d.zarr"
    RegistrationCache(out, MAKING, resume=False).put(1, "a")
    other = Invocation("extract wsi", (), {"seed": 1}, {}, {"files": "ab"})
    with refused(ExistsError, "seed was 0, now 1"):
        RegistrationCache(out, other, resume=True)
    assert RegistrationCache(out, other, resume=False).get("a") is None


def test_damaged_cache_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "d.zarr"
    RegistrationCache(out, MAKING, resume=False)
    (journal,) = registration_cache_folder(out).iterdir()
    journal.write_bytes(b"\xff\n" + journal.read_bytes())
    with refused(FormatError, "is damaged"):
        RegistrationCache(out, MAKING, resume=True)


def test_cleared_cache_leaves_no_files(tmp_path: Path) -> None:
    cache = RegistrationCache(tmp_path / "d.zarr", MAKING, resume=False)
    cache.put(1, "a")
    cache.clear()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "kept"),
    [(KeyboardInterrupt(), True), (OSError("disk full"), True), (SourceError("all failed"), False)],
)
def test_cache_is_kept_if_the_run_can_be_resumed(
    tmp_path: Path, error: BaseException, kept: bool
) -> None:
    with pytest.raises(type(error)), RegistrationCache(tmp_path / "d.zarr", MAKING, resume=False):
        raise error
    assert [path.name for path in tmp_path.iterdir()] == [".d.zarr.plan"] * kept


def test_cache_may_be_cleared_before_the_end(tmp_path: Path) -> None:
    with RegistrationCache(tmp_path / "d.zarr", MAKING, resume=False) as cache:
        cache.put(1, "a")
        cache.clear()
    assert list(tmp_path.iterdir()) == []


# -------------------------------------------------------------------------------------------------
# Settings and pool can be sent to another process.


def test_settings_and_pool_can_be_pickled() -> None:
    run = make_run(patch_size=32, mpp=0.5)
    settings, pool = pickle.loads(pickle.dumps((run.settings, run.pool)))
    assert settings == PatchSettings(patch_size=32, mpp=0.5)
    assert isinstance(pool, SlidePool)
    assert run.cache is None
