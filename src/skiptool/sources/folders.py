"""Folders of pictures that stand for a manifest: images, and masks of the same names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from skiptool.errors import SourceError
from skiptool.names import composed
from skiptool.sources.manifest import Row
from skiptool.sources.naming import MaskPattern, NamePattern, by_folders
from skiptool.sources.pictures import PICTURE_SUFFIXES

__all__ = ["DOMAIN", "identified", "pair_folders"]

DOMAIN = "images"
"""Domain of pictures of which nothing else tells it."""

_NOTES = ("thumbs.db", "desktop.ini")
"""What other programs leave behind in folders; names with a dot in front are such notes too."""

_NOTE_FOLDERS = ("@eadir", "__macosx")
"""Folders of such notes: of Synology's disk stations, and of macOS in archives."""


def pair_folders(
    images: Path,
    masks: Path,
    domain: str | None = None,
    pattern: NamePattern | None = None,
    mask_pattern: MaskPattern | None = None,
) -> tuple[list[Row], list[str]]:
    """Match pictures in two folders, and the folders in these, by names without suffix.

    Parameters
    ----------
    images, masks : Path
        Folders of pictures; a mask has the relative path of its image, whatever the suffix. One
        folder may hold both.
    domain : str, optional
        Domain of all images.
    pattern : NamePattern, optional
        Says what names mean; without it folders do, see
        :func:`skiptool.sources.naming.by_folders`.
    mask_pattern : MaskPattern, optional
        How masks are called where they do not have the names of their images.

    Returns
    -------
    rows : list of mapping
        Columns image, mask, domain, subject, id and, if the pattern has it, split; by name.
    failures : list of str
        One line for each file that is left out: an image without mask or a mask without image, two
        files of one name, no picture by its suffix, or a name that does not fit a pattern.

    Raises
    ------
    SourceError
        If a folder is missing or holds no picture, or nothing fits but another pattern would.
    """
    found, failures = _pictures(images, masks)
    one_folder = os.path.isdir(masks) and os.path.samefile(images, masks)
    if one_folder and mask_pattern is None:
        raise SourceError(
            f"{images}: is the folder of images and of masks; tell these apart by --mask-pattern, "
            'such as "{}_mask"'
        )
    known, lost = _pictures(masks, images)
    failures += [line for line in lost if line not in failures]  # where both are one folder
    called = _mask_names(found, mask_pattern)
    if one_folder:
        own = set(called.values())  # what is a mask is no image, and the other way round
        found = {name: paths for name, paths in found.items() if name not in own}
        known = {name: paths for name, paths in known.items() if name not in found}
    rows: list[Row] = []
    for name, paths in found.items():
        called_so = called[name]
        there = known.get(called_so or "", [])
        try:
            image, mask = _single(paths), _single(there)
            if called_so is None and mask_pattern is not None:
                raise SourceError(f"{image}: does not fit --mask-pattern {mask_pattern.text}")
            if not there:
                hint = (
                    '; if masks are named otherwise, give --mask-pattern, such as "{}_mask"'
                    if mask_pattern is None
                    else ""
                )
                raise SourceError(f"{image}: no mask named {called_so}.* in {masks}{hint}")
            relative = composed(image.relative_to(images).as_posix())
            identity = identified(relative, domain, pattern)
        except SourceError as error:
            failures.append(str(error))
        else:
            rows.append({"image": str(image), "mask": str(mask), **identity})
    matched = {called[name] for name in found}
    failures += [
        f"{paths[0]}: no image {f'named {name}.*' if mask_pattern is None else 'of it'} in {images}"
        for name, paths in known.items()
        if name not in matched
    ]
    if not matched & set(known):
        _refuse_other_names(masks, list(found), list(known))
    return rows, failures


def _mask_names(found: Iterable[str], pattern: MaskPattern | None) -> dict[str, str | None]:
    """Return how the mask of each picture is called, None where its name does not fit."""
    return {name: name if pattern is None else pattern.mask_of(name) for name in found}


def _refuse_other_names(masks: Path, found: Sequence[str], known: Sequence[str]) -> None:
    """Name the pattern by which every image would have a mask, if there is one."""
    other = MaskPattern.guess(found, known)
    if other is not None:
        raise SourceError(
            f"{masks}: no mask is named as it should be, but all {len(found)} images have one by "
            f'another pattern; give --mask-pattern "{other.text}"'
        )


def identified(name: str, domain: str | None, pattern: NamePattern | None) -> Mapping[str, str]:
    """Return domain, subject, id and, if the pattern has it, split of a relative path.

    The id is what is left of the path without the folder that names the domain, so that one name
    in two domains is one place.

    Raises
    ------
    SourceError
        If the name does not fit the pattern.

    Examples
    --------
    >>> identified("A/p1/07.png", None, None)
    {'domain': 'A', 'subject': 'p1', 'id': 'p1-07'}
    """
    fields = by_folders(name, domain) if pattern is None else pattern.read(name)
    parts = list(PurePosixPath(name).with_suffix("").parts)
    if fields.get("domain") in parts[:-1]:
        parts.remove(fields["domain"])
    plain = {"domain": domain or DOMAIN, "subject": parts[-1], "id": "-".join(parts)}
    return plain | dict(fields)


def _pictures(folder: Path, other: Path) -> tuple[dict[str, list[Path]], list[str]]:
    """Return the pictures in a folder by relative name without suffix, and what is no picture.

    Accents in names are one character each, however the files spell them.

    The other folder may lie in this one; what it holds is left to it.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such folder; check the path")
    found: dict[str, list[Path]] = {}
    failures: list[str] = []
    for path in sorted(_files(folder)):
        relative = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in relative.parts)
        hidden |= any(part.lower() in _NOTE_FOLDERS for part in relative.parts[:-1])
        if hidden or (folder in other.parents and other in path.parents):
            continue
        if not path.exists():
            failures.append(
                f"{path}: a broken link to {os.readlink(path)}; if git-annex or DVC manages these "
                "files, fetch them first"
            )
        elif path.suffix.lower() in PICTURE_SUFFIXES:
            name = composed(relative.with_suffix("").as_posix())
            found.setdefault(name, []).append(path)
        elif path.name.lower() not in _NOTES:
            failures.append(f"{path}: {_no_picture(path.name)}")
    if not found:
        first = f"; {failures[0]}" if failures else ""
        raise SourceError(f"{folder}: holds no picture ({', '.join(PICTURE_SUFFIXES)}){first}")
    return dict(sorted(found.items())), failures


def _files(folder: Path) -> Iterator[Path]:
    """Yield all files below a folder and links, those to folders followed, each folder once."""
    seen = set()
    for where, below, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(where)
        if real in seen:  # a link that leads back
            below.clear()
            continue
        seen.add(real)
        paths = (Path(where, name) for name in names)
        yield from (path for path in paths if path.is_file() or path.is_symlink())


def _no_picture(name: str) -> str:
    if name.endswith((".nii", ".nii.gz")):
        return "a volume; use 'skiptool extract mri' for these"
    return (
        f"suffix {Path(name).suffix or '(none)'} is none of {', '.join(PICTURE_SUFFIXES)}; convert "
        "it, or take it out of the folder"
    )


def _single(paths: list[Path]) -> Path:
    if len(paths) > 1:
        raise SourceError(
            f"{', '.join(map(str, paths))}: {len(paths)} pictures of one name, and nothing tells "
            "which is meant; rename or remove one"
        )
    return paths[0] if paths else Path()
