from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from skiptool.names import Kind
from skiptool.records import Architecture
from skiptool.stores.histories import history_facts
from skiptool.stores.lineage import Invocation, create_lineage
from skiptool.stores.models import CONFIG, configuration
from skiptool.stores.tables import open_table, write_table

COLUMNS: dict[str, Any] = {
    "epoch": [0, 0],
    "split": ["train", "validation"],
    "loss": [1.0, 0.5],
    "mIoU": [float("nan"), 0.25],
    "lr": [1e-4, 1e-4],
    "seconds": [2.0, None],
}
PARAMETERS: dict[str, Any] = {
    "domain": "a",
    "encoder": "resnet18",
    "folds": 5,
    "skips": "2,3,4",
    "fold": 3,
    "epochs": 1,
    "lr": 1e-4,
}
MODEL_ID = "0123456789abcdef" * 2


def write(path: Path, parameters: dict[str, Any] = PARAMETERS, model: str = MODEL_ID) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    invocation = Invocation(
        "train", ("/data/d e.zarr",), parameters, {"out": "r"}, {"dataset": "d" * 32}
    )
    write_table(path, create_lineage(Kind.HISTORY, invocation, {"model": model}), COLUMNS, 2)
    return path


def write_config(folder: Path, **change: object) -> None:
    architecture = Architecture("resnet34", (), ("background", "cell"))
    found = {"fold": 1, "parameter_count": 6, "best_epoch": 0, "lineage": {"id": MODEL_ID}}
    found["samples"] = {"train": 90, "validation": 30}
    (folder / CONFIG).write_text(json.dumps({**configuration(architecture), **found, **change}))


def facts_of(path: Path) -> dict[str, Any]:
    return history_facts(open_table(path, Kind.HISTORY))


def test_facts_come_from_the_header(tmp_path: Path) -> None:
    path = write(tmp_path / "moved.parquet")
    facts = facts_of(path)
    own = facts.pop("model_id")
    assert len(own) == 32
    assert own != MODEL_ID
    assert facts == {
        "model": "resnet18-L1/fold3",
        "arch": "unet",
        "encoder": "resnet18",
        "pruning": "L1-pruned",
        "fold": 3,
        "repeat": 0,
        "parameter_count": None,
        "best_epoch": None,
        "samples": None,
        "dataset": "d e.zarr",
        "dataset_id": "d" * 32,
        "domain": "a",
        "protocol": {"folds": 5, "epochs": 1, "lr": 1e-4},
    }


def test_facts_are_completed_by_the_configuration(tmp_path: Path) -> None:
    """The header identifies the network; the ids show that the model is the same."""
    path = write(tmp_path / "history.parquet")
    write_config(tmp_path)
    facts = facts_of(path)
    names = ("model", "model_id", "parameter_count", "best_epoch", "encoder", "fold")
    assert [facts[name] for name in names] == ["resnet18-L1/fold3", MODEL_ID, 6, 0, "resnet18", 3]
    assert facts["samples"] == (90, 30)


@pytest.mark.parametrize("samples", [None, 7, {}, {"train": 3}, {"train": "x", "validation": 2}])
def test_invalid_numbers_of_samples_are_ignored(tmp_path: Path, samples: object) -> None:
    path = write(tmp_path / "history.parquet")
    write_config(tmp_path, samples=samples)
    assert facts_of(path)["samples"] is None


def test_configuration_of_another_model_is_ignored(tmp_path: Path) -> None:
    path = write(tmp_path / "history.parquet", model="f" * 32)
    write_config(tmp_path)
    facts = facts_of(path)
    assert facts["model_id"] != MODEL_ID
    assert (facts["parameter_count"], facts["best_epoch"]) == (None, None)


