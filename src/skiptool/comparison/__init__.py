"""Comparison of two sets of activations, layer by layer, however they are stored.

- ``pairs``: all pairs of sets through all layers; adjusted p-values, transmission, table rows.
- ``layer``: distances of the channels of one layer, with null distribution and estimates.
- ``layerwise``: measures of a layer as a whole (covariance, classifier, paired difference).
- ``results``: estimates, intervals and p-values of channels and layer.
- ``activations``: the protocol for sets of activations, settings, passes over blocks of images.
- ``units``: statistical units, pairing, and the equal draw of the permutation test, also of stored
  counts.
- ``buffers``: counts and cached blocks, in memory or in a temporary file.

The Hellinger distance of a layer: ``pairs.measure_pairs`` takes the statistical units from
``units`` and calls ``layer.measure_layer`` for each layer. That finds ranges and bins
(``skiptool.distances.bins``), counts all values (``activations``, ``skiptool.distances.counting``)
into ``buffers.Counts``, sums the counts of each unit, computes distances
(``skiptool.distances.binned``) and their null distribution (``skiptool.distances.binned``),
corrects their bias (``skiptool.stats.jackknife``), and assembles the columns
(``results.combine_blocks``, ``skiptool.stats.permutation``).

May import `skiptool.distances`, `skiptool.stats`, and the modules below them; not `stores`.
"""
