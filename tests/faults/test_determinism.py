"""Every command twice, and with one and two workers: the same files, to the byte."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from fault_lab import CHEAP, COMMANDS, Lab, half_written, snapshot

Tried = Callable[..., None]

EACH = [
    pytest.param(name, marks=() if name in CHEAP else pytest.mark.slow, id=name)
    for name in COMMANDS
]
SHARED = tuple(name for name in COMMANDS if COMMANDS[name].workers)
WORKERS = [
    pytest.param(name, marks=() if name in CHEAP else pytest.mark.slow, id=name) for name in SHARED
]


def identities(place: Path) -> Mapping[str, Any]:
    """Return the id of every artifact of a folder, and what its header says of its inputs."""
    found = {}
    for path in sorted(place.rglob("*")):
        if path.suffix == ".parquet":
            header = json.loads(pq.read_schema(path).metadata[b"skiptool"])
        elif path.suffix == ".json" and path.name in ("zarr.json", "config.json", "overlays.json"):
            header = json.loads(path.read_text())
            header = header.get("lineage") or header.get("attributes") or header
        else:
            continue
        if "id" in header:
            found[str(path.relative_to(place))] = header["id"], header["inputs"]
    return found


@pytest.mark.long
@pytest.mark.parametrize("name", EACH)
def test_twice_is_the_same(lab: Lab, name: str, tried: Tried) -> None:
    """Not only in one folder: nothing but the spelling of paths may come from where it is."""
    expected, place = lab.whole(name).files, lab.place()
    found = lab.run(name, place, "--quiet")
    assert found.code == 0, found
    assert snapshot(place) == expected
    assert identities(place) or not COMMANDS[name].outputs
    shutil.rmtree(place)
    tried("determinism", run_twice=1)


@pytest.mark.long
@pytest.mark.parametrize("name", WORKERS)
def test_workers_change_nothing(lab: Lab, name: str, tried: Tried) -> None:
    expected, ids = lab.whole(name).files, []
    for workers in ("1", "2"):
        place = lab.place()
        found = lab.run(name, place, "--quiet", "--workers", workers)
        assert found.code == 0, found
        assert half_written(snapshot(place), expected) == []
        assert snapshot(place).keys() == expected.keys()
        ids.append(identities(place))
        shutil.rmtree(place)
    assert ids[0] == ids[1]
    assert ids[0]
    tried("determinism", numbers_of_workers=2)


@pytest.mark.slow
def test_another_clock_changes_the_clock_alone(lab: Lab, tried: Tried) -> None:
    ids = []
    for epoch in ("1", "1000000000"):
        place = lab.place()
        words = (*COMMANDS["synth"].words, "--quiet")
        found = lab.server.run(words, place, environment={"SOURCE_DATE_EPOCH": epoch})
        assert found.code == 0, found
        ids.append((identities(place), snapshot(place)))
        shutil.rmtree(place)
    (one, files), (two, others) = ids
    assert one == two
    changed = [name for name in files if files[name] != others[name]]
    assert changed == ["pairs/lineage.json", "s.zarr/zarr.json"]
    tried("determinism", clocks=2)
