"""Masks by a trained model: every class but the background."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from skiptool.errors import FormatError, MismatchError
from skiptool.model.inference import place, predict_labels
from skiptool.model.unet import build, restore, state
from skiptool.names import Kind, Precision
from skiptool.records import Architecture
from skiptool.steps.extract_wsi.predicted import segmenter
from skiptool.stores.lineage import lineage
from skiptool.stores.models import model_identity, open_model, write_model
from small_stores import MAKING, refused


def untrained(folder: Path, channels: int) -> Path:
    """Write a model with random weights."""
    torch.manual_seed(0)
    architecture = Architecture("resnet18", (), ("background", "cell"), channels=channels)
    tensors = state(build(architecture))
    header = lineage(Kind.MODEL, MAKING, model_identity(architecture, tensors))
    folder.mkdir()
    write_model(folder, architecture, tensors, header, {"fold": 0})
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a model of colour images."""
    return untrained(tmp_path_factory.mktemp("predicted") / "colour", 3)


@pytest.mark.long
def test_a_model_marks_what_it_predicts(model: Path) -> None:
    segment, identity = segmenter(model)
    stored = open_model(model)
    assert identity == stored.id
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    network = place(restore(stored.architecture, stored.tensors()), "cpu")
    labels = predict_labels(network, image[None], "cpu", Precision.FLOAT32)[0]
    found = segment(image)
    assert found.dtype == bool
    assert (found == (labels > 0)).all()
    assert 0 < found.mean() < 1


@pytest.mark.long
@pytest.mark.parametrize("size", [50, 128])
def test_patches_of_any_size_are_segmented(model: Path, size: int) -> None:
    segment, _ = segmenter(model)
    assert segment(np.full((size, size, 3), 200, np.uint8)).shape == (size, size)


def test_a_model_of_grey_images_is_refused(tmp_path: Path) -> None:
    with refused(MismatchError, "takes images of 1 channel, slides have 3"):
        segmenter(untrained(tmp_path / "grey", 1))


def test_a_missing_model_is_refused(tmp_path: Path) -> None:
    with refused(FormatError, "gone"):
        segmenter(tmp_path / "gone")
