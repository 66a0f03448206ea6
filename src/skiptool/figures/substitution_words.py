"""What skip substitution says in words: how it was made, how far it goes, and what it found."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from skiptool.figures.colour_scale import Scale
from skiptool.figures.style import readable
from skiptool.readings.difference import EXCHANGES, RESAMPLES
from skiptool.readings.substitution import Substitution
from skiptool.records import ORIGINAL, Shift
from skiptool.stats.exchange import least_p_value

__all__ = ["about_regained", "about_substituted", "findings", "interval_below", "shift_words"]

_NOTHING: Final = 0.005  # what is below it is written as 0.00


def shift_words(shift: Shift) -> str:
    """Name a shift within a sentence.

    Examples
    --------
    >>> shift_words(Shift.parse("brightness=0.5"))
    'brightness 0.5'
    """
    return shift.kind.value if shift.factor is None else f"{shift.kind.value} {shift.factor:g}"


def interval_below(found: Substitution) -> str:
    """Write an interval as short as a cell needs: without the zeros before the points.

    Returns
    -------
    str
        ``.55, .63``; empty where there is no interval.
    """
    ends = (found.regained.ci_low, found.regained.ci_high)
    return "" if any(map(math.isnan, ends)) else ", ".join(map(_short, ends))


def _short(value: float) -> str:
    text = f"{abs(value):.2f}".removeprefix("0")
    return f"\N{MINUS SIGN}{text}" if value <= -_NOTHING else text


def about_substituted(found: Sequence[Substitution], measure: str) -> str:
    """Say what the matrix of IoU shows, and what substitution can and cannot say.

    Parameters
    ----------
    found : sequence of Substitution
        All of one exhibit.
    measure : str
        ``cell IoU``.
    """
    first = found[0].regained
    several = max(one.clean.folds for one in found) > 1
    spread = ", standard deviation below it" if several else ""
    clean, rest = "the unshifted image of the same sample", "the shifted one (columns)"
    if found[0].clean_domain is not None:
        clean = f"the image of the same sample in domain {found[0].clean_domain}"
        rest = f"that in domain {first.domain} (columns)"
    return (
        f"{_capital(measure)} where the decoder is fed some feature maps (rows: skip connections, "
        "L1 the uppermost, or the deepest map of the encoder, the bottleneck) as the network "
        f"computes them from {clean}, all others from {rest}. From confusion counts accumulated "
        f"over the {first.split} samples of {first.dataset}; {_averaged(found)}{spread}. Nothing "
        "clean: the plain prediction. This is an intervention (activation patching): what a clean "
        "part brings back had come into the decoder by it. Its limit: the decoder is fed a mixture "
        "that it never saw in training."
    )


def about_regained(
    found: Sequence[Substitution], measure: str, level: float, tests: int, scale: Scale
) -> str:
    """Say what the matrix of regained IoU shows, what its intervals are of, how it was tested.

    Parameters
    ----------
    found : sequence of Substitution
        All of one exhibit.
    measure : str
    level : float
        Of the intervals.
    tests : int
        Comparisons with a p-value.
    scale : Scale
        Of the colours.
    """
    first = found[0].regained
    subjects = [one.regained.subjects for one in found]
    few, many = min(subjects), max(subjects)
    low, _, high = map(scale.written, scale.ticks)
    text = (
        f"{_capital(measure)} with clean inputs of the decoder (rows) minus that of the plain "
        "prediction by the same network, fold and shift, over the same "
        f"{first.split} subjects of {first.dataset}; {_averaged(found)}. Blue: regained, red: "
        f"lost. The colours end at {low} and {high}, the greatest difference. "
    )
    if many < 2:
        return f"{text}With one subject there is neither an interval nor a test."
    people = str(many) if few == many else f"{few} to {many}"
    return (
        f"{text}Below a value, where cells have room: its {100 * level:g} % interval over {people} "
        f"subjects, for the networks as they are trained ({RESAMPLES:,} resamples), zeros before "
        "the points left out. The table has p-values, by exchanging the two predictions within "
        f"subjects (the smallest p is {least_p_value(many, EXCHANGES):.2g}), adjusted by Holm over "
        f"{tests:,} comparisons."
    )


def _capital(measure: str) -> str:
    return f"{measure[0].upper()}{measure[1:]}"


def _averaged(found: Sequence[Substitution]) -> str:
    folds = max(one.clean.folds for one in found)
    return f"mean over {folds} folds" if folds > 1 else "one fold"


def findings(networks: Mapping[str, Sequence[Substitution]]) -> tuple[str, ...]:
    """Say of each network what brings it back where it is worst, and where one part alone does.

    Parameters
    ----------
    networks : mapping of str to sequence of Substitution
        By name, in the order to tell them in.

    Returns
    -------
    tuple of str
        One or two a network: under the shift of lowest plain IoU, and under that where a single
        clean input regains most, if it is another.
    """
    sentences = []
    for name, found in networks.items():
        known = [one for one in found if not math.isnan(one.regained.value)]
        if not known:
            continue
        worst = min(known, key=lambda one: one.plain.value).regained.shift
        several = len({one.regained.shift for one in known}) > 1
        told = {worst: ", where its IoU is lowest," if several else ""}
        alone = [one for one in known if len(one.parts) == 1]
        if alone:
            most = max(alone, key=lambda one: one.regained.value).regained.shift
            told.setdefault(most, ", where one alone regains most,")
        for shift, why in told.items():
            here = [one for one in known if one.regained.shift == shift]
            head = readable(name, limit=64)
            sentences.append(f"{head}: {_where(here[0])}{why} {_told(here)}.")
    return tuple(sentences)


def _where(one: Substitution) -> str:
    under = f"under {shift_words(one.regained.shift)}"
    if one.clean_domain is None:
        return under
    domain = f"in domain {readable(one.regained.domain, limit=64)}"
    return domain if one.regained.shift == ORIGINAL else f"{under} {domain}"


def _told(here: Sequence[Substitution]) -> str:
    """Tell the best single input under one shift, the others, and all together."""
    alone = [one for one in here if len(one.parts) == 1]
    best = max(alone or here, key=lambda one: one.regained.value)
    plain = f"{best.plain.value:.2f}"
    if best.regained.value < _NOTHING:
        none = "no clean feature map alone" if alone else "no choice of clean inputs"
        by = " by 0.01 or more" if best.regained.value > 0 else ""
        text = f"{none} raises it{by} ({plain})"
    else:
        name = readable(best.label)
        only = "(all that its decoder is fed)" if best.shifted == () else "alone"
        who = f"a clean {name} {only} brings" if alone else f"{name} clean bring"
        text = f"{who} it from {plain} to {best.clean.value:.2f} ({_gain(best)})"
        others = [one.regained.value for one in alone if one is not best]
        if others:
            most = max(others)
            limit = (
                f"more than {math.ceil(100 * most - 1e-9) / 100:.2f}" if most > 0 else "anything"
            )
            text += f"; nothing else alone regains {limit}"
    by_label = {one.label: one for one in here if one is not best}
    for label in (f"all but {best.label}", "all skips"):
        if label in by_label:
            text += f"; with {readable(label)} clean it is {by_label[label].clean.value:.2f}"
    original = best.original
    if original is None or math.isnan(original.value):
        return text
    clean = best.clean_domain
    where = "without a shift" if clean is None else f"in domain {readable(clean, limit=64)}"
    return f"{text}; {where} {original.value:.2f}"


def _gain(one: Substitution) -> str:
    found = one.regained
    text = f"+{found.value:.2f}"
    if math.isnan(found.ci_low):
        return text
    low, high = (
        f"{end:.2f}".replace("-", "\N{MINUS SIGN}") for end in (found.ci_low, found.ci_high)
    )
    return f"{text} [{low}, {high}]"
