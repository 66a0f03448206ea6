"""Survey of slides: open each once, read its annotations, and find its tissue.

Then, for all slides together: splits and folds, the classes of annotated names, and the groups of
scans of one glass slide.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skiptool.errors import ArgumentError, SourceError
from skiptool.extraction import survey_inputs
from skiptool.names import IGNORE_LABEL, PatchMode, quote_name
from skiptool.records import Progress
from skiptool.sources.annotations.classes import ClassMap, classes_from_names, unmatched_names
from skiptool.sources.annotations.read import read_annotations
from skiptool.sources.annotations.shapes import Shape, SlideAnnotations
from skiptool.sources.registration.transforms import Alignment
from skiptool.sources.slides.manifest import SlideRow
from skiptool.sources.slides.pool import SlidePool
from skiptool.sources.slides.slide import Slide, patch_scale
from skiptool.sources.slides.tissue import Tissue, find_tissue
from skiptool.splits import SplitInput, SplitOptions, assign_splits
from skiptool.steps.extract_wsi.settings import ExtractionContext, PatchSettings

if TYPE_CHECKING:
    from skiptool.records import Float64

_NO_ANNOTATIONS = SlideAnnotations((), None, False, "")


@dataclass(frozen=True, slots=True, eq=False)
class SlideScan:
    """The part of a surveyed slide that is needed to read patches; it is sent to other machines.

    Attributes
    ----------
    name : str
        Name of the glass slide, shared by its scans and unique in a domain.
    key : str
        Content key of the file.
    size : tuple of int
        Width and height of level 0.
    mpp : tuple of float or None
        Micrometres per pixel of level 0, x and y; None if unknown.
    scale : tuple of float
        Level-0 pixels per pixel of a patch, x and y.
    threshold : int
        Grey level above which pixels are background.
    black : int
        Grey level up to which pixels are unscanned.
    relative_mpp : float
        Pixel size of the patches relative to those of the reference scan, by registration.
    """

    row: SlideRow
    name: str
    key: str
    size: tuple[int, int]
    mpp: tuple[float, float] | None
    scale: tuple[float, float]
    threshold: int
    black: int = field(default=0, kw_only=True)
    relative_mpp: float = field(default=1.0, kw_only=True)

    @property
    def patch_mpp(self) -> tuple[float, float] | None:
        """Micrometres per pixel of the patches, x and y; None if unknown."""
        if self.mpp is None:
            return None
        return self.mpp[0] * self.scale[0], self.mpp[1] * self.scale[1]


@dataclass(frozen=True, slots=True, eq=False)
class SurveyedSlide(SlideScan):
    """A usable slide, with its annotations and tissue.

    Attributes
    ----------
    levels : int
        Number of levels of the pyramid.
    shapes : tuple of Shape
        Annotations in level-0 pixels, in paint order.
    format : str or None
        Format of the annotation file, None if there is none.
    dropped : mapping of str to int
        Number of annotations without a usable shape, by kind.
    faults : tuple of str
        One line for each record of the annotation file that cannot be read.
    notes : tuple of str
        Warnings about the whole annotation file.
    """

    vendor: str
    levels: int
    shapes: tuple[Shape, ...]
    format: str | None
    tissue: Tissue
    dropped: Mapping[str, int] = field(default_factory=dict, kw_only=True)
    faults: tuple[str, ...] = field(default=(), kw_only=True)
    notes: tuple[str, ...] = field(default=(), kw_only=True)

    @property
    def scan(self) -> SlideScan:
        """The part that is needed to read patches."""
        return SlideScan(**{field.name: getattr(self, field.name) for field in fields(SlideScan)})


def survey_slides(
    context: ExtractionContext, rows: Sequence[SlideRow]
) -> tuple[list[SurveyedSlide], list[str]]:
    """Open every slide, read its annotations and find its tissue.

    Return the usable slides in the order of the rows, and one line for each failure and for each
    annotation file with unreadable records.
    """
    examine = partial(_survey_slide, context.settings, context.pool)
    slides, failures = survey_inputs(examine, rows, context.mapper, context.progress)
    failures += [
        f"{slide.row.annotations}: {len(slide.faults)} annotations of {slide.row.path.name} cannot "
        f"be read and are left out, the first: {slide.faults[0]}"
        for slide in slides
        if slide.faults
    ]
    _warn_of_annotations(slides, context)
    _warn_of_pixels(slides, context)
    return _with_unique_names(slides, failures, context.progress), failures


def _warn_of_annotations(slides: Sequence[SurveyedSlide], context: ExtractionContext) -> None:
    warn = context.progress.warn
    for slide in slides:
        if slide.format is not None and not slide.shapes:
            warn(
                f"{slide.row.annotations}: has no annotation of {slide.row.path}; if it should, "
                "see the column annotated_as"
            )
    for note in dict.fromkeys(note for slide in slides for note in slide.notes):
        warn(note)
    counts, files = Counter[str](), defaultdict[str, list[Path]](list)
    for slide in slides:
        for kind, count in slide.dropped.items():
            counts[kind] += count
            files[kind].append(slide.row.annotations or slide.row.path)
    for kind, count in counts.most_common():
        paths = list(dict.fromkeys(files[kind]))
        more = f" and {len(paths) - 1} more files" if len(paths) > 1 else ""
        warn(f"left out of the annotations: {count} {kind} ({paths[0]}{more})")
    shapes = [shape for slide in slides for shape in slide.shapes]
    points = sum(shape.is_point for shape in shapes)
    if context.settings.mode is not PatchMode.CENTRED and 0 < points < len(shapes):
        warn(
            f"{points} of {len(shapes)} annotations are points, which have no area and appear in "
            "no mask; --mode centred takes patches at points"
        )


def _warn_of_pixels(slides: Sequence[SurveyedSlide], context: ExtractionContext) -> None:
    """Warn of slides without a pixel size, without visible glass, or scanned only in part."""
    warn = context.progress.warn
    unsized = [slide for slide in slides if slide.mpp is None]
    if unsized:
        warn(
            f"no plausible pixel size (0.05 to 20 um): {_list_names(unsized)}; patches are taken "
            "pixel by pixel, and their mpp is unknown unless it follows from a registered scan. "
            "Fill in the column mpp of the manifest if you know it"
        )
    if context.settings.mode is PatchMode.CENTRED:
        return
    no_glass = [slide for slide in slides if not slide.tissue.has_glass]
    if no_glass:
        warn(f"no glass is visible, so everything is taken for tissue: {_list_names(no_glass)}")
    black = [slide for slide in slides if slide.tissue.unscanned]
    if black:
        shares = [slide.tissue.unscanned for slide in black]
        least, most = f"{min(shares):.0%}", f"{max(shares):.0%}"
        share = most if least == most else f"{least} to {most}"
        warn(f"black and therefore taken for unscanned: {share} of {_list_names(black)}")


def _list_names(slides: Sequence[SurveyedSlide]) -> str:
    """List up to three file names: ``a.svs, b.svs, c.svs and 4 more``."""
    names = [slide.row.path.name for slide in slides]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _survey_slide(settings: PatchSettings, pool: SlidePool, row: SlideRow) -> SurveyedSlide:
    with pool.get(row.path, row.mpp) as slide:
        try:
            if row.label_map:
                ClassMap.parse(row.label_map)
        except ArgumentError as error:
            raise SourceError(f"{row.path}: column label_map: {error}") from None
        moving = settings.register is not None and row.domain != settings.register
        # a scan to be registered may get its pixel size from registration
        scale = patch_scale(
            slide, None if moving and slide.mpp is None else settings.mpp, row.level
        )
        tissue = find_tissue(slide)
        annotated = _NO_ANNOTATIONS if moving else _read_annotations(slide, row)
        return SurveyedSlide(
            row=row,
            name=_name(row, settings),
            key=slide.key,
            vendor=slide.vendor,
            size=slide.size,
            levels=len(slide.level_sizes),
            mpp=slide.mpp,
            scale=scale,
            shapes=annotated.shapes,
            format=annotated.format or None,
            tissue=tissue,
            threshold=tissue.threshold,
            black=tissue.black,
            dropped=annotated.dropped,
            faults=annotated.faults,
            notes=annotated.notes,
        )


def _name(row: SlideRow, settings: PatchSettings) -> str:
    if row.slide:
        return f"{row.subject}-{row.slide}"
    return row.path.stem if settings.register is None else row.subject


def _read_annotations(slide: Slide, row: SlideRow) -> SlideAnnotations:
    """Read the annotations of a slide, in pixels of its level 0."""
    if row.annotations is None:
        return _NO_ANNOTATIONS
    annotated = read_annotations(row.annotations, row.annotated_as or row.path.name, slide.size)
    left, top = slide.bounds_offset if annotated.in_bounds else (0, 0)
    offset = (left + row.offset[0], top + row.offset[1])
    shapes = annotated.shapes
    if offset != (0, 0):
        shapes = tuple(shape.mapped(lambda ring: ring + offset) for shape in shapes)
    _check_inside(shapes, slide, row)
    return replace(annotated, shapes=shapes)


def _check_inside(shapes: Sequence[Shape], slide: Slide, row: SlideRow) -> None:
    """Refuse annotations that mostly lie outside the slide, as they belong to another one."""
    width, height = slide.size
    centres = [shape.centre for shape in shapes]
    outside = [(x, y) for x, y in centres if not (0 <= x < width and 0 <= y < height)]
    if 2 * len(outside) > len(shapes):
        x, y = outside[0]
        raise SourceError(
            f"{row.annotations}: {len(outside)} of {len(shapes)} annotations lie outside of "
            f"{row.path} ({width} x {height} pixels), the first at {x:.0f}, {y:.0f}; they are of "
            "another slide or level, or need the columns x_offset and y_offset"
        )


def _with_unique_names(
    slides: Sequence[SurveyedSlide], failures: list[str], progress: Progress
) -> list[SurveyedSlide]:
    """Leave out files listed twice, and rename slides that share a name."""
    unique: dict[tuple[str, str], SurveyedSlide] = {}
    for slide in slides:
        first = unique.setdefault((slide.row.domain, slide.key), slide)
        if first is not slide:
            failures.append(
                f"{slide.row.path}: is the same file as {first.row.path} in domain "
                f"{slide.row.domain}; list it once"
            )
    names = Counter((slide.row.domain, slide.name) for slide in unique.values())
    renamed = []
    for slide in unique.values():
        if names[slide.row.domain, slide.name] > 1:
            name = f"{slide.name}-{slide.key[:6]}"
            progress.warn(
                f"{slide.row.path}: domain {slide.row.domain} has several slides named "
                f"{slide.name}; this one is called {name}"
            )
            slide = replace(slide, name=name)
        renamed.append(slide)
    return renamed


def assign_slides(
    slides: Sequence[SurveyedSlide], options: SplitOptions, progress: Progress
) -> list[int]:
    """Return the fold of each slide, -1 for testing, stratified by its annotated share.

    See `skiptool.splits.assign_splits`.
    """
    inputs = [
        SplitInput(slide.row.path, slide.row.subject, slide.row.domain, slide.row.split)
        for slide in slides
    ]
    folds: list[int] = assign_splits(
        inputs, options, progress, strata=_annotated_shares(slides)
    ).tolist()
    return folds


def _annotated_shares(slides: Sequence[SurveyedSlide]) -> Float64:
    """Return the annotated share of each slide's area; a point counts as a million pixels."""
    shares = []
    for slide in slides:
        points = sum(shape.is_point for shape in slide.shapes)
        area = sum(shape.area for shape in slide.shapes)
        shares.append((area + 1e6 * points) / (slide.size[0] * slide.size[1]))
    return np.array(shares)


