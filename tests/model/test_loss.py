from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from skiptool.model.loss import SegmentationLoss
from skiptool.names import Loss

if TYPE_CHECKING:
    from skiptool.records import Float64, UInt8


def reference(
    kind: Loss, logits: Float64, masks: UInt8, weights: list[float] | None = None
) -> float:
    """Follow the definitions pixel by pixel and class by class."""
    classes = logits.shape[1]
    weights = weights or [1.0] * classes
    entropy = total = 0.0
    overlap, volume, predicted = (np.zeros(classes) for _ in range(3))
    for n, y, x in np.ndindex(masks.shape):
        label = int(masks[n, y, x])
        if label == 255:
            continue
        exponentials = np.exp(logits[n, :, y, x] - logits[n, :, y, x].max())
        p = exponentials / exponentials.sum()
        entropy -= weights[label] * np.log(p[label])
        total += weights[label]
        overlap[label] += p[label]
        volume[label] += 1
        predicted += p
    loss = entropy / total if total else 0.0
    present = np.flatnonzero(volume)
    if kind is Loss.CE or not len(present):
        return loss
    if kind is Loss.CE_DICE:
        scores = [2 * overlap[c] / (volume[c] + predicted[c]) for c in present]
        return loss + 1 - float(np.mean(scores))
    above = sum(overlap[c] / volume[c] ** 2 for c in present)
    below = sum((volume[c] + predicted[c]) / volume[c] ** 2 for c in present)
    return loss + 1 - 2 * above / below


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(Loss),
    classes=st.integers(2, 4),
    seed=st.integers(0, 2**32 - 1),
    spread=st.sampled_from([0.1, 3.0, 30.0]),
    labels=st.sets(st.sampled_from([0, 1, 255]), min_size=1),
    weighted=st.booleans(),
)
def test_losses_equal_their_definitions(
    kind: Loss, classes: int, seed: int, spread: float, labels: set[int], weighted: bool
) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, spread, (2, classes, 3, 4))
    masks = rng.choice(sorted(labels), (2, 3, 4)).astype(np.uint8)
    weights = rng.uniform(0.1, 3, classes).tolist() if weighted else None
    tensor = torch.tensor(logits, requires_grad=True)
    loss = SegmentationLoss(kind, classes, class_weights=weights)(tensor, torch.tensor(masks))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(reference(kind, logits, masks, weights), rel=1e-4, abs=1e-5)
    loss.backward()
    assert tensor.grad is not None
    assert bool(tensor.grad.isfinite().all())


def test_losses_of_an_example_computed_by_hand() -> None:
    """Two pixels of class 0 with p = 3/4 right, one of class 1 with p = 1/2 right.

    V = (2, 1), P = (3/4 + 3/4 + 1/2, 1/4 + 1/4 + 1/2) = (2, 1), rp = (3/2, 1/2), so the generalised
    Dice is 1 - 2 (3/8 + 1/2) / (4/4 + 2) = 5/12, and Dice 1 - (3/4 + 1/2) / 2 = 3/8.
    """
    p = torch.tensor([[0.75, 0.25], [0.75, 0.25], [0.5, 0.5]])
    logits, masks = p.log().T.reshape(1, 2, 1, 3), torch.tensor([[[0, 0, 1]]])
    entropy = -(2 * np.log(0.75) + np.log(0.5)) / 3
    expected = {Loss.CE: 0, Loss.CE_GDICE: 5 / 12, Loss.CE_DICE: 3 / 8}
    for kind, dice in expected.items():
        result = SegmentationLoss(kind, 2)(logits, masks).item()
        assert result == pytest.approx(entropy + dice, rel=1e-6)


def test_cross_entropy_equals_that_of_torch() -> None:
    logits, weights = torch.randn(3, 4, 8, 8), [0.5, 1.0, 2.0, 0.0]
    masks = torch.randint(0, 4, (3, 8, 8))
    masks[0] = 255
    result = SegmentationLoss(Loss.CE, 4, class_weights=weights)(logits, masks.to(torch.uint8))
    theirs = cross_entropy(logits, masks, torch.tensor(weights), ignore_index=255)
    torch.testing.assert_close(result, theirs)


@pytest.mark.parametrize("kind", Loss)
def test_ignored_pixels_do_not_affect_the_loss(kind: Loss) -> None:
    logits = torch.randn(2, 3, 8, 8)
    masks = torch.randint(0, 3, (2, 8, 8), dtype=torch.uint8)
    masks[:, 4:] = 255
    loss = SegmentationLoss(kind, 3)
    other = logits.clone()
    other[:, :, 4:] = 50 * torch.randn(2, 3, 4, 8)
    assert torch.equal(loss(logits, masks), loss(other, masks))
    torch.testing.assert_close(loss(logits, masks), loss(logits[:, :, :4], masks[:, :4]))


@pytest.mark.parametrize("kind", Loss)
@pytest.mark.parametrize("label", [0, 1, 255])
def test_gradients_are_finite_and_descend(kind: Loss, label: int) -> None:
    masks = torch.full((1, 2, 2), label)
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    loss = SegmentationLoss(kind, 3)
    loss(logits, masks).backward()
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())
    assert bool(logits.grad.any()) == (label != 255)
    with torch.no_grad():
        better = logits - 0.1 * logits.grad
        assert loss(better, masks) <= loss(logits, masks)


def test_loss_of_ignored_pixels_is_zero() -> None:
    for kind in Loss:
        masks = torch.full((2, 4, 4), 255, dtype=torch.uint8)
        assert SegmentationLoss(kind, 2)(torch.randn(2, 2, 4, 4), masks).item() == 0


def test_generalised_dice_weights_rare_classes_most() -> None:
    masks = torch.zeros(1, 16, 16, dtype=torch.int64)
    masks[0, 0, :4] = 1
    missed = torch.zeros(1, 2, 16, 16)
    missed[:, 0] = 20.0
    gdice, dice, entropy = (
        SegmentationLoss(kind, 2)(missed, masks).item()
        for kind in (Loss.CE_GDICE, Loss.CE_DICE, Loss.CE)
    )
    assert gdice - entropy == pytest.approx(1, abs=0.04)
    assert dice - entropy == pytest.approx(0.5, abs=0.01)


def test_loss_is_float32_within_autocast() -> None:
    logits, masks = torch.randn(2, 2, 16, 16), torch.randint(0, 2, (2, 16, 16))
    loss = SegmentationLoss(Loss.CE_GDICE, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss(logits, masks)
        rounded = loss(logits.bfloat16(), masks)
    assert torch.equal(inside, loss(logits, masks))
    assert rounded.dtype == torch.float32
    assert torch.equal(rounded, loss(logits.bfloat16().float(), masks))
