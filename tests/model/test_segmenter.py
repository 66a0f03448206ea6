from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
import torch

from skiptool import metrics
from skiptool.errors import ArgumentError, FormatError
from skiptool.metrics import mean_iou
from skiptool.model.batches import validation_batches
from skiptool.model.loss import SegmentationLoss
from skiptool.model.segmenter import Segmenter, Tally
from skiptool.model.unet import build
from skiptool.names import Loss
from skiptool.records import Architecture, Training

CLASSES = ("background", "cell")


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    protocol = Training(fold=0, lr=0.5, lr_step=2, lr_gamma=0.1)
    network = build(Architecture("resnet18", (), CLASSES))
    return Segmenter(network, SegmentationLoss(Loss.CE, 2), protocol, 2)


def test_a_tally_is_the_confusion_matrix_of_all_batches() -> None:
    """The mean of the batches' own mIoU is another number."""
    generator = torch.Generator().manual_seed(0)
    tally = Tally(3, torch.device("cpu"))
    counts = np.zeros((3, 3), np.int64)
    losses, alone = [], []
    for size, loss in ((4, 1.5), (1, 0.25)):
        logits = torch.randn((size, 3, 8, 8), generator=generator)
        masks = torch.randint(0, 3, (size, 8, 8), generator=generator, dtype=torch.uint8)
        masks[:, :size] = 255
        tally.add(logits, masks, torch.tensor(loss))
        predicted = logits.argmax(1).to(torch.uint8).numpy()
        batch = metrics.count(masks.numpy(), predicted, 3).sum(axis=0)
        counts += batch
        losses += [loss] * size
        alone.append(mean_iou(batch))
    assert tally.counts.dtype == torch.int64
    np.testing.assert_array_equal(tally.counts.view(3, 3).numpy(), counts)
    assert tally.absent == []
    loss, miou = tally.result()
    assert loss == pytest.approx(np.mean(losses))
    assert miou == pytest.approx(float(mean_iou(counts)))
    assert miou != pytest.approx(float(np.mean(alone)))


def test_classes_that_no_mask_holds() -> None:
    """Neither background, nor what is predicted, nor what is ignored counts."""
    tally = Tally(4, torch.device("cpu"))
    assert tally.absent == [1, 2, 3]
    masks = torch.tensor([[[2, 255], [2, 255]]], dtype=torch.uint8)
    tally.add(torch.randn((1, 4, 2, 2)), masks, torch.tensor(1.0))
    assert tally.absent == [1, 3]


def test_adam_with_step_decay(segmenter: Segmenter) -> None:
    (optimizer,), (decay,) = segmenter.configure_optimizers()
    assert type(optimizer) is torch.optim.Adam
    assert optimizer.param_groups[0]["weight_decay"] == 0
    rates = []
    for _ in range(5):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        decay.step()
    assert rates == pytest.approx([0.5, 0.5, 0.05, 0.05, 0.005])


def test_dropout_depends_on_the_seed_and_the_epoch_alone(segmenter: Segmenter) -> None:
    drawn = []
    for before in (0, 1):
        with torch.random.fork_rng([]):
            torch.manual_seed(before)
            segmenter.on_train_epoch_start()
            drawn.append(torch.rand(3))
    assert torch.equal(*drawn)


def test_batches_become_inputs(segmenter: Segmenter, readers: ModuleType) -> None:
    (batch,) = validation_batches(readers.Squares(2), 2)
    images, masks = segmenter.on_after_batch_transfer(
        segmenter.on_before_batch_transfer(batch, 0), 0
    )
    assert (images.shape, images.dtype) == ((2, 3, 64, 64), torch.float32)
    assert images.max() <= 1
    assert torch.equal(masks, batch[1])


def test_errors_of_workers_are_raised(segmenter: Segmenter) -> None:
    with pytest.raises(FormatError, match="damaged"):
        segmenter.on_before_batch_transfer(FormatError("sample 3 is damaged"), 0)


def test_labels_beyond_the_classes(segmenter: Segmenter) -> None:
    masks = torch.tensor([[[0, 1, 255, 7]]], dtype=torch.uint8)
    with pytest.raises(ArgumentError, match=r"label 7, expected 0 to 1 or 255 \(ignored\)"):
        segmenter.on_before_batch_transfer((torch.zeros(1, 1, 4, 3), masks), 0)
