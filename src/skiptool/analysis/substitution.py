"""Mean IoU that a network regains under a shift if some inputs of its decoder are clean.

Skip substitution: the encoder sees a sample twice, shifted and unshifted, and the decoder gets some
of its inputs (the feature maps of some skip connections, or of the bottleneck) from the unshifted
image and all others from the shifted one. It is an intervention on the network, not a correlation
between its layers and its results, known as activation patching in work on language models. Its two
directions answer two questions:

- one part clean, all others shifted: the IoU regained over the plain prediction under the shift
  shows whether this part is sufficient to restore the IoU;
- one part shifted, all others clean: the IoU lost compared with the prediction of the clean images
  shows how much of the shift this part carries alone.

A part may be sufficient without carrying the shift alone, and vice versa. A limit of both: the
decoder gets a mixture that it never saw in training, so a part may regain less, or more, than if
the decoder had been trained on such mixtures. Nor does substitution in a trained network show the
behaviour of a network trained without the connection.

The shift may also be the domain: the clean image is then that of the same sample in another domain,
such as a registered scan.

References
----------
J. Vig et al., Investigating Gender Bias in Language Models Using Causal Mediation Analysis,
NeurIPS 2020. K. Meng et al., Locating and Editing Factual Associations in GPT, NeurIPS 2022.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from skiptool.analysis.differences import (
    NetworkCondition,
    PairedDifference,
    SubjectCounts,
    compare_networks,
    iou_by_training,
    subject_counts,
)
from skiptool.analysis.distances import levels_of
from skiptool.metrics import mean_and_spread
from skiptool.records import ORIGINAL, Shift

BOTTLENECK: Final = "bottleneck"
"""The deepest feature map of the encoder."""

_NO_SKIPS: Final = "L4-pruned"


@dataclass(frozen=True, slots=True)
class TrainingMean:
    """Mean IoU of a network: mean and standard deviation (n - 1) over ``trainings``."""

    value: float
    sd_trainings: float
    trainings: int


@dataclass(frozen=True, slots=True)
class Substitution:
    """A network under one shift, with some inputs of its decoder from the unshifted image.

    Attributes
    ----------
    clean_skips : str
        The clean inputs as the table names them: ``1``, ``1+2+3+4``, ``bottleneck``.
    regained : PairedDifference
        Mean IoU with them minus that of the plain prediction under the same shift; also names the
        network, data and shift.
    clean, plain : TrainingMean
        Mean IoU with clean inputs, and of the plain prediction under the same shift.
    original : TrainingMean or None
        Mean IoU of the plain prediction of the clean images, without a shift, if measured.
    clean_domain : str or None
        Domain of the clean images, if it differs from that of the shifted ones.
    lost : PairedDifference or None
        Mean IoU with clean inputs minus that of the plain prediction of the clean images; None if
        that was not measured in the same domain.
    behind : PairedDifference or None
        For a single clean input: mean IoU with it minus that with the best single input under the
        same shift. None for the best one itself, and for several inputs.
    lowest : (Shift, float)
        Shift with the worst plain prediction of this network, of all shifts measured in this
        domain, with or without substitution; and its mean IoU.
    """

    clean_skips: str
    regained: PairedDifference
    clean: TrainingMean
    plain: TrainingMean
    original: TrainingMean | None
    clean_domain: str | None
    lost: PairedDifference | None
    behind: PairedDifference | None
    lowest: tuple[Shift, float]

    @property
    def is_shifted(self) -> bool:
        """True if the images differ from the clean ones, so that IoU can be regained."""
        return self.regained.shift != ORIGINAL or self.clean_domain is not None

    @property
    def parts(self) -> tuple[str, ...]:
        """Inputs of the decoder that are clean."""
        return tuple(self.clean_skips.split("+"))

    @property
    def shifted(self) -> tuple[str, ...] | None:
        """Inputs of the decoder that are not clean; None if the pruning's label is unknown.

        If empty, all inputs are clean, and the prediction is that of the original.
        """
        pruning = self.regained.pruning
        inputs = (*map(str, levels_of(pruning)), BOTTLENECK)
        unknown = len(inputs) == 1 and pruning != _NO_SKIPS
        if unknown or not set(self.parts) <= set(inputs):
            return None
        return tuple(part for part in inputs if part not in self.parts)

    @property
    def label(self) -> str:
        """Name of the clean inputs: ``L1``, ``bottleneck``, ``all skips`` or ``all but L1``."""
        if len(self.parts) == 1:
            return _name(self.parts[0])
        shifted = self.shifted
        if shifted is None or len(shifted) > 1:
            return ", ".join(map(_name, self.parts))
        if shifted == (BOTTLENECK,):
            return "all skips"
        return f"all but {_name(shifted[0])}" if shifted else "all inputs"

    @property
    def order(self) -> tuple[object, ...]:
        """Sort key: single inputs from the top of the network down, all skips, then others."""
        if len(self.parts) == 1:
            return 0, 0, self.clean_skips
        if self.label == "all skips":
            return 1, 0, self.clean_skips
        return 2, len(self.parts), self.clean_skips


def _name(part: str) -> str:
    return f"L{part}" if part.isdigit() else part


def substitution_effects(
    totals: Mapping[str, Sequence[Any]],
    *,
    clean_domain: str | None = None,
    level: float = 0.95,
) -> list[Substitution]:
    """Compare networks with and without clean inputs of their decoder.

    Parameters
    ----------
    totals : mapping of column name to values
        See :func:`skiptool.analysis.differences.subject_counts`; rows with ``clean_skips`` and
        plain ones.
    clean_domain : str, optional
        Domain of the clean images of all rows with ``clean_skips``; by default they are the
        unshifted images of the same domain.
    level : float
        Level of the intervals.

    Returns
    -------
    list of Substitution
        One for each dataset, domain, split, network, shift and choice of clean inputs that has a
        plain prediction, in the order of first appearance.
    """
    if all(skips is None for skips in totals["clean_skips"]):
        return []
    effects = []
    groups = subject_counts(totals, substituted=True)
    by_images = {(group.dataset_id, group.domain, group.split): group for group in reversed(groups)}
    for counts in groups:
        other = clean_domain if clean_domain != counts.domain else None
        clean = by_images.get((counts.dataset_id, other or counts.domain, counts.split))
        effects += _effects(counts, clean, other, level)
    return effects


def _effects(
    counts: SubjectCounts, clean: SubjectCounts | None, clean_domain: str | None, level: float
) -> list[Substitution]:
    means = _training_means(counts)
    originals = means if clean is counts else {} if clean is None else _training_means(clean)
    plain = {
        network: partner
        for network in counts.networks
        if network.clean_skips is not None
        and (partner := replace(network, clean_skips=None)) in means
    }
    unshifted = {network: replace(partner, shift=ORIGINAL) for network, partner in plain.items()}
    lost = {}
    if clean is counts:
        partners = {network: partner for network, partner in unshifted.items() if partner in means}
        lost = compare_networks(counts, partners, level)
    behind = compare_networks(counts, _best_single_inputs(plain, means), level)
    lowest = _worst_shifts(means)
    return [
        Substitution(
            clean_skips=str(network.clean_skips),
            regained=regained,
            clean=means[network],
            plain=means[plain[network]],
            original=originals.get(unshifted[network]),
            clean_domain=clean_domain,
            lost=lost.get(network),
            behind=behind.get(network),
            lowest=lowest[unshifted[network]],
        )
        for network, regained in compare_networks(counts, plain, level).items()
    ]


def _best_single_inputs(
    plain: Mapping[NetworkCondition, NetworkCondition],
    means: Mapping[NetworkCondition, TrainingMean],
) -> dict[NetworkCondition, NetworkCondition]:
    """Map each single clean input, except the best, to the best one under the same shift."""
    groups: dict[NetworkCondition, list[NetworkCondition]] = {}
    for network, partner in plain.items():
        single = "+" not in str(network.clean_skips)
        if single and not np.isnan(means[network].value):
            groups.setdefault(partner, []).append(network)
    pairs: dict[NetworkCondition, NetworkCondition] = {}
    for group in groups.values():
        best = max(group, key=lambda network: means[network].value)
        pairs |= {network: best for network in group if network != best}
    return pairs


def _worst_shifts(
    means: Mapping[NetworkCondition, TrainingMean],
) -> dict[NetworkCondition, tuple[Shift, float]]:
    """Return the worst shift of each network and its mean IoU; keys are unshifted networks."""
    lowest: dict[NetworkCondition, tuple[Shift, float]] = {}
    for network, mean in means.items():
        if network.clean_skips is None:
            key = replace(network, shift=ORIGINAL)
            if key not in lowest or mean.value < lowest[key][1] or np.isnan(lowest[key][1]):
                lowest[key] = (network.shift, mean.value)
    return lowest


def _training_means(counts: SubjectCounts) -> dict[NetworkCondition, TrainingMean]:
    means = {}
    for network, overlap in counts.networks.items():
        ious = iou_by_training(overlap.pixels)
        value, spread = mean_and_spread(ious.tolist())
        means[network] = TrainingMean(value, spread, int(np.sum(~np.isnan(ious))))
    return means
