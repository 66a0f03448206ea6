"""README and guide show every subcommand, and their examples are real."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import typer

from skiptool import compare_features
from skiptool.cli import create_app
from skiptool.names import Precision
from skiptool.records import ORIGINAL, Shift
from skiptool.steps.predict.predict import predict_dataset
from skiptool.steps.report import write_report
from small_models import sibling

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
PAGES = [
    ROOT / "README.md",
    ROOT / "tests" / "README.md",
    *sorted((ROOT / "examples").rglob("*.md")),
]
TEXT = "\n".join(page.read_text() for page in PAGES)
TABLES = (ROOT / "examples" / "guide" / "tables.md").read_text()

GROUP = typer.main.get_command(create_app())


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
def test_every_subcommand_has_a_page_with_an_example(name: str) -> None:
    page = ROOT / "examples" / "guide" / f"{name.replace(' ', '-')}.md"
    assert name in {subcommand(words) for words in examples(page.read_text()) if words}
    assert f"[`{name}`](examples/guide/{page.name})" in README


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    assert len(README.encode()) <= 10_000
    linked = {
        (page.parent / link).resolve()
        for page in PAGES
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    }
    assert [link for link in linked if not link.exists()] == []
    assert [page for page in PAGES[1:] if page not in linked] == []


def test_sixty_seconds_without_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block = README.partition("## Sixty seconds")[2].partition("```bash\n")[2].partition("```")[0]
    make, compare = map(shlex.split, block.strip().splitlines())
    monkeypatch.chdir(tmp_path)
    exec(make[2], {})
    layer = compare_features({"features": np.load("a.npy")}, {"features": np.load("b.npy")})
    row = next(row for row in layer.to_pylist() if row["channel"] is None)
    assert compare == ["skiptool", "hellinger", "a.npy", "b.npy"]
    for name in ("value", "corrected", "ci_low", "ci_high", "null_mean", "p_value"):
        assert f"{row[name]:.3f}" in README, name


@pytest.mark.parametrize("name", LEAVES)
def test_help_ends_in_an_example(name: str) -> None:
    assert f"Example: skiptool {name}" in str(LEAVES[name].help)


def test_examples_use_options_that_exist() -> None:
    checked = 0
    for words in examples(TEXT):
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
    part = (ROOT / "tests" / "README.md").read_text()
    named = re.findall(r"`(tests/[^` ]+\.py)`", part)
    assert len(named) > 15
    assert [name for name in named if not (ROOT / name).is_file()] == []


SNIPPETS = re.findall(
    r"\n(\w+) [\d.]+:\n\n```python\n(.*?)```",
    TABLES,
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
