"""``skiptool predict``: truth x predicted pixel counts of every sample, model and shift."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import product
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from skiptool.errors import ArgumentError, ExistsError, FormatError, MismatchError, SkiptoolError
from skiptool.metrics import iou, mean_and_spread, mean_iou
from skiptool.model.device import choose_device, choose_precision, explain_memory_errors
from skiptool.model.inference import arithmetic_facts, prepare_for_inference
from skiptool.model.unet import restore_network
from skiptool.names import VALIDATION, Arch, Kind, Precision, Split
from skiptool.records import (
    SILENT,
    Normalisation,
    Outcome,
    Progress,
    Shift,
    Table,
    as_path,
    as_paths_or_urls,
)
from skiptool.shifts import shifts_to_apply
from skiptool.steps.predict.counting import (
    LoadedModel,
    Part,
    Prediction,
    Run,
    Sink,
    check_partners,
    check_substitutions,
    count_part,
)
from skiptool.steps.predict.dry_run import dry_run_summary
from skiptool.steps.predict.pictures import MaskSink, OverlaySink
from skiptool.stores.artifacts import check_unchanged, is_complete, lineage_of, model_folders
from skiptool.stores.dataset import (
    DatasetStore,
    Domain,
    announce_download,
    choose_domains,
    open_dataset,
)
from skiptool.stores.folds import FOLD, ValidationSamples, all_failed_error, find_validation_samples
from skiptool.stores.lineage import Invocation, create_lineage
from skiptool.stores.masks import MaskWriter
from skiptool.stores.models import Ensemble, StoredModel, fold_ensembles, open_model
from skiptool.stores.staging import OutputType, atomic_output, check_writable
from skiptool.stores.tables import TableWriter, prediction_columns
from skiptool.stores.urls import accept_urls
from skiptool.stores.zarrs import record_failures
from skiptool.substitution import Substitution, parse_substitutions

if TYPE_CHECKING:
    from skiptool.records import Int64

    Totals: TypeAlias = Mapping[tuple[int, str, Shift, str | None], Int64]


SPLITS = (*(split.value for split in Split), FOLD, "all")
"""Values of ``--split``."""


@accept_urls(out=OutputType.TABLE, masks=OutputType.STORE, overlays=OutputType.FOLDER)
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
    """Predict every sample under every shift with every model, reading the data once.

    Section V: IoU comes from the confusion matrix accumulated over the whole split. The table keeps
    its addends, one matrix per sample, so that any score and interval can be derived later.

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
        By default the original alone.
    sweep : str, optional
        ``paper``: add the shifts of Fig. 7, for single-channel images those that apply to them.
    domains : sequence of str
        Domains to read, by default all that hold samples of the split. Sizes may differ.
    split : str
        ``train``, ``test``, ``all``, or ``fold``: the samples each model was validated on.
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
        under the first shift if the original is not among them).
    overlay_count : int, optional
        Draw only this many samples of lowest IoU for each model and domain.
    normalise : str, optional
        Input scaling of networks trained elsewhere: ``imagenet``, ``none`` (x / 255 alone) or
        ``MEAN/STD`` for images in [0, 1], one number per channel. Such networks need it; those
        trained here refuse any other than ``none``. It is part of their ids.
    workers : int, optional
        Threads that shift images while a GPU predicts; results do not depend on it.
    resume : bool
        Leave finished outputs alone; an interrupted run starts again, as the table is written in
        one go.

    Returns
    -------
    Outcome
        Output: the table. Side outputs: masks, overlays. Its ``tables``: IoU by model and shift.
        Failures: models that are damaged, or do not fit the data.

    Raises
    ------
    ArgumentError
        If names are unknown, nothing is selected, or ``normalise`` is missing or does not suit a
        model.
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
        If the device runs out of memory.
    """
    outputs = OutputPaths(Path(out), as_path(masks), as_path(overlays), overlay_count)
    substituted = parse_substitutions(clean_skips, shifted_skips)
    scaling = None if normalise is None else Normalisation.parse(normalise)
    stores = [open_dataset(path) for path in as_paths_or_urls(data)]
    check_options(shifts, split, ensemble, outputs)
    check_datasets(stores, split, outputs)
    check_substitution(substituted, clean_domain, ensemble, outputs)
    held_split = Split.TRAIN.value if split == FOLD else split
    chosen = choose_domains(stores, domains, held_split, progress)
    read = [domain for _, own in chosen for domain in own]
    shifts = shifts_to_apply(sweep, shifts, read, progress)
    device = choose_device(device)
    precision = choose_precision(precision, device)
    models = as_paths_or_urls(models)
    loaded, failures = load_models(models, chosen, device, scaling)
    if split == FOLD:
        loaded, folds, refused = fold_parts(*chosen[0], loaded)
        parts, failures = [folds], failures + refused
    else:
        parts = [split_parts(own, split, len(loaded)) for _, own in chosen]
    ensembles = _build_ensembles(loaded, progress) if ensemble else []
    runs = [
        Run(
            store,
            loaded,
            ensembles,
            own_parts,
            shifts,
            split,
            device,
            precision,
            substituted,
            None if clean_domain is None else store.domain(clean_domain),
            workers,
        )
        for store, own_parts in zip(stores, parts, strict=True)
    ]
    if substituted:
        check_substitutions(runs[0], progress)
        for run in runs:
            check_partners(run, progress)
    parameters = {
        "shift": [str(shift) for shift in shifts],
        "domain": list(dict.fromkeys(domain.name for domain in read)),
        "split": split,
        "ensemble": ensemble,
        "precision": precision.value,
        **substitution_parameters(clean_skips, shifted_skips, clean_domain),
    }
    if scaling is not None:
        parameters["normalise"] = str(scaling)
    invocation = _invocation(models, runs, outputs, parameters)
    done = _check_outputs(outputs, invocation, loaded, overwrite, resume, dry_run)
    if dry_run:
        numbers = dry_run_summary(runs, invocation, masks is not None, progress)
        return Outcome(summary=numbers, failures=tuple(failures))
    side = tuple(outputs.paths[1:])
    if done:
        return Outcome((outputs.out,), side, failures=tuple(failures))
    tables = _predict_and_write(runs, invocation, outputs, failures, progress)
    summary = {"precision": precision.value}
    return Outcome((outputs.out,), side, summary, failures=tuple(failures), tables=tables)


# Options


@dataclass(frozen=True, slots=True)
class OutputPaths:
    """Paths of the outputs, and the number of samples drawn per model."""

    out: Path
    masks: Path | None
    overlays: Path | None
    overlay_count: int | None

    @property
    def paths(self) -> list[Path]:
        """Return the requested outputs, the table first."""
        return [path for path in (self.out, self.masks, self.overlays) if path is not None]


def check_options(
    shifts: Sequence[Shift], split: str, ensemble: bool, outputs: OutputPaths
) -> None:
    """Refuse unknown values, and options that exclude each other."""
    if split not in SPLITS:
        raise ArgumentError(f"--split {split}: expected {', '.join(SPLITS[:-1])} or {SPLITS[-1]}")
    if len(set(shifts)) < len(shifts):
        raise ArgumentError("a shift is given twice, so its pixels would count twice; drop one")
    if ensemble and split == FOLD:
        raise ArgumentError(
            f"--ensemble with --split {FOLD}: each fold is validated on samples that the "
            "others were trained on; choose another --split"
        )
    count = outputs.overlay_count
    if count is not None and (outputs.overlays is None or count < 1):
        raise ArgumentError(f"--overlay-count {count}: expected --overlays DIR and at least 1")
    if len({path.absolute() for path in outputs.paths}) < len(outputs.paths):
        raise ArgumentError("--out, --masks and --overlays name one place twice; give each its own")


def check_datasets(stores: Sequence[DatasetStore], split: str, outputs: OutputPaths) -> None:
    """Refuse repeated datasets, different classes, and options that need a single dataset."""
    if not stores:
        raise ArgumentError("--data: no dataset store is given")
    if len(stores) == 1:
        return
    single = {
        f"--split {FOLD}": split == FOLD,
        "--masks": outputs.masks is not None,
        "--overlays": outputs.overlays is not None,
    }
    for option, given in single.items():
        if given:
            raise ArgumentError(f"{option} with {len(stores)} --data: give one store at a time")
    by_id: dict[str, DatasetStore] = {}
    for store in stores:
        first = by_id.setdefault(store.lineage.id, store)
        if first is not store:
            raise ArgumentError(
                f"--data {store.path}: holds the same as {first.path}, so its pixels would count "
                "twice; drop one"
            )
        if store.classes != stores[0].classes:
            raise MismatchError(
                f"{store.path}: has classes {', '.join(store.classes)}, {stores[0].path} has "
                f"{', '.join(stores[0].classes)}; predict stores of other classes into other tables"
            )


def check_substitution(
    substituted: Sequence[Substitution],
    clean_domain: str | None,
    ensemble: bool,
    outputs: OutputPaths,
) -> None:
    """Refuse masks, pictures or an ensemble with a substitution, and a clean domain without one."""
    if not substituted:
        if clean_domain is not None:
            raise ArgumentError("--clean-domain: requires --clean-skips or --shifted-skips")
        return
    excluded = {
        "--ensemble": ensemble,
        "--masks": outputs.masks is not None,
        "--overlays": outputs.overlays is not None,
    }
    for option, given in excluded.items():
        if given:
            raise ArgumentError(
                f"{option} with --clean-skips: only counts of substituted predictions are kept; "
                "drop one"
            )


def substitution_parameters(
    clean_skips: Sequence[str], shifted_skips: Sequence[str], clean_domain: str | None
) -> dict[str, Any]:
    """Return the parameters of a substitution, empty for plain predictions."""
    parameters: dict[str, Any] = {}
    if clean_skips:
        parameters["clean_skips"] = list(clean_skips)
    if shifted_skips:
        parameters["shifted_skips"] = list(shifted_skips)
    if clean_domain is not None:
        parameters["clean_domain"] = clean_domain
    return parameters


def _invocation(
    models: Sequence[Path | str],
    runs: Sequence[Run],
    outputs: OutputPaths,
    parameters: Mapping[str, Any],
) -> Invocation:
    first = runs[0]
    datasets = {f"dataset{i or ''}": run.store.lineage.id for i, run in enumerate(runs)}
    return Invocation(
        "predict",
        tuple(models),
        parameters,
        {
            "data": [run.store.path for run in runs],
            "out": outputs.out,
            "masks": outputs.masks,
            "overlays": outputs.overlays,
            "overlay_count": outputs.overlay_count,
        },
        {
            **datasets,
            **{f"model{i}": model.stored.id for i, model in enumerate(first.models)},
        },
        arithmetic=arithmetic_facts(first.device, first.precision),
    )


def _check_outputs(
    outputs: OutputPaths,
    invocation: Invocation,
    models: Sequence[LoadedModel],
    overwrite: bool,
    resume: bool,
    dry_run: bool,
) -> bool:
    """Refuse outputs that cannot be written; return True if a resumed run has them all."""
    if resume:
        check_models_added(outputs.out, invocation, [model.stored.path for model in models])
    done = [
        is_complete(path, invocation, resume=resume, clear=not dry_run) for path in outputs.paths
    ]
    for path in outputs.paths:
        check_writable(path, overwrite=overwrite, resume=resume)
    return all(done)


def check_models_added(out: Path, invocation: Invocation, paths: Sequence[Path]) -> None:
    """Explain how to predict more models, if the table exists and only models were added.

    Parameters
    ----------
    paths : sequence of Path
        Models of this run, in the order of its inputs.

    Raises
    ------
    ExistsError
        If the table holds some of the models, made with the same parameters.
    """
    try:
        header = lineage_of(out) if out.is_file() else None
    except FormatError:
        return
    determinants = invocation.determinants
    if header is None or dict(header.parameters) != determinants["parameters"]:
        return
    finished, data = _models_and_data(header.inputs)
    requested, requested_data = _models_and_data(determinants["inputs"])
    added = [str(path) for path, key in zip(paths, requested, strict=True) if key not in finished]
    if added and set(finished) < set(requested) and data == requested_data:
        raise ExistsError(
            f"{out}: is complete, without {', '.join(added)}, and tables cannot be extended; "
            "predict the new one alone into another --out, and give both tables to 'skiptool "
            "report'"
        )


def _models_and_data(inputs: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """Divide the inputs of a prediction table: ids of models, and all others by role."""
    models = [key for role, key in inputs.items() if role.startswith("model")]
    others = {role: key for role, key in inputs.items() if not role.startswith("model")}
    return models, others


# Models and the samples that they segment


def load_models(
    places: Sequence[Path | str],
    data: Sequence[tuple[DatasetStore, Sequence[Domain]]],
    device: str,
    normalisation: Normalisation | None = None,
) -> tuple[list[LoadedModel], list[str]]:
    """Open every model that fits the data, and put its network on the device.

    Parameters
    ----------
    places : sequence of Path or str
        Model folders, and folders that hold them; local paths or URLs.
    data : sequence of (DatasetStore, sequence of Domain)
        Data to segment.
    device : str
    normalisation : Normalisation, optional
        Input scaling of models trained elsewhere.

    Returns
    -------
    models : list of LoadedModel
    failures : list of str
        One line for each model that is damaged or does not fit.

    Raises
    ------
    SkiptoolError
        The failure itself if there is only one model; else a SourceError if all fail.
    ArgumentError
        If a model is given twice, or the scaling is missing or does not suit one.
    MemoryError
        If the device cannot hold them.
    """
    loaded: list[LoadedModel] = []
    failed: list[SkiptoolError] = []
    for path in model_folders(places):
        try:
            opened = open_model(path)
        except SkiptoolError as error:
            failed.append(error)
            continue
        stored = opened.with_normalisation(
            normalisation
        )  # an error here is one of options: it is raised
        try:
            for store, domains in data:
                check_fits(stored, store, domains)
            network = restore_network(stored.architecture, stored.tensors(), stored.normalisation)
        except SkiptoolError as error:
            names_path = re.search(rf"(?<![\w/]){re.escape(str(path))}(?!\w)", str(error))
            failed.append(error if names_path else type(error)(f"{path}: {error}"))
            continue
        with explain_memory_errors(device, f"the network of {path}"):
            loaded.append(LoadedModel(stored, prepare_for_inference(network, device)))
    if not loaded:
        raise all_failed_error(failed)
    _check_distinct([model.stored for model in loaded])
    return loaded, [str(error) for error in failed]


def check_fits(model: StoredModel, store: DatasetStore, domains: Iterable[Domain]) -> None:
    """Refuse a model whose channels, size limits or number of classes do not suit the data."""
    for domain in domains:
        size = (domain.height, domain.width)
        model.check_fits(domain.channels, size, f"{store.path}: domain {domain.name}")
    classes, predicted = store.classes, model.architecture.classes
    if len(classes) != len(predicted):
        detail = " (background and foreground, by one logit)" if model.architecture.binary else ""
        raise MismatchError(
            f"{model.path}: predicts {len(predicted)} classes{detail}, {store.path} has "
            f"{len(classes)} ({', '.join(classes)}); they must be the same"
        )


def _check_distinct(models: Sequence[StoredModel]) -> None:
    by_id: dict[str, StoredModel] = {}
    for model in models:
        first = by_id.setdefault(model.id, model)
        if first is not model:
            raise ArgumentError(
                f"{model.path}: is the same model as {first.path}, so its pixels would count "
                "twice; drop one"
            )


def _build_ensembles(models: Sequence[LoadedModel], progress: Progress) -> list[Ensemble]:
    ensembles, single = fold_ensembles([model.stored for model in models])
    if single:
        progress.warn(f"no ensemble of {', '.join(single)}: there is only one training of each")
    return ensembles


def split_parts(domains: Sequence[Domain], split: str, models: int) -> list[Part]:
    """Return one part per domain: every model segments the samples of the split."""
    numbers = tuple(range(models))
    return [
        Part(domain, tuple(domain.select(None if split == "all" else split)), numbers)
        for domain in domains
    ]


def fold_parts(
    store: DatasetStore, domains: Sequence[Domain], models: Sequence[LoadedModel]
) -> tuple[list[LoadedModel], list[Part], list[str]]:
    """Assign to each model the samples that it was validated on, those of its own fold.

    Returns
    -------
    models : list of LoadedModel
        Those whose samples are in the data; parts number the models in this list.
    parts : list of Part
        One for each fold of a domain, shared by the models of that fold.
    failures : list of str
        One line for each model trained on another split, or elsewhere.

    Raises
    ------
    SkiptoolError
        If no model is left.
    """
    validated, failures = find_validation_samples(
        store, domains, [model.stored for model in models]
    )
    groups: dict[ValidationSamples, list[int]] = {}
    for number, samples in enumerate(validated.values()):
        groups.setdefault(samples, []).append(number)
    parts = [
        Part(store.domain(name), indices, tuple(numbers))
        for (name, indices), numbers in groups.items()
    ]
    return [models[number] for number in validated], parts, failures


# Outputs


def _predict_and_write(
    runs: Sequence[Run],
    invocation: Invocation,
    outputs: OutputPaths,
    failures: Sequence[str],
    progress: Progress,
) -> tuple[Table, ...]:
    """Predict, write the outputs, and return a table of IoU for each dataset."""
    for run in runs:
        read = [(part.domain, len(part.indices)) for part in run.parts]
        announce_download(run.store, read, progress)
    first, totals = runs[0], []
    with ExitStack() as stack:
        partial = stack.enter_context(atomic_output(outputs.out, overwrite=True))
        sinks: list[Sink] = []
        masks = None
        if outputs.masks is not None:
            store = stack.enter_context(atomic_output(outputs.masks, overwrite=True))
            header = create_lineage(Kind.MASKS, invocation, invocation.determinants)
            masks = MaskWriter(store, header, first.store.classes)
            record_failures(store, failures)
            sinks.append(MaskSink(first, masks))
        pictures = None
        if outputs.overlays is not None:
            folder = stack.enter_context(atomic_output(outputs.overlays, overwrite=True))
            pictures = OverlaySink(first, folder, outputs.overlay_count)
            sinks.append(pictures)
        header = create_lineage(Kind.PREDICTIONS, invocation, invocation.determinants)
        with TableWriter(partial, header, failures) as writer:
            for run in runs:
                totals.append(_count(run, writer, sinks, progress))
        for run in runs:
            check_unchanged(run.store)
        if masks is not None:
            masks.finish()
        if pictures is not None:
            pictures.draw(
                create_lineage(Kind.OVERLAYS, invocation, invocation.determinants), progress
            )
    tables = []
    for run, own_totals in zip(runs, totals, strict=True):
        warning = absent_classes_warning(run, own_totals)
        if warning is not None:
            progress.warn(warning)
        table = iou_table(run, own_totals)
        title = f"{run.store.name}: {table.title}" if len(runs) > 1 else table.title
        tables.append(replace(table, title=title))
    return tuple(tables)


def _count(run: Run, writer: TableWriter, sinks: Sequence[Sink], progress: Progress) -> Totals:
    """Append the counts of a run to the table; return their sums over samples."""
    totals: dict[tuple[int, str, Shift, str | None], Int64] = {}
    for part in run.parts:
        for prediction, matrices in count_part(run, part, sinks, progress).items():
            number, shift, clean_skips = prediction
            totals[number, part.domain.name, shift, clean_skips] = matrices.sum(axis=0)
            writer.append(_columns(run, part, prediction, matrices), matrices.size)
    return totals


def _columns(run: Run, part: Part, prediction: Prediction, matrices: Int64) -> Mapping[str, Any]:
    return prediction_columns(
        run.predictor(prediction.number).facts(),
        run.store,
        part.domain,
        prediction.shift,
        part.indices,
        matrices,
        VALIDATION if run.split == FOLD else None,
        prediction.clean_skips,
    )


def iou_table(run: Run, totals: Totals) -> Table:
    """Tabulate IoU accumulated over the split: domains and shifts by architectures.

    Trainings are averaged, ensembles have columns of their own. With several foreground classes,
    the row of their mean is followed by one for each.

    Parameters
    ----------
    run : Run
    totals : mapping of (number, domain, shift, clean skips) to int64 (J, J)
        Numbers of models and ensembles; clean skips are None for plain predictions.
    """
    columns: dict[str, list[int]] = {}
    for number in range(len(run.models) + len(run.ensembles)):
        columns.setdefault(_architecture_name(run.predictor(number)), []).append(number)
    domains = list(dict.fromkeys(part.domain.name for part in run.parts))
    classes = run.store.classes
    labels = [None, *range(1, len(classes))] if len(classes) > 2 else [None]
    clean = list(dict.fromkeys(skips for _, _, _, skips in totals))
    rows = list(product(domains, run.shifts, clean, labels))
    cells: dict[str, Sequence[str | float | None]] = {
        "domain": [domain for domain, _, _, _ in rows],
        "shift": [str(shift) for _, shift, _, _ in rows],
    }
    if run.substitutions:
        cells["clean skips"] = [skips for _, _, skips, _ in rows]
    if len(labels) > 1:
        cells["class"] = ["mean" if label is None else classes[label] for *_, label in rows]
    for name, numbers in columns.items():
        cells[name] = [
            _mean_score(
                [
                    totals[number, domain, shift, skips]
                    for number in numbers
                    if (number, domain, shift, skips) in totals
                ],
                label,
            )
            for domain, shift, skips, label in rows
        ]
    fold = "samples of each model's validation fold"
    samples = fold if run.split == FOLD else f"{run.split} samples"
    repeated = any(model.stored.repeat for model in run.models)
    trainings = "folds and their repeats" if repeated else "folds"
    return Table(f"IoU of {', '.join(classes[1:])}, {samples}, mean over {trainings}", cells)


def _architecture_name(model: StoredModel | Ensemble) -> str:
    """Name an architecture; a folder from elsewhere may have the name of another one."""
    name, arch = model.name.rpartition("/fold")[0] or model.name, model.architecture.arch
    return name if arch == Arch.UNET or name.startswith(arch) else f"{arch} {name}"


def _mean_score(matrices: Sequence[Int64], label: int | None) -> float | None:
    scores = [float(mean_iou(m) if label is None else iou(m)[label]) for m in matrices]
    mean, _ = mean_and_spread(scores)
    return None if isnan(mean) else mean


def absent_classes_warning(run: Run, totals: Totals) -> str | None:
    """Return a warning about classes that occur in no mask of a domain, if there are any."""
    truths: dict[str, Int64] = {}
    for (_, domain, shift, _), matrix in totals.items():
        if shift == run.shifts[0]:
            pixels = matrix.sum(axis=1)
            truths[domain] = np.maximum(truths.get(domain, pixels), pixels)
    absent = [
        f"{', '.join(names)} in no mask of domain {domain}"
        for domain, pixels in truths.items()
        if (names := [run.store.classes[k] for k in np.flatnonzero(pixels == 0) if k])
    ]
    if not absent:
        return None
    return (
        f"{run.store.path}: {'; '.join(absent)}: the IoU of such a class is 0 where it is "
        "predicted, and otherwise undefined (NaN) and left out of means"
    )
