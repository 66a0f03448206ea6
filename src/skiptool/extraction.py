"""Template of ``extract images``, ``extract mri`` and ``extract wsi``.

An extraction surveys its inputs, assigns them to splits, writes a dataset store, and then draws
pictures and writes exports next to it. An input that fails is left out and reported in one line;
the others are extracted all the same.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from skiptool.errors import SkiptoolError
from skiptool.exports.folders import check_export
from skiptool.records import Outcome, Progress
from skiptool.stores.artifacts import is_complete
from skiptool.stores.contents import contents_tables
from skiptool.stores.lineage import Invocation
from skiptool.stores.staging import atomic_output, check_writable
from skiptool.stores.zarrs import record_failures, recorded_failures

Input = TypeVar("Input")
Result = TypeVar("Result")


def attempt(function: Callable[[Input], Result], item: Input) -> Result | str:
    """Call a function; return the message of a SkiptoolError instead of raising it."""
    try:
        return function(item)
    except SkiptoolError as error:
        return str(error)


def survey_inputs(
    examine: Callable[[Input], Result],
    inputs: Sequence[Input],
    mapper: Callable[[Callable[[Input], Result | str], Sequence[Input]], Iterable[Result | str]],
    progress: Progress,
) -> tuple[list[Result], list[str]]:
    """Examine every input; return the results in order, and one line for each failure."""
    surveyed: list[Result] = []
    failures: list[str] = []
    with progress.task("survey", len(inputs)) as task:
        for result in mapper(partial(attempt, examine), inputs):
            task.advance()
            if isinstance(result, str):
                failures.append(result)
            else:
                surveyed.append(result)
    return surveyed, failures


def file_sizes(paths: Iterable[Path]) -> list[int | None]:
    """Return the size of each file in bytes, None for a missing one."""
    return [path.stat().st_size if path.is_file() else None for path in paths]


@dataclass(frozen=True, slots=True)
class ExtractionTarget:
    """Outputs of an extraction, and permission to replace them.

    Attributes
    ----------
    out : Path
        The dataset store.
    qc : Path
        Folder of pictures for visual checks, drawn if ``pictures``.
    export : Path or None
        Folder of exported images and masks.
    """

    out: Path
    qc: Path
    pictures: bool = True
    export: Path | None = None
    overwrite: bool = False
    resume: bool = False
    dry_run: bool = False

    def check(self) -> None:
        """Refuse outputs that cannot be written, or exist and may not be replaced."""
        check_writable(self.out, overwrite=self.overwrite, resume=self.resume)
        check_writable(
            self.qc, overwrite=False, resume=True
        )  # pictures are added to an existing one
        if self.export is not None:
            check_export(self.export, self.out, resume=self.resume)


@dataclass
class Extraction(ABC):
    """One extraction; subclasses define its stages.

    Attributes
    ----------
    target : ExtractionTarget
    invocation : Invocation
        Recorded in the store; a run can only be resumed with the same one.
    failures : list of str
        One line for each input left out so far.
    progress : Progress
    """

    target: ExtractionTarget
    invocation: Invocation
    failures: list[str]
    progress: Progress

    def run(self) -> Outcome:
        """Extract, or resume an interrupted run where it stopped."""
        out, resume = self.target.out, self.target.resume
        complete = is_complete(out, self.invocation, resume=resume, clear=not self.target.dry_run)
        if complete and (outcome := self.outcome_of_finished()) is not None:
            return outcome
        self.check_target()
        with self.resources():
            self.prepare()
            if self.target.dry_run:
                return self.dry_run_outcome()
            if complete:
                self.failures = recorded_failures(out)
            else:
                with atomic_output(
                    out, overwrite=self.target.overwrite, resume=resume
                ) as partial_out:
                    self.write(partial_out)
                    record_failures(partial_out, self.failures)
            side_outputs = self.write_side_outputs()
        tables = contents_tables(out, self.progress)
        return Outcome((out,), side_outputs, self.summary(), tuple(self.failures), tables)

    def check_target(self) -> None:
        """Refuse outputs that cannot be written, except in a dry run, which writes none."""
        if not self.target.dry_run:
            self.target.check()

    def resources(self) -> AbstractContextManager[object]:
        """Return a context manager, held from the survey to the side outputs."""
        return nullcontext()

    @abstractmethod
    def outcome_of_finished(self) -> Outcome | None:
        """Complete the side outputs of a finished store; None if they need the inputs again."""

    @abstractmethod
    def prepare(self) -> None:
        """Survey the inputs, assign splits and plan the samples."""

    @abstractmethod
    def dry_run_outcome(self) -> Outcome:
        """Summarise what would be extracted."""

    @abstractmethod
    def write(self, path: Path) -> None:
        """Write all samples that a partial store lacks, and finish it."""

    @abstractmethod
    def write_side_outputs(self) -> tuple[Path, ...]:
        """Draw pictures and write exports next to the finished store."""

    @abstractmethod
    def summary(self) -> dict[str, Any]:
        """Count what was written."""
