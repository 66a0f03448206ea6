"""Which exhibits some inputs allow, in the order of the page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skiptool.analysis import correlation
from skiptool.analysis.distances import BEYOND_COLUMNS, CHANNEL_KEYS, LAYER_COLUMNS, of_channels
from skiptool.errors import FormatError
from skiptool.metrics import KEYS, scores
from skiptool.names import ENSEMBLE_FOLD, LAYERWISE, VALIDATION, Kind, ShiftKind
from skiptool.records import family
from skiptool.report.correlation import forecasts
from skiptool.report.distances import comparisons
from skiptool.report.examples import examples
from skiptool.report.forecast import loss_forecasts
from skiptool.report.layerwise import beyond_marginals
from skiptool.report.paired import paired_comparisons
from skiptool.report.registration import registrations
from skiptool.report.samples import data_sheets
from skiptool.report.scores import parameter_exhibit, score_matrices
from skiptool.report.substitution import substitutions
from skiptool.report.training import training_curves
from skiptool.stores.addresses import last_part, located
from skiptool.stores.artifacts import at_hand, kind_of, lineage_of
from skiptool.stores.dataset import DatasetStore, open_dataset
from skiptool.stores.histories import history_facts
from skiptool.stores.lineage import FORMAT_VERSIONS, Lineage
from skiptool.stores.masks import MaskStore, open_masks
from skiptool.stores.tables import HISTORY, REGISTRATION, MetricTable, open_table
from skiptool.stores.transfers import is_store_at

if TYPE_CHECKING:
    from skiptool.records import Table
    from skiptool.report.exhibit import Shown

__all__ = [
    "Inputs",
    "Origins",
    "check_table",
    "exhibits",
    "not_estimated",
    "once_trained",
    "overview",
    "pictures",
    "printed_tables",
    "read_inputs",
    "unmet",
]

# -------------------------------------------------------------------------------------------------
# What a table must hold to be read as a measurement, beyond the types of its columns.


_NEEDED = {
    Kind.PREDICTIONS: (
        *("dataset", "dataset_id", "domain", "split", "arch", "encoder", "pruning"),
        *("model_id", "shift", "sample", "subject", "truth", "predicted", "pixels"),
    ),
    Kind.SHIFT: ("reference", "other", "layer", "metric", "value"),
}
"""Columns that have a value in every row; stores that others made have no id."""

_SHIFTS = {Kind.PREDICTIONS: ("shift",), Kind.SHIFT: ("shift", "reference_shift")}


def check_table(table: MetricTable) -> None:
    """Refuse a table that holds what was never measured: other programs write Parquet too.

    Raises
    ------
    FormatError
        If a column that every measurement has is empty somewhere, a shift is of no known kind, or
        a distance is infinite.
    """
    kind = table.lineage.kind
    for name in _NEEDED.get(kind, ()):
        if table.data.column(name).null_count:
            raise FormatError(f"{table.path}: column {name} is empty in some rows; make it again")
    for name in _SHIFTS.get(kind, ()):
        unknown = set(table.distinct([name])[name]) - {None, *ShiftKind}
        if unknown:
            raise FormatError(
                f"{table.path}: {name} {min(unknown)!r}, expected one of {', '.join(ShiftKind)}; "
                "make it again with this version"
            )
    if kind is Kind.SHIFT and np.isinf(table.data.column("value").to_numpy()).any():
        raise FormatError(f"{table.path}: a distance is infinite; make it again")


# -------------------------------------------------------------------------------------------------
# What a report is made from, sorted by kind, each artifact once.


Origins = list[tuple[str, Lineage]]
"""Name and header of each artifact behind a report."""

_IMAGES = ("dataset_id", "domain", "split")

_MEASURED = ("dataset_id", "domain", "split", "model_id", "shift", "factor", "clean_skips")
"""Columns of a prediction table that make one measurement: what stands in two tables is one."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """Artifacts by kind, in the order given."""

    predictions: list[MetricTable] = field(default_factory=list)
    shifts: list[MetricTable] = field(default_factory=list)
    histories: list[MetricTable] = field(default_factory=list)
    registrations: list[MetricTable] = field(default_factory=list)
    datasets: list[DatasetStore] = field(default_factory=list)
    masks: list[MaskStore] = field(default_factory=list)
    origins: Origins = field(default_factory=list)

    def by_clean_domain(self) -> dict[str | None, list[MetricTable]]:
        """Sort prediction tables by the domain of their clean images: None is the samples' own.

        Tables without any clean images stand with each.
        """
        found: dict[str | None, list[MetricTable]] = {None: []}
        for table in self.predictions:
            found.setdefault(table.lineage.parameters.get("clean_domain"), [])
        for table in self.predictions:
            asked = table.lineage.parameters
            plain = not {"clean_skips", "shifted_skips"} & set(asked)
            for domain in found if plain else [asked.get("clean_domain")]:
                found[domain].append(table)
        return found

    def sizes(self) -> dict[tuple[str, str, str], tuple[int, int]]:
        """Count samples and subjects by id of the dataset, domain and split."""
        found: dict[tuple[str, str, str], tuple[set[str], set[str]]] = {}
        for table in self.predictions:
            columns = table.distinct((*_IMAGES, "sample", "subject"))
            for *key, sample, subject in zip(*columns.values(), strict=True):
                samples, subjects = found.setdefault((key[0], key[1], key[2]), (set(), set()))
                samples.add(sample)
                subjects.add(subject)
        return {key: (len(samples), len(subjects)) for key, (samples, subjects) in found.items()}

    def unlabelled(self) -> dict[tuple[Any, ...], str]:
        """Name the domains in which no pixel has a label, by id of the dataset, domain, split."""
        pixels: dict[tuple[Any, ...], int] = {}
        names: dict[tuple[Any, ...], str] = {}
        for table in self.predictions:
            found = table.totals((*_IMAGES, "dataset"), "pixels")
            for *key, dataset, count in zip(*found.values(), strict=True):
                pixels[tuple(key)] = pixels.get(tuple(key), 0) + (count or 0)
                names[tuple(key)] = f"{dataset}, domain {key[1]} ({key[2]})"
        return {key: names[key] for key, count in pixels.items() if not count}

    def totals(
        self, *further: str, tables: Sequence[MetricTable] | None = None
    ) -> dict[str, list[Any]]:
        """Sum the pixels of all prediction tables by ``scores.KEYS`` and further columns.

        What was measured in several tables counts once. ``tables`` names some of them. Domains
        without a labelled pixel (:attr:`unlabelled`) are left out: nothing can be said of them.
        """
        unlabelled = self.unlabelled()
        names = (*KEYS, *further)
        found: dict[str, list[Any]] = {name: [] for name in (*names, "pixels")}
        known: set[tuple[Any, ...]] = set()
        for table in self.predictions if tables is None else tables:
            totals = table.totals(names, "pixels")
            keys = list(zip(*(totals[name] for name in _MEASURED), strict=True))
            new = set(keys) - known
            kept = [
                place for place, key in enumerate(keys) if key in new and key[:3] not in unlabelled
            ]
            for name, column in found.items():
                column += [totals[name][place] for place in kept]
            known |= new
        return found


def read_inputs(places: Sequence[Path | str]) -> Inputs:
    """Open what a report is to be made from.

    Parameters
    ----------
    places : sequence of Path or str
        Tables of predictions, shifts, training and registration; dataset and mask stores. Local
        paths or URLs.

    Returns
    -------
    Inputs
        What has the same id counts once.

    Raises
    ------
    FormatError
        If something is missing, damaged, of a kind that has no figure, or holds what
        :func:`skiptool.steps.report.exhibits.check_table` refuses.
    ArgumentError, SourceError
        If a URL cannot be read.
    """
    inputs = Inputs()
    known: set[tuple[Kind, str]] = set()
    for place in map(located, places):
        if isinstance(place, str) and is_store_at(place):
            _add(inputs, place, known)
            continue
        with at_hand(place) as path:
            _add(inputs, path, known)
    return inputs


def _add(inputs: Inputs, path: Path | str, known: set[tuple[Kind, str]]) -> None:
    """Open one input and put it in its place, unless it is known."""
    tables = {
        Kind.PREDICTIONS: inputs.predictions,
        Kind.SHIFT: inputs.shifts,
        Kind.HISTORY: inputs.histories,
        Kind.REGISTRATION: inputs.registrations,
    }
    kind = kind_of(path)
    if kind not in (*tables, Kind.DATASET, Kind.MASKS):
        raise FormatError(
            f"{path}: of kind {kind.value}, which has no figure; give tables of 'skiptool "
            "predict', 'hellinger', 'train' and 'extract wsi', or the stores of the images and "
            "of the predicted masks"
        )
    table = open_table(path, kind) if kind in tables and isinstance(path, Path) else None
    header = lineage_of(path) if table is None else table.lineage
    if header is None or (kind, header.id) in known:
        return
    known.add((kind, header.id))
    inputs.origins.append((_input_origin(path, kind), header))
    if table is not None:
        check_table(table)
        tables[kind].append(table)
    elif kind is Kind.DATASET:
        inputs.datasets.append(open_dataset(path))
    else:
        inputs.masks.append(open_masks(path))


def _input_origin(path: Path | str, kind: Kind) -> str:
    """Name an input; all histories are called alike, and their run and fold tell them apart."""
    if isinstance(path, Path) and kind is Kind.HISTORY and path.parent.name.startswith("fold"):
        return "/".join(path.parts[-3:])
    return last_part(path)


_LAYERS = tuple(dict.fromkeys((*LAYER_COLUMNS, *correlation.COLUMNS, *BEYOND_COLUMNS)))


def exhibits(inputs: Inputs, level: float, seed: int, *, forecast: bool = False) -> list[Shown]:
    """Return what tables allow, in the order of the questions that lead a reader.

    Parameters
    ----------
    inputs : Inputs
    level, seed : float, int
        Of the intervals that are computed here, and of their resampling.
    forecast : bool
        Whether to forecast the loss of IoU where nothing is labelled.
    """
    rated, by_subject = scores(inputs.totals()), inputs.totals("subject")
    layers = _columns(inputs.shifts, _layers)
    whole, layers = layers, of_channels(layers) if inputs.shifts else {}
    gathered = ("channel", "value", "corrected")
    channels = _columns(inputs.shifts, lambda table: table.gathered(CHANNEL_KEYS, gathered))
    histories = [
        (history_facts(table), table.columns(tuple(HISTORY))) for table in inputs.histories
    ]
    scans = [
        each
        for table in inputs.registrations
        for each in registrations(table.columns(tuple(REGISTRATION)), table.path.stem)
    ]
    return [
        *score_matrices(rated, inputs.sizes()),
        *_substitutions(inputs, by_subject, level),
        *paired_comparisons(by_subject, level=level),
        *(comparisons(layers, channels) if inputs.shifts else ()),
        *(beyond_marginals(whole) if inputs.shifts else ()),
        *(forecasts(rated, layers, level=level, seed=seed) if inputs.shifts else ()),
        *(loss_forecasts(rated, layers, level=level) if forecast and inputs.shifts else ()),
        *training_curves(histories),
        *scans,
        *parameter_exhibit(_parameters([*inputs.predictions, *inputs.shifts])),
    ]


def _layers(table: MetricTable) -> dict[str, list[Any]]:
    """Read the rows of layers; those of the first format come with a warning."""
    found = table.lacking("channel").columns(_LAYERS)
    if table.lineage.format_version < FORMAT_VERSIONS[Kind.SHIFT]:
        found["warnings"] = [_FIRST_FORMAT] * len(found["warnings"])
    return found


_FIRST_FORMAT = (
    "the distances were measured by version 0.1, whose estimates are too high with few images or "
    "sparse channels and whose p-values are wrong for units of unequal size (make the table again)"
)


def _substitutions(
    inputs: Inputs, by_subject: dict[str, list[Any]], level: float
) -> Iterator[Shown]:
    sorted_tables = inputs.by_clean_domain()
    for domain, tables in sorted_tables.items():
        alone = len(sorted_tables) == 1  # then they are all tables, which have been read
        totals = by_subject if alone else inputs.totals("subject", tables=tables)
        yield from substitutions(totals, clean_domain=domain, level=level)


def unmet(inputs: Inputs, shown: Sequence[Shown], forecast: bool) -> list[str]:
    """Say in a line each what was given, or asked for, and is not shown."""
    topics, lines = {each.topic for each in shown}, []
    if forecast and "forecast" not in topics:
        lines.append(_NO_FIT)
    lines += [
        f"{name}: no pixel has a label, so there is no IoU of it"
        for name in inputs.unlabelled().values()
    ]
    if inputs.predictions and inputs.shifts:
        lines += _unjoined(inputs)
    if "substitution" not in topics:
        for table in inputs.predictions:
            if set(table.distinct(["clean_skips"])["clean_skips"]) - {None}:
                lines.append(f"{table.path.name}: {_NO_PLAIN}")
    return lines


def _unjoined(inputs: Inputs) -> Iterator[str]:
    """Say in a line each which distances are compared with no loss of IoU."""
    scored = set(_columns(inputs.predictions, lambda table: table.distinct(["split"]))["split"])
    for table in inputs.shifts:
        found = table.distinct(["reference_split", "split"])
        measured = {*found["reference_split"], *found["split"]} - {None, "all"}
        for split in sorted(measured - scored):
            option = "fold" if split == VALIDATION else split
            yield (
                f"{table.path.name}: distances of {split} images are compared with no loss of IoU "
                f"for want of their scores; give a table of 'skiptool predict --split {option}'"
            )
        columns = table.lacking("channel").columns(["metric", "corrected"])
        pairs = zip(columns["metric"], columns["corrected"], strict=True)
        means = [value for metric, value in pairs if metric not in LAYERWISE]
        lost = sum(value is None for value in means)
        if lost:
            yield (
                f"{table.path.name}: {lost} of {len(means)} distances of layers have no corrected "
                "value and are compared with no loss of IoU"
            )


_NO_FIT = (
    "--forecast: nothing to fit; give scores and corrected distances by layer (predict and "
    "features, best with --split fold, and hellinger) of the same networks and images under two "
    "kinds of shift of one domain at least"
)

_NO_PLAIN = (
    "predictions with clean skips are not shown without plain ones of the same networks, samples "
    "and shifts; give their table too"
)


def pictures(inputs: Inputs) -> tuple[list[Shown], list[str]]:
    """Return what stores of images and masks allow, and lines about what they lack."""
    shown, lacking = examples(inputs.predictions, inputs.datasets, inputs.masks)
    sheets = [sheet for store in inputs.datasets for sheet in data_sheets(store)]
    return [*shown, *sheets], lacking


def printed_tables(shown: Sequence[Shown]) -> tuple[Table, ...]:
    """Return the tables that a terminal has room for; all of them where there are no others."""
    short = [each for each in shown if each.topic not in _LONG]
    return tuple(each.table() for each in short or shown)


_LONG = (
    *("regained", "paired", "layers", "transmission", "decoder-inputs"),
    *("forecast-by-layer", "parameters"),
)
"""Topics that say in a row a number, or again, what a matrix says."""


def _columns(
    tables: Iterable[MetricTable], read: Callable[[MetricTable], dict[str, list[Any]]]
) -> dict[str, list[Any]]:
    """Put what is read of several tables together."""
    found: dict[str, list[Any]] = {}
    for table in tables:
        for name, column in read(table).items():
            found.setdefault(name, []).extend(column)
    return found


def _parameters(tables: Sequence[MetricTable]) -> dict[tuple[str, str, str], int]:
    names = ("arch", "encoder", "pruning", "parameter_count")
    found = _columns(tables, lambda table: table.distinct(names))
    rows = zip(*(found.get(name, ()) for name in names), strict=True)
    return {
        (arch, encoder, pruning): count
        for arch, encoder, pruning, count in rows
        if None not in (arch, encoder, pruning, count)
    }


# -------------------------------------------------------------------------------------------------
# What a whole report rests on, and its outcome in a few sentences.


_TOLD = ("substitution", "paired", "beyond", "rank-correlation", "forecast-by-layer", "forecast")
"""Topics whose first two sentences are an outcome, and what limits it."""

_FEW = 3  # names are listed, more are counted


def overview(
    inputs: Inputs, named: Sequence[tuple[str, Shown]]
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return paragraphs below the title, and facts by name.

    Parameters
    ----------
    inputs : Inputs
    named : sequence of (str, Shown)
        The exhibits, from whose sentences the paragraphs are taken.

    Returns
    -------
    summary : tuple of str
    facts : dict
        Datasets, domains, architectures, folds, repeats, shifts, samples, subjects, as far as
        any input says so, and that no skip connection was substituted.
    """
    told: dict[str, str] = {}
    for _, each in named:
        sentences = each.sentences()
        if sentences and each.topic in _TOLD:
            told.setdefault(each.topic, " ".join(sentences[:2]))
    return tuple(told[topic] for topic in _TOLD if topic in told), _facts(inputs)


