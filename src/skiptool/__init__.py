"""skiptool: how far a domain shift reaches into a U-net, and which skip connection carries it.

The functions behind the subcommands, loaded on first use (``import skiptool`` stays cheap):

>>> import skiptool
>>> "measure_shift" in dir(skiptool)
True
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skiptool.steps.compare import compare_features
    from skiptool.steps.extract_images.step import extract_images
    from skiptool.steps.extract_mri.step import extract_mri
    from skiptool.steps.extract_wsi.step import extract_slides
    from skiptool.steps.features.step import extract_features
    from skiptool.steps.hellinger import measure_shift
    from skiptool.steps.info import describe
    from skiptool.steps.load import load_model
    from skiptool.steps.predict.step import predict_dataset
    from skiptool.steps.report.step import write_report
    from skiptool.steps.study import run_study
    from skiptool.steps.synth import synthesise_dataset
    from skiptool.steps.train.step import train_fold, train_models

__all__ = [
    "compare_features",
    "describe",
    "extract_features",
    "extract_images",
    "extract_mri",
    "extract_slides",
    "load_model",
    "measure_shift",
    "predict_dataset",
    "run_study",
    "synthesise_dataset",
    "train_fold",
    "train_models",
    "write_report",
]

_ROOMS = {
    "compare_features": "skiptool.steps.compare",
    "describe": "skiptool.steps.info",
    "extract_features": "skiptool.steps.features.step",
    "extract_images": "skiptool.steps.extract_images.step",
    "extract_mri": "skiptool.steps.extract_mri.step",
    "extract_slides": "skiptool.steps.extract_wsi.step",
    "load_model": "skiptool.steps.load",
    "measure_shift": "skiptool.steps.hellinger",
    "predict_dataset": "skiptool.steps.predict.step",
    "run_study": "skiptool.steps.study",
    "synthesise_dataset": "skiptool.steps.synth",
    "train_fold": "skiptool.steps.train.step",
    "train_models": "skiptool.steps.train.step",
    "write_report": "skiptool.steps.report.step",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562
    if name not in _ROOMS:
        raise AttributeError(f"module 'skiptool' has no attribute {name!r}")
    return getattr(import_module(_ROOMS[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
