"""skiptool: how far a domain shift reaches into a U-net, and which skip connection carries it.

The map of the code. Imports go down; packages on one line do not import each other; every heavy
library is imported in one place only. import-linter checks all of it (``pyproject.toml``).

::

    cli                  typer, rich: one module per subcommand parses options and calls one step
    steps                one module or package per subcommand: files in, files out
    extraction           the frame that the three kinds of extraction share
    report               exhibits of the report page, from tables: figures, captions, sentences
    exports              what lies next to a dataset: contact sheets, PNG pairs, nnU-Net folders
    sources | stores | model | figures
        sources          Pillow, tifffile, OpenSlide, OpenCV, nibabel: pictures, slides, volumes,
                         annotations, registration, synthetic smears
        stores           zarr, pyarrow, safetensors, fsspec: every file format of skiptool, each
                         specified in the docstring of its module
        model            torch, SMP, timm, Lightning: pruned U-nets, training, inference, features
        figures          Matplotlib: figures drawn from plain arrays
    comparison | analysis
        comparison       two sets of activations: bins, distances, permutation tests, estimates
        analysis         findings from several tables: differences between architectures, distance
                         against loss of IoU, forecasts
    shifts | distances | metrics | stats
                         the paper's equations and the statistics, in NumPy (numba: distances)
    images | splits | parallel | substitution
    records              frozen records that travel between packages
    names | errors | cautions

To add a distance: ``names.Metric``, ``distances/binned.py`` and its definition in
``tests/definitions.py``. To add a shift: ``names.ShiftKind``, ``shifts.py`` and its test. To add an
exhibit: a module in ``report``, the list that orders the page (``report/contents.py``), and its
test. Each of them has a line in ``examples/guide``.

The functions behind the subcommands are loaded on first use (``import skiptool`` stays cheap):

>>> import skiptool
>>> "measure_shift" in dir(skiptool)
True
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skiptool.steps.extract_images import extract_images
    from skiptool.steps.extract_mri.extract_mri import extract_mri
    from skiptool.steps.extract_wsi.extract_wsi import extract_slides
    from skiptool.steps.features.features import extract_features
    from skiptool.steps.hellinger import compare_features, measure_shift, measure_shifts
    from skiptool.steps.info import describe
    from skiptool.steps.load import load_model
    from skiptool.steps.predict.predict import predict_dataset
    from skiptool.steps.report import write_report
    from skiptool.steps.study import run_study
    from skiptool.steps.synth import synthesise_dataset
    from skiptool.steps.train import train_fold, train_models

__all__ = [
    "compare_features",
    "describe",
    "extract_features",
    "extract_images",
    "extract_mri",
    "extract_slides",
    "load_model",
    "measure_shift",
    "measure_shifts",
    "predict_dataset",
    "run_study",
    "synthesise_dataset",
    "train_fold",
    "train_models",
    "write_report",
]

_MODULES = {
    "compare_features": "skiptool.steps.hellinger",
    "describe": "skiptool.steps.info",
    "extract_features": "skiptool.steps.features.features",
    "extract_images": "skiptool.steps.extract_images",
    "extract_mri": "skiptool.steps.extract_mri.extract_mri",
    "extract_slides": "skiptool.steps.extract_wsi.extract_wsi",
    "load_model": "skiptool.steps.load",
    "measure_shift": "skiptool.steps.hellinger",
    "measure_shifts": "skiptool.steps.hellinger",
    "predict_dataset": "skiptool.steps.predict.predict",
    "run_study": "skiptool.steps.study",
    "synthesise_dataset": "skiptool.steps.synth",
    "train_fold": "skiptool.steps.train",
    "train_models": "skiptool.steps.train",
    "write_report": "skiptool.steps.report",
}


_BACKENDS = frozenset(
    [
        "agg",
        "cairo",
        "pdf",
        "pgf",
        "ps",
        "svg",
        "template",
        "macosx",
        "nbagg",
        "notebook",
        "gtk3agg",
        "gtk3cairo",
        "gtk4agg",
        "gtk4cairo",
        "qtagg",
        "qtcairo",
        "qt5agg",
        "qt5cairo",
        "tkagg",
        "tkcairo",
        "webagg",
        "wx",
        "wxagg",
        "wxcairo",
    ]
)
"""Backends that ship with Matplotlib."""


def _forget_unusable_backend() -> None:
    """Unset ``MPLBACKEND`` if it names a backend that is not installed.

    A notebook passes its backend on to the processes that it starts, and without it neither
    Matplotlib nor torchmetrics, which imports it, can be imported. skiptool needs no backend.
    """
    backend = os.environ.get("MPLBACKEND", "")
    if backend and backend.lower() not in _BACKENDS and not _is_installed(backend):
        del os.environ["MPLBACKEND"]


def _is_installed(backend: str) -> bool:
    from importlib.metadata import entry_points
    from importlib.util import find_spec

    if not backend.startswith("module://"):
        return backend in entry_points(group="matplotlib.backend").names
    try:
        return find_spec(backend.removeprefix("module://")) is not None
    except (ImportError, ValueError):  # no such package, or not a name
        return False


_forget_unusable_backend()


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562
    if name not in _MODULES:
        raise AttributeError(f"module 'skiptool' has no attribute {name!r}")
    try:
        module = import_module(_MODULES[name])
    except ModuleNotFoundError as error:
        from skiptool.errors import missing_extra

        if line := missing_extra(error):
            raise ModuleNotFoundError(f"skiptool.{name} {line}", name=error.name) from error
        raise
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted(__all__)
