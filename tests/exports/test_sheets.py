"""Sheets of samples: one a domain, evenly chosen, none too large."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from skiptool.exports import sheets
from skiptool.exports.sheets import draw_sheets, sheet_of, spread
from skiptool.sources.pictures import read_picture
from skiptool.stores.dataset import open_dataset
from small_stores import sample, write_dataset


def test_every_domain_has_a_sheet(tmp_path: Path) -> None:
    grey = [sample(n, "grey", (16, 24, 1)) for n in range(2)]
    colour = [sample(n, "colour", (16, 16, 3)) for n in range(3)]
    write_dataset(tmp_path / "d.zarr", [*grey, *colour])
    draw_sheets(tmp_path, open_dataset(tmp_path / "d.zarr"), "images")
    for name in ("grey", "colour"):
        assert min(read_picture(sheet_of(tmp_path, name)).shape[:2]) > 100


def test_large_samples_are_fewer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dataset(tmp_path / "d.zarr", [sample(n, "A", (16, 16, 3)) for n in range(9)])
    seen: list[str] = []
    plain = sheets.contact_sheet

    def sheet(images: Any, masks: Any, classes: Any, titles: list[str], **how: Any) -> Any:  # noqa: ANN401
        seen.extend([*titles, how["notes"]])
        return plain(images, masks, classes, titles, **how)

    monkeypatch.setattr(sheets, "contact_sheet", sheet)
    monkeypatch.setattr(sheets, "PIXELS", 3 * 16 * 16)
    draw_sheets(tmp_path, open_dataset(tmp_path / "d.zarr"))
    assert seen == ["000", "004", "008", "3 of 9 patches of 16 px"]


@pytest.mark.parametrize(("number", "most"), [(1, 48), (48, 48), (49, 48), (1000, 48), (5, 1)])
def test_places_are_spread_from_first_to_last(number: int, most: int) -> None:
    found = spread(number, most).tolist()
    assert len(found) == min(number, most) == len(set(found))
    assert found[0] == 0
    assert found == sorted(found)
    assert most == 1 or found[-1] == number - 1
