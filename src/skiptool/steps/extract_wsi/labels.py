"""From names of annotations to labels of pixels, for all slides together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from skiptool.errors import SourceError
from skiptool.names import PatchMode
from skiptool.records import Progress
from skiptool.sources.annotations.classes import ClassMap, by_name, survey
from skiptool.sources.shapes import Shape
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
    own : mapping of str to ClassMap
        By content key of the slide: its column ``label_map``.
    """

    classes: tuple[str, ...]
    common: ClassMap
    own: Mapping[str, ClassMap]

    def name(self, label: int | None) -> str:
        """Return the class of a label, for people."""
        known = label is not None and label < len(self.classes)
        return self.classes[label] if label is not None and known else "in no class"

    def label(self, slide: Surveyed, shape: Shape) -> int | None:
        """Return the label of an annotation, None where its name is in no class."""
        mapping = self.own.get(slide.key, self.common)
        found = mapping.label(shape.name)
        return None if found is None else self.classes.index(mapping.classes[found])


def labelling(slides: Sequence[Surveyed], settings: PatchSettings, progress: Progress) -> Labelling:
    """Work out the classes, and tell which names are in none and which are nowhere.

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
    own = {slide.key: ClassMap.parse(slide.row.label_map) for slide in with_own}
    for slide in slides:
        extra = set(own[slide.key].classes) - set(common.classes) if slide.key in own else set()
        if extra and settings.classes:
            raise SourceError(
                f"{slide.row.path}: label_map names class {min(extra)}, --classes has "
                f"{', '.join(common.classes)}; correct the manifest"
            )
    added = [name for mapping in own.values() for name in mapping.classes]
    classes = tuple(dict.fromkeys((*common.classes, *added)))
    unmapped, nowhere = survey((slide.shapes for slide in plain), common)
    counts = Counter(unmapped)
    for slide in with_own:
        counts.update(survey([slide.shapes], own[slide.key])[0])
    _tell(counts, nowhere, settings, progress)
    return Labelling(classes, common, own)


def _tell(
    unmapped: Counter[str],
    nowhere: Mapping[str, str],
    settings: PatchSettings,
    progress: Progress,
) -> None:
    if unmapped:
        counted = unmapped.most_common()
        listed = ", ".join(f"{name or 'unnamed'} ({count})" for name, count in counted)
        fate = "background" if settings.mode is PatchMode.CENTRED else "ignored (255)"
        progress.warn(f"annotations in no class, whose pixels become {fate}: {listed}")
    for name, hint in nowhere.items():
        progress.warn(f"--classes: no slide has annotations named {name!r}{hint}")
