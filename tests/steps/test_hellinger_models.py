"""Stores and folders of many models in one call: who is compared with whom, and what is told."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from skiptool.comparison.activations import Settings
from skiptool.errors import ArgumentError, FormatError, MismatchError
from skiptool.names import Metric
from skiptool.records import SILENT
from skiptool.steps.hellinger import measure_shift, measure_shifts
from skiptool.steps.info import describe
from small_activations import activations, written

QUICK = Settings(permutations=0, bins=(8,), group="image")


class Heard:
    """Progress that keeps warnings."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warn(self, line: str) -> None:
        self.lines.append(line)

    @contextmanager
    def task(self, text: str, total: int) -> Iterator[Any]:
        with SILENT.task(text, total) as task:
            yield task


def store(folder: Path, model: str, domain: str = "A", shift: str = "original", **how: Any) -> Path:  # noqa: ANN401
    """Write a small store whose values follow from its name."""
    kind, _, factor = shift.partition("=")
    facts = {
        **{"domain": domain, "shift": kind, "factor": float(factor) if factor else None},
        **{"split": "test", "training_domain": "A", "training_dataset": "d"},
        **how.pop("facts", {}),
    }
    name = how.pop("name", f"{model}_{domain}_{shift.replace('=', '-')}.zarr")
    seed = sum(name.encode())
    layers = how.pop("layers", activations(8, seed))
    return written(folder / name, layers, model=model, facts=facts, **how)


def compared(out: Path) -> set[tuple[str, str, str]]:
    """Model, reference and other of every pair in a table."""
    rows = pq.read_table(out).to_pylist()
    return {(row["model"], row["reference"], row["other"]) for row in rows}


@pytest.fixture
def two_models(tmp_path: Path) -> Path:
    """Folder with stores of models m and n: three shifts and another domain each."""
    folder = tmp_path / "features"
    folder.mkdir()
    for model in ("m", "n"):
        for shift in ("original", "brightness=0.5", "contrast=1.5"):
            store(folder, model, shift=shift)
        store(folder, model, "B")
    return folder


EXPECTED = {
    (model, f"{model}_A_original.zarr", f"{model}_{other}.zarr")
    for model in "mn"
    for other in ("A_brightness-0.5", "A_contrast-1.5", "B_original")
}


@pytest.mark.long
def test_a_folder_is_one_table_of_all_its_models(two_models: Path, tmp_path: Path) -> None:
    out, heard = tmp_path / "t.parquet", Heard()
    found = measure_shifts([two_models], out, settings=QUICK, progress=heard)
    assert compared(out) == EXPECTED
    assert heard.lines == []
    assert found.summary["models"] == 2
    assert found.summary["pairs"] == 6
    assert found.summary["reference"] == ["m_A_original.zarr", "n_A_original.zarr"]
    rows = pq.read_table(out).to_pylist()
    alone = tmp_path / "alone.parquet"
    pair = ("n_A_original.zarr", "n_A_contrast-1.5.zarr")
    measure_shift(two_models / pair[0], [two_models / pair[1]], alone, settings=QUICK)
    mine = [row for row in rows if (row["reference"], row["other"]) == pair]
    assert mine == pq.read_table(alone).to_pylist()
    lineage = describe([out]).summary[str(out)]["lineage"]
    assert len(lineage["inputs"]) == 8


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
def test_the_order_does_not_choose_the_reference(
    seed: int, two_models: Path, tmp_path: Path
) -> None:
    places = sorted(two_models.iterdir())
    random.Random(seed).shuffle(places)
    out = tmp_path / "t.parquet"
    measure_shifts(places, out, settings=QUICK)
    assert compared(out) == EXPECTED


