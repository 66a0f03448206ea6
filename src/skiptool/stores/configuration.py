"""``config.json`` of a model folder: what network its weights are of.

The keys that segmentation-models-pytorch needs to build it, and ours: see ``checkpoint``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from reprlib import repr as brief
from typing import Any

from skiptool.errors import FormatError, SkiptoolError
from skiptool.names import IGNORE, SKIP_LEVELS, Arch
from skiptool.records import Architecture
from skiptool.stores.seal import sealed_object

__all__ = ["configuration", "read_architecture", "read_config", "read_count", "write_config"]

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
"""Keys of the library's configuration with what is built here; where absent they have the first.

With another value the weights might fit all the same, and mean something else.
"""

READ = frozenset(
    {
        *BUILT,
        *("encoder_name", "encoder_weights", "in_channels", "classes", "activation"),
        *("skips", "class_names", "fold", "repeat", "parameter_count", "lineage", "seal"),
    }
)
"""Keys that are looked at here, or say nothing of the network.

All others of a folder that others wrote are keyword arguments the library built the network with.
"""

MONOTONE = (None, "identity", "sigmoid", "softmax", "softmax2d", "logsoftmax", "tanh", "argmax2d")
"""Activations that do not change which class is the most probable: they are left out."""

OF_ONE = (None, "identity", "sigmoid")
"""Activations of a single logit whose sigmoid is a probability."""

_PLAIN = {"decoder_channels": [256, 128, 64, 32, 16], "decoder_interpolation": "nearest"}
_ATTENDED = {**_PLAIN, "decoder_attention_type": None}
_DECODERS: Mapping[str, Mapping[str, Any]] = {
    Arch.LINKNET: {},
    Arch.MANET: {**_PLAIN, "decoder_pab_channels": 64},
}
"""Keys of decoders that differ from those of U-net and U-Net++."""

MAX_CHANNELS = 64


def configuration(architecture: Architecture) -> dict[str, Any]:
    """Return the keys that describe a network: those its class takes, then ours."""
    arch = Arch(architecture.arch)
    return {
        "_model_class": arch.model_class,
        "encoder_name": architecture.encoder,
        "encoder_depth": 5,
        "encoder_weights": None,
        "decoder_use_norm": "batchnorm",
        **_DECODERS.get(arch, _ATTENDED),
        "in_channels": architecture.channels,
        "classes": architecture.logits,
        "activation": None,
        "aux_params": None,
        **{name: json.loads(value) for name, value in architecture.options},
        "skips": list(architecture.skips),
        "class_names": list(architecture.classes),
    }


def write_config(path: Path, config: Mapping[str, Any]) -> None:
    """Write a configuration, sealed; numbers that JSON does not have (NaN) become null."""
    text = json.dumps(sealed_object(_finite(config)), indent=2, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def read_config(path: Path) -> dict[str, Any]:
    """Read a configuration.

    Raises
    ------
    FormatError
        If the file cannot be read or is no JSON object.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FormatError(f"{path}: no readable JSON ({error}); the file is damaged") from error
    if not isinstance(config, dict):
        raise FormatError(f"{path}: holds no JSON object, expected a model's configuration")
    return config


def read_architecture(where: Path, config: Mapping[str, Any]) -> Architecture:
    """Return the network that a configuration describes.

    Raises
    ------
    FormatError
        If it is none, or none that is built here.
    """
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
        and _within(count, 1, IGNORE)
    ):
        raise FormatError(
            f"{where}: encoder_name {brief(encoder)}, in_channels {brief(channels)}, classes "
            f"{brief(count)} "
            "describe no network; train it again"
        )
    known = max(count, 2)  # a single logit is that of the foreground
    names = config.get("class_names", ["background", *(f"class{i}" for i in range(1, known))])
    if not _all(names, str) or len(names) != known or not _all(skips, int):
        raise FormatError(
            f"{where}: class_names {brief(names)} and skips {brief(skips)}, expected {known} "
            "names and levels; train it again"
        )
    form = (channels, arch.value, count < known, _options(config))
    try:
        return Architecture(encoder, tuple(skips), tuple(names), *form)
    except SkiptoolError as error:
        raise FormatError(f"{where}: describes no network ({error}); train it again") from error


def _check_activation(where: Path, config: Mapping[str, Any]) -> None:
    """Refuse an activation that logits cannot do without."""
    count = config.get("classes", 1)
    accepted = OF_ONE if count == 1 else MONOTONE
    if config.get("activation") not in accepted:
        raise FormatError(
            f"{where}: activation is {brief(config['activation'])}, expected one of "
            f"{', '.join(map(str, accepted))} with {count} output channel(s); with another one "
            "labels would mean something else"
        )


def _options(config: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return what is not read here; names with an underscore in front are no arguments."""
    if config.get("lineage") is not None:
        return ()
    others = sorted(name for name in config if name not in READ and not name.startswith("_"))
    return tuple((name, json.dumps(config[name], sort_keys=True)) for name in others)


def read_count(where: Path, config: Mapping[str, Any], key: str) -> int | None:
    """Return a whole number of a configuration, None where it is absent.

    Raises
    ------
    FormatError
        If it is something else.
    """
    found = config.get(key)
    if found is not None and not _within(found, 0, 2**62):
        raise FormatError(f"{where}: {key} is {brief(found)}, expected a count; train it again")
    return found


def _within(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _all(values: object, form: type) -> bool:
    return isinstance(values, list) and all(type(value) is form for value in values)


def _finite(value: Any) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