def test_configuration_supplies_what_the_header_lacks(tmp_path: Path) -> None:
    path = write(tmp_path / "history.parquet", {"skips": "none"})
    write_config(tmp_path)
    facts = facts_of(path)
    assert [facts[name] for name in ("encoder", "pruning", "fold")] == ["resnet34", "L4-pruned", 1]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18-L1-fold2.parquet", ("unet", "resnet18", "L1-pruned", 2)),
        ("resnet18-L0/fold4/history.parquet", ("unet", "resnet18", "baseline", 4)),
        ("linknet-mit_b0-skips-1+3_fold0.parquet", ("linknet", "mit_b0", "skips-1+3", 0)),
        ("tu-convnext-L4.parquet", ("unet", "tu-convnext", "L4-pruned", None)),
        ("some run.parquet", (None, None, "some run", None)),
        ("resnet18-L9.parquet", (None, None, "resnet18-L9", None)),
        ("manifold3.parquet", (None, None, "manifold3", None)),
        ("r-skips-3+1.parquet", (None, None, "r-skips-3+1", None)),
    ],
)
def test_file_name_is_the_last_source(
    tmp_path: Path, name: str, expected: tuple[str | int | None, ...]
) -> None:
    facts = facts_of(write(tmp_path / name, {}))
    found = tuple(facts[key] for key in ("arch", "encoder", "pruning", "fold"))
    assert found == expected


@pytest.mark.parametrize(
    "change",
    [
        {"encoder": 7},
        {"skips": "0,9"},
        {"skips": [1, 2]},
        {"skips": "1,x"},
        {"arch": "nonsense"},
        {"encoder": None},
    ],
)
def test_invalid_header_is_ignored(tmp_path: Path, change: dict[str, Any]) -> None:
    facts = facts_of(write(tmp_path / "x.parquet", PARAMETERS | change))
    assert (facts["encoder"], facts["pruning"], facts["fold"]) == (None, "x", 3)


@pytest.mark.parametrize(
    ("name", "parameters", "expected"),
    [
        ("x.parquet", {"repeat": 2}, ("resnet18-L1/fold3-r2", 3, 2)),
        ("x-fold1-r4.parquet", {}, ("resnet18-L1/fold3", 3, 0)),
        ("x-fold1-r4.parquet", {"fold": None}, ("resnet18-L1/fold1-r4", 1, 4)),
        ("fold12-r3/history.parquet", {"fold": None}, ("resnet18-L1/fold12-r3", 12, 3)),
        ("x.parquet", {"fold": None}, ("resnet18-L1", None, None)),
    ],
)
def test_repeat_comes_from_the_source_of_the_fold(
    tmp_path: Path,
    name: str,
    parameters: dict[str, int | None],
    expected: tuple[str, int | None, int | None],
) -> None:
    facts = facts_of(write(tmp_path / name, PARAMETERS | parameters))
    assert (facts["model"], facts["fold"], facts["repeat"]) == expected
    assert "repeat" not in facts["protocol"]


@pytest.mark.parametrize("fold", [-1, True, "2", 1.5])
def test_invalid_fold_is_ignored(tmp_path: Path, fold: object) -> None:
    facts = facts_of(write(tmp_path / "x.parquet", PARAMETERS | {"fold": fold}))
    assert facts["fold"] is None


def test_other_architectures_are_identified(tmp_path: Path) -> None:
    parameters = PARAMETERS | {"arch": "unetplusplus", "skips": "none"}
    facts = facts_of(write(tmp_path / "x.parquet", parameters))
    assert facts["model"] == "unetplusplus-resnet18-L4/fold3"
    assert (facts["arch"], facts["pruning"]) == ("unetplusplus", "L4-pruned")


@pytest.mark.parametrize("text", ["{", "[]", '{"lineage": 3, "fold": "x"}'])
def test_damaged_configuration_is_ignored(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "history.parquet")
    alone = facts_of(path)
    (tmp_path / CONFIG).write_text(text)
    assert facts_of(path) == alone


def test_copied_history_has_the_same_facts(tmp_path: Path) -> None:
    path = write(tmp_path / "a" / "history.parquet")
    copy = shutil.copy(path, tmp_path / "b.parquet")
    assert facts_of(path) == facts_of(Path(copy))
