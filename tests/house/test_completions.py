"""The completion files are what the installed tool prints."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_file_is_fresh(shell: str) -> None:
    tool = Path(sys.executable).with_name("skiptool")
    found = subprocess.run(
        [tool],
        env={**os.environ, "_SKIPTOOL_COMPLETE": f"source_{shell}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (ROOT / "completions" / f"skiptool.{shell}").read_text() == found.stdout


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_subcommands_and_options() -> None:
    tool = Path(sys.executable).with_name("skiptool")
    for words, expected in (
        ("skiptool hel", "hellinger"),
        ("skiptool synth --ca", "--canvas"),
        ("skiptool train --arch man", "manet"),
        ("skiptool hellinger --metric kolm", "kolmogorov-smirnov"),
        ("skiptool predict --shift bri", "brightness=0.5"),
        ("skiptool predict --sweep p", "paper"),
        ("skiptool features --layers dec4", "dec4"),
    ):
        variables = {
            "_SKIPTOOL_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        }
        found = subprocess.run(
            [tool], env={**os.environ, **variables}, capture_output=True, text=True, check=False
        )
        assert expected in found.stdout.split()
