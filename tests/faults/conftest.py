"""What the suite of faults says at its end, and the process that it drives."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from driven import LOADED, Driven
from small_artifacts import make_artifacts

SUMMARY = "faults"
"""Property that a test records for the summary: ``record_property(SUMMARY, "kills: 100 ...")``."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the counts of each part; they travel with the reports, from other processes too."""
    lines = {
        str(value)
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, value in getattr(report, "user_properties", ())
        if name == SUMMARY
    }
    if lines:
        terminalreporter.section("faults")
        for line in sorted(lines):
            terminalreporter.line(line)


@pytest.fixture(scope="session")
def driven() -> Iterator[Driven]:
    """Return a function that runs command lines in one other process."""
    with Driven(preload=LOADED) as process:
        yield process


@pytest.fixture(scope="session")
def artifacts(driven: Driven, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """One small artifact of each kind, see ``small_artifacts``."""
    return make_artifacts(tmp_path_factory.mktemp("artifacts"), driven)
