"""What the tests of faults share: one tiny experiment, and a summary of what was tried."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from fault_lab import Lab
from forking import served

TRIED = "faults"
"""Name of the property by which a test says what it tried."""


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A tiny experiment of all commands, and a server that runs them."""
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
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") != "call":
                continue
            for name, value in report.user_properties:
                if name != TRIED:
                    continue
                part, counts = value
                for key, count in counts.items():
                    if isinstance(count, str):
                        told.setdefault(part, []).append(f"{key.replace('_', ' ')} {count}")
                    else:
                        found.setdefault(part, Counter())[key] += count
    if found or told:
        terminalreporter.section("faults")
    for part in sorted({*found, *told}):
        counted = [f"{n} {key.replace('_', ' ')}" for key, n in found.get(part, {}).items()]
        terminalreporter.line(f"{part}: {', '.join([*counted, *told.get(part, [])])}")
