"""Readers of annotation files.

- `read`: recognises the format of a file and reads the annotations of one slide;
- `asap`, `coco`, `exact`, `geojson`, `sliderunner`: one format each;
- `shapes`: points and areas, and the parsing that all formats share;
- `classes`: mapping from annotated names to classes.

May import `sources.paths`.
"""
