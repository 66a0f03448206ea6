"""Sets compared pair by pair, through all layers, with p-values adjusted over the layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np

from skiptool.comparison.binned import Design
from skiptool.comparison.counted import check_bins, permutable
from skiptool.comparison.kept import keeping
from skiptool.comparison.layer import Comparison, measure_layer
from skiptool.comparison.layerwise import check_layerwise, measure_layerwise
from skiptool.comparison.reading import Mapper
from skiptool.comparison.results import ALPHA, Measured
from skiptool.comparison.rows import pair_warnings
from skiptool.comparison.sets import Activations, Settings
from skiptool.comparison.transmission import add_transmission
from skiptool.comparison.units import (
    BLOCK,
    IMAGE,
    Draw,
    equal_draw,
    held_images,
    paired_units,
    unit_column,
)
from skiptool.errors import MismatchError
from skiptool.names import in_data_flow
from skiptool.records import SILENT, Progress
from skiptool.stats.permutation import adjusted_p_values, relabellings

__all__ = ["Pair", "check_alike", "common_layers", "left_out", "measure_pairs"]

Pair = tuple[int, int]
"""Places of the reference and of the other set."""


def measure_pairs(
    sets: Sequence[Activations],
    pairs: Sequence[Pair],
    settings: Settings,
    mapper: Mapper,
    progress: Progress = SILENT,
    *,
    keep: bool = True,
) -> tuple[list[Design], list[list[Measured]]]:
    """Measure pairs of sets: designs, and results layer by layer, in the order of the pairs.

    Layers are worked off one after the other, all pairs in each, so that what one pair has read
    serves the next: every set is read once (unless ``keep`` is off, for other machines). A pair is
    measured at the layers that both sets have; :func:`left_out` says which others there are.

    Raises
    ------
    MismatchError
        If the sets of a pair have no layer in common, or other channels, or no pairs of units.
    FormatError
        If activations are damaged or not finite.
    SourceError
        If the disk of temporary files is full.
    """
    designs = []
    for first, second in pairs:
        check_alike(sets[first], sets[second])
        designs.append(_design(sets[first], sets[second], settings))
        check_layerwise((sets[first], sets[second]), designs[-1], settings)
    shared = [common_layers(sets[first], sets[second]) for first, second in pairs]
    found: list[list[Measured]] = [[] for _ in pairs]
    images = [sum(len(sets[i]) for i in pair) for pair in pairs]
    blocks = sum(count * len(layers) for count, layers in zip(images, shared, strict=True))
    with progress.task("hellinger", blocks) as task:
        for layer in in_data_flow(layer for layers in shared for layer in layers):
            here = [place for place, layers in enumerate(shared) if layer in layers]
            again = [pairs[place] for place in here] if keep else []
            with keeping(sets, again, layer, settings.budget // 2) as kept:
                for place in here:
                    first, second = pairs[place]
                    pair = (kept[first], kept[second])
                    comparison = Comparison(pair, designs[place], settings, mapper, task)
                    known = measure_layer(comparison, layer)
                    known += measure_layerwise(pair, layer, designs[place], settings, mapper, known)
                    found[place] += known
    for design, measured in zip(designs, found, strict=True):
        _relate(measured, design)
    return designs, found


def check_alike(reference: Activations, other: Activations) -> None:
    """Refuse two sets without a layer in common, or whose channels or bins differ at one.

    Raises
    ------
    MismatchError
        Says what differs.
    """
    where = f"{other.where} against {reference.where}"
    both = common_layers(reference, other)
    if not both:
        ours, theirs = (", ".join(each.layers) for each in (reference, other))
        raise MismatchError(
            f"{where}: no layer in common (the reference has {ours}; the other {theirs}); extract "
            "both with the same --layers"
        )
    for name in both:
        own, given = (each.shape(name)[1] for each in (reference, other))
        if own != given:
            raise MismatchError(
                f"{where}: layer {name} has {given} channels, the reference {own}; extract both "
                "with one model"
            )
    check_bins(reference, other)


def common_layers(reference: Activations, other: Activations) -> tuple[str, ...]:
    """Return the layers that both sets have, in the order of the reference."""
    return tuple(name for name in reference.layers if name in other.layers)


def left_out(reference: Activations, other: Activations) -> tuple[str, ...]:
    """Return the layers that only one of two sets has, in data flow."""
    both = {*reference.layers} & {*other.layers}
    found = in_data_flow([*reference.layers, *other.layers])
    return tuple(name for name in found if name not in both)


def _design(reference: Activations, other: Activations, settings: Settings) -> Design:
    sets = (reference, other)
    first, second, paired = paired_units(reference, other, settings)
    # One seed for all pairs: a pair's numbers do not depend on what else is compared.
    rng = np.random.default_rng(settings.seed)
    asked = 0 if settings.literal else settings.permutations
    found, told = permutable(sets, (first, second), paired=paired)
    tested, permutations = (found, asked) if found else (Draw(first, second), 0)
    sizes = (len(tested.reference), len(tested.other))
    chosen = relabellings(*sizes, permutations, paired=paired, rng=rng)
    labellings = np.concatenate([np.arange(sizes[0], dtype=np.int32)[np.newaxis], chosen])
    draw = None
    if permutations:
        draw = equal_draw(tested.reference, tested.other, paired=paired, rng=rng)
        if draw is None and (tested.reference is not first or tested.other is not second):
            draw = tested
    image = IMAGE if all(held_images(each) is None for each in sets) else BLOCK
    unit = unit_column(reference, other, settings) or image
    design = Design(first, second, paired, labellings, unit, draw, settings.seed)
    warnings = pair_warnings(sets, design)
    return replace(design, warnings=(*(told if asked else ()), *warnings))


def _relate(measured: Sequence[Measured], design: Design) -> None:
    """Add what layers have together, for each metric and number of bins by itself.

    P-values are adjusted over the layers, distances set beside that of the input.
    """

    def family(each: Measured) -> tuple[str, int]:
        return each.metric.value, each.bins or 0

    for _, members in groupby(sorted(measured, key=family), key=family):
        family_members = list(members)
        add_transmission(family_members)
        layers = [each for each in family_members if each.null is not None]
        if layers:
            null = np.stack([each.null for each in layers if each.null is not None])
            adjusted = adjusted_p_values(null[:, 0], null[:, 1:])
            for each, value in zip(layers, adjusted, strict=True):
                each.mean["p_adjusted"] = float("nan" if design.least_p > ALPHA else value)
