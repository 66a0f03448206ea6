"""Each pruned network against the unpruned one on the same subjects.

Trainings (folds and their repeats) and subjects are both random: the interval and the test of a
difference say what to expect of other trainings, and on other subjects
(:mod:`skiptool.readings.difference`). With one training of either network they cannot; the
interval is then one over subjects, for these two networks, and there is no test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from skiptool.readings.difference import differences
from skiptool.readings.subject_counts import (
    Network,
    Overlap,
    SubjectCounts,
    Training,
    subject_counts,
)
from skiptool.records import Shift, family

if TYPE_CHECKING:
    from skiptool.records import Bool, Float64

__all__ = ["PairedDifference", "baselines", "compared_with", "paired_differences"]

_TOGETHER: Final = 200  # pairs whose pixels are held at a time


_SPLIT: Final = ("dataset", "dataset_id", "domain", "split", "classes")
_NETWORK: Final = ("arch", "encoder", "pruning", "ensemble", "shift")


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Difference of mean IoU between a network and another one, which ``compared_with`` names.

    Where nothing else is said, the other one is the baseline of the same family.

    Attributes
    ----------
    dataset, dataset_id, domain, split : str
    classes : tuple of str
        Foreground classes that the IoU is the mean of.
    arch, encoder, pruning : str
    ensemble : bool
        Both are ensembles over their trainings.
    shift : Shift
    value : float
        Mean over trainings of the difference of mean IoU (section V); NaN where no class is there.
    by_training : tuple of float
        The difference in each training that both have, NaN where no class is there.
    pairs : tuple of (fold, repeat)
        Those trainings.
    sd_trainings : float
        Standard deviation (n - 1) between trainings; NaN with one.
    se_trainings : float
        Standard error that follows from it; where each fold was measured on subjects of its own,
        that of the folds' means, which holds the variation between subjects too. NaN with one.
    se_subjects : float
        Standard error over subjects (jackknife), for these trainings; NaN with one subject.
    ci_low, ci_high : float
        Interval over trainings and subjects; with one training over subjects alone, for these two
        networks. NaN with one subject.
    p_value : float
        That other trainings, on other subjects, do not differ in the mean, two-sided; NaN with one
        training or one subject.
    subjects : int
        S, those that both have.
    unpaired : int
        Trainings of either network that the other one lacks, which are left out.
    nested : bool
        Folds were measured on subjects of their own, and are the units of interval and test.
    """

    dataset: str
    dataset_id: str
    domain: str
    split: str
    classes: tuple[str, ...]
    arch: str
    encoder: str
    pruning: str
    ensemble: bool
    shift: Shift
    value: float
    by_training: tuple[float, ...]
    pairs: tuple[Training, ...]
    sd_trainings: float
    se_trainings: float
    se_subjects: float
    ci_low: float
    ci_high: float
    p_value: float
    subjects: int
    unpaired: int = 0
    nested: bool = False

    @property
    def family(self) -> str:
        """Name of encoder and, where it is not ``unet``, architecture."""
        return family(self.arch, self.encoder)

    @property
    def network(self) -> str:
        """The pruning; an ensemble says so."""
        return f"{self.pruning}, ensemble" if self.ensemble else self.pruning

    @property
    def trainings(self) -> int:
        """Trainings that the value is the mean over."""
        return sum(not np.isnan(value) for value in self.by_training)


def paired_differences(
    totals: Mapping[str, Sequence[Any]], *, level: float = 0.95
) -> list[PairedDifference]:
    """Compare each pruned network with the baseline of its family.

    Parameters
    ----------
    totals : mapping of column name to values
        See :func:`skiptool.readings.subject_counts.subject_counts`.
    level : float
        Of the interval.

    Returns
    -------
    list of PairedDifference
        One for each dataset, domain, split, shift, family and pruning that has a baseline, in the
        order of first appearance. Trainings are paired by fold and repeat; in each of them the
        subjects count that both networks have.

    Raises
    ------
    ArgumentError
        If the level is not between 0 and 1.
    """
    return [
        difference
        for counts in subject_counts(totals)
        for difference in compared_with(counts, baselines(counts), level).values()
    ]


