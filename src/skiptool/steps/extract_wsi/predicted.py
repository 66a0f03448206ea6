"""Masks by a trained model, for ``--mask model:FOLDER``; the only part that needs torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from skiptool.errors import MismatchError
from skiptool.model.inference import place, predict_labels
from skiptool.model.unet import restore
from skiptool.names import Precision
from skiptool.steps.extract_wsi.plan import Segment
from skiptool.stores.models import open_model

if TYPE_CHECKING:
    from skiptool.records import Bool, UInt8

__all__ = ["segmenter"]


def segmenter(folder: Path) -> tuple[Segment, str]:
    """Load a model that marks every pixel of any class but the background; with the model's id.

    Raises
    ------
    FormatError
        If the folder is missing or damaged.
    MismatchError
        If the model takes no colour images, or others trained it.
    """
    stored = open_model(folder)
    if stored.lineage is None:
        raise MismatchError(
            f"{folder}: was not trained by skiptool, so how its images are to be scaled is not "
            "known here; give a model of 'skiptool train'"
        )
    if stored.architecture.channels != 3:
        raise MismatchError(
            f"{folder}: takes images of {stored.architecture.channels} channel, slides have 3; "
            "give a model of colour images"
        )
    network = place(restore(stored.architecture, stored.tensors()), "cpu")

    def segment(image: UInt8) -> Bool:
        labels = predict_labels(network, image[None], "cpu", Precision.FLOAT32)
        found: Bool = labels[0] > 0
        return found

    return segment, stored.id
