from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

Run = Callable[..., Any]


def test_text_and_json(run: Run, experiment: SimpleNamespace) -> None:
    paths = [experiment.data, experiment.pruned, experiment.shift]
    found = run("info", *paths)
    assert found.code == 0
    assert found.err == ""
    blocks = found.out.split("\n\n")
    assert [block.splitlines()[0] for block in blocks] == [str(path) for path in paths]
    assert "parameter_count: 14,309,922" in blocks[1]
    summary = run("info", *paths, "--json").json["summary"]
    assert list(summary) == [str(path) for path in paths]
    assert summary[str(experiment.pruned)]["parameter_count"] == 14_309_922
    assert summary[str(experiment.data)]["lineage"]["kind"] == "dataset"


def test_paths_from_stdin(run: Run, experiment: SimpleNamespace) -> None:
    found = run("info", "-", "--command", stdin=f"{experiment.data}\n")
    assert found.lines[0].startswith("skiptool synth --n 24 ")
    assert len(found.lines) == 1


def test_check_finds_a_flipped_bit(run: Run, experiment: SimpleNamespace, tmp_path: Path) -> None:
    whole = run("info", "--check", *(experiment.data, experiment.plain, experiment.baseline))
    assert whole.code == 0
    assert whole.out.count("checksums and seals hold") == 3
    copy = tmp_path / "copy.zarr"
    shutil.copytree(experiment.plain, copy)
    file = max((copy / "layers" / "enc4").rglob("*"), key=lambda path: path.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 1
    file.write_bytes(content)
    found = run("info", "--check", copy)
    assert found.code == 1
    assert "layer enc4" in found.line()
    both = run("info", "--check", experiment.plain, copy, "--quiet")
    assert both.code == 3
    assert both.lines[0] == str(experiment.plain)
    assert both.err.startswith("skiptool: failed: ")
    assert both.err.count("\n") == 1


def test_some_paths_are_nothing(run: Run, experiment: SimpleNamespace) -> None:
    found = run("info", "gone", experiment.data, "--json")
    assert found.code == 3
    assert found.json["failures"] == ["gone: no such file or folder; check the path"]
    assert list(found.json["summary"]) == [str(experiment.data)]
    none = run("info", "gone", "lost")
    assert none.code == 1
    assert "gone: no such" in none.line()
