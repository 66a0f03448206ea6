"""Which slides are for testing, and which fold the others are in: by subject, in all domains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from skiptool.errors import SourceError
from skiptool.names import Split
from skiptool.records import Progress
from skiptool.splits import (
    alike,
    assign_folds,
    check_undecided,
    hold_out,
    train_on,
    trained_elsewhere,
)
from skiptool.steps.extract_wsi.survey import Surveyed

if TYPE_CHECKING:
    from skiptool.records import Bool, Float64, Int64

__all__ = ["dealt"]


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
