"""Confidence intervals, null distributions and p-values, on plain NumPy arrays."""
