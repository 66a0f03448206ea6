"""Readers of everything that samples are extracted from, and the generator of synthetic smears.

- `annotations`: annotation files of slides, and their mapping to classes;
- `patches`: positions of patches on slides, and their masks;
- `pictures`: pictures and label masks as files, and the manifests that list them;
- `registration`: alignment of scans of one glass slide;
- `slides`: whole-slide images;
- `smear`: synthetic blood smears of section III.A;
- `volumes`: volumes of magnetic resonance imaging;
- `otsu`, `paths`: Otsu's threshold, and checks of paths, for all of these.

May import `images`, `records`, `names` and `errors`. Pillow, OpenCV, tifffile, OpenSlide and
nibabel are imported here and nowhere else.
"""
