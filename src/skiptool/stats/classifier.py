"""Classifier two-sample test: how well a linear classifier separates two sets of vectors.

Linear discriminant analysis with a ridge, cross-validated over folds of units. Folds and scatter do
not depend on which unit is in which set, so one factorisation serves all labellings and a
permutation costs only a matrix product.

References
----------
D. Lopez-Paz and M. Oquab, "Revisiting classifier two-sample tests", ICLR 2017. R. A. Fisher, "The
use of multiple measurements in taxonomic problems", Annals of Eugenics 7(2), 1936.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Bool, Float64, Int64

FOLDS: Final = 5
"""Number of folds; with fewer groups of units, each group is a fold."""

RIDGE: Final = 0.01
"""Added to the diagonal of the scatter, as a fraction of its mean."""


def assign_folds(groups: Int64, rng: np.random.Generator, folds: int = FOLDS) -> Int64:
    """Return the fold (U,) of each unit, in folds of nearly equal size.

    Units with the same number in ``groups`` (U,) stay in one fold: the two of a pair, or one
    subject of both sets.
    """
    unique, index = np.unique(groups, return_inverse=True)
    assigned = np.arange(len(unique)) % min(folds, len(unique))
    return np.asarray(rng.permutation(assigned)[index], dtype=np.int64)


def balanced_accuracy(
    vectors: AnyArray, folds: Int64, chosen: Bool, ridge: float = RIDGE
) -> Float64:
    """Cross-validated accuracy of a linear classifier, under each of L labellings.

    Parameters
    ----------
    vectors : float, shape (U, q, D)
        q vectors of each unit of both sets, with channels on the same scale.
    folds : int64, shape (U,)
        Each fold is classified by a model trained on the others.
    chosen : bool, shape (L, U)
        Units that make up the first set; the same number in each labelling.

    Returns
    -------
    float64, shape (L,)
        Mean of the fractions of each set that are classified correctly: 0.5 is chance, 1 perfect.
        A vector on the boundary counts as half, as do all vectors if there is no training data.

    Notes
    -----
    The direction is (S + r t I)^-1 (m_A - m_B), S the scatter of all training vectors around
    their mean, t its mean diagonal and r the ridge; with S around the means of the two sets the
    direction would be the same (the difference has rank one, along m_A - m_B). The boundary is
    midway between the means.
    """
    units, _, channels = vectors.shape
    right = np.zeros((len(chosen), units))
    for fold in np.unique(folds):
        train, test = folds != fold, folds == fold
        means = vectors[train].mean(axis=1, dtype=np.float64)
        ours = chosen[:, train]
        counts = ours.sum(axis=1, keepdims=True), (~ours).sum(axis=1, keepdims=True)
        if not train.any():
            right[:, test] = 0.5
            continue
        first = ours @ means / np.maximum(counts[0], 1)
        second = ~ours @ means / np.maximum(counts[1], 1)
        trainable = (np.minimum(*counts) > 0).astype(np.float64)
        difference = (first - second) * trainable
        direction = _directions(vectors[train].reshape(-1, channels), difference.T, ridge)
        border = np.einsum("ld,dl->l", (first + second) / 2, direction)
        right[:, test] = _accuracies(vectors[test], direction, border, chosen[:, test])
    shares = np.where(chosen, right, 0.0).sum(axis=1) / chosen.sum(axis=1)
    others = np.where(chosen, 0.0, right).sum(axis=1) / (~chosen).sum(axis=1)
    return np.asarray((shares + others) / 2)


def _directions(vectors: AnyArray, differences: Float64, ridge: float) -> Float64:
    """Return the directions (D, L) for differences of means (D, L)."""
    from scipy.linalg import cho_factor, cho_solve  # lazy: only the classifier needs it

    centred = vectors.astype(np.float64)
    centred -= centred.mean(axis=0)
    scatter = centred.T @ centred / len(centred)
    added = ridge * float(np.trace(scatter)) / len(scatter)
    if added <= 0:
        return np.zeros_like(differences)
    scatter[np.diag_indices_from(scatter)] += added
    return np.asarray(cho_solve(cho_factor(scatter, overwrite_a=True), differences))


def _accuracies(vectors: AnyArray, direction: Float64, border: Float64, ours: Bool) -> Float64:
    """Return the fraction (L, u) of each unit's vectors on the correct side."""
    fractions = np.empty(ours.shape)
    for unit, own in enumerate(vectors):
        scores = own.astype(np.float64) @ direction - border  # (q, L)
        side = np.where(ours[:, unit], scores, -scores)
        fractions[:, unit] = ((side > 0) + 0.5 * (side == 0)).mean(axis=0)
    return fractions
