"""What a file's name and folders say of a picture: its domain, subject, split and id."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import PurePosixPath

from skiptool.errors import ArgumentError, SourceError
from skiptool.names import composed
from skiptool.sources.pictures import PICTURE_SUFFIXES

__all__ = ["MaskPattern", "NamePattern", "by_folders"]

FIELDS = ("domain", "subject", "split", "id")
"""What can stand in braces."""

_BRACE = re.compile(r"[{}]")
_FIELD = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class NamePattern:
    """A pattern such as ``{domain}/{subject}_{}.png``.

    ``{}`` stands for anything that nobody asks about. Nothing in braces reaches beyond a ``/``, and
    each takes as much as it can, from the left: in ``{subject}_{}`` the last ``_`` divides. A
    pattern that does not end in the suffix of a picture fits all of them.

    Attributes
    ----------
    text : str
    regex : compiled pattern
    suffixed : bool
        Whether it says how a name ends.
    """

    text: str
    regex: re.Pattern[str]
    suffixed: bool

    @classmethod
    def parse(cls, text: str) -> NamePattern:
        """Read a pattern.

        Raises
        ------
        ArgumentError
            If a field is unknown, braces are unbalanced, or there is no field.

        Examples
        --------
        >>> NamePattern.parse("{domain}/{subject}_{}.png").read("A/patient_7_01.png")
        {'domain': 'A', 'subject': 'patient_7'}
        """
        text = composed(text)
        fields = _FIELD.findall(text)
        unknown = [name for name in fields if name not in (*FIELDS, "")]
        rest = _FIELD.sub("", text)
        if unknown or not any(fields) or "{" in rest or "}" in rest:
            raise ArgumentError(
                f"--pattern {text}: expected some of {{domain}}, {{subject}}, {{split}}, {{id}} "
                "and {}, which is anything, such as {domain}/{subject}_{}.png"
            )
        parts: list[str] = []
        seen: set[str] = set()
        for place, part in enumerate(_FIELD.split(text)):
            if place % 2 == 0:
                parts.append(re.escape(part))
            elif part in seen:
                parts.append(f"(?P={part})")
            else:
                parts.append(f"(?P<{part}>[^/]+)" if part else "[^/]+")
                seen |= {part} - {""}
        suffixed = text.lower().endswith(PICTURE_SUFFIXES)
        return cls(text, re.compile("".join(parts)), suffixed)

    def read(self, name: str) -> dict[str, str]:
        """Return the fields of a name relative to the folder of images, ``/`` between its parts.

        Raises
        ------
        SourceError
            If the name does not fit.
        """
        whole = name if self.suffixed else str(PurePosixPath(name).with_suffix(""))
        found = self.regex.fullmatch(whole)
        if found is None:
            raise SourceError(
                f"{name}: does not fit --pattern {self.text}; rename it, or leave it out"
            )
        return dict(found.groupdict())


@dataclass(frozen=True, slots=True)
class MaskPattern:
    """How a mask is called: ``{}_mask``, where ``{}`` is the name of its image.

    Or ``{}_img={}_mask``: what both names share, in that of the image and in that of the mask.

    Attributes
    ----------
    text : str
    image, mask : (str, str)
        What stands before and behind.
    """

    text: str
    image: tuple[str, str]
    mask: tuple[str, str]

    @classmethod
    def parse(cls, text: str) -> MaskPattern:
        """Read a pattern.

        Raises
        ------
        ArgumentError
            If either side does not hold ``{}`` once, or the image's holds a ``/``.

        Examples
        --------
        >>> pattern = MaskPattern.parse("{}_img={}_mask.png")
        >>> pattern.mask_of("A/7_img"), pattern.mask_of("A/7")
        ('A/7_mask', None)
        >>> MaskPattern.parse("gt_{}").mask_of("7")
        'gt_7'
        """
        text = composed(text)
        image, equals, mask = text.rpartition("=")
        sides = [side.split("{}") for side in ((image if equals else "{}"), mask)]
        if any(len(side) != 2 or _BRACE.search("".join(side)) for side in sides) or "/" in image:
            raise ArgumentError(
                f"--mask-pattern {text}: expected the name of a mask in which {{}} is that of its "
                "image, such as {}_mask, or IMAGE=MASK such as {}_img={}_mask"
            )
        (before, behind), (first, last) = sides
        return cls(text, (before, _bare(behind)), (first, _bare(last)))

    def mask_of(self, name: str) -> str | None:
        """Return the relative path without suffix of an image's mask; None if it does not fit."""
        folder, slash, last = name.rpartition("/")
        before, behind = self.image
        if not (last.startswith(before) and last.endswith(behind)):
            return None
        stem = last[len(before) : len(last) - len(behind)]
        return f"{folder}{slash}{self.mask[0]}{stem}{self.mask[1]}" if stem else None

    @classmethod
    def guess(cls, images: Sequence[str], masks: Collection[str]) -> MaskPattern | None:
        """Find a pattern by which every image has a mask; None if there is none.

        Examples
        --------
        >>> MaskPattern.guess(["1", "2"], ["1_gt", "2_gt"]).text
        '{}_gt'
        """
        if not images:
            return None
        first, known = images[0].rpartition("/")[2], set(masks)
        for mask in masks:
            last = mask.rpartition("/")[2]
            head, tail = _alike(first, last), _alike(first[::-1], last[::-1])
            for text in (
                f"{{}}{first[head:]}={{}}{last[head:]}",
                f"{first[: len(first) - tail]}{{}}={last[: len(last) - tail]}{{}}",
            ):
                if _BRACE.search(text.replace("{}", "")) or text.count("=") > 1:
                    continue
                found = cls.parse(text.removeprefix("{}="))
                if all(found.mask_of(image) in known for image in images):
                    return found
        return None


def _alike(one: str, other: str) -> int:
    """Return how many letters two names have in common at their beginning."""
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return sum(1 for _ in pairs)


def _bare(end: str) -> str:
    """Return the end of a name without the suffix of a picture."""
    suffix = next((each for each in PICTURE_SUFFIXES if end.lower().endswith(each)), "")
    return end[: len(end) - len(suffix)]


def by_folders(name: str, domain: str | None) -> Mapping[str, str]:
    """Read domain and subject from the folders that a picture lies in.

    Parameters
    ----------
    name : str
        Path relative to the folder of images, ``/`` between its parts.
    domain : str, optional
        Domain of all; without it the first folder is the domain.

    Returns
    -------
    mapping
        The next folder is the subject; where there is none, each image is its own. ``domain`` is
        missing where nothing tells it.

    Examples
    --------
    >>> by_folders("A/p1/07.png", None)
    {'domain': 'A', 'subject': 'p1'}
    >>> by_folders("A/07.png", None), by_folders("07.png", None)
    ({'domain': 'A', 'subject': '07'}, {'subject': '07'})
    """
    path = PurePosixPath(name)
    folders = list(path.parts[:-1])
    found = {} if domain is None else {"domain": domain}
    if folders and domain is None:
        found["domain"] = folders.pop(0)
    return found | {"subject": folders[0] if folders else path.stem}
