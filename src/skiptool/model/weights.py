"""Pretrained weights of the encoder: from a file, or from the model hub by name.

SMP's own loader asks the hub again for half a minute where there is no network, and longer behind
a firewall that drops packets. So the files it would fetch (same repository, same revision) are
asked for here: the local cache first, then once, and the error says how to bring the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import huggingface_hub as hub
import segmentation_models_pytorch as smp
import timm
import torch
from segmentation_models_pytorch.base import SegmentationModel

from skiptool.errors import ArgumentError, SourceError, near
from skiptool.model.layouts import Tensors, fitted, prefixes
from skiptool.model.unet import TIMM
from skiptool.model.weight_files import read_tensors

__all__ = ["EncoderWeights", "load_encoder_weights"]

NONE = "none"
FILE = "model.safetensors"
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")
"""Of words that are meant to be files."""

SECONDS = 5.0
"""Longest wait for the hub's first answer."""

COMMON = (
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d"),
    *("vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn"),
    *("densenet121", "densenet169", "densenet201", "mobilenet_v2"),
    *("efficientnet-b0", "efficientnet-b1", "efficientnet-b2", "efficientnet-b3"),
)
"""Encoders by which a file of another one is named."""


@dataclass(frozen=True, slots=True)
class EncoderWeights:
    """Where an encoder's first weights came from, for the lineage.

    Attributes
    ----------
    source : str
        ``none``, a name known to the hub (``imagenet``), or a file's name without its folder.
    digest : str or None
        SHA-256 of the encoder's tensors as training starts from them; None where they are random.
    """

    source: str
    digest: str | None


class _Place(NamedTuple):
    repository: str
    revision: str | None


def load_encoder_weights(network: SegmentationModel, encoder: str, source: str) -> EncoderWeights:
    """Load pretrained weights into the encoder of a network.

    Parameters
    ----------
    network : SegmentationModel
        Changed in place.
    encoder : str
        Name of its encoder.
    source : str
        ``none``; a name under which SMP knows weights of this encoder (``imagenet``, ``ssl`` ...);
        or a file: safetensors, or what ``torch.save`` wrote, told by content (read without
        executing anything in it). Prefixes such as ``encoder.``, mappings around the tensors such
        as ``state_dict``, and a classifier's tensors are left out, so files of SMP, torchvision,
        timm, Lightning and skiptool's own models all fit.

    Returns
    -------
    EncoderWeights

    Raises
    ------
    ArgumentError
        If ``source`` is neither a known name nor a file.
    SourceError
        If the file cannot be read or does not fit, holds several different networks that do, or
        the hub cannot be reached.

    Notes
    -----
    Weights of three-channel images fit C channels as in SMP's ``patch_first_conv``: summed over
    colours for C = 1, else repeated in turn and scaled by 3 / C.
    """
    if source == NONE:
        return EncoderWeights(NONE, None)
    places = _places(encoder)
    if source in places:
        path, name = _fetch(places[source], f"encoder weights {source!r} of {encoder}"), source
    else:
        path, name = _existing(source, encoder, places), Path(source).name
    target = _target_of(network, encoder)
    tensors = _fit(read_tensors(path), network, encoder, name)
    torch.nn.Module.load_state_dict(target, tensors, strict=False)  # _fit checked; see there
    return EncoderWeights(name, _digest(target.state_dict()))


def _target_of(network: smp.Unet, encoder: str) -> torch.nn.Module:
    """Return the module whose names a file of the encoder's weights has."""
    target: torch.nn.Module = network.encoder.model if encoder.startswith(TIMM) else network.encoder
    return target


def _places(encoder: str) -> dict[str, _Place]:
    """Map each name of pretrained weights of an encoder to its place on the hub."""
    if encoder.startswith(TIMM):
        settings = timm.models.get_pretrained_cfg(encoder.removeprefix(TIMM))
        repository = settings.hf_hub_id if settings else None
        return {"imagenet": _Place(repository, None)} if repository else {}
    offered = smp.encoders.encoders[encoder]["pretrained_settings"]
    return {name: _Place(at["repo_id"], at["revision"]) for name, at in offered.items()}


