"""Scans of one glass slide, gathered around that of the reference domain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from skiptool.sources.registration.transforms import Alignment
from skiptool.sources.slides.manifest import SlideRow
from skiptool.steps.extract_wsi.survey import Surveyed

__all__ = ["Group", "grouped"]


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
