"""Pretrained weights of the encoder: from a file, or from the model hub by name.

SMP's own loader asks the hub again for half a minute where there is no network, and longer behind
a firewall that drops packets. So the files it would fetch (same repository, same revision) are
asked for here: the local cache first, then once, and the error says how to bring the file.
"""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import huggingface_hub as hub
import segmentation_models_pytorch as smp
import timm
import torch
from segmentation_models_pytorch.base import SegmentationModel

from skiptool.errors import ArgumentError, SourceError, near
from skiptool.model.unet import TIMM

__all__ = [
    "EncoderWeights",
    "Tensors",
    "fitted",
    "load_encoder_weights",
    "prefixes",
    "read_tensors",
]

# -------------------------------------------------------------------------------------------------
# Names under which files hold the weights of an encoder: torchvision's, timm's, SMP's.


Tensors = Mapping[str, torch.Tensor]


def prefixes(found: Tensors, target: Tensors) -> dict[str, str]:
    """Find what may stand before a network's own names in a file (``encoder.``), mostly nothing.

    Returns
    -------
    dict of str to str
        To be handed to `fitted`, the shortest first, and how the file spells it.

    Examples
    --------
    >>> t = torch.zeros(2)
    >>> prefixes({"net.encoder_q.a": t, "a": t, "data": t}, {"a": t})
    {'': '', 'net.encoder.q.': 'net.encoder_q.'}
    """
    first = _plain(next(iter(target)))
    before = {
        name.removesuffix(first): source
        for source in found
        if (name := _plain(source)).endswith(first)
    }
    return {
        prefix: before[prefix][: len(prefix)]
        for prefix in sorted(before, key=len)
        if not prefix or prefix.endswith(".")
    }


def fitted(
    found: Tensors, target: Tensors, prefix: str = ""
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Select, rename and adapt the tensors of a file that a network needs.

    Parameters
    ----------
    found, target : mapping of str to tensor
        Of the file, and of the network. The counters ``num_batches_tracked`` may be missing: files
        from before torch 0.4.1 have none. Tensors of modules that the network does not have (a
        classifier) are left out, but not further blocks of a sequence that it has: these are of a
        deeper network.
    prefix : str
        Of `prefixes`.

    Returns
    -------
    chosen : dict of str to tensor
        Under the network's names.
    faults : list of str
        What does not fit, a line each.
    """
    names = {_plain(name): name for name in found}
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
    used = {prefix + _plain(name) for name in target}
    blocks = {block for name in target if (block := _block(_plain(name)))}
    sequences = {sequence for sequence, _ in blocks}
    for name, source in names.items():
        block = _block(name.removeprefix(prefix)) if name.startswith(prefix) else None
        if name not in used and block and block not in blocks and block[0] in sequences:
            faults.append(f"tensor {source} has no place in it")
    return chosen, faults


def _block(name: str) -> tuple[str, str] | None:
    """Return the first sequence that a tensor is in and the number of its block there.

    Examples
    --------
    >>> _block("layer1.2.conv1.weight"), _block("conv1.weight")
    (('layer1', '2'), None)
    """
    parts = name.split(".")
    place = next((i for i, part in enumerate(parts) if part.isdecimal()), 0)
    return (".".join(parts[:place]), parts[place]) if place else None


def _plain(name: str) -> str:
    """Bring the spellings of one tensor together.

    timm writes ``stages.0`` in files and ``stages_0`` in feature extractors, torchvision's old
    densenets ``norm.1`` for ``norm1``.
    """
    return re.sub(r"(norm|relu|conv)\.([12])\.", r"\1\2.", name).replace("_", ".")


def _adapt(tensor: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Carry a first convolution (D, 3, k, k) over to C image channels."""
    if tensor.dim() != 4 or tensor.shape[1] != 3 or len(shape) != 4 or shape[1] == 3:
        return tensor
    channels = shape[1]
    if channels == 1:
        return tensor.sum(1, keepdim=True)
    return tensor[:, torch.arange(channels) % 3] * (3 / channels)


# -------------------------------------------------------------------------------------------------
# Files of weights, told by content: safetensors, or what ``torch.save`` wrote. No code is run.


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
