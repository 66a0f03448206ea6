"""Mapping from annotated names to classes of the dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from skiptool.errors import ArgumentError, suggestion
from skiptool.names import IGNORE_LABEL, normalise_unicode, quote_name, split_names, unquote_name
from skiptool.sources.annotations.shapes import Shape

BACKGROUND: Final = "background"
"""Class of label 0, always present."""

STARRED: Final = "*"
"""Suffix of names that QuPath ignores, such as ``Ignore*`` and ``Artefact*``."""

IGNORED: Final = "ignore"
"""Name for label 255 (ignored), which is not a class of the dataset."""

_MAX_CLASSES: Final = 250
"""Largest number of classes: labels are bytes, and 255 means "ignore"."""

_EXAMPLE: Final = "'tumor=Melanoma,SCC;non-tumor=Dermis'"


@dataclass(frozen=True, slots=True)
class ClassMap:
    """Classes of a dataset, and the names in annotation files that belong to each.

    Attributes
    ----------
    classes : tuple of str
        Index = label; ``background`` first.
    named : mapping of str to int
        Label of every name in annotation files, spelt as given.
    """

    classes: tuple[str, ...]
    named: Mapping[str, int]
    _keys: Mapping[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        keys = {_key(name): label for name, label in self.named.items()}
        object.__setattr__(self, "_keys", keys)

    @classmethod
    def parse(cls, text: str) -> ClassMap:
        """Parse ``class=name,name;class=name``; a class without names is its own name.

        Parameters
        ----------
        text : str
            Value of ``--classes``. ``background=...`` gives names label 0, ``ignore=...`` label
            255. A class or name that contains ``,``, ``;`` or ``=`` is put in double quotes.

        Examples
        --------
        >>> mapping = ClassMap.parse("tumor=Melanoma,SCC; non-tumor=Dermis")
        >>> mapping.classes, mapping.label("melanoma "), mapping.label("Bone")
        (('background', 'tumor', 'non-tumor'), 1, None)
        """
        entries = [split_names(part, "=") for part in split_names(text, ";") if part.strip()]
        grouped = [
            (unquote_name(target), [*map(unquote_name, split_names("=".join(names), ","))])
            if names
            else (unquote_name(target), [unquote_name(target)])
            for target, *names in entries
        ]
        several = next((entry[0] for entry in entries if len(split_names(entry[0], ",")) > 1), None)
        _check(grouped, f"classes {text!r}", several)
        return _numbered(grouped)

    def knows(self, name: str) -> bool:
        """Return whether a source name was given explicitly."""
        return _key(name) in self._keys

    def label(self, name: str) -> int | None:
        """Return the label of a source name, None if it is in no class.

        Case and blanks are ignored. A name ending in ``*`` is ignored (255) unless given
        explicitly.
        """
        return self._keys.get(_key(name), IGNORE_LABEL if _is_starred(name) else None)


def classes_from_names(names: Iterable[str]) -> ClassMap:
    """Make every name its own class, in alphabetical order, ignoring case.

    Names ending in ``*`` are ignored.

    Examples
    --------
    >>> classes_from_names(["mitosis", "Cell", "cell", ""]).classes
    ('background', 'Cell', 'mitosis')
    """
    grouped: dict[str, list[str]] = {}
    for name in sorted({name for name in names if name.strip() and not _is_starred(name)}):
        grouped.setdefault(_key(name), []).append(name)
    if len(grouped) > _MAX_CLASSES:
        raise ArgumentError(
            f"classes: the annotations have {len(grouped)} names, at most {_MAX_CLASSES} can be "
            f"classes of their own; group them, as in {_EXAMPLE}"
        )
    return _numbered((same[0], same) for _, same in sorted(grouped.items()))


def unmatched_names(
    shapes_per_slide: Iterable[Iterable[Shape]], class_map: ClassMap
) -> tuple[dict[str, int], dict[str, str]]:
    """Find annotated names without a class, and names of classes that no shape has.

    Returns
    -------
    unmapped : dict of str to int
        Annotated name without a class, and its number of shapes, most frequent first; "" stands
        for unnamed shapes.
    unused : dict of str to str
        Name of a class that no shape has, with a suggestion of similar names for a message.
    """
    counts = Counter(shape.name for shapes in shapes_per_slide for shape in shapes)
    unmapped = {
        name: count for name, count in counts.most_common() if class_map.label(name) is None
    }
    present = {_key(name) for name in counts}
    unused = {
        name: suggestion(quote_name(name), [quote_name(other) for other in counts if other])
        for name in class_map.named
        if _key(name) not in present
    }
    return unmapped, unused


def _check(grouped: Sequence[tuple[str, Sequence[str]]], where: str, several: str | None) -> None:
    """Refuse empty or repeated names, and ``several`` names that are given as one class."""
    if not grouped:
        raise ArgumentError(f"{where}: no class; give them as {_EXAMPLE}")
    if len(grouped) > _MAX_CLASSES:
        raise ArgumentError(f"{where}: {len(grouped)} classes, at most {_MAX_CLASSES}; merge some")
    targets = [target for target, _ in grouped]
    names = [name for _, sources in grouped for name in sources]
    if not all((*targets, *names)):
        raise ArgumentError(f"{where}: a class or name in it is empty; give them as {_EXAMPLE}")
    if several:
        raise ArgumentError(
            f"{where}: {several.strip()!r} has no class; put 'CLASS=' before its names (or quote a "
            "name that contains a comma)"
        )
    for role, listed in (("class", targets), ("name", names)):
        counts = Counter(map(_key, listed))
        duplicate = next((name for name in listed if counts[_key(name)] > 1), None)
        if duplicate is not None:
            raise ArgumentError(
                f"{where}: {role} {duplicate!r} occurs twice; a name belongs to one class, and "
                "each class is listed once with all its names"
            )


def _numbered(grouped: Iterable[tuple[str, Sequence[str]]]) -> ClassMap:
    classes, named = [BACKGROUND], dict[str, int]()
    for target, names in grouped:
        if _key(target) not in (BACKGROUND, IGNORED):
            classes.append(target)
        label = {BACKGROUND: 0, IGNORED: IGNORE_LABEL}.get(_key(target), len(classes) - 1)
        named |= dict.fromkeys(names, label)
    return ClassMap(tuple(classes), named)


def _is_starred(name: str) -> bool:
    return _key(name).endswith(STARRED)


def _key(name: str) -> str:
    return normalise_unicode("".join(name.split()).casefold())
