"""Model folder: weights, architecture and history. Format ``model``, version 1.

::

    runs/<encoder>-<L0..L4 or skips-1+3>/fold<k>/       an arch other than unet is a prefix:
                                                        unetplusplus-<encoder>-L0; repeats of a
                                                        fold are fold<k>-r1, fold<k>-r2 ...
      model.safetensors   tensors only, under the parameter names of segmentation-models-pytorch
      config.json         the keys that library needs to build the network (``_model_class``,
                          ``encoder_name``, ``encoder_weights`` null, ``in_channels``, ``classes``
                          ...), and ours: ``skips`` (levels that remain), ``class_names``,
                          ``training``, ``fold``, ``repeat``, ``parameter_count``, ``samples``
                          (numbers of training and validation samples; since version 0.2),
                          ``lineage``, ``seal``
      history.parquet     see ``tables``
      last.ckpt           to resume training (not kept with --no-keep-last)

That library opens folders of networks with all skips. It ignores ``skips``, and therefore rejects
pruned networks for the shapes of their tensors, except a LinkNet, whose parameters are those of the
unpruned network, which it would build.

A folder written by that library's own ``save_pretrained`` can also be read: it has all skips,
classes named by number, no fold, and an id from its weights; its parameters are counted. A single
output channel is the logit of the foreground. The activation is dropped, as we work on logits. A
common prefix of all tensor names (``_orig_mod.``, ``module.``) is dropped, and bfloat16 is read as
float32. Unknown keys are keyword arguments of the library, and part of the id. Nothing is
unpickled.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from reprlib import repr as brief
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from skiptool.errors import ArgumentError, FormatError, MismatchError, SkiptoolError
from skiptool.names import ENSEMBLE_FOLD, IGNORE_LABEL, SKIP_LEVELS, Arch, Kind
from skiptool.records import NO_NORMALISATION, Architecture, Normalisation, repeat_of, training_name
from skiptool.stores.lineage import ID_DIGITS, Lineage, hash_json, parse_lineage
from skiptool.stores.seals import check_object, sealed_object

if TYPE_CHECKING:
    from skiptool.records import AnyArray

# Configuration

BUILT: Mapping[str, Sequence[object]] = {
    "_model_class": tuple(arch.model_class for arch in Arch),
    "encoder_depth": (5,),
    "decoder_use_norm": ("batchnorm", True),
    "decoder_use_batchnorm": (True,),
    "decoder_channels": ([256, 128, 64, 32, 16],),
    "decoder_attention_type": (None,),
    "decoder_interpolation": ("nearest",),
    "decoder_pab_channels": (64,),
    "aux_params": (None,),
}
"""Keys of the library's configuration with the supported values, the default first.

With another value, the weights might still fit but have another meaning.
"""

_NETWORK_KEYS = ("encoder_name", "encoder_weights", "in_channels", "classes", "activation")
_OWN_KEYS = ("skips", "class_names", "fold", "repeat", "parameter_count", "lineage", "seal")
READ = frozenset({*BUILT, *_NETWORK_KEYS, *_OWN_KEYS})
"""Keys that are read here, or do not describe the network.

