"""How much IoU a network regains under a shift when its decoder is fed some clean feature maps.

Skip substitution: the encoder sees a sample twice, shifted and as it is, and the decoder is fed
some of its inputs (the feature maps of some skip connections, or of the bottleneck) from the
unshifted image and all others from the shifted one. It is an intervention on the network, not a
correlation between its layers and its results; in work on language models it is known as
activation patching. Its two directions answer two questions:

- one part clean, all others shifted: what the network regains against its plain prediction under
  the shift says whether this part is enough to bring the IoU back;
- one part shifted, all others clean: what the network loses against its prediction of the clean
  images says how much of the shift this part carries alone.

A part may be enough and yet not carry the shift alone, and the other way round. A limit of both:
the decoder is fed a mixture that it never saw in training, so a part may regain less, or more,
than it would had the decoder learnt to deal with it. Nor does substitution in a trained network
say what a network does that is trained without the connection.

The shift may also be the domain: then the clean image is that of the same sample in another one,
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
    Network,
    Overlap,
    PairedDifference,
    SubjectCounts,
    compared_with,
    iou_by_training,
    subject_counts,
)
from skiptool.analysis.distances import levels_of
from skiptool.metrics import mean_and_spread
from skiptool.records import ORIGINAL, Shift

__all__ = ["BOTTLENECK", "Substitution", "TrainingMean", "substitution_effects"]

BOTTLENECK: Final = "bottleneck"
"""The deepest feature map of the encoder, which is fed to the decoder from below."""


_NO_SKIPS: Final = "L4-pruned"


@dataclass(frozen=True, slots=True)
class TrainingMean:
    """Mean IoU of a network: mean and standard deviation (n - 1) over ``trainings``."""

    value: float
    sd_trainings: float
    trainings: int


@dataclass(frozen=True, slots=True)
class Substitution:
    """A network under one shift, some inputs of its decoder from the unshifted image.

    Attributes
    ----------
    clean_skips : str
        Those inputs as the table names them: ``1``, ``1+2+3+4``, ``bottleneck``.
    regained : PairedDifference
        Mean IoU with them minus that of the plain prediction under the same shift; also says of
        which network, data and shift all this is.
    clean, plain : TrainingMean
        Mean IoU with them, and of the plain prediction under the same shift.
    original : TrainingMean or None
        Of the plain prediction of the clean images, without a shift, where that was measured.
    clean_domain : str or None
        Domain of the clean images, where it is another than that of the shifted ones.
    lost : PairedDifference or None
        Mean IoU with them minus that of the plain prediction of the clean images; None where that
        was not measured in the same domain.
    behind : PairedDifference or None
        Where one input alone is clean: mean IoU with it minus that with the best one alone under
        the same shift. None for that one itself, and for several inputs.
    lowest : (Shift, float)
        Shift under which the plain prediction of this network is worst, of all shifts that were
        measured in this domain, substituted or not; and its mean IoU there.
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
        """Whether the images differ from the clean ones, so that there is something to regain."""
        return self.regained.shift != ORIGINAL or self.clean_domain is not None

    @property
    def parts(self) -> tuple[str, ...]:
        """Inputs of the decoder that are clean."""
        return tuple(self.clean_skips.split("+"))

    @property
    def shifted(self) -> tuple[str, ...] | None:
        """Inputs of the decoder that are not clean; None where the pruning's label does not tell.

        Empty: all that the decoder is fed is clean, and its prediction is that of the original.
        """
        pruning = self.regained.pruning
        has = (*map(str, levels_of(pruning)), BOTTLENECK)
        known = len(has) > 1 or pruning == _NO_SKIPS
        if not known or not set(self.parts) <= set(has):
            return None
        return tuple(part for part in has if part not in self.parts)

    @property
    def label(self) -> str:
        """Name the clean inputs for people.

        One alone is ``L1`` or ``bottleneck``; all skips that the network has are ``all skips``,
        all inputs but one are ``all but L1``.
        """
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
        """Sort by it: single inputs from the top of the network down, all skips, then others."""
        alone, every = len(self.parts) == 1, self.label == "all skips"
        rank = 0 if alone else 1 if every else 2
        return rank, 0 if rank < 2 else len(self.parts), self.clean_skips


