"""``skiptool predict``: truth x predicted pixel counts of every sample, model and shift."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skiptool.model.device import choose_device, choose_precision
from skiptool.model.inference import arithmetic
from skiptool.names import VALIDATION, Kind, Precision, Split
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
from skiptool.steps.predict.asked import (
    Places,
    check_asked,
    check_models_added,
    check_several,
    check_substitution,
    substitution_parameters,
)
from skiptool.steps.predict.counting import count_part
from skiptool.steps.predict.forecast import forecast
from skiptool.steps.predict.loading import load_models
from skiptool.steps.predict.masks import MaskSink
from skiptool.steps.predict.overlays import OverlaySink
from skiptool.steps.predict.run import Counted, Part, Run, Sink
from skiptool.steps.predict.selection import FOLD, fold_parts, split_parts
from skiptool.steps.predict.substituting import (
    check_partners,
    check_substitutions,
    count_with_substitution,
)
from skiptool.steps.predict.summary import absent_classes, iou_table
from skiptool.stores.artifacts import check_unchanged, finished
from skiptool.stores.dataset import DatasetStore, domains_of, open_dataset, tell_network
from skiptool.stores.lineage import Making, lineage
from skiptool.stores.masks import MaskWriter
from skiptool.stores.models import fold_ensembles
from skiptool.stores.staging import Form, check_free, staged
from skiptool.stores.tables import TableWriter, prediction_columns
from skiptool.stores.transfers import places_may_be_urls
from skiptool.stores.zarrs import keep_failures
from skiptool.substitution import substitutions

if TYPE_CHECKING:
    from skiptool.records import Int64
    from skiptool.steps.predict.summary import Totals

__all__ = ["predict_dataset"]


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
