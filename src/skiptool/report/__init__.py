"""Exhibits of a report: figures, captions, sentences and numbers from metric tables and stores.

Exhibits, one module each:

- ``scores``: IoU by shift and domain, differences to the baseline, and parameter counts
- ``substitution``: IoU regained with clean inputs of the decoder
- ``paired``: differences to the baseline with intervals and tests
- ``overview``, ``distances``, ``layerwise``: distances by layer, of channels and of whole layers
- ``correlation``, ``forecast``: distances against losses of IoU, and forecasts without labels
- ``training``, ``registration``, ``samples``, ``examples``: training curves, aligned scans, images
  of a dataset, and predicted masks

Shared:

- ``exhibit``: the type of an exhibit, and its numbers as rows of the table ``report``
- ``wording``: phrases of captions and sentences
- ``inputs``, ``contents``, ``summary``: inputs, ordered exhibits and main findings of a report
- ``page``: the HTML page

May import ``figures``, ``stores``, ``analysis``, and everything below.
"""
