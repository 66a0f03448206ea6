"""Predicted masks on their way into a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skiptool.records import Shift
from skiptool.steps.predict.run import Part, Run
from skiptool.stores.masks import MaskWriter

if TYPE_CHECKING:
    from skiptool.records import Int64, UInt8

__all__ = ["MaskSink"]


class MaskSink:
    """Writes the labels of every model, ensemble and shift."""

    def __init__(self, run: Run, writer: MaskWriter) -> None:
        self._run = run
        self._writer = writer
        self._entries: dict[tuple[int, Shift], str] = {}

    def begin(self, part: Part) -> None:
        """Open an entry for each model, ensemble and shift of a part."""
        domain, ids = part.domain, list(part.domain.columns["id"][list(part.indices)])
        for number in self._run.predictors(part):
            known = self._run.predictor(number)
            for shift in self._run.shifts:
                facts = {
                    **{"model": known.name, "model_id": known.id, "domain": domain.name},
                    **{"shift": shift.kind.value, "factor": shift.factor},
                }
                size = (domain.height, domain.width)
                self._entries[number, shift] = self._writer.begin(facts, ids, size)

    def wants(self, shift: Shift) -> bool:
        """All labels are kept."""
        return True

    def take(self, number: int, shift: Shift, rows: range, labels: UInt8, counts: Int64) -> None:
        """Append labels to their entry."""
        self._writer.append(self._entries[number, shift], labels)
