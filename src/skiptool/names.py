"""Closed vocabularies: words accepted on the command line and written to tables.

One name is used throughout: option, function, column, attribute. Names defined by other libraries
(encoders of segmentation-models-pytorch) are checked when a model is built.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from enum import StrEnum
from typing import Final

IGNORE_LABEL: Final = 255
"""Label of pixels that are ignored by losses and counts."""

ENSEMBLE_FOLD: Final = -1
"""Fold number of an ensemble over all folds."""

VALIDATION: Final = "validation"
"""Split of the samples on which a network was validated (``--split fold``), in histories,
prediction tables, feature stores and shift tables."""

SKIP_LEVELS: Final = (1, 2, 3, 4)
"""Skip connections of a five-stage U-net; level l connects ``enc{l}`` to ``dec{l}``."""

INPUT_LAYER: Final = "input"
"""The image itself, as a layer."""

LAYERS: Final = (
    INPUT_LAYER,
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
"""Layers in data-flow order; the number is log2 of the stride relative to the input."""

DECODER_INPUTS: Final = (
    "dec4.from_below",
    "dec4.from_skip",
    "dec3.from_below",
    "dec3.from_skip",
    "dec2.from_below",
    "dec2.from_skip",
    "dec1.from_below",
    "dec1.from_skip",
    "dec0.from_below",
)
"""Contributions of the inputs of a decoder block to the response of its first convolution."""


def in_data_flow(layers: Iterable[str]) -> list[str]:
    """Sort distinct layers: skiptool's names in data-flow order, then others as given.

    Examples
    --------
    >>> in_data_flow(["my.module", "dec0", "dec1.from_skip", "enc1", "dec0"])
    ['enc1', 'dec1.from_skip', 'dec0', 'my.module']
    """
    return sorted(dict.fromkeys(layers), key=lambda name: _FLOW.get(name, len(_FLOW)))


def _flow() -> dict[str, int]:
    """Return the rank of each layer and decoder input in data-flow order."""
    inputs = {layer: [name for name in DECODER_INPUTS if name[:4] == layer] for layer in LAYERS}
    order = [name for layer in LAYERS for name in (*inputs[layer], layer)]
    return {name: index for index, name in enumerate(order)}


_FLOW: Final = _flow()


class Arch(StrEnum):
    """Architectures: the decoder between a five-stage encoder and the logits."""

    UNET = "unet"
    UNETPLUSPLUS = "unetplusplus"
    LINKNET = "linknet"
    MANET = "manet"

    @property
    def model_class(self) -> str:
        """Name of the class in segmentation-models-pytorch."""
        return _MODEL_CLASSES[self.value]


_MODEL_CLASSES: Final = {
    "unet": "Unet",
    "unetplusplus": "UnetPlusPlus",
    "linknet": "Linknet",
    "manet": "MAnet",
}


class Split(StrEnum):
    """Part of a dataset that a sample belongs to."""

    TRAIN = "train"
    TEST = "test"


class ShiftKind(StrEnum):
    """Controlled shifts of eqs. (1) to (3); ``original`` for none."""

    ORIGINAL = "original"
    BRIGHTNESS = "brightness"
    CONTRAST = "contrast"
    SATURATION = "saturation"


class Metric(StrEnum):
    """Distances between two sets of activations; those from ``wasserstein-exact`` on need no bins.

    The last three, :data:`LAYERWISE`, describe a layer as a whole.
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

    @property
    def label(self) -> str:
        """Name in reports."""
        return _METRIC_LABELS[self.value]

    @property
    def squared(self) -> bool:
        """Whether bias is corrected on the square, which is a mean over bins, not on the value."""
        return self in (Metric.HELLINGER, Metric.JENSEN_SHANNON)