def compared_with(
    counts: SubjectCounts, partners: Mapping[Network, Network], level: float
) -> dict[Network, PairedDifference]:
    """Compare networks with their partners, in the trainings and subjects that both have.

    Parameters
    ----------
    counts : SubjectCounts
    partners : mapping of Network to Network
        What each is compared with; both are among the networks of ``counts``.
    level : float
        Of the interval.

    Returns
    -------
    dict of Network to PairedDifference
        Network minus partner, in the order of ``counts``; without those that have no subject of a
        training in common.

    Raises
    ------
    ArgumentError
        If the level is not between 0 and 1.
    """
    batches: dict[tuple[object, ...], list[_Pair]] = {}
    for network, partner in partners.items():
        pair = _paired(network, counts.networks[network], counts.networks[partner])
        if pair.kept.any():
            batches.setdefault((pair.trainings, pair.kept.tobytes()), []).append(pair)
    results: dict[Network, PairedDifference] = {}
    for together in batches.values():
        for start in range(0, len(together), _TOGETHER):
            pairs = together[start : start + _TOGETHER]
            results |= _compared(counts, pairs, level)
    return {network: results[network] for network in counts.networks if network in results}


@dataclass(frozen=True, slots=True, eq=False)
class _Pair:
    """A network, its pixels and its partner's, (2, K, T, S); ``kept`` (T, S) as both have."""

    network: Network
    trainings: tuple[Training, ...]
    kept: Bool
    mine: Float64
    other: Float64
    unpaired: int


def baselines(counts: SubjectCounts) -> dict[Network, Network]:
    """Find the baseline of the same family, shift and kind of each pruned network that has one."""
    found = {network: replace(network, pruning="baseline") for network in counts.networks}
    return {
        network: partner
        for network, partner in found.items()
        if network != partner and partner in counts.networks
    }


def _paired(network: Network, mine: Overlap, other: Overlap) -> _Pair:
    kept = {}
    for training in mine.trainings:
        if training in other.trainings:
            places = mine.trainings.index(training), other.trainings.index(training)
            both = mine.present[places[0]] & other.present[places[1]]
            if both.any():
                kept[training] = (*places, both)
    unpaired = len(mine.trainings) + len(other.trainings) - 2 * len(kept)
    first, second = ([found[side] for found in kept.values()] for side in (0, 1))
    present = np.array([both for _, _, both in kept.values()], dtype=bool)
    present = present.reshape(len(kept), mine.present.shape[1])
    pixels = mine.pixels[:, :, first] * present, other.pixels[:, :, second] * present
    return _Pair(network, tuple(kept), present, *pixels, unpaired)


def _compared(
    counts: SubjectCounts, pairs: Sequence[_Pair], level: float
) -> dict[Network, PairedDifference]:
    """Compare pairs that have the same trainings and subjects."""
    used = pairs[0].kept.any(axis=0)
    mine, other = (
        np.stack([each[..., used] for each in side], axis=3)
        for side in ([pair.mine for pair in pairs], [pair.other for pair in pairs])
    )
    found = differences(mine, other, pairs[0].kept[:, used], level=level)
    results = {}
    for place, pair in enumerate(pairs):
        facts: dict[str, Any] = {
            **{name: getattr(counts, name) for name in _SPLIT},
            **{name: getattr(pair.network, name) for name in _NETWORK},
            **asdict(found.found[place]),
            "by_training": tuple(found.by_training[place].tolist()),
            **{"pairs": pair.trainings, "subjects": int(used.sum()), "unpaired": pair.unpaired},
        }
        results[pair.network] = PairedDifference(**facts)
    return results
