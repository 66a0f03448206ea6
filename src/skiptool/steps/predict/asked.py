"""What may be asked of ``predict`` together, and where its outputs go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skiptool.errors import ArgumentError
from skiptool.records import Shift
from skiptool.steps.predict.selection import FOLD, SPLITS
from skiptool.substitution import Substitution

__all__ = ["Places", "check_asked", "check_substitution", "substitution_parameters"]


@dataclass(frozen=True, slots=True)
class Places:
    """Where the outputs go, and how many samples of a model are drawn."""

    out: Path
    masks: Path | None
    overlays: Path | None
    overlay_count: int | None


def check_asked(shifts: Sequence[Shift], split: str, ensemble: bool, places: Places) -> None:
    """Refuse words that mean nothing, or that do not go together.

    Raises
    ------
    ArgumentError
        Which, and what to change.
    """
    if split not in SPLITS:
        raise ArgumentError(f"--split {split}: expected {', '.join(SPLITS[:-1])} or {SPLITS[-1]}")
    if len(set(shifts)) < len(shifts):
        raise ArgumentError("a shift is given twice, its pixels would count twice; drop one")
    if ensemble and split == FOLD:
        raise ArgumentError(
            f"--ensemble with --split {FOLD}: every fold is validated on samples of its own that "
            "the others were trained on; choose another --split"
        )
    if places.overlay_count is not None and (places.overlays is None or places.overlay_count < 1):
        raise ArgumentError(
            f"--overlay-count {places.overlay_count}: expected --overlays DIR and at least 1"
        )
    named = [path for path in (places.out, places.masks, places.overlays) if path is not None]
    if len({path.absolute() for path in named}) < len(named):
        raise ArgumentError("--out, --masks and --overlays name one place twice; give each its own")


def check_substitution(
    wanted: Sequence[Substitution], clean_domain: str | None, ensemble: bool, places: Places
) -> None:
    """Refuse what a substitution leaves no room for.

    Raises
    ------
    ArgumentError
        If masks, pictures or an ensemble are asked for with it, or a clean domain without it.
    """
    if not wanted:
        if clean_domain is not None:
            raise ArgumentError("--clean-domain: expected --clean-skips or --shifted-skips with it")
        return
    options = (("--ensemble", ensemble), ("--masks", places.masks), ("--overlays", places.overlays))
    refused = [name for name, given in options if given]
    if refused:
        raise ArgumentError(
            f"{refused[0]} with --clean-skips: only counts are kept of substituted predictions; "
            "drop one"
        )


def substitution_parameters(
    clean_skips: Sequence[str], shifted_skips: Sequence[str], clean_domain: str | None
) -> dict[str, Any]:
    """Return the parameters of a substitution; plain predictions have none of them."""
    found = {"clean_skips": list(clean_skips), "shifted_skips": list(shifted_skips)}
    return {name: words for name, words in found.items() if words} | (
        {} if clean_domain is None else {"clean_domain": clean_domain}
    )
