"""Options of ``skiptool features --counts``: bins, images per row, and ranges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

from skiptool.comparison.activations import BINS, extents
from skiptool.comparison.layer import reference_bins
from skiptool.distances.bins import MAX_BINS, Binning
from skiptool.errors import ArgumentError, FormatError, MismatchError
from skiptool.names import ShiftKind
from skiptool.parallel import thread_map
from skiptool.records import Progress
from skiptool.stores.activations import find_feature_stores, is_folder, open_activations
from skiptool.stores.addresses import path_or_url, redact
from skiptool.stores.arrays import FeatureStore
from skiptool.stores.counts import CountsStore, ranges_id
from skiptool.stores.dataset import DatasetStore, Domain
from skiptool.stores.folds import FOLD
from skiptool.stores.models import StoredModel

MOST_ROWS: Final = 1000
"""Default maximum of rows of a counts store; more images are pooled."""

Place: TypeAlias = Path | str
"""A path, or a URL."""

Grid: TypeAlias = tuple[int, int]
"""Rows and columns that feature maps are pooled to."""


@dataclass(frozen=True, slots=True)
class Part:
    """Samples of a domain to read."""

    domain: Domain
    indices: tuple[int, ...]

    @classmethod
    def of(cls, domain: Domain, split: str) -> Part:
        """Return the samples of a stored split, or of ``all``."""
        return cls(domain, tuple(domain.select(None if split == "all" else split)))


@dataclass(frozen=True, slots=True)
class CountsOptions:
    """Options of ``--counts`` as given.

    ``ranges`` is a store or a folder of stores whose ranges are used, ``reference`` a domain whose
    unshifted images define the ranges, and ``pool_images`` the maximum of images per row.
    """

    bins: int | None = None
    ranges: Place | None = None
    reference: str | None = None
    pool_images: int | None = None
    grid: Grid | None = None

    def __post_init__(self) -> None:
        if self.bins is not None and not 1 <= self.bins <= MAX_BINS:
            raise ArgumentError(f"--bins {self.bins}: expected 1 to {MAX_BINS}")
        if self.pool_images is not None and self.pool_images < 1:
            raise ArgumentError(f"--pool-images {self.pool_images}: expected 1 or more")
        if self.ranges is not None and self.reference is not None:
            raise ArgumentError(
                "--ranges, --reference-domain: both define the ranges; give only one of them"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Counting:
    """How the activations of one model are counted.

    Attributes
    ----------
    bins : int
        B.
    pool_images : int
        Maximum of images per row.
    reference : Part or None
        Samples whose unshifted images define the ranges; None if a store does.
    bins_by_layer : mapping of str to Binning, or None
        Bins of that store.
    source : Path, str or None
        The option ``--ranges``.
    """

    bins: int
    pool_images: int
    reference: Part | None = None
    grid: Grid | None = None
    bins_by_layer: Mapping[str, Binning] | None = None
    source: Place | None = None

    @property
    def parameters(self) -> dict[str, object]:
        """Return the options that determine the content of a store."""
        own: dict[str, object] = {
            "counts": True,
            "bins": self.bins,
            "pool_images": self.pool_images,
        }
        if self.reference is not None:
            own["reference_domain"] = self.reference.domain.name
        return own

    def bins_of(self, layers: Sequence[str]) -> dict[str, Binning] | None:
        """Return the bins of some layers if a store defines them."""
        return (
            None
            if self.bins_by_layer is None
            else {layer: self.bins_by_layer[layer] for layer in layers}
        )

    def inputs(self, layers: Sequence[str]) -> dict[str, str]:
        """Return the id of the ranges if a store defines them."""
        bins = self.bins_of(layers)
        return {} if bins is None else {"ranges": ranges_id(bins)}


def plan_counts(
    options: CountsOptions,
    models: Sequence[tuple[StoredModel, Sequence[str]]],
    parts: Sequence[Sequence[Part]],
    store: DatasetStore,
    split: str,
    progress: Progress,
) -> list[Counting]:
    """Choose bins, rows and reference of each model, given its layers and the parts it reads.

    Raises
    ------
    ArgumentError
        If the reference domain does not exist, or options contradict a store.
    MismatchError
        If the store of ``--ranges`` is of other models or layers.
    FormatError
        If it is damaged, or holds no features.
    """
    largest = max((len(part.indices) for own in parts for part in own), default=1)
    pool_images = options.pool_images or max(1, -(-largest // MOST_ROWS))
    if options.ranges is not None:
        return _countings_of_stores(options, options.ranges, models, pool_images)
    bins = BINS if options.bins is None else options.bins
    countings: list[Counting] = []
    assumed: dict[tuple[str, str], list[str]] = {}
    for (model, _), own in zip(models, parts, strict=True):
        reference, why = _reference(options.reference, model, own, store, split)
        countings.append(Counting(bins, pool_images, reference, options.grid))
        if why:
            assumed.setdefault((reference.domain.name, why), []).append(model.name)
    for (domain, why), names in assumed.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        progress.warn(
            f"{names[0]}{more}: ranges are those of domain {domain}, as {why}; give "
            "--reference-domain for another, or --ranges for those of a store"
        )
    return countings


def _reference(
    name: str | None,
    model: StoredModel,
    parts: Sequence[Part],
    store: DatasetStore,
    split: str,
) -> tuple[Part, str]:
    """Return the samples that define the ranges, and the reason if they were assumed."""
    by_name = {part.domain.name: part for part in parts}
    if name is not None:
        domain = store.domain(name)
        if name in by_name:
            return by_name[name], ""
        model.check_fits(
            domain.channels, (domain.height, domain.width), f"{store.path}: domain {name}"
        )
        part = Part.of(domain, split)
        if split == FOLD or not part.indices:
            raise ArgumentError(
                f"--reference-domain {name}: holds no samples of --split {split} of "
                f"{model.name}; give another domain, or --ranges"
            )
        return part, ""
    trained = None if model.lineage is None else model.lineage.parameters.get("domain")
    if isinstance(trained, str):
        if trained in by_name:
            return by_name[trained], ""
        return parts[0], f"{trained}, the training domain, is not among those read"
    return parts[0], "the training domain is not known" if len(parts) > 1 else ""


def _countings_of_stores(
    options: CountsOptions,
    place: Place,
    models: Sequence[tuple[StoredModel, Sequence[str]]],
    pool_images: int,
) -> list[Counting]:
    """Use the ranges of a store, or of the stores in a folder."""
    folder, paths = path_or_url(place), [place]
    if is_folder(folder):
        paths = [*find_feature_stores(folder)[0]]
        if not paths:
            raise FormatError(
                f"--ranges {redact(str(place))}: holds no feature store; check the path"
            )
    stores = [open_activations(path) for path in paths]
    by_model: dict[str, Counting] = {}
    for model, layers in models:
        source = _range_store(model, stores, place)
        missing = [layer for layer in layers if layer not in source.layers]
        if missing:
            raise MismatchError(
                f"--ranges {source.where}: lacks layers {', '.join(missing)} of {model.name}; give "
                "a store that has them, or --layers"
            )
        if model.id not in by_model:
            by_model[model.id] = _counting_of_store(options, source, place, layers, pool_images)
    return [by_model[model.id] for model, _ in models]


def _range_store(model: StoredModel, stores: Sequence[FeatureStore], place: Place) -> FeatureStore:
    """Return the store that defines the ranges of a model."""
    where = redact(str(place))
    own = [store for store in stores if store.model_id == model.id]
    if not own:
        raise MismatchError(
            f"--ranges {where}: holds nothing of model {model.name} (id {model.id}); give a store "
            "of this model"
        )
    by_ranges: dict[str, CountsStore] = {}
    for store in own:
        if isinstance(store, CountsStore):
            by_ranges.setdefault(str(store.facts["ranges_id"]), store)
    if len(by_ranges) > 1:
        names = " and ".join([store.name for store in by_ranges.values()][:2])
        raise ArgumentError(f"--ranges {where}: {names} have other bins; name one store")
    if by_ranges:
        return next(iter(by_ranges.values()))
    if len(own) == 1:
        return own[0]
    references = [
        store
        for store in own
        if store.facts["shift"] == ShiftKind.ORIGINAL
        and store.facts["training_domain"] in (None, store.facts["domain"])
    ]
    if len(references) != 1:
        raise ArgumentError(
            f"--ranges {where}: {len(references) or 'none'} of {len(own)} stores of {model.name} "
            "can be the reference (original, of the training domain); name one store"
        )
    return references[0]


def _counting_of_store(
    options: CountsOptions,
    source: FeatureStore,
    place: Place,
    layers: Sequence[str],
    pool_images: int,
) -> Counting:
    """Use the bins of a counts store, or derive them from the ranges of a feature store."""
    if not isinstance(source, CountsStore):
        bins = BINS if options.bins is None else options.bins
        mapper = partial(thread_map, workers=1)
        bins_by_layer = {
            layer: reference_bins(*extents(source, layer, mapper), bins) for layer in layers
        }
        return Counting(bins, pool_images, bins_by_layer=bins_by_layer, source=place)
    bins = int(source.facts["bins"])
    if options.bins not in (None, bins):
        raise ArgumentError(
            f"--bins {options.bins}: {source.where} holds counts in {bins} bins; drop --bins, or "
            "give --ranges a feature store"
        )
    bins_by_layer = {layer: source.count_layout(layer).binning for layer in layers}
    pool_images = options.pool_images or int(source.facts["pool_images"])
    return Counting(bins, pool_images, bins_by_layer=bins_by_layer, source=place)