In foreign folders, all others are keyword arguments with which the library built the network.
"""

MONOTONE = (None, "identity", "sigmoid", "softmax", "softmax2d", "logsoftmax", "tanh", "argmax2d")
"""Activations that do not change the most probable class, and are dropped."""

SINGLE_LOGIT_ACTIVATIONS = (None, "identity", "sigmoid")
"""Activations of a single logit whose sigmoid is a probability."""

_DECODER = {"decoder_channels": [256, 128, 64, 32, 16], "decoder_interpolation": "nearest"}
_UNET_DECODER = {**_DECODER, "decoder_attention_type": None}
_OTHER_DECODERS: Mapping[str, Mapping[str, Any]] = {
    Arch.LINKNET: {},
    Arch.MANET: {**_DECODER, "decoder_pab_channels": 64},
}
"""Keys of decoders that differ from those of U-net and U-Net++."""

MAX_CHANNELS = 64


def configuration(architecture: Architecture) -> dict[str, Any]:
    """Return the keys that describe a network: arguments of its class, then ours."""
    arch = Arch(architecture.arch)
    return {
        "_model_class": arch.model_class,
        "encoder_name": architecture.encoder,
        "encoder_depth": 5,
        "encoder_weights": None,
        "decoder_use_norm": "batchnorm",
        **_OTHER_DECODERS.get(arch, _UNET_DECODER),
        "in_channels": architecture.channels,
        "classes": architecture.logits,
        "activation": None,
        "aux_params": None,
        **{name: json.loads(value) for name, value in architecture.options},
        "skips": list(architecture.skips),
        "class_names": list(architecture.classes),
    }


def write_config(path: Path, config: Mapping[str, Any]) -> None:
    """Write a sealed configuration; numbers that JSON does not support (NaN) become null."""
    text = json.dumps(sealed_object(_finite(config)), indent=2, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def read_config(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FormatError(f"{path}: no readable JSON ({error}); the file is damaged") from error
    if not isinstance(config, dict):
        raise FormatError(f"{path}: holds no JSON object, expected a model's configuration")
    return config


def read_architecture(where: Path, config: Mapping[str, Any]) -> Architecture:
    """Return the network of a configuration; refuse an unsupported one."""
    for key, accepted in BUILT.items():
        if config.get(key, accepted[0]) not in accepted:
            raise FormatError(
                f"{where}: {key} is {brief(config[key])}, expected "
                f"{' or '.join(map(repr, accepted))}; no other network is built here"
            )
    _check_activation(where, config)
    kind = config.get("_model_class", Arch.UNET.model_class)
    arch = next(arch for arch in Arch if arch.model_class == kind)
    encoder = config.get("encoder_name")
    count = config.get("classes", 1)
    channels = config.get("in_channels", 3)
    skips = config.get("skips", list(SKIP_LEVELS))
    if not (
        isinstance(encoder, str)
        and _within(channels, 1, MAX_CHANNELS)
        and _within(count, 1, IGNORE_LABEL)
    ):
        raise FormatError(
            f"{where}: encoder_name {brief(encoder)}, in_channels {brief(channels)}, classes "
            f"{brief(count)} describe no network; train it again"
        )
    number = max(count, 2)  # a single logit is the one of the foreground
    names = config.get("class_names", ["background", *(f"class{i}" for i in range(1, number))])
    if not _is_list_of(names, str) or len(names) != number or not _is_list_of(skips, int):
        raise FormatError(
            f"{where}: class_names {brief(names)} and skips {brief(skips)}, expected {number} "
            "names and levels; train it again"
        )
    try:
        return Architecture(
            encoder,
            tuple(skips),
            tuple(names),
            channels,
            arch.value,
            binary=count < number,
            options=_options(config),
        )
    except SkiptoolError as error:
        raise FormatError(f"{where}: describes no network ({error}); train it again") from error


def _check_activation(where: Path, config: Mapping[str, Any]) -> None:
    """Refuse an activation that changes the meaning of the logits."""
    count = config.get("classes", 1)
    accepted = SINGLE_LOGIT_ACTIVATIONS if count == 1 else MONOTONE
    if config.get("activation") not in accepted:
        raise FormatError(
            f"{where}: activation is {brief(config['activation'])}, expected one of "
            f"{', '.join(map(str, accepted))} with {count} output channel(s); with another one "
            "labels would mean something else"
        )


def _options(config: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return the keyword arguments not read here, which have no leading underscore."""
    if config.get("lineage") is not None:
        return ()
    others = sorted(name for name in config if name not in READ and not name.startswith("_"))
    return tuple((name, json.dumps(config[name], sort_keys=True)) for name in others)


def read_count(where: Path, config: Mapping[str, Any], key: str) -> int | None:
    """Return a non-negative integer of a configuration, or None if absent."""
    value = config.get(key)
    if value is not None and not _within(value, 0, 2**62):
        raise FormatError(f"{where}: {key} is {brief(value)}, expected a count; train it again")
    return value


