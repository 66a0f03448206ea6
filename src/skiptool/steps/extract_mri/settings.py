"""What is asked of an extraction of volumes, checked once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from skiptool.errors import ArgumentError
from skiptool.names import quoted_name
from skiptool.sources.pictures.labels import LabelMap, label_map
from skiptool.sources.volumes.slices import MULTIPLE

__all__ = ["ALL", "HEART", "SliceSettings"]

HEART = ("background", "LV", "MYO", "RV")
"""Classes of the M&Ms challenge, section III.D: index = label."""

ALL = ""
"""Key of the value for all domains that are not named."""


@dataclass(frozen=True, slots=True)
class SliceSettings:
    """Which volumes, frames and labels are taken, and what their slices are made into.

    Attributes
    ----------
    labels : mapping of int to str
        Value in the masks to class; empty for M&Ms's 1 LV, 2 MYO, 3 RV. 0 is the background
        unless it is named.
    sizes : mapping of str to int
        Pixels on either side by domain, ``""`` for the others; where there is none, the smallest
        multiple of 32 that holds the domain's largest slice.
    spacing : float or None
        Millimetres a pixel to resample to; None leaves each scanner's own.
    percentiles : (float, float) or None
        Percentiles of a slice that become 0 and 1; None for its lowest and highest value.
    centres : mapping of str to str
        Domain to the one hospital of which volumes are taken.
    train_subjects, test_subjects : mapping of str to int
        Subjects to take by domain; ``""`` for each of the others. Where domains are named only,
        no subject of another one is taken.
    keep_unlabelled : bool
        Take frames and volumes without labels too; their masks are 255 (ignored).
    slice_axes : mapping of str to int
        Axis of the files that leads from slice to slice, from 1, by domain, ``""`` for the others;
        where there is none, see `skiptool.sources.volumes.orientation.slice_axis`.
    """

    labels: Mapping[int, str] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    spacing: float | None = None
    percentiles: tuple[float, float] | None = None
    centres: Mapping[str, str] = field(default_factory=dict)
    train_subjects: Mapping[str, int] = field(default_factory=dict)
    test_subjects: Mapping[str, int] = field(default_factory=dict)
    keep_unlabelled: bool = False
    slice_axes: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for wrong, message in self._faults():
            if wrong:
                raise ArgumentError(message)
        _ = self.label_map

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, index = label: M&Ms's order where it has all that are named."""
        if set(self.labels.values()) <= set(HEART):
            return HEART
        ground = self.labels.get(0, HEART[0])
        named = [self.labels[value] for value in sorted(self.labels)]
        return tuple(dict.fromkeys((ground, *named)))

    @property
    def label_map(self) -> LabelMap:
        """Which value of a mask is which label."""
        if not self.labels:
            return label_map(HEART, None)
        ground = {} if 0 in self.labels else {0: self.classes[0]}
        return label_map(self.classes, {k: v for k, v in {**ground, **self.labels}.items()})

    def size_of(self, domain: str) -> int | None:
        """Return the pixels asked for on either side of the slices of a domain, if any."""
        return self.sizes.get(domain, self.sizes.get(ALL))

    def slice_axis_of(self, domain: str) -> int | None:
        """Return the axis asked for from slice to slice, from 0, if any."""
        asked = self.slice_axes.get(domain, self.slice_axes.get(ALL))
        return None if asked is None else asked - 1

    @property
    def asked(self) -> dict[str, Any]:
        """What shapes the result, as options of the command."""
        return {
            "labels": [
                f"{value}={quoted_name(name)}" for value, name in sorted(self.labels.items())
            ],
            "size": _words(self.sizes),
            "spacing": self.spacing,
            "percentiles": None
            if self.percentiles is None
            else "{:g},{:g}".format(*self.percentiles),
            "centre": _words(self.centres),
            "train_subjects": _words(self.train_subjects),
            "test_subjects": _words(self.test_subjects),
            "keep_unlabelled": self.keep_unlabelled,
            # only where it is used: what was made before it was there stays finished
            **({"slice_axis": _words(self.slice_axes)} if self.slice_axes else {}),
        }

    def _faults(self) -> Iterator[tuple[bool, str]]:
        for domain, size in self.sizes.items():
            yield (
                size < MULTIPLE or size % MULTIPLE != 0,
                f"--size {_word(domain, size)}: expected a multiple of {MULTIPLE}, as the network "
                f"halves images five times; the next is {max(1, -(-size // MULTIPLE)) * MULTIPLE}",
            )
        yield (
            self.spacing is not None
            and not (isfinite(self.spacing) and 0.01 <= self.spacing <= 100),
            f"--spacing {self.spacing}: expected 0.01 to 100 millimetres a pixel",
        )
        low, high = self.percentiles or (0.0, 100.0)
        yield (
            not 0.0 <= low < high <= 100.0,
            f"--percentiles {low:g},{high:g}: expected LOW,HIGH with 0 <= LOW < HIGH <= 100",
        )
        for option, counts in (("train", self.train_subjects), ("test", self.test_subjects)):
            for domain, count in counts.items():
                yield (
                    count < 0,
                    f"--{option}-subjects {_word(domain, count)}: expected 0 or more subjects",
                )
        for domain, axis in self.slice_axes.items():
            yield (
                axis not in (1, 2, 3),
                f"--slice-axis {_word(domain, axis)}: expected 1, 2 or 3, the axis of the files "
                "that leads from slice to slice",
            )
        yield (
            ALL in self.centres,
            f"--centre {self.centres.get(ALL)}: expected DOMAIN=CENTRE, such as A=1",
        )


def _word(domain: str, value: object) -> str:
    return f"{domain}={value}" if domain else str(value)


def _words(by_domain: Mapping[str, Any]) -> list[str]:
    return [_word(domain, value) for domain, value in sorted(by_domain.items())]
