"""Two sets of activations compared layer by layer, whatever they are stored in.

How the Hellinger distance of a layer is made: ``pairs.measure_pairs`` takes the units of statistics
from ``units`` and calls ``layer.measure_layer`` for each layer. That finds ranges and bins
(``skiptool.distances.bins``), counts all values (``activations``, ``skiptool.distances.counting``)
into ``buffers.Counts``, sums the counts of units, computes distances
(``skiptool.distances.binned``) and their null distribution (``skiptool.distances.resampling``),
corrects their bias (``skiptool.stats.jackknife``), and puts the columns of the result together
(``results.combine_blocks``, ``skiptool.stats.permutation``).
"""
