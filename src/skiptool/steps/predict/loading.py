"""Models made ready; those that cannot be used are told and the others go on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from skiptool.errors import ArgumentError, MismatchError, SkiptoolError
from skiptool.model.device import memory_told
from skiptool.model.inference import place
from skiptool.model.unet import restore
from skiptool.records import Normalisation
from skiptool.steps.predict.run import Loaded
from skiptool.stores.artifacts import model_folders
from skiptool.stores.dataset import DatasetStore, Domain
from skiptool.stores.folds import nothing_left
from skiptool.stores.models import StoredModel, open_model

__all__ = ["check_fits", "load_models"]


def load_models(
    places: Sequence[Path | str],
    data: Sequence[tuple[DatasetStore, Sequence[Domain]]],
    device: str,
    normalisation: Normalisation | None = None,
) -> tuple[list[Loaded], list[str]]:
    """Open every model of these folders that fits the data, and put its network on the device.

    Parameters
    ----------
    places : sequence of Path or str
        Model folders, and folders that hold them; local paths or URLs.
    data : sequence of (DatasetStore, sequence of Domain)
        What is to be segmented.
    device : str
    normalisation : Normalisation, optional
        How images are scaled for models that others trained.

    Returns
    -------
    models : list of Loaded
    failures : list of str
        One line for each model that is damaged or does not fit.

    Raises
    ------
    SkiptoolError
        Why it failed, where there is but one model; else a SourceError if all fail.
    ArgumentError
        If a model is given twice, or the scaling is missing or does not go with one.
    MemoryError
        If the device cannot hold them.
    """
    loaded: list[Loaded] = []
    failed: list[SkiptoolError] = []
    for path in model_folders(places):
        try:
            opened = open_model(path)
        except SkiptoolError as error:
            failed.append(error)
            continue
        stored = opened.normalised(normalisation)  # the command line is wrong, not the model
        try:
            for store, domains in data:
                check_fits(stored, store, domains)
            network = restore(stored.architecture, stored.tensors(), stored.normalisation)
        except SkiptoolError as error:
            named = re.search(rf"(?<![\w/]){re.escape(str(path))}(?!\w)", str(error))
            failed.append(error if named else type(error)(f"{path}: {error}"))
            continue
        with memory_told(device, f"the network of {path}"):
            loaded.append(Loaded(stored, place(network, device)))
    if not loaded:
        raise nothing_left(failed)
    _check_twice([model.stored for model in loaded])
    return loaded, [str(error) for error in failed]


def check_fits(model: StoredModel, store: DatasetStore, domains: Iterable[Domain]) -> None:
    """Compare a model's channels, sizes and number of classes with those of the data.

    Raises
    ------
    MismatchError
        If they differ.
    """
    for domain in domains:
        size = (domain.height, domain.width)
        model.check_fits(domain.channels, size, f"{store.path}: domain {domain.name}")
    ours, theirs = store.classes, model.architecture.classes
    if len(ours) != len(theirs):
        how = " (background and foreground, by one logit)" if model.architecture.binary else ""
        raise MismatchError(
            f"{model.path}: predicts {len(theirs)} classes{how}, {store.path} has {len(ours)} "
            f"({', '.join(ours)}); they must be the same"
        )


def _check_twice(models: Sequence[StoredModel]) -> None:
    seen: dict[str, StoredModel] = {}
    for model in models:
        first = seen.setdefault(model.id, model)
        if first is not model:
            raise ArgumentError(
                f"{model.path}: a model is given twice (as {first.path} too), its pixels would "
                "count twice; drop one"
            )
