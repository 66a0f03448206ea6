"""Patches of slides.

- `placement`: where patches lie on a slide;
- `painting`: masks painted from annotated areas, and outlines traced from masks;
- `nuclei`: segmentation of the nucleus at an annotated point.

May import `sources.annotations` and `sources.otsu`.
"""
