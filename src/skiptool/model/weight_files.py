"""Files of weights, told by content: safetensors, or what ``torch.save`` wrote. No code is run."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import huggingface_hub as hub
import torch

from skiptool.errors import SourceError

__all__ = ["read_tensors"]

LIGHTNING: Final = "pytorch-lightning_version"
"""Key of Lightning's checkpoints, which hold much besides the network, its copies among that."""

DEEPEST: Final = 8
"""Mappings within mappings that are looked into."""

FOREIGN: Final = re.compile(r"GLOBAL ([\w.]+)|class (?:<class ')?([\w.]+)'?>? was not an allowed")
"""How torch names an object whose code it would have to run."""


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read all tensors of a file by their full names.

    Parameters
    ----------
    path : Path
        safetensors, or a state dict of ``torch.save``, bare or within other mappings
        (``state_dict``, ``model``, ``net``, ``teacher`` ...), whatever its suffix.

    Returns
    -------
    dict of str to tensor
        Names of mappings stand in front, with a dot. Of a checkpoint of Lightning, those of its
        ``state_dict`` alone.

    Raises
    ------
    SourceError
        If it cannot be read, holds no tensors by name, or objects whose code would have to be run.
    """
    try:
        found: Any
        if _is_safetensors(path):
            found = hub.load_state_dict_from_file(path, weights_only=True)
        else:
            with path.open("rb") as file:  # of a path, torch would believe the suffix
                found = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, ValueError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise SourceError(f"{path.name}: cannot be read as weights ({_reason(error)})") from error
    if not isinstance(found, Mapping):
        raise SourceError(f"{path.name}: holds a {type(found).__name__}, expected a state dict")
    if LIGHTNING in found and isinstance(found.get("state_dict"), Mapping):
        found = found["state_dict"]
    return dict(_flat(found, "", DEEPEST))


def _is_safetensors(path: Path) -> bool:
    """Say whether a file begins as safetensors do: with a length, and JSON behind it."""
    with path.open("rb") as file:
        start = file.read(9)
    length = int.from_bytes(start[:8], "little")
    return start[8:] == b"{" and length <= path.stat().st_size


def _flat(found: Mapping[Any, Any], before: str, deep: int) -> Iterator[tuple[str, torch.Tensor]]:
    for key, value in found.items():
        if isinstance(value, torch.Tensor):
            yield f"{before}{key}", value
        elif isinstance(value, Mapping) and deep:
            yield from _flat(value, f"{before}{key}.", deep - 1)


def _reason(error: Exception) -> str:
    """Say in a few words what torch says in many, some of them to advise against."""
    text = str(error)
    foreign = FOREIGN.search(text)
    if foreign:
        name = next(filter(None, foreign.groups()))
        return (
            f"it holds an object of {name}, whose code is not run; save its tensors alone: "
            "torch.save(network.state_dict(), FILE)"
        )
    if "TorchScript" in text:
        return (
            "it is a TorchScript archive; save its tensors alone: "
            "torch.save(torch.jit.load(FILE).state_dict(), OTHER)"
        )
    expected = "expected safetensors or a state dict that torch.save wrote"
    if isinstance(error, pickle.UnpicklingError):
        return expected
    return f"{(text.splitlines() or [type(error).__name__])[0].rstrip('. ')}; {expected}"