@pytest.mark.long
def test_a_glob_of_one_model_takes_the_original_and_says_so(
    two_models: Path, tmp_path: Path
) -> None:
    places = sorted(two_models.glob("m_*"))
    assert places[0].name == "m_A_brightness-0.5.zarr"
    out, heard = tmp_path / "t.parquet", Heard()
    measure_shifts(places, out, settings=QUICK, progress=heard)
    assert compared(out) == {pair for pair in EXPECTED if pair[0] == "m"}
    (line,) = heard.lines
    assert "m_A_original.zarr is the reference" in line
    assert "--reference names another" in line


@pytest.mark.long
def test_two_stores_by_hand_are_reference_and_other(two_models: Path, tmp_path: Path) -> None:
    out, heard = tmp_path / "t.parquet", Heard()
    places = [two_models / "m_B_original.zarr", two_models / "m_A_original.zarr"]
    measure_shifts(places, out, settings=QUICK, progress=heard)
    assert compared(out) == {("m", "m_B_original.zarr", "m_A_original.zarr")}
    assert heard.lines == []


@pytest.mark.long
def test_mixtures_of_folders_and_stores_count_each_once(two_models: Path, tmp_path: Path) -> None:
    far = tmp_path / "far"
    far.mkdir()
    further = store(far, "m", shift="saturation=0")
    (tmp_path / "link").symlink_to(two_models, target_is_directory=True)
    out = tmp_path / "t.parquet"
    places = [two_models / "m_B_original.zarr", two_models, further, tmp_path / "link"]
    measure_shifts(places, out, settings=QUICK)
    assert compared(out) == EXPECTED | {("m", "m_A_original.zarr", further.name)}


