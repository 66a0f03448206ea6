from __future__ import annotations

from collections.abc import Callable
from typing import Any

Run = Callable[..., Any]


def test_without_a_source_the_help_lists_them(run: Run) -> None:
    found = run("extract")
    assert (found.code, found.out) == (2, "")
    for word in ("wsi", "images"):
        assert word in found.err


def test_unknown_sources_are_refused_in_one_line(run: Run) -> None:
    found = run("extract", "image")
    assert found.code == 2
    assert "images" in found.line()
