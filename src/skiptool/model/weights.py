"""Pretrained weights of the encoder: from a file, or from the model hub by name.

Without internet access, SMP's own loader retries the hub for half a minute, and longer behind a
firewall that drops packets. Here the same files (same repository and revision) are looked up in the
local cache, then requested once, and the error says how to provide the file.

Files are identified by content: safetensors, or the output of ``torch.save``, read without
executing code. Tensor names may follow torchvision, timm or SMP.
"""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import huggingface_hub as hub
import segmentation_models_pytorch as smp
import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from segmentation_models_pytorch.base import SegmentationModel

from skiptool.errors import ArgumentError, SourceError, first_line, suggestion
from skiptool.model.unet import TIMM_PREFIX

Tensors = Mapping[str, torch.Tensor]


def find_prefixes(stored: Tensors, target: Tensors) -> dict[str, str]:
    """Find possible prefixes of a network's names in a file (``encoder.``), usually none.

    Returns
    -------
    dict of str to str
        Prefix for `match_tensors`, shortest first, to its spelling in the file.

    Examples
    --------
    >>> t = torch.zeros(2)
    >>> find_prefixes({"net.encoder_q.a": t, "a": t, "data": t}, {"a": t})
    {'': '', 'net.encoder.q.': 'net.encoder_q.'}
    """
    first = _canonical(next(iter(target)))
    spellings = {
        name.removesuffix(first): source
        for source in stored
        if (name := _canonical(source)).endswith(first)
    }
    return {
        prefix: spellings[prefix][: len(prefix)]
        for prefix in sorted(spellings, key=len)
        if not prefix or prefix.endswith(".")
    }


