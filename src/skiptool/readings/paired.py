"""Each pruned network against the unpruned one on the same subjects.

Two variations stand apart: between subjects (an interval by resampling them, and a test by
exchanging the two networks within each) and between folds (a standard deviation). The subjects
say whether the difference would be seen on other subjects with these very networks, the folds
whether it would be seen with networks trained anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from skiptool.readings.difference import differences
from skiptool.readings.subject_counts import Network, Overlap, SubjectCounts, subject_counts
from skiptool.records import Shift, family

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Float64

__all__ = ["PairedDifference", "compared_with", "paired_differences"]

_TOGETHER: Final = 200  # pairs whose resampled differences are held at a time


_SPLIT: Final = ("dataset", "dataset_id", "domain", "split", "classes")
_NETWORK: Final = ("arch", "encoder", "pruning", "ensemble", "shift")
_NUMBERS: Final = ("value", "sd_folds", "ci_low", "ci_high", "se_subjects", "p_value")


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
        Both are ensembles over their folds.
    shift : Shift
    value : float
        Mean over folds of the difference of mean IoU (section V); NaN where no class is there.
    by_fold : tuple of float
        The difference in each fold that both have, NaN where no class is there.
    sd_folds : float
        Standard deviation (n - 1) between folds; NaN with one.
    ci_low, ci_high : float
        Percentile interval over resampled subjects; NaN with one subject.
    se_subjects : float
        Standard deviation of the resampled differences; NaN with one subject.
    p_value : float
        Of the exchange within subjects, two-sided; NaN with one subject.
    subjects : int
        S, those that both have.
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
    by_fold: tuple[float, ...]
    sd_folds: float
    ci_low: float
    ci_high: float
    se_subjects: float
    p_value: float
    subjects: int

    @property
    def family(self) -> str:
        """Name of encoder and, where it is not ``unet``, architecture."""
        return family(self.arch, self.encoder)

    @property
    def network(self) -> str:
        """The pruning; an ensemble says so."""
        return f"{self.pruning}, ensemble" if self.ensemble else self.pruning

    @property
    def folds(self) -> int:
        """Folds that the value is the mean over."""
        return sum(not np.isnan(value) for value in self.by_fold)


def paired_differences(
    totals: Mapping[str, Sequence[Any]], *, level: float = 0.95, seed: int = 0
) -> list[PairedDifference]:
    """Compare each pruned network with the baseline of its family.

    Parameters
    ----------
    totals : mapping of column name to values
        See :func:`skiptool.readings.subject_counts.subject_counts`.
    level : float
        Of the interval over subjects.
    seed : int
        Subjects are drawn from it and from their number alone: a comparison has the same bits
        whatever else is in the table, and all networks and folds see the same draw.

    Returns
    -------
    list of PairedDifference
        One for each dataset, domain, split, shift, family and pruning that has a baseline, in the
        order of first appearance. In each fold the subjects count that both networks have.

    Raises
    ------
    ArgumentError
        If the level is not between 0 and 1.
    """
    return [
        difference
        for counts in subject_counts(totals)
        for difference in compared_with(counts, _baselines(counts), level, seed).values()
    ]


def compared_with(
    counts: SubjectCounts, partners: Mapping[Network, Network], level: float, seed: int
) -> dict[Network, PairedDifference]:
    """Compare networks with their partners, in the folds and subjects that both have.

    Parameters
    ----------
    counts : SubjectCounts
    partners : mapping of Network to Network
        What each is compared with; both are among the networks of ``counts``.
    level, seed : float, int
        See ``paired_differences``.

    Returns
    -------
    dict of Network to PairedDifference
        Network minus partner, in the order of ``counts``; without those that have no subject of a
        fold in common.

    Raises
    ------
    ArgumentError
        If the level is not between 0 and 1.
    """
    batches: dict[tuple[object, ...], list[_Pair]] = {}
    for network, partner in partners.items():
        pair = _paired(network, counts.networks[network], counts.networks[partner])
        if pair.kept.any():
            batches.setdefault((pair.folds, pair.kept.tobytes()), []).append(pair)
    results: dict[Network, PairedDifference] = {}
    for together in batches.values():
        for start in range(0, len(together), _TOGETHER):
            pairs = together[start : start + _TOGETHER]
            results |= _compared(counts, pairs, level, seed)
    return {network: results[network] for network in counts.networks if network in results}


@dataclass(frozen=True, slots=True, eq=False)
class _Pair:
    """A network, its pixels and the baseline's, (2, K, F, S); ``kept`` (F, S) as both have."""

    network: Network
    folds: tuple[int | None, ...]
    kept: AnyArray
    pruned: Float64
    baseline: Float64


def _baselines(counts: SubjectCounts) -> dict[Network, Network]:
    """Partner of each pruned network that has one."""
    found = {network: replace(network, pruning="baseline") for network in counts.networks}
    return {
        network: partner
        for network, partner in found.items()
        if network != partner and partner in counts.networks
    }


def _paired(network: Network, pruned: Overlap, baseline: Overlap) -> _Pair:
    folds = tuple(fold for fold in pruned.folds if fold in baseline.folds)
    mine, other = ([one.folds.index(fold) for fold in folds] for one in (pruned, baseline))
    kept = pruned.present[mine] & baseline.present[other]
    parts = (pruned.pixels[:, :, mine] * kept, baseline.pixels[:, :, other] * kept)
    return _Pair(network, folds, kept, *parts)


def _compared(
    counts: SubjectCounts, pairs: Sequence[_Pair], level: float, seed: int
) -> dict[Network, PairedDifference]:
    """Compare pairs that have the same folds and subjects."""
    used = pairs[0].kept.any(axis=0)
    pruned, baseline = (
        np.stack([each[..., used] for each in side], axis=3)
        for side in ([pair.pruned for pair in pairs], [pair.baseline for pair in pairs])
    )
    found = differences(pruned, baseline, level=level, seed=seed)
    results = {}
    for place, pair in enumerate(pairs):
        facts: dict[str, Any] = {
            **{name: getattr(counts, name) for name in _SPLIT},
            **{name: getattr(pair.network, name) for name in _NETWORK},
            **{name: float(getattr(found, name)[place]) for name in _NUMBERS},
        }
        by_fold = tuple(found.by_fold[place].tolist())
        results[pair.network] = PairedDifference(**facts, by_fold=by_fold, subjects=int(used.sum()))
    return results
