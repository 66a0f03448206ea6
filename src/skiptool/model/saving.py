"""Checkpoints written beside their name and renamed when whole, and read back with one-line errors.

Lightning's own writer collects a checkpoint in memory, then in the system's folder for temporary
files, and copies it from there: each may be too small for it, and a kill leaves it lying there.
"""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from skiptool.errors import FormatError

__all__ = ["WholeFiles"]


class WholeFiles(TorchCheckpointIO):
    """Lightning's door to the disk: a file is replaced by a whole one or stays as it is."""

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | os.PathLike[str],
        storage_options: object = None,
    ) -> None:
        """Write a checkpoint.

        Raises
        ------
        OSError
            If it cannot be written, by a full disk for one; the file of before is intact.
        """
        final = Path(path)
        part = final.with_name(f".{final.name}.part")
        try:
            with part.open("wb") as file:
                torch.save(checkpoint, file)
            os.replace(part, final)
        except BaseException as error:
            part.unlink(missing_ok=True)
            told = _system_error(error)
            if told is None:
                raise
            raise OSError(told.errno, os.strerror(told.errno or 0), str(final)) from error

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: Any = lambda storage, _: storage,  # noqa: ANN401 - whatever torch.load takes
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read a checkpoint.

        Raises
        ------
        FormatError
            If the file is damaged.
        """
        try:
            found: dict[str, Any] = torch.load(path, map_location, weights_only=weights_only)
        except (RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
            line = (str(error).splitlines() or [type(error).__name__])[0]
            raise FormatError(
                f"{path}: cannot be read as a checkpoint ({line}); give --overwrite to start again"
            ) from error
        return found


def _system_error(error: BaseException | None) -> OSError | None:
    """Find what the system said behind torch's own error, which tells of positions in the file."""
    while error is not None and not (isinstance(error, OSError) and error.errno):
        error = error.__cause__ or error.__context__
    return error
