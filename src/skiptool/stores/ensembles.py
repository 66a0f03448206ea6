"""Ensembles: the trainings of one architecture, taken together as one more model of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from skiptool.errors import ArgumentError
from skiptool.names import ENSEMBLE_FOLD
from skiptool.records import Architecture, training_name
from skiptool.stores.checkpoint import StoredModel
from skiptool.stores.header import digest

__all__ = ["Ensemble", "fold_ensembles"]


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Models whose class probabilities are averaged.

    Attributes
    ----------
    name : str
        For people: ``resnet18-L1/ensemble``.
    id : str
        Hash of the ids of its members.
    architecture : Architecture
        That of every member.
    members : tuple of int
        Numbers of the models it is made of, in a list that the caller has.
    """

    name: str
    id: str
    architecture: Architecture
    members: tuple[int, ...]

    def facts(self) -> dict[str, Any]:
        """Return the columns that tables keep of a model; its parameters are the members'."""
        return {
            "model": self.name,
            "model_id": self.id,
            "arch": self.architecture.arch,
            "encoder": self.architecture.encoder,
            "pruning": self.architecture.pruning,
            "fold": ENSEMBLE_FOLD,
            "repeat": None,
            "parameter_count": None,
        }


def fold_ensembles(models: Sequence[StoredModel]) -> tuple[list[Ensemble], list[str]]:
    """Make one ensemble of the trainings (folds and repeats) of each architecture.

    Returns
    -------
    ensembles : list of Ensemble
        In the order of their first members.
    alone : list of str
        Names of models that are the only training of their architecture.

    Raises
    ------
    ArgumentError
        If no architecture comes with two trainings, or one with the same training twice.
    """
    groups: dict[Architecture, list[int]] = {}
    for number, model in enumerate(models):
        groups.setdefault(model.architecture, []).append(number)
    for members in groups.values():
        _check_different([models[number] for number in members])
    several = {key: members for key, members in groups.items() if len(members) > 1}
    if not several:
        raise ArgumentError(
            "--ensemble: no architecture comes with two trainings or more; give all folds of one"
        )
    ensembles = [
        Ensemble(
            f"{architecture.folder}/ensemble",
            digest(["ensemble", sorted(models[number].id for number in members)]),
            architecture,
            tuple(members),
        )
        for architecture, members in several.items()
    ]
    alone = [models[members[0]].name for members in groups.values() if len(members) == 1]
    return ensembles, alone


def _check_different(models: Sequence[StoredModel]) -> None:
    seen: dict[tuple[int, int | None], StoredModel] = {}
    for model in models:
        if model.fold is None:
            continue
        first = seen.setdefault((model.fold, model.repeat), model)
        if first is not model:
            raise ArgumentError(
                f"--ensemble: {first.path} and {model.path} are both "
                f"{training_name(model.fold, model.repeat)} of {model.architecture.folder}; "
                "predict one of the two runs at a time"
            )
