"""Pretrained weights of the encoder: from a file, or from the model hub by name.

SMP's own loader asks the hub again for half a minute where there is no network, and longer behind
a firewall that drops packets. So the files it would fetch (same repository, same revision) are
asked for here: the local cache first, then once, and the error says how to bring the file.
"""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import huggingface_hub as hub
import segmentation_models_pytorch as smp
import timm
import torch
from segmentation_models_pytorch.base import SegmentationModel

from skiptool.errors import ArgumentError, SourceError, near
from skiptool.model.unet import TIMM

__all__ = ["EncoderWeights", "load_encoder_weights"]

NONE = "none"
FILE = "model.safetensors"
PICKLES = (".pth", ".pt", ".bin")
SECONDS = 5.0
"""Longest wait for the hub's first answer."""

Tensors = Mapping[str, torch.Tensor]


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
        or a file: ``.safetensors``, or a state dict ``.pth``, ``.pt``, ``.bin`` (read without
        executing anything in it). Prefixes such as ``encoder.`` and a classifier's tensors are
        left out, so files of SMP, torchvision and timm and skiptool's own models all fit.

    Returns
    -------
    EncoderWeights

    Raises
    ------
    ArgumentError
        If ``source`` is neither a known name nor a file.
    SourceError
        If the file cannot be read or does not fit, or the hub cannot be reached.

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
    target = network.encoder.model if encoder.startswith(TIMM) else network.encoder
    tensors = _fit(_read(path), target.state_dict(), f"{name}: encoder weights for {encoder}")
    torch.nn.Module.load_state_dict(target, tensors, strict=False)  # _fit checked; see there
    return EncoderWeights(name, _digest(target.state_dict()))


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
    if "/" in source or path.suffix in (".safetensors", *PICKLES):
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


def _read(path: Path) -> Tensors:
    try:
        found: Any
        if path.suffix in PICKLES:
            found = torch.load(path, map_location="cpu", weights_only=True)
        else:
            found = hub.load_state_dict_from_file(path)
    except (OSError, ValueError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise SourceError(
            f"{path.name}: cannot be read as weights ({_first_line(error)}); expected a "
            f".safetensors file or a state dict ({', '.join(PICKLES)})"
        ) from error
    for wrapper in ("state_dict", "model"):  # training frameworks wrap it once
        if isinstance(found, Mapping) and isinstance(found.get(wrapper), Mapping):
            found = found[wrapper]
    if not isinstance(found, Mapping):
        raise SourceError(f"{path.name}: holds a {type(found).__name__}, expected a state dict")
    return {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}


def _fit(found: Tensors, target: Tensors, where: str) -> dict[str, torch.Tensor]:
    """Select, rename and adapt the tensors that ``target`` needs.

    The counters ``num_batches_tracked`` may be missing: files from before torch 0.4.1 have none.
    """
    names = {_plain(name): name for name in found}
    prefix = _prefix(names, _plain(next(iter(target))))
    chosen: dict[str, torch.Tensor] = {}
    faults = []
    for name, tensor in target.items():
        source = names.get(prefix + _plain(name))
        if source is not None:
            chosen[name] = _adapt(found[source], tensor.shape)
            if chosen[name].shape != tensor.shape:
                shapes = f"{tuple(found[source].shape)}, expected {tuple(tensor.shape)}"
                faults.append(f"tensor {source} has shape {shapes}")
        elif not name.endswith("num_batches_tracked"):
            faults.append(f"tensor {name} is missing")
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise SourceError(f"{where}: {faults[0]}{more}; use weights of this very encoder")
    return chosen


def _plain(name: str) -> str:
    """Bring the spellings of one tensor together.

    timm writes ``stages.0`` in files and ``stages_0`` in feature extractors, torchvision's old
    densenets ``norm.1`` for ``norm1``.
    """
    return re.sub(r"(norm|relu|conv)\.([12])\.", r"\1\2.", name).replace("_", ".")


def _prefix(names: Mapping[str, str], first: str) -> str:
    """Find what stands before the encoder's own names in a file (``encoder.``), mostly nothing."""
    before = [name.removesuffix(first) for name in names if name.endswith(first)]
    return min((p for p in before if not p or p.endswith(".")), key=len, default="")


def _adapt(tensor: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Carry a first convolution (D, 3, k, k) over to C image channels."""
    if tensor.dim() != 4 or tensor.shape[1] != 3 or len(shape) != 4 or shape[1] == 3:
        return tensor
    channels = shape[1]
    if channels == 1:
        return tensor.sum(1, keepdim=True)
    return tensor[:, torch.arange(channels) % 3] * (3 / channels)


def _digest(tensors: Tensors) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        array = tensor.detach().cpu().contiguous().numpy()
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
