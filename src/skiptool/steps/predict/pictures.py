"""Sinks of predicted labels: a store of masks, and pictures sorted by IoU.

Sorted file names make the worst, median and best predictions easy to find.
"""

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
from skiptool.shifts import apply_shift
from skiptool.steps.predict.counting import Part, Run
from skiptool.stores.lineage import Lineage
from skiptool.stores.masks import MaskWriter
from skiptool.stores.overlays import safe_name, write_index

if TYPE_CHECKING:
    from skiptool.records import Float64, Image, Int64, UInt8

    Facts = Mapping[str, str | int | float | None]
    Key = tuple[int, str]


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A sample that may be drawn: index in its domain, scores, and labels compressed by zlib.

    Compressed, a hundred label maps take the memory of one.
    """

    index: int
    miou: float
    scores: Float64
    labels: bytes

    @property
    def order(self) -> tuple[bool, float, int]:
        """Lowest IoU first; samples without foreground, which have no IoU, last."""
        return bool(np.isnan(self.miou)), self.miou, self.index


class OverlaySink:
    """Keeps the ``count`` samples of lowest IoU of each model and domain, and draws them later.

    Without a count all samples are kept. The images are drawn unshifted, or under the first shift
    if the original is not among the shifts.
    """

    def __init__(self, run: Run, folder: Path, count: int | None) -> None:
        self._run = run
        self._folder = folder
        self._count = count
        self._shift = ORIGINAL if ORIGINAL in run.shifts else run.shifts[0]
        self._part: Part | None = None
        self._worst: dict[Key, list[_Candidate]] = {}
        self._seen: Counter[Key] = Counter()

    def begin(self, part: Part) -> None:
        """Set the part of the next samples."""
        self._part = part

    def wants(self, shift: Shift) -> bool:
        """Return True for the shift whose images are drawn."""
        return shift == self._shift

    def take(self, number: int, shift: Shift, rows: range, labels: UInt8, counts: Int64) -> None:
        """Keep the samples that are among the worst so far."""
        if self._part is None:
            return
        key = number, self._part.domain.name
        worst = self._worst.setdefault(key, [])
        self._seen[key] += len(rows)
        rated = zip(rows, mean_iou(counts), iou(counts), labels, strict=True)
        worst += [
            _Candidate(self._part.indices[row], float(mean), scores, zlib.compress(mask, 1))
            for row, mean, scores, mask in rated
        ]
        worst.sort(key=lambda candidate: candidate.order)
        if self._count is not None:
            del worst[self._count :]

    def draw(self, header: Lineage, progress: Progress) -> None:
        """Read the chosen samples, draw each for all models that chose it, and write the index."""
        self._folder.mkdir(exist_ok=True)
        folders = self._folders()
        pictures: dict[Key, dict[int, Facts]] = {key: {} for key in folders}
        total = sum(map(len, self._worst.values()))
        with progress.task("overlays", total) as task:
            for domain in dict.fromkeys(domain for _, domain in self._worst):
                for index, image, truth in self._samples(domain):
                    for key, rank, candidate in self._chosen(domain, index):
                        facts = self._facts(key, rank, candidate)
                        file = f"{folders[key]}/{self._file(facts)}"
                        (self._folder / folders[key]).mkdir(exist_ok=True)
                        self._draw(self._folder / file, image, truth, facts, candidate)
                        pictures[key][rank] = {"file": file, **facts}
                        task.advance()
        listed = [ranked[rank] for ranked in pictures.values() for rank in sorted(ranked)]
        write_index(self._folder, header, listed)

    def _samples(self, domain: str) -> Iterator[tuple[int, Image, UInt8]]:
        """Read each sample of a domain that any model chose, once."""
        chosen = {
            candidate.index
            for key, worst in self._worst.items()
            if key[1] == domain
            for candidate in worst
        }
        indices = sorted(chosen)
        reader = self._run.store.samples(domain, indices)
        for position, index in enumerate(indices):
            image, truth = reader.read(position)
            yield index, apply_shift(image, self._shift), truth

    def _chosen(self, domain: str, index: int) -> Iterator[tuple[Key, int, _Candidate]]:
        for key, worst in self._worst.items():
            if key[1] == domain:
                for rank, candidate in enumerate(worst, start=1):
                    if candidate.index == index:
                        yield key, rank, candidate

    def _folders(self) -> dict[Key, str]:
        """Name a folder for each model and domain, distinct on any file system."""
        names: dict[Key, str] = {}
        for number, domain in self._worst:
            name = f"{safe_name(self._run.predictor(number).name)}_{safe_name(domain)}"
            taken = {other.casefold() for other in names.values()}
            names[number, domain] = f"{name}-{len(names)}" if name.casefold() in taken else name
        return names

    def _facts(self, key: Key, rank: int, candidate: _Candidate) -> Facts:
        model, domain = self._run.predictor(key[0]), self._run.store.domain(key[1])
        return {
            "model": model.name,
            "model_id": model.id,
            "domain": domain.name,
            "shift": self._shift.kind.value,
            "factor": self._shift.factor,
            "sample": str(domain.columns["id"][candidate.index]),
            "subject": str(domain.columns["subject"][candidate.index]),
            "mIoU": None if np.isnan(candidate.miou) else candidate.miou,
            "rank": rank,
            "ranks": self._seen[key],
        }

    def _file(self, facts: Facts) -> str:
        digits = len(str(facts["ranks"]))
        score = "none" if facts["mIoU"] is None else f"{facts['mIoU']:.3f}"
        return f"{facts['rank']:0{digits}d}_iou-{score}_{safe_name(str(facts['sample']))}.png"

    def _draw(
        self, path: Path, image: Image, truth: UInt8, facts: Facts, candidate: _Candidate
    ) -> None:
        mask = np.frombuffer(zlib.decompress(candidate.labels), dtype=np.uint8)
        classes = self._run.store.classes
        figure = compare_masks(
            image,
            truth,
            mask.reshape(truth.shape),
            classes,
            title=f"{facts['sample']} by {facts['model']}",
            notes=f"{facts['domain']}, {self._shift}; {_iou_note(classes, candidate.scores)}; "
            f"{facts['rank']} of {facts['ranks']} samples, the lowest IoU first",
        )
        save(figure, path)


def _iou_note(classes: Sequence[str], scores: Float64) -> str:
    named = zip(classes[1:], scores[1:], strict=True)
    notes = [f"{name} {score:.3f}" for name, score in named if not np.isnan(score)]
    return f"IoU {', '.join(notes)}" if notes else "no foreground, true or predicted"


class MaskSink:
    """Writes the labels of every model, ensemble and shift into a store of masks."""

    def __init__(self, run: Run, writer: MaskWriter) -> None:
        self._run = run
        self._writer = writer
        self._entries: dict[tuple[int, Shift], str] = {}

    def begin(self, part: Part) -> None:
        """Open an entry for each model, ensemble and shift of a part."""
        domain, ids = part.domain, list(part.domain.columns["id"][list(part.indices)])
        for number in self._run.predictors(part):
            model = self._run.predictor(number)
            for shift in self._run.shifts:
                facts = {
                    "model": model.name,
                    "model_id": model.id,
                    "domain": domain.name,
                    "shift": shift.kind.value,
                    "factor": shift.factor,
                }
                size = (domain.height, domain.width)
                self._entries[number, shift] = self._writer.begin(facts, ids, size)

    def wants(self, shift: Shift) -> bool:
        """Return True: all labels are kept."""
        return True

    def take(self, number: int, shift: Shift, rows: range, labels: UInt8, counts: Int64) -> None:
        """Append labels to their entry."""
        self._writer.append(self._entries[number, shift], labels)
