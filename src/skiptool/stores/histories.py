"""Identify training histories, even after the file was moved.

A history has no columns that describe its model. Its header (``parameters``) identifies it, and so
does the ``config.json`` of its model folder, which is used if the ids show that it belongs to the
same model, or if the header lacks something.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from skiptool.analysis.training import SPLITS
from skiptool.errors import FormatError, SkiptoolError
from skiptool.names import SKIP_LEVELS, Arch, Kind
from skiptool.records import Architecture, repeat_of, training_name
from skiptool.stores.lineage import Invocation, Lineage, create_lineage
from skiptool.stores.models import CONFIG, read_architecture, read_config, read_count
from skiptool.stores.tables import MetricTable

_MODEL_PARAMETERS: Final = frozenset({"arch", "encoder", "skips", "fold", "repeat", "domain"})
"""Parameters that identify the model and its data; the others are the protocol."""

_RUN_NAME: Final = re.compile(
    r"(?:(?P<arch>" + "|".join(arch for arch in Arch if arch != Arch.UNET) + r")-)?"
    r"(?P<encoder>[^/]+?)-(?:L(?P<pruned>[0-4])|skips-(?P<skips>[1-4](?:\+[1-4])*))(?![^/_. -])"
)
_FOLD: Final = re.compile(r"(?<![a-z])fold[ _-]?(\d{1,6})(?:-r(\d{1,6}))?(?!\d)")


def history_facts(table: MetricTable) -> dict[str, Any]:
    """Return the model, data and protocol of a history.

    Returns
    -------
    dict
        ``model``, ``model_id``, ``arch``, ``encoder``, ``pruning``, ``fold``, ``repeat``,
        ``parameter_count`` as in other tables; ``best_epoch``; ``samples``, the numbers of training
        and validation samples; ``dataset``, ``dataset_id``, ``domain`` of training; ``protocol``,
        all other parameters. They come from the header, then from the configuration in the same
        folder, then from file and folder names. Unknown values are None, except ``pruning``: then
        the name of the file, to tell such runs apart.

        Without its model in the same folder, ``model_id`` is the id of the history itself, and
        ``parameter_count``, ``best_epoch`` and ``samples`` are None.
    """
    header, path = table.lineage, table.path
    try:
        config = read_config(path.parent / CONFIG)
    except FormatError:  # missing or damaged: the history does not need it
        config = {}
    own = config if _is_same_model(header, config) else {}
    fold, repeat = _training(header.parameters, config, _training_in_name(path))
    facts: dict[str, Any] = {
        "model": path.stem,
        "model_id": _id(own) or header.id,
        "arch": None,
        "encoder": None,
        "pruning": path.stem,
        "fold": fold,
        "repeat": repeat,
        "parameter_count": _count(own, "parameter_count"),
        "best_epoch": _count(own, "best_epoch"),
        "dataset": _dataset(header),
        "dataset_id": header.inputs.get("dataset"),
        "domain": header.parameters.get("domain"),
        "samples": _samples(own),
        "protocol": {k: v for k, v in header.parameters.items() if k not in _MODEL_PARAMETERS},
    }
    network = (
        _architecture_in_header(header.parameters)
        or _architecture_in_config(path, config)
        or _architecture_in_name(path)
    )
    if network is not None:
        facts |= {"arch": network.arch, "encoder": network.encoder, "pruning": network.pruning}
        training = () if fold is None else (training_name(fold, repeat),)
        facts["model"] = "/".join((network.folder, *training))
    return facts


def _training(*sources: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Return fold and repeat, both from the first source that has a fold."""
    for source in sources:
        fold = _count(source, "fold")
        if fold is not None:
            return fold, repeat_of(fold, _count(source, "repeat"))
    return None, None


def _id(config: Mapping[str, Any]) -> str | None:
    header = config.get("lineage")
    model_id = header.get("id") if isinstance(header, Mapping) else None
    return model_id if isinstance(model_id, str) else None


def _is_same_model(header: Lineage, config: Mapping[str, Any]) -> bool:
    """Return whether the ids of a history and a configuration belong to the same model."""
    model = {"model": _id(config)}
    return create_lineage(Kind.HISTORY, Invocation("train"), model).id == header.id


def _count(config: Mapping[str, Any], key: str) -> int | None:
    try:
        return read_count(Path(), config, key)
    except FormatError:
        return None


def _samples(config: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the numbers of training and validation samples of a model."""
    samples = config.get("samples")
    if not isinstance(samples, Mapping):
        return None
    train, validation = (_count(samples, split) for split in SPLITS)
    return None if train is None or validation is None else (train, validation)


def _architecture_in_header(parameters: Mapping[str, Any]) -> Architecture | None:
    arch, encoder = parameters.get("arch", Arch.UNET.value), parameters.get("encoder")
    skips = parameters.get("skips")
    if not isinstance(arch, str) or not isinstance(encoder, str) or not isinstance(skips, str):
        return None
    return _architecture(arch, encoder, "" if skips == "none" else skips, ",")


def _architecture_in_config(path: Path, config: Mapping[str, Any]) -> Architecture | None:
    try:
        return read_architecture(path.parent / CONFIG, config)
    except FormatError:
        return None


def _architecture_in_name(path: Path) -> Architecture | None:
    """Parse ``resnet18-L1`` in ``resnet18-L1-fold0.parquet`` or ``resnet18-L1/fold0``."""
    for name in (path.stem, path.parent.name, path.parent.parent.name):
        match = _RUN_NAME.match(name)
        if match:
            levels = SKIP_LEVELS[int(match["pruned"] or 0) :]
            skips = match["skips"] or "+".join(map(str, levels))
            return _architecture(match["arch"] or Arch.UNET.value, match["encoder"], skips, "+")
    return None


def _architecture(arch: str, encoder: str, skips: str, separator: str) -> Architecture | None:
    try:
        levels = tuple(int(level) for level in skips.split(separator) if level)
        return Architecture(encoder, levels, ("background", "foreground"), arch=arch)
    except (SkiptoolError, ValueError):
        return None


def _training_in_name(path: Path) -> dict[str, int]:
    """Parse ``fold0`` or ``fold0-r1`` in the name of the file or of its folder."""
    for name in (path.stem, path.parent.name):
        match = _FOLD.search(name)
        if match:
            return {"fold": int(match[1]), "repeat": int(match[2] or 0)}
    return {}


def _dataset(header: Lineage) -> str | None:
    """Return the name of the dataset, which is only recorded in the command."""
    try:
        words = shlex.split(header.command)
    except ValueError:
        return None
    if words[:2] != ["skiptool", "train"] or len(words) < 3 or words[2].startswith("-"):
        return None
    return Path(words[2]).name
