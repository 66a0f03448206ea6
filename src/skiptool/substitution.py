"""Substitution of feature maps: a decoder gets some from another image of the same sample.

A part is a skip connection, level 1 to 4, or the bottleneck, the deepest feature map. In the column
``clean_skips`` parts are written as ``1``, ``1+3``, ``bottleneck``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from skiptool.errors import ArgumentError
from skiptool.names import SKIP_LEVELS

BOTTLENECK: Final = len(SKIP_LEVELS) + 1
"""The last encoder stage, as level 5: the part that is not a skip connection."""

PIXEL_SIZES: Final = ("mpp", "mpp_y", "spacing", "spacing_y")
"""Columns of a dataset's samples that hold the pixel size."""

SAME_SCALE: Final = 0.01
"""Maximum relative difference in pixel size for exchanging feature maps."""

_WORD: Final = "bottleneck"
_ALL: Final = frozenset(SKIP_LEVELS)
_EXPECTED: Final = "expected skip levels 1 to 4 or bottleneck, joined by commas, or each, or all"


@dataclass(frozen=True, slots=True)
class Substitution:
    """A set of parts to exchange, applicable to any network.

    Attributes
    ----------
    parts : frozenset of int
        Levels, and `BOTTLENECK`.
    shifted : bool
        Only these parts come from the shifted image; otherwise only these come from the clean one.
    available : bool
        If a network lacks a part, skip the part rather than the network.
    """

    parts: frozenset[int]
    shifted: bool = False
    available: bool = False

    def clean(self, skips: Collection[int]) -> tuple[int, ...] | None:
        """Return the sorted parts that come from the clean image in a network with these skips.

        None if the network lacks a part, or if no part would be clean.

        Examples
        --------
        >>> Substitution(frozenset({1})).clean((1, 2, 3, 4))
        (1,)
        >>> Substitution(frozenset({1}), shifted=True).clean((1, 2, 3, 4))
        (2, 3, 4, 5)
        >>> Substitution(frozenset({1})).clean((2, 3, 4)) is None
        True
        """
        existing = {*skips, BOTTLENECK}
        parts = self.parts & existing if self.available else self.parts
        if not parts <= existing:
            return None
        return tuple(sorted(existing - parts if self.shifted else parts)) or None


def parse_substitutions(
    clean: Iterable[str], shifted: Iterable[str] = ()
) -> tuple[Substitution, ...]:
    """Parse the values of ``--clean-skips`` and ``--shifted-skips``, without duplicates.

    Values are ``1,3``, ``bottleneck``, ``2,bottleneck``; ``all`` for all skips that a network has;
    ``each`` for every skip alone, the bottleneck alone, and all skips. Raises ArgumentError for
    unknown values.

    Examples
    --------
    >>> [sorted(substitution.parts) for substitution in parse_substitutions(["1,3", "each"])]
    [[1, 3], [1], [2], [3], [4], [5], [1, 2, 3, 4]]
    """
    parsed = [part for word in clean for part in _parse(word, "--clean-skips", shifted=False)]
    parsed += [part for word in shifted for part in _parse(word, "--shifted-skips", shifted=True)]
    return tuple(dict.fromkeys(parsed))


def _parse(word: str, option: str, *, shifted: bool) -> list[Substitution]:
    if word not in ("each", "all"):
        return [Substitution(_parts(word, option), shifted)]
    alone = (*SKIP_LEVELS, BOTTLENECK) if word == "each" else ()
    single = [Substitution(frozenset({part}), shifted) for part in alone]
    return [*single, Substitution(_ALL, shifted, available=True)]


def format_parts(parts: Iterable[int]) -> str:
    """Return the name of parts in the column ``clean_skips``.

    Examples
    --------
    >>> format_parts((1, 3, BOTTLENECK))
    '1+3+bottleneck'
    """
    return "+".join(_WORD if part == BOTTLENECK else str(part) for part in parts)


def _parts(word: str, option: str) -> frozenset[int]:
    parts = {str(level): level for level in SKIP_LEVELS} | {_WORD: BOTTLENECK}
    names = [name.strip() for name in word.split(",")]
    for name in names:
        if name not in parts:
            raise ArgumentError(f"{option} {word!r}: unknown part {name!r}; {_EXPECTED}")
    return frozenset(parts[name] for name in names)
