"""Intervals, nulls and p-values: how sure a distance is. Plain NumPy on plain arrays."""
