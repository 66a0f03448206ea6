"""What ``skiptool features --counts`` asks for: bins, images in a row, and whose ranges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

from skiptool.comparison.activations import BINS, extents
from skiptool.comparison.layer import reference_bins
from skiptool.distances.counting import MAX_BINS, Binning
from skiptool.errors import ArgumentError, FormatError, MismatchError
from skiptool.names import ShiftKind
from skiptool.parallel import threaded
from skiptool.records import Progress
from skiptool.stores.addresses import located, public
from skiptool.stores.artifacts import feature_folder, is_folder
from skiptool.stores.counts import CountsStore, open_activations, ranges_id
from skiptool.stores.dataset import DatasetStore, Domain
from skiptool.stores.features import FeatureStore
from skiptool.stores.folds import FOLD
from skiptool.stores.models import StoredModel

__all__ = ["MOST_ROWS", "Counting", "CountsAsked", "Grid", "Part", "planned_counts"]

MOST_ROWS: Final = 1000
"""Rows of a counts store up to which each is one image, if nothing else is asked for."""

Part: TypeAlias = tuple[Domain, tuple[int, ...] | None]
"""A domain, and its samples where they are not those of a stored split."""

Place: TypeAlias = Path | str
"""A path, or a URL."""

Grid: TypeAlias = tuple[int, int]
"""Rows and columns that feature maps are pooled to."""


@dataclass(frozen=True, slots=True)
class CountsAsked:
    """The options of ``--counts``, None where they are left to be found.

    Attributes
    ----------
    bins : int
    ranges : Path or str
        Store, or folder of stores, or a URL, whose ranges are taken.
    reference : str
        Domain whose unshifted images set the ranges.
    pool_images : int
        The most images in a row.
    grid : (rows, columns)
        The option ``--grid``.
    """

    bins: int | None = None
    ranges: Place | None = None
    reference: str | None = None
    pool_images: int | None = None
    grid: Grid | None = None

    def __post_init__(self) -> None:
        for option, value, most in (
            ("--bins", self.bins, MAX_BINS),
            ("--pool-images", self.pool_images, None),
        ):
            if value is not None and (value < 1 or (most is not None and value > most)):
                expected = "1 or more" if most is None else f"1 to {most}"
                raise ArgumentError(f"{option} {value}: expected {expected}")
        if self.ranges is not None and self.reference is not None:
            raise ArgumentError(
                "--ranges, --reference-domain: both say whose ranges to take; give one of them"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Counting:
    """How the activations of one model are counted.

    Attributes
    ----------
    bins : int
        B.
    together : int
        The most images in a row.
    reference : (Domain, tuple of int) or None
        Samples that set the ranges, unshifted; None where a store does.
    grid : (rows, columns) or None
        The option ``--grid``.
    given : mapping of str to Binning, or None
        Bins of the layers of that store.
    source : Path or None
        The option ``--ranges``.
    """

    bins: int
    together: int
    reference: tuple[Domain, tuple[int, ...]] | None = None
    grid: Grid | None = None
    given: Mapping[str, Binning] | None = None
    source: Place | None = None

    @property
    def parameters(self) -> dict[str, object]:
        """What shapes the content of a store, as options of the command."""
        own: dict[str, object] = {"counts": True, "bins": self.bins, "pool_images": self.together}
        if self.reference is not None:
            own["reference_domain"] = self.reference[0].name
        return own

    def chosen(self, layers: Sequence[str]) -> dict[str, Binning] | None:
        """Return the bins of some layers where a store sets them."""
        return None if self.given is None else {layer: self.given[layer] for layer in layers}

    def inputs(self, layers: Sequence[str]) -> dict[str, str]:
        """Return the id of the ranges where a store sets them."""
        found = self.chosen(layers)
        return {} if found is None else {"ranges": ranges_id(found)}


Read: TypeAlias = tuple[StoredModel, Sequence[Part], Sequence[str]]
"""A model, what is read with it, and its layers."""


def planned_counts(
    asked: CountsAsked, read: Sequence[Read], store: DatasetStore, split: str, progress: Progress
) -> list[Counting]:
    """Find bins, rows and reference of each model.

    Raises
    ------
    ArgumentError
        If there is no such domain, or options contradict a store.
    MismatchError
        If a store that is to give the ranges is of other models or layers.
    FormatError
        If it is damaged, or holds no features.
    """
    numbers = [len(_samples(part, split)) for _, parts, _ in read for part in parts]
    together = asked.pool_images or max(1, -(-max(numbers, default=1) // MOST_ROWS))
    if asked.ranges is not None:
        return _given(asked, asked.ranges, read, together)
    bins = BINS if asked.bins is None else asked.bins
    found: list[Counting] = []
    told: dict[tuple[str, str], list[str]] = {}
    for model, parts, _ in read:
        part, why = _reference(asked.reference, model, parts, store, split)
        reference = (part[0], _samples(part, split))
        found.append(Counting(bins, together, reference, asked.grid))
        if why:
            told.setdefault((part[0].name, why), []).append(model.name)
    for (domain, why), models in told.items():
        more = f" and {len(models) - 1} more" if len(models) > 1 else ""
        progress.warn(
            f"{models[0]}{more}: ranges are those of domain {domain}, as {why}; --reference-domain "
            "names another, --ranges takes those of a store"
        )
    return found


def _samples(part: Part, split: str) -> tuple[int, ...]:
    domain, samples = part
    return tuple(domain.select(None if split == "all" else split)) if samples is None else samples


def _reference(
    asked: str | None,
    model: StoredModel,
    parts: Sequence[Part],
    store: DatasetStore,
    split: str,
) -> tuple[Part, str]:
    """Return the images that set the ranges, and why it is these where that is not plain."""
    names = [domain.name for domain, _ in parts]
    if asked is not None:
        domain = store.domain(asked)
        if asked in names:
            return parts[names.index(asked)], ""
        model.check_fits(
            domain.channels, (domain.height, domain.width), f"{store.path}: domain {asked}"
        )
        if split == FOLD or not _samples((domain, None), split):
            raise ArgumentError(
                f"--reference-domain {asked}: holds no samples of --split {split} of "
                f"{model.name}; give another domain, or --ranges"
            )
        return (domain, None), ""
    trained = None if model.lineage is None else model.lineage.parameters.get("domain")
    if trained in names:
        return parts[names.index(trained)], ""
    if isinstance(trained, str):
        return parts[0], f"{trained}, the training domain, is not among those read"
    return parts[0], "the training domain is not known" if len(parts) > 1 else ""


def _given(asked: CountsAsked, place: Place, read: Sequence[Read], together: int) -> list[Counting]:
    """Take the ranges of a store, or of those of a folder."""
    here, where = located(place), public(str(place))
    paths: list[Place] = [place]
    if is_folder(here):
        paths, _ = feature_folder(here)
        if not paths:
            raise FormatError(f"--ranges {where}: holds no feature store; check the path")
    stores = [open_activations(path) for path in paths]
    known: dict[str, Counting] = {}
    found = []
    for model, _, layers in read:
        source = _source(model, stores, place)
        missing = [layer for layer in layers if layer not in source.layers]
        if missing:
            raise MismatchError(
                f"--ranges {source.where}: lacks layers {', '.join(missing)} of {model.name}; give "
                "a store that has them, or --layers"
            )
        if model.id not in known:
            known[model.id] = _taken(asked, source, place, layers, together)
        found.append(known[model.id])
    return found


def _source(model: StoredModel, stores: Sequence[FeatureStore], place: Place) -> FeatureStore:
    """Return the store that gives a model its ranges."""
    where = public(str(place))
    own = [store for store in stores if store.model_id == model.id]
    if not own:
        raise MismatchError(
            f"--ranges {where}: holds nothing of model {model.name} (id {model.id}); give a store "
            "of this model"
        )
    counts = [store for store in own if isinstance(store, CountsStore)]
    if counts:
        known: dict[str, CountsStore] = {}
        for store in counts:
            known.setdefault(str(store.facts["ranges_id"]), store)
        if len(known) > 1:
            names = " and ".join([store.name for store in known.values()][:2])
            raise ArgumentError(f"--ranges {where}: {names} have other bins; name one store")
        return counts[0]
    if len(own) == 1:
        return own[0]
    plain = [
        store
        for store in own
        if store.facts["shift"] == ShiftKind.ORIGINAL
        and store.facts["training_domain"] in (None, store.facts["domain"])
    ]
    if len(plain) != 1:
        raise ArgumentError(
            f"--ranges {where}: {len(plain) or 'none'} of {len(own)} stores of {model.name} can be "
            "the reference (original, of the training domain); name one store"
        )
    return plain[0]


def _taken(
    asked: CountsAsked, source: FeatureStore, place: Place, layers: Sequence[str], together: int
) -> Counting:
    """Return the bins of a counts store, or make them from the ranges of a feature store."""
    if not isinstance(source, CountsStore):
        bins = BINS if asked.bins is None else asked.bins
        mapper = partial(threaded, workers=1)
        ends = {layer: extents(source, layer, mapper) for layer in layers}
        given = {layer: reference_bins(*each, bins) for layer, each in ends.items()}
        return Counting(bins, together, given=given, source=place)
    bins = int(source.facts["bins"])
    if asked.bins not in (None, bins):
        raise ArgumentError(
            f"--bins {asked.bins}: {source.where} holds counts in {bins} bins; drop --bins, or "
            "give --ranges a feature store"
        )
    given = {layer: source.counted(layer).binning for layer in layers}
    together = asked.pool_images or int(source.facts["pool_images"])
    return Counting(bins, together, given=given, source=place)
