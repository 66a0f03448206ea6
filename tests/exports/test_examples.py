from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from example_cases import CLASSES, DARK, SIDE, Predicted, dataset, network
from skiptool.exports import examples as module
from skiptool.exports.examples import ExampleSheet, shift_told
from skiptool.exports.pictures import examples
from skiptool.figures.exhibit import Shown
from skiptool.figures.inline import as_svg
from skiptool.names import ENSEMBLE_FOLD, Kind
from skiptool.records import ORIGINAL, Shift
from skiptool.shifts import apply
from skiptool.stores.tables import as_table

MISSED = {("baseline", ORIGINAL): [1, 3, 0, 2], ("baseline", DARK): [5, 4, 3, 2]}
BOTH = (network(), network("L1-pruned"))
SHIFTS = (ORIGINAL, DARK)


def made(
    folder: Path,
    networks: Sequence[dict[str, Any]] = BOTH,
    shifts: Sequence[Shift] = SHIFTS,
    **new: Any,  # noqa: ANN401
) -> ExampleSheet:
    case = Predicted(folder, dataset(folder / "d.zarr", **new), MISSED)
    table, masks = case.write(networks, shifts, leave_out=[("L1-pruned", DARK)])
    (sheet,), _ = examples([table], [case.store()], [masks])
    return sheet


def test_it_is_an_exhibit_whose_table_holds_its_numbers(tmp_path: Path) -> None:
    sheet: Shown = made(tmp_path)
    assert (sheet.topic, sheet.heading) == ("examples", "Worst and median predictions")
    assert sheet.title == "resnet18, a, test"
    numbers = sheet.numbers()
    assert len(as_table(Kind.REPORT, {k: [n[k] for n in numbers] for k in numbers[0]}, 8)) == 8
    assert numbers[0] | {"value": 0} == {
        **{"quantity": "IoU", "dataset": "d.zarr", "domain": "a", "split": "test", "arch": "unet"},
        **{"encoder": "resnet18", "pruning": "baseline", "fold": 0, "shift": "original"},
        **{"factor": None, "sample": "s1", "subject": "p0", "value": 0},
    }
    columns = sheet.table().columns
    assert columns["chosen as"] == ["worst", "median"] * 2
    assert columns["shift"] == ["original"] * 2 + ["brightness 0.5"] * 2
    assert columns["sample"] == ["s1", "s3", "s0", "s1"]
    values = [cell for name in ("baseline", "L1-pruned") for cell in columns[name]]
    assert values[:6] == [number["value"] for number in numbers[:6]]
    assert values[6:] == [None, None]


def test_the_caption_says_how_they_were_chosen(tmp_path: Path) -> None:
    sheet = made(tmp_path)
    for told in (
        "Samples of d.zarr, domain a, test split",
        "by baseline (fold 0), n = 4 (original), n = 4 (brightness 0.5)",
        "All rows (baseline, L1-pruned)",
    ):
        assert told in sheet.caption
    assert "shifts its IoU is lowest" not in sheet.caption  # there is but one
    assert "not shown" not in sheet.caption
    further = replace(sheet, left_out=3, lowest_of=14).caption
    assert (
        "Of 14 shifts its IoU is lowest under brightness 0.5. Further architectures, not shown: 3."
        in further
    )
    mean = replace(sheet.networks[0], classes=("cell", "debris"))
    several = replace(sheet, networks=(mean, sheet.networks[1]))
    assert "median IoU (mean of cell, debris) by" in several.caption


def test_in_words_what_the_others_make_of_the_worst(tmp_path: Path) -> None:
    assert made(tmp_path).sentences() == (
        "Worst of 4 samples (original): s1, baseline 0.40, best of the others L1-pruned 1.00.",
    )


def test_a_network_alone_has_nothing_to_be_compared_with(tmp_path: Path) -> None:
    sheet = made(tmp_path, [network()], [ORIGINAL])
    assert sheet.sentences() == ()
    assert isinstance(sheet.draw(), Figure)


def test_what_is_drawn_is_the_shifted_image_with_both_masks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(module, "example_sheet", lambda *given: seen.extend(given))
    sheet = made(tmp_path)
    sheet.draw()
    images, truths, predicted, classes, rows, columns, told = seen
    reader = sheet.store.samples("a", [1, 3, 0, 1])
    for place, column in enumerate(sheet.columns):
        image, truth = reader.read(place)
        np.testing.assert_array_equal(images[place], apply(image, column.shift))
        np.testing.assert_array_equal(truths[place], truth)
    assert [mask.sum() for mask in predicted[0]] == [20, 30, 0, 10]
    assert [None if mask is None else mask.sum() for mask in predicted[1]] == [50, 50, None, None]
    assert classes == CLASSES
    assert rows == ["baseline", "L1-pruned"]
    assert columns[1:3] == ["median, original\ns3\np1", "worst, brightness 0.5\ns0\np0"]
    assert told == [
        ["IoU 0.400", "IoU 0.600", "IoU 0.000", "IoU 0.200"],
        ["IoU 1.000", "IoU 1.000", "not predicted", "not predicted"],
    ]


def test_folds_are_named_where_they_differ(tmp_path: Path) -> None:
    mixed = [network(), network("L1-pruned", 3), network("L2-pruned", ENSEMBLE_FOLD)]
    sheet = made(tmp_path, mixed, [ORIGINAL])
    names = ["baseline, fold 0", "L1-pruned, fold 3", "L2-pruned, ensemble"]
    assert list(sheet.table().columns)[4:] == names


@pytest.mark.parametrize("channels", [1, 3])
def test_large_images_are_made_small_and_names_do_no_harm(tmp_path: Path, channels: int) -> None:
    long = {"subject": "<script>" + "x" * 200, "shape": (300, 520, channels)}
    sheet = made(tmp_path, shifts=[ORIGINAL], **long)
    assert "blocks of 3 x 3 px" in sheet.caption
    svg = as_svg(sheet.draw(), sheet.title, sheet.caption)
    assert "<script>" not in svg
    assert len(svg) < 1_000_000
    assert max(len(str(cell)) for cell in sheet.table().columns["subject"]) <= 32
    assert SIDE * 3 < 300


def test_shifts_are_written_with_the_digits_they_need() -> None:
    assert shift_told(Shift.parse("saturation=0")) == "saturation 0"
