"""Settings of ``extract mri`` that determine its slices, validated once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
    """Selection of volumes, frames and labels, and geometry and scaling of their slices.

    In mappings by domain, `skiptool.splits.ALL_DOMAINS` (``""``) is the key for all domains that
    are not named.

    Attributes
    ----------
    labels : mapping of int to str
        Class of each value in the masks; empty for those of M&Ms: 1 LV, 2 MYO, 3 RV. 0 is the
        background unless it is named.
    sizes : mapping of str to int
        Side of the slices in pixels, by domain; by default the smallest multiple of 32 that holds
        the domain's largest slice.
    spacing : float or None
        Millimetres per pixel to resample to; None keeps the acquired spacing.
    percentiles : (float, float) or None
        Percentiles of a slice that are scaled to 0 and 1; None for its minimum and maximum.
    centres : mapping of str to str
        The only hospital whose volumes are taken, by domain.
    train_subjects, test_subjects : mapping of str to int
        Number of subjects to draw by domain; none from domains without a number.
    keep_unlabelled : bool
        Include frames and volumes without labels; their masks are 255 (ignored).
    slice_axes : mapping of str to int
        Axis of the files, counted from 1, from slice to slice, by domain; by default see
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
        for domain, size in self.sizes.items():
            if size < MULTIPLE or size % MULTIPLE:
                raise ArgumentError(
                    f"--size {_option(domain, size)}: expected a multiple of {MULTIPLE}, as the "
                    "network halves images five times; the next is "
                    f"{max(1, -(-size // MULTIPLE)) * MULTIPLE}"
                )
        if self.spacing is not None and not 0.01 <= self.spacing <= 100:
            raise ArgumentError(
                f"--spacing {self.spacing}: expected 0.01 to 100 millimetres a pixel"
            )
        if self.percentiles is not None:
            low, high = self.percentiles
            if not 0.0 <= low < high <= 100.0:
                raise ArgumentError(
                    f"--percentiles {low:g},{high:g}: expected LOW,HIGH with 0 <= LOW < HIGH <= 100"
                )
        self._check_domain_options()
        _ = self.label_map  # checks the labels

    def _check_domain_options(self) -> None:
        for option, counts in (("train", self.train_subjects), ("test", self.test_subjects)):
            for domain, count in counts.items():
                if count < 0:
                    raise ArgumentError(
                        f"--{option}-subjects {_option(domain, count)}: expected 0 or more subjects"
                    )
        for domain, axis in self.slice_axes.items():
            if axis not in (1, 2, 3):
                raise ArgumentError(
                    f"--slice-axis {_option(domain, axis)}: expected 1, 2 or 3, the axis of the "
                    "files that leads from slice to slice"
                )
        if ALL_DOMAINS in self.centres:
            raise ArgumentError(
                f"--centre {self.centres[ALL_DOMAINS]}: expected DOMAIN=CENTRE, such as A=1"
            )

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, index = label; those of M&Ms, in their order, if it has all of them."""
        if set(self.labels.values()) <= set(HEART):
            return HEART
        background = self.labels.get(0, HEART[0])
        named = [self.labels[value] for value in sorted(self.labels)]
        return tuple(dict.fromkeys((background, *named)))

    @property
    def label_map(self) -> LabelMap:
        """Map from values of a mask to labels."""
        if not self.labels:
            return label_map(HEART, None)
        names: dict[Key, str] = {0: self.classes[0]}
        names.update(self.labels.items())
        return label_map(self.classes, names)

    def size_of(self, domain: str) -> int | None:
        """Return the side of a domain's slices in pixels, None if not set."""
        return self.sizes.get(domain, self.sizes.get(ALL_DOMAINS))

    def slice_axis_of(self, domain: str) -> int | None:
        """Return the axis from slice to slice, counted from 0, None if not set."""
        axis = self.slice_axes.get(domain, self.slice_axes.get(ALL_DOMAINS))
        return None if axis is None else axis - 1

    @property
    def recorded(self) -> dict[str, Any]:
        """Parameters of the command, as recorded in the store."""
        labels = [f"{value}={quote_name(name)}" for value, name in sorted(self.labels.items())]
        low_high = None if self.percentiles is None else "{:g},{:g}".format(*self.percentiles)
        parameters = {
            "labels": labels,
            "size": _options(self.sizes),
            "spacing": self.spacing,
            "percentiles": low_high,
            "centre": _options(self.centres),
            "train_subjects": _options(self.train_subjects),
            "test_subjects": _options(self.test_subjects),
            "keep_unlabelled": self.keep_unlabelled,
        }
        if self.slice_axes:  # else omitted, so that ids of earlier stores stay valid
            parameters["slice_axis"] = _options(self.slice_axes)
        return parameters


def _option(domain: str, value: object) -> str:
    return f"{domain}={value}" if domain else str(value)


def _options(by_domain: Mapping[str, Any]) -> list[str]:
    return [_option(domain, value) for domain, value in sorted(by_domain.items())]
