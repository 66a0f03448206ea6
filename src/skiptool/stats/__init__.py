"""Confidence intervals, null distributions and p-values, on plain NumPy arrays.

- ``jackknife``: bias correction and intervals from leaving out one unit at a time.
- ``permutation``: relabelling of units, p-values, and their adjustment for multiple tests.
- ``two_way``: mean over trainings and subjects, both random effects.
- ``correlation``: rank correlation with cluster bootstrap intervals.
- ``isotonic``: isotonic regression and conformal bands.
- ``classifier``: accuracy of a linear classifier between two sets.

May import `skiptool.errors` and `skiptool.records`.
"""
