"""What a part of the report shows, whoever computed it: a picture, its numbers, what they say."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from skiptool.records import Table

__all__ = ["Number", "Shown", "known"]

Number: TypeAlias = Mapping[str, str | int | float | None]
"""One measured number with what it is of: a row of the table ``report``."""


class Shown(Protocol):
    """One exhibit of the report."""

    @property
    def topic(self) -> str:
        """Stem of its anchor and file name, ``iou``: small letters, digits and hyphens.

        One that also has a text ``part`` is named by it, ``layers-brightness-0.5``, else by its
        number, ``iou-1``.
        """

    @property
    def heading(self) -> str:
        """Section that it stands in, with those before and after it of the same heading."""

    @property
    def title(self) -> str:
        """What it shows, in a line."""

    @property
    def caption(self) -> str:
        """What is seen, with n, folds, shift, B and units."""

    def draw(self) -> Figure | None:
        """Draw it; None where the table is all there is."""

    def table(self) -> Table:
        """Return its numbers as people read them; each of them is in ``numbers`` as well."""

    def numbers(self) -> list[Number]:
        """Return its numbers as rows of the table ``report``, without ``figure`` and ``title``.

        What was not measured is NaN or left out.
        """

    def sentences(self) -> tuple[str, ...]:
        """Say in words what is to be seen."""


def known(value: float) -> float | None:
    """Return a number as a table shows it: None where there is none.

    Examples
    --------
    >>> known(0.5), known(math.nan)
    (0.5, None)
    """
    return None if math.isnan(value) else value
