"""Analysis of metric tables: differences between networks, distances of layers, losses of IoU.

- ``differences``: differences of mean IoU between networks trained several times.
- ``substitution``: mean IoU that a network regains with clean inputs of its decoder.
- ``distances``: distances along networks, averaged over trainings.
- ``correlation``: distances joined with losses of IoU, and their rank correlation.
- ``forecast``: losses of IoU forecast from a layer's distance, for images without labels.
- ``training``: curves and results of training runs, grouped by protocol.
- ``registration``: residual misalignment of registered scans.

Input are columns of tables, as mappings from names to values; stores are not opened. May import
`skiptool.metrics`, `skiptool.stats`, and the modules below them.
"""
