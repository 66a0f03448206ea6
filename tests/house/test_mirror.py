"""What names promise, and what may not be named."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "skiptool"
FILES = sorted(SOURCE.rglob("*.py"))

BANNED = {"utils", "helpers", "common", "misc", "base", "manager", "processor"}


def name(path: Path) -> str:
    return str(path.relative_to(SOURCE))


@pytest.mark.parametrize("path", FILES, ids=name)
def test_file_is_well_named(path: Path) -> None:
    assert path.stem not in BANNED


def test_nothing_names_this_machine() -> None:
    words = ("/wo" + "rk/", "/fa" + "rm/", "pypi" + ".org", "pythonhos" + "ted")
    for pattern in ("src/**/*", "tests/**/*", "examples/*", "completions/*", "*.toml", "*.md"):
        for path in ROOT.glob(pattern):
            if path.is_file() and path.suffix != ".png" and "__pycache__" not in path.parts:
                text = path.read_text(encoding="utf-8")
                assert not [word for word in words if word in text], path


def test_face_lists_what_it_loads() -> None:
    import skiptool

    for public in skiptool.__all__:
        assert callable(getattr(skiptool, public))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = skiptool.nonsense
