"""Columns of the tables ``predictions``, ``shift``, ``history``, ``registration``, ``report``.

See ``tables`` for the files. One row is one measurement. The columns and their types are
:data:`PREDICTIONS`, :data:`SHIFT`, :data:`HISTORY`, :data:`REGISTRATION` and :data:`REPORT` below;
their meaning:

``predictions`` (version 1)
    One row for each pair of a sample's true and predicted class, classes in the order of their
    labels: ``pixels`` (int64, zeros kept; pixels labelled 255 are in none). ``shift`` is the kind
    or ``original``, ``factor`` null for ``original``; ``clean_skips`` null for plain predictions.
    Names are for people, columns ending in ``_id`` are what to join on. A training is a ``fold``
    and a ``repeat`` (0, 1, ...; see ``train --repeats``). Tables from before version 0.2 have no
    ``repeat``: it is read as 0 where there is a fold, and is null for networks that others trained
    and for ensembles.
``shift`` (version 2)
    One row for each channel of a layer, and one with ``channel`` null for the layer's mean,
    eq. (10). ``value`` is the distance between all values of both sets, ``value_live`` the mean
    over channels that vary. ``split`` and ``reference_split`` are those of the feature stores
    (``validation``: the fold that the network was validated on), null where a store does not say.
    ``reference_dataset`` is null in tables from before version 0.2, whose reference is taken to be
    of ``dataset``.
    ``bins`` and ``range_rule`` are given with every value, null where the metric knows no bins.
    ``corrected`` estimates the distance between the populations that the
    units were drawn from, each unit with the same weight, on pooled bins (``inference_bins`` of
    them, see `skiptool.distances.binned`); ``ci_low`` and ``ci_high`` are the ends of its 95 %
    interval, null where none holds. ``unresolved_channels`` vary in too few units to be estimated.
    ``tested`` is the value that was tested, of an equal draw where ``drawn`` (see
    `skiptool.comparison.units`); ``null_mean`` and ``null_high`` are mean and 95 % quantile of it
    under ``permutations`` of units (``unit``: images, or values of a column), ``p_adjusted`` is
    adjusted over the layers; no p-value is given where the units are too few for one below 0.05,
    and where it is above 0.05 the interval reaches 0. ``input_value`` is the value of the layer
    ``input``, ``input_z`` the corrected value of the input in its standard errors, and
    ``transmission`` the corrected value divided by that of the input, with the ends of its 95 %
    interval; null where the input is not far enough above 0 or the correction of bias is large
    (`skiptool.comparison.pairs`). Measures of whole layers (``covariance``, ``classifier``,
    ``paired-difference``) have no rows of channels. ``effective_bins`` hold
    values, ``range_used`` is the share of the range that the middle 99.8 % of values span; in a
    layer's row both are means over channels that vary. ``warnings`` are what a reader must know of
    a layer's numbers, separated by semicolons. Statistics that were not computed, or do not apply,
    are null. In version 1 ``corrected`` was estimated on all bins, with images or vectors as
    weights, images were the unit unless a column was asked for, and everything was tested.
``history`` (version 1)
    One row for each epoch and split of a training run; ``seconds`` is wall time.
``registration`` (version 1)
    One row for each patch of a reference slide and each other scan of it. ``x``, ``y`` and
    ``x_other``, ``y_other`` are the patch's centre on either, in level-0 pixels; ``residual`` is
    what is left of the misalignment there, in level-0 pixels of the reference, ``residual_um`` in
    micrometres, null where it cannot be measured. ``kept`` is false for patches that are left out
    in all domains, ``reason`` says why. The transform of the pair stands in every row:
    ``[xx xy x0; yx yy y0]`` takes the reference's pixels to the other's, before the local
    refinement; ``inliers`` are the matches that it rests on. A scan that could not be aligned has
    one row, without a sample.
``report`` (version 2; in version 1 intervals and p-values of differences took networks as fixed)
    One row for each number that a report shows. ``figure`` is the anchor of its exhibit in the page
    and the stem of its files (``iou-1``), ``quantity`` what ``value`` is (``IoU``, ``difference``,
    ``distance``, ``rank correlation`` ...), the further columns say of what; those that do not
    apply are null. ``fold`` and ``repeat`` are null for a mean over trainings, ``fold`` is -1 for
    an ensemble; ``clean_skips`` is as in ``predictions``. ``sd_folds`` is the standard deviation
    between trainings (folds, and their repeats where there are any), ``se_trainings`` the standard
    error that follows from it in comparisons, ``se_subjects`` the one between subjects; ``ci_low``
    and ``ci_high`` are the ends of the interval at ``level``; ``p_adjusted`` is Holm's over the
    rows of one figure. ``trainings`` (and ``folds``, its name before version 0.2), ``subjects``,
    ``images``, ``points`` count what the value rests on.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from skiptool.names import Kind

__all__ = [
    *("HISTORY", "OPTIONAL", "OPTIONAL_IN_SHIFT", "PREDICTIONS", "REGISTRATION"),
    *("REPORT", "SCHEMAS", "SHIFT", "TABLE_KEY"),
]

_TEXT, _INT, _FLOAT = pa.string(), pa.int64(), pa.float64()

_TRANSMISSION = ("input_z", "transmission", "transmission_low", "transmission_high")

_MODEL = {
    **dict.fromkeys(("model", "model_id", "arch", "encoder", "pruning"), _TEXT),
    **dict.fromkeys(("fold", "repeat", "parameter_count"), _INT),
}

PREDICTIONS: Mapping[str, pa.DataType] = {
    **_MODEL,
    **dict.fromkeys(("dataset", "dataset_id", "domain", "split", "shift"), _TEXT),
    "factor": _FLOAT,
    **dict.fromkeys(("clean_skips", "sample", "subject", "truth", "predicted"), _TEXT),
    "pixels": _INT,
}

SHIFT: Mapping[str, pa.DataType] = {
    **dict.fromkeys(("reference", "reference_id", "other", "other_id"), _TEXT),
    **_MODEL,
    **dict.fromkeys(("dataset", "reference_dataset", "reference_domain"), _TEXT),
    **dict.fromkeys(("reference_split", "reference_shift"), _TEXT),
    "reference_factor": _FLOAT,
    **dict.fromkeys(("domain", "split", "shift"), _TEXT),
    **{"factor": _FLOAT, "layer": _TEXT, "layer_index": _INT, "channel": _INT},
    **{"metric": _TEXT, "bins": _INT, "range_rule": _TEXT},
    **dict.fromkeys(("value", "value_live", "corrected", "ci_low", "ci_high"), _FLOAT),
    **dict.fromkeys(("tested", "null_mean", "null_high", "p_value", "p_adjusted"), _FLOAT),
    **dict.fromkeys(("input_value", *_TRANSMISSION), _FLOAT),
    **{"paired": pa.bool_(), "effective_bins": _FLOAT, "range_used": _FLOAT},
    "inference_bins": _FLOAT,
    **dict.fromkeys(("n_reference", "n_other", "constant_channels", "unresolved_channels"), _INT),
    **{"unit": _TEXT, "units_reference": _INT, "units_other": _INT, "permutations": _INT},
    **{"drawn": pa.bool_(), "warnings": _TEXT},
    "skiptool_version": _TEXT,
}

HISTORY: Mapping[str, pa.DataType] = {
    **{"epoch": _INT, "split": _TEXT},
    **dict.fromkeys(("loss", "mIoU", "lr", "seconds"), _FLOAT),
}

REGISTRATION: Mapping[str, pa.DataType] = {
    **dict.fromkeys(("subject", "slide", "reference_domain", "domain", "sample"), _TEXT),
    **dict.fromkeys(("x", "y", "x_other", "y_other", "residual", "residual_um"), _FLOAT),
    **{"kept": pa.bool_(), "reason": _TEXT},
    **dict.fromkeys(("xx", "xy", "x0", "yx", "yy", "y0"), _FLOAT),
    **{"mirrored": pa.bool_(), "inliers": _INT},
}

REPORT: Mapping[str, pa.DataType] = {
    **dict.fromkeys(("figure", "title", "quantity", "dataset", "domain", "split"), _TEXT),
    **dict.fromkeys(("arch", "encoder", "pruning"), _TEXT),
    **{"fold": _INT, "repeat": _INT, "shift": _TEXT, "factor": _FLOAT},
    **dict.fromkeys(("reference_domain", "reference_split", "reference_shift"), _TEXT),
    **{"reference_factor": _FLOAT, "clean_skips": _TEXT},
    **{"layer": _TEXT, "metric": _TEXT, "bins": _INT},
    **{"epoch": _INT, "class": _TEXT, "sample": _TEXT, "subject": _TEXT},
    **dict.fromkeys(("value", "sd_folds", "se_trainings", "se_subjects"), _FLOAT),
    **dict.fromkeys(("ci_low", "ci_high", "level", "p_value", "p_adjusted"), _FLOAT),
    **dict.fromkeys(("folds", "trainings", "subjects", "images", "points"), _INT),
}

OPTIONAL = frozenset(
    {
        *("unit", "units_reference", "units_other", "permutations", "skiptool_version"),
        *("tested", "inference_bins", "unresolved_channels", "drawn", "warnings"),
        *("input_value", *_TRANSMISSION, "repeat", "se_trainings", "trainings"),
        "reference_split",
    }
)
"""Columns that may be missing: null then, save ``repeat``, which is 0 for trained networks."""

OPTIONAL_IN_SHIFT = OPTIONAL | {"split", "reference_dataset"}
"""The same of shift tables; all other tables must say of which split their numbers are."""

SCHEMAS: Mapping[Kind, Mapping[str, pa.DataType]] = {
    Kind.PREDICTIONS: PREDICTIONS,
    Kind.SHIFT: SHIFT,
    Kind.HISTORY: HISTORY,
    Kind.REGISTRATION: REGISTRATION,
    Kind.REPORT: REPORT,
}

TABLE_KEY = b"skiptool"
"""Where a Parquet file's metadata keep the header."""
