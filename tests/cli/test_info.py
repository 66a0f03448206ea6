from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

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


@pytest.mark.long
def test_check_finds_a_flipped_bit(run: Run, experiment: SimpleNamespace, tmp_path: Path) -> None:
    whole = run("info", "--check", experiment.data, experiment.plain, experiment.baseline)
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


def test_unreadable_paths_are_listed(run: Run, experiment: SimpleNamespace) -> None:
    found = run("info", "gone", experiment.data, "--json")
    assert found.code == 3
    assert found.json["failures"] == ["gone: no such file or folder; check the path"]
    assert list(found.json["summary"]) == [str(experiment.data)]
    none = run("info", "gone", "lost")
    assert none.code == 1
    assert "gone: no such" in none.line()


@pytest.mark.long
def test_folders_stand_for_their_artifacts(
    run: Run, experiment: SimpleNamespace, tmp_path: Path
) -> None:
    runs = experiment.baseline.parents[1]
    found = run("info", runs, "--json").json["summary"]
    histories = {str(path / "history.parquet") for path in (experiment.baseline, experiment.pruned)}
    assert set(found) == {str(experiment.baseline), str(experiment.pruned)}
    assert not histories & set(found)  # a part of the model
    features = run("info", experiment.features)
    assert features.code == 0
    assert features.out.count("kind: features") == 4
    everything = run("info", experiment.folder, "--json").json["summary"]
    kinds = sorted(entry["kind"] for entry in everything.values())
    assert kinds == sorted(["dataset", "masks", "predictions", "shift", *["features"] * 4,
                            *["model"] * 2])  # fmt: skip
    folder = tmp_path / "mixed"
    shutil.copytree(experiment.plain, folder / "b" / "plain.zarr")
    (folder / "notes.txt").write_text("not looked at\n")
    (folder / "broken.parquet").write_text("no table\n")
    mixed = run("info", folder)
    assert mixed.code == 3
    assert "broken.parquet: not a Parquet file" in mixed.err
    assert mixed.out.startswith(str(folder / "b" / "plain.zarr"))


def test_foreign_files_are_described(run: Run, tmp_path: Path) -> None:
    import warnings

    import numpy as np
    import torch
    import zarr
    from safetensors.numpy import save_file

    weights = {"a.weight": torch.zeros(3, 2), "a.bias": torch.zeros(3)}
    torch.save(weights, tmp_path / "w.pt")
    torch.save(weights, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.trace(torch.nn.Linear(2, 3), torch.zeros(1, 2)).save(tmp_path / "script.pt")
    save_file({"x": np.zeros((4, 5), np.float32)}, tmp_path / "w.safetensors")
    np.save(tmp_path / "f.npy", np.zeros((5, 2, 3), np.float32))
    root = zarr.open_group(tmp_path / "own.zarr", mode="w")
    root.create_array("block", shape=(5, 2), dtype="f4")[:] = 1.0
    expected = {
        "w.pt": ("weights of others (PyTorch, pickle)", {"tensors": 2, "bytes": 36}),
        "old.pth": ("weights of others (pickle, not opened)", {}),
        "script.pt": ("weights of others (PyTorch, TorchScript)", {"tensors": 2}),
        "w.safetensors": ("weights (safetensors)", {"tensors": 1, "values": 20}),
        "f.npy": ("features of others (NumPy)", {"images": 5}),
        "own.zarr": ("features of others (Zarr)", {"layers": {"block": [5, 2, 1, "float32"]}}),
    }
    found = run("info", *(tmp_path / name for name in expected), "--json").json["summary"]
    for name, (kind, facts) in expected.items():
        entry = found[str(tmp_path / name)]
        assert entry["kind"] == kind
        assert facts.items() <= entry.items()
        assert entry["lineage"] is None


def test_unknown_files_are_refused_in_one_line(run: Run, tmp_path: Path) -> None:
    import zipfile

    import numpy as np

    with zipfile.ZipFile(tmp_path / "plain.zip", "w") as archive:
        archive.writestr("a.txt", "text")
    (tmp_path / "torn.pt").write_bytes((tmp_path / "plain.zip").read_bytes()[:40])
    (tmp_path / "bad.safetensors").write_bytes(b"\xff" * 20)
    np.savez(tmp_path / "a.npz", np.zeros(3))
    np.save(tmp_path / "i.npy", np.zeros((3, 2), int))
    for name, fragment in {
        "plain.zip": "not of PyTorch",
        "torn.pt": "damaged archive",
        "bad.safetensors": "no safetensors file",
        "a.npz": "is an archive of arrays",
        "i.npy": "convert it with astype('float32')",
    }.items():
        found = run("info", tmp_path / name)
        assert (found.code, fragment in found.line()) == (1, True), found
