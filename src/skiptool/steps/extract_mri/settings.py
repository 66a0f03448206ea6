"""Options of ``extract mri`` that shape its slices, checked once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Any

from skiptool.errors import ArgumentError
from skiptool.names import quote_name
from skiptool.sources.pictures.labels import LabelMap, label_map
from skiptool.sources.volumes.slices import MULTIPLE
from skiptool.splits import ALL_DOMAINS

if TYPE_CHECKING:
    from skiptool.sources.pictures.labels import Key

HEART = ("background", "LV", "MYO", "RV")
"""Classes of the M&Ms challenge, section III.D: index = label."""


@dataclass(frozen=True, slots=True)
class SliceSettings:
    """Which volumes, frames and labels are taken, and how their slices are made.

    Mappings by domain have `skiptool.splits.ALL_DOMAINS` (``""``) for all domains not named.

    Attributes
    ----------
    labels : mapping of int to str
        Value in the masks to class; empty for M&Ms's 1 LV, 2 MYO, 3 RV. 0 is the background
        unless it is named.
    sizes : mapping of str to int
        Pixels on either side by domain; by default the smallest multiple of 32 that holds the
        domain's largest slice.
    spacing : float or None
        Millimetres per pixel to resample to; None keeps the acquired spacing.
    percentiles : (float, float) or None
        Percentiles of a slice that become 0 and 1; None for its lowest and highest value.
    centres : mapping of str to str
        Domain to the only hospital whose volumes are taken.
    train_subjects, test_subjects : mapping of str to int
        Number of subjects to draw by domain. If there is none for `ALL_DOMAINS`, domains not named
        have none.
    keep_unlabelled : bool
        Take frames and volumes without labels too; their masks are 255 (ignored).
    slice_axes : mapping of str to int
        Axis of the files, from 1, along which slices follow each other, by domain; by default see
        `skiptool.sources.volumes.orientation.slice_axis`.
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
        """Class names, index = label; in the order of M&Ms if it has all of them."""
        if set(self.labels.values()) <= set(HEART):
            return HEART
        ground = self.labels.get(0, HEART[0])
        named = [self.labels[value] for value in sorted(self.labels)]
        return tuple(dict.fromkeys((ground, *named)))

    @property
    def label_map(self) -> LabelMap:
        """Map from values of a mask to labels."""
        if not self.labels:
            return label_map(HEART, None)
        ground: dict[Key, str] = {} if 0 in self.labels else {0: self.classes[0]}
        return label_map(self.classes, ground | dict(self.labels.items()))

    def size_of(self, domain: str) -> int | None:
        """Return the pixels on either side of the slices of a domain, None if not given."""
        return self.sizes.get(domain, self.sizes.get(ALL_DOMAINS))

    def slice_axis_of(self, domain: str) -> int | None:
        """Return the axis from slice to slice, counted from 0, None if not given."""
        axis = self.slice_axes.get(domain, self.slice_axes.get(ALL_DOMAINS))
        return None if axis is None else axis - 1

    @property
    def asked(self) -> dict[str, Any]:
        """Parameters of the command, as recorded in the store."""
        return {
            "labels": [
                f"{value}={quote_name(name)}" for value, name in sorted(self.labels.items())
            ],
            "size": _options(self.sizes),
            "spacing": self.spacing,
            "percentiles": None
            if self.percentiles is None
            else "{:g},{:g}".format(*self.percentiles),
            "centre": _options(self.centres),
            "train_subjects": _options(self.train_subjects),
            "test_subjects": _options(self.test_subjects),
            "keep_unlabelled": self.keep_unlabelled,
            # recorded only where given, so that the ids of other stores do not change
            **({"slice_axis": _options(self.slice_axes)} if self.slice_axes else {}),
        }

    def _faults(self) -> Iterator[tuple[bool, str]]:
        for domain, size in self.sizes.items():
            yield (
                size < MULTIPLE or size % MULTIPLE != 0,
                f"--size {_option(domain, size)}: expected a multiple of {MULTIPLE}, as the "
                "network halves images five times; the next is "
                f"{max(1, -(-size // MULTIPLE)) * MULTIPLE}",
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
                    f"--{option}-subjects {_option(domain, count)}: expected 0 or more subjects",
                )
        for domain, axis in self.slice_axes.items():
            yield (
                axis not in (1, 2, 3),
                f"--slice-axis {_option(domain, axis)}: expected 1, 2 or 3, the axis of the files "
                "that leads from slice to slice",
            )
        yield (
            ALL_DOMAINS in self.centres,
            f"--centre {self.centres.get(ALL_DOMAINS)}: expected DOMAIN=CENTRE, such as A=1",
        )


def _option(domain: str, value: object) -> str:
    return f"{domain}={value}" if domain else str(value)


def _options(by_domain: Mapping[str, Any]) -> list[str]:
    return [_option(domain, value) for domain, value in sorted(by_domain.items())]
