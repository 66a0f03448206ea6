"""Summary of a report: its findings and facts in short, its limits, and what it could not show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from skiptool.names import ENSEMBLE_FOLD, LAYERWISE, VALIDATION, ShiftKind
from skiptool.records import architecture_family
from skiptool.report.inputs import concatenate

if TYPE_CHECKING:
    from skiptool.report.exhibit import Exhibit
    from skiptool.report.inputs import Inputs

_FEW: Final = 3  # names are listed, more are counted


def findings(exhibits: Sequence[Exhibit]) -> list[str]:
    """Return the paragraphs below the title: the first sentences of the main exhibits.

    Parameters
    ----------
    exhibits : sequence of Exhibit
        In the order of the page.
    """
    headings = {each.heading: n for n, each in reversed([*enumerate(exhibits)])}
    paragraphs: dict[str, tuple[int, int, str]] = {}
    for each in exhibits:
        if each.summary is not None and each.sentences:
            text = " ".join(each.sentences[:2])
            paragraphs.setdefault(each.topic, (headings[each.heading], each.summary, text))
    return [text for *_, text in sorted(paragraphs.values())]


def facts(inputs: Inputs) -> dict[str, str]:
    """Describe the data behind a report by name, as far as the inputs record them.

    Datasets, domains, architectures, folds, repeats, shifts, samples, subjects, and that no skip
    connection was substituted.
    """
    columns = inputs.distinct(
        "dataset",
        "domain",
        "arch",
        "encoder",
        "pruning",
        "fold",
        "repeat",
        "shift",
        "factor",
    )
    # Apart from the others, as all combinations of both are nearly all rows.
    measured = inputs.distinct("dataset_id", "domain", "sample", "subject", predictions_only=True)
    families = map(architecture_family, columns["arch"], columns["encoder"])
    networks = zip(families, columns["pruning"], strict=True)
    shifts = zip(columns["shift"], columns["factor"], strict=True)
    samples = zip(*(measured[name] for name in ("dataset_id", "domain", "sample")), strict=True)
    subjects = zip(measured["dataset_id"], measured["subject"], strict=True)
    repeats = {repeat for repeat in columns["repeat"] if repeat is not None}
    found = {
        "Dataset": _listed(columns["dataset"]),
        "Domains": _listed(columns["domain"]),
        "Without labels (no IoU)": "; ".join(inputs.unlabelled().values()),
        "Architectures": _counted({network for network in networks if network[1]}),
        "Folds": _counted({fold for fold in columns["fold"] if fold not in (None, ENSEMBLE_FOLD)}),
        "Repeats": _counted(repeats) if any(repeats) else "",
        "Shifts": _counted({s for s in shifts if s[0] not in (None, ShiftKind.ORIGINAL)}),
        "Samples predicted": _counted(set(samples)),
        "Subjects": _counted(set(subjects)),
        "Skip substitution": _unsubstituted(inputs),
    }
    return {name: value for name, value in found.items() if value}


def _unsubstituted(inputs: Inputs) -> str:
    used = inputs.distinct("clean_skips", predictions_only=True)["clean_skips"]
    return "not measured" if used and not set(used) - {None} else ""


def _listed(names: Iterable[str | None]) -> str:
    known = sorted({name for name in names if name is not None})
    return ", ".join(known) if len(known) <= _FEW else f"{len(known)}"


def _counted(values: set[Any]) -> str:
    return f"{len(values):,}" if values else ""


# Limits of the whole report.


def single_training_warning(inputs: Inputs) -> str:
    """Warn that a single training does not predict the next; empty if all have two or more."""
    columns = inputs.distinct("arch", "encoder", "pruning", "fold", "model_id")
    trainings: dict[tuple[Any, ...], set[str]] = {}
    for *network, fold, model in zip(*columns.values(), strict=True):
        if network[1] and model and fold != ENSEMBLE_FOLD:
            trainings.setdefault(tuple(network), set()).add(model)
    once = sum(len(models) == 1 for models in trainings.values())
    if not once:
        return ""
    some = f"{once} of {len(trainings)} architectures were"
    who = "Each network was" if once == len(trainings) else some
    return (
        f"{who} trained only once. Another training of the same architecture may differ by far "
        "more than these intervals, which are over subjects or images: they hold for these "
        "networks and say nothing about the next one. To compare architectures, train several "
        "folds or repeats (train --fold, --repeats)."
    )


_COMPARISON: Final = (
    "reference_id",
    "reference",
    "other_id",
    "other",
    "metric",
    "bins",
    "range_rule",
)
_UNITS: Final = ("units_reference", "units_other", "unit")


def missing_estimates(inputs: Inputs) -> str:
    """Warn that distances without an estimate are left out, which does not make them 0.

    Returns
    -------
    str
        Empty if every comparison of two sets has an estimate at some layer, or none was attempted.
    """
    estimated: dict[tuple[Any, ...], list[bool]] = {}
    units: dict[tuple[Any, ...], str] = {}
    for table in inputs.shifts:
        columns = table.where_null("channel").columns(
            (*_COMPARISON, *_UNITS, "corrected", "unresolved_channels")
        )
        for *row, corrected, unresolved in zip(*columns.values(), strict=True):
            if unresolved is not None:
                key = tuple(row[: len(_COMPARISON)])
                estimated.setdefault(key, []).append(corrected is not None)
                units[key] = f"{row[-3]} and {row[-2]} {row[-1]}s"
    lacking = [key for key, layers in estimated.items() if not any(layers)]
    if not lacking:
        return ""
    if len(lacking) == len(estimated):
        some = "No distance between feature maps could be"
    else:
        some = f"{len(lacking)} of {len(estimated)} distances between feature maps could not be"
    return (
        f"{some} estimated, as {units[lacking[0]]} are too few. "
        "Figures leave out what could not be estimated; it does not mean that there is no shift."
    )


# What was given, or asked for, and is not shown.

_NO_FIT: Final = (
    "--forecast: nothing to fit; give scores and corrected distances by layer (predict and "
    "features, best with --split fold, and hellinger) of the same networks and images under two "
    "kinds of shift of one domain at least"
)
_NO_PLAIN: Final = (
    "predictions with clean skips are not shown without plain ones of the same networks, samples "
    "and shifts; give their table too"
)


def unused_inputs(inputs: Inputs, exhibits: Sequence[Exhibit], *, forecast: bool) -> list[str]:
    """Return a line for each input or option that leads to no exhibit."""
    topics = {exhibit.topic for exhibit in exhibits}
    lines = [_NO_FIT] if forecast and "forecast" not in topics else []
    lines += [
        f"{name}: no pixel has a label, so it has no IoU" for name in inputs.unlabelled().values()
    ]
    if inputs.predictions and inputs.shifts:
        lines += _uncompared(inputs)
    if "substitution" not in topics:
        lines += [
            f"{table.path.name}: {_NO_PLAIN}"
            for table in inputs.predictions
            if set(table.distinct(["clean_skips"])["clean_skips"]) - {None}
        ]
    return lines


def _uncompared(inputs: Inputs) -> Iterator[str]:
    """Return a line for each set of distances that is compared with no loss of IoU."""
    scored = set(concatenate(inputs.predictions, lambda t: t.distinct(["split"]))["split"])
    for table in inputs.shifts:
        splits = table.distinct(["reference_split", "split"])
        measured = {*splits["reference_split"], *splits["split"]} - {None, "all"}
        for split in sorted(measured - scored):
            option = "fold" if split == VALIDATION else split
            yield (
                f"{table.path.name}: distances of {split} images are not compared with the loss of "
                f"IoU without their scores; give a table of 'skiptool predict --split {option}'"
            )
        columns = table.where_null("channel").columns(["metric", "corrected"])
        pairs = zip(columns["metric"], columns["corrected"], strict=True)
        means = [value for metric, value in pairs if metric not in LAYERWISE]
        lost = sum(value is None for value in means)
        if lost:
            yield (
                f"{table.path.name}: {lost} of {len(means)} distances of layers have no corrected "
                "value and are not compared with the loss of IoU"
            )
