"""``skiptool predict``: truth x predicted pixel counts of every sample, model and shift."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import product
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from skiptool.errors import ArgumentError, ExistsError, FormatError, MismatchError, SkiptoolError
from skiptool.metrics import iou, mean_and_spread, mean_iou
from skiptool.model.device import choose_device, choose_precision, memory_told
from skiptool.model.inference import arithmetic, place
from skiptool.model.unet import restore
from skiptool.names import VALIDATION, Arch, Kind, Precision, Split
from skiptool.records import (
    SILENT,
    Normalisation,
    Outcome,
    Progress,
    Shift,
    Table,
    as_places,
)
from skiptool.shifts import swept
from skiptool.steps.predict.counting import (
    Counted,
    Loaded,
    Part,
    Run,
    Sink,
    check_partners,
    check_substitutions,
    count_part,
    count_with_substitution,
)
from skiptool.steps.predict.dry_run import forecast
from skiptool.steps.predict.pictures import MaskSink, OverlaySink
from skiptool.stores.artifacts import check_unchanged, finished, lineage_of, model_folders
from skiptool.stores.dataset import DatasetStore, Domain, domains_of, open_dataset, tell_network
from skiptool.stores.folds import FOLD, Validated, nothing_left, validated_samples
from skiptool.stores.lineage import Making, lineage
from skiptool.stores.masks import MaskWriter
from skiptool.stores.models import Ensemble, StoredModel, fold_ensembles, open_model
from skiptool.stores.staging import Form, check_free, staged
from skiptool.stores.tables import TableWriter, prediction_columns
from skiptool.stores.transfers import places_may_be_urls
from skiptool.stores.zarrs import keep_failures
from skiptool.substitution import Substitution, substitutions

if TYPE_CHECKING:
    from skiptool.records import Int64

    Totals: TypeAlias = Mapping[tuple[int, str, Shift, str | None], Int64]

__all__ = [
    "FOLD",
    "SPLITS",
    "Places",
    "absent_classes",
    "check_asked",
    "check_fits",
    "check_models_added",
    "check_several",
    "check_substitution",
    "fold_parts",
    "iou_table",
    "load_models",
    "predict_dataset",
    "split_parts",
    "substitution_parameters",
]

# -------------------------------------------------------------------------------------------------
# Which samples are segmented, and by which models.


SPLITS = (*(split.value for split in Split), FOLD, "all")


def split_parts(domains: Sequence[Domain], split: str, models: int) -> list[Part]:
    """Return one part a domain: every model segments the samples of a split."""
    numbers = tuple(range(models))
    return [
        Part(domain, tuple(domain.select(None if split == "all" else split)), numbers)
        for domain in domains
    ]


def fold_parts(
    store: DatasetStore, domains: Sequence[Domain], models: Sequence[Loaded]
) -> tuple[list[Loaded], list[Part], list[str]]:
    """Give each model the samples that it was validated on, of its own fold and split.

    Returns
    -------
    models : list of Loaded
        Those of them whose samples are there; parts count in this list.
    parts : list of Part
        One for each fold of a domain: models of one fold share it.
    failures : list of str
        One line for each model that was trained on another split, or by others.

    Raises
    ------
    SkiptoolError
        If no model is left.
    """
    found, failures = validated_samples(store, domains, [model.stored for model in models])
    groups: dict[Validated, list[int]] = {}
    for number, samples in enumerate(found.values()):
        groups.setdefault(samples, []).append(number)
    parts = [
        Part(store.domain(name), indices, tuple(numbers))
        for (name, indices), numbers in groups.items()
    ]
    return [models[number] for number in found], parts, failures


# -------------------------------------------------------------------------------------------------
# What may be asked of ``predict`` together, and where its outputs go.


@dataclass(frozen=True, slots=True)
class Places:
    """Where the outputs go, and how many samples of a model are drawn."""

    out: Path
    masks: Path | None
    overlays: Path | None
    overlay_count: int | None

    @classmethod
    def of(
        cls,
        out: Path | str,
        masks: Path | str | None,
        overlays: Path | str | None,
        overlay_count: int | None,
    ) -> Places:
        """Return them from what was given as paths or as text."""
        first, second = (None if path is None else Path(path) for path in (masks, overlays))
        return cls(Path(out), first, second, overlay_count)


def check_asked(shifts: Sequence[Shift], split: str, ensemble: bool, places: Places) -> None:
    """Refuse words that mean nothing, or that do not go together.

    Raises
    ------
    ArgumentError
        Which, and what to change.
    """
    if split not in SPLITS:
        raise ArgumentError(f"--split {split}: expected {', '.join(SPLITS[:-1])} or {SPLITS[-1]}")
    if len(set(shifts)) < len(shifts):
        raise ArgumentError("a shift is given twice, its pixels would count twice; drop one")
    if ensemble and split == FOLD:
        raise ArgumentError(
            f"--ensemble with --split {FOLD}: every fold is validated on samples of its own that "
            "the others were trained on; choose another --split"
        )
    if places.overlay_count is not None and (places.overlays is None or places.overlay_count < 1):
        raise ArgumentError(
            f"--overlay-count {places.overlay_count}: expected --overlays DIR and at least 1"
        )
    named = [path for path in (places.out, places.masks, places.overlays) if path is not None]
    if len({path.absolute() for path in named}) < len(named):
        raise ArgumentError("--out, --masks and --overlays name one place twice; give each its own")


def check_several(stores: Sequence[DatasetStore], split: str, places: Places) -> None:
    """Refuse what cannot be done with several stores at once, and stores that do not go together.

    Raises
    ------
    ArgumentError
        If there is none or one is given twice, or folds, masks or pictures of several are asked
        for.
    MismatchError
        If their classes differ.
    """
    if not stores:
        raise ArgumentError("--data: no dataset store is given")
    if len(stores) == 1:
        return
    options = ((f"--split {FOLD}", split == FOLD), ("--masks", places.masks))
    refused = [name for name, given in (*options, ("--overlays", places.overlays)) if given]
    if refused:
        raise ArgumentError(f"{refused[0]} with {len(stores)} --data: give one store at a time")
    seen: dict[str, DatasetStore] = {}
    for store in stores:
        first = seen.setdefault(store.lineage.id, store)
        if first is not store:
            raise ArgumentError(
                f"--data {store.path}: holds the same as {first.path}, its pixels would count "
                "twice; drop one"
            )
        if store.classes != stores[0].classes:
            raise MismatchError(
                f"{store.path}: has classes {', '.join(store.classes)}, {stores[0].path} has "
                f"{', '.join(stores[0].classes)}; predict stores of other classes into other tables"
            )


def check_models_added(out: Path, making: Making, paths: Sequence[Path]) -> None:
    """Say how models are added to a table that is whole, where nothing else has changed.

    Parameters
    ----------
    out : Path
    making : Making
        Of the run that was asked to go on.
    paths : sequence of Path
        Its models, in the order of their inputs.

    Raises
    ------
    ExistsError
        If the table holds some of the models, made with these very parameters.
    """
    try:
        header = lineage_of(out) if out.is_file() else None
    except FormatError:
        return
    asked = making.determinants
    if header is None or dict(header.parameters) != asked["parameters"]:
        return
    held = {one for role, one in header.inputs.items() if role.startswith("model")}
    ours = {role: one for role, one in asked["inputs"].items() if not role.startswith("model")}
    others = {role: one for role, one in header.inputs.items() if not role.startswith("model")}
    wanted = [one for role, one in asked["inputs"].items() if role.startswith("model")]
    added = [str(path) for path, one in zip(paths, wanted, strict=True) if one not in held]
    if added and held < set(wanted) and ours == others:
        raise ExistsError(
            f"{out}: is whole, without {', '.join(added)}; a table is not added to: predict the "
            "new one alone into another --out, and give both tables to 'skiptool report'"
        )


def check_substitution(
    wanted: Sequence[Substitution], clean_domain: str | None, ensemble: bool, places: Places
) -> None:
    """Refuse what a substitution leaves no room for.

    Raises
    ------
    ArgumentError
        If masks, pictures or an ensemble are asked for with it, or a clean domain without it.
    """
    if not wanted:
        if clean_domain is not None:
            raise ArgumentError("--clean-domain: expected --clean-skips or --shifted-skips with it")
        return
    options = (("--ensemble", ensemble), ("--masks", places.masks), ("--overlays", places.overlays))
    refused = [name for name, given in options if given]
    if refused:
        raise ArgumentError(
            f"{refused[0]} with --clean-skips: only counts are kept of substituted predictions; "
            "drop one"
        )


def substitution_parameters(
    clean_skips: Sequence[str], shifted_skips: Sequence[str], clean_domain: str | None
) -> dict[str, Any]:
    """Return the parameters of a substitution; plain predictions have none of them."""
    found = {"clean_skips": list(clean_skips), "shifted_skips": list(shifted_skips)}
    return {name: words for name, words in found.items() if words} | (
        {} if clean_domain is None else {"clean_domain": clean_domain}
    )


# -------------------------------------------------------------------------------------------------
# Models made ready; those that cannot be used are told and the others go on.


def load_models(
    places: Sequence[Path | str],
    data: Sequence[tuple[DatasetStore, Sequence[Domain]]],
    device: str,
    normalisation: Normalisation | None = None,
) -> tuple[list[Loaded], list[str]]:
    """Open every model of these folders that fits the data, and put its network on the device.

    Parameters
    ----------
    places : sequence of Path or str
        Model folders, and folders that hold them; local paths or URLs.
    data : sequence of (DatasetStore, sequence of Domain)
        What is to be segmented.
    device : str
    normalisation : Normalisation, optional
        How images are scaled for models that others trained.

    Returns
    -------
    models : list of Loaded
    failures : list of str
        One line for each model that is damaged or does not fit.

    Raises
    ------
    SkiptoolError
        Why it failed, where there is but one model; else a SourceError if all fail.
    ArgumentError
        If a model is given twice, or the scaling is missing or does not go with one.
    MemoryError
        If the device cannot hold them.
    """
    loaded: list[Loaded] = []
    failed: list[SkiptoolError] = []
    for path in model_folders(places):
        try:
            opened = open_model(path)
        except SkiptoolError as error:
            failed.append(error)
            continue
        stored = opened.normalised(normalisation)  # the command line is wrong, not the model
        try:
            for store, domains in data:
                check_fits(stored, store, domains)
            network = restore(stored.architecture, stored.tensors(), stored.normalisation)
        except SkiptoolError as error:
            named = re.search(rf"(?<![\w/]){re.escape(str(path))}(?!\w)", str(error))
            failed.append(error if named else type(error)(f"{path}: {error}"))
            continue
        with memory_told(device, f"the network of {path}"):
            loaded.append(Loaded(stored, place(network, device)))
    if not loaded:
        raise nothing_left(failed)
    _check_twice([model.stored for model in loaded])
    return loaded, [str(error) for error in failed]


def check_fits(model: StoredModel, store: DatasetStore, domains: Iterable[Domain]) -> None:
    """Compare a model's channels, sizes and number of classes with those of the data.

    Raises
    ------
    MismatchError
        If they differ.
    """
    for domain in domains:
        size = (domain.height, domain.width)
        model.check_fits(domain.channels, size, f"{store.path}: domain {domain.name}")
    ours, theirs = store.classes, model.architecture.classes
    if len(ours) != len(theirs):
        how = " (background and foreground, by one logit)" if model.architecture.binary else ""
        raise MismatchError(
            f"{model.path}: predicts {len(theirs)} classes{how}, {store.path} has {len(ours)} "
            f"({', '.join(ours)}); they must be the same"
        )


def _check_twice(models: Sequence[StoredModel]) -> None:
    seen: dict[str, StoredModel] = {}
    for model in models:
        first = seen.setdefault(model.id, model)
        if first is not model:
            raise ArgumentError(
                f"{model.path}: a model is given twice (as {first.path} too), its pixels would "
                "count twice; drop one"
            )


# -------------------------------------------------------------------------------------------------
# What people see of the counts: IoU in a small table, and classes that are nowhere.


def iou_table(run: Run, totals: Totals) -> Table:
    """IoU accumulated over the split: a row a domain and shift, a column an architecture.

    Trainings are averaged, ensembles have columns of their own. Where there are several foreground
    classes, the row of their mean is followed by one for each.

    Parameters
    ----------
    run : Run
    totals : mapping of (number, domain, shift, clean skips) to int64 (J, J)
        Numbers of models and ensembles; clean skips are None for plain predictions.
    """
    columns: dict[str, list[int]] = {}
    for number in range(len(run.models) + len(run.ensembles)):
        columns.setdefault(_column(run.predictor(number)), []).append(number)
    domains = list(dict.fromkeys(part.domain.name for part in run.parts))
    classes = run.store.classes
    measures = [None, *range(1, len(classes))] if len(classes) > 2 else [None]
    clean = list(dict.fromkeys(skips for _, _, _, skips in totals))
    rows = list(product(domains, run.shifts, clean, measures))
    cells: dict[str, Sequence[str | float | None]] = {"domain": [row[0] for row in rows]}
    cells["shift"] = [str(row[1]) for row in rows]
    if run.substitutions:
        cells["clean skips"] = [row[2] for row in rows]
    if len(measures) > 1:
        cells["class"] = ["mean" if label is None else classes[label] for *_, label in rows]
    for name, numbers in columns.items():
        cells[name] = [_mean(totals, numbers, row[:3], row[3]) for row in rows]
    samples = "samples of each model's validation fold" if run.split == FOLD else run.split
    words = samples if run.split == FOLD else f"{samples} samples"
    title = f"IoU of {', '.join(classes[1:])}, {words}, mean over {_trained(run)}"
    return Table(title, cells)


def _trained(run: Run) -> str:
    """Say whether folds alone are averaged, or repeats of them as well."""
    repeated = any(model.stored.repeat for model in run.models)
    return "folds and their repeats" if repeated else "folds"


def _column(model: StoredModel | Ensemble) -> str:
    """Name an architecture; a foreign folder may be called like that of another one."""
    name, arch = model.name.rpartition("/fold")[0] or model.name, model.architecture.arch
    return name if arch == Arch.UNET or name.startswith(arch) else f"{arch} {name}"


def _mean(
    totals: Totals,
    numbers: Sequence[int],
    row: tuple[str, Shift, str | None],
    label: int | None,
) -> float | None:
    found = [totals[number, *row] for number in numbers if (number, *row) in totals]
    scores = [float(mean_iou(each) if label is None else iou(each)[label]) for each in found]
    mean, _ = mean_and_spread(scores)
    return None if isnan(mean) else mean


def absent_classes(run: Run, totals: Totals) -> str | None:
    """Name the classes that no mask holds, in one line; None where all are there.

    Parameters
    ----------
    run : Run
    totals : mapping of (number, domain, shift, clean skips) to int64 (J, J)
    """
    seen: dict[str, Int64] = {}
    for (_, domain, shift, _), counts in totals.items():
        if shift == run.shifts[0]:
            pixels = counts.sum(axis=1)
            seen[domain] = np.maximum(seen.get(domain, pixels), pixels)
    lacking = [
        f"{', '.join(names)} in no mask of domain {domain}"
        for domain, pixels in seen.items()
        if (names := [run.store.classes[k] for k in np.flatnonzero(pixels == 0) if k])
    ]
    if not lacking:
        return None
    return (
        f"{run.store.path}: {'; '.join(lacking)}: the IoU of such a class is 0 where it is "
        "predicted all the same, else it has none (NaN) and is left out of means"
    )


@places_may_be_urls(out=Form.TABLE, masks=Form.STORE, overlays=Form.FOLDER)
def predict_dataset(
    models: Sequence[Path | str] | Path | str,
    data: Sequence[Path | str] | Path | str,
    out: Path | str,
    *,
    shifts: Sequence[Shift] = (),
    sweep: str | None = None,
    domains: Sequence[str] = (),
    split: str = "test",
    ensemble: bool = False,
    clean_skips: Sequence[str] = (),
    shifted_skips: Sequence[str] = (),
    clean_domain: str | None = None,
    masks: Path | str | None = None,
    overlays: Path | str | None = None,
    overlay_count: int | None = None,
    normalise: str | None = None,
    workers: int | None = None,
    device: str = "auto",
    precision: Precision = Precision.AUTO,
    overwrite: bool = False,
    resume: bool = False,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> Outcome:
    """Predict every sample under every shift with every model, in one reading of the data.

    Section V: IoU comes from the confusion matrix accumulated over the whole split; kept here
    are its addends, one matrix a sample, so that every score and interval can be derived later.

    Parameters
    ----------
    models : sequence of Path or str
        Model folders, ours or written by ``save_pretrained`` of segmentation-models-pytorch; a
        folder that holds model folders stands for all of them, sorted. All are held in memory.
        These, the data and the outputs are local paths or URLs.
    data : Path or str, or sequence of them
        Dataset stores: images uint8 (N, H, W, 3) or float32 (N, H, W, 1), masks uint8 (N, H, W).
    out : Path or str
        Prediction table to write: pixels int64 by sample, truth and predicted class.
    shifts : sequence of Shift
        The original alone by default.
    sweep : str, optional
        ``paper``: the shifts of Fig. 7 as well, of images of one channel those that they have.
    domains : sequence of str
        Domains to read, by default all that hold samples of the split. Sizes may differ.
    split : str
        ``train``, ``test``, ``all``, or ``fold``: what each model was validated on.
    ensemble : bool
        Also average the class probabilities (softmax, float32 (N, J, H, W)) of all trainings
        (folds and their repeats) of each architecture. Such rows have fold -1 and a model named
        ``resnet18-L1/ensemble``.
    clean_skips, shifted_skips : sequence of str
        Skip substitution (`skiptool.model.inference`): the decoder gets these feature maps of the
        unshifted image and all others of the shifted one, or the other way round. ``1,3``,
        ``bottleneck``, ``all``, ``each``; only such rows are written, with ``clean_skips`` set.
    clean_domain : str, optional
        Domain whose image of the same sample is the clean one, for registered scans.
    masks : Path, optional
        Store to which the predicted masks, uint8 (N, H, W), are written as well.
    overlays : Path, optional
        Folder for pictures of images with the outlines of truth and prediction, unshifted (or
        under the first shift where the original is not among them).
    overlay_count : int, optional
        Draw so many of the samples of lowest IoU for each model and domain, by default all.
    normalise : str, optional
        How images are scaled for networks that others trained: ``imagenet``, ``none`` (x / 255
        alone) or ``MEAN/STD``, numbers of images in [0, 1] with one for each channel. Such networks
        need it, those trained here refuse any other than ``none``. It is part of their ids.
    workers : int, optional
        Threads that shift images while a GPU predicts; results do not depend on it.
    device, precision : str, Precision
    overwrite, resume, dry_run : bool
        ``resume`` begins an interrupted run anew: the table is written in one go.
    progress : Progress

    Returns
    -------
    Outcome
        Output: the table. Side outputs: masks, overlays. Its ``tables``: IoU by model and shift.
        Failures: models that are damaged, or do not fit the data.

    Raises
    ------
    ArgumentError
        If names are unknown, nothing is selected, or ``normalise`` is missing or does not go with
        a model.
    FormatError
        If the data, or the only model, is missing or damaged.
    MismatchError
        If the only model's channels, classes or split are not those of the data, or the samples of
        the clean domain are of other subjects, or of another scale.
    SourceError
        If none of several models can be used.
    ExistsError
        If an output exists.
    MemoryError
        If the device has not enough memory.
    """
    places = Places.of(out, masks, overlays, overlay_count)
    wanted = substitutions(clean_skips, shifted_skips)
    scaling = None if normalise is None else Normalisation.parse(normalise)
    stores = [open_dataset(place) for place in as_places(data)]
    check_asked(shifts, split, ensemble, places)
    check_several(stores, split, places)
    check_substitution(wanted, clean_domain, ensemble, places)
    held = Split.TRAIN.value if split == FOLD else split
    chosen = domains_of(stores, domains, held, progress)
    asked = swept(sweep, shifts, [one for _, found in chosen for one in found], progress)
    target = choose_device(device)
    precise = choose_precision(precision, target)
    loaded, failures = load_models(as_places(models), chosen, target, scaling)
    if split == FOLD:
        loaded, parts, refused = fold_parts(stores[0], chosen[0][1], loaded)
        failures += refused
        read = [(stores[0], parts)]
    else:
        read = [(store, split_parts(found, split, len(loaded))) for store, found in chosen]
    groups, alone = fold_ensembles([m.stored for m in loaded]) if ensemble else ([], [])
    if alone:
        progress.warn(f"no ensemble of {', '.join(alone)}: there is only one training of each")
    how = (asked, split, target, precise, wanted)
    runs = [
        Run(
            *(store, loaded, groups, parts, *how),
            None if clean_domain is None else store.domain(clean_domain),
            workers,
        )
        for store, parts in read
    ]
    if wanted:
        check_substitutions(runs[0], progress)
        for run in runs:
            check_partners(run, progress)
    making = _making(
        *(as_places(models), runs, places, scaling),
        {
            "shift": [str(shift) for shift in asked],
            "domain": list(dict.fromkeys(one.name for _, found in chosen for one in found)),
            **{"split": split, "ensemble": ensemble, "precision": precise.value},
            **substitution_parameters(clean_skips, shifted_skips, clean_domain),
        },
        stores,
    )
    side = tuple(path for path in (places.masks, places.overlays) if path is not None)
    if resume:
        check_models_added(places.out, making, [model.stored.path for model in loaded])
    whole = [
        finished(path, making, resume=resume, clear=not dry_run) for path in (places.out, *side)
    ]
    for path in (places.out, *side):
        check_free(path, overwrite=overwrite, resume=resume)
    if dry_run:
        numbers = forecast(runs, making, masks is not None, progress)
        return Outcome(summary=numbers, failures=tuple(failures))
    if all(whole):
        return Outcome((places.out,), side, failures=tuple(failures))
    for each in runs:
        tell_network(
            each.store, [(part.domain, len(part.indices)) for part in each.parts], progress
        )
    summaries = _write(runs, making, places, failures, progress)
    told = {"precision": precise.value}
    return Outcome((places.out,), side, told, failures=tuple(failures), tables=summaries)


def _making(
    models: Sequence[Path | str],
    runs: Sequence[Run],
    places: Places,
    scaling: Normalisation | None,
    parameters: Mapping[str, Any],
    stores: Sequence[DatasetStore],
) -> Making:
    run = runs[0]
    return Making(
        "predict",
        tuple(models),
        {**parameters, **({} if scaling is None else {"normalise": str(scaling)})},
        {
            **{"data": [store.path for store in stores], "out": places.out, "masks": places.masks},
            **{"overlays": places.overlays, "overlay_count": places.overlay_count},
        },
        {
            **{f"dataset{i or ''}": store.lineage.id for i, store in enumerate(stores)},
            **{f"model{i}": model.stored.id for i, model in enumerate(run.models)},
        },
        arithmetic=arithmetic(run.device, run.precision),
    )


def _write(
    runs: Sequence[Run], making: Making, places: Places, failures: Sequence[str], progress: Progress
) -> tuple[Table, ...]:
    run, summaries = runs[0], []
    with ExitStack() as stack:
        partial = stack.enter_context(staged(places.out, overwrite=True))
        sinks: list[Sink] = []
        masks = None
        if places.masks is not None:
            store = stack.enter_context(staged(places.masks, overwrite=True))
            header = lineage(Kind.MASKS, making, making.determinants)
            masks = MaskWriter(store, header, run.store.classes)
            keep_failures(store, failures)
            sinks.append(MaskSink(run, masks))
        pictures = None
        if places.overlays is not None:
            folder = stack.enter_context(staged(places.overlays, overwrite=True))
            pictures = OverlaySink(run, folder, places.overlay_count)
            sinks.append(pictures)
        header = lineage(Kind.PREDICTIONS, making, making.determinants)
        with TableWriter(partial, header, failures) as writer:
            for each in runs:
                summaries.append(_count(each, writer, sinks, progress))
        for each in runs:
            check_unchanged(each.store)
        if masks is not None:
            masks.finish()
        if pictures is not None:
            pictures.draw(lineage(Kind.OVERLAYS, making, making.determinants), progress)
    found = []
    for each, totals in zip(runs, summaries, strict=True):
        absent = absent_classes(each, totals)
        if absent is not None:
            progress.warn(absent)
        table = iou_table(each, totals)
        named = f"{each.store.name}: {table.title}" if len(runs) > 1 else table.title
        found.append(replace(table, title=named))
    return tuple(found)


def _count(run: Run, writer: TableWriter, sinks: Sequence[Sink], progress: Progress) -> Totals:
    totals: dict[tuple[int, str, Shift, str | None], Int64] = {}
    for part in run.parts:
        for one in _counted(run, part, sinks, progress):
            key = (one.number, part.domain.name, one.shift, one.clean_skips)
            totals[key] = one.matrices.sum(axis=0)
            writer.append(_columns(run, part, one), one.matrices.size)
    return totals


def _counted(run: Run, part: Part, sinks: Sequence[Sink], progress: Progress) -> Iterator[Counted]:
    if run.substitutions:
        yield from count_with_substitution(run, part, progress)
    else:
        for (number, shift), matrices in count_part(run, part, sinks, progress).items():
            yield Counted(number, shift, None, matrices)


def _columns(run: Run, part: Part, one: Counted) -> Mapping[str, Any]:
    return prediction_columns(
        run.predictor(one.number).facts(),
        run.store,
        part.domain,
        one.shift,
        part.indices,
        one.matrices,
        VALIDATION if run.split == FOLD else None,
        one.clean_skips,
    )