# Labels: the class of each annotated name, for all slides together.


@dataclass(frozen=True, slots=True)
class Labelling:
    """Classes of a dataset, and the class of each annotated name.

    Attributes
    ----------
    classes : tuple of str
        Index = label; background first.
    common : ClassMap
        For slides without a class map in the manifest.
    by_slide : mapping of (str, str) to ClassMap
        Column ``label_map`` of slides, by their domain and content key.
    """

    classes: tuple[str, ...]
    common: ClassMap
    by_slide: Mapping[tuple[str, str], ClassMap]

    def name(self, label: int | None) -> str:
        """Return the class of a label, for display."""
        if label is None or label >= len(self.classes):
            return "ignored" if label == IGNORE_LABEL else "in no class"
        return self.classes[label]

    def label(self, slide: SurveyedSlide, shape: Shape) -> int | None:
        """Return the label of an annotation; 255 if it is ignored, None if it is in no class."""
        mapping = self.class_map(slide)
        label = mapping.label(shape.name)
        if label is None or label == IGNORE_LABEL:
            return label
        return self.classes.index(mapping.classes[label])

    def class_map(self, slide: SurveyedSlide) -> ClassMap:
        """Return the class map of a slide."""
        return self.by_slide.get(_key(slide), self.common)


def assign_labels(
    slides: Sequence[SurveyedSlide], settings: PatchSettings, progress: Progress
) -> tuple[Labelling, list[str]]:
    """Determine the classes; warn of names that are in no class or on no slide.

    Also return a failure if annotations are left out because they are in no class. It is an error
    if a column ``label_map`` names a class that ``--classes`` does not have.
    """
    mapped = [slide for slide in slides if slide.row.label_map]
    unmapped = [slide for slide in slides if not slide.row.label_map]
    names = [shape.name for slide in unmapped for shape in slide.shapes if shape.name]
    common = ClassMap.parse(settings.classes) if settings.classes else classes_from_names(names)
    by_slide = {_key(slide): ClassMap.parse(slide.row.label_map) for slide in mapped}
    if settings.classes:
        _check_classes(mapped, by_slide, common)
    added = [name for class_map in by_slide.values() for name in class_map.classes]
    labelling = Labelling(tuple(dict.fromkeys((*common.classes, *added))), common, by_slide)
    in_no_class, nowhere = unmatched_names((slide.shapes for slide in unmapped), common)
    counts = Counter(in_no_class)
    for slide in mapped:
        counts.update(unmatched_names([slide.shapes], labelling.class_map(slide))[0])
    for name, hint in nowhere.items():
        progress.warn(f"--classes: no slide has annotations named {name!r}{hint}")
    _warn_of_ignored(slides, labelling, settings, progress)
    unnamed = counts.pop("", 0)
    fate = _fate(settings)
    if unnamed:
        progress.warn(f"{unnamed} annotations have no class in their file and are {fate}")
    failures = []
    if counts:
        failures.append(
            f"--classes: annotations in no class are {fate}: {_format_counts(counts)}; sort them "
            "into a class, or say that they may be ignored: "
            f"'ignore={quote_name(counts.most_common(1)[0][0])}'"
        )
    return labelling, failures


