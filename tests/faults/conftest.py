"""What the tests of faults share: one tiny experiment, and a summary of what was tried."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain

import pytest

from fault_lab import Lab
from forking import served

TRIED = "faults"
"""Name of the property by which a test says what it tried."""


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
    if found or told:
        terminalreporter.section("faults")
    for part in sorted({*found, *told}):
        counted = [f"{count} {name}" for name, count in found.get(part, {}).items()]
        terminalreporter.line(f"{part}: {', '.join([*counted, *told.get(part, [])])}")


def _noted(terminalreporter: pytest.TerminalReporter) -> Iterator[tuple[str, dict[str, int | str]]]:
    for report in chain.from_iterable(terminalreporter.stats.values()):
        if getattr(report, "when", "") == "call":  # each phase of a test tells of it again
            yield from (value for name, value in report.user_properties if name == TRIED)
