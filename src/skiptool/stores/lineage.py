"""Lineage: the header of every artifact.

The same keys are in the root attributes of a Zarr store, under the key ``skiptool`` of a
Parquet file's metadata, and under ``lineage`` in a model's ``config.json``::

    kind              format tag: dataset, features, counts, model, history, predictions, masks,
                      overlays, shift, registration, report
    format_version    integer; a reader refuses a version above its own
    skiptool_version  version of skiptool that wrote it
    command           shell command that reproduces it
    parameters        every parameter that determines the content, including defaults
    created           UTC, ISO 8601; ``SOURCE_DATE_EPOCH`` (whole seconds) fixes it
    id                32 hex digits, a hash of what determines the content
    inputs            {role: id} of the artifacts it was made from
    arithmetic        only if a network computed it: device, threads, precision, instruction set
                      and the pixels of a batch, which affect the last digits

A hash of the header and the other metadata reveals changes: see ``seals``.

``command``, ``created`` and ``arithmetic`` describe the run: no id depends on them. The id of a
dataset or a model is a hash of its content. The id of a network's outputs (features, predictions,
masks) is a hash of inputs and parameters: artifacts with equal ids were requested in the same way,
and are identical byte by byte if their arithmetic is also the same. Otherwise activations differ in
their last digits, and labels where two classes are about equally probable.
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
from skiptool.stores.addresses import redact
from skiptool.stores.copies import restore_urls

FORMAT_VERSIONS: Mapping[Kind, int] = {
    **dict.fromkeys(Kind, 1),
    **dict.fromkeys((Kind.REPORT, Kind.SHIFT), 2),
}
"""Version of each format that this code writes, and the latest that it reads."""

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
        Options that determine the content; compared when a run is resumed. A mapping among them is
        not part of the command: its option goes into ``placement``.
    placement : mapping
        Options that do not, such as output path, workers and device.
    inputs : mapping
        Role to id of each artifact read.
    method : mapping
        Parts of the method that no option sets: recorded and compared like parameters, but not part
        of the command.
    arithmetic : mapping
        Further causes of differences in the last digits of a network's results, as JSON types.
    grows : str, optional
        The one parameter that a resumed run may increase, such as the number of epochs.

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
        """Parameters and inputs, which a run that resumes this one must share, as JSON types."""
        parameters = {**self.parameters, **self.method}
        return {"parameters": _jsonable(parameters), "inputs": _jsonable(self.inputs)}

    @property
    def command(self) -> str:
        """The shell command that reproduces the artifact."""
        words = ["skiptool", *self.step.split(), *map(_shown, self.arguments)]
        for name, value in {**self.parameters, **self.placement}.items():
            option = f"--{name.replace('_', '-')}"
            if value is True:
                words.append(option)
            elif isinstance(value, list | tuple):
                words += [word for item in value for word in (option, _shown(item))]
            elif value is not None and value is not False and not isinstance(value, Mapping):
                words += [option, _shown(value)]
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


def create_lineage(kind: Kind, invocation: Invocation, identity: object) -> Lineage:
    """Create a header whose id is the hash of ``identity``, a JSON-able object.

    The identity comprises everything that determines the content of the artifact.
    """
    return Lineage(
        kind=kind,
        format_version=FORMAT_VERSIONS[kind],
        skiptool_version=version("skiptool"),
        command=invocation.command,
        **invocation.determinants,
        created=_now(),
        arithmetic=dict(invocation.arithmetic),
        id=hash_json([kind.value, FORMAT_VERSIONS[kind], identity]),
    )


def hash_json(value: object) -> str:
    """Hash a JSON-able value in canonical form (sorted keys, no spaces) to 32 hex digits.

    Examples
    --------
    >>> hash_json({"a": 1, "b": 2}) == hash_json({"b": 2, "a": 1})
    True
    """
    text = json.dumps(_jsonable(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hash_bytes(text.encode())


def parse_lineage(header: object, where: str, kind: Kind) -> Lineage:
    """Validate a header read from a file, and return it typed.

    Headers of other programs, of another kind or of a later version, and incomplete ones are
    refused.
    """
    if not isinstance(header, Mapping) or "kind" not in header or "format_version" not in header:
        raise FormatError(f"{where}: not made by skiptool, expected a {kind.value} artifact")
    if header["kind"] != kind.value:
        raise FormatError(
            f"{where}: is of kind {brief(header['kind'])}, expected {kind.value!r}; 'skiptool "
            "info' says what a path holds"
        )
    format_version, latest = header["format_version"], FORMAT_VERSIONS[kind]
    if type(format_version) is not int or not 1 <= format_version <= latest:
        raise FormatError(
            f"{where}: format version {brief(format_version)} of {kind.value}, this skiptool "
            f"({version('skiptool')}) reads up to {latest}; use a newer skiptool"
        )
    header = {"arithmetic": {}, **header}
    missing = [key for key in Lineage.__dataclass_fields__ if key not in header]
    if missing:
        raise FormatError(f"{where}: header lacks {', '.join(missing)}; make the artifact again")
    values = {key: header[key] for key in Lineage.__dataclass_fields__}
    damaged = [key for key, type_ in _TYPES.items() if not isinstance(values[key], type_)]
    if damaged:
        raise FormatError(f"{where}: header is damaged in {', '.join(damaged)}; make it again")
    return Lineage(**{**values, "kind": kind})


def hash_bytes(*parts: bytes | memoryview) -> str:
    """Hash concatenated bytes to 32 hex digits."""
    sha256 = hashlib.sha256()
    for part in parts:
        sha256.update(part)
    return sha256.hexdigest()[:ID_DIGITS]


def check_same_run(determinants: Mapping[str, Any], invocation: Invocation, where: str) -> None:
    """Refuse to resume an earlier run with other determinants; list old and new values."""
    changed = []
    other_method = False
    for part, new in invocation.determinants.items():
        old = _with_larger(determinants.get(part) or {}, new, invocation.grows)
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
        hint = ""
        if invocation.step == "predict":
            hint = (
                "; to add models, shifts or domains, predict only these with another --out and "
                "give both tables to 'skiptool report'"
            )
        raise ExistsError(
            f"{where}: was begun with other parameters ({'; '.join(changed)}); repeat the old "
            f"ones to resume, or give --overwrite to start again{hint}"
        )


def extends_run(determinants: Mapping[str, Any], invocation: Invocation) -> bool:
    """Return whether an invocation extends an earlier run that is otherwise the same."""
    old = determinants.get("parameters") or {}
    return _with_larger(old, invocation.determinants["parameters"], invocation.grows) != old


def _with_larger(
    old: Mapping[str, Any], new: Mapping[str, Any], name: str | None
) -> Mapping[str, Any]:
    """Replace one integer of the old parameters by the new one if that is larger."""
    if name is None or type(old.get(name)) is not int or type(new.get(name)) is not int:
        return old
    return {**old, name: max(old[name], new[name])}


def _shown(value: object) -> str:
    """Return an argument for display: URLs without credentials, not paths of their copies."""
    return redact(restore_urls(str(value)))


def _jsonable(value: object) -> Any:  # noqa: ANN401 - JSON has no narrower type
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    return str(value) if isinstance(value, str | Path) else value


def _now() -> str:
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    try:
        moment = datetime.fromtimestamp(int(epoch), UTC)
    except (ValueError, OverflowError, OSError):  # not set, or not a time
        moment = datetime.now(UTC)
    return moment.isoformat(timespec="seconds")
