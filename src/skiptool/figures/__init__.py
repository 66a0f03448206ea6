"""Figures drawn with Matplotlib from plain arrays and results of the analysis.

Figures, one module each:

- ``heatmap``: annotated matrices of IoU, of differences, and of values by layer
- ``violin``, ``curves``: distances along the layers of networks; training curves
- ``forest``, ``scatter``, ``forecast``: differences with intervals; loss of IoU against distance
- ``residuals``: misalignment of registered scans
- ``sheets``, ``slide``: contact sheets and comparisons of masks; overviews of slides

Shared:

- ``style``: fonts, colours, ticks, and output as files
- ``panels``: grids of panels, and axes along layers
- ``masks``: small images and outlines of masks

May import ``analysis`` and everything below. No other package uses matplotlib at run time.
"""
