from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from skiptool.names import Kind
from skiptool.records import Sample
from skiptool.report import samples as module
from skiptool.report.exhibit import Exhibit
from skiptool.report.page import as_svg
from skiptool.report.samples import sample_exhibits
from skiptool.stores.dataset import open_dataset
from skiptool.stores.tables import as_table
from small_stores import sample, write_dataset


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def sheets(folder: Path, samples: Sequence[Sample]) -> list[Exhibit]:
    write_dataset(folder / "d.zarr", samples)
    return sample_exhibits(open_dataset(folder / "d.zarr"))


def test_samples_and_subjects_are_counted_by_split(tmp_path: Path) -> None:
    """Worked by hand: of 7 samples of two a subject, 0, 3 and 6 are test samples."""
    (shown,) = sheets(tmp_path, [sample(n) for n in range(7)])
    assert (shown.topic, shown.heading, shown.title) == ("data", "Images", "a, d.zarr")
    columns = shown.table.columns
    assert columns["split"] == ["train", "test", "all"]
    assert columns["samples"] == [4, 3, 7]
    assert columns["subjects"] == [3, 3, 4]
    assert columns["size"] == ["6 x 4 px"] * 3
    numbers = shown.numbers
    assert [(n["split"], n["quantity"], n["value"]) for n in numbers] == [
        *(("train", "samples", 4.0), ("train", "subjects", 3.0)),
        *(("test", "samples", 3.0), ("test", "subjects", 3.0)),
        *((None, "samples", 7.0), (None, "subjects", 4.0)),
    ]
    assert len(as_table(Kind.REPORT, {k: [n[k] for n in numbers] for k in numbers[0]}, 6)) == 6
    assert tuple(shown.sentences) == ()


def test_caption_describes_samples_and_counts(tmp_path: Path) -> None:
    (sheet,) = sheets(tmp_path, [sample(n, columns={"mpp": 0.25}) for n in range(40)])
    for told in (
        "16 of 40 samples (26 train, 14 test) of domain a of d.zarr",
        "20 subjects; images of 6 x 4 px, 0.25 µm/px.",
    ):
        assert told in sheet.caption


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({}, "4 px. Below"),
        ({"mpp": [0.25, 0.5]}, "4 px, 0.25 to 0.5 µm/px"),
        ({"mpp": [np.nan, 0.5]}, "4 px, 0.5 µm/px"),
        ({"mpp": [np.nan, np.nan]}, "4 px. Below"),
        ({"mpp": ["a", "b"]}, "4 px. Below"),
        ({"spacing": [1.25, 1.25]}, "4 px, 1.25 mm/px"),
        ({"draw": [0, 1]}, "Training patches were drawn 2 times"),
    ],
)
def test_caption_states_scale_and_draws_if_known(
    tmp_path: Path, columns: dict[str, list[Any]], told: str
) -> None:
    both = [sample(n, columns={key: each[n] for key, each in columns.items()}) for n in range(2)]
    assert told in sheets(tmp_path, both)[0].caption


def test_one_split_alone_is_named_once(tmp_path: Path) -> None:
    (sheet,) = sheets(tmp_path, [sample(0)])
    assert sheet.table.columns["split"] == ["test"]
    assert {number["split"] for number in sheet.numbers} == {"test"}
    assert "1 of 1 samples of domain a" in sheet.caption
    assert "1 subject;" in sheet.caption


@pytest.mark.long
def test_each_domain_has_a_sheet_smaller_with_many_domains(tmp_path: Path) -> None:
    found = sheets(tmp_path, [sample(n, name) for name in "abcd" for n in range(12)])
    assert [sheet.title for sheet in found] == [f"{name}, d.zarr" for name in "abcd"]
    assert all(sheet.caption.startswith("8 of 12 samples") for sheet in found)
    shown = texts(found[0].draw())
    assert shown[-3:] == ["cell", "debris", "ignored"]
    assert len(shown) == 3 + 2 * 8


def test_large_images_are_read_singly_and_reduced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def sheet(images: Any, masks: Any, classes: Any, titles: Any, **how: Any) -> None:  # noqa: ANN401
        seen.extend([images, masks, titles])

    monkeypatch.setattr(module, "contact_sheet", sheet)
    own: dict[str, Any] = {"subject": "000"}
    (made,) = sheets(tmp_path, [sample(n, shape=(330, 500, 1), **own) for n in range(2)])
    assert "blocks of 4 x 4 px" in made.caption
    made.draw()
    assert [image.shape for image in seen[0]] == [(83, 125, 3)] * 2
    assert [mask.shape for mask in seen[1]] == [(83, 125)] * 2
    assert seen[2] == ["000", "001\n000"]


@pytest.mark.parametrize(("number", "columns"), [(1, 1), (8, 8), (9, 5), (16, 8)])
def test_rows_have_about_the_same_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, columns: int
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(module, "contact_sheet", lambda *_, columns: seen.append(columns))
    sheets(tmp_path, [sample(n) for n in range(number)])[0].draw()
    assert seen == [columns]


def test_masks_without_labels_are_left_out(tmp_path: Path) -> None:
    mask = np.full((4, 6), 255, dtype=np.uint8)
    (sheet,) = sheets(tmp_path, [sample(n, mask=mask) for n in range(2)])
    assert texts(sheet.draw()) == ["000", "pätient 0", "001", "pätient 0"]


@pytest.mark.long
def test_sheet_in_the_page_is_small_and_names_escaped(tmp_path: Path) -> None:
    shape = (320, 320, 3)
    mask = np.zeros(shape[:2], dtype=np.uint8)
    named: dict[str, Any] = {"subject": "<script>" + "x" * 200, "mask": mask}
    (sheet,) = sheets(tmp_path, [sample(n, shape=shape, **named) for n in range(16)])
    svg = as_svg(sheet.draw(), sheet.title, sheet.caption)
    assert "<script>" not in svg
    assert len(svg) < 2_500_000
