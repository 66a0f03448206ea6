"""The README names every subcommand with an example, and its examples are real."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from skiptool.cli import app

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
SCRIPTS = sorted((ROOT / "examples").glob("*.sh"))

GROUP = typer.main.get_command(app)


def leaves() -> dict[str, object]:
    found = {}
    for name, command in GROUP.commands.items():
        for below, leaf in getattr(command, "commands", {"": command}).items():
            found[f"{name} {below}".strip()] = leaf
    return found


LEAVES = leaves()


def examples(text: str) -> list[list[str]]:
    """Every call of skiptool in the fenced code of a text, as words."""
    blocks = "\n".join(re.findall(r"```(?:bash|console)\n(.*?)```", text, flags=re.DOTALL))
    calls = blocks.replace("\\\n", " ").splitlines()
    words = [shlex.split(part, comments=True) for call in calls for part in call.split("|")]
    return [line[1:] for line in words if line and line[0] == "skiptool"]


def subcommand(words: list[str]) -> str:
    head = " ".join(words[:2])
    return head if head in LEAVES else words[0]


@pytest.mark.parametrize("name", LEAVES)
def test_subcommand_stands_in_the_readme_with_an_example(name: str) -> None:
    assert name in {subcommand(words) for words in examples(README) if words}


@pytest.mark.parametrize("name", LEAVES)
def test_help_ends_in_an_example(name: str) -> None:
    assert f"Example: skiptool {name}" in str(LEAVES[name].help)


def test_examples_use_options_that_exist() -> None:
    checked = 0
    for words in examples(README):
        if not words or words[0].startswith("-"):
            continue
        known = {
            option for parameter in LEAVES[subcommand(words)].params for option in parameter.opts
        }
        known |= {o for p in LEAVES[subcommand(words)].params for o in p.secondary_opts}
        for word in words:
            if word.startswith("--"):
                assert word.partition("=")[0] in known | {"--help"}, " ".join(words)
                checked += 1
    assert checked > 10


def test_ci_runs_the_command_of_the_readme() -> None:
    block = README.partition("<!-- test command -->")[2].partition("```bash\n")[2]
    assert "pytest" in block.partition("```")[0]
    assert "<!-- test command -->" in (ROOT / ".ci" / "run").read_text()


def test_promises_name_tests_that_exist() -> None:
    part = README[README.index("## What it promises") :].split("\n## ", 1)[0]
    named = re.findall(r"`(tests/[^` ]+\.py)`", part)
    assert len(named) > 15
    assert [name for name in named if not (ROOT / name).is_file()] == []
