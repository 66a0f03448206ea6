"""Look at every slide once: header, annotations, tissue; what is sound, and what fails and why."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path

from skiptool.errors import ArgumentError, SkiptoolError, SourceError
from skiptool.names import PatchMode
from skiptool.records import Progress
from skiptool.sources.annotations.classes import ClassMap
from skiptool.sources.annotations.read import read_annotations
from skiptool.sources.annotations.shapes import Annotated, Shape
from skiptool.sources.slides.manifest import SlideRow
from skiptool.sources.slides.pool import SlidePool
from skiptool.sources.slides.slide import Slide, scale_of
from skiptool.sources.slides.tissue import Tissue, find_tissue
from skiptool.steps.extract_wsi.run import Run
from skiptool.steps.extract_wsi.settings import PatchSettings

__all__ = ["Scan", "Surveyed", "survey"]


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
