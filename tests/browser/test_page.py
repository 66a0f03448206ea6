"""The report page in a real browser, where Chromium is installed (Debian: package ``chromium``).

One page in a narrow window is looked at with all other tests; ``pytest -m slow tests/browser``
looks at everything.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browser.look import OVERFLOW, Browser, found_browser, look
from simulated import distances, predictions
from skiptool.records import ORIGINAL, Shift
from skiptool.sources.pictures.files import read_picture
from skiptool.steps.report import write_report

BROWSER = found_browser()

pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium or Chrome is installed (apt-get install chromium)"
)
slow = pytest.mark.slow

WRONG = """<!DOCTYPE html><html><head><meta name="viewport" content="width=device-width">
</head><body style="background: #fff"><p style="color: #bbb">pale</p>
<p id="a">x</p><p id="a">y</p><a href="#gone">z</a><div style="width: 900px">wide</div>
<img src="http://127.0.0.1:9/x.png">
<table><thead><tr><th>v</th></tr></thead><tbody>
<tr><td data-key="1">1</td></tr><tr><td data-key="2">2</td></tr></tbody></table>
<script>document.querySelector("th").append(document.createElement("button"));
console.error("broken"); undefined.x;</script></body></html>"""


def test_a_small_page_in_a_narrow_window(tmp_path: Path) -> None:
    """Nothing but figures and tables in boxes of their own is wider than a telephone."""
    shift = Shift.parse("brightness=0.5")
    predictions(tmp_path / "p.parquet", ("a" * 200,), (ORIGINAL, shift), 3, 3, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_report([tmp_path / "p.parquet"], tmp_path / "r.html")
    assert BROWSER is not None
    with Browser(BROWSER) as browser:
        browser.size(360, 740)
        browser.open(tmp_path / "r.html")
        assert browser.value(OVERFLOW) == {"width": 360, "scroll": 360, "beyond": []}
        browser.value("document.querySelector('h1').style.width = '900px'")
        assert browser.value(OVERFLOW)["scroll"] > 360  # else this test could not fail


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    folder = tmp_path_factory.mktemp("look")
    shifts = tuple(map(Shift.parse, ("brightness=0.5", "contrast=1.5")))
    predictions(folder / "p.parquet", ("a", "<b>" + "b" * 200), (ORIGINAL, *shifts), 6, 6, 2)
    distances(folder / "s.parquet", shifts, "a", folds=1)
    write_report([folder / "p.parquet", folder / "s.parquet"], folder / "r.html")
    return look(folder / "r.html", folder), folder


@slow
def test_the_console_is_silent_and_no_request_leaves_the_page(
    seen: tuple[dict[str, Any], Path],
) -> None:
    found, _ = seen
    assert found["errors"] == []
    assert found["requests"] == []


@slow
def test_every_table_sorts(seen: tuple[dict[str, Any], Path]) -> None:
    found, _ = seen
    assert len(found["sorting"]) >= 2
    assert all(each["ok"] for each in found["sorting"]), found["sorting"]
    assert max(each["rows"] for each in found["sorting"]) > 1


@slow
def test_links_lead_somewhere_and_the_tab_key_goes_down_the_page(
    seen: tuple[dict[str, Any], Path],
) -> None:
    links = seen[0]["links"]
    assert (links["doubled"], links["dead"], links["first"]) == ([], [], 0)
    assert links["figures"] >= 2


@slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_legible(seen: tuple[dict[str, Any], Path], scheme: str) -> None:
    """WCAG 2.2, 1.4.3: 4.5 to 1."""
    found, folder = seen
    assert found["contrast"][scheme]["ratio"] >= 4.5, found["contrast"]
    picture = read_picture(folder / f"{scheme}.png")
    assert (np.median(picture) > 200) == (scheme == "light")
    assert picture.shape[1] == 1280


@slow
def test_a_narrow_window_is_not_scrolled_sideways(seen: tuple[dict[str, Any], Path]) -> None:
    found, folder = seen
    assert found["narrow"] == {"width": 360, "scroll": 360, "beyond": []}
    assert read_picture(folder / "narrow.png").shape[1] == 360


@slow
def test_it_is_printed(seen: tuple[dict[str, Any], Path]) -> None:
    found, folder = seen
    assert (folder / "print.pdf").read_bytes().startswith(b"%PDF")
    assert 1 <= found["pages"] <= 40


@slow
def test_what_is_wrong_is_found(tmp_path: Path) -> None:
    """Else the tests above could not fail."""
    (tmp_path / "wrong.html").write_text(WRONG)
    found = look(tmp_path / "wrong.html", tmp_path)
    assert any("broken" in line for line in found["errors"])
    assert any("TypeError" in line for line in found["errors"])
    assert found["requests"] == ["http://127.0.0.1:9/x.png"]
    assert found["links"]["doubled"] == ["a"]
    assert found["links"]["dead"] == ["#gone"]
    assert found["contrast"]["light"]["ratio"] < 2
    assert found["narrow"]["scroll"] > 360
    assert any("900px" in each for each in found["narrow"]["beyond"])
    assert not found["sorting"][0]["ok"]
