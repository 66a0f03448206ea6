"""``skiptool features``: activations of named layers, pooled and kept for later analysis."""
