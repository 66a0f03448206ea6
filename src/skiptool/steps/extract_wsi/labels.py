"""From names of annotations to labels of pixels, for all slides together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from skiptool.errors import SourceError
from skiptool.names import IGNORE, PatchMode, quoted_name
from skiptool.records import Progress
from skiptool.sources.annotations.classes import ClassMap, by_name, unmatched_names
from skiptool.sources.annotations.shapes import Shape
from skiptool.steps.extract_wsi.settings import PatchSettings
from skiptool.steps.extract_wsi.survey import Surveyed

__all__ = ["Labelling", "labelling"]


@dataclass(frozen=True, slots=True)
class Labelling:
    """Classes of a dataset, and which annotated name is which.

    Attributes
    ----------
    classes : tuple of str
        Index = label; background first.
    common : ClassMap
        For all slides but those of ``own``.
    own : mapping of (str, str) to ClassMap
        By domain and content key of the slide: its column ``label_map``.
    """

    classes: tuple[str, ...]
    common: ClassMap
    own: Mapping[tuple[str, str], ClassMap]

    def name(self, label: int | None) -> str:
        """Return the class of a label, for people."""
        if label is None or label >= len(self.classes):
            return "ignored" if label == IGNORE else "in no class"
        return self.classes[label]

    def label(self, slide: Surveyed, shape: Shape) -> int | None:
        """Return the label of an annotation, 255 or None where it is ignored or in no class."""
        mapping = self.own.get(_key(slide), self.common)
        found = mapping.label(shape.name)
        if found is None or found == IGNORE:
            return found
        return self.classes.index(mapping.classes[found])


def labelling(
    slides: Sequence[Surveyed], settings: PatchSettings, progress: Progress
) -> tuple[Labelling, list[str]]:
    """Work out the classes, and tell which names are in none and which are nowhere.

    Returns
    -------
    labelling : Labelling
    failures : list of str
        A line where annotations are left out because nobody has said what they are.

    Raises
    ------
    SourceError
        If a column ``label_map`` names a class that ``--classes`` does not have.
    ArgumentError
        If a class map is malformed.
    """
    with_own = [slide for slide in slides if slide.row.label_map]
    plain = [slide for slide in slides if not slide.row.label_map]
    names = [shape.name for slide in plain for shape in slide.shapes if shape.name]
    common = ClassMap.parse(settings.classes) if settings.classes else by_name(names)
    own = {_key(slide): ClassMap.parse(slide.row.label_map) for slide in with_own}
    for slide in slides:
        extra = set(own[_key(slide)].classes) - set(common.classes) if _key(slide) in own else set()
        if extra and settings.classes:
            raise SourceError(
                f"{slide.row.path}: label_map names class {min(extra)}, --classes has "
                f"{', '.join(common.classes)}; correct the manifest"
            )
    added = [name for mapping in own.values() for name in mapping.classes]
    classes = tuple(dict.fromkeys((*common.classes, *added)))
    unmapped, nowhere = unmatched_names((slide.shapes for slide in plain), common)
    counts = Counter(unmapped)
    for slide in with_own:
        counts.update(unmatched_names([slide.shapes], own[_key(slide)])[0])
    for name, hint in nowhere.items():
        progress.warn(f"--classes: no slide has annotations named {name!r}{hint}")
    _tell_ignored(slides, common, own, settings, progress)
    unnamed = counts.pop("", 0)
    if unnamed:
        fate = _fate(settings)
        progress.warn(f"{unnamed} annotations have no class in their file and are {fate}")
    return Labelling(classes, common, own), _unsorted(counts, settings)


def _tell_ignored(
    slides: Sequence[Surveyed],
    common: ClassMap,
    own: Mapping[tuple[str, str], ClassMap],
    settings: PatchSettings,
    progress: Progress,
) -> None:
    """Count annotations that are ignored though nobody has typed so: by their names alone."""
    counts: Counter[str] = Counter()
    for slide in slides:
        mapping = own.get(_key(slide), common)
        typed = bool(settings.classes or slide.row.label_map)
        ignored = [shape.name for shape in slide.shapes if mapping.label(shape.name) == IGNORE]
        counts.update(name for name in ignored if not (typed and mapping.knows(name)))
    if counts:
        listed = ", ".join(f"{name} ({count})" for name, count in counts.most_common())
        fate = _fate(settings)
        progress.warn(f"annotations whose class says that it is ignored are {fate}: {listed}")


def _fate(settings: PatchSettings) -> str:
    return "left out" if settings.mode is PatchMode.CENTRED else "ignored (255)"


def _key(slide: Surveyed) -> tuple[str, str]:
    return slide.row.domain, slide.key


def _unsorted(counts: Counter[str], settings: PatchSettings) -> list[str]:
    if not counts:
        return []
    listed = ", ".join(f"{name} ({count})" for name, count in counts.most_common())
    fate = "left out" if settings.mode is PatchMode.CENTRED else "ignored (255)"
    return [
        f"--classes: annotations in no class are {fate}: {listed}; sort them into a class, or say "
        f"that they may be ignored: 'ignore={quoted_name(counts.most_common(1)[0][0])}'"
    ]
