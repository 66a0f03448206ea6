"""Masks by a trained model: every class but the background."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from skiptool.errors import FormatError, MismatchError
from skiptool.model.infer import place, predict_labels
from skiptool.model.unet import build, restore, state
from skiptool.names import Kind, Precision
from skiptool.records import Architecture
from skiptool.steps.extract_wsi.predicted import segmenter
from skiptool.stores.checkpoint import model_identity, open_model, write_model
from skiptool.stores.header import lineage
from small_stores import MAKING, refused


def test_a_model_marks_what_it_predicts(experiment: SimpleNamespace) -> None:
    segment, identity = segmenter(experiment.baseline)
    stored = open_model(experiment.baseline)
    assert identity == stored.id
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    network = place(restore(stored.architecture, stored.tensors()), "cpu")
    labels = predict_labels(network, image[None], "cpu", Precision.FLOAT32)[0]
    found = segment(image)
    assert found.dtype == bool
    assert (found == (labels > 0)).all()


@pytest.mark.parametrize("size", [50, 128])
def test_patches_of_any_size_are_segmented(experiment: SimpleNamespace, size: int) -> None:
    segment, _ = segmenter(experiment.baseline)
    assert segment(np.full((size, size, 3), 200, np.uint8)).shape == (size, size)


def test_a_model_of_grey_images_is_refused(tmp_path: Path) -> None:
    architecture = Architecture("resnet18", (), ("background", "cell"), channels=1)
    tensors = state(build(architecture))
    header = lineage(Kind.MODEL, MAKING, model_identity(architecture, tensors))
    (tmp_path / "grey").mkdir()
    write_model(tmp_path / "grey", architecture, tensors, header, {"fold": 0})
    with refused(MismatchError, "takes images of 1 channel, slides have 3"):
        segmenter(tmp_path / "grey")


def test_a_missing_model_is_refused(tmp_path: Path) -> None:
    with refused(FormatError, "gone"):
        segmenter(tmp_path / "gone")