def _existing(source: str, encoder: str, places: Mapping[str, _Place]) -> Path:
    path = Path(source)
    if path.is_file():
        return path
    if path.is_dir():
        raise SourceError(f"encoder weights {source}: is a folder; give the file in it, {FILE} say")
    if "/" in source or path.suffix in SUFFIXES:
        raise SourceError(f"encoder weights {source}: no such file; give a weights file or 'none'")
    names = [NONE, *places]
    raise ArgumentError(
        f"encoder weights {source!r}: neither a file nor known for {encoder}, expected one of "
        f"{', '.join(names)} or a file{near(source, names)}"
    )


def _fetch(place: _Place, what: str) -> Path:
    """Return the file in the hub's local cache, downloaded now where it is missing."""
    repository, revision = place
    cached = hub.try_to_load_from_cache(repository, FILE, revision=revision)
    if isinstance(cached, str):
        return Path(cached)
    try:
        url = hub.hf_hub_url(repository, FILE, revision=revision)
        hub.get_hf_file_metadata(url, timeout=SECONDS)  # one try; a download has six
        return Path(hub.hf_hub_download(repository, FILE, revision=revision))
    except Exception as error:  # network, proxy, offline mode, disk: each its own class
        raise SourceError(
            f"{what}: the model hub cannot be reached ({_first_line(error)}); on a machine with "
            f"network run 'hf download {repository} {FILE}' and pass the file with "
            "--encoder-weights FILE, or use --encoder-weights none"
        ) from error


def _fit(found: Tensors, network: smp.Unet, encoder: str, name: str) -> dict[str, torch.Tensor]:
    target = _target_of(network, encoder).state_dict()
    places = prefixes(found, target) or {"": ""}
    tried = {places[prefix]: fitted(found, target, prefix) for prefix in places}
    sound = {place: chosen for place, (chosen, faults) in tried.items() if not faults}
    if not sound:
        faults = min((faults for _, faults in tried.values()), key=len)
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        other = _resembled(found)
        holds = f"; the file holds those of {other}" if other else ""
        raise SourceError(
            f"{name}: encoder weights for {encoder}: {faults[0]}{more}{holds}; use weights of this "
            "very encoder"
        )
    first, *others = sound.values()
    _check_numbers(first, name)
    if any(not _equal(first, other) for other in others):
        raise SourceError(
            f"{name}: holds several networks with such an encoder ({', '.join(map(_said, sound))}) "
            "and does not say which is meant; save the tensors of one alone: torch.save(one, FILE)"
        )
    return first


def _check_numbers(tensors: Tensors, where: str) -> None:
    """Refuse quantised weights, whose scale is elsewhere, and what is no finite number."""
    for name, tensor in tensors.items():
        if name.endswith("num_batches_tracked"):
            continue
        if not tensor.is_floating_point():
            kind = str(tensor.dtype).removeprefix("torch.")
            raise SourceError(
                f"{where}: tensor {name} is of {kind}, expected floating-point numbers; save the "
                "network before it is quantised"
            )
        wrong = int((~torch.isfinite(tensor)).sum())
        if wrong:
            raise SourceError(
                f"{where}: tensor {name} has {wrong} of {tensor.numel()} values that are NaN or "
                "infinite; use another checkpoint, or save it in float32"
            )


def _equal(first: Tensors, second: Tensors) -> bool:
    return all(name in second and torch.equal(first[name], second[name]) for name in first)


def _said(place: str) -> str:
    return f"{place}*" if place else "bare names"


def _resembled(found: Tensors) -> str | None:
    """Name the encoder whose tensors these are, among those that files are mostly of."""
    for name in COMMON:
        with torch.device("meta"):
            encoder = smp.encoders.get_encoder(name, weights=None)
        target = encoder.state_dict()
        if any(not fitted(found, target, prefix)[1] for prefix in prefixes(found, target)):
            return name
    return None


def _digest(tensors: Tensors) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        array = tensor.detach().cpu().contiguous().numpy()
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
