"""Journal of a growing store: what is being made, and how far it is.

``journal.jsonl`` is in the store while it grows: one line with what determines the content, then
one line for each part that is safely written. A resumed run continues after the last whole line.
The journal is removed when the store is complete.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skiptool.errors import FormatError
from skiptool.stores.lineage import Invocation, check_same, extends_run
from skiptool.stores.staging import whole_file

JOURNAL = "journal.jsonl"


class Journal:
    """Read the entries of an interrupted run, and record those of this one.

    Parameters
    ----------
    folder : Path
        Folder in which the store grows; it need not exist.

    Attributes
    ----------
    begun : bool
        A run with the same parameters has begun the store.
    entries : list of mapping
        Its entries, part by part.

    Raises
    ------
    ExistsError
        If the store was begun with other parameters.
    FormatError
        If the journal is damaged.
    """

    def __init__(self, folder: Path, invocation: Invocation) -> None:
        self._file = folder / JOURNAL
        self._making = invocation
        self.entries: list[dict[str, Any]] = []
        lines = self._whole_lines() if self._file.is_file() else []
        self.begun = bool(lines)
        if self.begun:
            check_same(lines[0], invocation, str(folder))
            self.entries = lines[1:]
            if extends_run(lines[0], invocation):  # record the longer run from now on
                kept = [invocation.determinants, *self.entries]
                text = "".join(json.dumps(line) + "\n" for line in kept)
                with whole_file(self._file) as partial:
                    partial.write_text(text)

    def begin(self) -> None:
        """Start a new journal; the folder must exist."""
        self.entries = []
        self._file.write_text(json.dumps(self._making.determinants) + "\n")

    def note(self, entry: Mapping[str, Any]) -> None:
        """Record that a part is written."""
        with self._file.open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def remove(self) -> None:
        """Mark the store as complete."""
        self._file.unlink()

    def _whole_lines(self) -> list[dict[str, Any]]:
        """Parse the journal, and cut off a last line torn by a kill."""
        text = self._file.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]
        os.truncate(self._file, len(whole))
        try:
            lines = [json.loads(line) for line in whole.splitlines()]
        except (ValueError, RecursionError) as error:
            raise FormatError(
                f"{self._file}: is damaged ({error}); give --overwrite to start again"
            ) from error
        if not all(isinstance(line, dict) for line in lines):
            raise FormatError(f"{self._file}: is damaged; give --overwrite to start again")
        return lines
