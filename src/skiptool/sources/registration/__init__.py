"""Registration of scans of one glass slide by different scanners.

- `align`: alignment of two scans, and a picture of the result;
- `tiles`: shifts between tiles of two scans;
- `transforms`: affine transforms and displacement fields, and their robust fits.

May import nothing else of `sources`: scans are passed in.
"""
