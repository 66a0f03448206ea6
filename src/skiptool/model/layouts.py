"""Names under which files hold the weights of an encoder: torchvision's, timm's, SMP's."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

__all__ = ["Tensors", "fitted", "prefixes"]

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
