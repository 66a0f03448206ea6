"""Histories of training runs with what they are of, wherever the file was moved.

A history carries no columns of its model: its header does (``parameters``), and so does the
``config.json`` that it was written beside. That file is believed where it is the model's whose
history this is, which the ids say, or where the header says nothing.
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
from skiptool.stores.lineage import Lineage, Making, lineage
from skiptool.stores.models import CONFIG, read_architecture, read_config, read_count
from skiptool.stores.tables import HISTORY, MetricTable, open_table

__all__ = ["history_facts", "open_history"]

_OF_THE_MODEL: Final = frozenset({"arch", "encoder", "skips", "fold", "repeat", "domain"})
"""Parameters that say which model is trained, on what; the others are the protocol."""

_NAMED: Final = re.compile(
    r"(?:(?P<arch>" + "|".join(arch for arch in Arch if arch != Arch.UNET) + r")-)?"
    r"(?P<encoder>[^/]+?)-(?:L(?P<pruned>[0-4])|skips-(?P<skips>[1-4](?:\+[1-4])*))(?![^/_. -])"
)
_FOLD: Final = re.compile(r"(?<![a-z])fold[ _-]?(\d{1,6})(?:-r(\d{1,6}))?(?!\d)")


def open_history(path: Path) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Read a history and say what it is of.

    Parameters
    ----------
    path : Path
        A ``history.parquet``, under any name, in its model folder or elsewhere.

    Returns
    -------
    facts : dict
        See :func:`history_facts`.
    columns : dict
        ``epoch`` (from 0), ``split`` (``train``, ``validation``), ``loss``, ``mIoU``, ``lr``,
        ``seconds``; null is None.

    Raises
    ------
    FormatError
        If the table is missing, damaged, of another kind or version, or lacks a column.
    """
    table = open_table(path, Kind.HISTORY)
    return history_facts(table), table.columns(tuple(HISTORY))


def history_facts(table: MetricTable) -> dict[str, Any]:
    """Say what a history is of.

    Parameters
    ----------
    table : MetricTable
        Of kind ``history``.

    Returns
    -------
    dict
        ``model``, ``model_id``, ``arch``, ``encoder``, ``pruning``, ``fold``, ``repeat``,
        ``parameter_count`` as other tables have them; ``best_epoch``; ``samples``, how many it was
        trained and validated on; ``dataset``, ``dataset_id``, ``domain`` that it was trained on;
        ``protocol``, the further parameters. From the header;
        what that lacks from the configuration beside the file, then from names of file and folders.
        What is nowhere is None, save ``pruning``: that is the name of the file then, to tell such
        runs apart.

        ``model_id`` is the history's own where the model is not beside it, ``parameter_count``,
        ``best_epoch`` and ``samples`` are None then.
    """
    header, path = table.lineage, table.path
    config = _config_beside(path)
    own = config if _is_of(header, config) else {}
    fold, repeat = _training(header.parameters, config, _training_in_name(path))
    facts: dict[str, Any] = {
        **{"model": path.stem, "model_id": _id(own) or header.id},
        **{"arch": None, "encoder": None, "pruning": path.stem, "fold": fold},
        "repeat": repeat,
        **{name: _count(own, name) for name in ("parameter_count", "best_epoch")},
        **{"dataset": _dataset(header), "dataset_id": header.inputs.get("dataset")},
        "domain": header.parameters.get("domain"),
        "samples": _samples(own),
        "protocol": {k: v for k, v in header.parameters.items() if k not in _OF_THE_MODEL},
    }
    network = _in_header(header.parameters) or _in_config(path, config) or _in_name(path)
    if network is not None:
        facts |= {name: str(getattr(network, name)) for name in ("arch", "encoder", "pruning")}
        training = () if fold is None else (training_name(fold, repeat),)
        facts["model"] = "/".join((network.folder, *training))
    return facts


def _training(*known: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Return fold and repeat, both from the first that knows a fold."""
    for each in known:
        fold = _count(each, "fold")
        if fold is not None:
            return fold, repeat_of(fold, _count(each, "repeat"))
    return None, None


def _config_beside(path: Path) -> dict[str, Any]:
    try:
        return read_config(path.parent / CONFIG)
    except FormatError:  # not there, or damaged: the history is whole without it
        return {}


def _id(config: Mapping[str, Any]) -> str | None:
    header = config.get("lineage")
    found = header.get("id") if isinstance(header, Mapping) else None
    return found if isinstance(found, str) else None


def _is_of(header: Lineage, config: Mapping[str, Any]) -> bool:
    """Say whether a history is of the model that a configuration describes, as its id tells."""
    model = {"model": _id(config)}
    return lineage(Kind.HISTORY, Making("train"), model).id == header.id


def _count(found: Mapping[str, Any], key: str) -> int | None:
    try:
        return read_count(Path(), found, key)
    except FormatError:
        return None


def _samples(config: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return how many samples a model was trained and validated on."""
    found = config.get("samples")
    counts = [_count(found, name) for name in SPLITS] if isinstance(found, Mapping) else []
    known = [count for count in counts if count is not None]
    return (known[0], known[1]) if len(known) == len(SPLITS) else None


def _in_header(parameters: Mapping[str, Any]) -> Architecture | None:
    arch, encoder = parameters.get("arch", Arch.UNET.value), parameters.get("encoder")
    skips = parameters.get("skips")
    if not isinstance(arch, str) or not isinstance(encoder, str) or not isinstance(skips, str):
        return None
    return _architecture(arch, encoder, "" if skips == "none" else skips, ",")


def _in_config(path: Path, config: Mapping[str, Any]) -> Architecture | None:
    try:
        return read_architecture(path.parent / CONFIG, config)
    except FormatError:
        return None


def _in_name(path: Path) -> Architecture | None:
    """Read ``resnet18-L1`` of ``resnet18-L1-fold0.parquet`` or of ``resnet18-L1/fold0``."""
    for name in (path.stem, path.parent.name, path.parent.parent.name):
        found = _NAMED.match(name)
        if found:
            kept = SKIP_LEVELS[int(found["pruned"] or 0) :]
            skips = found["skips"] or "+".join(map(str, kept))
            return _architecture(found["arch"] or Arch.UNET.value, found["encoder"], skips, "+")
    return None


def _architecture(arch: str, encoder: str, skips: str, between: str) -> Architecture | None:
    try:
        levels = tuple(int(level) for level in skips.split(between) if level)
        return Architecture(encoder, levels, ("background", "foreground"), arch=arch)
    except (SkiptoolError, ValueError):
        return None


def _training_in_name(path: Path) -> dict[str, int]:
    """Read ``fold0`` or ``fold0-r1`` in the name of the file or of its folder."""
    for name in (path.stem, path.parent.name):
        found = _FOLD.search(name)
        if found:
            return {"fold": int(found[1]), "repeat": int(found[2] or 0)}
    return {}


def _dataset(header: Lineage) -> str | None:
    """Return the name of the dataset, which the command alone tells."""
    try:
        words = shlex.split(header.command)
    except ValueError:
        return None
    named = words[:2] == ["skiptool", "train"] and len(words) > 2 and not words[2].startswith("-")
    return Path(words[2]).name if named else None
