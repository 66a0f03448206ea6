"""Pictures of predictions, sorted so that the worst, the median and the best are easily found."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skiptool.figures.sheets import compare_masks
from skiptool.figures.style import save
from skiptool.metrics import iou, mean_iou
from skiptool.records import ORIGINAL, Progress, Shift
from skiptool.shifts import apply
from skiptool.steps.predict.counting import Part, Run
from skiptool.stores.lineage import Lineage
from skiptool.stores.masks import MaskWriter
from skiptool.stores.overlays import safe_name, write_index

if TYPE_CHECKING:
    from skiptool.records import Float64, Image, Int64, UInt8

    Key = tuple[int, str]

__all__ = ["MaskSink", "OverlaySink"]


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A sample that may be drawn: its place in the domain, its scores, its labels in zlib's form.

    Labels are smooth: a hundred of them take the memory of one.
    """

    index: int
    miou: float
    scores: Float64
    labels: bytes

    @property
    def order(self) -> tuple[bool, float, int]:
        """Lowest IoU first; samples without any foreground, which have none, last."""
        return bool(np.isnan(self.miou)), self.miou, self.index


class OverlaySink:
    """Holds the samples of lowest IoU of each model and domain, and draws them at the end.

    Parameters
    ----------
    run : Run
    folder : Path
        Where the pictures go.
    count : int, optional
        Samples to draw for each model and domain, by default all.
    """

    def __init__(self, run: Run, folder: Path, count: int | None) -> None:
        self._run = run
        self._folder = folder
        self._count = count
        self._shift = ORIGINAL if ORIGINAL in run.shifts else run.shifts[0]
        self._part: Part | None = None
        self._found: dict[Key, list[_Candidate]] = {}
        self._seen: Counter[Key] = Counter()

    def begin(self, part: Part) -> None:
        """Remember which samples come."""
        self._part = part

    def wants(self, shift: Shift) -> bool:
        """Unshifted images are drawn, or those under the first shift."""
        return shift == self._shift

    def take(self, number: int, shift: Shift, rows: range, labels: UInt8, counts: Int64) -> None:
        """Hold samples that are among the worst so far."""
        if self._part is None:
            return
        key = number, self._part.domain.name
        held = self._found.setdefault(key, [])
        self._seen[key] += len(rows)
        rated = zip(rows, mean_iou(counts), iou(counts), labels, strict=True)
        held += [
            _Candidate(self._part.indices[row], float(mean), scores, zlib.compress(mask, 1))
            for row, mean, scores, mask in rated
        ]
        held.sort(key=lambda each: each.order)
        if self._count is not None:
            del held[self._count :]

    def draw(self, header: Lineage, progress: Progress) -> None:
        """Read the chosen samples and draw each for all models that chose it."""
        self._folder.mkdir(exist_ok=True)
        folders = self._folders()
        pictures = {key: dict[int, Mapping[str, str | int | float | None]]() for key in folders}
        total = sum(map(len, self._found.values()))
        with progress.task("overlays", total) as task:
            for domain in dict.fromkeys(domain for _, domain in self._found):
                for index, image, truth in self._samples(domain):
                    for key, rank, one in self._chosen(domain, index):
                        facts = self._facts(key, rank, one)
                        file = f"{folders[key]}/{self._file(facts)}"
                        (self._folder / folders[key]).mkdir(exist_ok=True)
                        self._draw(self._folder / file, image, truth, facts, one)
                        pictures[key][rank] = {"file": file, **facts}
                        task.advance()
        listed = [found[rank] for found in pictures.values() for rank in sorted(found)]
        write_index(self._folder, header, listed)

    def _samples(self, domain: str) -> Iterator[tuple[int, Image, UInt8]]:
        held = [
            each.index for key, found in self._found.items() if key[1] == domain for each in found
        ]
        wanted = sorted(set(held))
        reader = self._run.store.samples(domain, wanted)
        for place, index in enumerate(wanted):
            image, truth = reader.read(place)
            yield index, apply(image, self._shift), truth

    def _chosen(self, domain: str, index: int) -> Iterator[tuple[Key, int, _Candidate]]:
        for key, found in self._found.items():
            if key[1] == domain:
                for rank, each in enumerate(found, start=1):
                    if each.index == index:
                        yield key, rank, each

    def _folders(self) -> dict[Key, str]:
        names: dict[Key, str] = {}
        for number, domain in self._found:
            known = self._run.predictor(number)
            name = f"{safe_name(known.name)}_{safe_name(domain)}"
            taken = {other.casefold() for other in names.values()}
            names[number, domain] = f"{name}-{len(names)}" if name.casefold() in taken else name
        return names

    def _facts(
        self, key: Key, rank: int, one: _Candidate
    ) -> Mapping[str, str | int | float | None]:
        known, domain = self._run.predictor(key[0]), self._run.store.domain(key[1])
        return {
            **{"model": known.name, "model_id": known.id, "domain": domain.name},
            **{"shift": self._shift.kind.value, "factor": self._shift.factor},
            "sample": str(domain.columns["id"][one.index]),
            "subject": str(domain.columns["subject"][one.index]),
            "mIoU": None if np.isnan(one.miou) else one.miou,
            **{"rank": rank, "ranks": self._seen[key]},
        }

    def _file(self, facts: Mapping[str, str | int | float | None]) -> str:
        digits = len(str(facts["ranks"]))
        score = "none" if facts["mIoU"] is None else f"{facts['mIoU']:.3f}"
        return f"{facts['rank']:0{digits}d}_iou-{score}_{safe_name(str(facts['sample']))}.png"

    def _draw(
        self,
        path: Path,
        image: Image,
        truth: UInt8,
        facts: Mapping[str, str | int | float | None],
        one: _Candidate,
    ) -> None:
        labels = np.frombuffer(zlib.decompress(one.labels), dtype=np.uint8).reshape(truth.shape)
        classes = self._run.store.classes
        figure = compare_masks(
            image,
            truth,
            labels,
            classes,
            title=f"{facts['sample']} by {facts['model']}",
            notes=f"{facts['domain']}, {self._shift}; {_told(classes, one.scores)}; "
            f"{facts['rank']} of {facts['ranks']} samples, the lowest IoU first",
        )
        save(figure, path)


def _told(classes: Sequence[str], scores: Float64) -> str:
    named = zip(classes[1:], scores[1:], strict=True)
    found = [f"{name} {score:.3f}" for name, score in named if not np.isnan(score)]
    return f"IoU {', '.join(found)}" if found else "no foreground, true or predicted"


# -------------------------------------------------------------------------------------------------
# Predicted masks on their way into a store.


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