def _within(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_list_of(values: object, type_: type) -> bool:
    return isinstance(values, list) and all(type(value) is type_ for value in values)


def _finite(value: Any) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# Model folders

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
PICKLE = "pytorch_model.bin"

_FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}
_SIGNED = {"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1"}
_UNSIGNED = {"U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1"}
_TYPES: Mapping[str, str] = {**_FLOATS, **_SIGNED, **_UNSIGNED, "BOOL": "?"}
"""Types of safetensors that NumPy supports."""

_ENCODER = "encoder."
"""Prefix of the names of an encoder's tensors."""

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""Suffixes of tensors that are not parameters."""


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A checked model folder; the tensors are loaded on demand.

    Attributes
    ----------
    name : str
        For display: run folder and training, ``resnet18-L1/fold0`` or ``resnet18-L1/fold0-r1``.
    id : str
        Hash of architecture and weights.
    fold : int or None
        None for a foreign folder.
    repeat : int or None
        Number of the training of the fold, from 0; None for a foreign folder.
    parameter_count : int or None
        Trainable parameters (Table II); for a foreign folder, the size of all tensors except the
        running statistics of batch norm.
    config : mapping
        All of ``config.json``.
    lineage : Lineage or None
        None for a foreign folder.
    normalisation : Normalisation
        Scaling of images in [0, 1] for this network; only set for a foreign folder.
    """

    path: Path
    name: str
    id: str
    architecture: Architecture
    fold: int | None
    repeat: int | None
    parameter_count: int | None
    config: Mapping[str, Any]
    lineage: Lineage | None
    normalisation: Normalisation = NO_NORMALISATION

    def with_normalisation(self, scaling: Normalisation | None) -> StoredModel:
        """Return the model with the image scaling given by ``--normalise``.

        With another scaling, the same weights are another network: its id changes, except with the
        scaling x / 255 of networks trained here. Foreign models require a scaling, and models
        trained here accept no other than x / 255.
        """
        if self.lineage is None:
            if scaling is None:
                raise ArgumentError(
                    f"{self.path}: was not trained by skiptool; say with --normalise imagenet, "
                    "none or MEAN/STD how the images it was trained on were scaled"
                )
            scaling.check_channels(self.architecture.channels, str(self.path))
            model_id = hash_json([self.id, scaling.mean, scaling.std]) if scaling else self.id
            return replace(self, normalisation=scaling, id=model_id)
        if scaling:
            raise ArgumentError(
                f"--normalise {scaling}: {self.path} was trained by skiptool, on images scaled to "
                "[0, 1]; leave the option out, and run foreign networks in a separate command"
            )
        return self

    def normalise_parameter(self) -> dict[str, str]:
        """Return the parameter ``normalise`` for lineages; empty for models trained here."""
        return {"normalise": str(self.normalisation)} if self.lineage is None else {}

    def tensors(self) -> dict[str, AnyArray]:
        """Load the weights; refuse those that do not match the id or are not finite."""
        tensors, header = _load(self.path), self.lineage
        if header is None:
            tensors = _without_prefix(tensors)
        identity = model_identity(self.architecture, tensors)
        if header and hash_json([header.kind, header.format_version, identity]) != self.id:
            raise FormatError(f"{self.path / WEIGHTS}: weights are not as written; train it again")
        _check_finite(tensors, self.path / WEIGHTS)
        return tensors

    def check_fits(self, channels: int, size: tuple[int, int], where: str) -> None:
        """Refuse images whose channels C or size (H, W) the network does not accept."""
        if channels != self.architecture.channels:
            raise MismatchError(
                f"{where}: images have {channels} channels, model {self.path} takes "
                f"{self.architecture.channels}; use a model trained on such images"
            )
        self.architecture.check_size(*size, where)

    def facts(self) -> dict[str, Any]:
        """Return the columns that describe a model in tables and stores."""
        return {
            **_network_facts(self.name, self.id, self.architecture),
            "fold": self.fold,
            "repeat": self.repeat,
            "parameter_count": self.parameter_count,
        }


