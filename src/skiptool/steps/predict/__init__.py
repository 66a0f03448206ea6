"""``skiptool predict``: truth x predicted pixel counts of every sample, model and shift."""