_METRIC_LABELS: Final = {
    "hellinger": "Hellinger distance",
    "bhattacharyya": "Bhattacharyya distance 1 - BC",
    "jensen-shannon": "Jensen-Shannon distance",
    "total-variation": "Total variation distance",
    "kl": "Kullback-Leibler divergence",
    "kolmogorov-smirnov": "Kolmogorov-Smirnov distance",
    "wasserstein": "Wasserstein distance, in shares of the range",
    "wasserstein-exact": "Wasserstein distance of activations",
    "representation-shift": "Representation shift",
    "covariance": "Covariance distance",
    "classifier": "Accuracy of a linear classifier",
    "paired-difference": "Paired difference, relative to the spread",
}

LAYERWISE: Final = (Metric.COVARIANCE, Metric.CLASSIFIER, Metric.PAIRED_DIFFERENCE)
"""Measures of a layer as a whole, without values for single channels."""


class RangeRule(StrEnum):
    """Rules that divide the value range of a channel into bins; literal: eq. (5) as printed."""

    MINMAX = "minmax"
    PERCENTILES = "p0.1"
    REFERENCE = "reference"
    QUANTILE = "quantile"
    LITERAL = "literal-eq5"


class LoggerName(StrEnum):
    """Experiment trackers that also receive the history of a training, by package name."""

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
    """Placement of patches on a slide: sections III.B (centred) and III.C (sampled, grid)."""

    GRID = "grid"
    CENTRED = "centred"
    SAMPLED = "sampled"


class ExportFormat(StrEnum):
    """Formats in which a dataset is exported next to its store, for other programs."""

    PNG = "png"
    NNUNET = "nnunet"


class PictureFormat(StrEnum):
    """File formats of figures."""

    PDF = "pdf"
    SVG = "svg"
    PNG = "png"


class Kind(StrEnum):
    """Kinds of artifacts: the format tag in their lineage."""

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


def normalise_unicode(text: str) -> str:
    r"""Return a text with each accented letter as one character (Unicode NFC).

    macOS writes accents in file names as separate characters, other systems do not, so one name has
    two spellings that look the same.

    >>> normalise_unicode("Mu\u0308ller") == "M\xfcller"
    True
    """
    return unicodedata.normalize("NFC", text)


def split_names(text: str, mark: str) -> list[str]:
    """Split a list of names, such as classes, typed as one word; the parts keep their quotes.

    A name that contains ``,``, ``;`` or ``=`` is put in double quotes, with quotes doubled as in
    CSV; see :func:`unquote_name`.

    Parameters
    ----------
    text : str
    mark : {",", ";", "="}
        Separator; ignored within quotes.

    Examples
    --------
    >>> split_names('a="b, c",d;"e;f"', ";"), split_names('"b, c",d', ",")
    (['a="b, c",d', '"e;f"'], ['"b, c"', 'd'])
    """
    parts: list[str] = []
    start = position = 0
    while position < len(text):
        begins = position == 0 or text[position - 1] in _MARKS
        quoted = _QUOTED.match(text, position) if begins else None
        if quoted is not None and quoted.end() > position:
            position = quoted.end()
            continue
        if text[position] == mark:
            parts.append(text[start:position])
            start = position + 1
        position += 1
    return [*parts, text[start:]]


def unquote_name(part: str) -> str:
    """Remove the quotes and blanks around a name.

    >>> unquote_name(' "5"" lens, old" '), unquote_name(' a "b" ')
    ('5" lens, old', 'a "b"')
    """
    quoted = _QUOTED.fullmatch(part)
    return part.strip() if quoted is None else quoted[1].replace('""', '"')


def quote_name(name: str) -> str:
    """Return a name as it must be typed in a list, quoted if necessary.

    >>> quote_name("a, b"), quote_name("a b"), quote_name('"a"')
    ('"a, b"', 'a b', '\"\"\"a\"\"\"')
    """
    plain = name == name.strip() and not name.startswith('"') and not set(name) & set(_MARKS)
    return name if plain else '"' + name.replace('"', '""') + '"'