def _network_facts(name: str, model_id: str, architecture: Architecture) -> dict[str, Any]:
    return {
        "model": name,
        "model_id": model_id,
        "arch": architecture.arch,
        "encoder": architecture.encoder,
        "pruning": architecture.pruning,
    }


def model_identity(architecture: Architecture, tensors: Mapping[str, AnyArray]) -> dict[str, Any]:
    """Return the values that determine a model's id: its architecture and weights."""
    weights = hashlib.sha256()
    for name in sorted(tensors):
        array = tensors[name]
        weights.update(f"{name} {array.dtype} {array.shape}".encode())
        weights.update(array.tobytes())
    identity = {
        "arch": architecture.arch,
        "encoder": architecture.encoder,
        "skips": architecture.skips,
        "channels": architecture.channels,
        "classes": architecture.logits,
        "weights": weights.hexdigest()[:ID_DIGITS],
    }
    if architecture.options:
        identity["options"] = dict(architecture.options)
    return identity


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
    tensors : mapping of parameter name to array
    extra : mapping
        Further JSON-able keys of ``config.json``: ``training``, ``fold``, ``parameter_count`` ...
    """
    # safetensors writes the memory of an array whatever its order, and its own files are only
    # readable by their owner whatever the umask
    weights = save({name: np.asarray(a, order="C") for name, a in tensors.items()})
    (folder / WEIGHTS).write_bytes(weights)
    config = {**configuration(architecture), **extra, "lineage": header.as_json()}
    write_config(folder / CONFIG, config)


def open_model(path: Path) -> StoredModel:
    """Read and check a model folder.

    Missing and truncated files, damaged configurations, unsupported networks, and other kinds and
    versions are refused.
    """
    for name in (CONFIG, WEIGHTS):
        if not (path / name).is_file():
            remedy = "check the path"
            if (path / PICKLE).is_file():
                remedy = f"{PICKLE} is never unpickled: save it with safetensors"
            raise FormatError(f"{path}: no model folder, it has no {name}; {remedy}")
    config = read_config(path / CONFIG)
    architecture = read_architecture(path / CONFIG, config)
    header = config.get("lineage")
    if header is None:
        return _open_foreign(path, architecture, config)
    lineage = parse_lineage(header, str(path / CONFIG), Kind.MODEL)
    fold, repeat, count = (
        read_count(path / CONFIG, config, key) for key in ("fold", "repeat", "parameter_count")
    )
    repeat = repeat_of(fold, repeat)
    check_object(config, str(path / CONFIG))
    training = () if fold is None else (training_name(fold, repeat),)
    name = "/".join((architecture.folder, *training))
    try:
        with safe_open(path / WEIGHTS, "numpy"):  # compares the file's length with its header
            pass
    except (SafetensorError, OSError) as error:
        raise _weights_error(path, error) from error
    return StoredModel(path, name, lineage.id, architecture, fold, repeat, count, config, lineage)


def _open_foreign(path: Path, architecture: Architecture, config: Mapping[str, Any]) -> StoredModel:
    tensors = _without_prefix(_load(path))
    parameters = (a.size for name, a in tensors.items() if not name.endswith(_STATISTICS))
    return StoredModel(
        path,
        path.name or architecture.folder,
        hash_json(model_identity(architecture, tensors)),
        architecture,
        fold=None,
        repeat=None,
        parameter_count=sum(parameters),
        config=config,
        lineage=None,
    )


def _without_prefix(tensors: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
    """Drop a common prefix of all names: ``_orig_mod.``, ``module.``, ``model.`` ..."""
    prefixed = next((name for name in tensors if f".{_ENCODER}" in name), "")
    prefix = prefixed.partition(_ENCODER)[0]
    if not all(name.startswith(prefix) for name in tensors):
        return dict(tensors)
    return {name.removeprefix(prefix): array for name, array in tensors.items()}


def _check_finite(tensors: Mapping[str, AnyArray], where: Path) -> None:
    for name, array in tensors.items():
        if array.dtype.kind not in "fiub":
            raise FormatError(f"{where}: tensor {name} is of {array.dtype}, expected numbers")
        invalid = int((~np.isfinite(array)).sum()) if array.dtype.kind == "f" else 0
        if invalid:
            raise FormatError(
                f"{where}: tensor {name} has {invalid} of {array.size} values that are NaN or "
                "infinite; half precision overflows at 65504: save the weights in float32"
            )


def _load(path: Path) -> dict[str, AnyArray]:
    try:
        try:
            tensors: dict[str, AnyArray] = load_file(path / WEIGHTS)
        except (TypeError, AttributeError):  # a type that NumPy does not support
            tensors = _parse_bfloat16((path / WEIGHTS).read_bytes())
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        raise _weights_error(path, error) from error
    return tensors


def _parse_bfloat16(content: bytes) -> dict[str, AnyArray]:
    """Parse tensors of which some are bfloat16, the upper half of a float32."""
    start = 8 + int.from_bytes(content[:8], "little")
    tensors: dict[str, AnyArray] = {}
    for name, entry in json.loads(content[8:start]).items():
        if name == "__metadata__":
            continue
        first, last = entry["data_offsets"]
        is_bfloat16 = entry["dtype"] == "BF16"
        dtype = "<u2" if is_bfloat16 else _TYPES[entry["dtype"]]
        values: AnyArray = np.frombuffer(content[start + first : start + last], dtype)
        if is_bfloat16:
            values = (values.astype("<u4") << 16).view("<f4")
        tensors[name] = values.reshape(entry["shape"])
    return tensors


def _weights_error(path: Path, error: Exception) -> FormatError:
    return FormatError(
        f"{path / WEIGHTS}: cannot be read ({error}); the file is damaged, or holds types that "
        "NumPy lacks"
    )


# Ensembles


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Models whose class probabilities are averaged.

    Attributes
    ----------
    name : str
        For display: ``resnet18-L1/ensemble``.
    id : str
        Hash of the ids of its members.
    architecture : Architecture
        That of every member.
    members : tuple of int
        Positions of its members in the caller's list of models.
    """

    name: str
    id: str
    architecture: Architecture
    members: tuple[int, ...]

    def facts(self) -> dict[str, Any]:
        """Return the columns that describe it in tables, like those of a model."""
        network = _network_facts(self.name, self.id, self.architecture)
        return {**network, "fold": ENSEMBLE_FOLD, "repeat": None, "parameter_count": None}


