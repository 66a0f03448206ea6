"""Shape of the house: every file has its test, its size, and what its names promise."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "skiptool"
FILES = sorted(SOURCE.rglob("*.py"))
MODULES = [path for path in FILES if path.name not in ("__init__.py", "__main__.py")]

BANNED = {"utils", "helpers", "common", "misc", "base", "manager", "processor"}
LINES = 250
BODY = 60


def name(path: Path) -> str:
    return str(path.relative_to(SOURCE))


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_file_has_its_test(path: Path) -> None:
    relative = path.relative_to(SOURCE)
    assert (ROOT / "tests" / relative.with_name(f"test_{relative.name}")).is_file()


@pytest.mark.parametrize("path", FILES, ids=name)
def test_file_is_short_and_well_named(path: Path) -> None:
    assert path.stem not in BANNED
    text = path.read_text()
    assert len(text.splitlines()) <= LINES or f"Longer than {LINES} lines:" in text


@pytest.mark.parametrize("path", FILES, ids=name)
def test_functions_are_short(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
            start = first.end_lineno if documented and first.end_lineno else node.lineno
            assert (node.end_lineno or start) - start <= BODY, f"{path.name}: {node.name}"


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
