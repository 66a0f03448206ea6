"""What registration has found, noted so that an interrupted run need not find it again.

Aligning and measuring take longer than reading. Each result is noted in a journal in the hidden
folder ``.NAME.plan`` beside the store, removed when the store and all that lies beside it are
whole.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from skiptool.stores.journal import Journal
from skiptool.stores.lineage import Making
from skiptool.stores.staging import remove

__all__ = ["Notes", "notes_of"]


def notes_of(out: Path) -> Path:
    """Return the hidden folder of the notes on a store; it is there as long as there is work."""
    return out.with_name(f".{out.name}.plan")


class Notes:
    """Results by key, from this run and from the interrupted one that it resumes.

    Parameters
    ----------
    out : Path
        The store that is made.
    making : Making
        How the step was called.
    resume : bool
        Whether to take over what an interrupted run has noted.

    Raises
    ------
    ExistsError
        If that run had other parameters.
    FormatError
        If what it noted is damaged.
    """

    def __init__(self, out: Path, making: Making, *, resume: bool) -> None:
        self._folder = notes_of(out)
        if not resume:
            remove(self._folder)
        self._folder.mkdir(exist_ok=True)
        self._journal = Journal(self._folder, making)
        if not self._journal.begun:
            self._journal.begin()
        self._known = {str(entry.get("key")): entry.get("value") for entry in self._journal.entries}

    def __enter__(self) -> Notes:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Keep the notes where a run that is resumed can go on (as ``staged`` keeps the store)."""
        if kind is None or not issubclass(kind, KeyboardInterrupt | OSError | MemoryError):
            self.forget()

    def known(self, *key: str) -> Any:  # noqa: ANN401 - whatever was kept
        """Return what was kept under a key, None if nothing was."""
        return self._known.get(_joined(key))

    def keep(self, value: object, *key: str) -> None:
        """Note a result, JSON types."""
        self._known[_joined(key)] = value
        self._journal.note({"key": _joined(key), "value": value})

    def forget(self) -> None:
        """Remove the journal: all is made, or cannot be made."""
        remove(self._folder)


def _joined(key: tuple[str, ...]) -> str:
    return "\n".join(key)