def match_tensors(
    stored: Tensors, target: Tensors, prefix: str = ""
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Select, rename and adapt the tensors of a file that a network needs.

    The counters ``num_batches_tracked`` may be missing, as in files older than torch 0.4.1. Tensors
    of modules that the network lacks (a classifier) are ignored, but further blocks of a sequence
    that it has are faults: they belong to a deeper network.

    Parameters
    ----------
    stored, target : mapping of str to tensor
        Of the file, and of the network.
    prefix : str
        From `find_prefixes`.

    Returns
    -------
    matched : dict of str to tensor
        Under the network's names.
    faults : list of str
        One line each.
    """
    sources = {_canonical(source): source for source in stored}
    matched: dict[str, torch.Tensor] = {}
    faults = []
    for name, tensor in target.items():
        source = sources.get(prefix + _canonical(name))
        if source is not None:
            matched[name] = _adapt_channels(stored[source], tensor.shape)
            if matched[name].shape != tensor.shape:
                shapes = f"{tuple(stored[source].shape)}, expected {tuple(tensor.shape)}"
                faults.append(f"tensor {source} has shape {shapes}")
        elif not name.endswith("num_batches_tracked"):
            faults.append(f"tensor {name} is missing")
    target_names = {_canonical(name) for name in target}
    blocks = {block for name in target_names if (block := _block(name))}
    sequences = {sequence for sequence, _ in blocks}
    for prefixed, source in sources.items():
        name = prefixed.removeprefix(prefix)
        if not prefixed.startswith(prefix) or name in target_names:
            continue
        block = _block(name)
        if block and block not in blocks and block[0] in sequences:
            faults.append(f"tensor {source} has no place in it")
    return matched, faults


def _block(name: str) -> tuple[str, str] | None:
    """Return the first sequence that contains a tensor, and the number of its block.

    Examples
    --------
    >>> _block("layer1.2.conv1.weight"), _block("conv1.weight")
    (('layer1', '2'), None)
    """
    parts = name.split(".")
    number = next((i for i, part in enumerate(parts) if part.isdecimal()), 0)
    return (".".join(parts[:number]), parts[number]) if number else None


def _canonical(name: str) -> str:
    """Unify the spellings of a tensor's name.

    timm writes ``stages.0`` in files and ``stages_0`` in feature extractors, torchvision's old
    densenets ``norm.1`` for ``norm1``.
    """
    return re.sub(r"(norm|relu|conv)\.([12])\.", r"\1\2.", name).replace("_", ".")


def _adapt_channels(tensor: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Adapt a first convolution (D, 3, k, k) to C image channels."""
    if tensor.dim() != 4 or tensor.shape[1] != 3 or len(shape) != 4 or shape[1] == 3:
        return tensor
    channels = shape[1]
    if channels == 1:
        return tensor.sum(1, keepdim=True)
    return tensor[:, torch.arange(channels) % 3] * (3 / channels)


LIGHTNING_KEY: Final = "pytorch-lightning_version"
"""Key of Lightning's checkpoints, which contain more than the network, including copies of it."""

MAX_DEPTH: Final = 8
"""Maximum depth of nested mappings."""

FOREIGN_OBJECT: Final = re.compile(
    r"GLOBAL ([\w.]+)|class (?:<class ')?([\w.]+)'?>? was not an allowed"
)
"""torch's messages about an object whose code it would have to execute."""


_UNREADABLE: Final = (OSError, ValueError, RuntimeError, EOFError, pickle.UnpicklingError)


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read all tensors of a file by their full names.

    The file is safetensors, or a state dict of ``torch.save``, bare or nested in other mappings
    (``state_dict``, ``model``, ``net``, ``teacher`` ...), whose names become prefixes with a dot.
    Of a Lightning checkpoint only the ``state_dict`` is read.

    Raises SourceError if the file cannot be read, has no named tensors, or contains objects whose
    code would have to be executed.
    """
    try:
        content: Any
        if _is_safetensors(path):
            content = load_file(path)
        else:
            with path.open("rb") as file:  # given a path, torch would trust the suffix
                content = torch.load(file, map_location="cpu", weights_only=True)
        if isinstance(content, torch.jit.ScriptModule):  # read by torch before 2.6
            raise ValueError("TorchScript")
    except (SafetensorError, *_UNREADABLE) as error:
        raise SourceError(f"{path.name}: cannot be read as weights ({_reason(error)})") from error
    if not isinstance(content, Mapping):
        raise SourceError(f"{path.name}: holds a {type(content).__name__}, expected a state dict")
    if LIGHTNING_KEY in content and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    return dict(_flatten(content, "", MAX_DEPTH))


def _is_safetensors(path: Path) -> bool:
    """Return True if a file starts like safetensors, with a length followed by JSON."""
    with path.open("rb") as file:
        start = file.read(9)
    length = int.from_bytes(start[:8], "little")
    return start[8:] == b"{" and length <= path.stat().st_size


def _flatten(
    mapping: Mapping[Any, Any], prefix: str, depth: int
) -> Iterator[tuple[str, torch.Tensor]]:
    for key, value in mapping.items():
        if isinstance(value, torch.Tensor):
            yield f"{prefix}{key}", value
        elif isinstance(value, Mapping) and depth:
            yield from _flatten(value, f"{prefix}{key}.", depth - 1)


def _reason(error: Exception) -> str:
    """Summarise torch's long messages, some of which give bad advice."""
    text = str(error)
    foreign = FOREIGN_OBJECT.search(text)
    if foreign:
        name = foreign.group(1) or foreign.group(2)
        return (
            f"it holds an object of {name}, whose code is not executed; save only its tensors: "
            "torch.save(network.state_dict(), FILE)"
        )
    if "TorchScript" in text:
        return (
            "it is a TorchScript archive; save only its tensors: "
            "torch.save(torch.jit.load(FILE).state_dict(), OTHER)"
        )
    expected = "expected safetensors or a state dict from torch.save"
    if isinstance(error, pickle.UnpicklingError):
        return expected
    return f"{first_line(error).rstrip('. ')}; {expected}"


NONE = "none"
FILE = "model.safetensors"
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")
"""Suffixes by which a source is taken for a file."""

HUB_TIMEOUT = 5.0
"""Seconds to wait for the hub's first answer."""

COMMON_ENCODERS = (
    *(f"resnet{depth}" for depth in (18, 34, 50, 101, 152)),
    "resnext50_32x4d",
    *(f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")),
    *(f"densenet{depth}" for depth in (121, 169, 201)),
    "mobilenet_v2",
    *(f"efficientnet-b{size}" for size in range(4)),
)
"""Encoders that are recognised in a file for another encoder."""


@dataclass(frozen=True, slots=True)
class EncoderWeights:
    """Origin of an encoder's initial weights, for the lineage.

    Attributes
    ----------
    source : str
        ``none``, a name known to the hub (``imagenet``), or a file name without its folder.
    digest : str or None
        SHA-256 of the encoder's tensors at the start of training; None if random.
    """

    source: str
    digest: str | None


@dataclass(frozen=True, slots=True)
class _HubFile:
    repository: str
    revision: str | None


def load_encoder_weights(network: SegmentationModel, encoder: str, source: str) -> EncoderWeights:
    """Load pretrained weights into the encoder of a network, in place.

    Raises ArgumentError if ``source`` is neither a known name nor a file, and SourceError if the
    file cannot be read or does not fit, or the hub cannot be reached.

    Parameters
    ----------
    source : str
        ``none``; a name of SMP's weights of this encoder (``imagenet``, ``ssl`` ...); or a file.
        Prefixes such as ``encoder.``, mappings around the tensors such as ``state_dict``, and a
        classifier's tensors are ignored, so files of SMP, torchvision, timm, Lightning and
        skiptool's models are all accepted.

    Notes
    -----
    Weights for three-channel images are adapted to C channels as by SMP's ``patch_first_conv``:
    summed over colours for C = 1, otherwise repeated in turn and scaled by 3 / C.
    """
    if source == NONE:
        return EncoderWeights(NONE, None)
    hub_files = _hub_files(encoder)
    if source in hub_files:
        path = _fetch(hub_files[source], f"encoder weights {source!r} of {encoder}")
        name = source
    else:
        path = _existing_file(source, encoder, hub_files)
        name = path.name
    module: torch.nn.Module = network.encoder
    if encoder.startswith(TIMM_PREFIX):
        module = network.encoder.model  # timm's files use the names of the inner module
    tensors = _select_encoder(read_tensors(path), module.state_dict(), encoder, name)
    # SMP's encoders override this method to rename tensors, which is done by now. Not strict, as
    # counters may be missing.
    torch.nn.Module.load_state_dict(module, tensors, strict=False)
    return EncoderWeights(name, _digest(module.state_dict()))


def _hub_files(encoder: str) -> dict[str, _HubFile]:
    """Map each name of pretrained weights of an encoder to its file on the hub."""
    if encoder.startswith(TIMM_PREFIX):
        config = timm.models.get_pretrained_cfg(encoder.removeprefix(TIMM_PREFIX))
        repository = config.hf_hub_id if config else None
        return {"imagenet": _HubFile(repository, None)} if repository else {}
    pretrained = smp.encoders.encoders[encoder]["pretrained_settings"]
    return {
        name: _HubFile(settings["repo_id"], settings["revision"])
        for name, settings in pretrained.items()
    }


def _existing_file(source: str, encoder: str, hub_names: Iterable[str]) -> Path:
    path = Path(source)
    if path.is_file():
        return path
    if path.is_dir():
        raise SourceError(
            f"encoder weights {source}: is a folder; give the file in it, such as {FILE}"
        )
    if "/" in source or path.suffix in SUFFIXES:
        raise SourceError(f"encoder weights {source}: no such file; give a weights file or 'none'")
    names = [NONE, *hub_names]
    raise ArgumentError(
        f"encoder weights {source!r}: neither a file nor known for {encoder}, expected one of "
        f"{', '.join(names)} or a file{suggestion(source, names)}"
    )


def _fetch(file: _HubFile, title: str) -> Path:
    """Return a file in the hub's local cache, downloading it if necessary."""
    repository, revision = file.repository, file.revision
    cached = hub.try_to_load_from_cache(repository, FILE, revision=revision)
    if isinstance(cached, str):
        return Path(cached)
    try:
        url = hub.hf_hub_url(repository, FILE, revision=revision)
        hub.get_hf_file_metadata(url, timeout=HUB_TIMEOUT)  # one try; a download has six
        return Path(hub.hf_hub_download(repository, FILE, revision=revision))
    except Exception as error:  # network, proxy, offline mode, disk: many classes
        raise SourceError(
            f"{title}: the model hub cannot be reached ({first_line(error)}); on a machine with "
            f"network run 'hf download {repository} {FILE}' and pass the file with "
            "--encoder-weights FILE, or use --encoder-weights none"
        ) from error


def _select_encoder(
    stored: Tensors, target: Tensors, encoder: str, name: str
) -> dict[str, torch.Tensor]:
    """Return the tensors of the only network in a file that fits the encoder."""
    prefixes = find_prefixes(stored, target) or {"": ""}
    matches = {
        spelling: match_tensors(stored, target, prefix) for prefix, spelling in prefixes.items()
    }
    fitting = {spelling: tensors for spelling, (tensors, faults) in matches.items() if not faults}
    if not fitting:
        faults = min((faults for _, faults in matches.values()), key=len)
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        other = _recognise_encoder(stored)
        content = f"; the file holds those of {other}" if other else ""
        raise SourceError(
            f"{name}: encoder weights for {encoder}: {faults[0]}{more}{content}; use weights of "
            "this encoder"
        )
    first, *others = fitting.values()
    _check_numbers(first, name)
    if any(not _are_equal(first, other) for other in others):
        networks = ", ".join(f"{spelling}*" if spelling else "bare names" for spelling in fitting)
        raise SourceError(
            f"{name}: holds several networks with such an encoder ({networks}); save only the "
            "tensors of the one that you mean: torch.save(one, FILE)"
        )
    return first


def _check_numbers(tensors: Tensors, file: str) -> None:
    """Refuse quantised weights, whose scale is stored separately, and NaN or infinity."""
    for name, tensor in tensors.items():
        if name.endswith("num_batches_tracked"):
            continue
        if not tensor.is_floating_point():
            kind = str(tensor.dtype).removeprefix("torch.")
            raise SourceError(
                f"{file}: tensor {name} has type {kind}, expected floating-point numbers; save "
                "the network before quantisation"
            )
        invalid = int((~torch.isfinite(tensor)).sum())
        if invalid:
            raise SourceError(
                f"{file}: tensor {name} has {invalid} of {tensor.numel()} values that are NaN or "
                "infinite; use another checkpoint, or save it in float32"
            )


def _are_equal(first: Tensors, second: Tensors) -> bool:
    return all(name in second and torch.equal(first[name], second[name]) for name in first)


def _recognise_encoder(stored: Tensors) -> str | None:
    """Name the common encoder to which tensors belong, if any."""
    for name in COMMON_ENCODERS:
        with torch.device("meta"):
            encoder = smp.encoders.get_encoder(name, weights=None)
        target = encoder.state_dict()
        prefixes = find_prefixes(stored, target)
        if any(not match_tensors(stored, target, prefix)[1] for prefix in prefixes):
            return name
    return None


def _digest(tensors: Tensors) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        array = tensor.detach().cpu().contiguous().numpy()
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
