"""``skiptool predict``: truth x predicted pixel counts of every sample, model and shift.

- ``predict``: the step; ``counting``: predictions and their counts.
- ``pictures``: mask stores and overlays; ``dry_run``: estimated sizes of the outputs.
"""
