"""Look at every slide once: header, annotations, tissue; what is sound, and what fails and why."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skiptool.errors import ArgumentError, SkiptoolError, SourceError
from skiptool.names import IGNORE, PatchMode, Split, quoted_name
from skiptool.records import Progress
from skiptool.sources.annotations.classes import ClassMap, by_name, unmatched_names
from skiptool.sources.annotations.read import read_annotations
from skiptool.sources.annotations.shapes import Annotated, Shape
from skiptool.sources.registration.transforms import Alignment
from skiptool.sources.slides.manifest import SlideRow
from skiptool.sources.slides.pool import SlidePool
from skiptool.sources.slides.slide import Slide, scale_of
from skiptool.sources.slides.tissue import Tissue, find_tissue
from skiptool.splits import (
    alike,
    assign_folds,
    check_undecided,
    hold_out,
    train_on,
    trained_elsewhere,
)
from skiptool.steps.extract_wsi.settings import PatchSettings, Run

if TYPE_CHECKING:
    from skiptool.records import Bool, Float64, Int64

__all__ = ["Group", "Labelling", "Scan", "Surveyed", "dealt", "grouped", "labelling", "survey"]


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """What is needed of a slide to read patches of it; travels to other machines.

    Attributes
    ----------
    row : SlideRow
    name : str
        Of the glass slide; scans of one glass slide share it. Unique among others in its domain.
    key : str
        Content key of the file.
    size : tuple of int
        Width and height of level 0.
    mpp : tuple of float or None
        Micrometres per pixel of level 0, x and y; None where nobody knows.
    scale : tuple of float
        Level-0 pixels that a pixel of a patch spans.
    threshold : int
        Grey level above which there is no tissue.
    black : int
        Grey level up to which the slide was not scanned.
    relative_mpp : float
        How many pixels of a patch of the reference scan a pixel of a patch spans, by registration.
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
        """Micrometres per pixel of the patches, x and y; None where nobody knows."""
        if self.mpp is None:
            return None
        return self.mpp[0] * self.scale[0], self.mpp[1] * self.scale[1]


