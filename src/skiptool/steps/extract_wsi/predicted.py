"""Masks from a trained model, for ``--mask model:FOLDER``; the only module that imports torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from skiptool.errors import MismatchError
from skiptool.model.inference import predict_labels, prepare_for_inference
from skiptool.model.unet import restore_network
from skiptool.names import Precision
from skiptool.steps.extract_wsi.settings import Segmenter
from skiptool.stores.models import open_model

if TYPE_CHECKING:
    from skiptool.records import Bool, UInt8


def load_segmenter(folder: Path) -> Segmenter:
    """Load a model that segments all classes other than the background.

    Raises `MismatchError` if it does not take colour images, or was not trained by skiptool.
    """
    stored = open_model(folder)
    if stored.lineage is None:
        raise MismatchError(
            f"{folder}: was not trained by skiptool, so the scaling of its images is unknown; "
            "give a model of 'skiptool train'"
        )
    if stored.architecture.channels != 3:
        raise MismatchError(
            f"{folder}: takes images of {stored.architecture.channels} channel, slides have 3; "
            "give a model of colour images"
        )
    network = prepare_for_inference(restore_network(stored.architecture, stored.tensors()), "cpu")

    def segment(image: UInt8) -> Bool:
        labels = predict_labels(network, image[None], "cpu", Precision.FLOAT32)
        objects: Bool = labels[0] > 0
        return objects

    return segment