def fold_ensembles(models: Sequence[StoredModel]) -> tuple[list[Ensemble], list[str]]:
    """Form an ensemble of the trainings (folds and repeats) of each architecture.

    There must be an architecture with two trainings, and none may have the same training twice.

    Returns
    -------
    ensembles : list of Ensemble
        In the order of their first members.
    single : list of str
        Names of models that are the only training of their architecture.
    """
    groups: dict[Architecture, list[int]] = {}
    for number, model in enumerate(models):
        groups.setdefault(model.architecture, []).append(number)
    for members in groups.values():
        _check_distinct([models[number] for number in members])
    if all(len(members) == 1 for members in groups.values()):
        raise ArgumentError(
            "--ensemble: no architecture comes with two trainings or more; give all folds of one"
        )
    ensembles = [
        Ensemble(
            f"{architecture.folder}/ensemble",
            hash_json(["ensemble", sorted(models[number].id for number in members)]),
            architecture,
            tuple(members),
        )
        for architecture, members in groups.items()
        if len(members) > 1
    ]
    single = [models[members[0]].name for members in groups.values() if len(members) == 1]
    return ensembles, single


def _check_distinct(models: Sequence[StoredModel]) -> None:
    trainings: dict[tuple[int, int | None], StoredModel] = {}
    for model in models:
        if model.fold is None:
            continue
        first = trainings.setdefault((model.fold, model.repeat), model)
        if first is not model:
            raise ArgumentError(
                f"--ensemble: {first.path} and {model.path} are both "
                f"{training_name(model.fold, model.repeat)} of {model.architecture.folder}; "
                "predict one of the two runs at a time"
            )
