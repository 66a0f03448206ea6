from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from skiptool.report.exhibit import Exhibit
from skiptool.report.training import training_exhibits
from skiptool.stores.tables import REPORT
from training_cases import history

ON = {"dataset": "d.zarr", "domain": "A"}


def alone(*runs: tuple[dict[str, Any], dict[str, list[Any]]]) -> Exhibit:
    (shown,) = training_exhibits(runs)
    return shown


TWO_FOLDS = (
    history(miou=[0.25, 0.5, 0.75], **ON),
    history(miou=[0.5, 0.25], fold=1, **ON),
    history(miou=[0.5], pruning="L1-pruned", fold=0, **ON),
)


def test_table_has_a_row_for_each_run() -> None:
    """Worked by hand; the loss of epoch e is 1 / (1 + e), in validation half as much again."""
    columns = dict(alone(*TWO_FOLDS[::-1]).table.columns)
    assert columns == {
        "encoder": ["resnet18"] * 3,
        "pruning": ["baseline", "baseline", "L1-pruned"],
        "fold": [0, 1, 0],
        "epochs": [3, 2, 1],
        "best epoch": [2, 0, 0],
        "best mIoU": [0.75, 0.5, 0.5],
        "training loss": [1 / 3, 0.5, 1.0],
        "validation loss": [0.5, 0.75, 1.5],
        "s/epoch": [4.0, 4.0, 4.0],
    }


def test_each_number_of_the_table_is_among_the_numbers() -> None:
    shown = alone(*TWO_FOLDS)
    table, rows = shown.table, shown.numbers
    assert {key for row in rows for key in row} <= set(REPORT)
    quantities = {
        "epochs": ("epochs", None),
        "best epoch": ("best epoch", "validation"),
        "best mIoU": ("best mIoU", "validation"),
        "training loss": ("loss", "train"),
        "validation loss": ("loss", "validation"),
        "s/epoch": ("seconds per epoch", None),
    }
    for place in range(3):
        key = [table.columns[name][place] for name in ("encoder", "pruning", "fold")]
        mine = [row for row in rows if [row.get(n) for n in ("encoder", "pruning", "fold")] == key]
        for name, (quantity, split) in quantities.items():
            (row,) = (r for r in mine if (r["quantity"], r.get("split")) == (quantity, split))
            assert row["value"] == table.columns[name][place]
            assert (row["dataset"], row["domain"]) == ("d.zarr", "A")
    losses = {(r["split"], r["fold"]): r["epoch"] for r in rows if r["quantity"] == "loss"}
    assert losses["train", 1] == 1


def test_several_folds_are_averaged() -> None:
    """Worked by hand: 0.75 and 0.5; sd of two values is their difference over the root of 2."""
    shown = alone(*TWO_FOLDS)
    (mean,) = (row for row in shown.numbers if "sd_folds" in row)
    assert (mean["quantity"], mean["pruning"]) == ("best mIoU", "baseline")
    assert (mean["value"], mean["folds"], "fold" in mean) == (0.625, 2, False)
    assert mean["sd_folds"] == pytest.approx(0.25 / math.sqrt(2))
    assert tuple(shown.sentences) == (
        "resnet18 baseline: best validation mIoU 0.625 ± 0.177 over 2 folds, at epochs 0 to 2.",
        "resnet18 L1-pruned: best validation mIoU 0.500, at epoch 0.",
        "1 of 3 runs was best at the last epoch: more epochs may improve them further.",
    )


def test_missing_values_are_empty() -> None:
    shown = alone(history(miou=[None, math.nan], fold=None))
    columns = shown.table.columns
    assert [columns[name] for name in ("best epoch", "best mIoU", "fold")] == [[None]] * 3
    values = {row["quantity"]: row["value"] for row in shown.numbers}
    assert "best epoch" not in values
    assert math.isnan(float(values["best mIoU"] or 0.0))
    assert tuple(shown.sentences) == ("resnet18 baseline: no validation mIoU is known.",)
    assert isinstance(shown.draw(), Figure)


