"""``skiptool.load_model``: a trained network for use in Python."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from skiptool.errors import ArgumentError
from skiptool.model.unet import restore_network
from skiptool.records import Normalisation
from skiptool.stores.addresses import path_or_url, redact
from skiptool.stores.artifacts import model_folders
from skiptool.stores.copies import temporary_copies
from skiptool.stores.models import open_model
from skiptool.stores.urls import urls_in_errors

if TYPE_CHECKING:
    import torch


def load_model(path: Path | str, normalise: str | None = None) -> torch.nn.Module:
    """Build the network of a model folder with its weights.

    Parameters
    ----------
    path : Path or str
        Model folder or its URL, ours or written by ``save_pretrained`` of
        segmentation-models-pytorch.
    normalise : str, optional
        Input scaling to put in front of a network trained elsewhere: ``imagenet``, ``none`` or
        ``MEAN/STD``. Without it such a network expects images scaled as in its training.

    Returns
    -------
    torch.nn.Module
        In evaluation mode on the CPU; maps float32 (N, C, H, W) in [0, 1] to logits
        (N, J, H, W), where J is 1 for a single logit of the foreground.

    Raises
    ------
    FormatError
        If the folder is missing or damaged.
    ArgumentError
        If its encoder is unknown, ``normalise`` is given for a network trained here, or several
        models are below a URL.
    """
    place = path_or_url(path)
    with temporary_copies(), urls_in_errors():
        folders = [place] if isinstance(place, Path) else model_folders([place])
        if len(folders) > 1:
            raise ArgumentError(
                f"{redact(str(path))}: {len(folders)} models are below it, expected one; name it"
            )
        stored = open_model(folders[0])
        if normalise is not None:
            stored = stored.with_normalisation(Normalisation.parse(normalise))
        tensors = stored.tensors()
    network: torch.nn.Module = restore_network(stored.architecture, tensors, stored.normalisation)
    return network
