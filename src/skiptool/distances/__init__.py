"""Distances between distributions of activations.

- ``bins``: value ranges and their division into bins, eqs. (5) to (7).
- ``counting``: extremes and counts of activations, eqs. (4) and (5).
- ``binned``: distances on bins, eqs. (8) to (10), pooling of sparsely filled bins, distances under
  relabelling and without single units.
- ``exact``: Wasserstein-1 without bins, and the representation shift.
- ``float16``: exact distributions of float16 values.
- ``multivariate``: distances of a layer as a whole.
- ``kernels``: compiled inner loops; the only importer of numba.

May import `skiptool.errors`, `skiptool.names` and `skiptool.records`.
"""
