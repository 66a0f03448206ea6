"""What may be asked of ``predict`` together, and where its outputs go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skiptool.errors import ArgumentError, ExistsError, FormatError, MismatchError
from skiptool.records import Shift
from skiptool.steps.predict.selection import FOLD, SPLITS
from skiptool.stores.artifacts import lineage_of
from skiptool.stores.dataset import DatasetStore
from skiptool.stores.lineage import Making
from skiptool.substitution import Substitution

__all__ = [
    *("Places", "check_asked", "check_models_added", "check_several", "check_substitution"),
    "substitution_parameters",
]


@dataclass(frozen=True, slots=True)
class Places:
    """Where the outputs go, and how many samples of a model are drawn."""

    out: Path
    masks: Path | None
    overlays: Path | None
    overlay_count: int | None

    @classmethod
    def of(
        cls,
        out: Path | str,
        masks: Path | str | None,
        overlays: Path | str | None,
        overlay_count: int | None,
    ) -> Places:
        """Return them from what was given as paths or as text."""
        first, second = (None if path is None else Path(path) for path in (masks, overlays))
        return cls(Path(out), first, second, overlay_count)


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


def check_several(stores: Sequence[DatasetStore], split: str, places: Places) -> None:
    """Refuse what cannot be done with several stores at once, and stores that do not go together.

    Raises
    ------
    ArgumentError
        If there is none or one is given twice, or folds, masks or pictures of several are asked
        for.
    MismatchError
        If their classes differ.
    """
    if not stores:
        raise ArgumentError("--data: no dataset store is given")
    if len(stores) == 1:
        return
    options = ((f"--split {FOLD}", split == FOLD), ("--masks", places.masks))
    refused = [name for name, given in (*options, ("--overlays", places.overlays)) if given]
    if refused:
        raise ArgumentError(f"{refused[0]} with {len(stores)} --data: give one store at a time")
    seen: dict[str, DatasetStore] = {}
    for store in stores:
        first = seen.setdefault(store.lineage.id, store)
        if first is not store:
            raise ArgumentError(
                f"--data {store.path}: holds the same as {first.path}, its pixels would count "
                "twice; drop one"
            )
        if store.classes != stores[0].classes:
            raise MismatchError(
                f"{store.path}: has classes {', '.join(store.classes)}, {stores[0].path} has "
                f"{', '.join(stores[0].classes)}; predict stores of other classes into other tables"
            )


def check_models_added(out: Path, making: Making, paths: Sequence[Path]) -> None:
    """Say how models are added to a table that is whole, where nothing else has changed.

    Parameters
    ----------
    out : Path
    making : Making
        Of the run that was asked to go on.
    paths : sequence of Path
        Its models, in the order of their inputs.

    Raises
    ------
    ExistsError
        If the table holds some of the models, made with these very parameters.
    """
    try:
        header = lineage_of(out) if out.is_file() else None
    except FormatError:
        return
    asked = making.determinants
    if header is None or dict(header.parameters) != asked["parameters"]:
        return
    held = {one for role, one in header.inputs.items() if role.startswith("model")}
    ours = {role: one for role, one in asked["inputs"].items() if not role.startswith("model")}
    others = {role: one for role, one in header.inputs.items() if not role.startswith("model")}
    wanted = [one for role, one in asked["inputs"].items() if role.startswith("model")]
    added = [str(path) for path, one in zip(paths, wanted, strict=True) if one not in held]
    if added and held < set(wanted) and ours == others:
        raise ExistsError(
            f"{out}: is whole, without {', '.join(added)}; a table is not added to: predict the "
            "new one alone into another --out, and give both tables to 'skiptool report'"
        )


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
