"""What a command line imports before it knows that it has work to do."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "numpy", "zarr", "pyarrow", "matplotlib", "scipy", "PIL", "nibabel", "lightning")

PROBE = """
import sys
from skiptool.cli import main
code = main(sys.argv[1:])
print("loaded:", *sorted({name.partition(".")[0] for name in sys.modules} & set(%r)))
sys.exit(code)
"""


def loaded(*words: str) -> set[str]:
    """Run skiptool in a fresh interpreter and return which heavy libraries it imported."""
    found = subprocess.run(
        [sys.executable, "-c", PROBE % (HEAVY,), *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    last = found.stdout.strip().splitlines()[-1]
    assert last.startswith("loaded:"), found.stdout + found.stderr
    return set(last.split()[1:])


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["synth", "--help"],
        ["extract", "--help"],
        ["extract", "images", "--help"],
        ["extract", "mri", "--help"],
        ["train", "--help"],
        ["predict", "--help"],
        ["features", "--help"],
        ["hellinger", "--help"],
        ["report", "--help"],
        ["info", "--help"],
    ],
    ids=" ".join,
)
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    assert loaded(*words) == set()


def test_hellinger_needs_no_torch() -> None:
    found = loaded("hellinger", "no-such-a.zarr", "no-such-b.zarr")
    assert "zarr" in found
    assert not found & {"torch", "lightning", "matplotlib"}


def test_package_face_is_lazy() -> None:
    probe = (
        "import sys, skiptool; assert 'measure_shift' in dir(skiptool); "
        f"print(*sorted(set(sys.modules) & set({HEAVY!r})))"
    )
    found = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == ""
