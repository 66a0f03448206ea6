"""Read and write every file format of skiptool: Zarr stores, Parquet tables, model folders.

The docstring of each format's module is its specification: tree, shapes, data types and version.

Formats:

- ``dataset``: images, masks and their origin; ``dataset_writer``, ``contents`` (class pixels and
  constant images), ``folds`` (training and validation samples)
- ``features``: pooled activations of named layers; ``features_writer``; ``arrays``: an open
  feature store, NumPy files
- ``counts``: activations counted in bins; ``counts_writer``
- ``models``: weights, architecture and configuration; ``histories``: identify training runs
- ``masks``, ``overlays``: predicted masks, and pictures of predictions
- ``tables``: Parquet tables of predictions, distances, histories, registrations and reports

Shared by formats:

- ``lineage``: header of every artifact; ``seals``: hashes of metadata
- ``zarrs``, ``shards``: Zarr groups, arrays and shards; ``journal``: resumable writing
- ``staging``: atomic outputs, locks and protected inputs

Any artifact:

- ``artifacts``: find, identify and verify artifacts by path; ``activations``: find and open
  feature stores and counts stores
- ``addresses``, ``remote``, ``copies``, ``transfers``, ``urls``: URLs, access by fsspec, temporary
  copies, download and upload, steps that read from and write to URLs

``arrays``, ``activations`` and ``urls`` import Zarr only when they need it, so that a comparison of
NumPy files starts quickly.

May import ``analysis``, ``comparison``, ``distances``, ``splits``, ``parallel`` and everything
below; zarr, pyarrow, safetensors and fsspec are imported here only.
"""
