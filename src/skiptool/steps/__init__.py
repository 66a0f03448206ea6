"""The steps of an analysis: one module or package per subcommand, files in, files out.

- ``synth``, ``extract_images``, ``extract_mri``, ``extract_wsi``: make dataset stores.
- ``train``: trains networks; ``load``: loads a trained network for use in Python.
- ``predict``: prediction tables; ``features``: feature stores and counts stores.
- ``hellinger``: shift tables; ``report``: the page, figures and numbers.
- ``study``: runs all of these as commands; ``info``: describes and checks artifacts.

Steps may import every package except ``cli``, and do not import each other. They print nothing:
messages go to the `skiptool.records.Progress` that they are given, results to an
`skiptool.records.Outcome`.
"""
