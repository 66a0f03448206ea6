"""Closed vocabularies: the words that may be typed on a command line and stand in tables.

One name for one thing everywhere: option, function, column, attribute. Names that another
library owns (encoders of segmentation-models-pytorch) are checked where a model is built.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from enum import StrEnum
from typing import Final

__all__ = [
    "DECODER_INPUTS",
    "ENSEMBLE_FOLD",
    "IGNORE",
    "INPUT",
    "LAYERS",
    "LAYERWISE",
    "SKIP_LEVELS",
    "VALIDATION",
    "Arch",
    "ExportFormat",
    "Kind",
    "LoggerName",
    "Loss",
    "Metric",
    "PatchMode",
    "PictureFormat",
    "Precision",
    "RangeRule",
    "ShiftKind",
    "Split",
    "composed",
    "in_data_flow",
    "quoted_name",
    "split_names",
    "unquoted_name",
]

IGNORE: Final = 255
"""Label of pixels that no loss and no count looks at."""

ENSEMBLE_FOLD: Final = -1
"""What stands for the fold of an ensemble over all folds."""

VALIDATION: Final = "validation"
"""The split of the samples that a network was validated on (``--split fold``), as histories,
prediction tables, feature stores and shift tables call it."""

SKIP_LEVELS: Final = (1, 2, 3, 4)
"""Levels of the skip connections of a five-stage U-net; level l joins ``enc{l}`` to ``dec{l}``."""

INPUT: Final = "input"
"""The layer that is the image itself."""

LAYERS: Final = (
    INPUT,
    "enc1",
    "enc2",
    "enc3",
    "enc4",
    "enc5",
    "dec4",
    "dec3",
    "dec2",
    "dec1",
    "dec0",
    "head",
)
"""Layers in the order of data flow; the number is log2 of the stride to the input."""

DECODER_INPUTS: Final = (
    *("dec4.from_below", "dec4.from_skip", "dec3.from_below", "dec3.from_skip"),
    *("dec2.from_below", "dec2.from_skip", "dec1.from_below", "dec1.from_skip"),
    "dec0.from_below",
)
"""What the inputs of a decoder block contribute to the response of its first convolution."""


def in_data_flow(layers: Iterable[str]) -> list[str]:
    """Sort different layers: those with names of ours in data flow, then others as they come.

    Examples
    --------
    >>> in_data_flow(["my.module", "dec0", "dec1.from_skip", "enc1", "dec0"])
    ['enc1', 'dec1.from_skip', 'dec0', 'my.module']
    """
    return sorted(dict.fromkeys(layers), key=lambda name: _FLOW.get(name, len(_FLOW)))


def _flow() -> dict[str, int]:
    inputs = {layer: [name for name in DECODER_INPUTS if name[:4] == layer] for layer in LAYERS}
    order = [name for layer in LAYERS for name in (*inputs[layer], layer)]
    return {name: place for place, name in enumerate(order)}


_FLOW: Final = _flow()


class Arch(StrEnum):
    """Architectures: what stands between an encoder of five stages and the logits."""

    UNET = "unet"
    UNETPLUSPLUS = "unetplusplus"
    LINKNET = "linknet"
    MANET = "manet"

    @property
    def model_class(self) -> str:
        """Name of its class in segmentation-models-pytorch."""
        return _MODEL_CLASSES[self.value]


_MODEL_CLASSES: Final = {
    "unet": "Unet",
    "unetplusplus": "UnetPlusPlus",
    "linknet": "Linknet",
    "manet": "MAnet",
}


class Split(StrEnum):
    """Which part of a dataset a sample belongs to."""

    TRAIN = "train"
    TEST = "test"


class ShiftKind(StrEnum):
    """Controlled shifts of eqs. (1) to (3), and ``original`` for none."""

    ORIGINAL = "original"
    BRIGHTNESS = "brightness"
    CONTRAST = "contrast"
    SATURATION = "saturation"


class Metric(StrEnum):
    """Distances between two sets of activations; those from ``wasserstein-exact`` on need no bins.

    The last three, :data:`LAYERWISE`, are of a layer as a whole.
    """

    HELLINGER = "hellinger"
    BHATTACHARYYA = "bhattacharyya"
    JENSEN_SHANNON = "jensen-shannon"
    TOTAL_VARIATION = "total-variation"
    KL = "kl"
    KOLMOGOROV_SMIRNOV = "kolmogorov-smirnov"
    WASSERSTEIN = "wasserstein"
    WASSERSTEIN_EXACT = "wasserstein-exact"
    REPRESENTATION_SHIFT = "representation-shift"
    COVARIANCE = "covariance"
    CLASSIFIER = "classifier"
    PAIRED_DIFFERENCE = "paired-difference"


LAYERWISE: Final = (Metric.COVARIANCE, Metric.CLASSIFIER, Metric.PAIRED_DIFFERENCE)
"""Measures of a layer as a whole: no channel has a value of its own."""


class RangeRule(StrEnum):
    """How the value range of a channel is divided into bins; literal is eq. (5) as printed."""

    MINMAX = "minmax"
    PERCENTILES = "p0.1"
    REFERENCE = "reference"
    QUANTILE = "quantile"
    LITERAL = "literal-eq5"


class LoggerName(StrEnum):
    """Where the history of a training also goes, by the name of its package."""

    TENSORBOARD = "tensorboard"
    WANDB = "wandb"
    MLFLOW = "mlflow"


class Loss(StrEnum):
    """Training losses: cross-entropy alone or with one of two Dice losses."""

    CE_GDICE = "ce+gdice"
    CE_DICE = "ce+dice"
    CE = "ce"


class Precision(StrEnum):
    """Arithmetic of a network in training and prediction."""

    AUTO = "auto"
    FLOAT32 = "32"
    BFLOAT16 = "bf16"
    FLOAT16 = "16"


class PatchMode(StrEnum):
    """Where patches are taken from a slide: sections III.B (centred) and III.C (sampled, grid)."""

    GRID = "grid"
    CENTRED = "centred"
    SAMPLED = "sampled"


class ExportFormat(StrEnum):
    """Forms in which a dataset is written beside its store, for other programs."""

    PNG = "png"
    NNUNET = "nnunet"


class PictureFormat(StrEnum):
    """File formats of figures."""

    PDF = "pdf"
    SVG = "svg"
    PNG = "png"


class Kind(StrEnum):
    """What an artifact is: the format tag in its lineage."""

    DATASET = "dataset"
    FEATURES = "features"
    COUNTS = "counts"
    MODEL = "model"
    HISTORY = "history"
    PREDICTIONS = "predictions"
    MASKS = "masks"
    OVERLAYS = "overlays"
    SHIFT = "shift"
    REGISTRATION = "registration"
    REPORT = "report"


_QUOTED = re.compile(r'\s*"((?:[^"]|"")*)"\s*(?=[,;=]|\Z)')
_MARKS = ",;="


def composed(text: str) -> str:
    r"""Return a text with each accented letter as one character (Unicode's form NFC).

    macOS writes accents in file names as characters of their own, other systems do not: one name
    has two spellings that look the same.

    >>> composed("Mu\u0308ller") == "M\xfcller"
    True
    """
    return unicodedata.normalize("NFC", text)


def split_names(text: str, mark: str) -> list[str]:
    """Split a list of names, of classes for example, that were typed as one word.

    A name that holds ``,``, ``;`` or ``=`` stands in double quotes, a quote in it twice, as in
    CSV; see :func:`unquoted_name`.

    Parameters
    ----------
    text : str
    mark : {",", ";", "="}
        What divides the parts; within quotes it does not.

    Returns
    -------
    list of str
        The parts as they were typed, quotes and all.

    Examples
    --------
    >>> split_names('a="b, c",d;"e;f"', ";"), split_names('"b, c",d', ",")
    (['a="b, c",d', '"e;f"'], ['"b, c"', 'd'])
    """
    parts: list[str] = []
    start = place = 0
    while place < len(text):
        begins = place == 0 or text[place - 1] in _MARKS
        quoted = _QUOTED.match(text, place) if begins else None
        if quoted is not None and quoted.end() > place:
            place = quoted.end()
            continue
        if text[place] == mark:
            parts.append(text[start:place])
            start = place + 1
        place += 1
    return [*parts, text[start:]]


def unquoted_name(part: str) -> str:
    """Return a name as it is meant, without quotes and blanks around it.

    >>> unquoted_name(' "5"" lens, old" '), unquoted_name(' a "b" ')
    ('5" lens, old', 'a "b"')
    """
    found = _QUOTED.fullmatch(part)
    return part.strip() if found is None else found[1].replace('""', '"')


def quoted_name(name: str) -> str:
    """Return a name as it has to be typed in a list.

    >>> quoted_name("a, b"), quoted_name("a b"), quoted_name('"a"')
    ('"a, b"', 'a b', '\"\"\"a\"\"\"')
    """
    plain = name == name.strip() and not name.startswith('"') and not set(name) & set(_MARKS)
    return name if plain else '"' + name.replace('"', '""') + '"'
