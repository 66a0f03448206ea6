"""The README names every subcommand with an example, and its examples are real."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from skiptool.cli import app
from skiptool.names import Precision
from skiptool.records import ORIGINAL, Shift
from skiptool.steps.predict.predict import predict_dataset
from skiptool.steps.report.report import write_report
from small_models import sibling

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


SNIPPETS = re.findall(
    r"\n(\w+) [\d.]+:\n\n```python\n(.*?)```",
    README.partition("## Reading the tables elsewhere")[2],
    flags=re.DOTALL,
)


def as_numbers(library: str, shown: Any) -> dict[tuple[str, str, float], float]:  # noqa: ANN401
    """Return what a snippet printed: mean IoU by pruning, shift, factor (else -1)."""
    if library == "pandas":
        rows = [(*key, value) for key, value in shown.items()]
    else:
        rows = shown.rows() if library == "polars" else shown.fetchall()
    return {
        (pruning, shift, -1.0 if factor is None or factor != factor else factor): value
        for pruning, shift, factor, value in rows
    }


@pytest.mark.long
@pytest.mark.parametrize(("library", "code"), SNIPPETS, ids=[name for name, _ in SNIPPETS])
def test_other_programs_read_what_the_report_says(
    library: str,
    code: str,
    experiment: SimpleNamespace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip(library)
    monkeypatch.chdir(tmp_path)
    sibling(experiment.baseline, tmp_path / "fold1", 1)
    shifts = (ORIGINAL, Shift.parse("brightness=0.5"))
    predict_dataset(
        [experiment.baseline, tmp_path / "fold1", experiment.pruned],
        experiment.data,
        tmp_path / "predictions.parquet",
        shifts=shifts,
        ensemble=True,
        precision=Precision.FLOAT32,
    )
    printed: list[Any] = []
    exec(code, {"print": printed.append})
    found = as_numbers(library, printed[0])
    table = dict(write_report([tmp_path / "predictions.parquet"]).tables[0].columns)
    expected = {
        (pruning, *key): value
        for pruning in ("baseline", "L1-pruned")
        for key, value in zip(
            (("original", -1.0), ("brightness", 0.5)), table[f"resnet18 {pruning}"], strict=True
        )
    }
    assert found == pytest.approx(expected, abs=1e-12)


def test_three_programs_are_named() -> None:
    assert [name for name, _ in SNIPPETS] == ["duckdb", "pandas", "polars"]
