"""Synthetic blood smears of section III.A.

- `templates`: backgrounds, cells and artifacts, and the annotations of BBBC041;
- `cutting`: templates cut out of a picture;
- `scenes`: images composed of templates, with ground truth;
- `resize`: antialiased resizing of image and mask.

May import `sources.pictures`, `sources.otsu` and `sources.paths`.
"""
