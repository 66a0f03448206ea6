"""What a file's name and folders say of a picture: its domain, subject, split and id."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from skiptool.errors import ArgumentError, SourceError
from skiptool.sources.pictures import PICTURE_SUFFIXES

__all__ = ["NamePattern", "by_folders"]

FIELDS = ("domain", "subject", "split", "id")
"""What can stand in braces."""

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