def test_fold_without_miou_is_not_in_the_mean() -> None:
    shown = alone(history(miou=[None]), history(miou=[0.5], fold=1))
    assert shown.sentences[0] == "resnet18 baseline: best validation mIoU 0.500, at epoch 0."
    assert not [row for row in shown.numbers if "sd_folds" in row]


def test_caption_describes_the_training() -> None:
    caption = alone(history(epochs=7, fall=3), history(epochs=5, fold=1)).caption
    assert caption.startswith("2 runs of 5 to 7 epochs, counted from 0.")
    assert "the trainings of a network, 2 folds; thick" in caption
    assert caption.endswith("the learning rate falls (epoch 3, 6).")
    assert "log scale" not in caption
    one = alone(history(samples=(90, 30)))
    assert one.caption.startswith(
        "1 run of 1 epoch, counted from 0; n = 90 training and 30 validation images per run. Left"
    )
    two = [history(samples=(90, 30)), history(fold=1, samples=(1080, 30))]
    assert "n = 90 to 1,080 training and 30 validation images" in alone(*two).caption
    assert "n =" not in alone(two[0], history(fold=1)).caption  # an older one does not say so
    assert "Thin lines" not in one.caption
    long = alone(history(epochs=200, fall=1)).caption
    assert "mean loss per image, log scale;" in long
    assert long.endswith("The learning rate falls at 199 epochs.")


def test_protocols_have_an_exhibit_each() -> None:
    shown = training_exhibits(
        [history(**ON, protocol={"seed": seed, "patience": None}) for seed in (0, 1)]
    )
    assert [each.title for each in shown] == [
        "Training on d.zarr, A (seed 0)",
        "Training on d.zarr, A (seed 1)",
    ]
    assert {(each.topic, each.heading) for each in shown} == {("training", "Training")}
    assert alone(history()).title == "Training"
    assert training_exhibits([]) == []


def test_repeats_have_a_row_each_and_are_averaged() -> None:
    """Worked by hand: 0.75 and 0.5 of one fold; a fold trained once needs no column."""
    shown = alone(
        history(miou=[0.5], repeat=1, model="resnet18-L0/fold0-r1"),
        history(miou=[0.75], repeat=0),
        history(miou=[0.1], fold=None, pruning="of others"),
    )
    columns = shown.table.columns
    assert (columns["fold"], columns["repeat"]) == ([0, 0, None], [0, 1, None])
    assert "repeat" not in alone(*TWO_FOLDS).table.columns
    best = [row for row in shown.numbers if row["quantity"] == "best mIoU"]
    assert [(row["repeat"], row["value"]) for row in best[:2]] == [(0, 0.75), (1, 0.5)]
    (mean,) = (row for row in best if "sd_folds" in row)
    assert (mean["value"], mean["folds"]) == (0.625, 2)
    assert "0.625 ± 0.177 over 2 repeats of one fold, at" in shown.sentences[0]


def test_names_from_data_are_cut_in_sentences() -> None:
    (sentence,) = alone(history(encoder="x" * 200)).sentences
    assert len(sentence) < 130


def test_a_hundred_runs_of_five_hundred_epochs(labels: Any) -> None:  # noqa: ANN401 - a fixture
    runs = [
        history(epochs=500, encoder=encoder, pruning=pruning, fold=fold)
        for encoder in ("resnet18", "resnet34")
        for pruning in ("baseline", "L1-pruned", "L2-pruned", "L3-pruned", "L4-pruned")
        for fold in range(10)
    ]
    shown = alone(*runs)
    assert len(shown.table.columns["fold"]) == 100
    figure = shown.draw()
    assert figure is not None
    assert "mean over trainings" in labels(figure)
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_xdata(), np.arange(500))
