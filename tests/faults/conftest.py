"""What the tests of faults share: small experiments, and a summary of what was tried."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain
from types import SimpleNamespace

import pytest

from driven import Driven
from fault_lab import Lab
from forking import served
from small_artifacts import make_artifacts

TRIED = "faults"
"""Name of the property by which a test says what it tried."""

SUMMARY = "faults, in words"
"""Property that holds a whole line of the summary."""

LOADED = " ".join(
    f"skiptool.steps.{name}"
    for name in ("predict.step", "features", "hellinger", "train.step", "extract_wsi.step")
)
"""Loaded before memory is limited."""


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Make a tiny experiment of all commands, and a server that runs them."""
    folder = tmp_path_factory.mktemp("lab")
    with served(folder / "server") as server:
        yield Lab(folder / "inputs", server)


@pytest.fixture
def tried(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Return a function that takes the name of a part and counts, for the summary of the run."""

    def note(part: str, **counts: int | str) -> None:
        record_property(TRIED, [part, counts])

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print a line for each part: numbers are summed over its tests, texts are joined."""
    found: dict[str, Counter[str]] = {}
    told: dict[str, list[str]] = {}
    for part, counts in _noted(terminalreporter):
        for key, count in counts.items():
            name = key.replace("_", " ")
            if isinstance(count, str):
                told.setdefault(part, []).append(f"{name} {count}")
            else:
                found.setdefault(part, Counter())[name] += count
    lines = {
        str(value)
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, value in getattr(report, "user_properties", ())
        if name == SUMMARY
    }
    if found or told or lines:
        terminalreporter.section("faults")
    for part in sorted({*found, *told}):
        counted = [f"{count} {name}" for name, count in found.get(part, {}).items()]
        terminalreporter.line(f"{part}: {', '.join([*counted, *told.get(part, [])])}")
    for line in sorted(lines):
        terminalreporter.line(line)


def _noted(terminalreporter: pytest.TerminalReporter) -> Iterator[tuple[str, dict[str, int | str]]]:
    for report in chain.from_iterable(terminalreporter.stats.values()):
        if getattr(report, "when", "") == "call":  # each phase of a test tells of it again
            yield from (value for name, value in report.user_properties if name == TRIED)


@pytest.fixture(scope="session")
def driven() -> Iterator[Driven]:
    """Return a function that runs command lines in one other process."""
    with Driven(preload=LOADED) as process:
        yield process


@pytest.fixture(scope="session")
def artifacts(driven: Driven, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """One small artifact of each kind, see ``small_artifacts``."""
    return make_artifacts(tmp_path_factory.mktemp("artifacts"), driven)
