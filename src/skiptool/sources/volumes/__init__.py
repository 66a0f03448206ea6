"""Volumes of magnetic resonance imaging.

- `manifest`: manifests of volumes, and the folder of the M&Ms challenge;
- `nifti`: NIfTI files, frame by frame;
- `orientation`: layout of slices as pictures;
- `slices`: grey values, pixel size and size of slices.

May import `sources.pictures`.
"""
