"""Model folder: weights, what they are of, and how they came about. Format ``model``, version 1.

::

    runs/<encoder>-<L0..L4 or skips-1+3>/fold<k>/
      model.safetensors   tensors only, under the parameter names of segmentation-models-pytorch
      config.json         the keys that library needs to build the network (``_model_class``,
                          ``encoder_name``, ``encoder_weights`` null, ``in_channels``, ``classes``
                          ...), and ours: ``skips`` (levels that stay), ``class_names``,
                          ``training`` (protocol), ``parameter_count``, ``lineage``
      history.parquet     see ``tables``
      last.ckpt           to resume training (not kept with --no-keep-last)

A folder written by that library's own ``save_pretrained`` is read too: it has all skips, classes
named by number, no fold, and an id from its weights. Nothing here is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from skiptool.errors import FormatError, MismatchError, SkiptoolError
from skiptool.names import SKIP_LEVELS, Kind
from skiptool.records import Architecture
from skiptool.stores.header import ID_DIGITS, Lineage, digest, parse_lineage

if TYPE_CHECKING:
    from skiptool.records import AnyArray

__all__ = ["StoredModel", "model_identity", "open_model", "write_model"]

WEIGHTS = "model.safetensors"
CONFIG = "config.json"


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model folder that was read and checked; the tensors are loaded on demand.

    Attributes
    ----------
    path : Path
    name : str
        For people: run folder and fold, ``resnet18-L1/fold0``.
    id : str
        Hash of architecture and weights.
    architecture : Architecture
    fold : int or None
        None for a foreign folder.
    parameter_count : int or None
        Trainable parameters (Table II).
    config : mapping
        All of ``config.json``.
    lineage : Lineage or None
        None for a foreign folder.
    """

    path: Path
    name: str
    id: str
    architecture: Architecture
    fold: int | None
    parameter_count: int | None
    config: Mapping[str, Any]
    lineage: Lineage | None

    def tensors(self) -> dict[str, AnyArray]:
        """Load the weights.

        Raises
        ------
        FormatError
            If the file is missing or damaged.
        """
        return _load(self.path)

    def check_fits(self, channels: int, where: str) -> None:
        """Compare the network's input with the channels C of images.

        Raises
        ------
        MismatchError
            If they differ.
        """
        if channels != self.architecture.channels:
            raise MismatchError(
                f"{where}: images have {channels} channels, model {self.path} takes "
                f"{self.architecture.channels}; use a model trained on such images"
            )

    def facts(self) -> dict[str, Any]:
        """Return the columns that tables and stores keep of a model."""
        return {
            "model": self.name,
            "model_id": self.id,
            "arch": self.architecture.arch,
            "encoder": self.architecture.encoder,
            "pruning": self.architecture.pruning,
            "fold": self.fold,
            "parameter_count": self.parameter_count,
        }


def model_identity(architecture: Architecture, tensors: Mapping[str, AnyArray]) -> dict[str, Any]:
    """Return what a model's id is the hash of: its architecture and its weights."""
    weights = hashlib.sha256()
    for name in sorted(tensors):
        array = tensors[name]
        weights.update(f"{name} {array.dtype} {array.shape}".encode())
        weights.update(array.tobytes())
    return {
        "arch": architecture.arch,
        "encoder": architecture.encoder,
        "skips": architecture.skips,
        "channels": architecture.channels,
        "classes": len(architecture.classes),
        "weights": weights.hexdigest()[:ID_DIGITS],
    }


def write_model(
    folder: Path,
    architecture: Architecture,
    tensors: Mapping[str, AnyArray],
    header: Lineage,
    extra: Mapping[str, Any],
) -> None:
    """Write weights and configuration into an existing folder.

    Parameters
    ----------
    folder : Path
        Folder in which the model grows (see ``staging``).
    architecture : Architecture
    tensors : mapping of parameter name to array
    header : Lineage
        Of kind ``model``.
    extra : mapping
        Further JSON-able keys of ``config.json``: ``training``, ``fold``, ``parameter_count`` ...
    """
    config = {
        "_model_class": "Unet",
        "encoder_name": architecture.encoder,
        "encoder_depth": 5,
        "encoder_weights": None,
        "decoder_use_norm": "batchnorm",
        "decoder_channels": [256, 128, 64, 32, 16],
        "decoder_attention_type": None,
        "decoder_interpolation": "nearest",
        "in_channels": architecture.channels,
        "classes": len(architecture.classes),
        "activation": None,
        "aux_params": None,
        "skips": list(architecture.skips),
        "class_names": list(architecture.classes),
        **extra,
        "lineage": header.as_json(),
    }
    save_file(dict(tensors), folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")


def open_model(path: Path) -> StoredModel:
    """Read and check a model folder.

    Raises
    ------
    FormatError
        If files are missing, the configuration is no U-net this code can build, or its header
        is of another kind or version.
    """
    for name in (CONFIG, WEIGHTS):
        if not (path / name).is_file():
            raise FormatError(f"{path}: no model folder, it has no {name}; check the path")
    config = _read_config(path / CONFIG)
    architecture = _architecture(path, config)
    header = config.get("lineage")
    if header is None:
        identity = model_identity(architecture, _load(path))
        return StoredModel(
            path, path.name, digest(identity), architecture, None, None, config, None
        )
    lineage = parse_lineage(header, str(path), Kind.MODEL)
    fold, count = config.get("fold"), config.get("parameter_count")
    name = architecture.folder if fold is None else f"{architecture.folder}/fold{fold}"
    return StoredModel(path, name, lineage.id, architecture, fold, count, config, lineage)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise FormatError(f"{path}: no readable JSON ({error}); the file is damaged") from error
    if not isinstance(config, dict):
        raise FormatError(f"{path}: holds no JSON object, expected a model's configuration")
    return config


def _architecture(path: Path, config: Mapping[str, Any]) -> Architecture:
    where = path / CONFIG
    built = {"_model_class": "Unet", "encoder_depth": 5, "decoder_attention_type": None}
    for key, expected in built.items():
        if config.get(key, expected) != expected:
            raise FormatError(
                f"{where}: {key} is {config[key]!r}, this skiptool builds {expected!r} only"
            )
    channels = config.get("decoder_channels", [256, 128, 64, 32, 16])
    if list(channels) != [256, 128, 64, 32, 16]:
        raise FormatError(f"{where}: decoder_channels {channels}, expected [256, 128, 64, 32, 16]")
    count = config.get("classes", 1)
    names = config.get("class_names", ["background", *(f"class{i}" for i in range(1, count))])
    try:
        return Architecture(
            encoder=str(config["encoder_name"]),
            skips=tuple(int(level) for level in config.get("skips", SKIP_LEVELS)),
            classes=tuple(str(name) for name in names),
            channels=int(config.get("in_channels", 3)),
        )
    except (KeyError, TypeError, ValueError, SkiptoolError) as error:
        raise FormatError(f"{where}: describes no network ({error}); train it again") from error


def _load(path: Path) -> dict[str, AnyArray]:
    try:
        tensors: dict[str, AnyArray] = load_file(path / WEIGHTS)
    except (SafetensorError, OSError, ValueError) as error:
        raise FormatError(
            f"{path / WEIGHTS}: cannot be read ({error}); the file is damaged or no safetensors"
        ) from error
    return tensors
