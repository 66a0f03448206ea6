"""Lineage: the header of every artifact.

The same keys are in the root attributes of a Zarr store, under the key ``skiptool`` of a
Parquet file's metadata, and under ``lineage`` in a model's ``config.json``::

    kind              format tag: dataset, features, counts, model, history, predictions, masks,
                      overlays, shift, registration, report
    format_version    integer; a reader refuses a version above its own
    skiptool_version  version of skiptool that wrote it
    command           shell command that makes it again
    parameters        every parameter that determines the content, defaults included
    created           UTC, ISO 8601; ``SOURCE_DATE_EPOCH`` (whole seconds) fixes it
    id                32 hex digits, a hash of what determines the content
    inputs            {role: id} of the artifacts it was made from
    arithmetic        only if a network computed it: device, threads, precision, instruction set
                      and the pixels of a batch, which affect the last digits

A hash of the header and the rest of the metadata reveals changes: see ``seals``.

``command``, ``created`` and ``arithmetic`` describe the run: no id depends on them. The id of a
dataset or a model is a hash of its content. That of outputs of a network (features, predictions,
masks) is a hash of inputs and parameters: artifacts of equal ids were requested alike, and hold
equal bytes if their arithmetic is the same too; otherwise activations differ in their last digits,
and labels where two classes are about equally probable.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from reprlib import repr as brief
from typing import Any

from skiptool.errors import ExistsError, FormatError
from skiptool.names import Kind
from skiptool.stores.addresses import public
from skiptool.stores.copies import restore_urls

FORMAT_VERSIONS: Mapping[Kind, int] = {
    **dict.fromkeys(Kind, 1),
    **dict.fromkeys((Kind.REPORT, Kind.SHIFT), 2),
}
"""Version of each format that this code writes, and the highest it reads."""

ID_DIGITS = 32

_TYPES: Mapping[str, type] = {
    **dict.fromkeys(("skiptool_version", "command", "created", "id"), str),
    **dict.fromkeys(("parameters", "inputs", "arithmetic"), Mapping),
}


@dataclass(frozen=True, slots=True)
class Invocation:
    """Call of a step.

    Attributes
    ----------
    step : str
        Name of the command.
    arguments : sequence
        Its inputs in order.
    parameters : mapping
        Named parameters that determine the content; compared when a run is resumed.
    placement : mapping
        Named parameters that do not: output path, workers, device.
    inputs : mapping
        Role to id of each artifact read.
    method : mapping
        Named parts of the method that no option sets: recorded and compared like parameters, but
        not part of the command.
    arithmetic : mapping
        What else the last digits of a network's results depend on, as JSON types.
    grows : str, optional
        The one parameter that a resumed run may increase, such as a number of epochs.

    Examples
    --------
    >>> Invocation("synth", (), {"n": 40, "cells": None}, {"out": "a b.zarr"}).command
    "skiptool synth --n 40 --out 'a b.zarr'"
    """

    step: str
    arguments: Sequence[str | Path] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    placement: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    method: Mapping[str, Any] = field(default_factory=dict)
    arithmetic: Mapping[str, Any] = field(default_factory=dict)
    grows: str | None = None

    @property
    def determinants(self) -> dict[str, Any]:
        """What must be equal for an interrupted run to be resumed, as JSON types."""
        parameters = {**self.parameters, **self.method}
        return {"parameters": _jsonable(parameters), "inputs": _jsonable(self.inputs)}

    @property
    def command(self) -> str:
        """The shell command that makes the artifact again."""
        words = ["skiptool", *self.step.split(), *map(_word, self.arguments)]
        for name, value in {**self.parameters, **self.placement}.items():
            option = f"--{name.replace('_', '-')}"
            if value is True:
                words.append(option)
            elif isinstance(value, list | tuple):
                words += [word for item in value for word in (option, _word(item))]
            elif value is not None and value is not False:
                words += [option, _word(value)]
        return shlex.join(words)


@dataclass(frozen=True, slots=True)
class Lineage:
    """Header of an artifact; see the module's docstring for the keys."""

    kind: Kind
    format_version: int
    skiptool_version: str
    command: str
    parameters: Mapping[str, Any]
    created: str
    id: str
    inputs: Mapping[str, str]
    arithmetic: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the header as JSON types."""
        header = {key: _jsonable(value) for key, value in asdict(self).items()}
        return {key: value for key, value in header.items() if value or key != "arithmetic"}


def lineage(kind: Kind, invocation: Invocation, identity: object) -> Lineage:
    """Create a header.

    Parameters
    ----------
    identity : JSON-able object
        All that determines the content; its hash is the id.
    """
    return Lineage(
        kind=kind,
        format_version=FORMAT_VERSIONS[kind],
        skiptool_version=version("skiptool"),
        command=invocation.command,
        **invocation.determinants,
        created=_now(),
        arithmetic=dict(invocation.arithmetic),
        id=digest([kind.value, FORMAT_VERSIONS[kind], identity]),
    )


def digest(value: object) -> str:
    """Hash a JSON-able value in canonical form (sorted keys, no spaces) to 32 hex digits.

    Examples
    --------
    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    text = json.dumps(_jsonable(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return identifier(text.encode())


def parse_lineage(found: object, where: str, kind: Kind) -> Lineage:
    """Check a header read from a file and return it typed.

    Raises
    ------
    FormatError
        If it is not a skiptool header, of another kind or a later version, or incomplete.
    """
    if not isinstance(found, Mapping) or "kind" not in found or "format_version" not in found:
        raise FormatError(f"{where}: not made by skiptool, expected a {kind.value} artifact")
    if found["kind"] != kind.value:
        raise FormatError(
            f"{where}: is of kind {brief(found['kind'])}, expected {kind.value!r}; 'skiptool info' "
            "says what a path holds"
        )
    _check_version(found["format_version"], where, kind)
    found = {"arithmetic": {}, **found}
    missing = [key for key in Lineage.__dataclass_fields__ if key not in found]
    if missing:
        raise FormatError(f"{where}: header lacks {', '.join(missing)}; make the artifact again")
    values = {key: found[key] for key in Lineage.__dataclass_fields__}
    wrong = [key for key, type_ in _TYPES.items() if not isinstance(values[key], type_)]
    if wrong:
        raise FormatError(f"{where}: header is damaged in {', '.join(wrong)}; make it again")
    return Lineage(**{**values, "kind": kind})


def identifier(*parts: bytes | memoryview) -> str:
    """Hash concatenated bytes to 32 hex digits."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part)
    return whole.hexdigest()[:ID_DIGITS]


def check_same(found: Mapping[str, Any], invocation: Invocation, where: str) -> None:
    """Compare the determinants of an earlier run with those of the run that resumes it.

    Raises
    ------
    ExistsError
        If any differs; the message shows old and new values.
    """
    changed = []
    other_method = False
    for part, new in invocation.determinants.items():
        old = _as_grown(found.get(part) or {}, new, invocation.grows)
        differing = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
        changed += [f"{name} was {old.get(name)!r}, now {new.get(name)!r}" for name in differing]
        other_method |= any(name in invocation.method for name in differing)
    if other_method:
        raise ExistsError(
            f"{where}: was begun by another version of skiptool, whose method differs "
            f"({'; '.join(changed)}); resume it with that version, give --overwrite to start "
            "again, or another --out"
        )
    if changed:
        hint = (
            "; to add models, shifts or domains, predict only these with another --out and give "
            "both tables to 'skiptool report'"
        )
        raise ExistsError(
            f"{where}: was begun with other parameters ({'; '.join(changed)}); repeat the old "
            "ones to resume, or give --overwrite to start again"
            f"{hint if invocation.step == 'predict' else ''}"
        )


def extends_run(found: Mapping[str, Any], invocation: Invocation) -> bool:
    """Tell whether a run extends an earlier one that is equal otherwise."""
    old = found.get("parameters") or {}
    return _as_grown(old, invocation.determinants["parameters"], invocation.grows) != old


def _as_grown(
    old: Mapping[str, Any], asked: Mapping[str, Any], grows: str | None
) -> Mapping[str, Any]:
    """Replace a smaller number by the requested one."""
    if grows is None:
        return old
    numbers = old.get(grows), asked.get(grows)
    whole = all(isinstance(number, int) and not isinstance(number, bool) for number in numbers)
    return {**old, grows: asked[grows]} if whole and old[grows] < asked[grows] else old


def _check_version(found: object, where: str, kind: Kind) -> None:
    known = FORMAT_VERSIONS[kind]
    if isinstance(found, bool) or not isinstance(found, int) or not 1 <= found <= known:
        raise FormatError(
            f"{where}: format version {brief(found)} of {kind.value}, this skiptool "
            f"({version('skiptool')}) reads up to {known}; use a newer skiptool"
        )


def _word(value: object) -> str:
    """Return a word of a command: URLs without credentials, and instead of their local copies."""
    return public(restore_urls(str(value)))


def _jsonable(value: object) -> Any:  # noqa: ANN401 - JSON has no narrower type
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, str):
        return str(value)
    return str(value) if isinstance(value, Path) else value


def _now() -> str:
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    try:
        moment = datetime.fromtimestamp(int(epoch), UTC)
    except (ValueError, OverflowError, OSError):  # not set, or not a time
        moment = datetime.now(UTC)
    return moment.isoformat(timespec="seconds")