@pytest.mark.long
def test_references_can_be_named(two_models: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    how = {"references": [two_models / "m_B_original.zarr"], "settings": QUICK}
    measure_shifts([two_models], out, **how)
    expected = {pair for pair in EXPECTED if pair[0] == "n"}
    expected |= {
        ("m", "m_B_original.zarr", f"m_A_{shift}.zarr")
        for shift in ("original", "brightness-0.5", "contrast-1.5")
    }
    assert compared(out) == expected
    command = describe([out]).summary[str(out)]["lineage"]["command"]
    assert f"--reference {two_models / 'm_B_original.zarr'}" in command


@pytest.mark.long
def test_references_of_other_models_are_refused(two_models: Path, tmp_path: Path) -> None:
    stranger = store(tmp_path, "stranger")
    with pytest.raises(ArgumentError, match=r"stranger.* of different models cannot"):
        measure_shifts([two_models], references=[stranger], settings=QUICK)
    twice = [two_models / f"m_{domain}_original.zarr" for domain in "AB"]
    with pytest.raises(ArgumentError, match="of the same model as"):
        measure_shifts([two_models], references=twice, settings=QUICK)


@pytest.mark.long
def test_splits_have_references_of_their_own(tmp_path: Path) -> None:
    for split in ("test", "validation"):
        for shift in ("original", "brightness=0.5"):
            name = f"{split}-{shift}.zarr"
            store(tmp_path, "m", shift=shift, name=name, facts={"split": split})
    store(tmp_path, "m", "B", name="unlabelled.zarr", facts={"split": "test"})
    out = tmp_path / "t.parquet"
    measure_shifts([tmp_path], out, settings=QUICK)
    assert compared(out) == {
        ("m", "test-original.zarr", "test-brightness=0.5.zarr"),
        ("m", "test-original.zarr", "unlabelled.zarr"),
        ("m", "validation-original.zarr", "validation-brightness=0.5.zarr"),
    }


def test_a_split_without_reference_takes_that_of_another_and_says_so(tmp_path: Path) -> None:
    store(tmp_path, "m")
    store(tmp_path, "m", "B", name="whole.zarr", facts={"split": "all"})
    store(tmp_path, "m", shift="contrast=2")
    out, heard = tmp_path / "t.parquet", Heard()
    measure_shifts([tmp_path], out, settings=QUICK, progress=heard)
    assert ("m", "m_A_original.zarr", "whole.zarr") in compared(out)
    assert any("is the reference of 1 stores of all images" in line for line in heard.lines)


OLD = {"training_domain": None, "training_dataset": None}


def test_stores_of_before_are_told_by_their_one_domain(tmp_path: Path) -> None:
    for shift in ("original", "brightness=0.5"):
        store(tmp_path, "m", shift=shift, facts=OLD)
    out = tmp_path / "t.parquet"
    measure_shifts([tmp_path], out, settings=QUICK)
    assert compared(out) == {("m", "m_A_original.zarr", "m_A_brightness-0.5.zarr")}


@pytest.mark.parametrize(
    ("domains", "shift", "why"),
    [("AB", "original", "several of 3"), ("A", "contrast=2", "none of 2")],
)
def test_nothing_is_guessed_of_a_folder(domains: str, shift: str, why: str, tmp_path: Path) -> None:
    for domain in domains:
        store(tmp_path, "m", domain, shift, facts=OLD)
    store(tmp_path, "m", shift="brightness=0.5", facts=OLD)
    with pytest.raises(ArgumentError, match=rf"model m: {why} stores can be the reference"):
        measure_shifts([tmp_path], settings=QUICK)
    heard = Heard()
    places = sorted(tmp_path.glob("*.zarr"))
    first = places[0]
    places += [store(tmp_path, "m", "A", "saturation=0", facts=OLD)]
    found = measure_shifts(places, settings=QUICK, progress=heard)  # by hand: the first, and told
    assert set(found.tables[0].columns["reference"]) == {first.name}
    assert any("because it comes first" in line for line in heard.lines)


@pytest.mark.long
def test_what_else_lies_in_a_folder_is_counted(
    two_models: Path, tmp_path: Path, experiment: SimpleNamespace
) -> None:
    shutil.copytree(experiment.data, two_models / "s.zarr")
    shutil.copytree(experiment.masks, two_models / "deeper" / "masks.zarr")
    (two_models / ".growing.zarr.partial").mkdir()
    np.save(two_models / "a.npy", np.zeros((3, 2)))
    (two_models / "notes.txt").write_text("not looked at\n")
    broken = shutil.copytree(two_models / "n_B_original.zarr", two_models / "n_broken.zarr")
    (broken / "zarr.json").write_text("{")
    out, heard = tmp_path / "t.parquet", Heard()
    found = measure_shifts([two_models], out, settings=QUICK, progress=heard)
    assert compared(out) == EXPECTED
    (line,) = heard.lines
    for part in ("1 of kind dataset", "1 of kind masks", "1 unfinished", "1 .npy files"):
        assert part in line
    (failed,) = found.failures
    assert "n_broken.zarr" in failed
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(FormatError, match="holds no feature store"):
        measure_shifts([two_models, empty], settings=QUICK)


@pytest.mark.long
def test_copies_of_one_store_are_told(two_models: Path, tmp_path: Path) -> None:
    shutil.copytree(two_models / "m_A_original.zarr", two_models / "m_copy.zarr")
    out, heard = tmp_path / "t.parquet", Heard()
    measure_shifts([two_models], out, settings=QUICK, progress=heard)
    assert compared(out) == EXPECTED
    assert any("equal ids" in line for line in heard.lines)


def test_a_folder_of_numpy_files_needs_a_reference(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in "abc":
        np.save(tmp_path / f"{name}.npy", rng.normal(size=(9, 2, 3)))
    with pytest.raises(ArgumentError, match="name one with --reference"):
        measure_shifts([tmp_path], settings=QUICK)
    found = measure_shifts([tmp_path], references=[tmp_path / "b.npy"], settings=QUICK)
    columns = found.tables[0].columns
    assert set(columns["reference"]) == {"b.npy"}
    assert set(columns["other"]) == {"a.npy", "c.npy"}


@pytest.mark.long
def test_all_pairs_are_those_of_each_model(two_models: Path) -> None:
    found = measure_shifts([two_models], settings=QUICK, all_pairs=True)
    assert found.summary["pairs"] == 12
    columns = found.tables[0].columns
    pairs = zip(columns["reference"], columns["other"], strict=True)
    assert all(first[0] == other[0] for first, other in pairs)


@pytest.mark.long
def test_common_layers_do_and_the_others_are_told(tmp_path: Path) -> None:
    layers = activations(8)
    rng = np.random.default_rng(1)
    more = activations(8, 1) | {"dec0.from_skip": rng.normal(size=(8, 2, 3)).astype(np.float16)}
    store(tmp_path, "m", layers=layers)
    store(tmp_path, "m", shift="contrast=2", layers=more)
    store(tmp_path, "m", shift="brightness=2", layers=activations(8, 2))
    out, heard = tmp_path / "t.parquet", Heard()
    measure_shifts([tmp_path], out, settings=Settings(bins=(8,), permutations=19), progress=heard)
    assert set(pq.read_table(out)["layer"].to_pylist()) == {"enc1", "dec0"}
    told = [line for line in heard.lines if "left out" in line]
    assert told == [
        "m_A_contrast-2.zarr against m_A_original.zarr: dec0.from_skip: left out, as only one of "
        "the two stores has it"
    ]
    strange = store(tmp_path, "m", "C", layers={"x": layers["enc1"]})
    with pytest.raises(MismatchError, match="no layer in common"):
        measure_shift(tmp_path / "m_A_original.zarr", [strange], settings=QUICK)
    less = {"enc1": layers["enc1"][:, :1]}
    strange = store(tmp_path, "m", "D", layers=less)
    with pytest.raises(MismatchError, match="layer enc1 has 1 channels, the reference 3"):
        measure_shift(tmp_path / "m_A_original.zarr", [strange], settings=QUICK)


def test_numbers_of_common_layers_are_those_without_the_others(tmp_path: Path) -> None:
    layers, other = activations(8), activations(8, 1)
    x = store(tmp_path, "m", layers=layers, name="x.zarr")
    more = other | {"dec0.from_skip": other["enc1"]}
    y, z = (
        store(tmp_path, "m", layers=found, name=name, shift="contrast=2")
        for name, found in (("y.zarr", more), ("z.zarr", other))
    )
    how = Settings(bins=(8,), permutations=19)
    tables = []
    for number, place in enumerate((y, z)):
        out = tmp_path / f"{number}.parquet"
        measure_shift(x, [place], out, settings=how)
        tables.append(pq.read_table(out).drop_columns(["other", "other_id"]))
    assert tables[0].equals(tables[1])


def test_features_know_the_domain_of_the_training(experiment: SimpleNamespace) -> None:
    facts = describe([experiment.plain]).summary[str(experiment.plain)]
    assert facts["training_domain"] == "synthetic"
    data = describe([experiment.data]).summary[str(experiment.data)]
    assert facts["training_dataset"] == data["lineage"]["id"]


def test_a_distance_without_statistics_says_so(tmp_path: Path) -> None:
    x, y = store(tmp_path, "m"), store(tmp_path, "m", shift="contrast=2")
    out, heard = tmp_path / "t.parquet", Heard()
    metrics = (Metric.WASSERSTEIN_EXACT, Metric.HELLINGER)
    settings = Settings(metrics=metrics, permutations=19)
    measure_shift(x, [y], out, settings=settings, progress=heard)
    assert sum("without estimate, interval or test" in line for line in heard.lines) == 1
    for row in pq.read_table(out).to_pylist():
        exact = row["metric"] == "wasserstein-exact" and row["channel"] is None
        assert ("without estimate" in (row["warnings"] or "")) is exact
        assert not exact or row["corrected"] is row["p_value"] is row["ci_low"] is None


def test_a_store_that_is_compared_with_itself_is_told(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(9, 2, 3)))
    (tmp_path / "b.npy").symlink_to("a.npy")
    heard = Heard()
    measure_shifts([tmp_path / "a.npy", tmp_path / "b.npy"], settings=QUICK, progress=heard)
    assert f"{tmp_path / 'a.npy'}: is compared with itself: all distances are 0" in heard.lines
