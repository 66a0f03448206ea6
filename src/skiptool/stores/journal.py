"""Journal of a growing store: the parameters of the run, and the parts written so far.

While a store grows, it contains ``journal.jsonl``: one line with the determinants of its content,
then one line for each part that is safely written. A resumed run continues after the last complete
line. The journal is removed when the store is complete.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skiptool.errors import FormatError
from skiptool.stores.lineage import Invocation, check_same_run, extends_run
from skiptool.stores.staging import atomic_file

JOURNAL = "journal.jsonl"


class Journal:
    """Read the entries of an interrupted run, and record those of this one.

    The folder need not exist yet. A store begun with other parameters and a damaged journal are
    refused.

    Attributes
    ----------
    begun : bool
        A run with the same parameters has begun the store.
    entries : list of mapping
        Its entries, part by part.
    """

    def __init__(self, folder: Path, invocation: Invocation) -> None:
        self._file = folder / JOURNAL
        self._invocation = invocation
        self.entries: list[dict[str, Any]] = []
        lines = self._complete_lines() if self._file.is_file() else []
        self.begun = bool(lines)
        if self.begun:
            check_same_run(lines[0], invocation, str(folder))
            self.entries = lines[1:]
            if extends_run(lines[0], invocation):  # record the longer run from now on
                lines = [invocation.determinants, *self.entries]
                text = "".join(json.dumps(line) + "\n" for line in lines)
                with atomic_file(self._file) as partial:
                    partial.write_text(text)

    def begin(self) -> None:
        """Start a new journal; the folder must exist."""
        self.entries = []
        self._file.write_text(json.dumps(self._invocation.determinants) + "\n")

    def note(self, entry: Mapping[str, Any]) -> None:
        """Record that a part is written."""
        with self._file.open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def remove(self) -> None:
        """Mark the store as complete."""
        self._file.unlink()

    def _complete_lines(self) -> list[dict[str, Any]]:
        """Parse the journal, and cut off a last line left incomplete by a kill."""
        text = self._file.read_bytes()
        complete = text[: text.rfind(b"\n") + 1]
        os.truncate(self._file, len(complete))
        try:
            lines = [json.loads(line) for line in complete.splitlines()]
        except (ValueError, RecursionError) as error:
            raise FormatError(
                f"{self._file}: is damaged ({error}); give --overwrite to start again"
            ) from error
        if not all(isinstance(line, dict) for line in lines):
            raise FormatError(f"{self._file}: is damaged; give --overwrite to start again")
        return lines