def _check_classes(
    slides: Sequence[SurveyedSlide],
    by_slide: Mapping[tuple[str, str], ClassMap],
    common: ClassMap,
) -> None:
    for slide in slides:
        extra = set(by_slide[_key(slide)].classes) - set(common.classes)
        if extra:
            raise SourceError(
                f"{slide.row.path}: label_map names class {min(extra)}, --classes has "
                f"{', '.join(common.classes)}; correct the manifest"
            )


def _warn_of_ignored(
    slides: Sequence[SurveyedSlide],
    labelling: Labelling,
    settings: PatchSettings,
    progress: Progress,
) -> None:
    """Warn of annotations that are ignored only because of their names in the file."""
    counts: Counter[str] = Counter()
    for slide in slides:
        class_map = labelling.class_map(slide)
        explicit = bool(settings.classes or slide.row.label_map)
        for shape in slide.shapes:
            ignored = class_map.label(shape.name) == IGNORE_LABEL
            if ignored and not (explicit and class_map.knows(shape.name)):
                counts[shape.name] += 1
    if counts:
        progress.warn(
            f"annotations whose names say that they are to be ignored are {_fate(settings)}: "
            f"{_format_counts(counts)}"
        )


def _fate(settings: PatchSettings) -> str:
    return "left out" if settings.mode is PatchMode.CENTRED else "ignored (255)"