def once_trained(inputs: Inputs) -> str:
    """Say that a network that was trained once says nothing about the next training.

    Returns
    -------
    str
        Empty where every architecture was trained at least twice, or none is known.
    """
    found = _distinct([*inputs.predictions, *inputs.shifts], (*_NETWORK, "fold", "model_id"))
    trainings: dict[tuple[Any, ...], set[str]] = {}
    for *network, fold, model in zip(*found.values(), strict=True):
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


def not_estimated(inputs: Inputs) -> str:
    """Say that distances without an estimate are left out, which does not mean that they are 0.

    Returns
    -------
    str
        Empty where every comparison of two sets has an estimate at some layer, or none was tried.
    """
    names = ("reference_id", "reference", "other_id", "other", "metric", "bins", "range_rule")
    sizes = ("units_reference", "units_other", "unit")
    known: dict[tuple[Any, ...], list[bool]] = {}
    units: dict[tuple[Any, ...], str] = {}
    for table in inputs.shifts:
        columns = table.lacking("channel").columns(
            (*names, *sizes, "corrected", "unresolved_channels")
        )
        for *row, corrected, unresolved in zip(*columns.values(), strict=True):
            if unresolved is not None:
                key = tuple(row[: len(names)])
                known.setdefault(key, []).append(corrected is not None)
                units[key] = f"{row[-3]} and {row[-2]} {row[-1]}s"
    lacking = [key for key, estimated in known.items() if not any(estimated)]
    if not lacking:
        return ""
    every = len(lacking) == len(known)
    some = "No distance" if every else f"{len(lacking)} of {len(known)} distances"
    return (
        f"{some} between feature maps could {'' if every else 'not '}be estimated, as "
        f"{units[lacking[0]]} are too few. "
        "Figures leave out what could not be estimated; it does not mean that there is no shift."
    )