@dataclass(frozen=True, slots=True, eq=False)
class Surveyed(Scan):
    """A slide that can be used, with all that was found on it.

    Attributes
    ----------
    vendor : str
    levels : int
    shapes : tuple of Shape
        Annotations in level-0 pixels, in paint order.
    format : str or None
        Of the annotation file, None where there is none.
    tissue : Tissue
    dropped : mapping of str to int
        Annotations that are in no shape, by what they are.
    faults, notes : tuple of str
        Records of the annotation file that cannot be read; what must be known of it as a whole.
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
    def scan(self) -> Scan:
        """What is needed to read patches."""
        return Scan(**{field.name: getattr(self, field.name) for field in fields(Scan)})


def survey(run: Run, rows: Sequence[SlideRow]) -> tuple[list[Surveyed], list[str]]:
    """Open every slide, read its annotations and find its tissue.

    Returns
    -------
    slides : list of Surveyed
        Those that can be used, in the order of the rows.
    failures : list of str
        One line for each of the others, and for each annotation file of which some records cannot
        be read.
    """
    slides: list[Surveyed] = []
    failures: list[str] = []
    look = partial(_look, run.settings, run.pool)
    with run.progress.task("survey", len(rows)) as task:
        for found in run.mapper(look, rows):
            task.advance()
            if isinstance(found, str):
                failures.append(found)
            else:
                slides.append(found)
    failures += _unread(slides)
    _tell(slides, run)
    return _named(slides, failures, run.progress), failures


def _unread(slides: Sequence[Surveyed]) -> list[str]:
    return [
        f"{slide.row.annotations}: {len(slide.faults)} annotations of {slide.row.path.name} cannot "
        f"be read and are left out, the first: {slide.faults[0]}"
        for slide in slides
        if slide.faults
    ]


def _tell(slides: Sequence[Surveyed], run: Run) -> None:
    """Say what was left out or taken for granted, one line for all slides of a kind."""
    warn = run.progress.warn
    for slide in slides:
        if slide.format is not None and not slide.shapes:
            warn(
                f"{slide.row.annotations}: has no annotation of {slide.row.path}; if it should, "
                "see the column annotated_as"
            )
    for note in dict.fromkeys(note for slide in slides for note in slide.notes):
        warn(note)
    _tell_dropped(slides, warn)
    shapes = [shape for slide in slides for shape in slide.shapes]
    points = sum(shape.is_point for shape in shapes)
    if run.settings.mode is not PatchMode.CENTRED and 0 < points < len(shapes):
        warn(
            f"{points} of {len(shapes)} annotations are points, which have no area and appear in "
            "no mask; --mode centred takes patches at them"
        )
    unsized = [slide for slide in slides if slide.mpp is None]
    if unsized:
        warn(
            f"no plausible size of pixels (0.05 to 20 um): {_listed(unsized)}; patches are taken "
            "pixel by pixel, their mpp is unknown unless a registered scan tells it. Fill in the "
            "column mpp of the manifest if you know it"
        )
    if run.settings.mode is not PatchMode.CENTRED:
        _tell_tissue(slides, warn)


def _tell_dropped(slides: Sequence[Surveyed], warn: Callable[[str], None]) -> None:
    counts, files = Counter[str](), defaultdict[str, list[Path]](list)
    for slide in slides:
        for what, count in slide.dropped.items():
            counts[what] += count
            files[what].append(slide.row.annotations or slide.row.path)
    for what, count in counts.most_common():
        paths = list(dict.fromkeys(files[what]))
        more = f" and {len(paths) - 1} more files" if len(paths) > 1 else ""
        warn(f"left out of the annotations: {count} {what} ({paths[0]}{more})")


def _tell_tissue(slides: Sequence[Surveyed], warn: Callable[[str], None]) -> None:
    bare = [slide for slide in slides if not slide.tissue.has_glass]
    if bare:
        warn(f"no glass is seen, all is taken for tissue: {_listed(bare)}")
    black = [slide for slide in slides if slide.tissue.unscanned]
    if black:
        least, most = (
            f"{end(slide.tissue.unscanned for slide in black):.0%}" for end in (min, max)
        )
        shares = most if least == most else f"{least} to {most}"
        warn(f"black, so taken for not scanned and no tissue: {shares} of {_listed(black)}")


def _listed(slides: Sequence[Surveyed]) -> str:
    """Name up to three slides: ``a.svs, b.svs, c.svs and 4 more``."""
    names = [slide.row.path.name for slide in slides]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _look(settings: PatchSettings, pool: SlidePool, row: SlideRow) -> Surveyed | str:
    try:
        with pool.get(row.path, row.mpp) as slide:
            return _surveyed(slide, row, settings)
    except SkiptoolError as error:
        return str(error)


def _surveyed(slide: Slide, row: SlideRow, settings: PatchSettings) -> Surveyed:
    _check_map(row)
    carried = settings.register is not None and row.domain != settings.register
    # what a scan to be registered lacks, registration may tell
    wanted = None if carried and slide.mpp is None else settings.mpp
    scale = scale_of(slide, wanted, row.level)
    tissue = find_tissue(slide)
    found = _NOTHING if carried else _annotated(slide, row)
    return Surveyed(
        row=row,
        name=_name(row, settings),
        key=slide.key,
        vendor=slide.vendor,
        size=slide.size,
        levels=len(slide.level_sizes),
        mpp=slide.mpp,
        scale=scale,
        shapes=found.shapes,
        format=found.format or None,
        tissue=tissue,
        threshold=tissue.threshold,
        black=tissue.black,
        dropped=found.dropped,
        faults=found.faults,
        notes=found.notes,
    )


_NOTHING = Annotated((), None, False, "")


def _check_map(row: SlideRow) -> None:
    try:
        if row.label_map:
            ClassMap.parse(row.label_map)
    except ArgumentError as error:
        raise SourceError(f"{row.path}: column label_map: {error}") from None


def _name(row: SlideRow, settings: PatchSettings) -> str:
    if row.slide:
        return f"{row.subject}-{row.slide}"
    return row.path.stem if settings.register is None else row.subject


def _annotated(slide: Slide, row: SlideRow) -> Annotated:
    """Read the annotations of a slide, in pixels of its level 0."""
    if row.annotations is None:
        return _NOTHING
    found = read_annotations(row.annotations, row.annotated_as or row.path.name, slide.size)
    left, top = slide.bounds_offset if found.in_bounds else (0, 0)
    offset = (left + row.offset[0], top + row.offset[1])
    shapes = found.shapes
    if offset != (0, 0):
        shapes = tuple(shape.mapped(lambda ring: ring + offset) for shape in shapes)
    _check_inside(shapes, slide, row)
    return replace(found, shapes=shapes)


def _check_inside(shapes: Sequence[Shape], slide: Slide, row: SlideRow) -> None:
    """Refuse annotations of which most lie beside the slide: they are of another one."""
    width, height = slide.size
    outside = [
        (x, y) for x, y in (s.centre for s in shapes) if not (0 <= x < width and 0 <= y < height)
    ]
    if 2 * len(outside) > len(shapes):
        x, y = outside[0]
        raise SourceError(
            f"{row.annotations}: {len(outside)} of {len(shapes)} annotations lie outside of "
            f"{row.path} ({width} x {height} pixels), the first at {x:.0f}, {y:.0f}; they are of "
            "another slide or level, or need the columns x_offset and y_offset"
        )


def _named(slides: Sequence[Surveyed], failures: list[str], progress: Progress) -> list[Surveyed]:
    """Leave out files that are listed twice, and tell apart slides that share a name."""
    kept: dict[tuple[str, str], Surveyed] = {}
    for slide in slides:
        first = kept.setdefault((slide.row.domain, slide.key), slide)
        if first is not slide:
            failures.append(
                f"{slide.row.path}: is the same file as {first.row.path} in domain "
                f"{slide.row.domain}; list it once"
            )
    names = Counter((slide.row.domain, slide.name) for slide in kept.values())
    found = []
    for slide in kept.values():
        if names[slide.row.domain, slide.name] > 1:
            own = f"{slide.name}-{slide.key[:6]}"
            progress.warn(
                f"{slide.row.path}: domain {slide.row.domain} has several slides named "
                f"{slide.name}; this one is called {own}"
            )
            slide = replace(slide, name=own)
        found.append(slide)
    return found


# -------------------------------------------------------------------------------------------------
# Which slides are for testing, and which fold the others are in: by subject, in all domains.


def dealt(
    slides: Sequence[Surveyed],
    test_fraction: float,
    folds: int,
    seed: int,
    progress: Progress,
    train_domain: str | None = None,
) -> list[tuple[Split, int]]:
    """Return split and fold (-1 for testing) of each slide.

    The manifest's column ``split`` decides where it is filled in; otherwise subjects are held out
    so that both sides are annotated alike; with a domain to train on, those of the others are all
    for testing. A single subject cannot be split: it is for testing.

    Raises
    ------
    SourceError
        If the column is filled in for some slides only, or both ways for one subject.
    ArgumentError
        If the fraction is out of range, there are no folds, or the domain to train on is not there
        or not free to be chosen.
    """
    subjects = np.array([slide.row.subject for slide in slides], dtype=object)
    load = _load(slides)
    asked = _asked(slides)
    for line in alike(asked, (slide.row.domain for slide in slides)):
        progress.warn(line)
    if train_domain is None:
        test = _tested(slides, asked, load, test_fraction, seed, progress)
    else:
        check_undecided(any(asked.values()))
        domains = [slide.row.domain for slide in slides]
        test = train_on(train_domain, domains, subjects, load, test_fraction, seed)
        for line in trained_elsewhere(train_domain, domains, test):
            progress.warn(line)
    fold: Int64 = np.full(len(slides), -1, dtype=np.int64)
    trained_on = set(subjects[~test])
    training = len(trained_on)
    if training:
        if training == 1:
            progress.warn(
                f"one training subject ({trained_on.pop()}) cannot be trained on: no other is left "
                "to validate on, and its own patches are too alike to stand in for one. Add "
                "subjects, or use the store for testing"
            )
        elif training < folds:
            progress.warn(
                f"--folds {folds}: more than there are training subjects; {training} are made"
            )
        dealt_out = min(folds, training)
        fold[~test] = assign_folds(subjects[~test], load[~test], dealt_out, seed)
    return [(Split.TRAIN if number >= 0 else Split.TEST, number) for number in fold.tolist()]


def _asked(slides: Sequence[Surveyed]) -> dict[str, Split | None]:
    """Return the split that the manifest asks for by subject."""
    asked: dict[str, Split | None] = {}
    for slide in slides:
        known = asked.setdefault(slide.row.subject, slide.row.split)
        if known is not slide.row.split:
            raise SourceError(
                f"{slide.row.path}: split is {_said(slide.row.split)}, for another slide of "
                f"subject {slide.row.subject} it is {_said(known)}; a subject is on one side"
            )
    if None in asked.values() and any(asked.values()):
        bare = next(slide.row.path for slide in slides if slide.row.split is None)
        raise SourceError(f"{bare}: split is empty, in other rows it is not; fill it in everywhere")
    return asked


def _tested(
    slides: Sequence[Surveyed],
    asked: Mapping[str, Split | None],
    load: Float64,
    test_fraction: float,
    seed: int,
    progress: Progress,
) -> Bool:
    if any(asked.values()):
        return np.array([slide.row.split is Split.TEST for slide in slides])
    if len(asked) == 1 and test_fraction > 0:
        progress.warn(
            "a single subject cannot be split: all its patches are for testing, and a network "
            "cannot be trained on one subject alone, as none is left to validate on"
        )
        return np.ones(len(slides), dtype=np.bool_)
    if test_fraction == 0:
        return np.zeros(len(slides), dtype=np.bool_)
    return hold_out([slide.row.subject for slide in slides], load, test_fraction, seed)


def _said(split: Split | None) -> str:
    return "empty" if split is None else split.value


def _load(slides: Sequence[Surveyed]) -> Float64:
    """How much each slide is annotated: share of its area, and points in a million pixels."""
    found = []
    for slide in slides:
        points = sum(shape.is_point for shape in slide.shapes)
        area = sum(shape.area for shape in slide.shapes)
        found.append((area + 1e6 * points) / (slide.size[0] * slide.size[1]))
    return np.array(found)


# -------------------------------------------------------------------------------------------------
# From names of annotations to labels of pixels, for all slides together.


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


# -------------------------------------------------------------------------------------------------
# Scans of one glass slide, gathered around that of the reference domain.


@dataclass(frozen=True, slots=True)
class Group:
    """Scans of one glass slide: places in the list of slides; the others with their alignments."""

    reference: int
    others: Mapping[int, Alignment | None]


def grouped(
    slides: Sequence[Surveyed], rows: Sequence[SlideRow], domain: str
) -> tuple[list[Group], list[str]]:
    """Gather the scans of each glass slide around that of the reference domain.

    Returns
    -------
    groups : list of Group
        Not aligned yet. A glass slide of which any scan is missing is left out.
    failures : list of str
        One line for each of those.
    """
    listed: dict[tuple[str, str], list[SlideRow]] = {}
    for row in rows:
        listed.setdefault((row.subject, row.slide or row.subject), []).append(row)
    found: dict[tuple[str, str], dict[str, int]] = {}
    for place, slide in enumerate(slides):
        key = slide.row.subject, slide.row.slide or slide.row.subject
        found.setdefault(key, {})[slide.row.domain] = place
    groups, failures = [], []
    for key, members in listed.items():
        domains, have = [row.domain for row in members], found.get(key, {})
        fault = _fault(key[1], domains, have, domain)
        if fault:
            failures.append(fault)
        else:
            others = {have[name]: None for name in dict.fromkeys(domains) if name != domain}
            groups.append(Group(have[domain], others))
    return groups, failures


def _fault(name: str, domains: Sequence[str], have: Mapping[str, int], domain: str) -> str | None:
    if domain not in domains:
        return (
            f"slide {name}: the manifest has no scan of it in domain {domain}, which the others "
            "are registered to; it is left out"
        )
    twice = [each for each in domains if domains.count(each) > 1]
    if twice:
        return (
            f"slide {name}: the manifest has {domains.count(twice[0])} scans of it in domain "
            f"{twice[0]}; where a subject has several slides, name them in the column slide"
        )
    missing = [each for each in domains if each not in have]
    if missing:
        return (
            f"slide {name}: its scan in domain {missing[0]} failed, and a patch is kept in all "
            "domains or in none; the slide is left out"
        )
    return None