def _key(slide: SurveyedSlide) -> tuple[str, str]:
    return slide.row.domain, slide.key


def _format_counts(counts: Counter[str]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in counts.most_common())


# Groups: the scans of one glass slide.


@dataclass(frozen=True, slots=True)
class ScanGroup:
    """Scans of one glass slide, as positions in the list of slides, with their alignments."""

    reference: int
    others: Mapping[int, Alignment | None]


def group_scans(
    slides: Sequence[SurveyedSlide], rows: Sequence[SlideRow], domain: str
) -> tuple[list[ScanGroup], list[str]]:
    """Group the scans of each glass slide with that of the reference domain, not aligned yet.

    Also return a failure for each glass slide left out because a scan is missing.
    """
    listed: dict[tuple[str, str], list[SlideRow]] = {}
    for row in rows:
        listed.setdefault((row.subject, row.slide or row.subject), []).append(row)
    scans: dict[tuple[str, str], dict[str, int]] = {}
    for index, slide in enumerate(slides):
        key = slide.row.subject, slide.row.slide or slide.row.subject
        scans.setdefault(key, {})[slide.row.domain] = index
    groups, failures = [], []
    for key, members in listed.items():
        domains, available = [row.domain for row in members], scans.get(key, {})
        failure = _group_failure(key[1], domains, available, domain)
        if failure is not None:
            failures.append(failure)
        else:
            others = {available[name]: None for name in dict.fromkeys(domains) if name != domain}
            groups.append(ScanGroup(available[domain], others))
    return groups, failures


def _group_failure(
    name: str, domains: Sequence[str], available: Mapping[str, int], domain: str
) -> str | None:
    if domain not in domains:
        return (
            f"slide {name}: the manifest has no scan of it in domain {domain}, which the others "
            "are registered to; it is left out"
        )
    repeated = [other for other in domains if domains.count(other) > 1]
    if repeated:
        return (
            f"slide {name}: the manifest has {domains.count(repeated[0])} scans of it in domain "
            f"{repeated[0]}; where a subject has several slides, name them in the column slide"
        )
    missing = [other for other in domains if other not in available]
    if missing:
        return (
            f"slide {name}: its scan in domain {missing[0]} failed, and a patch is kept in all "
            "domains or in none; the slide is left out"
        )
    return None
