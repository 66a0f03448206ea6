"""Whole-slide images read through OpenSlide.

- `manifest`: manifests of slides, and checks of slide files;
- `slide`: one slide, read at any position and resolution;
- `pool`: slides kept open for several threads;
- `sampling`: geometry of pyramids, and resampling;
- `tissue`: tissue and glass on an overview.

May import `sources.pictures`, `sources.otsu` and `sources.paths`.
"""