def _facts(inputs: Inputs) -> dict[str, str]:
    both = _distinct([*inputs.predictions, *inputs.shifts], _BOTH)
    # by themselves: all combinations of these and those are nearly all rows
    measured = _distinct(inputs.predictions, ("dataset_id", "domain", "sample", "subject"))
    networks = zip(map(family, both["arch"], both["encoder"]), both["pruning"], strict=True)
    shifts = zip(both["shift"], both["factor"], strict=True)
    samples = zip(*(measured[name] for name in ("dataset_id", "domain", "sample")), strict=True)
    subjects = zip(*(measured[name] for name in ("dataset_id", "subject")), strict=True)
    facts = {
        "Dataset": _listed(both["dataset"]),
        "Domains": _listed(both["domain"]),
        "Without labels (no IoU)": "; ".join(inputs.unlabelled().values()),
        "Architectures": _counted({each for each in networks if each[1]}),
        "Folds": _counted({fold for fold in both["fold"] if fold not in (None, ENSEMBLE_FOLD)}),
        "Repeats": _repeats(both["repeat"]),
        "Shifts": _counted({each for each in shifts if each[0] not in (None, ShiftKind.ORIGINAL)}),
        "Samples predicted": _counted(set(samples)),
        "Subjects": _counted(set(subjects)),
        "Skip substitution": _unsubstituted(inputs),
    }
    return {name: value for name, value in facts.items() if value}


def _unsubstituted(inputs: Inputs) -> str:
    """Say that no skip connection was substituted, where scores would have a place for it."""
    used = _distinct(inputs.predictions, ("clean_skips",))["clean_skips"]
    if not used or set(used) - {None}:
        return ""
    return "not measured"


def _repeats(found: Iterable[int | None]) -> str:
    """Count the repeats where folds were trained more than once."""
    different = {repeat for repeat in found if repeat is not None}
    return _counted(different) if any(different) else ""


def _distinct(tables: Sequence[MetricTable], names: Sequence[str]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {name: [] for name in names}
    for table in tables:
        for name, column in table.distinct(names).items():
            found[name] += column
    return found


_NETWORK = ("arch", "encoder", "pruning")
_BOTH = ("dataset", "domain", "arch", "encoder", "pruning", "fold", "repeat", "shift", "factor")


def _listed(names: Iterable[str | None]) -> str:
    found = sorted({name for name in names if name is not None})
    return ", ".join(found) if len(found) <= _FEW else f"{len(found)}"


def _counted(found: set[Any]) -> str:
    return f"{len(found):,}" if found else ""
