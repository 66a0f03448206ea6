"""Training losses of section IV.C: cross-entropy, alone or with a Dice loss.

Several losses are called "CE + Dice". ``ce+gdice``, the default, is the one cited in the paper: the
generalised Dice of Sudre et al. (2017, eq. 1 with weights 1 / volume^2). ``ce+dice`` averages the
soft Dice of the classes, like Milletari et al. (2016), but with plain volumes in the denominator.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from skiptool.model.distributed import mean_over_ranks
from skiptool.names import IGNORE_LABEL, Loss


class SegmentationLoss(torch.nn.Module):
    r"""Loss of a batch, in float32 regardless of the network's precision.

    With r the one-hot truth, p the softmax, V = sum r and P = sum p of a class over the pixels of
    the batch that are not ignored, and c the classes with V > 0:

    - cross-entropy: mean over pixels of -w log p at the true class, divided by the mean of w;
    - generalised Dice: ``1 - 2 sum_c (rp)/V^2 / sum_c (V + P)/V^2``, rp = sum r p;
    - Dice: ``1 - mean_c 2 (rp) / (V + P)``.

    If several processes train together, the cross-entropy of each is divided by the mean of the
    sums of w over the processes, so that the mean of their gradients is that of the whole batch.
    Both Dice losses are computed over the images of one process.

    Parameters
    ----------
    classes : int
        Number of classes J, including the background.
    class_weights : sequence of float, optional
        Weight w of each class in the cross-entropy, finite and >= 0; default 1.

    Notes
    -----
    Departure from Sudre et al.: a class absent from the batch, whose weight would be 1 / 0, is
    excluded from both sums; predicting it still costs, in the cross-entropy and by the loss of the
    true classes. A batch without any labelled pixel has loss 0 and gradient 0.

    Examples
    --------
    >>> loss = SegmentationLoss(Loss.CE_GDICE, classes=2)
    >>> logits = torch.tensor([[[[9.0, -9.0]], [[-9.0, 9.0]]]])
    >>> round(loss(logits, torch.tensor([[[0, 1]]])).item(), 4)
    0.0
    """

    labels: torch.Tensor
    weights: torch.Tensor

    def __init__(
        self,
        kind: Loss,
        classes: int,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.kind = kind
        weights = torch.ones(classes) if class_weights is None else torch.tensor(class_weights)
        self.register_buffer("labels", torch.arange(classes), persistent=False)
        self.register_buffer("weights", weights.float(), persistent=False)

    def forward(self, logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """Compute the loss of logits (N, J, H, W) and integer masks (N, H, W)."""
        with torch.autocast(logits.device.type, enabled=False):
            return self._loss(torch.log_softmax(logits.float(), dim=1), masks)

    def _loss(self, log_probabilities: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        valid = (masks != IGNORE_LABEL).unsqueeze(1)
        # a product with one-hot truth, not a gather: its gradient is deterministic on a GPU
        truth = ((masks.unsqueeze(1) == self.labels.view(1, -1, 1, 1)) & valid).float()
        weighted = truth * self.weights.view(1, -1, 1, 1)
        total = weighted.sum()
        if self.training:
            total = mean_over_ranks(total)
        loss = -(weighted * log_probabilities).sum() / total.clamp(min=torch.finfo().tiny)
        if self.kind is Loss.CE:
            return loss
        probabilities = log_probabilities.exp() * valid
        pixels = valid.sum().clamp(min=1)  # volumes as fractions keep 1 / V^2 in range
        overlap = (truth * probabilities).sum((0, 2, 3)) / pixels
        volume = truth.sum((0, 2, 3)) / pixels
        predicted = probabilities.sum((0, 2, 3)) / pixels
        dice = _generalised_dice if self.kind is Loss.CE_GDICE else _mean_dice
        return loss + dice(overlap, volume, predicted)


def _generalised_dice(
    overlap: torch.Tensor, volume: torch.Tensor, predicted: torch.Tensor
) -> torch.Tensor:
    present = volume > 0
    weights = torch.where(present, torch.where(present, volume, 1.0) ** -2, 0.0)
    return _one_minus_ratio(2 * (weights * overlap).sum(), (weights * (volume + predicted)).sum())


def _mean_dice(
    overlap: torch.Tensor, volume: torch.Tensor, predicted: torch.Tensor
) -> torch.Tensor:
    present = volume > 0
    scores = torch.where(present, 2 * overlap / torch.where(present, volume + predicted, 1.0), 0.0)
    return _one_minus_ratio(scores.sum(), present.sum())


def _one_minus_ratio(numerator: torch.Tensor, denominator: torch.Tensor) -> torch.Tensor:
    """Return ``1 - numerator / denominator``; 0, with gradient 0, if the denominator is 0."""
    positive = denominator > 0
    return torch.where(positive, 1 - numerator / torch.where(positive, denominator, 1.0), 0.0)
