"""``skiptool features``: activations of named layers, pooled and stored for later analysis.

- ``features``: the step; ``counting``: options of ``--counts``.
"""