def _name(part: str) -> str:
    return f"L{part}" if part.isdigit() else part


def substitution_effects(
    totals: Mapping[str, Sequence[Any]],
    *,
    clean_domain: str | None = None,
    level: float = 0.95,
) -> list[Substitution]:
    """Compare each network with clean inputs of its decoder with itself without.

    Parameters
    ----------
    totals : mapping of column name to values
        See :func:`skiptool.analysis.differences.subject_counts`; rows with ``clean_skips`` and
        plain ones.
    clean_domain : str, optional
        Domain that the clean images of all rows with ``clean_skips`` are from; by default they are
        the unshifted images of the same domain.
    level : float
        Of the intervals.

    Returns
    -------
    list of Substitution
        One for each dataset, domain, split, network, shift and choice of clean inputs whose plain
        prediction is there, in the order of first appearance.

    Raises
    ------
    ArgumentError
        If the level is not between 0 and 1.
    """
    if all(skips is None for skips in totals["clean_skips"]):
        return []
    found = []
    every = subject_counts(totals, substituted=True)
    for counts in every:
        other = clean_domain if clean_domain != counts.domain else None
        key = (counts.dataset_id, other or counts.domain, counts.split)
        clean = [one for one in every if (one.dataset_id, one.domain, one.split) == key]
        found += _effects(counts, clean[0] if clean else None, other, level)
    return found


def _effects(
    counts: SubjectCounts, clean: SubjectCounts | None, clean_domain: str | None, level: float
) -> list[Substitution]:
    means = _training_means(counts)
    originals = means if clean is counts else {} if clean is None else _training_means(clean)
    plain = {
        network: replace(network, clean_skips=None)
        for network in counts.networks
        if network.clean_skips is not None
    }
    plain = {network: partner for network, partner in plain.items() if partner in means}
    unshifted = {network: replace(partner, shift=ORIGINAL) for network, partner in plain.items()}
    there = {one: partner for one, partner in unshifted.items() if partner in means}
    lost = compared_with(counts, there, level) if clean is counts else {}
    behind = compared_with(counts, _best_alone(plain, means), level)
    lowest = _lowest(means)
    return [
        Substitution(
            *(str(network.clean_skips), difference, means[network], means[plain[network]]),
            originals.get(unshifted[network]),
            clean_domain,
            *(lost.get(network), behind.get(network), lowest[unshifted[network]]),
        )
        for network, difference in compared_with(counts, plain, level).items()
    ]


def _best_alone(
    plain: Mapping[Network, Network], means: Mapping[Network, TrainingMean]
) -> dict[Network, Network]:
    """Give each input that alone is clean the best of those under the same shift."""
    groups: dict[Network, list[Network]] = {}
    for network, partner in plain.items():
        known = not np.isnan(means[network].value)
        if known and "+" not in str(network.clean_skips):
            groups.setdefault(partner, []).append(network)
    best = {key: max(group, key=lambda one: means[one].value) for key, group in groups.items()}
    return {
        network: best[key]
        for key, group in groups.items()
        for network in group
        if network != best[key]
    }


def _lowest(means: Mapping[Network, TrainingMean]) -> dict[Network, tuple[Shift, float]]:
    """Worst shift of each network and its mean IoU there, by the network without a shift."""
    found: dict[Network, tuple[Shift, float]] = {}
    for network, mean in means.items():
        if network.clean_skips is None:
            key = replace(network, shift=ORIGINAL)
            if key not in found or mean.value < found[key][1] or np.isnan(found[key][1]):
                found[key] = (network.shift, mean.value)
    return found


def _training_means(counts: SubjectCounts) -> dict[Network, TrainingMean]:
    return {network: _training_mean(overlap) for network, overlap in counts.networks.items()}


def _training_mean(overlap: Overlap) -> TrainingMean:
    each = iou_by_training(overlap.pixels)
    value, spread = mean_and_spread(each.tolist())
    return TrainingMean(value, spread, int(np.sum(~np.isnan(each))))
